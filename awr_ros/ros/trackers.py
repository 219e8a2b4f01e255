"""Trackers of several cameras in one process, sharing one network.

Each camera has its own tracker node in the camera's namespace, with all topics, parameters,
lifecycle and diagnostics of a single tracker. One thread receives each node's messages and another
tracks, so that no camera waits for another.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from awr_ros.ros import parameters
from awr_ros.ros.node import TrackerNode, load_tracker
from awr_ros.ros.spin import run
from awr_ros.runtime.shared_engine import SharedEngines

CAMERAS = 'cameras'
EXPECTED = 'expected the namespaces of the cameras, such as [left, right]'


class CameraList(Node):
    """The node `trackers` with the parameter that names the cameras, and nothing else."""

    def __init__(self, **node_options: Any) -> None:
        """Raise ValueError when the parameter is missing or not a list of namespaces."""
        super().__init__('trackers', **node_options)
        given = parameters.given(self).get(CAMERAS)
        if given is None:
            raise ValueError(f'parameter {CAMERAS} is missing: {EXPECTED}')
        if (
            not isinstance(given, list)
            or not given
            or not all(isinstance(name, str) and name.strip('/') for name in given)
        ):
            raise ValueError(f'parameter {CAMERAS} is {given!r}, {EXPECTED}')
        self.cameras = [name.strip('/') for name in given]
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(
                f'parameter {CAMERAS} is {given!r}: each camera needs a namespace of its own'
            )
        self.declare_parameter(
            CAMERAS,
            Parameter.Type.STRING_ARRAY,
            ParameterDescriptor(
                read_only=True,
                description='namespaces of the cameras, each of which gets a tracker',
            ),
        )


def make_trackers(tracker_factory: Callable | None = None, **node_options: Any) -> list[Node]:
    """Return the node `trackers` and a TrackerNode for each of its cameras, not yet started.

    tracker_factory: as for TrackerNode, None: real trackers that share their engines; node_options:
    of all nodes. Raise ValueError for a parameter that a node refuses, and when the command line
    renames the nodes to one name.
    """
    cameras = CameraList(**node_options)
    factory = tracker_factory or partial(load_tracker, engines=SharedEngines())
    trackers = [
        TrackerNode(factory, (CAMERAS,), namespace=camera, **node_options)
        for camera in cameras.cameras
    ]
    names = [tracker.get_fully_qualified_name() for tracker in trackers]
    if len(set(names)) < len(names):
        raise ValueError(
            f'the trackers of several cameras are all {names[0]}: do not set __ns or __node, name '
            f'the cameras instead'
        )
    return [cameras, *trackers]


def main() -> int:
    """Run the executable `trackers`. Return the exit status."""
    usage = parameters.usage(
        'trackers',
        f'Tracks hands of several cameras in one process: -p {CAMERAS}:="[left, right]" are\n'
        'left/depth/image to left/tracker/hands and right/depth/image to right/tracker/hands. '
        'Parameters are of\n'
        'all trackers, or in a file of one: /left/tracker.',
    )

    def start():
        nodes = make_trackers()
        for tracker in nodes[1:]:
            tracker.autostart()
        return nodes

    return run(start, usage, keep_going=True)


if __name__ == '__main__':
    sys.exit(main())
