"""MSRA: nine subjects P0 to P8 with 17 gestures each; %06d_depth.bin and joint.txt.

A .bin holds six int32 (image width, height, box left, top, right, bottom) and the box's depth as
float32 [mm]; joint.txt the number of frames, then x y z [mm] of 21 joints a line, with y up and z
backwards.
"""

from pathlib import Path

import numpy as np

from awr_ros.datasets.frames import Frames, Split, centres_of
from awr_ros.datasets.specs import DATASETS
from awr_ros.datasets.text_files import read_table

GESTURES = (
    '1',
    '2',
    '3',
    '4',
    '5',
    '6',
    '7',
    '8',
    '9',
    'I',
    'IP',
    'L',
    'MP',
    'RP',
    'T',
    'TIP',
    'Y',
)
FROM_FILE = np.array([1.0, -1.0, -1.0])  # y down, z forward
HEADER_BYTES = 24


def load_msra(root: str | Path, split: Split, subject: int = 0) -> Frames:
    """Load the frames of MSRA, leaving one subject out: training is on the other eight, the test on
    this one.

    root: folder with `P0` to `P8`; split: 'train' or 'test'. Missing folders of subjects and
    gestures are skipped, but each split must have frames. Crops are centred on the labels: the data
    set has no centre files.
    """
    conventions = DATASETS['msra']
    if split not in ('train', 'test'):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if not 0 <= subject < 9:
        raise ValueError(f'subject must be 0 to 8, got {subject}')
    root = Path(root)
    paths, joints, cubes = [], [], []
    for person in range(9):
        if (person == subject) != (split == 'test'):
            continue
        for gesture in GESTURES:
            folder = root / f'P{person}' / gesture
            if not folder.is_dir():
                continue
            labels = read_joint_file(folder / 'joint.txt')
            paths += [folder / f'{i:06d}_depth.bin' for i in range(len(labels))]
            joints.append(labels)
            cubes += [conventions.cube_mm[person]] * len(labels)
    if not joints:
        raise FileNotFoundError(
            f'no gesture of a subject to {split} on in {root}: expected folders like P{subject}/1'
        )
    joints_xyz, cubes_mm = np.concatenate(joints), np.array(cubes)
    centres = centres_of(joints_xyz)
    return Frames(conventions, tuple(paths), read_bin, joints_xyz, centres, cubes_mm)


def read_joint_file(path: str | Path) -> np.ndarray:
    """Read the labels of one gesture. Return (N,21,3) float64 [mm] camera optical frame."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}')
    with open(path) as file:
        first = file.readline().split()
    if len(first) != 1 or not first[0].isdigit():
        raise ValueError(
            f'{path}, line 1: expected the number of frames, got {" ".join(first)[:40]!r}'
        )
    rows = read_table(path, 63, skip=1)[0]
    if len(rows) != int(first[0]):
        raise ValueError(f'{path}, line 1: says {first[0]} frames, but {len(rows)} follow')
    return rows.reshape(-1, 21, 3) * FROM_FILE


def read_bin(path: str | Path) -> np.ndarray:
    """Read the depth of one frame, its box in the whole image. Return (H,W) float32 [mm], 0
    invalid.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}')
    data = path.read_bytes()
    if len(data) < HEADER_BYTES:
        raise ValueError(f'{path} must have a header of {HEADER_BYTES} bytes, got {len(data)}')
    width, height, left, top, right, bottom = map(int, np.frombuffer(data, '<i4', 6))
    if not (0 <= left < right <= width <= 4096 and 0 <= top < bottom <= height <= 4096):
        raise ValueError(
            f'{path}: the box left {left}, top {top}, right {right}, bottom {bottom} must be '
            f'within the image of '
            f'{width} x {height}'
        )
    expected = HEADER_BYTES + 4 * (right - left) * (bottom - top)
    if len(data) != expected:
        raise ValueError(
            f'{path} must have {expected} bytes for a box of {right - left} x {bottom - top}, got '
            f'{len(data)}'
        )
    depth = np.zeros((height, width), np.float32)
    depth[top:bottom, left:right] = np.frombuffer(data, '<f4', offset=HEADER_BYTES).reshape(
        bottom - top, right - left
    )
    return depth
