"""The demo's arithmetic on made-up recordings, then the real thing: three processes over DDS."""

import gc
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from builtin_interfaces.msg import Time
from fakes import hand, open_hand_xyz
from std_msgs.msg import Header

from awr_ros.dependencies import CONFIGURATION_REFUSED
from awr_ros.msg import HandArray, TrackerStats
from awr_ros.ros import synthetic_camera
from awr_ros.ros.conversions import hand_array
from awr_ros.ros.measure import demo, latency, monitor, session

MS = 1_000_000


def recording(
    images=10, lost=(), dropped=(), offset_mm=(0, 0, 0), side='right', latency_ms=20, new_id=None
):
    """Images at 1, 2, ... s; the hands of the images that were tracked are off by offset_mm."""
    record, received, processed, gone = session.Recording(), 0, 0, 0
    for number in range(1, images + 1):
        stamp = number * 1000 * MS
        header = Header(stamp=Time(sec=number))
        record.truth[stamp] = hand_array([hand()], header, 640, 480)
        received += number not in lost
        gone += number in dropped
        if number in lost or number in dropped:
            continue
        processed += 1
        identity = 'other' if new_id and number >= new_id else 'first'
        tracked = hand(side=side, id=identity, joints_xyz=open_hand_xyz() + np.float32(offset_mm))
        record.hands[stamp] = (hand_array([tracked], header, 640, 480), stamp + latency_ms * MS)
        record.stats[stamp] = TrackerStats(
            header=header, frames_received=received, frames_processed=processed, frames_dropped=gone
        )
    return record


def evaluate(record):
    return session.evaluate(record, min(record.stats), max(record.stats))


def test_a_camera_that_cannot_render_ends_with_the_reason(monkeypatch):
    def broken(*_, **__):
        raise MemoryError('no room')

    monkeypatch.setattr(synthetic_camera, 'SyntheticCamera', broken)
    monkeypatch.setattr(threading, 'excepthook', lambda _: None)  # else it is on the terminal
    node = synthetic_camera.SyntheticCameraNode()
    node._renderer.join()
    with pytest.raises(RuntimeError, match='rendering has ended'):
        node._publish()
    node.destroy_node()


def test_a_camera_that_is_stopped_while_it_makes_its_hand_does_not_wait_for_it(monkeypatch):
    made = threading.Event()
    monkeypatch.setattr(synthetic_camera, 'SyntheticCamera', lambda *_, **__: made.wait(60))
    monkeypatch.setattr(threading, 'excepthook', lambda _: None)
    monkeypatch.setattr(synthetic_camera, 'JOIN_S', 0.1)
    node = synthetic_camera.SyntheticCameraNode()
    node.destroy_node()
    assert node._renderer.is_alive() and node._renderer.daemon
    made.set()
    node._renderer.join()


def test_a_perfect_run():
    result = evaluate(recording())
    assert (result.published, result.received, result.processed, result.dropped, result.lost) == (
        9,
        9,
        9,
        0,
        0,
    )
    assert result.seconds == 9 and result.found == 1 and result.errors_mm.max() < 1e-3
    assert result.latencies_ms == pytest.approx(20)
    assert demo.report(result)


@pytest.mark.parametrize(
    'changes, expected',
    [
        (dict(lost=(4, 5)), dict(published=9, received=7, processed=7, dropped=0, lost=2)),
        (dict(dropped=(4, 5)), dict(published=9, received=9, processed=7, dropped=2, lost=0)),
    ],
)
def test_lost_and_dropped_are_told_apart(changes, expected):
    result = evaluate(recording(**changes))
    assert {name: getattr(result, name) for name in expected} == expected
    assert demo.report(result) == (result.lost == 0)


@pytest.mark.parametrize(
    'changes', [dict(offset_mm=(10, 0, 0)), dict(side='left'), dict(latency_ms=61), dict(new_id=6)]
)
def test_not_good_enough(changes):
    assert not demo.report(evaluate(recording(**changes)))


def test_a_new_id_is_counted_once():
    assert evaluate(recording(new_id=6)).id_changes == 1 and evaluate(recording()).id_changes == 0


def test_stalls_are_counted_where_most_of_their_time_passed():
    record = recording(images=8, latency_ms=100)
    parts = [(90, 5), (90, 5), (5, 90), (5, 5), (5, 5), (5, 5), (math.nan, 5)]
    for stats, (before_ms, within_ms) in zip(list(record.stats.values())[1:], parts, strict=True):
        stats.input_age_ms, stats.latency_ms = float(before_ms), float(within_ms)
    result = evaluate(record)
    assert result.parts_ms[0] == pytest.approx((90, 5, 5))
    assert latency.stalls_by_part(result) == (2, 1, 3)
    assert latency.stalls_by_part(evaluate(recording(latency_ms=39))) == (0, 0, 0)


def test_the_monitor_keeps_messages_serialised_until_they_are_read(bench, monkeypatch):
    # objects of thousands of messages would make the garbage collector pause the measurement
    monkeypatch.setattr('rclpy.init', lambda **_: None)
    monkeypatch.setattr('rclpy.try_shutdown', lambda: None)
    listener = monitor.Monitor()
    try:
        publishers = [
            bench.client.create_publisher(HandArray, topic, 10)
            for topic in ('tracker/hands', 'synthetic_camera/truth')
        ]
        bench.until(
            lambda: all(publisher.get_subscription_count() for publisher in publishers),
            'the monitor to be found',
        )
        made = monitor.Recording()
        decoded = []
        monkeypatch.setattr(
            monitor,
            '_hand_array',
            lambda data, f=monitor._hand_array: decoded.append(data) or f(data),
        )
        header = Header(stamp=Time(sec=1, nanosec=5))
        before_ns = time.time_ns()
        for publisher in publishers:
            publisher.publish(hand_array([hand()], header, 640, 480))
        assert listener.spin_until(lambda: listener.truths and listener._hands, 20, {})
        assert listener.recording == made and not decoded
        listener.read()
        ((stamp, (message, arrival)),) = listener.recording.hands.items()
        assert stamp == 10**9 + 5 and message.hands[0].id == hand().id
        assert before_ns < arrival < time.time_ns()
        assert list(listener.recording.truth) == [stamp] and len(decoded) == 2
        listener.read()
        assert len(decoded) == 2
    finally:
        listener.close()


def test_a_measurement_keeps_the_garbage_collector_off_what_was_loaded():
    frozen = []
    measured = session.Session()
    measured.processes = {'tracker': SimpleNamespace(pid=os.getpid())}
    measured.monitor = SimpleNamespace(
        recording=recording(),
        read=lambda: None,
        spin_until=lambda *_: frozen.append(gc.get_freeze_count()),
    )
    gc.unfreeze()
    try:
        measured.measure(1.0)
        assert len(frozen) == 3 and min(frozen) > 10_000
    finally:
        gc.unfreeze()


def test_error_is_the_mean_distance():
    assert evaluate(recording(offset_mm=(3, 0, 4))).errors_mm == pytest.approx(5, abs=1e-3)


class Run:
    """The demo as a process; everything it starts inherits a mark by which it can be found."""

    def __init__(self, *arguments):
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'awr_ros.ros.measure.demo', *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=1,
            env={**os.environ, 'AWR_ROS_TEST_MARK': self.mark, 'PYTHONUNBUFFERED': '1'},
        )

    def alive(self):
        """Process ids that carry the mark."""
        found = []
        for path in Path('/proc').glob('[0-9]*/environ'):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                pass  # gone meanwhile, or not ours to read
        return found


@pytest.mark.timeout(400)
def test_two_real_processes_lose_nothing(tmp_path):
    run = Run('--seconds', '3', '--output', str(tmp_path))
    output, _ = run.process.communicate(timeout=350)
    counts = re.search(
        r'published (\d+), received (\d+), processed (\d+), dropped (\d+), lost (-?\d+)', output
    )
    assert counts, output
    published, received, processed, dropped, lost = map(int, counts.groups())
    assert published >= 15 and lost == 0 and processed > 0 and processed + dropped == received, (
        output
    )
    # How well and how fast is for the demo itself to judge; a busy machine may be too slow
    # for it.
    assert ('the demo worked' in output) == (run.process.returncode == 0)
    assert 'ok        hands found in >= 95%' in output and 'ok        mean joint error' in output, (
        output
    )
    assert (tmp_path / 'overlay.png').stat().st_size > 10_000
    assert run.alive() == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind_when_interrupted(tmp_path, number):
    run = Run('--seconds', '100', '--output', str(tmp_path))
    for line in run.process.stdout:
        if line.startswith('warming up'):
            break
    assert len(run.alive()) == 3
    run.process.send_signal(number)
    run.process.communicate(timeout=60)
    assert run.process.returncode == 128 + number
    assert run.alive() == []


@pytest.fixture
def start_node(tmp_path):
    """start_node('node' or 'synthetic_camera', arguments, parameter file in words) runs a node that
    ends by itself.
    """

    def start(module, *arguments, file=None):
        if file is not None:
            (tmp_path / 'mine.yaml').write_text(file)
            arguments = (*arguments, '--ros-args', '--params-file', str(tmp_path / 'mine.yaml'))
        return subprocess.run(
            [sys.executable, '-m', f'awr_ros.ros.{module}', *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return start


REFUSED = {
    'a choice': (
        'node',
        ['side:=both'],
        "parameter side is 'both', expected one of auto, left, right",
    ),
    'a range': (
        'synthetic_camera',
        ['num_hands:=3'],
        'parameter num_hands is 3, expected a whole number, 1 to 2',
    ),
    'an integer': (
        'node',
        ['max_depth:=2'],
        'parameter max_depth is 2, expected a number with a decimal point, 0.05 to 5: write 2.0',
    ),
    'a qos override': (
        'node',
        ['qos_overrides./tracker/hands.publisher.reliability:=perhaps'],
        'perhaps',
    ),
}


@pytest.mark.parametrize('module, parameters, words', REFUSED.values(), ids=REFUSED)
def test_a_start_that_is_refused_is_one_line_that_names_the_parameter(
    start_node, module, parameters, words
):
    done = start_node(
        module, '--ros-args', *(word for parameter in parameters for word in ('-p', parameter))
    )
    assert done.returncode == CONFIGURATION_REFUSED
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith('cannot start: ') and words in lines[0], (
        done.stderr
    )


def test_a_parameter_file_that_cannot_be_read_is_one_line_that_says_what_to_write(start_node):
    done = start_node('node', file='tracker:\n  max_hands: 1\n')
    assert done.returncode == CONFIGURATION_REFUSED and len(done.stderr.splitlines()) == 1
    assert (
        "mine.yaml: 'max_hands' stands outside of ros__parameters: write 'ros__parameters:'"
        in done.stderr
    )


@pytest.mark.parametrize('arguments', [['--ros-args', '-r', 'x'], ['max_hands:=1']])
def test_a_command_line_that_cannot_be_read_leaves_no_traceback(start_node, arguments):
    done = start_node('node', *arguments)
    assert done.returncode == CONFIGURATION_REFUSED
    assert 'cannot start: ' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('name', ['tracker', 'trackers', 'synthetic_camera', 'fusion', 'demo'])
def test_programs_on_a_system_with_old_libraries_say_so_in_one_line(tmp_path, name):
    (tmp_path / 'cv2.py').write_text("__version__ = '4.5.4'")
    done = subprocess.run(
        [Path(get_package_prefix('awr_ros')) / 'lib' / 'awr_ros' / name],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}:{os.environ["PYTHONPATH"]}'},
    )
    assert done.returncode == CONFIGURATION_REFUSED
    assert done.stderr.startswith('cannot start: OpenCV 4.5.4 is too old, needed is 4.7 or newer')
    assert len(done.stderr.splitlines()) == 1


def test_help_lists_the_parameters_and_starts_nothing(start_node):
    done = start_node('node', '--help')
    assert done.returncode == 0 and not done.stderr
    assert (
        done.stdout.startswith('usage: ros2 run awr_ros tracker') and 'max_hands:=2' in done.stdout
    )


def test_an_interrupt_during_the_imports_is_an_end_in_good_order():
    program = Path(get_package_prefix('awr_ros')) / 'lib' / 'awr_ros' / 'synthetic_camera'
    process = subprocess.Popen(
        [program], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    maps = Path(f'/proc/{process.pid}/maps')
    while process.poll() is None and 'libtorch' not in maps.read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert 'Traceback' not in output and process.returncode == 0, output


def test_installed_program_ends_in_good_order(tmp_path):
    program = Path(get_package_prefix('awr_ros')) / 'lib' / 'awr_ros' / 'tracker'
    process = subprocess.Popen(
        [program, '--ros-args', '-p', f'weights:={tmp_path}/missing.pt'],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for line in process.stdout:
        if 'cannot load the tracker' in line:
            break
    assert f'{tmp_path}/missing.pt' in line
    assert process.poll() is None, 'a node without weights stays up and can be configured again'
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0 and time.monotonic() - started < 10
    process.stdout.close()
