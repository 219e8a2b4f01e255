"""Depth of planes, ellipsoids and boxes in perspective, each computed only where in the image it can be.

A scene's depth image (H,W) float32 [mm], inf where nothing is, is lowered by one solid after the other, in place.
"""
import torch

NEAR_MM = 50.           # nothing nearer is drawn


class Rays:
    """The rays of a camera: x/z of its columns, y/z of its rows."""

    def __init__(self, intrinsics):
        self.x = (torch.arange(intrinsics.width, dtype=torch.float32) - intrinsics.cx) / intrinsics.fx      # (W,)
        self.y = ((torch.arange(intrinsics.height, dtype=torch.float32) - intrinsics.cy) / intrinsics.fy)[:, None]   # (H,1)

    def empty(self):
        """A depth image with nothing in it."""
        return torch.full((len(self.y), len(self.x)), torch.inf)

    def window(self, centre, reach):
        """(rows, columns) slices that hold all within `reach` (3,) [mm] of `centre` (3,) [mm] along each camera axis."""
        low, high = centre - reach, centre + reach
        if high[2] <= NEAR_MM:
            return slice(0), slice(0)
        if low[2] <= NEAR_MM:
            return slice(None), slice(None)

        def span(axis, rays):
            # The outline lies at the near or the far end of the box, whichever is farther from the optical axis.
            first = min(low[axis] / low[2], low[axis] / high[2])
            last = max(high[axis] / low[2], high[axis] / high[2])
            return slice(*torch.searchsorted(rays, torch.stack([first, last])).tolist())
        return span(1, self.y[:, 0].contiguous()), span(0, self.x)


def add_plane(depth, rays, normal, distance):
    """Lower depth to the plane at a distance [mm] along its normal (3,)."""
    across = rays.x * normal[0] + rays.y * normal[1] + normal[2]
    _lower(depth, distance / across)


def add_ellipsoid(depth, rays, centre, extent, rotation):
    """Lower depth to an ellipsoid with semi-axes extent (3,) [mm], which are the columns of rotation (3,3)."""
    unit = rotation / extent                                        # makes the ellipsoid a unit sphere
    window = rays.window(centre, (rotation * extent).norm(dim=1))
    x, y = rays.x[window[1]], rays.y[window[0]]
    # |t ray - middle|^2 = 1 along ray = (x,y,1): a t^2 - 2 b t + c = 0 with a quadratic and b linear in x and y.
    form, line = unit @ unit.t(), unit @ (centre @ unit)
    c = line @ centre - 1
    a = (x * (form[0, 0] * x + 2 * form[0, 2]) + form[2, 2]) + y * (form[1, 1] * y + 2 * form[1, 2]) + 2 * form[0, 1] * y * x
    b = (line[0] * x + line[2]) + line[1] * y
    _lower(depth[window], (b - (b * b - a * c).sqrt()) / a)         # a root of less than 0 is NaN, which is no hit


def add_box(depth, rays, centre, extent, rotation):
    """Lower depth to a box with half sides extent (3,) [mm] along the columns of rotation (3,3), by the slab method."""
    window = rays.window(centre, (rotation.abs() * extent).sum(1))
    x, y = rays.x[window[1]], rays.y[window[0]]
    enter, leave, middle = None, None, centre @ rotation
    for i in range(3):
        slope = rotation[0, i] * x + rotation[1, i] * y + rotation[2, i]
        one, two = (middle[i] - extent[i]) / slope, (middle[i] + extent[i]) / slope
        low, high = torch.minimum(one, two), torch.maximum(one, two)
        enter = low if enter is None else torch.maximum(enter, low)
        leave = high if leave is None else torch.minimum(leave, high)
    _lower(depth[window], torch.where(enter < leave, enter, torch.inf))


def _lower(depth, hit):
    """depth to hit where that is nearer and in front of the camera; hit may be NaN."""
    depth.copy_(torch.where((hit > NEAR_MM) & (hit < depth), hit, depth))
