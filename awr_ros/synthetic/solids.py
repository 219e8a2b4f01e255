"""Depth of planes, ellipsoids, boxes and cones in perspective, each computed only within its window
of the image.

The depth image of a scene (H,W) float32 [mm], inf where nothing is, is lowered by one solid after
the other, in place.
"""

import math
from dataclasses import dataclass, replace

import torch

from awr_ros.camera import Intrinsics

NEAR_MM = 50.0  # near plane


class Rays:
    """Rays of a camera: x/z of its columns, y/z of its rows."""

    def __init__(self, intrinsics: Intrinsics) -> None:
        self.x = (
            torch.arange(intrinsics.width, dtype=torch.float32) - intrinsics.cx
        ) / intrinsics.fx  # (W,)
        self.y = (
            (torch.arange(intrinsics.height, dtype=torch.float32) - intrinsics.cy) / intrinsics.fy
        )[:, None]  # (H,1)
        self._axes = (
            (intrinsics.fx, intrinsics.cx, intrinsics.width),
            (intrinsics.fy, intrinsics.cy, intrinsics.height),
        )

    def empty(self) -> torch.Tensor:
        """Return a depth image with nothing in it."""
        return torch.full((len(self.y), len(self.x)), torch.inf)

    def window(self, centre: torch.Tensor, reach: torch.Tensor) -> tuple[slice, slice]:
        """Return (rows, columns) slices that hold everything within `reach` (3,) [mm] of `centre`
        (3,) [mm] along each camera axis.
        """
        *middle, z = centre.tolist()  # plain numbers are faster: a scene has dozens of solids
        *aside, deep = reach.tolist()
        if z + deep <= NEAR_MM:
            return slice(0), slice(0)
        if z - deep <= NEAR_MM:
            return slice(None), slice(None)

        def span(axis):
            # The outline lies at the near or the far end of the box, whichever is farther from the
            # optical axis.
            focal, principal, side = self._axes[axis]
            low, high = middle[axis] - aside[axis], middle[axis] + aside[axis]
            first, last = (
                low / (z - deep if low < 0 else z + deep),
                high / (z + deep if high < 0 else z - deep),
            )
            first, last = (
                math.floor(first * focal + principal),
                math.ceil(last * focal + principal) + 1,
            )
            return slice(min(max(first, 0), side), min(max(last, 0), side))

        return span(1), span(0)


def add_plane(depth: torch.Tensor, rays: Rays, normal: torch.Tensor, distance: float) -> None:
    """Lower depth to the plane at a distance [mm] along its normal (3,)."""
    across = rays.x * normal[0] + rays.y * normal[1] + normal[2]
    _lower(depth, distance / across)


def add_ellipsoid(
    depth: torch.Tensor,
    rays: Rays,
    centre: torch.Tensor,
    extent: torch.Tensor,
    rotation: torch.Tensor,
) -> None:
    """Lower depth to an ellipsoid with semi-axes extent (3,) [mm] along the columns of rotation
    (3,3).
    """
    unit = rotation / extent  # maps the ellipsoid to the unit sphere
    window = rays.window(centre, (rotation * extent).norm(dim=1))
    x, y = rays.x[window[1]], rays.y[window[0]]
    if not len(x) or not len(y):
        return
    line = unit @ (centre @ unit)  # |t ray - middle|^2 = 1
    _lower(depth[window], _nearest_root(x, y, unit @ unit.t(), line, line @ centre - 1))


def _nearest_root(x, y, form, line, c):
    """Return (H,W) t of the first point t (x,y,1) on a quadric, NaN where there is none.

    a t^2 - 2 b t + c = 0 with a quadratic (form (3,3)) and b linear (line (3,)) in x (W,) and y
    (H,1).
    """
    a = (
        (x * (form[0, 0] * x + 2 * form[0, 2]) + form[2, 2])
        + y * (form[1, 1] * y + 2 * form[1, 2])
        + 2 * form[0, 1] * y * x
    )
    b = (line[0] * x + line[2]) + line[1] * y
    return (b - (b * b - a * c).sqrt()) / a


def add_box(
    depth: torch.Tensor,
    rays: Rays,
    centre: torch.Tensor,
    extent: torch.Tensor,
    rotation: torch.Tensor,
) -> None:
    """Lower depth to a box with half sides extent (3,) [mm] along the columns of rotation (3,3), by
    the slab method.
    """
    window = rays.window(centre, (rotation.abs() * extent).sum(1))
    x, y = rays.x[window[1]], rays.y[window[0]]
    if not len(x) or not len(y):
        return
    middle = centre @ rotation
    bounds: list[tuple[torch.Tensor, torch.Tensor]] = []
    for i in range(3):
        slope = rotation[0, i] * x + rotation[1, i] * y + rotation[2, i]
        one, two = (middle[i] - extent[i]) / slope, (middle[i] + extent[i]) / slope
        bounds.append((torch.minimum(one, two), torch.maximum(one, two)))
    (enter, leave), *others = bounds
    for low, high in others:
        enter, leave = torch.maximum(enter, low), torch.minimum(leave, high)
    _lower(depth[window], torch.where(enter < leave, enter, torch.inf))


def add_cone(depth: torch.Tensor, rays: Rays, cone: 'Cone') -> None:
    """Lower depth to the side of a truncated cone, and to its ends if it is capped."""
    axis = cone.end - cone.start
    length = float(axis.norm())
    axis = axis / length
    u = torch.nn.functional.normalize(cone.across - (cone.across @ axis) * axis, dim=0)
    v = torch.linalg.cross(axis, u) / cone.flat
    first, last = cone.radii
    window = rays.window(
        (cone.start + cone.end) / 2,
        (cone.end - cone.start).abs() / 2 + max(first, last) * max(1, cone.flat),
    )
    x, y = rays.x[window[1]], rays.y[window[0]]
    if not len(x) or not len(y):
        return
    # Along ray = (x,y,1), in the cone's axes: (z du - au)^2 + (z dv - av)^2 = (base + slope z
    # dw)^2.
    along = torch.stack([u, v, axis])  # (3,3)
    au, av, aw = (along @ cone.start).tolist()
    slope = (last - first) / length
    base = first - slope * aw
    form = torch.outer(u, u) + torch.outer(v, v) - slope**2 * torch.outer(axis, axis)
    line = au * u + av * v + slope * base * axis

    def linear(x_factor, y_factor, constant):
        return (x_factor * x + constant) + y_factor * y

    hit = _nearest_root(x, y, form, line, au * au + av * av - base * base)
    dw = linear(*axis.tolist())
    t = hit * dw - aw
    hit = torch.where((t >= 0) & (t <= length), hit, torch.inf)  # a ray that misses is NaN
    if cone.fold_mm:
        phase = t / cone.fold_lengths[0] + cone.fold_slant / max(first, last) * (
            hit * linear(*u.tolist()) - au
        )
        hit = hit - cone.fold_mm * (
            (6.283 * phase).sin() + 0.5 * (t * (6.283 / cone.fold_lengths[1])).sin()
        )
    if cone.capped:
        for offset, radius in ((aw, first), (aw + length, last)):
            end = offset / dw
            within = (end * linear(*u.tolist()) - au) ** 2 + (
                end * linear(*v.tolist()) - av
            ) ** 2 <= radius**2
            hit = torch.where(within & (end > NEAR_MM) & ~(hit < end), end, hit)
    _lower(depth[window], hit)


def _lower(depth, hit):
    """Set depth to hit where that is nearer and in front of the camera; hit may be NaN."""
    depth.copy_(torch.where((hit > NEAR_MM) & (hit < depth), hit, depth))


@dataclass(frozen=True)
class Plane:
    """Plane at a distance [mm] along a normal (3,)."""

    normal: torch.Tensor
    distance: float

    def draw(self, depth: torch.Tensor, rays: Rays) -> None:
        """Lower depth to this solid."""
        add_plane(depth, rays, self.normal, self.distance)

    def moved(self, rotation: torch.Tensor, shift: torch.Tensor) -> 'Plane':
        """Return it rotated by rotation (3,3), then shifted (3,) [mm]."""
        normal = rotation @ self.normal
        return Plane(normal, self.distance + float(normal @ shift))


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid with semi-axes extent (3,) [mm] along the columns of rotation (3,3)."""

    centre: torch.Tensor
    extent: torch.Tensor
    rotation: torch.Tensor

    @classmethod
    def ball(cls, centre: torch.Tensor, radius: float) -> 'Ellipsoid':
        """Return a sphere."""
        return cls(centre, torch.full((3,), float(radius)), torch.eye(3))

    def draw(self, depth: torch.Tensor, rays: Rays) -> None:
        """Lower depth to this solid."""
        add_ellipsoid(depth, rays, self.centre, self.extent, self.rotation)

    def moved(self, rotation: torch.Tensor, shift: torch.Tensor) -> 'Ellipsoid':
        """Return it rotated by rotation (3,3), then shifted (3,) [mm]."""
        return replace(
            self, centre=rotation @ self.centre + shift, rotation=rotation @ self.rotation
        )


@dataclass(frozen=True)
class Box(Ellipsoid):
    """Box with half sides extent (3,) [mm] along the columns of rotation (3,3)."""

    def draw(self, depth: torch.Tensor, rays: Rays) -> None:
        """Lower depth to this solid."""
        add_box(depth, rays, self.centre, self.extent, self.rotation)


@dataclass(frozen=True)
class Cone:
    """Truncated cone, cut perpendicular to its axis: limbs, sleeves, poles, cups."""

    start: torch.Tensor  # (3,) [mm]
    end: torch.Tensor  # (3,) [mm]
    radii: tuple[float, float]  # [mm] at start and end
    across: torch.Tensor  # (3,) about perpendicular to the axis: direction of the given radius
    flat: float = 1.0  # radius along the third axis, as a share
    capped: bool = False  # whether its ends are closed
    fold_mm: float = 0.0  # height of folds
    fold_lengths: tuple[float, float] = (45.0, 21.0)  # [mm] wavelengths of the folds
    fold_slant: float = 0.0  # slant of the folds, turns from side to side

    def draw(self, depth: torch.Tensor, rays: Rays) -> None:
        """Lower depth to this solid."""
        add_cone(depth, rays, self)

    def moved(self, rotation: torch.Tensor, shift: torch.Tensor) -> 'Cone':
        """Return it rotated by rotation (3,3), then shifted (3,) [mm]."""
        return replace(
            self,
            start=rotation @ self.start + shift,
            end=rotation @ self.end + shift,
            across=rotation @ self.across,
        )
