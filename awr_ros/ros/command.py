"""Command-line verbs that also work with a running node: bench, conformance and view.

ROS is imported on use, so that the verbs exist without it.
"""

import importlib.util
from typing import Any

from awr_ros.bench.command import add_bench
from awr_ros.evaluation.openxr_conformance import add_conformance
from awr_ros.viewer.command import add_view


def add_commands(verbs: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    add_bench(verbs, _bench_messages)
    add_conformance(verbs, _listen)
    add_view(verbs, _open_node)


def _bench_messages(report, seconds, rates):
    """Return the benchmark over ROS, None without ROS."""
    if importlib.util.find_spec('rclpy') is None or importlib.util.find_spec('awr_ros.msg') is None:
        report.section('Message to message')
        report.remark('ROS is not here: nothing was measured.')
        return
    from awr_ros.ros.measure.latency import bench_messages

    bench_messages(report, seconds, rates)


def _open_node(name, topic):
    """Subscribe to a running node for the view."""
    from awr_ros.ros.view_source import NodeSource

    return NodeSource(name, topic)


def _listen(topic, seconds):
    """Collect the OpenXR hands of a running node."""
    from awr_ros.ros.measure.listen import listen

    return listen(topic, seconds)
