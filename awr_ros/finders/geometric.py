"""Geometric finder: hand candidates from depth alone, without a network.

The frame is segmented at jumps in depth. People hold hands towards a camera: at the nearest part of
a segment and at the far ends of long segments (arms, bodies), so these are the candidates.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from awr_ros.camera import Intrinsics

COARSE_WIDTH = 160  # the frame is sampled on about this many columns
MIN_AREA_MM2 = 1500.0  # minimum area of a segment; a hand seen edge-on covers about 3000
# maximum area of a segment: larger ones are walls and tables, a person to the knees covers about
# half
MAX_AREA_MM2 = 800_000.0
REACH_MM = 100.0  # radius of the mean shift from an end of a segment to the palm
ENDS = 6  # most ends of a segment: an arm has one, a body with arms several
MAX_CANDIDATES = 16


def find_candidates(
    depth_mm: np.ndarray, intrinsics: Intrinsics, min_depth_mm: float, max_depth_mm: float
) -> np.ndarray:
    """Find possible palm centres, the likeliest first.

    depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; depths outside [min_depth_mm,
    max_depth_mm] are ignored. Return (n,3) float64 [mm] camera optical frame, n <= 16.
    """
    if depth_mm.shape != (intrinsics.height, intrinsics.width):
        raise ValueError(
            f'depth must be {(intrinsics.height, intrinsics.width)} as the intrinsics say, got '
            f'{depth_mm.shape}'
        )
    step = max(1, round(depth_mm.shape[1] / COARSE_WIDTH))
    depth = np.nan_to_num(
        depth_mm[step // 2 :: step, step // 2 :: step].astype(np.float32), posinf=0, neginf=0
    )
    valid = (depth >= min_depth_mm) & (depth <= max_depth_mm)
    if not valid.any():
        return np.empty((0, 3))
    count, labels = cv2.connectedComponents(
        (valid & ~_far_side_of_jumps(depth)).astype(np.uint8), connectivity=4
    )
    rows, cols = np.nonzero(labels)
    label, z = labels[rows, cols], depth[rows, cols]
    xyz = intrinsics.uvd_to_xyz(
        np.stack([cols * step + step // 2, rows * step + step // 2, z], -1).astype(np.float64)
    )
    # [mm^2]
    area = np.bincount(
        label, z.astype(np.float64) ** 2 * step**2 / (intrinsics.fx * intrinsics.fy), count
    )
    pieces = [
        np.flatnonzero(label == i)
        for i in range(1, count)
        if MIN_AREA_MM2 <= area[i] <= MAX_AREA_MM2
    ]
    pieces.sort(key=lambda piece: np.percentile(z[piece], 5))
    # Round robin over the segments, so that none crowds out the others: nearest parts, then ends.
    rounds = [list(_extremes(xyz[piece])) for piece in pieces[:MAX_CANDIDATES]]
    chosen: list[np.ndarray] = []
    for turn in range(max(map(len, rounds), default=0)):
        for seeds in rounds:
            if turn < len(seeds) and all(np.linalg.norm(seeds[turn] - c) > 50 for c in chosen):
                chosen.append(seeds[turn])
    return np.array(chosen[:MAX_CANDIDATES]).reshape(-1, 3)


def _far_side_of_jumps(depth: np.ndarray) -> np.ndarray:
    """Mask (H,W) bool the pixels behind a jump in depth, which separates a hand from a body."""
    threshold = 15 + 0.03 * depth
    cut = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        difference = np.diff(depth, axis=axis)
        low: Any = [slice(None)] * 2
        high: Any = [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        low, high = tuple(low), tuple(high)
        cut[high] |= (difference > threshold[low]) & (depth[low] > 0)
        cut[low] |= (-difference > threshold[high]) & (depth[high] > 0)
    return cut


def _extremes(xyz: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the nearest part of a segment, then its ends, far from its centre and one another. xyz:
    (n,3) [mm].
    """
    near = xyz[xyz[:, 2] <= np.percentile(xyz[:, 2], 3)].mean(0)
    # A point of the segment: the mean of two near parts may lie between them.
    near = xyz[np.linalg.norm(xyz - near, axis=1).argmin()]
    yield _slide(xyz, near)
    distance = np.minimum(
        np.linalg.norm(xyz - xyz.mean(0), axis=1), np.linalg.norm(xyz - near, axis=1)
    )
    for _ in range(ENDS):
        end = xyz[distance.argmax()]
        if distance.max() < 60:
            return
        distance = np.minimum(distance, np.linalg.norm(xyz - end, axis=1))
        yield _slide(xyz, end)


def _slide(xyz: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Move a point from a fingertip to about the palm, by two steps of mean shift."""
    for _ in range(2):
        start = xyz[np.linalg.norm(xyz - start, axis=1) <= REACH_MM].mean(0)
    return start
