"""ICVL: 16 bit PNG of 320 x 240, and text labels: a file's name, then u v d of 16 joints.

Training/labels.txt names files in Training/Depth, Testing/test_seq_1.txt and test_seq_2.txt files
in Testing/Depth.
"""

from pathlib import Path

import numpy as np

from awr_ros.datasets.frames import Frames, Split, centres_of, read_png16
from awr_ros.datasets.specs import DATASETS
from awr_ros.datasets.text_files import read_table

LABELS = {
    'train': ('Training', ('labels.txt',)),
    'test': ('Testing', ('test_seq_1.txt', 'test_seq_2.txt')),
}


def load_icvl(root: str | Path, split: Split, whole: bool = False) -> Frames:
    """Load the frames of ICVL.

    root: folder with `Training` and `Testing`; split: 'train' or 'test'; whole: include the rotated
    copies of training images, up to 14 of each. Crop centres: root/center_{split}_refined.txt (x y
    z [mm], y down, one line per label), without that file the labels.
    """
    if split not in LABELS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    root, conventions = Path(root), DATASETS['icvl']
    part, files = LABELS[split]
    rows: list[np.ndarray] = []
    names: list[str] = []
    for file in files:
        numbers, found = read_table(root / part / file, 48, names='first')
        rows.append(numbers)
        names.extend(found)
    uvd = np.concatenate(rows).reshape(-1, 16, 3)
    joints = conventions.intrinsics.uvd_to_xyz(uvd)
    centre_file = root / f'center_{split}_refined.txt'
    centres = read_table(centre_file, 3)[0] if centre_file.is_file() else centres_of(joints)
    if len(centres) != len(joints):
        raise ValueError(
            f'{centre_file} has {len(centres)} lines, but there are {len(joints)} frames'
        )
    # Rotated copies are in folders named by their angle, originals in folders named by a date:
    # 201403121135/image_0.png.
    keep = [
        i for i, name in enumerate(names) if split == 'test' or whole or len(Path(name).parts) == 2
    ]
    paths = tuple(root / part / 'Depth' / names[i] for i in keep)
    return Frames(
        conventions,
        paths,
        read_png16,
        joints[keep],
        centres[keep],
        np.full(len(keep), conventions.cube_mm[0]),
    )
