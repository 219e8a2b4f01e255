"""How hands are found, followed and given up. Beside the tracker, so that reading parameters needs no PyTorch."""

from dataclasses import dataclass

from awr_ros.skeleton import SIDES

FINDERS = ('learned', 'nearest', 'external')


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of a HandTracker."""

    max_hands: int = 2  # at most this many at once
    side: str = 'auto'  # 'auto', or 'left' or 'right' for all hands
    finder: str = 'learned'  # how new hands are found: by the network, 'nearest' by depth alone, 'external' where
    # the caller says
    finder_weights: str = (
        ''  # ONNX file of the learned finder, '' for the one that comes with the package
    )
    score_threshold: float = 0.85  # [0,1] score that starts a track, of finder, hand and joints (tracker.detection_score)
    beside_threshold: float = (
        0.9  # [0,1] the same beside another hand, whose arm may pass for a second one
    )
    lose_threshold: float = 0.3  # [0,1] hand score under which a hand counts as not seen
    coast_s: float = 0.2  # [s] a hand not seen keeps its last pose for so long
    min_depth_mm: float = 150.0  # [mm] hands are looked for between these depths
    max_depth_mm: float = 1500.0  # [mm]
    search_every: int = (
        5  # [frames] between searches while some hand, but not max_hands, is tracked
    )
    smoothing: bool = False  # reported joints go through the One Euro filter
    smoothing_min_cutoff_hz: float = 0.5  # [Hz] of the filter at rest
    smoothing_beta: float = 0.05  # [Hz per mm/s] how the cutoff grows with a joint's speed

    def __post_init__(self):
        if self.max_hands < 1:
            raise ValueError(f'max_hands must be at least 1, got {self.max_hands}')
        if self.side not in ('auto', *SIDES):
            raise ValueError(f"side must be 'auto', 'left' or 'right', got {self.side!r}")
        if self.finder not in FINDERS:
            raise ValueError(f'finder must be one of {FINDERS}, got {self.finder!r}')
        for name in ('score_threshold', 'beside_threshold', 'lose_threshold'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must be in [0,1], got {getattr(self, name)}')
        if not 0 < self.min_depth_mm < self.max_depth_mm:
            raise ValueError(
                f'0 < min_depth_mm < max_depth_mm must hold, got {self.min_depth_mm} and {self.max_depth_mm}'
            )
        if self.coast_s < 0 or self.search_every < 1:
            raise ValueError(
                f'coast_s must be >= 0 and search_every >= 1, got {self.coast_s} and {self.search_every}'
            )
        if self.smoothing_min_cutoff_hz <= 0 or self.smoothing_beta < 0:
            raise ValueError(
                'smoothing_min_cutoff_hz must be > 0 and smoothing_beta >= 0, got '
                f'{self.smoothing_min_cutoff_hz} and {self.smoothing_beta}'
            )
