"""Crops of hands as a stereo camera measures them."""

import math

import cv2
import numpy as np

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.synthetic.stereo import colour_aligned_cracks, random_stereo_camera, stereo_depth


def stereo_view(
    uvdn: np.ndarray, z_mm: float, half_mm: float, rng: np.random.Generator, overexposed: float
) -> np.ndarray:
    """Return the depth (W,W) float32 [mm], 0 invalid, that a stereo camera measures of a window.
    uvdn: (W,W) float32 true depth around z_mm in units of half_mm, background +1, replaced by a
    wall or nothing; overexposed: as random_stereo_camera.
    """
    size = len(uvdn)
    focal = z_mm * size / (2 * half_mm)
    slope = rng.normal(0, 0.3, 2)
    axis = np.linspace(-half_mm, half_mm, size)
    behind = (
        z_mm + half_mm * 0.8 + rng.exponential(700.0) + slope[0] * axis + slope[1] * axis[:, None]
    )
    behind = np.maximum(behind, z_mm + 0.3 * half_mm) if rng.random() < 0.8 else np.inf
    depth = np.where(uvdn < BACKGROUND_FROM, z_mm + half_mm * uvdn, behind).astype(np.float32)
    measured = stereo_depth(depth, random_stereo_camera(rng, focal, overexposed), rng, rng)
    if rng.random() < 0.5:
        measured[
            colour_aligned_cracks(
                measured, focal * rng.uniform(1.0, 1.6) * rng.choice([-15.0, 15.0, 30.0, 60.0])
            )
        ] = 0
    return measured


def turned_cut(image: np.ndarray, side: int, angle: float, size: int) -> np.ndarray:
    """Return the central `side` pixels of a square image as (size,size), rotated back by angle
    [rad], nearest neighbour.
    """
    c, s, scale = math.cos(angle), math.sin(angle), side / size
    matrix = scale * np.array([[c, -s, 0], [s, c, 0]])
    matrix[:, 2] = (len(image) - 1) / 2 - matrix[:, :2].sum(1) * (size - 1) / 2
    return cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
