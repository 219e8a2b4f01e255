"""Tracked hands as a LeRobotDataset v3, by the library `lerobot`: one recording is one episode.

A LeRobotDataset has a fixed rate. Rows are the ticks of a clock that starts at the first image;
each has the hands of the image nearest in time, and the nearest message of every other topic.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.files import completed, printable
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.messages.hands import quaternion_from_rotation
from awr_ros.offline.frames import NS_PER_S
from awr_ros.offline.outputs import Tracked
from awr_ros.offline.topics import Samples, read_samples
from awr_ros.skeleton import JOINT_NAMES, SIDES, wrist_rotation

STAMP = 'observation.hands.stamp_ns'
# One side of a row: joints, their scores, wrist orientation, score of the hand.
PARTS = ('joints', 'joint_scores', 'wrist_orientation', 'score')
WIDTHS = (63, 21, 4, 1)
PART_NAMES = (
    [f'{joint}_{axis}' for joint in JOINT_NAMES for axis in 'xyz'],
    list(JOINT_NAMES),
    list('xyzw'),
    ['score'],
)
UNITS = ('m', '1', 'quaternion', '1')


@dataclass(frozen=True)
class LeRobotOptions:
    """Options of the dataset."""

    recording: Path  # input, whose other topics can be features
    features: tuple[str, ...] = ()  # topics, each 'NAME=/topic' or '/topic'
    task: str = 'hands'  # what the person does: LeRobot's task of the episode
    fps: int | None = None  # [Hz] rate of the rows; None: that of the images
    tolerance_s: float = 0.05  # [s] largest distance of a message or an image from its row

    def __post_init__(self) -> None:
        if self.fps is not None and self.fps < 1:
            raise ValueError(f'--fps must be at least 1, got {self.fps}')
        if not self.tolerance_s > 0:
            raise ValueError(f'--tolerance must be positive, got {self.tolerance_s:g} s')


def check_installed() -> None:
    """Raise ModuleNotFoundError if the library is missing."""
    os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')  # of a library that it imports
    import_module('lerobot.datasets.lerobot_dataset')


@contextmanager
def lerobot_dataset(path: str, options: LeRobotOptions) -> Iterator[Callable[[Tracked], None]]:
    """Yield a function that takes a Tracked; the dataset is written at the end, atomically.

    path: the new folder. Raise ValueError for topics that cannot be features or do not cover the
    images, ModuleNotFoundError if the library is missing.
    """
    check_installed()
    if not path:
        raise ValueError('lerobot: needs the name of a new folder, as in lerobot:my_dataset')
    topics = [_topic(text, options.recording) for text in options.features]
    rows = _Rows()
    with completed(path) as part:
        yield rows.add
        if rows.times_ns:
            _write(part, rows, topics, options)


def _topic(text: str, recording: Path) -> tuple[str, Samples]:
    """Parse 'NAME=/topic' and read the topic."""
    name, equals, topic = text.rpartition('=')
    if not equals:
        name = 'observation.' + topic.strip('/').replace('/', '.')
    if not name or '/' in name or not topic:
        raise ValueError(
            f"--feature is '{text}', expected NAME=/topic or /topic, with no / in NAME"
        )
    if 'image' in name:  # lerobot then expects statistics of pictures, and cannot merge data sets
        raise ValueError(f"--feature is '{text}': lerobot takes '{name}' for pictures, rename it")
    from awr_ros.offline.bag_files import is_bag

    if not is_bag(recording):
        raise ValueError(f'{printable(recording)} is no bag and has no topic {topic}')
    return name, read_samples(recording, topic)


@dataclass
class _Rows:
    """Hands of each image, both sides beside each other."""

    times_ns: list[int] = field(default_factory=list)  # stamps
    logged_ns: list[int] = field(default_factory=list)  # times of recording
    values: list[np.ndarray] = field(default_factory=list)  # (2,89) float32, zeros where not seen
    valid: list[tuple[bool, ...]] = field(default_factory=list)  # seen in this image, left, right
    frame_id: str = ''

    def add(self, tracked: Tracked) -> None:
        """Add one image; a refused one leaves a gap."""
        if tracked.refused:
            return
        hands = {}  # the more confident one of two with the same side
        for hand in sorted(tracked.hands, key=lambda hand: hand.score):
            if hand.state != 'coasting':
                hands[hand.side] = hand
        sides = [_hand_values(hands[side]) if side in hands else None for side in SIDES]
        zeros = np.zeros(sum(WIDTHS), np.float32)
        self.values.append(np.stack([zeros if v is None else v for v in sides]))
        self.valid.append(tuple(v is not None for v in sides))
        self.times_ns.append(tracked.frame.stamp_ns or tracked.frame.logged_ns)
        self.logged_ns.append(tracked.frame.logged_ns)
        self.frame_id = tracked.frame.frame_id


def _hand_values(hand: Any) -> np.ndarray:
    """Return the PARTS of a TrackedHand in one row (89,) float32; unknown ones are 0, with
    score 0.
    """
    orientation = quaternion_from_rotation(wrist_rotation(hand.joints_xyz, hand.side))
    scores = np.where(np.isfinite(hand.joints_xyz).all(-1), hand.joint_scores, 0)
    row = np.concatenate(
        [hand.joints_xyz.ravel() / MM_PER_M, scores, np.ravel(orientation), [hand.score]]
    )
    return np.nan_to_num(row).astype(np.float32)


# ---- the clock of the dataset ------------------------------------------------------------------


@dataclass(frozen=True)
class _Ticks:
    """Rows of the dataset."""

    times_ns: np.ndarray  # (T,) int64 [ns]
    image: np.ndarray  # (T,) index of the nearest image
    near: np.ndarray  # (T,) whether that is within the tolerance


def _ticks(times_ns: np.ndarray, fps: int, tolerance_ns: int) -> _Ticks:
    """Return ticks from the first to the last image (N,) [ns], which must increase."""
    count = int(round((times_ns[-1] - times_ns[0]) * fps / NS_PER_S)) + 1
    ticks = times_ns[0] + np.round(np.arange(count) * (NS_PER_S / fps)).astype(np.int64)
    after = np.searchsorted(times_ns, ticks).clip(0, len(times_ns) - 1)
    before = np.maximum(after - 1, 0)
    image = np.where(
        np.abs(times_ns[after] - ticks) < np.abs(ticks - times_ns[before]), after, before
    )
    return _Ticks(ticks, image, np.abs(times_ns[image] - ticks) <= tolerance_ns)


def _rate(times_ns: np.ndarray) -> int:
    """Return the whole number of images per second: LeRobot supports no other rates."""
    if len(times_ns) < 2:
        return 30
    return max(1, round(NS_PER_S / float(np.median(np.diff(times_ns)))))


def _covered(
    ticks: _Ticks, delay_ns: np.ndarray, topics: Sequence[tuple[str, Samples]], tolerance_s: float
) -> tuple[slice, dict[str, np.ndarray]]:
    """Return the ticks from the first to the last that has a message of every topic, and their
    values.

    delay_ns: (N,) [ns] from the stamp of each image to its recording, for topics without stamps.
    ValueError for a gap between the first and the last.
    """
    values, good = {}, np.ones(len(ticks.times_ns), bool)
    for name, samples in topics:
        times_ns = ticks.times_ns if samples.stamped else ticks.times_ns + delay_ns[ticks.image]
        values[name], away_ns = samples.nearest(times_ns)
        near = away_ns <= tolerance_s * NS_PER_S
        if not near.any():
            raise ValueError(
                f'no message of {samples.topic} is within {tolerance_s:g} s of an image: the '
                f'nearest'
                f' is {away_ns.min() / NS_PER_S:.3f} s away'
            )
        first, last = np.flatnonzero(near)[[0, -1]]
        if not near[first : last + 1].all():
            worst = first + int(np.argmax(away_ns[first : last + 1]))
            raise ValueError(
                f'{samples.topic} has a gap: at {times_ns[worst] / NS_PER_S:.3f} s its nearest '
                f'message'
                f' is {away_ns[worst] / NS_PER_S:.3f} s away; --tolerance is {tolerance_s:g} s'
            )
        good &= near
    if not good.any():
        raise ValueError('the topics that were asked for never have messages at the same time')
    first, last = np.flatnonzero(good)[[0, -1]]
    return slice(int(first), int(last) + 1), values


def _held(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return values (T,D) where rows that are not valid (T,) repeat the last valid one, or the
    first.

    Training needs finite numbers without jumps; flags distinguish them from measured ones. All rows
    are unchanged if none is valid.
    """
    if not valid.any():
        return values
    index = np.where(valid, np.arange(len(valid)), -1)
    index = np.maximum.accumulate(index)
    return values[np.where(index < 0, np.flatnonzero(valid)[0], index)]


# ---- the dataset -------------------------------------------------------------------------------


def _features(topics: Sequence[tuple[str, Samples]], frame_id: str) -> dict[str, dict]:
    """Return LeRobot's description of the columns. `info` has units and the frame."""
    features: dict[str, dict] = {}
    for side in SIDES:
        for part, width, names, unit in zip(PARTS, WIDTHS, PART_NAMES, UNITS):
            info = {'unit': unit}
            if part in ('joints', 'wrist_orientation'):
                info['frame'] = f'{frame_id or "camera"}: optical, x right, y down, z forward'
            features[f'observation.hands.{side}.{part}'] = {
                'dtype': 'float32',
                'shape': (width,),
                'names': names,
                'info': info,
            }
        features[f'observation.hands.{side}.valid'] = {
            'dtype': 'bool',
            'shape': (1,),
            'names': ['valid'],
        }
    features[STAMP] = {
        'dtype': 'int64',
        'shape': (1,),
        'names': ['stamp'],
        'info': {'unit': 'ns'},
    }
    for name, samples in topics:
        if name in features:
            raise ValueError(f'{name} is the name of two features')
        features[name] = {
            'dtype': 'float32',
            'shape': (len(samples.names),),
            'names': list(samples.names),
            'info': {'topic': samples.topic},
        }
    return features


def _write(
    path: Path, rows: _Rows, topics: Sequence[tuple[str, Samples]], options: LeRobotOptions
) -> None:
    order = np.argsort(rows.times_ns, kind='stable')
    times_ns, logged_ns = (
        np.array(times, np.int64)[order] for times in (rows.times_ns, rows.logged_ns)
    )
    fps = options.fps or _rate(times_ns)
    ticks = _ticks(times_ns, fps, round(options.tolerance_s * NS_PER_S))
    part, extra = _covered(ticks, logged_ns - times_ns, topics, options.tolerance_s)
    valid = np.array(rows.valid)[order][ticks.image] & ticks.near[:, None]
    values = np.stack(rows.values)[order][ticks.image]
    hands = [_held(values[:, side], valid[:, side]) for side in range(len(SIDES))]
    dataset = _create(path, fps, _features(topics, rows.frame_id))
    for tick in range(part.start, part.stop):
        row: dict[str, Any] = {'task': options.task, STAMP: times_ns[[ticks.image[tick]]]}
        for number, side in enumerate(SIDES):
            start = 0
            for name, width in zip(PARTS, WIDTHS):
                row[f'observation.hands.{side}.{name}'] = hands[number][tick, start : start + width]
                start += width
            row[f'observation.hands.{side}.valid'] = valid[tick, [number]]
        row.update({name: table[tick] for name, table in extra.items()})
        dataset.add_frame(row)
    dataset.save_episode()
    dataset.finalize()  # without it the parquet files have no footer


def _create(path: Path, fps: int, features: dict[str, dict]) -> Any:
    from datasets import disable_progress_bars
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    disable_progress_bars()
    return LeRobotDataset.create(
        f'local/{path.name}', fps, features, root=path, robot_type='human_hands', use_videos=False
    )
