"""HANDS17: `training` with images and Training_Annotation.txt: a file's name, then x y z [mm] of 21
joints, y down.

The labels of its test frames were never published, so errors are measured on every tenth training
frame, held out.
"""

from pathlib import Path

import numpy as np

from awr_ros.datasets.frames import Frames, Split, centres_of, read_png16
from awr_ros.datasets.specs import DATASETS
from awr_ros.datasets.text_files import read_table

HOLD_OUT_BLOCK = 1000  # frames of a video follow one another: whole blocks are held out


def load_hands17(root: str | Path, split: Split) -> Frames:
    """Load the frames of HANDS17.

    root: folder with `training/Training_Annotation.txt` and `training/images`; split: 'train', or
    'test' for the held-out blocks, every tenth of 1000 frames. Crops are centred on the labels.
    """
    if split not in ('train', 'test'):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    root, conventions = Path(root), DATASETS['hands17']
    rows, names = read_table(root / 'training' / 'Training_Annotation.txt', 63, names='first')
    held_out = np.arange(len(rows)) // HOLD_OUT_BLOCK % 10 == 9
    keep = np.flatnonzero(held_out == (split == 'test'))
    if not len(keep):
        raise ValueError(
            f'{root}: {len(rows)} frames have none to {split} on, as the last of ten blocks of '
            f'{HOLD_OUT_BLOCK} '
            'is held out'
        )
    joints = rows.reshape(-1, 21, 3)[keep]
    paths = tuple(root / 'training' / 'images' / names[i] for i in keep)
    return Frames(
        conventions,
        paths,
        read_png16,
        joints,
        centres_of(joints),
        np.full(len(keep), conventions.cube_mm[0]),
    )


def read_boxes(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Read the hand boxes of a BoundingBox.txt: a file's name, then left, top, right, bottom [px]
    (of a detector, for the test frames). Return (N,4) float64 and the names.
    """
    boxes, names = read_table(path, 4, names='first')
    bad = np.flatnonzero((boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1]))
    if len(bad):
        raise ValueError(
            f'{path}, frame {names[bad[0]]}: right must exceed left and bottom top, got '
            f'{boxes[bad[0]].tolist()}'
        )
    return boxes, names
