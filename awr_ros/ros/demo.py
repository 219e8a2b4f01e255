"""The whole path in some seconds: synthetic camera and tracker as two processes over DDS, measured by a third."""
import argparse
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

WARM_UP_S, START_UP_S, SETTLE_S, PICTURE_S = 2.0, 60.0, 0.5, 10.0     # [s]
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What "it works" means.
MIN_FOUND, MAX_ERROR_MM, MAX_LATENCY_MS, MAX_LOST = 0.95, 15.0, 60.0, 0


@dataclass
class Recording:
    """What the monitor hears, by stamp [ns]."""
    truth: dict = field(default_factory=dict)       # HandArray
    hands: dict = field(default_factory=dict)       # (HandArray, time of arrival [ns])
    stats: dict = field(default_factory=dict)       # TrackerStats
    images: dict = field(default_factory=dict)      # Image


@dataclass(frozen=True)
class Result:
    published: int
    received: int
    processed: int
    dropped: int
    seconds: float
    latencies_ms: np.ndarray    # (N,) image stamp to the arrival of the hands
    found: float                # share of true hands with a tracked hand of the same side, [0,1]
    errors_mm: np.ndarray       # (M,) mean joint error of each tracked hand

    @property
    def lost(self):
        return self.published - self.received


@dataclass(frozen=True)
class DrawnHand:
    """What awr_ros.draw.overlay draws."""
    id: str
    side: str
    score: float
    joints_uvd: np.ndarray      # (21,3) [px, px, mm]


def drawn_hands(message):
    """The hands of a HandArray of the synthetic camera."""
    from awr_ros.ros.conversions import SIDES, joints_from_hand
    from awr_ros.synthetic.camera import DEFAULT_INTRINSICS
    names = {number: name for name, number in SIDES.items()}
    return [DrawnHand(hand.id, names[hand.side], hand.score, DEFAULT_INTRINSICS.xyz_to_uvd(joints_from_hand(hand)))
            for hand in message.hands]


def nanoseconds(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def evaluate(recording: Recording, first_ns, last_ns):
    """The Result of the images after stamp first_ns up to last_ns; both must be stamps of TrackerStats."""
    from awr_ros.ros.conversions import joints_from_hand
    stamps = sorted(stamp for stamp in recording.truth if first_ns < stamp <= last_ns)
    first, last = recording.stats[first_ns], recording.stats[last_ns]
    latencies, errors, true_hands = [], [], 0
    for stamp in stamps:
        if stamp not in recording.hands:
            continue                    # lost or dropped: counted as such, says nothing about the tracking
        message, arrival = recording.hands[stamp]
        latencies.append((arrival - stamp) * 1e-6)
        tracked = {hand.side: joints_from_hand(hand) for hand in message.hands}
        for true_hand in recording.truth[stamp].hands:
            true_hands += 1
            if true_hand.side in tracked:
                distances = np.linalg.norm(tracked[true_hand.side] - joints_from_hand(true_hand), axis=1)
                errors.append(np.nanmean(distances))
    return Result(published=len(stamps), received=last.frames_received - first.frames_received,
                  processed=last.frames_processed - first.frames_processed,
                  dropped=last.frames_dropped - first.frames_dropped, seconds=(last_ns - first_ns) * 1e-9,
                  latencies_ms=np.array(latencies), found=len(errors) / max(true_hands, 1), errors_mm=np.array(errors))


def report(result: Result):
    """Print the result; returns whether it is good enough."""
    latency = result.latencies_ms if result.latencies_ms.size else np.array([np.inf])
    error = result.errors_mm.mean() if result.errors_mm.size else np.inf
    p50, p99 = np.percentile(latency, [50, 99])
    print(f'images    published {result.published}, received {result.received}, processed {result.processed}, '
          f'dropped {result.dropped}, lost {result.lost}')
    print(f'rate      {result.processed / max(result.seconds, 1e-9):.1f} Hz')
    print(f'latency   p50 {p50:.1f} ms, p99 {p99:.1f} ms, from the stamp of the image to the arrival of its hands')
    print(f'found     {result.found:.1%} of the hands')
    print(f'error     {error:.1f} mm mean over joints and images')
    checks = ((f'hands found in >= {MIN_FOUND:.0%}', result.found >= MIN_FOUND),
              (f'mean joint error <= {MAX_ERROR_MM:g} mm', error <= MAX_ERROR_MM),
              (f'latency p99 <= {MAX_LATENCY_MS:g} ms', p99 <= MAX_LATENCY_MS),
              (f'lost <= {MAX_LOST}', result.lost <= MAX_LOST))
    for text, good in checks:
        print(f"{'ok    ' if good else 'FAILED'}    {text}")
    return all(good for _, good in checks)


class Monitor:
    """The third participant: records truth, hands and stats; the image only when a picture is wanted."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from awr_ros.msg import HandArray, TrackerStats
        rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        self.recording = Recording()
        self._node = rclpy.create_node('demo_monitor')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        record = self.recording
        self._subscribe(HandArray, 'synthetic_camera/truth', lambda m: record.truth.update({nanoseconds(m.header): m}))
        self._subscribe(HandArray, 'tracker/hands',
                        lambda m: record.hands.update({nanoseconds(m.header): (m, time.time_ns())}))
        self._subscribe(TrackerStats, 'tracker/stats', lambda m: record.stats.update({nanoseconds(m.header): m}))

    def _subscribe(self, message_type, topic, callback):
        self._node.create_subscription(message_type, topic, callback, 100)

    def spin_until(self, done, seconds, processes, progress=lambda left_s: None):
        """Spin until done() or the time is over; returns done(). A process that ended is an error."""
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise SystemExit(f'the {name} ended with status {process.returncode}')
            progress(left)
            self._executor.spin_once(timeout_sec=min(left, 0.1))
        return done()

    def picture(self, path, processes):
        """Write one image with the tracked and the true skeleton; returns whether there was one."""
        import cv2
        from sensor_msgs.msg import Image

        from awr_ros.draw import overlay
        from awr_ros.ros.adaptive_subscription import AdaptiveSubscription
        from awr_ros.ros.conversions import depth_from_image
        record = self.recording
        images = AdaptiveSubscription(self._node, Image, 'depth/image')
        images.registerCallback(lambda m: record.images.update({nanoseconds(m.header): m}))

        def complete():
            return [s for s in record.images if s in record.truth and s in record.hands and record.hands[s][0].hands]
        if not self.spin_until(complete, PICTURE_S, processes):
            return False
        stamp = complete()[-1]
        picture = overlay(depth_from_image(record.images[stamp]), drawn_hands(record.hands[stamp][0]),
                          drawn_hands(record.truth[stamp]))
        path.parent.mkdir(parents=True, exist_ok=True)
        return cv2.imwrite(str(path), picture)

    def close(self):
        import rclpy
        self._node.destroy_node()
        rclpy.try_shutdown()


def start(module, *parameters):
    """A node in a process group of its own, so that all of it can be ended, whatever it starts."""
    arguments = [argument for parameter in parameters for argument in ('-p', parameter)]
    # Safe path: started inside the source folder, the children must not import it instead of the installed package.
    return subprocess.Popen([sys.executable, '-m', module, '--ros-args', *arguments], start_new_session=True,
                            env={**os.environ, 'PYTHONSAFEPATH': '1'})


def end(processes):
    """End the process groups: politely, then not."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)       # an impatient second Ctrl-C must not leave one behind
    for number, patience_s in ((signal.SIGINT, 5.0), (signal.SIGKILL, 5.0)):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, number)      # not reaped yet, so the group is still there
        deadline = time.monotonic() + patience_s
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=10.0, help='how long to measure [s]')
    parser.add_argument('--num-hands', type=int, default=1, choices=(1, 2))
    parser.add_argument('--output', type=Path, default=Path('demo'), help='folder for overlay.png')
    options = parser.parse_args(arguments)
    # A domain of its own: nothing of this reaches a robot in the same network, nothing of that one is measured.
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 100))
    os.environ.setdefault('FASTDDS_DEFAULT_PROFILES_FILE', profile_path())

    def interrupted(number, _):
        raise SystemExit(128 + number)
    for number in ENDINGS:
        signal.signal(number, interrupted)
    processes = {}
    monitor = None
    try:
        monitor = Monitor()
        record = monitor.recording
        # One after the other: both at once would fight for the cores while they load.
        for name, heard, module, *arguments in (
                ('camera', record.truth, 'awr_ros.ros.synthetic_camera', f'num_hands:={options.num_hands}',
                 'best_effort:=true'),
                ('tracker', record.stats, 'awr_ros.ros.node', f'max_hands:={options.num_hands}')):
            print(f"starting the {name} (domain {os.environ['ROS_DOMAIN_ID']}) ...", flush=True)
            processes[name] = start(module, *arguments)
            if not monitor.spin_until(lambda heard=heard: heard, START_UP_S, processes):
                print(f'nothing heard from the {name} within {START_UP_S:.0f} s', file=sys.stderr)
                return 1
        monitor.spin_until(lambda: False, WARM_UP_S, processes, progress_bar('warming up', WARM_UP_S))
        first_ns = max(record.stats)
        monitor.spin_until(lambda: False, options.seconds, processes, progress_bar('measuring ', options.seconds))
        last_ns = max(record.stats)
        # What belongs to these images may still be on its way.
        monitor.spin_until(lambda: False, SETTLE_S, processes)
        good = report(evaluate(record, first_ns, last_ns))
        path = options.output / 'overlay.png'
        if monitor.picture(path, processes):
            print(f'picture   {path.resolve()}')
        else:
            print('FAILED    no image with a hand to draw')
            good = False
        print('the demo worked' if good else 'the demo did NOT work')
        return 0 if good else 1
    finally:
        end(processes.values())
        if monitor is not None:
            monitor.close()


def profile_path():
    """The Fast DDS profile as installed by colcon."""
    from ament_index_python.packages import get_package_share_directory
    return str(Path(get_package_share_directory('awr_ros')) / 'config' / 'fastdds_shm.xml')


def progress_bar(text, seconds):
    """A line that grows on a terminal, one line in a log."""
    interactive = sys.stdout.isatty()
    last = [None]

    def show(left_s):
        done = int(seconds - left_s)
        if done == last[0]:
            return
        if interactive:
            print(f'\r{text} {done:3d}/{seconds:.0f} s', end='' if done + 1 < seconds else '\n', flush=True)
        elif last[0] is None:
            print(f'{text} {seconds:.0f} s ...', flush=True)
        last[0] = done
    return show


if __name__ == '__main__':
    sys.exit(main())
