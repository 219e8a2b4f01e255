"""One node, one process: start, spin, end in good order."""
import gc
import signal
import sys
import threading

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

try:
    from rclpy.experimental import EventsExecutor
except ImportError:             # rclpy before 7.1.4
    EventsExecutor = None


REPEAT_S = 10.0             # [s] what goes wrong in callbacks is logged at most so often


def make_executor():
    """The executor of one thread that costs least for each message, of those that this ROS has.

    The usual one builds a new wait set of everything that the node has for every single event, in Python: 0.5 to 0.9 ms. The
    EventsExecutor waits in C++ and enters Python for the callback only.
    """
    return SingleThreadedExecutor() if EventsExecutor is None else EventsExecutor()


def spare_garbage_collector():
    """What was loaded so far stays: to look through it for garbage, again and again, would stop the node for 0.1 s each time."""
    gc.collect()
    gc.freeze()


def run(make_node, keep_going=False):
    """Spin the node that make_node() returns until SIGINT or SIGTERM. Returns the exit status.

    Unusable parameters (ValueError, rclpy's exceptions) end the start with one line that names them. keep_going: an exception
    in a callback is logged and does not end the process: what others send must not. rclpy's own callbacks raise over a /clock
    before 1970, for example, and over messages that cannot be decoded.
    """
    # rclpy's own handlers invalidate the context under a running callback; these let it come to its end.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make_node()
    except (ValueError, ParameterException) as error:
        print(f'cannot start: {error}', file=sys.stderr)
        rclpy.shutdown()
        return 1
    spare_garbage_collector()
    executor = make_executor()
    executor.add_node(node)
    try:
        while not stop.is_set():
            try:
                executor.spin_once(timeout_sec=0.2)
            except Exception as error:
                if not keep_going or not rclpy.ok():
                    raise
                node.get_logger().error(f'a message could not be handled: {type(error).__name__}: {error}',
                                        throttle_duration_sec=REPEAT_S)
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return 0
