"""Outputs of tracking: JSON lines and CSV, in metres and the joint order of the messages; see
docs/offline.md.

An output is a context manager. Its file gets its name when everything went well; before, and after
an error, no file of that name exists.
"""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.files import completed
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.messages.hands import clipped_roi, quaternion_from_rotation
from awr_ros.offline.frames import Frame
from awr_ros.skeleton import JOINT_NAMES, wrist_rotation

HAND_COLUMNS = ('id', 'side', 'side_score', 'state', 'score')
CSV_COLUMNS = (
    'frame',
    'name',
    'stamp_ns',
    'frame_id',
    *HAND_COLUMNS,
    *(f'{joint}_{axis}' for joint in JOINT_NAMES for axis in 'xyz'),
    *(f'{joint}_score' for joint in JOINT_NAMES),
    *(f'wrist_q{axis}' for axis in 'xyzw'),
    'roi_x',
    'roi_y',
    'roi_width',
    'roi_height',
)


@dataclass(frozen=True)
class Tracked:
    """Result of one frame."""

    index: int  # index in the input, from 0
    frame: Frame
    depth_mm: np.ndarray | None  # (H,W) [mm]; None when the frame was refused
    intrinsics: Intrinsics | None
    hands: tuple  # TrackedHands
    refused: str = ''  # reason for not using the frame


@contextmanager
def json_lines(path: str | Path) -> Iterator[Callable]:
    """Yield a function that writes one line of JSON for a Tracked; '-' is the standard output."""
    if path == '-':
        if sys.stdout is None:
            raise ValueError('the standard output is closed: name a file')
        yield lambda tracked: print(_json_line(tracked))
        sys.stdout.flush()
        return
    with completed(path) as part, part.open('w', encoding='utf-8') as file:
        yield lambda tracked: print(_json_line(tracked), file=file)


@contextmanager
def csv_rows(path: str | Path) -> Iterator[Callable]:
    """Yield a function that writes one row for each hand of a Tracked."""
    with completed(path) as part, part.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        yield lambda tracked: writer.writerows(_csv_row(tracked, hand) for hand in tracked.hands)


def hand_record(hand: Any, intrinsics: Intrinsics) -> dict[str, Any]:
    """Convert a TrackedHand to a JSON dictionary in SI units: NaN is None."""
    rotation = wrist_rotation(hand.joints_xyz, hand.side)
    return {
        'id': hand.id,
        'side': hand.side,
        'side_score': _number(hand.side_score),
        'state': hand.state,
        'score': _number(hand.score),
        'joints': [
            [_number(v) for v in row] for row in np.asarray(hand.joints_xyz, np.float64) / MM_PER_M
        ],
        'joint_scores': [_number(v) for v in hand.joint_scores],
        'wrist_orientation': [_number(v) for v in quaternion_from_rotation(rotation)],
        'roi': list(clipped_roi(hand.roi, intrinsics.width, intrinsics.height)),
    }


def _json_line(tracked):
    record = {
        'frame': tracked.index,
        'name': tracked.frame.name,
        'stamp_ns': tracked.frame.stamp_ns,
        'frame_id': tracked.frame.frame_id,
        'hands': [hand_record(hand, tracked.intrinsics) for hand in tracked.hands],
    }
    if tracked.refused:
        record['refused'] = tracked.refused
    return json.dumps(record, allow_nan=False)


def _csv_row(tracked, hand):
    record = hand_record(hand, tracked.intrinsics)
    return [
        tracked.index,
        tracked.frame.name,
        tracked.frame.stamp_ns,
        tracked.frame.frame_id,
        *(record[key] for key in HAND_COLUMNS),
        *(v for joint in record['joints'] for v in joint),
        *record['joint_scores'],
        *record['wrist_orientation'],
        *record['roi'],
    ]


def _number(value):
    """Return a float with the digits of single precision, None for NaN."""
    value = float(value)
    return None if math.isnan(value) else float(f'{value:.7g}')
