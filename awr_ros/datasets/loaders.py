"""Loaders of the data sets, by name."""

from pathlib import Path

from awr_ros.datasets.frames import Frames, Split
from awr_ros.datasets.hands17 import load_hands17
from awr_ros.datasets.icvl import load_icvl
from awr_ros.datasets.msra import load_msra
from awr_ros.datasets.nyu import load_nyu


def load_frames(
    name: str, root: str | Path, split: Split, subject: int = 0, oracle_cube: bool = False
) -> Frames:
    """Load the frames of a data set. split: 'train' or 'test'; subject: MSRA, left out of training;
    oracle_cube: NYU, see load_nyu.
    """
    if name == 'nyu':
        return load_nyu(root, split, oracle_cube)
    if name == 'msra':
        return load_msra(root, split, subject)
    return {'icvl': load_icvl, 'hands17': load_hands17}[name](root, split)
