"""Milliseconds of each stage on this machine: medians over many runs after a warm-up."""
import platform
import shutil
import statistics
import time

import torch

from awr_ros.crop import crop_hand
from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.finder import find_candidates
from awr_ros.network import COMPACT_M, CompactNetwork
from awr_ros.offset_field import decode
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.synthetic.crops import CropSource
from awr_ros.tracker import HandTracker, TrackerConfig
from awr_ros.training.train import keep_memory


def median_ms(run, repeats):
    """Median wall time [ms] of run() after three warm-up calls."""
    times = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def bench(weights=None, repeats=100):
    """Print the table. weights: path or None for the package's."""
    estimator = HandPoseEstimator.from_pretrained(weights)
    network, config, device = estimator.network, estimator.config, estimator.device
    cores = torch.get_num_threads()
    print(f'{platform.machine()}, {cores} threads, torch {torch.__version__}, {estimator.description}; medians of {repeats}')
    camera = SyntheticCamera(num_hands=2)
    frames = [camera.frame(i / 30) for i in range(30)]
    depth_mm, hands = frames[0]
    centre, side = palm_centre(hands[0].joints_xyz), hands[0].side
    crop = torch.from_numpy(crop_hand(depth_mm, camera.intrinsics, centre, config.cube_mm, config.crop_size).depth)
    crop = crop[None, None].to(device)
    medium = CompactNetwork(COMPACT_M).eval().to(device)

    def show(name, run, count=repeats):
        print(f'{name:<58}{median_ms(run, count):9.2f} ms', flush=True)
    with torch.inference_mode():
        field, _ = network(crop)
        show('crop 640x480 to 128x128', lambda: crop_hand(depth_mm, camera.intrinsics, centre, config.cube_mm, 128))
        show('network, default weights, batch 1', lambda: network(crop))
        show('network, default weights, batch 2', lambda: network(crop.expand(2, -1, -1, -1)))
        show('network, compact M untrained, batch 1 (reference)', lambda: medium(crop))
        show('decode', lambda: decode(field, crop, config.kernel_size))
    show('estimator: crop, network, decode, back to the camera',
         lambda: estimator.estimate_batch(depth_mm, camera.intrinsics, [Request(centre, side)]))
    show('finder: candidates of a frame', lambda: find_candidates(depth_mm, camera.intrinsics, 150, 1500))
    for count in (1, 2):
        tracker = HandTracker(estimator, TrackerConfig(max_hands=count))
        stamps = iter(range(10 ** 9))

        def step():
            i = next(stamps)
            tracker.update(frames[i % 30][0], camera.intrinsics, i / 30)
        show(f'tracker: a frame, up to {count} hand{"s" * (count - 1)}', step)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    for name, compiled in (('renderer with noise, one thread', False), ('the same, fused as in training --compiled', True)):
        if compiled and not shutil.which('c++'):
            continue
        source = CropSource(0, compiled=compiled)
        per_batch = median_ms(lambda: source.draw(64), max(10, repeats // 5))
        print(f'{name:<58}{64e3 / per_batch:9.0f} crops/s', flush=True)
    torch.set_num_threads(threads)
