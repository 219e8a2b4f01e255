#!/usr/bin/env python3
"""A long run of the tracker under what happens in the field; it fails where something grows, stops,
or comes too late.

    python scripts/soak.py --minutes 60 [--seed 0] [--output soak]

Two hands at 30 Hz. Every few seconds, at random: the camera is killed and restarted, its resolution
changes, its clock jumps, parameters are set, subscribers come and go, the node is disabled and
enabled, reset, deactivated, cleaned up and activated again. After each of these hands must come out
again. Memory, threads, file descriptors and latency go to OUTPUT/samples.csv, what happened to
OUTPUT/events.txt, what the tracker logs to OUTPUT/tracker.log.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections import deque
from pathlib import Path

import numpy as np

# images a second; so many are rendered, and shown backwards and forwards
RATE_HZ, RENDERED = (30, 60)
WARM_UP_S = 600.0  # [s] what grows before is not counted; in short runs a third of the time
SAMPLE_S = 5.0  # [s] between two samples
EVENTS_S = 4.0, 12.0  # [s] from one event to the next, from when hands came out again
# [s] patience: on a busy machine a network takes a while to load, to convert it longer
START_S, RECOVER_S = (300.0, 60.0)
STALE_S = 5.0  # [s] no hands come later after their image than that
MAX_GROWTH_MB_H = 5.0  # resident memory; in runs under an hour so much in all
SPARE = 2  # threads or descriptors that may come and go at any moment
# Live parameters and what they are set to at random; afterwards they are as before.
CHOICES = {
    'max_hands': (1, 2, 4),
    'side': ('auto', 'left', 'right'),
    'finder': ('learned', 'nearest', 'external'),
    'views': (1, 2, 5),
    'search_every': (1, 5, 1000),
    'score_threshold': (0.0, 0.5, 1.0),
    'lose_threshold': (0.0, 0.3, 1.0),
    'coast_time': (0.0, 0.2, 5.0),
    'min_depth': (0.05, 0.15),
    'max_depth': (0.3, 1.5, 5.0),
    'smoothing': (False, True),
    'distortion': ('undistort', 'ignore', 'refuse'),
    'depth_scale': (0.5, 1.0, 2.0),
}
DEFAULTS = {
    'max_hands': 2,
    'side': 'auto',
    'finder': 'learned',
    'views': 1,
    'search_every': 5,
    'score_threshold': 0.85,
    'lose_threshold': 0.3,
    'coast_time': 0.2,
    'min_depth': 0.15,
    'max_depth': 1.5,
    'smoothing': False,
    'distortion': 'undistort',
    'depth_scale': 1.0,
}


# ---- the camera, a process of its own so that it can be killed


def run_camera(depths_file: str) -> None:
    """Publish depth images; lines on the standard input change it: `half 1`, `offset -0.5` [s]."""
    import rclpy
    from builtin_interfaces.msg import Time
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Header

    from awr_ros.camera import Intrinsics
    from awr_ros.ros.conversions import info_from_intrinsics
    from awr_ros.synthetic.camera import DEFAULT_INTRINSICS as K

    half = Intrinsics(
        K.fx / 2,
        K.fy / 2,
        (K.cx + 0.5) / 2 - 0.5,
        (K.cy + 0.5) / 2 - 0.5,
        K.width // 2,
        K.height // 2,
    )
    depths, header = np.load(depths_file), Header(frame_id='soak_camera')
    shown = []  # for each size the info and the images
    for step, intrinsics in ((1, K), (2, half)):
        shown.append(
            (
                info_from_intrinsics(intrinsics, header),
                [
                    Image(
                        header=header,
                        width=intrinsics.width,
                        height=intrinsics.height,
                        encoding='16UC1',
                        step=2 * intrinsics.width,
                        data=array('B', np.ascontiguousarray(depth[::step, ::step]).tobytes()),
                    )
                    for depth in depths
                ],
            )
        )
    rclpy.init()
    node = rclpy.create_node('soak_camera')
    images = node.create_publisher(Image, 'depth/image', qos_profile_sensor_data)
    infos = node.create_publisher(CameraInfo, 'depth/camera_info', qos_profile_sensor_data)
    settings = {'half': 0.0, 'offset': 0.0}

    def listen():
        for line in sys.stdin:
            name, value = line.split()
            settings[name] = float(value)
        os._exit(0)  # whoever started this is gone

    threading.Thread(target=listen, daemon=True).start()
    order, index, due = [*range(len(depths)), *range(len(depths) - 2, 0, -1)], 0, time.monotonic()
    while True:
        info, some = shown[bool(settings['half'])]
        stamp_ns = time.time_ns() + int(settings['offset'] * 1e9)
        header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        image = some[order[index % len(order)]]
        image.header = info.header = header
        images.publish(image)
        infos.publish(info)
        index, due = index + 1, max(due + 1 / RATE_HZ, time.monotonic() - 1 / RATE_HZ)
        time.sleep(max(due - time.monotonic(), 0))


class Camera:
    """The camera's process."""

    def __init__(self, depths_file: Path) -> None:
        self._depths_file, self.half, self.offset_s = depths_file, False, 0.0
        self.start()

    def start(self) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            [sys.executable, __file__, '--camera', str(self._depths_file)],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONSAFEPATH': '1'},
        )
        self.set(self.half, self.offset_s)

    def set(self, half: bool, offset_s: float) -> None:
        """Set half resolution and the offset of the stamps."""
        self.half, self.offset_s = half, offset_s
        self.process.stdin.write(f'half {int(half)}\noffset {offset_s}\n')
        self.process.stdin.flush()

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


# ---- who watches


class Soak:
    """The tracker, its camera, and what happens to them."""

    def __init__(self, output: Path, seed: int, depths_file: Path) -> None:
        import rclpy

        from awr_ros.msg import HandArray
        from awr_ros.ros.spin import make_executor

        self._random, self._output = random.Random(seed), output
        rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        self.node = rclpy.create_node('soak')
        self._executor = make_executor()
        self._executor.add_node(self.node)
        self._clients, self._visitors = {}, []
        self.received, self.with_two, self.stale, self._newest_s = 0, 0, [], -np.inf
        self._latencies_ms, self.failures, self.events = deque(maxlen=RATE_HZ * 60), [], 0
        self.node.create_subscription(HandArray, 'tracker/hands', self._on_hands, 10)
        self._log = (output / 'tracker.log').open('w')
        self.tracker = subprocess.Popen(
            [sys.executable, '-m', 'awr_ros.ros.node'],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONSAFEPATH': '1'},
        )
        self.camera = Camera(depths_file)
        self._began = time.monotonic()

    def _on_hands(self, message) -> None:
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        age_s = time.time() + self.camera.offset_s - stamp_s
        self.received += 1
        self.with_two += len(message.hands) == 2
        if abs(age_s) > 20:  # of the time before the clock jumped
            return
        if stamp_s < self._newest_s or age_s > STALE_S:
            self.stale.append(
                f'{self._passed_s():.0f} s: hands {age_s:.3f} s old, '
                f'{self._newest_s - stamp_s:.3f} s behind the newest'
            )
        self._newest_s = max(self._newest_s, stamp_s)
        self._latencies_ms.append(1e3 * age_s)

    def _passed_s(self) -> float:
        return time.monotonic() - self._began

    def spin(self, seconds: float, until=lambda: False) -> bool:
        """Spin so long, or until something holds; whether it does. A tracker that has ended ends
        the run.
        """
        end = time.monotonic() + seconds
        while not (done := until()) and time.monotonic() < end:
            if self.tracker.poll() is not None:
                raise SystemExit(
                    f'FAILED    the tracker ended with status {self.tracker.returncode}: see '
                    f'{self._output}/tracker.log'
                )
            self._executor.spin_once(timeout_sec=0.1)
        return done

    def call(self, service_type, name: str, request):
        """Call a service of the tracker; return its answer."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, f'tracker/{name}')
        client = self._clients[name]
        if not self.spin(RECOVER_S, client.service_is_ready):
            return self.failures.append(f'{self._passed_s():.0f} s: there is no service {name}')
        future = client.call_async(request)
        if not self.spin(RECOVER_S, future.done):
            return self.failures.append(f'{self._passed_s():.0f} s: no answer of {name}')
        return future.result()

    def recovered(self, after: str, both: bool = False, patience_s: float = RECOVER_S) -> None:
        """Wait until messages come again, one of them with both hands if wanted; a failure if they
        do not.
        """
        received, with_two = self.received, self.with_two
        if not self.spin(
            patience_s,
            lambda: self.received > received + 5 and (not both or self.with_two > with_two),
        ):
            self.failures.append(
                f'{self._passed_s():.0f} s: nothing came for {patience_s:.0f} s after {after}'
            )

    def start(self) -> None:
        """Wait for the first hands; time starts then."""
        self.recovered('the start', both=True, patience_s=START_S)
        self._began = time.monotonic()

    # ---- what happens ----

    def event(self) -> None:
        """Cause a random event, and wait for hands."""
        what = self._random.choice(
            (
                self.kill_camera,
                self.change_resolution,
                self.jump,
                self.set_parameters,
                self.visit,
                self.visit,
                self.change_state,
                self.disable,
            )
        )
        self.events += 1
        (self._output / 'events.txt').open('a').write(f'{self._passed_s():.1f} {what.__name__}\n')
        what()
        self.recovered(what.__name__)

    def kill_camera(self) -> None:
        """Kill and restart the camera."""
        self.camera.kill()
        self.spin(self._random.uniform(0.1, 4.0))
        self.camera.start()

    def change_resolution(self) -> None:
        """Change the resolution of the camera."""
        self.camera.set(not self.camera.half, self.camera.offset_s)

    def jump(self) -> None:
        """Let the camera's clock jump."""
        self._newest_s = -np.inf
        self.camera.set(
            self.camera.half, self._random.choice((0.0, -0.5, 0.5, -30.0, 3600.0, -3600.0))
        )
        self.spin(2.0)  # until the last images of the time before have come
        self._newest_s = -np.inf

    def set_parameters(self) -> None:
        """Set random parameters for some seconds."""
        names = self._random.sample(sorted(CHOICES), 4)
        self._set({name: self._random.choice(CHOICES[name]) for name in names})
        self.spin(self._random.uniform(1.0, 5.0))
        self._set(DEFAULTS)

    def _set(self, values) -> None:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        self.call(
            SetParameters,
            'set_parameters',
            SetParameters.Request(
                parameters=[
                    Parameter(name, value=value).to_parameter_msg()
                    for name, value in values.items()
                ]
            ),
        )

    def visit(self) -> None:
        """Subscribe to all topics of the node, or unsubscribe."""
        from geometry_msgs.msg import PoseArray
        from sensor_msgs.msg import Image
        from visualization_msgs.msg import MarkerArray

        from awr_ros.msg import TrackerStats

        if self._visitors:
            for visitor in self._visitors:
                self.node.destroy_subscription(visitor)
            self._visitors = []
            return
        for message_type, topic in (
            (MarkerArray, 'markers'),
            (PoseArray, 'poses'),
            (Image, 'debug/image'),
            (TrackerStats, 'stats'),
        ):
            self._visitors.append(
                self.node.create_subscription(message_type, f'tracker/{topic}', lambda _: None, 1)
            )

    def change_state(self) -> None:
        """Go through random lifecycle transitions."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        ways = (
            (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE),
            (
                Transition.TRANSITION_DEACTIVATE,
                Transition.TRANSITION_CLEANUP,
                Transition.TRANSITION_CONFIGURE,
                Transition.TRANSITION_ACTIVATE,
            ),
        )
        for transition in self._random.choice(ways):
            answer = self.call(
                ChangeState,
                'change_state',
                ChangeState.Request(transition=Transition(id=transition)),
            )
            if answer is not None and not answer.success:
                self.failures.append(f'{self._passed_s():.0f} s: transition {transition} failed')
            self.spin(self._random.uniform(0.0, 2.0))

    def disable(self) -> None:
        """Disable and enable the node, and reset it."""
        from std_srvs.srv import SetBool, Trigger

        self.call(SetBool, 'enable', SetBool.Request(data=False))
        self.spin(self._random.uniform(0.0, 2.0))
        self.call(SetBool, 'enable', SetBool.Request(data=True))
        self.call(Trigger, 'reset', Trigger.Request())

    # ---- what is measured ----

    def sample(self) -> dict:
        """Return the resources of the tracker's process, and the latency of the hands of the last
        seconds.
        """
        from awr_ros.ros.measure.session import cpu_seconds, memory_mb

        pid = self.tracker.pid
        latencies = np.array(self._latencies_ms or [np.nan])
        self._latencies_ms.clear()
        threads = next(
            int(line.split()[1])
            for line in Path(f'/proc/{pid}/status').read_text().splitlines()
            if 'Threads' in line
        )
        return {
            'time_s': round(self._passed_s(), 1),
            'memory_mb': round(memory_mb(pid), 2),
            'threads': threads,
            'descriptors': len(os.listdir(f'/proc/{pid}/fd')),
            'cpu_s': round(cpu_seconds(pid), 2),
            'latency_p50_ms': round(float(np.percentile(latencies, 50)), 1),
            'latency_p99_ms': round(float(np.percentile(latencies, 99)), 1),
            'received': self.received,
        }

    def close(self) -> None:
        """End all processes."""
        self.camera.kill()
        self.tracker.send_signal(signal.SIGINT)
        try:
            self.tracker.wait(20)
        except subprocess.TimeoutExpired:
            self.tracker.kill()
            self.failures.append('the tracker did not end within 20 s of SIGINT')
        self._log.close()


def growth(samples: list[dict], name: str) -> float:
    """Return the slope of a column [1/h]: the median of the slopes of all pairs (Theil and Sen),
    robust to outliers.
    """
    time_h = np.array([sample['time_s'] for sample in samples]) / 3600
    values = np.array([sample[name] for sample in samples], float)
    first, second = np.triu_indices(len(samples), 1)
    return (
        float(np.median((values[second] - values[first]) / (time_h[second] - time_h[first])))
        if len(samples) > 1
        else 0.0
    )


def report(soak: Soak, samples: list[dict], seconds: float) -> bool:
    """Print what was measured after the warm-up; return whether it is good enough."""
    warm = [sample for sample in samples if sample['time_s'] >= min(WARM_UP_S, seconds / 3)]
    hours = (warm[-1]['time_s'] - warm[0]['time_s']) / 3600
    slope = growth(warm, 'memory_mb')
    third = max(len(warm) // 3, 1)
    log = (soak._output / 'tracker.log').read_text()
    print(
        f'{soak.events} events, {soak.received} messages, {soak.with_two} with both hands, '
        f'{log.count(chr(10))} lines in the log'
    )
    print(
        f'memory    {warm[0]["memory_mb"]:.0f} MB after the warm-up, {warm[-1]["memory_mb"]:.0f} '
        f'MB at the end, {slope:+.1f} MB/h'
    )
    latencies = [
        sample['latency_p50_ms']
        for sample in warm
        if sample['latency_p50_ms'] == sample['latency_p50_ms']
    ]
    print(
        f'latency   median of the medians {np.median(latencies):.1f} ms, worst p99 '
        f'{max(s["latency_p99_ms"] for s in warm):.0f} ms'
    )
    checks = [
        (
            f'memory grows by {MAX_GROWTH_MB_H:g} MB/h or less',
            slope * hours <= MAX_GROWTH_MB_H * max(hours, 1),
        ),
        (f'no hands came late or out of order: {soak.stale[:3] or 0}', not soak.stale),
        (f'hands came again after every event: {soak.failures[:3] or "yes"}', not soak.failures),
        ('no traceback in the log', 'Traceback' not in log),
    ]
    for name in ('threads', 'descriptors'):  # a leak lifts the least of them, a visitor the most
        least = [min(sample[name] for sample in part) for part in (warm[:third], warm[-third:])]
        checks.append(
            (
                f'no {name} leak: at least {least[0]} at first, {least[1]} at last',
                least[1] <= least[0] + SPARE,
            )
        )
    for text, good in checks:
        print(f'{"ok    " if good else "FAILED"}    {text}')
    return all(good for _, good in checks)


def main() -> int:
    """Run the soak; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=60.0)
    parser.add_argument('--seed', type=int, default=0, help='of what happens when')
    parser.add_argument('--output', type=Path, default=Path('soak'), help='new folder')
    parser.add_argument('--camera', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.camera:
        return run_camera(arguments.camera)
    from awr_ros.ros.measure.session import exit_on_endings
    from awr_ros.ros.middleware import missing_profile, profile_path
    from awr_ros.synthetic.camera import DEFAULT_INTRINSICS, SyntheticCamera

    # nothing of this reaches a robot
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 100))
    os.environ.update(missing_profile(profile_path()))
    arguments.output.mkdir(parents=True)
    exit_on_endings()
    seconds, pause = 60 * arguments.minutes, random.Random(arguments.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        (arguments.output / 'samples.csv').open('w', newline='') as file,
    ):
        camera = SyntheticCamera(DEFAULT_INTRINSICS, num_hands=2, seed=0)
        np.save(
            f'{folder}/depths.npy',
            np.stack([camera.frame(index / RATE_HZ)[0].astype('<u2') for index in range(RENDERED)]),
        )
        soak = Soak(arguments.output, arguments.seed, Path(folder) / 'depths.npy')
        samples, writer = [], None
        try:
            soak.start()
            next_event = soak._passed_s() + pause.uniform(*EVENTS_S)
            while soak._passed_s() < seconds:
                soak.spin(SAMPLE_S)
                samples.append(soak.sample())
                writer = writer or csv.DictWriter(file, samples[0])
                if len(samples) == 1:
                    writer.writeheader()
                writer.writerow(samples[-1])
                file.flush()
                if soak._passed_s() >= next_event:
                    soak.event()
                    next_event = soak._passed_s() + pause.uniform(*EVENTS_S)
            soak.recovered('the end', both=True)
        finally:
            soak.close()
    good = report(soak, samples, seconds)
    print('the soak went well' if good else 'the soak did NOT go well')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
