"""Settings of training on a public data set, importable without PyTorch for the command line."""

from dataclasses import dataclass

from awr_ros.datasets.specs import dataset_spec

NETWORKS = ('resnet_18', 'resnet_50', 'hourglass_1', 'hourglass_2')
SCHEDULES = ('two_stage', 'joint')


@dataclass(frozen=True)
class PaperTrainConfig:
    """Settings of one run. 0 stands for the value of the papers for this data set and network."""

    dataset: str = 'nyu'
    network: str = 'resnet_18'
    # 'two_stage': dense loss, then joints as well; 'joint': both from the start, AdamW
    schedule: str = 'two_stage'
    epochs: int = 0  # of each stage
    step_epochs: int = 0  # epochs between divisions of the learning rate by 10
    batch: int = 32  # crops per step
    learning_rate: float = 1e-3
    kernel_size: float = 0.0  # radius of closeness, uvdn units
    crop_size: int = 128  # side of the input [px]
    width: int = 256  # channels of an hourglass; the paper's is 256
    downsample: int = 2  # of a ResNet: crop side over field side
    translate_mm: float = 10.0  # [mm] standard deviation of the random shift, per axis
    scale: float = 0.1  # standard deviation of the cube's scale
    rotate_deg: float = 180.0  # [deg] largest random rotation
    augment: float = 1.0  # share of samples with one of the four augmentations
    subject: int = 0  # MSRA: the subject left out of training, for the test
    oracle_cube: bool = False  # NYU: the new subject's test crops are 5/6 as large
    authors_crop: bool = False  # crops as the authors' code cuts them (crop.crop_as_authors)
    workers: int = 4  # loading processes; 0: load between steps
    # [epochs] between tests on the test set; checkpoints are written every epoch
    validate_every: int = 1
    max_steps: int = 0  # limit of the steps in total, 0: none
    seed: int = 0
    device: str = 'auto'

    def __post_init__(self) -> None:
        conventions = dataset_spec(self.dataset)
        if self.network not in NETWORKS:
            raise ValueError(f'network must be one of {", ".join(NETWORKS)}, got {self.network!r}')
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f'schedule must be one of {", ".join(SCHEDULES)}, got {self.schedule!r}'
            )
        for name in (
            'epochs',
            'step_epochs',
            'kernel_size',
            'translate_mm',
            'scale',
            'rotate_deg',
            'workers',
            'max_steps',
        ):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} must not be negative, got {getattr(self, name)}')
        for name in ('batch', 'validate_every', 'crop_size'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        if not self.learning_rate > 0 or not 0 <= self.augment <= 1:
            raise ValueError(
                f'learning_rate > 0 and 0 <= augment <= 1 must hold, got {self.learning_rate} and '
                f'{self.augment}'
            )
        if not 0 <= self.subject < len(conventions.cube_mm):
            raise ValueError(
                f'subject must be below {len(conventions.cube_mm)} on {self.dataset}, got '
                f'{self.subject}'
            )
        if self.oracle_cube and self.dataset != 'nyu':
            raise ValueError(f'oracle_cube is for nyu only, got {self.dataset!r}')

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """Epochs of each stage: both losses from the start need one stage only."""
        epochs = self.epochs or dataset_spec(self.dataset).epochs
        return (epochs,) if self.schedule == 'joint' else (epochs, epochs)

    @property
    def step_after(self) -> int:
        """[epochs] of a stage between falls of the learning rate."""
        return self.step_epochs or dataset_spec(self.dataset).step_epochs

    @property
    def kernel(self) -> float:
        """Radius of closeness, uvdn units: 0.4 for hourglasses and 1 for ResNets in the authors'
        configuration, 0.8 in the later joint schedule.
        """
        if self.kernel_size:
            return self.kernel_size
        return (
            0.8
            if self.schedule == 'joint'
            else 0.4
            if self.network.startswith('hourglass')
            else 1.0
        )


HELP = {
    'network': 'network, one of ' + ', '.join(NETWORKS),
    'schedule': "two_stage as in the paper, or joint as in the same group's later work",
    'epochs': "epochs of each stage, 0: the paper's",
    'step_epochs': "epochs between divisions of the learning rate by 10, 0: the paper's",
    'batch': 'crops per step',
    'learning_rate': 'initial learning rate',
    'kernel_size': "radius of closeness, 0: the authors'",
    'crop_size': 'side of the input [px]',
    'width': 'channels of an hourglass',
    'downsample': 'ratio of crop side to field side of a ResNet: 1, 2 or 4',
    'translate_mm': 'augmentation: standard deviation of the shift, per axis [mm]',
    'scale': "augmentation: standard deviation of the cube's scale",
    'rotate_deg': 'augmentation: largest rotation [deg]',
    'augment': 'augmentation: share of samples',
    'subject': 'MSRA: test subject, left out of training',
    'oracle_cube': (
        "NYU: 5/6 of the cube for the new subject's test frames, using knowledge of the subject"
    ),
    'authors_crop': "crops as the authors' code cuts them, for their checkpoints",
    'workers': 'loading processes, 0: none',
    'validate_every': 'epochs between tests',
    'max_steps': 'limit of the steps in total, 0: none',
    'seed': 'random seed',
    'device': 'auto, cpu or cuda',
}
