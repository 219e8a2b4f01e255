"""One node, one process: start, spin, end in good order."""
import signal
import sys
import threading

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions


def run(make_node):
    """Spin the node that make_node() returns until SIGINT or SIGTERM. Returns the exit status.

    Unusable parameters (ValueError, rclpy's exceptions) end the start with one line that names them.
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
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return 0
