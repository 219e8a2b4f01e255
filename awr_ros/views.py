"""Views of one hand: crops of it that are rotated differently (test-time augmentation).

The network errs in each of them in another way, so the geometric median of their joints is nearer
to the hand than the joints of one crop: docs/experiments.md, "Lost fingers, and several views of a
hand", has the figures.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from awr_ros.camera import Intrinsics

if TYPE_CHECKING:
    from awr_ros.estimator import HandPose, Request

# Rotations [rad] of the views, in the order in which they are used.
VIEW_ROLLS = (0.0, 0.25, -0.25, 0.5, -0.5)
MAX_VIEWS = len(VIEW_ROLLS)
# Steps towards the median: of five estimates 10 mm apart 95 % of the results are then within 1 mm.
MEDIAN_STEPS = 8
LEAST_MM = (
    1.0  # smallest distance that counts: an estimate right at the median has no infinite weight
)
LEAST_SCORE = 1e-3  # smallest weight, so that they are never all 0


def checked_views(views: int) -> int:
    """Return a number of views. Raise ValueError if it is not 1 to MAX_VIEWS."""
    if not 1 <= views <= MAX_VIEWS:
        raise ValueError(f'views must be 1 to {MAX_VIEWS}, got {views}')
    return views


def rotated(request: 'Request', views: int) -> list['Request']:
    """Return the requests of several views of a hand. views: 1 to MAX_VIEWS."""
    return [replace(request, roll=request.roll + roll) for roll in VIEW_ROLLS[:views]]


def merged(poses: Sequence['HandPose | None'], intrinsics: Intrinsics) -> 'HandPose | None':
    """Merge the poses of one hand from its views: the geometric median of each joint, weighted by
    its scores, and the means of the scores; side and roi are those of the first pose.

    poses: None for a view without one. Return None when no view has one.
    """
    seen = [pose for pose in poses if pose is not None]
    if len(seen) < 2:
        return seen[0] if seen else None
    scores = np.stack([pose.joint_scores for pose in seen])
    joints = geometric_median(np.stack([pose.joints_xyz for pose in seen]), scores)
    return replace(
        seen[0],
        joints_xyz=joints.astype(np.float32),
        joints_uvd=intrinsics.xyz_to_uvd(joints).astype(np.float32),
        joint_scores=scores.mean(axis=0),
        hand_score=float(np.mean([pose.hand_score for pose in seen])),
        handedness_logit=float(np.mean([pose.handedness_logit for pose in seen])),
    )


def geometric_median(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the points (J,3) with about the least sum of weighted distances from V estimates of
    them, by some steps of Weiszfeld's algorithm (Tohoku Mathematical Journal 43, 1937). Of two
    estimates the median would be the likelier one; their weighted mean is returned.

    points: (V,J,3) [mm]; weights: (V,J), none negative. Points that are NaN stay NaN.
    """
    weights = np.maximum(weights, LEAST_SCORE)
    median = (weights[..., None] * points).sum(axis=0) / weights.sum(axis=0)[:, None]
    if len(points) > 2:  # nearer to the median where an estimate is far off
        median = np.sort(points, axis=0)[len(points) // 2]
    for _ in range(MEDIAN_STEPS if len(points) > 2 else 0):
        distances = np.linalg.norm(points - median, axis=-1)
        pull = (weights / np.maximum(distances, LEAST_MM))[..., None]
        median = (points * pull).sum(axis=0) / pull.sum(axis=0)
    return median
