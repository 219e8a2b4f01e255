#!/usr/bin/env python3
"""Measure gain and cost of smoothing on the synthetic camera: jitter at rest, delay and error
in motion.

    python scripts/measure_smoothing.py [--frames 300] [--record joints.npz]

The tracker runs once without smoothing; the filter is then applied to its joints with each setting.
With --record the tracked joints are kept in that file and read from it the next time.
"""

import argparse
from pathlib import Path

import numpy as np

from awr_ros.smoothing import OneEuro
from awr_ros.tracker_config import TrackerConfig

RATE = 30.0  # [Hz]
STILL_AT_S = 0.4  # the hand at rest is the moving one at this time
DEFAULTS = TrackerConfig()
# [Hz], [Hz per mm/s]
SETTINGS = [
    (min_cutoff, beta) for min_cutoff in (0.5, 1.0, 1.5, 3.0) for beta in (0.005, 0.02, 0.05, 0.1)
]


def record(frames):
    """{'still', 'moving', 'truth'}: (frames,21,3) [mm], tracked at rest and in motion, and true in
    motion; NaN while lost.
    """
    from awr_ros.synthetic.camera import SyntheticCamera
    from awr_ros.tracker import HandTracker

    class StillCamera(SyntheticCamera):
        """The hand of one moment with the noise of every moment."""

        def _hand(self, index, t_s):
            return super()._hand(index, STILL_AT_S)

    tracks = {}
    for name, camera in (('still', StillCamera()), ('moving', SyntheticCamera())):
        tracker = HandTracker.from_pretrained(
            device='cpu', config=TrackerConfig(max_hands=1, side='right')
        )
        tracked, truth = [], []
        for i in range(frames):
            depth, (true_hand, *_) = camera.frame(i / RATE)
            hands = tracker.update(depth, camera.intrinsics, i / RATE)
            tracked.append(hands[0].joints_xyz if hands else np.full((21, 3), np.nan))
            truth.append(true_hand.joints_xyz)
        tracks[name] = np.array(tracked)
    return {**tracks, 'truth': np.array(truth)}


def smooth(joints, min_cutoff_hz, beta):
    """Return the joints filtered with these settings."""
    one_euro = OneEuro()
    return np.array(
        [one_euro(frame, i / RATE, min_cutoff_hz, beta) for i, frame in enumerate(joints)]
    )


def tremble_mm(joints):
    """Return the RMS change of a joint from one frame to the next [mm]."""
    return np.sqrt(np.nanmean(np.sum(np.diff(joints[10:], axis=0) ** 2, -1)))


def delay_ms(late, joints):
    """Return the delay of `joints` with the best match to `late` [ms]."""
    shifts = np.arange(0, 6, 0.05)  # [frames]
    at = np.arange(10, len(joints))

    def delayed(shift):
        low = np.floor(at - shift).astype(int)
        share = (at - shift - low)[:, None, None]
        return joints[low] * (1 - share) + joints[np.minimum(low + 1, len(joints) - 1)] * share

    costs = [np.nanmean((late[at] - delayed(shift)) ** 2) for shift in shifts]
    return 1e3 * shifts[int(np.argmin(costs))] / RATE


def error_mm(joints, truth):
    """Return the mean distance of a joint."""
    return np.nanmean(np.linalg.norm(joints - truth, axis=-1)[10:])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--frames', type=int, default=300, help='frames at rest and as many in motion'
    )
    parser.add_argument('--record', type=Path, help='file for the tracked joints')
    arguments = parser.parse_args()
    if arguments.record and arguments.record.exists():
        tracks = dict(np.load(arguments.record))
    else:
        tracks = record(arguments.frames)
        if arguments.record:
            np.savez(arguments.record, **tracks)
    still, moving, truth = (tracks[name] for name in ('still', 'moving', 'truth'))
    speed = np.linalg.norm(np.diff(truth, axis=0), axis=-1) * RATE / 1000
    print(
        f'{len(moving)} frames, joints move at {np.median(speed):.2f} m/s (median), '
        f'{np.percentile(speed, 95):.2f} m/s (95 %)'
    )
    print(
        '| min_cutoff [Hz] | beta [Hz per m/s] | tremble at rest [mm] | delay in motion [ms] | '
        'error in motion [mm] |'
    )
    print('|---|---|---|---|---|')
    print(f'| off | | {tremble_mm(still):.2f} | 0 | {error_mm(moving, truth):.1f} |')
    for min_cutoff, beta in SETTINGS:
        mark = (
            ' (default)'
            if (min_cutoff, beta) == (DEFAULTS.smoothing_min_cutoff_hz, DEFAULTS.smoothing_beta)
            else ''
        )
        late = smooth(moving, min_cutoff, beta)
        print(
            f'| {min_cutoff:g} | {1000 * beta:g}{mark} | '
            f'{tremble_mm(smooth(still, min_cutoff, beta)):.2f} | '
            f'{delay_ms(late, moving):.0f} | {error_mm(late, truth):.1f} |'
        )


if __name__ == '__main__':
    main()
