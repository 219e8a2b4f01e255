"""The four public data sets as their papers use them: camera, joints, cube, subjects and training
schedule.

All xyz here are the package's: camera optical frame [mm], x right, y down, z forward. NYU's and
MSRA's own files have y up (and MSRA's z backwards); their loaders turn them.
"""

from dataclasses import dataclass

from awr_ros.camera import Intrinsics
from awr_ros.skeleton import HANDS17_21, ICVL_16, MSRA_21, NYU_14


@dataclass(frozen=True)
class DatasetSpec:
    """Conventions of one data set."""

    name: str
    intrinsics: Intrinsics
    joint_names: tuple[str, ...]
    cube_mm: tuple[float, ...]  # side of the crop [mm], one or one per subject
    side: str  # of the hands
    epochs: int  # of a stage of training; a tenth of the learning rate after every step_epochs
    step_epochs: int
    # (name, first frame, frame after the last one) of the test set, where known
    test_subjects: tuple = ()


DATASETS = {
    dataset_spec.name: dataset_spec
    for dataset_spec in (
        # Of the 8252 test frames the first 2440 show the person of the training set, the others
        # somebody new.
        DatasetSpec(
            'nyu',
            Intrinsics(588.03, 587.07, 320.0, 240.0, 640, 480),
            NYU_14,
            (300.0,),
            'right',
            40,
            30,
            (('subject 1 (seen in training)', 0, 2440), ('subject 2 (new)', 2440, 8252)),
        ),
        DatasetSpec(
            'icvl',
            Intrinsics(240.99, 240.96, 160.0, 120.0, 320, 240),
            ICVL_16,
            (250.0,),
            'left',
            40,
            10,
            (('sequence 1', 0, 702), ('sequence 2', 702, 1596)),
        ),
        DatasetSpec(
            'msra',
            Intrinsics(241.42, 241.42, 160.0, 120.0, 320, 240),
            MSRA_21,
            (200.0, 200.0, 200.0, 180.0, 180.0, 180.0, 170.0, 160.0, 150.0),
            'right',
            25,
            10,
            tuple(
                (f'subject {i}', first, last)
                for i, (first, last) in enumerate(
                    zip(
                        (0, 8499, 16991, 25403, 33891, 42391, 50888, 59385, 67883),
                        (8499, 16991, 25403, 33891, 42391, 50888, 59385, 67883, 76375),
                    )
                )
            ),
        ),
        DatasetSpec(
            'hands17',
            Intrinsics(475.065948, 475.065857, 315.944855, 245.287079, 640, 480),
            HANDS17_21,
            (200.0,),
            'right',
            10,
            5,
        ),
    )
}


def dataset_spec(name: str) -> DatasetSpec:
    """Return the DatasetSpec of a name, or raise ValueError."""
    if name not in DATASETS:
        raise ValueError(f'dataset must be one of {", ".join(DATASETS)}, got {name!r}')
    return DATASETS[name]
