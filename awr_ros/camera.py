"""Pinhole cameras: intrinsics, and mapping between image and camera coordinates.

uvd: column u [px], row v [px], depth d [mm] along the optical axis; pixel centres are at whole
numbers. xyz: camera optical frame [mm], x right, y down, z forward (REP-103).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion."""

    fx: float  # focal length [px]
    fy: float  # focal length [px]
    cx: float  # principal point [px]
    cy: float  # principal point [px]
    width: int  # image width [px]
    height: int  # image height [px]

    def __post_init__(self) -> None:
        for name in ('fx', 'fy', 'cx', 'cy'):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f'{name} must be finite, got {getattr(self, name)}')
        for name in ('fx', 'fy', 'width', 'height'):
            if getattr(self, name) <= 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)}')

    def uvd_to_xyz(self, uvd: npt.ArrayLike) -> np.ndarray:
        """Back-project. uvd: (..., 3) array [px, px, mm]. Return (..., 3) float [mm], camera
        optical frame.
        """
        uvd = np.asarray(uvd)
        d = uvd[..., 2]
        x = (uvd[..., 0] - self.cx) * d / self.fx
        xyz = np.empty(uvd.shape, x.dtype)
        xyz[..., 0], xyz[..., 1], xyz[..., 2] = x, (uvd[..., 1] - self.cy) * d / self.fy, d
        return xyz

    def xyz_to_uvd(self, xyz: npt.ArrayLike) -> np.ndarray:
        """Project. xyz: (..., 3) array [mm] with z > 0, camera optical frame. Return (..., 3) float
        [px, px, mm].
        """
        xyz = np.asarray(xyz)
        z = xyz[..., 2]
        return np.stack(
            [xyz[..., 0] / z * self.fx + self.cx, xyz[..., 1] / z * self.fy + self.cy, z], axis=-1
        )


def looking_at(point_xyz: Iterable[float]) -> np.ndarray:
    """Return the rotation of a camera about its own centre that puts a point on its optical axis.

    point_xyz: (3,) [any unit] camera optical frame, neither the camera's centre nor right behind
    it. Return turned_from_camera (3,3) float64: the smallest such rotation, which is the identity
    for points on the axis and depends smoothly on the point.
    """
    x, y, z = map(float, point_xyz)
    distance = math.hypot(x, y, z)
    x, y, z = x / distance, y / distance, z / distance
    k = 1 / (1 + z)
    return np.array([[1 - x * x * k, -x * y * k, -x], [-x * y * k, 1 - y * y * k, -y], [x, y, z]])
