#!/usr/bin/env python3
"""Measure what a second camera is worth: joint error of each camera alone and of their fusion.

Two simulated cameras see one moving hand from directions some degrees apart, the second half an
image later than the first: in a free view, then with a bar that passes before each camera in turn.
Both are repeated with extrinsics of the second camera that are off by `--extrinsics-error`.
"""

import argparse
import math

import cv2
import numpy as np
import torch

from awr_ros.derived.fusion import HandFusion
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig

RATE_HZ = 30.0
SEED = 2_200_000_003
PIVOT = np.array([0.0, 60.0, 520.0])  # [mm] about which the hand moves
BAR_MM, BAR_WIDTH_PX, BAR_PERIOD_S = 330.0, 130, 3.0
SETTLE = 15  # [frames] not counted
CAMERAS = ('first', 'second')


class View(SyntheticCamera):
    """The synthetic camera from another direction; the world's frame is that of the usual one."""

    def __init__(self, seed: int, degrees: float, bar_phase: float | None):
        super().__init__(seed=seed)
        rotation = cv2.Rodrigues(np.array([0.0, math.radians(degrees), 0.0]))[0]
        self.world_from_camera = np.eye(4)
        self.world_from_camera[:3, :3] = rotation
        self.world_from_camera[:3, 3] = PIVOT - rotation @ PIVOT
        self._bar_phase = bar_phase

    def _hand(self, index: int, t_s: float) -> tuple[torch.Tensor, np.ndarray]:
        points, joints = super()._hand(index, t_s)
        camera_from_world = np.linalg.inv(self.world_from_camera)
        turn, shift = camera_from_world[:3, :3], camera_from_world[:3, 3]
        points = torch.tensor(turn, dtype=points.dtype) @ points
        points = points + torch.tensor(shift, dtype=points.dtype)[:, None]
        return points, (joints @ turn.T + shift).astype(np.float32)

    def _sense(self, depth: np.ndarray, t_s: float) -> np.ndarray:
        share = (t_s / BAR_PERIOD_S) % 2 - (self._bar_phase or 0.0)
        if self._bar_phase is not None and 0 <= share < 1:  # passes from left to right
            left = round(share * (self.intrinsics.width + BAR_WIDTH_PX)) - BAR_WIDTH_PX
            depth[:, max(left, 0) : max(left + BAR_WIDTH_PX, 0)] = BAR_MM
        return super()._sense(depth, t_s)


def disturbed(transform: np.ndarray, rng: np.random.Generator, mm: float, deg: float) -> np.ndarray:
    """Return a rigid transform (4,4) [mm] with errors of a calibration."""
    error = np.eye(4)
    error[:3, :3] = cv2.Rodrigues(np.deg2rad(deg) * rng.standard_normal(3) / math.sqrt(3))[0]
    shift = mm * rng.standard_normal(3) / math.sqrt(3)
    error[:3, 3] = PIVOT - error[:3, :3] @ PIVOT + shift
    return error @ transform


def run(
    seed: int, seconds: float, degrees: float, occlusion: bool, mm: float, deg: float
) -> dict[str, np.ndarray]:
    """Return the errors (frames,21) [mm] of each camera and of the fusion, NaN without a hand."""
    views = [
        View(seed, side * degrees / 2, phase if occlusion else None)
        for side, phase in ((-1, 0.0), (1, 1.0))
    ]
    rng = np.random.default_rng(seed)
    extrinsics = [views[0].world_from_camera, disturbed(views[1].world_from_camera, rng, mm, deg)]
    config = TrackerConfig(max_hands=1)
    trackers = [HandTracker.from_pretrained(device='cpu', config=config, num_threads=1)]
    trackers.append(HandTracker(trackers[0].estimator, config))
    fusion = HandFusion()
    errors = {name: [] for name in (*CAMERAS, 'surer', 'fused')}
    ids = set()
    for i in range(round(seconds * RATE_HZ)):
        answers = []
        for number, (view, tracker) in enumerate(zip(views, trackers)):
            t_s = (i + number / 2) / RATE_HZ
            hands = tracker.update(view.frame(t_s)[0], view.intrinsics, t_s)
            fusion.update(CAMERAS[number], t_s, hands, extrinsics[number])
            truth = view.true_joints(t_s)  # in the world's frame
            turn, shift = extrinsics[number][:3, :3], extrinsics[number][:3, 3]
            own = [h for h in hands if h.state != 'coasting']
            distance = np.full(21, np.nan)
            if own:
                distance = np.linalg.norm(own[0].joints_xyz @ turn.T + shift - truth, axis=-1)
            answers.append((own[0].score if own else -1.0, distance))
            errors[CAMERAS[number]].append(distance)
        errors['surer'].append(max(answers, key=lambda answer: answer[0])[1])
        fused = fusion.fuse(t_s)
        ids.update(hand.id for hand in fused)
        fused = [hand for hand in fused if hand.state != 'coasting']
        distance = np.full(21, np.nan)
        if fused:
            distance = np.min(
                [np.linalg.norm(hand.joints_xyz - truth, axis=-1) for hand in fused], axis=0
            )
        errors['fused'].append(distance)
    return {name: np.array(values)[SETTLE:] for name, values in errors.items()} | {
        'ids': np.array([len(ids)])
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--hands', type=int, default=4, help='default: %(default)s')
    parser.add_argument(
        '--seconds', type=float, default=12.0, help='of each (default: %(default)s)'
    )
    parser.add_argument('--degrees', type=float, default=70.0, help='between the cameras')
    parser.add_argument(
        '--extrinsics-error',
        type=float,
        nargs=2,
        default=(5.0, 1.0),
        metavar=('MM', 'DEGREES'),
        help='standard deviations of a calibration (default: 5 1)',
    )
    arguments = parser.parse_args()
    print(f'{arguments.hands} hands, {arguments.seconds:g} s each, {arguments.degrees:g} deg apart')
    print('| | hand seen | joints [mm] | median | tips | above 20 mm | ids a hand |')
    print('|---|---|---|---|---|---|---|')
    off = tuple(arguments.extrinsics_error)
    cases = [(occlusion, *error) for error in ((0, 0), off) for occlusion in (False, True)]
    for occlusion, mm, deg in cases:
        runs = [
            run(SEED + n, arguments.seconds, arguments.degrees, occlusion, mm, deg)
            for n in range(arguments.hands)
        ]
        text = 'a bar in between' if occlusion else 'free view'
        if mm or deg:
            text += f', extrinsics off by {mm:g} mm and {deg:g} deg'
        for name in (*CAMERAS, 'surer', 'fused'):
            e = np.concatenate([r[name] for r in runs])
            seen = np.isfinite(e).all(-1).mean()
            ids = f'{np.mean([r["ids"] for r in runs]):.1f}' if name == 'fused' else ''
            print(
                f'| {text}: {name} | {seen:.1%} | {np.nanmean(e):.2f} | {np.nanmedian(e):.2f} '
                f'| {np.nanmean(e[:, 4::4]):.2f} | {np.mean(e[np.isfinite(e)] > 20):.2%} | {ids} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
