"""Settings of training runs, importable without PyTorch for the command line."""

from dataclasses import dataclass

SIZES = ('s', 'm')
SCENES_A_FILE = 1500  # frames per rendered file of the palm detector


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run of the pose network."""

    size: str = 's'
    samples: int = 1_000_000  # training crops in total
    batch: int = 64
    learning_rate: float = 2e-3  # peak; a short warm-up, then a cosine to zero
    weight_decay: float = 1e-2
    ema: float = 0.999  # decay of the moving average of the weights, per step
    workers: int = 1  # rendering processes; 0: render between steps
    validate_every: int = 50_000  # samples
    validation: int = 2048  # crops, in whole batches of 128
    seed: int = 0
    device: str = 'auto'
    # hard negatives, false positives of the finders, rendered at the start of a run; 0: none
    negatives: int = 4096
    # share of the negatives that are false positives of the weights of init (hard_negatives.py)
    hard_negatives: float = 0.0
    init: str = ''  # checkpoint to start from, of the same size; empty: random weights
    # compile rendering, network and loss with torch.compile: needs a C++ compiler, renders twice as
    # fast
    compiled: bool = False
    # bfloat16 on the CPU: faster on CPUs with instructions for it; always used with AMX
    bfloat16: bool = False
    # ONNX file of the palm detector for the negatives; empty: the package's
    finder_weights: str = ''
    # GLB file of a skinned hand (see synthetic/glb_skin.py), used for half of the crops; empty:
    # none
    skin: str = ''

    def __post_init__(self) -> None:
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
    """Settings of a training run of the palm detector."""

    scenes: int = 36_000  # scenes, rendered once and kept in the run's folder, 40 kB each
    samples: int = 250_000  # training frames in total
    batch: int = 32
    learning_rate: float = 2e-3  # peak; a short warm-up, then a cosine to zero
    weight_decay: float = 1e-2
    ema: float = 0.998  # decay of the moving average of the weights, per step
    validate_every: int = 12_000  # frames between validations
    seed: int = 0
    device: str = 'auto'
    init: str = ''  # ONNX file of a palm detector to start from; empty: random weights

    def __post_init__(self) -> None:
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
    """Settings of a training run of the joint refiner."""

    crops: int = 500_000  # rendered crops; kept in memory, 21 kB each
    skin: str = ''  # GLB file of a skinned hand, used for half of the crops; empty: none
    workers: int = 2  # rendering processes
    compiled: bool = False
    bfloat16: bool = False
    init: str = ''  # checkpoint with the refiner to start from; empty: random weights
    init_share: float = 0.0  # share of that refiner in its mean with the trained one
    device: str = 'auto'

    def __post_init__(self) -> None:
        if self.crops < 1 or self.workers < 0:
            raise ValueError(
                f'crops >= 1 and workers >= 0 must hold, got {self.crops} and {self.workers}'
            )
        if not 0 <= self.init_share < 1 or self.init_share and not self.init:
            raise ValueError(
                f'init_share must be in [0,1), and above 0 only with init, got {self.init_share} '
                f'and {self.init!r}'
            )


@dataclass(frozen=True)
class HandednessTrainConfig:
    """Settings of a training run of the handedness head and of the fit of the detection score."""

    crops: int = 100_000  # rendered crops, in both orientations
    scenes: int = 1200  # rendered scenes to fit the detection score to; 0: no fit
    finder_weights: str = ''  # ONNX file of the palm detector; empty: the default one
    device: str = 'auto'

    def __post_init__(self) -> None:
        if self.crops < 1 or self.scenes < 0:
            raise ValueError(
                f'crops >= 1 and scenes >= 0 must hold, got {self.crops} and {self.scenes}'
            )
