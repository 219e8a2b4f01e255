"""The hand's crop: a metric cube around a centre, cut from the depth image, and the exact way back.

uvdn: crop coordinates, each axis in [-1,1]: u and v across the window, d from the cube's front to its back face. Crop
pixel i of S covers [2i/S - 1, 2(i+1)/S - 1], which is the grid that `offset_field` votes from.
"""
from dataclasses import dataclass

import numpy as np

from awr_ros.camera import Intrinsics

BACKGROUND = 1.0
MIN_CENTRE_MM = 50.0        # nearer centres make windows larger than any image


@dataclass(frozen=True)
class Crop:
    """A cut-out hand."""
    depth: np.ndarray           # (S,S) float32 uvdn: background +1, nearest -1
    centre_xyz: np.ndarray      # (3,) float64 [mm] camera optical frame
    cube: np.ndarray            # (3,) float64 [mm]
    window: tuple               # (u0, v0, u1, v1) [px] half open, in the full image, may reach beyond it
    intrinsics: Intrinsics

    @property
    def foreground(self):
        """Share of pixels that hold something."""
        return float(np.count_nonzero(self.depth < 0.99)) / self.depth.size

    def uvd_from_uvdn(self, uvdn):
        """Crop to full image. uvdn: (..., 3). Returns (..., 3) float64 [px, px, mm]."""
        u0, v0, u1, v1 = self.window
        low, size = np.array([u0 - 0.5, v0 - 0.5]), np.array([u1 - u0, v1 - v0])
        uvdn = np.asarray(uvdn, np.float64)
        return np.concatenate([(uvdn[..., :2] + 1) / 2 * size + low,
                               uvdn[..., 2:] * self.cube[2] / 2 + self.centre_xyz[2]], axis=-1)

    def uvdn_from_uvd(self, uvd):
        """Full image to crop: the inverse of `uvd_from_uvdn`. uvd: (..., 3) [px, px, mm]."""
        u0, v0, u1, v1 = self.window
        low, size = np.array([u0 - 0.5, v0 - 0.5]), np.array([u1 - u0, v1 - v0])
        uvd = np.asarray(uvd, np.float64)
        return np.concatenate([(uvd[..., :2] - low) / size * 2 - 1,
                               (uvd[..., 2:] - self.centre_xyz[2]) / (self.cube[2] / 2)], axis=-1)


def crop_hand(depth_mm, intrinsics, centre_xyz, cube, size):
    """Cut the cube around a centre out of a depth image.

    depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN = invalid; centre_xyz: (3,) [mm], z >= 50; cube: side or (3,) [mm];
    size: S [px]. Nearer than the front face clamps to it, beyond the back face is background, outside the image too.
    """
    if depth_mm.shape != (intrinsics.height, intrinsics.width):
        raise ValueError(f'depth must be {(intrinsics.height, intrinsics.width)} as the intrinsics say, got {depth_mm.shape}')
    centre = np.asarray(centre_xyz, np.float64)
    cube = np.broadcast_to(np.asarray(cube, np.float64), 3)
    if centre.shape != (3,) or not np.all(np.isfinite(centre)) or centre[2] < MIN_CENTRE_MM:
        raise ValueError(f'centre_xyz must be (x, y, z) in mm with z >= {MIN_CENTRE_MM:.0f}, got {centre_xyz}')
    if not np.all(cube > 0):
        raise ValueError(f'cube must be positive, got {cube}')
    # The pixel edges nearest to c -+ (cube/2)/z f. The authors' code, int(c -+ (cube/2)/z f + 0.5), counts pixel corners
    # as centres and is half a pixel off.
    middle = intrinsics.xyz_to_uvd(centre)[:2]
    half = cube[:2] / 2 / centre[2] * [intrinsics.fx, intrinsics.fy]
    u0, v0 = np.floor(middle - half + 1).astype(int)
    u1, v1 = np.maximum(np.floor(middle + half + 1).astype(int), [u0 + 1, v0 + 1])
    cells = np.arange(size) + 0.5
    cols = np.floor(u0 + cells * ((u1 - u0) / size)).astype(int)
    rows = np.floor(v0 + cells * ((v1 - v0) / size)).astype(int)
    cols_in, rows_in = (cols >= 0) & (cols < intrinsics.width), (rows >= 0) & (rows < intrinsics.height)
    cut = np.zeros((size, size), np.float32)
    cut[np.ix_(rows_in, cols_in)] = depth_mm[np.ix_(rows[rows_in], cols[cols_in])]
    normal = (cut - np.float32(centre[2])) / np.float32(cube[2] / 2)
    inside = (cut > 0) & (normal < 1)                   # NaN compares false
    depth = np.where(inside, np.maximum(normal, -1), np.float32(BACKGROUND))
    return Crop(depth, centre, cube, (int(u0), int(v0), int(u1), int(v1)), intrinsics)


def refine_centre(depth_mm, intrinsics, centre_xyz, cube, steps=2):
    """Move a rough centre to the middle of what lies in its cube.

    Arguments as `crop_hand`. Returns (3,) float64 [mm], or None when the cube is empty or what fills it is too near.
    """
    centre = np.asarray(centre_xyz, np.float64)
    for _ in range(steps):
        crop = crop_hand(depth_mm, intrinsics, centre, cube, 32)
        rows, cols = np.nonzero((crop.depth < 0.99) & (crop.depth > -1))
        if not len(rows):
            return None
        uvdn = np.stack([(cols + 0.5) / 16 - 1, (rows + 0.5) / 16 - 1, crop.depth[rows, cols]], -1)
        centre = intrinsics.uvd_to_xyz(crop.uvd_from_uvdn(uvdn)).mean(0)
        if centre[2] < MIN_CENTRE_MM:
            return None
    return centre
