"""The hand's crop: a metric cube around a centre, cut from the depth image, and the exact way back.

uvdn: crop coordinates, each axis in [-1,1]: u and v across the window, d from the cube's front to its back face. Crop
pixel i of S covers [2i/S - 1, 2(i+1)/S - 1], which is the grid that `offset_field` votes from.
"""
import math
from dataclasses import dataclass

import cv2
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
    grid: tuple | None = None   # (u, v, width, height) [px] where uvdn is -1 and how far +1 is; None: the window's pixel edges
    roll: float = 0.0           # [rad] the crop's axes lie turned by this in the image, from u towards v

    @property
    def foreground(self):
        """Share of pixels that hold something."""
        return float(np.count_nonzero(self.depth < 0.99)) / self.depth.size

    def uvd_from_uvdn(self, uvdn):
        """Crop to full image. uvdn: (..., 3). Returns (..., 3) float64 [px, px, mm]."""
        (u, v), (width, height) = self._grid()
        c, s, depth = math.cos(self.roll), math.sin(self.roll), self.cube[2] / 2
        # What turning, stretching and moving come to, as one product: [u v d] = uvdn A + b.
        image_from_crop = np.array([[c * width / 2, s * height / 2, 0], [-s * width / 2, c * height / 2, 0], [0, 0, depth]])
        return np.asarray(uvdn, np.float64) @ image_from_crop + np.array([u + width / 2, v + height / 2, self.centre_xyz[2]])

    def uvdn_from_uvd(self, uvd):
        """Full image to crop: the inverse of `uvd_from_uvdn`. uvd: (..., 3) [px, px, mm]."""
        low, size = map(np.array, self._grid())
        uvd = np.asarray(uvd, np.float64)
        return np.concatenate([((uvd[..., :2] - low) / size * 2 - 1) @ _turn(self.roll),
                               (uvd[..., 2:] - self.centre_xyz[2]) / (self.cube[2] / 2)], axis=-1)

    def _grid(self):
        """Where uvdn is -1, and how far from there it is +1: (u, v), (width, height) [px]."""
        u0, v0, u1, v1 = self.window
        u, v, width, height = self.grid or (u0 - 0.5, v0 - 0.5, u1 - u0, v1 - v0)
        return (u, v), (width, height)


def _turn(angle):
    """(2,2) rotation in the image plane, from u towards v."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def crop_hand(depth_mm, intrinsics, centre_xyz, cube, size, roll=0.0):
    """Cut the cube around a centre out of a depth image.

    depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN = invalid; centre_xyz: (3,) [mm], z >= 50; cube: side or (3,) [mm];
    size: S [px]; roll: [rad] turns the crop about its middle: what lies at this angle from up, clockwise, points up in it.
    Nearer than the front face clamps to it, beyond the back face is background, outside the image too.
    """
    centre, cube = _checked(depth_mm, intrinsics, centre_xyz, cube)
    # The pixel edges nearest to c -+ (cube/2)/z f. The authors' code, int(c -+ (cube/2)/z f + 0.5), counts pixel corners
    # as centres and is half a pixel off. Plain numbers here: NumPy takes a microsecond for each of its calls.
    (x, y, z), (width, height, depth) = centre.tolist(), cube.tolist()
    u0, u1 = _pixels(x / z * intrinsics.fx + intrinsics.cx, width / 2 / z * intrinsics.fx)
    v0, v1 = _pixels(y / z * intrinsics.fy + intrinsics.cy, height / 2 / z * intrinsics.fy)
    cut = _sample(depth_mm, (u0, v0, u1, v1), size, roll)
    normal = (cut - np.float32(z)) / np.float32(depth / 2)
    inside = (cut > 0) & (normal < 1)                   # NaN compares false
    return Crop(np.where(inside, np.maximum(normal, -1), np.float32(BACKGROUND)), centre, cube, (u0, v0, u1, v1), intrinsics,
                roll=float(roll))


def _pixels(middle, half):
    """First and one after the last pixel [px] of a window on one axis, at least one."""
    first = math.floor(middle - half + 1)
    return first, max(math.floor(middle + half + 1), first + 1)


def _sample(depth_mm, window, size, roll):
    """(size,size) float32 [mm]: the image's pixels nearest to the crop's, 0 outside the image."""
    u0, v0, u1, v1 = window
    c, s = math.cos(roll), math.sin(roll)
    scale_u, scale_v = (u1 - u0) / size, (v1 - v0) / size
    # Both middles coincide; in pixel indices, which OpenCV counts in, they lie half a pixel before the edge in the middle.
    middle = (size - 1) / 2
    image_from_crop = np.array([[scale_u * c, -scale_u * s, (u0 + u1 - 1) / 2 - middle * scale_u * (c - s)],
                                [scale_v * s, scale_v * c, (v0 + v1 - 1) / 2 - middle * scale_v * (s + c)]])
    cut = cv2.warpAffine(depth_mm, image_from_crop, (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
                         borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return cut.astype(np.float32, copy=False)


def crop_as_authors(depth_mm, intrinsics, centre_xyz, cube, size):
    """Cut the cube as the authors' code does, for networks that were trained on such crops. Arguments as `crop_hand`.

    Four things differ from `crop_hand`, all of which a trained network has learnt, so that it is off by up to a pixel or two
    on other crops: the window is int(c -+ (cube/2)/z f + 0.5), whose corner pixel's centre, not its edge, is uvdn -1; the
    cut is resized by its first, not its middle pixels; it keeps its aspect and is padded; and the farthest pixels of the cut
    become background, which opens a hole where the whole crop is within the cube.
    """
    centre, cube = _checked(depth_mm, intrinsics, centre_xyz, cube)
    middle = intrinsics.xyz_to_uvd(centre)[:2]
    half = cube[:2] / 2 / centre[2] * [intrinsics.fx, intrinsics.fy]
    (u0, v0), (u1, v1) = (middle - half + 0.5).astype(int), (middle + half + 0.5).astype(int)       # towards 0, as int()
    u1, v1 = max(u1, u0 + 1), max(v1, v0 + 1)
    cut = np.zeros((v1 - v0, u1 - u0), np.float32)
    left, top, right, bottom = max(u0, 0), max(v0, 0), min(u1, intrinsics.width), min(v1, intrinsics.height)
    if left < right and top < bottom:
        cut[top - v0:bottom - v0, left - u0:right - u0] = np.nan_to_num(depth_mm[top:bottom, left:right], posinf=0, neginf=0)
    near, far = centre[2] - cube[2] / 2, centre[2] + cube[2] / 2
    cut[(cut > 0) & (cut < near)] = near
    cut[cut > far] = 0
    scale = min(size / (u1 - u0), size / (v1 - v0))
    width, height = max(1, int((u1 - u0) * scale)), max(1, int((v1 - v0) * scale))
    x, y = (size - width) // 2, (size - height) // 2
    depth = np.zeros((size, size), np.float32)
    depth[y:y + height, x:x + width] = cv2.resize(cut, (width, height), interpolation=cv2.INTER_NEAREST)
    depth[(depth == depth.max()) | (depth <= 0)] = far
    depth = ((np.clip(depth, near, far) - centre[2]) / (cube[2] / 2)).astype(np.float32)
    return Crop(depth, centre, cube, (int(u0), int(v0), int(u1), int(v1)), intrinsics,
                (u0 - x / scale, v0 - y / scale, size / scale, size / scale))


def _checked(depth_mm, intrinsics, centre_xyz, cube):
    """centre_xyz and cube as (3,) float64 [mm], or ValueError."""
    if depth_mm.shape != (intrinsics.height, intrinsics.width):
        raise ValueError(f'depth must be {(intrinsics.height, intrinsics.width)} as the intrinsics say, got {depth_mm.shape}')
    cube = np.full(3, cube) if isinstance(cube, float) else np.broadcast_to(np.asarray(cube, np.float64), 3)
    if not all(side > 0 for side in cube.tolist()):
        raise ValueError(f'cube must be positive, got {cube}')
    return checked_centre(centre_xyz), cube


def checked_centre(centre_xyz):
    """centre_xyz as (3,) float64 [mm]. Raises ValueError where it cannot be a place in millimetres before a camera."""
    centre = np.asarray(centre_xyz, np.float64)
    if centre.shape != (3,) or not all(map(math.isfinite, centre.tolist())) or centre[2] < MIN_CENTRE_MM:
        raise ValueError(f'centre_xyz must be (x, y, z) in mm with z >= {MIN_CENTRE_MM:.0f}, got {centre_xyz}')
    return centre
