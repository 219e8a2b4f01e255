"""Process of one or several nodes: start, spin, orderly end."""

import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos_overriding_options import InvalidQosOverridesError
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from awr_ros.dependencies import CONFIGURATION_REFUSED
from awr_ros.ros.parameter_files import nodes_of_file, parameter_files, unused_files

try:
    from rclpy.experimental import EventsExecutor
except ImportError:  # rclpy before 7.1.4
    EventsExecutor = None  # type: ignore[assignment,misc]

# What rclpy and we raise for arguments that cannot be used; its RCLError and what it says of
# qos_overrides are RuntimeErrors.
REFUSALS = (
    ValueError,
    RuntimeError,
    ParameterException,
    NameValidationException,
    InvalidQosOverridesError,
)


REPEAT_S = 10.0  # [s] least interval between logged errors of callbacks


def make_executor() -> Any:
    """Return the single-threaded executor of this ROS with the least cost per message.

    The default one builds a new wait set of all entities of the node for every single event, in
    Python: 0.5 to 0.9 ms. The EventsExecutor waits in C++ and enters Python for the callback only.
    """
    return SingleThreadedExecutor() if EventsExecutor is None else EventsExecutor()


@cache
def _malloc_trim():
    """Return the C library's malloc_trim, or a function that does nothing."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return lambda _padding: 0


def return_free_memory() -> None:
    """Give free memory back to the system.

    The C library keeps the holes of freed networks and images; small objects between them make it
    allocate new memory for the next ones. Takes some milliseconds: not for each image.
    """
    gc.collect()
    _malloc_trim()(0)


def spare_garbage_collector() -> None:
    """Move everything loaded so far out of the garbage collector's reach.

    A full collection would pause the node for 0.1 s.
    """
    gc.unfreeze()  # objects replaced since may be garbage
    return_free_memory()
    gc.freeze()


def run(make_nodes: Callable, usage: str, keep_going: bool = False) -> int:
    """Spin nodes until SIGINT, SIGTERM or SIGHUP. Return the exit status.

    make_nodes: returns a node or a list of them, each of which gets its own thread and executor, so
    that none waits for another's callbacks; usage: text of --help. Unusable arguments, parameters
    and parameter files end the start with one line that names them, and CONFIGURATION_REFUSED.
    keep_going: log exceptions in callbacks instead of ending the process, because messages of
    others must not end it. rclpy's own callbacks raise for a /clock before 1970, for example, and
    for messages that cannot be decoded.
    """
    # rclpy's own handlers invalidate the context under a running callback; this one lets it come to
    # its end. A start is interrupted: a first one converts the network, which takes long.
    stop, starting = threading.Event(), True

    def end(*_: object) -> None:
        nonlocal starting
        stop.set()
        if starting:
            starting = False
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, end)
    try:
        for file in parameter_files(sys.argv):
            nodes_of_file(file)  # before rclpy parses the command line
        own_arguments = remove_ros_args(sys.argv)[1:]
        if {'-h', '--help'} & set(own_arguments):
            print(usage)
            return 0
        if own_arguments:
            raise ValueError(
                f"unknown argument '{own_arguments[0]}': parameters are given as --ros-args -p "
                f'NAME:=VALUE, '
                '--help lists them'
            )
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        made = make_nodes()
        starting = False
        nodes = made if isinstance(made, list) else [made]
        for line in unused_files(sys.argv, [node.get_fully_qualified_name() for node in nodes]):
            nodes[0].get_logger().warning(line)
    except REFUSALS as error:
        print(f'cannot start: {" ".join(str(error).split())}', file=sys.stderr)
        # a partly constructed node may fail to be destroyed: the reason is already reported
        with suppress(Exception):
            rclpy.try_shutdown()
        return CONFIGURATION_REFUSED
    except KeyboardInterrupt:
        with suppress(Exception):
            rclpy.try_shutdown()
        return 0
    spare_garbage_collector()
    try:
        with ThreadPoolExecutor(len(nodes)) as threads:
            others = [threads.submit(_spin, node, stop, keep_going) for node in nodes[1:]]
            _spin(nodes[0], stop, keep_going)
        for other in others:
            other.result()  # raises the error that ended it
    finally:
        rclpy.shutdown()
    return 0


def _spin(node, stop, keep_going):
    """Spin a node until `stop` is set; set it when spinning ends otherwise."""
    executor = make_executor()
    executor.add_node(node)
    try:
        while not stop.is_set():
            try:
                executor.spin_once(timeout_sec=0.2)
            except Exception as error:
                if not keep_going or not rclpy.ok():
                    raise
                node.get_logger().error(
                    f'a message could not be handled: {type(error).__name__}: {error}',
                    throttle_duration_sec=REPEAT_S,
                )
    finally:
        stop.set()
        node.destroy_node()
