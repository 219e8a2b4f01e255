"""Where hands may be in a full depth frame, from depth alone: candidates for the network to verify.

The frame is cut into pieces at jumps in depth. Hands are found where people hold them towards a
camera: at the nearest part of a piece and at the far ends of long pieces (arms, bodies), so those
are the candidates.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from awr_ros.camera import Intrinsics

COARSE_WIDTH = 160  # the frame is looked at on about this many columns
MIN_AREA_MM2 = 1500.0  # smaller pieces are no hands: an edge-on hand shows about 3000
MAX_AREA_MM2 = (
    800_000.0  # larger ones are walls and tables: a person to the knees shows about half of it
)
# a candidate slides from an extreme of its piece to the middle of what lies within this distance
REACH_MM = 100.0
ENDS = 6  # at most so many of a piece: an arm has one, a body with arms several
MAX_CANDIDATES = 16


def find_candidates(
    depth_mm: np.ndarray, intrinsics: Intrinsics, min_depth_mm: float, max_depth_mm: float
) -> np.ndarray:
    """Possible palm centres, the most likely first.

    depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; only depths within [min_depth_mm,
    max_depth_mm] count. Returns (n,3) float64 [mm] camera optical frame, n <= 16.
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
    area = np.bincount(
        label, z.astype(np.float64) ** 2 * step**2 / (intrinsics.fx * intrinsics.fy), count
    )  # [mm^2]
    pieces = [
        np.flatnonzero(label == i)
        for i in range(1, count)
        if MIN_AREA_MM2 <= area[i] <= MAX_AREA_MM2
    ]
    pieces.sort(key=lambda piece: np.percentile(z[piece], 5))
    # Every piece gives its nearest part first, then its ends: so no piece can crowd out the others.
    rounds = [list(_extremes(xyz[piece])) for piece in pieces[:MAX_CANDIDATES]]
    chosen: list[np.ndarray] = []
    for turn in range(max(map(len, rounds), default=0)):
        for seeds in rounds:
            if turn < len(seeds) and all(np.linalg.norm(seeds[turn] - c) > 50 for c in chosen):
                chosen.append(seeds[turn])
    return np.array(chosen[:MAX_CANDIDATES]).reshape(-1, 3)


def _far_side_of_jumps(depth: np.ndarray) -> np.ndarray:
    """(H,W) bool: pixels that lie behind a jump in depth to a neighbour; taking them out parts a
    hand from a body.
    """
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
    """Nearest part of a piece, then its ends, far from its middle and from one another. xyz: (n,3)
    [mm].
    """
    near = xyz[xyz[:, 2] <= np.percentile(xyz[:, 2], 3)].mean(0)
    near = xyz[
        np.linalg.norm(xyz - near, axis=1).argmin()
    ]  # the mean of two near parts may lie between them
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
    """Two steps of mean shift: from a fingertip to about the palm."""
    for _ in range(2):
        start = xyz[np.linalg.norm(xyz - start, axis=1) <= REACH_MM].mean(0)
    return start
