"""Settings of a training run. Apart from the trainer, so that the command line can show them
without PyTorch.
"""

from dataclasses import dataclass

SIZES = ('s', 'm')
SCENES_A_FILE = 1500  # of the finder's


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    size: str = 's'
    samples: int = 1_000_000  # crops to see in all
    batch: int = 64
    learning_rate: float = 2e-3  # peak; a short warm-up, then a cosine to zero
    weight_decay: float = 1e-2
    ema: float = 0.999  # of the weights, per step
    workers: int = 1  # rendering processes; 0 renders between steps
    validate_every: int = 50_000  # samples
    validation: int = 2048  # crops, in whole batches of 128
    seed: int = 0
    device: str = 'auto'
    # crops of what the finder offers beside hands, rendered at the start of a run; 0: none
    negatives: int = 4096
    # share of the negatives that the weights of init take for hands (hard_negatives.py)
    hard_negatives: float = 0.0
    init: str = ''  # weights to start from, a checkpoint of the same size; empty: random ones
    # fuse rendering, network and loss with torch.compile: needs a C++ compiler, renders twice as
    # fast
    compiled: bool = False
    # compute in it on the CPU: faster where there are instructions for it, measure; taken with AMX
    bfloat16: bool = False
    # of the finder that offers the negatives, ONNX; empty: the one of the package
    finder_weights: str = ''
    # a skinned hand of your own, GLB (see training/glb_skin.py), drawn from half the time
    skin: str = ''

    def __post_init__(self):
        if self.size not in SIZES:
            raise ValueError(f'size must be one of {SIZES}, got {self.size!r}')
        for name in ('samples', 'batch', 'validate_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        if (
            min(self.workers, self.validation, self.negatives) < 0
            or not self.learning_rate > 0
            or not 0 <= self.ema < 1
        ):
            raise ValueError(
                'workers, validation and negatives >= 0, learning_rate > 0 and 0 <= ema < 1 must '
                'hold, got '
                f'{self.workers}, {self.validation}, {self.learning_rate} and {self.ema}'
            )
        if not 0 <= self.hard_negatives <= 1 or self.hard_negatives and not self.init:
            raise ValueError(
                'hard_negatives must be in [0,1], and above 0 only with init, got '
                f'{self.hard_negatives} and {self.init!r}'
            )


@dataclass(frozen=True)
class FinderTrainConfig:
    """One training run of the learned finder."""

    scenes: int = 36_000  # to render once; kept in the run's folder, 40 kB each
    samples: int = 250_000  # frames to see in all
    batch: int = 32
    learning_rate: float = 2e-3  # peak; a short warm-up, then a cosine to zero
    weight_decay: float = 1e-2
    ema: float = 0.998  # of the weights, per step
    validate_every: int = 12_000  # frames
    seed: int = 0
    device: str = 'auto'

    def __post_init__(self):
        if self.scenes < SCENES_A_FILE:
            raise ValueError(f'scenes must be at least {SCENES_A_FILE}, got {self.scenes}')
        for name in ('samples', 'batch', 'validate_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        if not self.learning_rate > 0 or self.weight_decay < 0 or not 0 <= self.ema < 1:
            raise ValueError(
                'learning_rate > 0, weight_decay >= 0 and 0 <= ema < 1 must hold, got '
                f'{self.learning_rate}, {self.weight_decay} and {self.ema}'
            )


@dataclass(frozen=True)
class RefinerTrainConfig:
    """One training run of the joint refiner."""

    crops: int = 500_000  # rendered crops; kept in memory, 21 kB each
    skin: str = ''  # GLB file of a skinned hand, drawn half the time
    workers: int = 2  # rendering processes
    compiled: bool = False
    bfloat16: bool = False
    init: str = ''  # checkpoint whose refiner is the one to start from; empty: random weights
    device: str = 'auto'

    def __post_init__(self) -> None:
        if self.crops < 1 or self.workers < 0:
            raise ValueError(
                f'crops >= 1 and workers >= 0 must hold, got {self.crops} and {self.workers}'
            )


@dataclass(frozen=True)
class HandednessTrainConfig:
    """One training run of the handedness head and fit of the detection score."""

    crops: int = 100_000  # rendered crops, in both orientations
    scenes: int = 1200  # rendered scenes that the detection score is fitted to; 0: it is not
    finder_weights: str = ''  # ONNX file of the palm detector; empty: the default one
    device: str = 'auto'

    def __post_init__(self) -> None:
        if self.crops < 1 or self.scenes < 0:
            raise ValueError(
                f'crops >= 1 and scenes >= 0 must hold, got {self.crops} and {self.scenes}'
            )
