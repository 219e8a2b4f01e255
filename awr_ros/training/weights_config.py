"""Settings of `make-weights`, with which the package's weights are made. Importable without
PyTorch.
"""

from dataclasses import dataclass, replace

from awr_ros.training.config import SIZES


@dataclass(frozen=True)
class WeightsConfig:
    """One run from random weights to a checkpoint with its evaluation. Shares are of `samples`."""

    size: str = 's'
    samples: int = 4_000_000  # training crops of the pose network
    batch: int = 256  # crops per step, of all processes together
    learning_rate: float = 3e-3  # peak
    validate_every: int = 100_000  # crops between checkpoints of the pose network
    validation: int = 2048  # crops, in whole batches of 128
    negatives: int = 8192  # hard negatives
    refiner_share: float = 0.15  # training crops of the joint refiner
    handedness_share: float = 0.025  # training crops of the handedness head
    scenes: int = 1200  # scenes to fit the detection score to
    finder_samples: int = 0  # training frames of a new palm detector; 0: use `finder_weights`
    finder_scenes: int = 36_000  # scenes of these frames
    finder_weights: str = ''  # ONNX file of a palm detector; empty: the package's
    evaluated_crops: int = 4096
    evaluated_scenes: int = 1000
    evaluated_sequences: int = 80
    evaluated_seconds: float = 20.0  # duration evaluated with the synthetic camera
    init: str = ''  # checkpoint to start from; empty: random weights
    skin: str = ''  # GLB file of a skinned hand, used for half of the crops; empty: none
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
        """Return the number of crops of a share of the samples, at least 256 so that there is
        something to train on.
        """
        return max(256, round(share * self.samples))


# May change when a run resumes: they affect its speed, not its result.
HARMLESS = ('workers', 'device', 'compiled', 'bfloat16', 'validate_every')


def differences(one: WeightsConfig, other: WeightsConfig) -> list[str]:
    """Return the names of the fields in which two runs would make different weights."""
    alike = replace(one, **{name: getattr(other, name) for name in HARMLESS})
    return [
        name
        for name in WeightsConfig.__dataclass_fields__
        if getattr(alike, name) != getattr(other, name)
    ]
