#!/usr/bin/env python3
"""Measure what known bone lengths are worth: joint error and bone-length jitter with and without.

Hands of people that no network was trained on move and pose before simulated cameras of each kind.
The tracker runs once; its joints are then steadied with lengths estimated on the way (auto), with
the true ones (a hand measured beforehand), and not at all. `--record FILE` keeps the tracked
joints, so that settings can be tried without rendering again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from awr_ros.derived.hand_size import HandSize, bone_lengths, steady
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.synthetic.frame_sensor import STEREO, STRUCTURED_LIGHT, TIME_OF_FLIGHT, FrameSensor
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig

RATE_HZ = 30.0
PEOPLE_SEED = 2_100_000_011  # training, validation and the other measurements draw from other seeds
FAR_MM = 2000.0
KINDS = (STRUCTURED_LIGHT, TIME_OF_FLIGHT, STEREO)
FIELDS = ('tracked', 'scores', 'truth')


class PersonCamera(SyntheticCamera):
    """One person's hand before a camera of a kind whose noise training knows."""

    def __init__(self, seed: int, kind: str):
        super().__init__(seed=seed)
        shape = self.intrinsics.height, self.intrinsics.width
        generators = [torch.Generator().manual_seed(seed + i) for i in (1, 2)]
        self._sensor = FrameSensor(shape, self.intrinsics.fx, FAR_MM, *generators, kind)

    def _sense(self, depth: np.ndarray, t_s: float) -> np.ndarray:
        return self._sensor.measure(torch.from_numpy(np.minimum(depth, 1400.0)))


def record(people: int, seconds: float) -> dict[str, np.ndarray]:
    """Track `people` hands before each kind of camera, (hands,frames,...), NaN while not seen."""
    tracker = HandTracker.from_pretrained(
        device='cpu', config=TrackerConfig(max_hands=1, side='right'), num_threads=1
    )
    columns = {name: [] for name in FIELDS}
    for number in range(people * len(KINDS)):
        kind, frames = KINDS[number % len(KINDS)], round(seconds * RATE_HZ)
        camera = PersonCamera(PEOPLE_SEED + number // len(KINDS), kind)
        tracker.reset()
        tracked, scores, truth = [], [], []
        for i in range(frames):
            depth, (true_hand,) = camera.frame(i / RATE_HZ)
            hands = tracker.update(depth, camera.intrinsics, i / RATE_HZ)
            seen = [hand for hand in hands if hand.state != 'coasting']
            tracked.append(seen[0].joints_xyz if seen else np.full((21, 3), np.nan))
            scores.append(seen[0].joint_scores if seen else np.full(21, np.nan))
            truth.append(true_hand.joints_xyz)
        for name, values in zip(FIELDS, (tracked, scores, truth)):
            columns[name].append(values)
        print(f'{number + 1} of {people * len(KINDS)}: {kind}', flush=True)
    return {name: np.array(values, np.float32) for name, values in columns.items()}


def steadied(hand: dict[str, np.ndarray], known: bool) -> Iterator[np.ndarray]:
    """Steadied joints (21,3) [mm] frame by frame. known: with true lengths, else as they come."""
    size = HandSize(np.nanmean(bone_lengths(hand['truth']), 0) if known else None)
    for joints, scores in zip(hand['tracked'], hand['scores']):
        if not np.isfinite(joints).all():
            yield joints
            continue
        size.update(joints, scores)
        yield steady(joints, scores, size.lengths_mm, size.deviations_mm)


def figures(joints: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float, float]:
    """Joint error, its median, fingertip error, length error and length jitter, all [mm]."""
    error = np.linalg.norm(joints - truth, axis=-1)
    lengths = bone_lengths(joints)
    jitter = np.nanmean(np.nanstd(lengths, axis=-2))
    off = np.nanmean(np.abs(lengths - bone_lengths(truth)))
    tips = np.nanmean(error[..., [4, 8, 12, 16, 20]])
    return np.nanmean(error), np.nanmedian(error), tips, off, jitter


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--people', type=int, default=12, help='default: %(default)s')
    parser.add_argument('--seconds', type=float, default=15.0, help='of each hand and camera')
    parser.add_argument('--record', type=Path, help='file for the tracked joints')
    arguments = parser.parse_args()
    if arguments.record and arguments.record.exists():
        data = dict(np.load(arguments.record))
    else:
        data = record(arguments.people, arguments.seconds)
        if arguments.record:
            np.savez(arguments.record, **data)
    hands = [{name: data[name][i] for name in FIELDS} for i in range(len(data['truth']))]
    print(f'{len(hands)} hands of {len(hands[0]["truth"])} frames')
    print('| camera | bone lengths | joints [mm] | median | tips | length error | length jitter |')
    print('|---|---|---|---|---|---|---|')
    cases = {
        'not used': data['tracked'],
        'estimated': np.array([list(steadied(hand, False)) for hand in hands]),
        'known': np.array([list(steadied(hand, True)) for hand in hands]),
    }
    for first, kind in (*enumerate(KINDS), (None, 'all')):
        chosen = slice(None) if first is None else slice(first, None, len(KINDS))
        for name, joints in cases.items():
            numbers = ' | '.join(f'{x:.2f}' for x in figures(joints[chosen], data['truth'][chosen]))
            print(f'| {kind} | {name} | {numbers} |')


if __name__ == '__main__':
    main()
