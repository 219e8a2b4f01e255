"""Numeric topics of a bag as arrays, sampled at given times: joint states, poses, commands."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from awr_ros.files import printable
from awr_ros.offline.bag_files import BagFiles
from awr_ros.offline.bag_types import typestore
from awr_ros.offline.frames import NS_PER_S

MAX_VALUES = 1024  # limit per message: images and point clouds are not states
TEXT = ('string', 'wstring')


@dataclass(frozen=True)
class Samples:
    """Messages of one topic as numbers, in the order of time."""

    topic: str
    names: tuple[str, ...]  # names of the D values
    times_ns: np.ndarray  # (N,) int64 [ns], increasing
    values: np.ndarray  # (N,D) float32, in the units of the message
    stamped: bool  # whether times are those of the headers, or those of the recording

    def nearest(self, times_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values (T,D) nearest to times (T,) [ns], and their distances in time (T,)
        [ns].
        """
        after = np.searchsorted(self.times_ns, times_ns).clip(1, max(len(self.times_ns) - 1, 1))
        after = np.minimum(after, len(self.times_ns) - 1)
        before = np.maximum(after - 1, 0)
        later = self.times_ns[after] - times_ns
        earlier = times_ns - self.times_ns[before]
        index = np.where(np.abs(later) < np.abs(earlier), after, before)
        return self.values[index], np.abs(self.times_ns[index] - times_ns)


def read_samples(path: Path, topic: str) -> Samples:
    """Read a topic of a bag whose messages are a fixed number of numbers.

    Raise ValueError for a missing topic, one with other contents, or with messages of changing
    size. Strings are left out; the joint names of a JointState name its values.
    """
    with BagFiles(path) as files:
        channels = [channel for channel in files.channels if channel.topic == topic]
        if not channels or not any(channel.count for channel in channels):
            known = sorted({channel.topic for channel in files.channels if channel.count})
            raise ValueError(
                f'{printable(path)} has no messages on {topic}; its topics: {", ".join(known)}'
            )
        if channels[0].type not in typestore().fielddefs:
            raise ValueError(f'topic {topic} is {channels[0].type}, a type that is not known here')
        messages = [
            (logged_ns, typestore().deserialize_cdr(data, channel.type))
            for channel, logged_ns, data in files.messages(channels)
        ]
    return _samples(topic, channels[0].type, messages)


def _samples(topic: str, message_type: str, messages: list[tuple[int, Any]]) -> Samples:
    first = dict(_numbers(messages[0][1], message_type))
    names = tuple(first)
    if not names:
        raise ValueError(f'topic {topic} ({message_type}) has no numbers')
    if len(names) > MAX_VALUES:
        raise ValueError(
            f'topic {topic} ({message_type}) has {len(names)} numbers a message, expected '
            f'{MAX_VALUES} at most'
        )
    stamps = [_stamp_ns(message) for _, message in messages]
    stamped = all(stamps)
    rows = []
    for number, (_, message) in enumerate(messages):
        values = dict(_numbers(message, message_type))
        if values.keys() != first.keys():
            raise ValueError(
                f'message {number} of {topic} has {len(values)} numbers, the first one '
                f'{len(first)}: they must be the same ones'
            )
        rows.append([values[name] for name in names])
    times = np.array(stamps if stamped else [logged for logged, _ in messages], np.int64)
    order = np.argsort(times, kind='stable')
    return Samples(topic, names, times[order], np.array(rows, np.float32)[order], stamped)


def _stamp_ns(message: Any) -> int:
    """Return the stamp of a message's header [ns]; 0 without one."""
    header = getattr(message, 'header', None)
    return 0 if header is None else header.stamp.sec * NS_PER_S + header.stamp.nanosec


def _numbers(message: Any, message_type: str, prefix: str = '') -> Iterator[tuple[str, float]]:
    """Yield the numbers of a message with their names, field by field, without headers."""
    fields = typestore().fielddefs[message_type][1]
    joint_names = list(getattr(message, 'name', ())) if message_type.endswith('/JointState') else ()
    for field, node in fields:
        value, name = getattr(message, field), prefix + field
        if node[0] == Nodetype.NAME:
            if node[1] != 'std_msgs/msg/Header':
                yield from _numbers(value, node[1], name + '.')
        elif node[0] == Nodetype.BASE:
            if node[1][0] not in TEXT:
                yield name, float(value)
        else:
            yield from _elements(name, value, node[1][0], joint_names)


def _elements(
    name: str, values: Any, element: Any, joint_names: Any
) -> Iterator[tuple[str, float]]:
    """Yield the numbers of an array."""
    if element[0] == Nodetype.BASE and element[1][0] in TEXT:
        return
    labels = joint_names if len(joint_names) == len(values) else range(len(values))
    if len(values) > MAX_VALUES:
        labels = range(MAX_VALUES + 1)  # enough for the message of the error
    for label, value in zip(labels, values):
        if element[0] == Nodetype.BASE:
            yield f'{name}.{label}', float(value)
        else:
            yield from _numbers(value, element[1], f'{name}.{label}.')
