"""How the weights of the package are made: the one configuration of `make-weights`. Needs no
PyTorch.
"""

from dataclasses import dataclass, replace

from awr_ros.training.config import SIZES


@dataclass(frozen=True)
class WeightsConfig:
    """One run from random weights to a checkpoint with its evaluation. Shares are of `samples`."""

    size: str = 's'
    samples: int = 4_000_000  # crops that the network learns from
    batch: int = 256  # crops a step, of all processes together
    learning_rate: float = 3e-3  # peak
    validate_every: int = 100_000  # crops between checkpoints of the network
    validation: int = 2048  # crops, in whole batches of 128
    negatives: int = 8192  # crops of what the finder offers beside hands
    refiner_share: float = 0.15  # crops that the refiner learns from
    handedness_share: float = 0.025  # crops that the handedness head learns from
    scenes: int = 1200  # that the detection score is fitted to
    finder_samples: int = 0  # frames that a new finder learns from; 0: `finder_weights` is used
    finder_scenes: int = 36_000  # that these frames are of
    finder_weights: str = ''  # of a finder, ONNX; empty: the one of the package
    evaluated_crops: int = 4096
    evaluated_scenes: int = 1000
    evaluated_sequences: int = 80
    evaluated_seconds: float = 20.0  # of the synthetic camera
    init: str = ''  # checkpoint to start from; empty: random weights
    skin: str = ''  # GLB file of a skinned hand, drawn half the time
    seed: int = 0
    workers: int = 2  # rendering processes
    device: str = 'auto'
    compiled: bool = False
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f'size must be one of {SIZES}, got {self.size!r}')
        for name in ('samples', 'batch', 'validate_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        for name in ('refiner_share', 'handedness_share'):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f'{name} must be in (0,1], got {getattr(self, name)}')

    def crops(self, share: float) -> int:
        """Crops of a share of the samples: at least 256, or nothing could be learnt from them."""
        return max(256, round(share * self.samples))


# May be changed when a run goes on: they say how fast it is, not what it makes.
HARMLESS = ('workers', 'device', 'compiled', 'bfloat16', 'validate_every')


def differences(one: WeightsConfig, other: WeightsConfig) -> list[str]:
    """Return the names of the fields in which two runs would make different weights."""
    alike = replace(one, **{name: getattr(other, name) for name in HARMLESS})
    return [
        name
        for name in WeightsConfig.__dataclass_fields__
        if getattr(alike, name) != getattr(other, name)
    ]
