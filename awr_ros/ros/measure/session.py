"""Session of synthetic camera and tracker as two processes over DDS with a monitor in this one, for
demo and benchmark.
"""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.ros.measure.monitor import Monitor, Recording
from awr_ros.ros.middleware import missing_profile, profile_path

WARM_UP_S, START_UP_S, SETTLE_S = 2.0, 120.0, 0.5  # [s]
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# of TrackerStats
STAGES = ('input_age_ms', 'decode_ms', 'find_ms', 'inference_ms', 'postprocess_ms', 'latency_ms')


@dataclass(frozen=True)
class Result:
    """Result of tracking the images of some seconds."""

    published: int
    received: int
    processed: int
    dropped: int
    seconds: float
    latencies_ms: np.ndarray  # (N,) from image stamp to the arrival of the hands
    # (N,3) the parts of each latency: before the tracker has the image, in it, after it published
    parts_ms: np.ndarray
    found: float  # [0,1] share of true hands with a tracked hand of the same side
    errors_mm: np.ndarray  # (M,) mean joint error of each tracked hand
    id_changes: int  # number of id switches
    stages_ms: dict  # median of each of STAGES in TrackerStats

    @property
    def lost(self) -> int:
        """Number of images without a result."""
        return self.published - self.received


@dataclass(frozen=True)
class Usage:
    """Resources of the tracker's process."""

    cpu: float  # CPU time, share of one core
    memory_mb: float  # resident memory at the end
    # CPU steal time of a virtual machine, share of all cores [0,1]
    stolen: float = math.nan


def evaluate(recording: Recording, first_ns: int, last_ns: int) -> Result:
    """Return the Result of the images after stamp first_ns up to last_ns; both must be stamps of
    TrackerStats.
    """
    from awr_ros.ros.conversions import joints_from_hand

    stamps = sorted(stamp for stamp in recording.truth if first_ns < stamp <= last_ns)
    first, last = recording.stats[first_ns], recording.stats[last_ns]
    latencies: list[float] = []
    parts: list[tuple[float, float, float]] = []
    errors: list[float] = []
    ids: dict[str, list[str]] = {}  # ids of the tracked hands of each side
    true_hands = 0
    for stamp in stamps:
        if stamp not in recording.hands:
            continue  # lost or dropped: counted elsewhere
        message, arrival = recording.hands[stamp]
        latencies.append((arrival - stamp) * 1e-6)
        parts.append(_parts_ms(latencies[-1], recording.stats.get(stamp)))
        tracked = {hand.side: hand for hand in message.hands}
        for true_hand in recording.truth[stamp].hands:
            true_hands += 1
            if true_hand.side in tracked:
                hand = tracked[true_hand.side]
                distances = np.linalg.norm(
                    joints_from_hand(hand) - joints_from_hand(true_hand), axis=1
                )
                errors.append(np.nanmean(distances))
                ids.setdefault(true_hand.side, []).append(hand.id)
    stats = [recording.stats[stamp] for stamp in recording.stats if first_ns < stamp <= last_ns]
    return Result(
        published=len(stamps),
        received=last.frames_received - first.frames_received,
        processed=last.frames_processed - first.frames_processed,
        dropped=last.frames_dropped - first.frames_dropped,
        seconds=(last_ns - first_ns) * 1e-9,
        latencies_ms=np.array(latencies),
        parts_ms=np.array(parts).reshape(-1, 3),
        found=len(errors) / max(true_hands, 1),
        errors_mm=np.array(errors),
        id_changes=sum(
            before != after for given in ids.values() for before, after in pairwise(given)
        ),
        stages_ms={
            name: float(np.median([getattr(s, name) for s in stats] or [np.nan])) for name in STAGES
        },
    )


def _parts_ms(latency_ms, stats):
    """Split a latency by the TrackerStats of its image; NaN without them."""
    if stats is None:
        return math.nan, math.nan, math.nan
    before, within = stats.input_age_ms, stats.latency_ms
    return before, within, latency_ms - before - within


class Session:
    """Camera, tracker and monitor, in a separate DDS domain; a context manager that leaves no
    process behind.

    camera, tracker: parameters of the two nodes, 'name:=value'. Raise SystemExit when one of them
    does not start.
    """

    def __init__(self, camera: Sequence[str] = (), tracker: Sequence[str] = ()) -> None:
        self._parameters = {
            'camera': ('awr_ros.ros.synthetic_camera', *camera),
            'tracker': ('awr_ros.ros.node', *tracker),
        }
        self.processes: dict[str, subprocess.Popen] = {}
        self.monitor: Any = None  # Monitor, while running
        self.cold_start_s = float('nan')

    def __enter__(self) -> 'Session':
        # A separate domain, isolated from robots in the same network.
        os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 100))
        os.environ.update(missing_profile(profile_path()))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        self.monitor = Monitor()
        record = self.monitor.recording
        # One after the other: both at once would compete for the cores while loading.
        for name, received in (('camera', self.monitor.truths), ('tracker', record.stats)):
            print(f'starting the {name} (domain {os.environ["ROS_DOMAIN_ID"]}) ...', flush=True)
            started = time.monotonic()
            self.processes[name] = start(*self._parameters[name])
            if not self.monitor.spin_until(
                lambda received=received: received, START_UP_S, self.processes
            ):
                raise SystemExit(f'nothing received from the {name} within {START_UP_S:.0f} s')

        def found() -> bool:
            self.monitor.read_hands()
            return any(message.hands for message, _ in record.hands.values())

        if self.monitor.spin_until(found, WARM_UP_S, self.processes):
            # [s] from the start of the tracker's process to the first hand
            self.cold_start_s = time.monotonic() - started

    def measure(
        self, seconds: float, progress: Callable = lambda text, seconds: lambda left_s: None
    ) -> tuple[Result, Usage]:
        """Return (Result, Usage) of the next seconds [s], after a warm-up. progress(text,
        seconds)(left_s) is called meanwhile.
        """
        from awr_ros.ros.spin import spare_garbage_collector

        record, spin = self.monitor.recording, self.monitor.spin_until
        spare_garbage_collector()  # of this process: a pause of it would look like a late hand
        spin(lambda: False, WARM_UP_S, self.processes, progress('warming up', WARM_UP_S))
        first_ns, cpu_s, began = (
            max(record.stats),
            cpu_seconds(self.processes['tracker'].pid),
            time.monotonic(),
        )
        stolen_s = stolen_seconds()
        spin(lambda: False, seconds, self.processes, progress('measuring ', seconds))
        last_ns, pid = max(record.stats), self.processes['tracker'].pid
        passed_s = time.monotonic() - began
        usage = Usage(
            (cpu_seconds(pid) - cpu_s) / passed_s,
            memory_mb(pid),
            (stolen_seconds() - stolen_s) / passed_s / (os.cpu_count() or 1),
        )
        # results of these images may still arrive
        spin(lambda: False, SETTLE_S, self.processes)
        self.monitor.read()
        return evaluate(record, first_ns, last_ns), usage

    def __exit__(self, *_: object) -> None:
        end(self.processes.values())
        if self.monitor is not None:
            self.monitor.close()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time [s] of a process so far; NaN without /proc."""
    try:
        values = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return float('nan')
    # utime and stime: proc(5)
    return (int(values[11]) + int(values[12])) / os.sysconf('SC_CLK_TCK')


def stolen_seconds() -> float:
    """Return the CPU steal time [s] of this machine so far, over all cores; NaN without /proc."""
    try:
        # steal: proc(5)
        return int(Path('/proc/stat').read_text().split()[8]) / os.sysconf('SC_CLK_TCK')
    except OSError:
        return math.nan


def memory_mb(pid: int) -> float:
    """Return the resident memory [MB] of a process; NaN without /proc."""
    try:
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    except OSError:
        return float('nan')
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def start(module: str, *parameters: str) -> subprocess.Popen:
    """Start a node in its own process group, so that everything that it starts can be ended with
    it.
    """
    arguments = [argument for parameter in parameters for argument in ('-p', parameter)]
    # Safe path: started inside the source folder, the children must not import it instead of the
    # installed package.
    return subprocess.Popen(
        [sys.executable, '-m', module, '--ros-args', *arguments],
        start_new_session=True,
        env={**os.environ, 'PYTHONSAFEPATH': '1'},
    )


def end(processes: Iterable[subprocess.Popen]) -> None:
    """End the process groups: politely, then not."""
    # a second Ctrl-C
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDINGS}
    # must not leave one behind; SIGINT while Python starts would print a traceback
    for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, number)  # not reaped yet, so the group still exists
        deadline = time.monotonic() + patience_s
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
    for number, handler in before.items():
        signal.signal(number, handler)


def exit_on_endings() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into SystemExit, so that a Session ends its processes."""

    def interrupted(number, _):
        raise SystemExit(128 + number)

    for number in ENDINGS:
        signal.signal(number, interrupted)
