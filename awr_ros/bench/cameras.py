"""Several cameras in one process: each with its own engine, or all sharing one."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.bench.report import Report
from awr_ros.bench.timing import median_ms
from awr_ros.camera import Intrinsics
from awr_ros.estimator import HandPoseEstimator
from awr_ros.runtime.select import load_engine
from awr_ros.runtime.shared_engine import BatchedEngine
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker, TrackerConfig

CASES = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2))  # (cameras, hands per camera)
FRAMES = 30  # of each movement, played forwards and backwards
RATE_HZ = 30.0


def bench_cameras(
    report: Report,
    weights: str | Path | None,
    repeats: int,
    device: str = 'auto',
    cases: Sequence[tuple[int, int]] = CASES,
    frames: int = FRAMES,
) -> None:
    """Measure one frame of every camera, all arriving at once, each tracked in its own thread."""
    most = max(cameras for cameras, _ in cases)
    engines = [load_engine(weights, device=device) for _ in range(most)]
    shared = BatchedEngine(load_engine(weights, device=device))
    report.section(
        'Several cameras in one process',
        f'Frames of 640 x 480 that arrive at the same time, {engines[0].description}. Milliseconds '
        'until the hands of all cameras are known. Separate: each camera has an engine of its own; '
        'shared: all have one, which reads what waits in one pass. "in turn": frames tracked one '
        f'after the other, without threads. Medians of up to {repeats}.',
    )
    row = report.table(
        ('cameras x hands', 'in turn [ms]', 'separate [ms]', 'shared [ms]', 'shared / separate')
    )
    movements = {hands: movement(hands, frames) for hands in {hands for _, hands in cases}}
    for cameras, hands in cases:
        times = {}
        for name, used in (
            ('in turn', engines[:1] * cameras),
            ('separate', engines[:cameras]),
            ('shared', [shared] * cameras),
        ):
            with ThreadPoolExecutor(cameras if name != 'in turn' else 1) as threads:
                times[name] = median_ms(Rig(used, *movements[hands], hands, threads).step, repeats)
        row(f'{cameras} x {hands}', *times.values(), f'{times["shared"] / times["separate"]:.2f}')


def movement(hands: int, frames: int) -> tuple[list[np.ndarray], Intrinsics]:
    """Return depth frames [(H,W) uint16 mm] of 1, 2 or 4 moving hands, and their Intrinsics.

    Four hands are two images side by side, as from one wide camera.
    """
    cameras = [SyntheticCamera(num_hands=min(hands, 2), seed=i) for i in range(max(1, hands // 2))]
    k = cameras[0].intrinsics
    wide = Intrinsics(
        k.fx, k.fy, k.cx + (len(cameras) - 1) * k.width / 2, k.cy, len(cameras) * k.width, k.height
    )
    shown = [
        np.concatenate([camera.frame(i / RATE_HZ)[0] for camera in cameras], 1)
        for i in range(frames)
    ]
    return [*shown, *shown[-2:0:-1]], wide


class Rig:
    """Trackers of several cameras that see the same movement, each from another starting frame."""

    def __init__(
        self,
        engines: Sequence,
        depths: Sequence[np.ndarray],
        intrinsics: Intrinsics,
        hands: int,
        threads: Any,
    ) -> None:
        """engines: one per camera; hands: per camera; threads: executor for the trackers."""
        config = TrackerConfig(max_hands=hands)
        self.trackers = [HandTracker(HandPoseEstimator(engine), config) for engine in engines]
        self._depths, self._intrinsics, self._threads, self._frame = depths, intrinsics, threads, 0

    def step(self) -> list:
        """Track one frame of each camera; return their hands."""
        self._frame += 1
        return list(self._threads.map(self._track, range(len(self.trackers))))

    def _track(self, camera):
        depth = self._depths[(self._frame + 7 * camera) % len(self._depths)]
        return self.trackers[camera].update(depth, self._intrinsics, self._frame / RATE_HZ)
