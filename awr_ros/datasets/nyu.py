"""NYU: `train` and `test`, each with depth_1_%07d.png and joint_data.mat; centre files beside them.

Depth is blue + 256 green of an RGB PNG; labels and centres are xyz [mm] with y up. View 1 only, as
in the papers.
"""

from pathlib import Path

import numpy as np

from awr_ros.datasets.frames import Frames, Split, centres_of, read_png_rgb
from awr_ros.datasets.metrics import NYU_IDS, read_joint_data
from awr_ros.datasets.specs import DATASETS
from awr_ros.datasets.text_files import read_table

Y_DOWN = np.array([1.0, -1.0, 1.0])
SECOND_SUBJECT = 2440  # first test frame of the person who is not in the training set
ORACLE_SHARE = 5 / 6


def load_nyu(root: str | Path, split: Split, oracle_cube: bool = False) -> Frames:
    """Load the frames of NYU.

    root: folder with `train` and `test`; split: 'train' or 'test'; oracle_cube: crops of the new
    subject's test frames are 5/6 as large, as in the authors' code, which uses knowledge of the
    subject. Crop centres come from root/center_{split}_refined.txt, without that file from the
    labels, which uses the truth as well.
    """
    root, conventions = Path(root), DATASETS['nyu']
    folder = root / split
    if split not in ('train', 'test'):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    joints = read_joint_data(folder / 'joint_data.mat', 'joint_xyz')[:, NYU_IDS] * Y_DOWN
    paths = tuple(folder / f'depth_1_{i + 1:07d}.png' for i in range(len(joints)))
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f'no image {missing[0]}: {folder / "joint_data.mat"} has labels of {len(paths)} '
            f'frames, '
            f'{len(missing)} of them without an image'
        )
    centre_file = root / f'center_{split}_refined.txt'
    if centre_file.is_file():
        centres = read_table(centre_file, 3)[0] * Y_DOWN
        if len(centres) != len(joints):
            raise ValueError(
                f'{centre_file} has {len(centres)} lines, but there are {len(joints)} frames'
            )
    else:
        print(f'no {centre_file}: crops are centred on the true joints')
        centres = centres_of(joints)
    cubes = np.full(len(joints), conventions.cube_mm[0])
    if oracle_cube and split == 'test':
        cubes[SECOND_SUBJECT:] *= ORACLE_SHARE
    return Frames(conventions, paths, read_png_rgb, joints, centres, cubes)
