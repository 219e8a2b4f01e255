"""Benchmarks of one frame in this process: its stages, the tracker, a cold start; and of
training.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from awr_ros.bench.report import Report
from awr_ros.bench.timing import median_ms
from awr_ros.crop import crop_hand
from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.finders.geometric import find_candidates
from awr_ros.finders.palm_detector import PalmDetector
from awr_ros.networks.checkpoint import COMPACT_S, CompactNetwork
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.synthetic.crops import CropSource
from awr_ros.tracker import HandTracker, TrackerConfig
from awr_ros.training.losses import losses
from awr_ros.training.run import keep_memory
from awr_ros.views import MAX_VIEWS

COLD_START = """
from awr_ros.synthetic.camera import DEFAULT_INTRINSICS as K
from awr_ros.tracker import HandTracker
import numpy as np, sys
depth = np.load(sys.argv[1])
tracker = HandTracker.from_pretrained(sys.argv[2] or None)
assert any(tracker.update(depth, K, 0.1 * i) for i in range(5)), 'no hand'
"""


def bench_frame(report: Report, weights: str | Path | None, repeats: int) -> None:
    """Measure the stages of a 640x480 frame and whole frames of the tracker."""
    estimator = HandPoseEstimator.from_pretrained(weights)
    report.section('One frame', f'640 x 480, {estimator.description}; medians of up to {repeats}.')
    camera = SyntheticCamera(num_hands=2)
    frames = [camera.frame(i / 30) for i in range(30)]
    depth_mm, hands = frames[0]
    requests = [Request(palm_centre(hand.joints_xyz), hand.side) for hand in hands]
    cut = estimator.config
    row = report.table(('stage', 'ms'))
    row(
        'crop of one hand',
        median_ms(
            lambda: crop_hand(
                depth_mm, camera.intrinsics, requests[0].centre_xyz, cut.cube_mm, cut.crop_size
            ),
            repeats,
        ),
    )
    for count in (1, 2):
        row(
            f'crops, network, read-out, back to the camera: {count} hand{"s" * (count - 1)}',
            median_ms(
                lambda n=count: estimator.estimate_batch(depth_mm, camera.intrinsics, requests[:n]),
                repeats,
            ),
        )
    learned = PalmDetector()
    row(
        'finder: learned',
        median_ms(lambda: learned.find(depth_mm, camera.intrinsics, 150, 1500), repeats),
    )
    row(
        'finder: nearest',
        median_ms(lambda: find_candidates(depth_mm, camera.intrinsics, 150, 1500), repeats),
    )
    for views in (1, MAX_VIEWS):
        row(
            f'estimate of one hand of a known side: {views} view{"s" * (views > 1)}',
            median_ms(
                lambda n=views: estimator.estimate(
                    depth_mm,
                    camera.intrinsics,
                    requests[0].centre_xyz,
                    requests[0].side,
                    views=n,
                ),
                repeats,
            ),
        )
    calls = []
    for count, views in ((1, 1), (2, 1), (1, 3), (1, MAX_VIEWS)):
        tracker = HandTracker(estimator, TrackerConfig(max_hands=count, views=views))
        stamps = iter(range(10**9))

        def step(tracker=tracker, stamps=stamps):
            i = next(stamps)
            tracker.update(frames[i % 30][0], camera.intrinsics, i / 30)

        what = f'tracker: a frame, up to {count} hand{"s" * (count - 1)}'
        row(what if views == 1 else f'{what}, {views} views', median_ms(step, repeats))
        if views == 1:
            calls.append(python_calls(step))
    report.remark(
        f'Calls of Python functions in a frame: {calls[0]} with one hand, {calls[1]} with two.'
    )


def python_calls(run: Callable, repeats: int = 31) -> int:
    """Count the calls of Python functions in run(), the median over several runs."""
    counts: list[int] = []

    def count(_, event, __):
        counts[-1] += event == 'call'

    for _ in range(repeats):
        counts.append(0)
        sys.setprofile(count)
        try:
            run()
        finally:
            sys.setprofile(None)
    return int(statistics.median(counts))


def bench_cold_start(report: Report, weights: str | Path | None, folder: Path) -> None:
    """Measure a new Python process from its start to the first joints, with the converted network
    in the cache.
    """
    import numpy as np

    camera = SyntheticCamera(num_hands=1)
    np.save(folder / 'frame.npy', camera.frame(0.0)[0])
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, '-c', COLD_START, str(folder / 'frame.npy'), str(weights or '')],
            check=True,
        )
        times.append(time.perf_counter() - start)
    report.section(
        'Cold start',
        'A new process from its start to the first joints, without ROS, the network converted '
        'before.',
    )
    report.remark(f'{sorted(times)[1]:.2f} s (median of 3).')


def bench_training(report: Report, repeats: int) -> None:
    """Measure crops per second: rendering on one thread, training steps on all threads."""
    report.section(
        'Training',
        'Rendering on one thread, as each worker does it, with everything: poses, clutter, heads, '
        'full sensor '
        'noise; optimising on all threads, compact S, batches of 16, without the fusing of '
        '--compiled.',
    )
    keep_memory()
    row = report.table(('what', 'crops/s'))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    source = CropSource(0)
    row(
        'rendering with noise and clutter',
        f'{64e3 / median_ms(lambda: source.draw(64), max(10, repeats // 5)):.0f}',
    )
    if shutil.which('c++'):
        fused = CropSource(0, compiled=True)
        # Code is compiled for each size and kind of batch when it first occurs: the warm-ups cover
        # them all.
        row(
            'the same, fused as in training --compiled',
            f'{64e3 / median_ms(lambda: fused.draw(64), max(10, repeats // 5), warm_ups=24):.0f}',
        )
    torch.set_num_threads(torch.multiprocessing.cpu_count())
    batch, network = source.draw(16), CompactNetwork(COMPACT_S).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        losses(*network(batch.depth), batch, network.config.kernel_size)[0].backward()
        optimizer.step()

    row('optimising', f'{16e3 / median_ms(step, repeats // 5):.0f}')
    torch.set_num_threads(threads)
