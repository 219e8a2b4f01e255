"""A node's process: what ends it and what must not."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from awr_ros.ros.spin import return_free_memory

HOSTILE = """
import threading
import rclpy
from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from awr_ros.ros.spin import run

def make_node():
    node = rclpy.create_node('victim', parameter_overrides=[Parameter('use_sim_time', value=True)])
    clock, thread = node.create_publisher(Clock, '/clock', 10), threading.Event()
    def publish():
        for sec in (-1, -5, 7):
            clock.publish(Clock(clock=Time(sec=sec)))
            thread.wait(0.3)
        for _ in range(30):
            if node.get_clock().now().nanoseconds == 7 * 10**9:
                print('went on', flush=True)
                break
            thread.wait(0.1)
        import os, signal
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Timer(0.5, publish).start()
    return node
raise SystemExit(run(make_node, 'usage', keep_going=KEEP_GOING))
"""


@pytest.mark.parametrize('keep_going', [True, False])
def test_a_clock_before_1970_ends_only_what_wants_to_end(keep_going):
    done = subprocess.run(
        [sys.executable, '-c', HOSTILE.replace('KEEP_GOING', str(keep_going))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0 and 'went on' in done.stdout) == keep_going, done.stderr
    assert (
        done.stderr.count(
            'a message could not be handled: ValueError: Seconds value must not be negative'
        )
        == keep_going
    )


STOPPED = """
import os, signal, sys, threading
import rclpy
from awr_ros.ros.spin import run
signal.signal(signal.SIGHUP, signal.{nohup})
threading.Timer(1.0, os.kill, (os.getpid(), {number})).start()
threading.Timer({limit_s}, os._exit, (3,)).start()
status = run(lambda: rclpy.create_node('stopped'), 'usage')
print('ended in order', flush=True)
os._exit(status)
"""


@pytest.mark.parametrize(
    'number, nohup, status',
    [('SIGINT', 'SIG_DFL', 0), ('SIGTERM', 'SIG_DFL', 0), ('SIGHUP', 'SIG_DFL', 0)]
    + [('SIGHUP', 'SIG_IGN', 3)],
)
def test_a_node_ends_in_order_by_a_signal_and_heeds_nohup(number, nohup, status):
    program = STOPPED.format(
        number=int(getattr(signal, number)), nohup=nohup, limit_s=2.5 if status else 50
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status, done
    assert ('ended in order' in done.stdout) == (status == 0) and 'Traceback' not in done.stderr


SLOW = """
import sys, time
import rclpy
from awr_ros.ros.spin import run

def make_node():
    node = rclpy.create_node('slow')
    print('loading', flush=True)
    time.sleep(100)
    return node
raise SystemExit(run(make_node, 'usage'))
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_start_that_takes_long(number):
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == 'loading\n'
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and not errors, errors


def resident_mb():
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize() / 1e6


def test_free_memory_between_small_objects_is_returned():
    """A hole below a small object stays with the C library, however much is freed."""
    holes, pins = [], []
    for _ in range(2000):
        holes.append(bytearray(50_000))
        pins.append(bytearray(600))
    full = resident_mb()
    holes.clear()
    return_free_memory()
    assert full - resident_mb() > 70
    del pins
