"""Message classes of bags, by rosbags, without ROS; those of this package from their .msg files."""

from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import awr_ros

PACKAGE = Path(awr_ros.__file__).parent
# Folders of the definitions: of an installed package, of the sources.
DEFINITIONS = (PACKAGE / 'message_definitions', PACKAGE.parent / 'msg')
OURS = ('Hand', 'HandArray')
TYPES = (
    'awr_ros/msg/Hand',
    'awr_ros/msg/HandArray',
    'builtin_interfaces/msg/Duration',
    'builtin_interfaces/msg/Time',
    'geometry_msgs/msg/Point',
    'geometry_msgs/msg/Pose',
    'geometry_msgs/msg/PoseArray',
    'geometry_msgs/msg/Quaternion',
    'sensor_msgs/msg/CameraInfo',
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/RegionOfInterest',
    'std_msgs/msg/ColorRGBA',
    'std_msgs/msg/Header',
    'visualization_msgs/msg/Marker',
    'visualization_msgs/msg/MarkerArray',
)


@cache
def typestore() -> Any:
    """Return the types of ROS 2 and of this package."""
    store = get_typestore(Stores.LATEST)
    for name in OURS:
        store.register(get_types_from_msg(_definition(name), f'awr_ros/msg/{name}'))
    return store


@cache
def bag_types() -> Any:
    """Return TYPES as attributes, for awr_ros.messages: they take fields by name, like the classes
    of rclpy.
    """
    return SimpleNamespace(**{name.split('/')[-1]: BagType(typestore(), name) for name in TYPES})


class BagType:
    """A message class of a typestore with defaults for its fields; its constants are attributes."""

    def __init__(self, store: Any, name: str) -> None:
        self.name, self._class = name, store.types[name]
        self._defaults = {field: _default(store, node) for field, node in store.fielddefs[name][1]}

    def __call__(self, **fields: Any) -> Any:
        """Make a message; lists become the arrays that rosbags expects. An unknown field raises
        TypeError.
        """
        values = {field: default() for field, default in self._defaults.items()}
        for field, value in fields.items():
            if isinstance(values.get(field), np.ndarray):
                value = np.asarray(value, values[field].dtype)
            values[field] = value
        return self._class(**values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._class, name)


def _definition(name):
    for folder in DEFINITIONS:
        if (folder / f'{name}.msg').is_file():
            return (folder / f'{name}.msg').read_text(encoding='utf-8')
    raise FileNotFoundError(
        f'{name}.msg is neither in {" nor in ".join(str(folder) for folder in DEFINITIONS)}'
    )


def _default(store, node):
    """Return a function that makes the default of a field: 0, '', False, or an array or message of
    them.
    """
    kind, detail = node
    if kind == Nodetype.NAME:
        return BagType(store, detail)
    if kind == Nodetype.BASE:
        return {'string': str, 'bool': bool, 'float32': float, 'float64': float}.get(detail[0], int)
    element, length = detail
    length = length if kind == Nodetype.ARRAY else 0
    if element[0] == Nodetype.BASE and element[1][0] != 'string':
        return partial(np.zeros, length, element[1][0])
    make = _default(store, element)
    return lambda: [make() for _ in range(length)]
