"""Settings of the tracker, importable without PyTorch."""

from dataclasses import dataclass
from typing import Literal

from awr_ros.derived.hand_size import NONE, parse_hand_size
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.settings import WHEN_INACTIVE, Setting, setting, settings_of
from awr_ros.skeleton import SIDES
from awr_ros.views import MAX_VIEWS, checked_views

FINDERS = ('learned', 'nearest', 'external')
SCORE = (0.0, 1.0)
# Settings of the engine, the same for the node and the command line.
NETWORK_SETTINGS = (
    Setting('weights', '', 'checkpoint or exported network; empty: the default one', WHEN_INACTIVE),
    Setting(
        'device',
        'auto',
        'device that runs the network',
        WHEN_INACTIVE,
        choices=('auto', 'cpu', 'cuda'),
    ),
    Setting(
        'engine',
        'auto',
        'inference engine; auto: the fastest one on this machine',
        WHEN_INACTIVE,
        choices=('auto', 'torch', 'openvino', 'onnxruntime', 'onnxruntime-int8'),
    ),
    Setting(
        'num_threads',
        0,
        'CPU threads for the network; 0: all cores but one, at most 4',
        WHEN_INACTIVE,
        range=(0, 64),
    ),
)


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of a HandTracker."""

    max_hands: int = setting(2, 'maximum number of hands', range=(1, 4))
    side: Literal['auto', 'left', 'right'] = setting(
        'auto', 'side of the hands, where only one can be in view', choices=('auto', *SIDES)
    )
    finder: Literal['learned', 'nearest', 'external'] = setting(
        'learned',
        'source of hand candidates: learned: palm detector on the whole image; nearest: nearest '
        'points and ends of objects; external: ~/centre or ~/boxes',
        choices=FINDERS,
    )
    finder_weights: str = setting(
        '', 'ONNX file of the palm detector; empty: the default one', change=WHEN_INACTIVE
    )
    views: int = setting(
        1,
        'crops of a tracked hand in each image, rotated differently, whose joints are merged: more '
        'accurate, but slower; three are as good as five',
        range=(1, MAX_VIEWS),
    )
    search_every: int = setting(
        5,
        'images between searches for new hands while some, but fewer than max_hands, are tracked; '
        'without a tracked hand, and while one is lost, every image is searched',
        range=(1, 1000),
    )
    score_threshold: float = setting(
        0.85,
        'minimum detection score of a new hand, the mean of up to three images; it combines palm '
        'detector, hand and joint scores',
        range=SCORE,
    )
    beside_threshold: float = setting(
        0.9,
        'minimum detection score while another hand is tracked, whose forearm can look like a '
        'hand; the larger of the two thresholds counts',
        range=SCORE,
    )
    lose_threshold: float = setting(
        0.3, 'score below which a tracked hand counts as not seen', range=SCORE
    )
    coast_s: float = setting(
        0.2,
        'time for which a hand that is not seen keeps its last pose',
        name='coast_time',
        unit='s',
        range=(0.0, 5.0),
    )
    min_depth_mm: float = setting(
        150.0,
        'depth of the nearest hands that are searched for',
        name='min_depth',
        unit='m',
        scale=MM_PER_M,
        range=(0.05, 5.0),
    )
    max_depth_mm: float = setting(
        1500.0,
        'depth of the farthest hands that are searched for; the palm detector finds none beyond '
        '2.45 m',
        name='max_depth',
        unit='m',
        scale=MM_PER_M,
        range=(0.05, 5.0),
    )
    hand_size: str = setting(
        NONE,
        'bone lengths that steady the joints: none: not used; auto: estimated while a hand is '
        'tracked; or the 20 lengths of ~/hand_sizes [m], comma-separated',
    )
    smoothing: bool = setting(False, 'smooth the joints (One Euro filter)')
    smoothing_min_cutoff_hz: float = setting(
        0.5,
        'cutoff frequency of the smoothing for a joint at rest: less is steadier, with more delay',
        name='smoothing_min_cutoff',
        unit='Hz',
        range=(0.01, 30.0),
    )
    smoothing_beta: float = setting(  # [Hz per mm/s]
        0.05,
        'growth of the cutoff frequency with the speed of a joint: more is less delay',
        unit='Hz per m/s',
        scale=1 / MM_PER_M,
        range=(0.0, 1000.0),
    )

    def __post_init__(self) -> None:
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
                f'0 < min_depth_mm < max_depth_mm must hold, got {self.min_depth_mm} and '
                f'{self.max_depth_mm}'
            )
        checked_views(self.views)
        if self.coast_s < 0 or self.search_every < 1:
            raise ValueError(
                f'coast_s must be >= 0 and search_every >= 1, got {self.coast_s} and '
                f'{self.search_every}'
            )
        parse_hand_size(self.hand_size)
        if self.smoothing_min_cutoff_hz <= 0 or self.smoothing_beta < 0:
            raise ValueError(
                'smoothing_min_cutoff_hz must be > 0 and smoothing_beta >= 0, got '
                f'{self.smoothing_min_cutoff_hz} and {self.smoothing_beta}'
            )


TRACKER_SETTINGS = settings_of(TrackerConfig)
