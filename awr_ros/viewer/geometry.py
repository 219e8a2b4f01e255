"""Geometry of the view: points, bones and crops as arrays of metres and colours."""

from typing import Any

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.skeleton import BONES, PALM

MAX_POINTS = 40_000  # limit of the cloud, subsampled evenly
FAR_M = 1.6  # farther points are not drawn
SIDE_COLOURS = {'left': (80, 150, 255), 'right': (255, 150, 50)}


def cloud(depth_mm: np.ndarray, intrinsics: Intrinsics, most: int = MAX_POINTS) -> np.ndarray:
    """Return points (N,3) float32 [m] of a depth image in the optical frame, at most about
    `most`.
    """
    depth_mm = np.asarray(depth_mm, np.float32)
    near = np.isfinite(depth_mm) & (depth_mm > 0) & (depth_mm < FAR_M * MM_PER_M)
    v, u = near.nonzero()
    every = max(1, -(-len(u) // most))
    v, u = v[::every], u[::every]
    points = intrinsics.uvd_to_xyz(np.stack([u, v, depth_mm[v, u]], -1))
    return (points / MM_PER_M).astype(np.float32)


def depth_colours(points: np.ndarray) -> np.ndarray:
    """Return colours (N,3) uint8 for points [m]: near bright, far dark."""
    shade = np.clip(230 - 150 * (points[:, 2] - 0.3) / 1.1, 40, 230)
    return np.repeat(shade[:, None], 3, 1).astype(np.uint8)


def score_colours(scores: np.ndarray) -> np.ndarray:
    """Return colours (N,3) uint8 for joint scores [0,1]: red over yellow to green; NaN is grey."""
    scores = np.asarray(scores, np.float64)
    share = np.clip(np.nan_to_num(scores), 0, 1)
    colours = np.stack(
        [255 * np.minimum(1, 2 - 2 * share), 255 * np.minimum(1, 2 * share), 0 * share], -1
    )
    return np.where(np.isfinite(scores)[:, None], colours, 128).astype(np.uint8)


def bone_lines(hand: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the known bones of a TrackedHand: ends (B,2,3) float32 [m] and their colours (B,2,3)
    uint8.
    """
    bones = np.array(BONES)
    ends = np.asarray(hand.joints_xyz, np.float32)[bones] / np.float32(MM_PER_M)
    known = np.isfinite(ends).all((1, 2))
    return ends[known], score_colours(hand.joint_scores)[bones][known]


def crop_lines(hand: Any, intrinsics: Intrinsics) -> np.ndarray:
    """Return the outline of a hand's crop at the palm's depth, (4,2,3) float32 [m]."""
    x, y, width, height = hand.roi
    d = float(np.nanmean(np.asarray(hand.joints_uvd)[list(PALM), 2]))
    corners = np.array(
        [(x, y, d), (x + width, y, d), (x + width, y + height, d), (x, y + height, d)]
    )
    points = intrinsics.uvd_to_xyz(corners) / MM_PER_M
    return np.stack([points, np.roll(points, -1, 0)], 1).astype(np.float32)
