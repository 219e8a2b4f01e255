#!/usr/bin/env python3
"""Measure velocity, prediction and glitch rejection on the synthetic camera.

    python scripts/measure_motion.py [--frames 600] [--record joints.npz]

The tracker follows one moving hand. Then the motion filter runs over its joints: error of the
prediction against holding the last joints, calibration of the covariance, and what it makes of
glitches that are put in. With --record the tracked joints are kept in that file and read from it
the next time.
"""

import argparse
from pathlib import Path

import numpy as np

from awr_ros.derived.motion import MotionConfig, MotionFilter
from awr_ros.skeleton import palm_centre
from awr_ros.tracker_config import TrackerConfig

RATE = 30.0  # [Hz]
AHEAD_MS = (0, 33, 66, 100)
SETTLE = 10  # [frames] not counted
GLITCH_SHARE, GLITCH_MM = 0.02, 60.0  # of the joints, for one frame, in a random direction
FINE = 4  # the truth is known this many times a frame


def record(frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Track a moving hand: (frames,21,3) [mm], NaN while lost, and the truth, FINE times as
    dense.
    """
    from awr_ros.synthetic.camera import SyntheticCamera
    from awr_ros.tracker import HandTracker

    camera = SyntheticCamera(seed=seed)
    tracker = HandTracker.from_pretrained(
        device='cpu', config=TrackerConfig(max_hands=1, side='right')
    )
    tracked = []
    for i in range(frames):
        depth, _ = camera.frame(i / RATE)
        hands = [
            hand
            for hand in tracker.update(depth, camera.intrinsics, i / RATE)
            if hand.state != 'coasting'
        ]
        tracked.append(hands[0].joints_xyz if hands else np.full((21, 3), np.nan))
    times = np.arange((frames + 4) * FINE) / FINE / RATE
    return {'tracked': np.array(tracked), 'truth': np.array([camera.true_joints(t) for t in times])}


def truth_at(truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the true joints (N,21,3) [mm] at times [s], by linear interpolation of the dense
    truth.
    """
    at = times * RATE * FINE
    low = np.minimum(np.floor(at).astype(int), len(truth) - 2)
    share = (at - low)[:, None, None]
    return truth[low] * (1 - share) + truth[low + 1] * share


def run(tracked: np.ndarray, config: MotionConfig, ahead_s: float = 0.0) -> list:
    """Return the Motion of every frame, predicted by `ahead_s`."""
    motion_filter, motions = MotionFilter(config), []
    for i, joints in enumerate(tracked):
        motion_filter.update(joints, i / RATE)
        motions.append(motion_filter.predict(i / RATE + ahead_s))
    return motions


def error_mm(joints: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance of a joint."""
    return float(np.nanmean(np.linalg.norm(joints - truth, axis=-1)[SETTLE:]))


def prediction_table(tracked: np.ndarray, truth: np.ndarray, config: MotionConfig) -> None:
    """Print the errors of predicted and of held joints."""
    stamps = np.arange(len(tracked)) / RATE
    print('| ahead [ms] | hold the last joints [mm] | predicted [mm] | less |')
    print('|---|---|---|---|')
    for ahead_ms in AHEAD_MS:
        ahead_s = ahead_ms / 1e3
        true = truth_at(truth, stamps + ahead_s)
        predicted = np.array([motion.positions for motion in run(tracked, config, ahead_s)])
        held, now = error_mm(tracked, true), error_mm(predicted, true)
        print(f'| {ahead_ms} | {held:.2f} | {now:.2f} | {1 - now / held:.0%} |')


def calibration_table(tracked: np.ndarray, truth: np.ndarray, config: MotionConfig) -> None:
    """Print how well the covariances match the errors."""
    stamps = np.arange(len(tracked)) / RATE
    motions = run(tracked, config)
    dt = 1 / FINE / RATE
    velocity = (truth_at(truth, stamps + dt) - truth_at(truth, np.maximum(stamps - dt, 0))) / (
        2 * dt
    )
    palms = [motion.palm() for motion in motions]
    true_palm = palm_centre(velocity)
    positions = np.array([m.positions for m in motions]) - truth_at(truth, stamps)
    cases = {
        'joint position': (positions, np.array([m.position_variances for m in motions])),
        'joint velocity': (
            np.array([m.velocities for m in motions]) - velocity,
            np.array([m.velocity_variances for m in motions]),
        ),
        'palm velocity': (
            np.array([p[2] for p in palms]) - true_palm,
            np.array([np.diag(p[3]) for p in palms]),
        ),
    }
    print(
        '| | RMS error [mm, mm/s] | predicted deviation | within 1 deviation (68 %) | within 2 (95 '
        '%) |'
    )
    print('|---|---|---|---|---|')
    for name, (errors, variances) in cases.items():
        errors, variances = errors[SETTLE:], variances[SETTLE:]
        scaled = np.abs(errors) / np.sqrt(variances)
        known = np.isfinite(scaled)
        print(
            f'| {name} | {np.sqrt(np.nanmean(errors**2)):.1f} | '
            f'{np.sqrt(np.nanmean(variances)):.1f} '
            f'| {np.mean(scaled[known] < 1):.0%} | {np.mean(scaled[known] < 2):.0%} |'
        )


def glitch_table(tracked: np.ndarray, truth: np.ndarray, config: MotionConfig) -> None:
    """Print how many artificial glitches are rejected."""
    rng = np.random.default_rng(0)
    way = rng.standard_normal(tracked.shape)
    way *= GLITCH_MM / np.linalg.norm(way, axis=-1, keepdims=True)
    glitch = rng.random(tracked.shape[:2]) < GLITCH_SHARE
    glitch[:SETTLE] = False
    with_glitches = tracked + way * glitch[..., None]
    motions = run(with_glitches, config)
    rejected = np.array([motion.rejected for motion in motions])
    true = truth_at(truth, np.arange(len(tracked)) / RATE)
    filtered = np.array([motion.positions for motion in motions])
    clean = np.array([motion.rejected for motion in run(tracked, config)])
    errors = np.linalg.norm(filtered - true, axis=-1)
    print(
        f'glitches of {GLITCH_MM:g} mm in {GLITCH_SHARE:.0%} of the joints: '
        f'{rejected[glitch].mean():.1%} rejected in '
        f'their own frame; those joints are then {np.nanmean(errors[glitch]):.1f} mm off, all '
        f'joints '
        f'{error_mm(filtered, true):.2f} mm (unfiltered {error_mm(with_glitches, true):.2f} mm)'
    )
    print(f'without glitches {clean[SETTLE:].mean():.2%} of the joints are rejected')


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=600, help='of a moving hand')
    parser.add_argument('--seed', type=int, default=0, help='of the movement')
    parser.add_argument('--record', type=Path, help='file for the tracked joints')
    arguments = parser.parse_args()
    if arguments.record and arguments.record.exists():
        tracks = dict(np.load(arguments.record))
    else:
        tracks = record(arguments.frames, arguments.seed)
        if arguments.record:
            np.savez(arguments.record, **tracks)
    tracked, truth, config = tracks['tracked'], tracks['truth'], MotionConfig()
    speed = np.linalg.norm(np.diff(truth, axis=0), axis=-1) * RATE * FINE / 1000
    print(
        f'{len(tracked)} frames, joints move at {np.median(speed):.2f} m/s (median), '
        f'{np.percentile(speed, 95):.2f} m/s (95 %)'
    )
    for table in (prediction_table, calibration_table, glitch_table):
        print()
        table(tracked, truth, config)


if __name__ == '__main__':
    main()
