"""Depth rendering by splatting: points to a z-buffer, batched torch, any device."""

import functools
import math
from collections.abc import Callable

import cv2
import numpy as np
import torch

from awr_ros.camera import Intrinsics

UNEVEN = 2.0  # largest ratio of the distance of neighbours to the nominal spacing
MAX_REACH = 7  # [px] largest closing; surfaces very near to the camera may have holes
# crops processed at a time on a CPU: intermediate results stay in the cache
CHUNK = 16


def chunk_size(crops: torch.Tensor) -> int:
    """Return how many of these crops (B,...) to process at a time: CHUNK on a CPU; all elsewhere,
    because launches cost more than work.
    """
    return CHUNK if crops.device.type == 'cpu' else max(1, len(crops))


@functools.cache
def fused(function: Callable, compiled: bool, dynamic: bool = False) -> Callable:
    """Return the function, or if `compiled` its version compiled by torch.compile, shared by all
    callers.

    dynamic: for arguments whose sizes change from call to call.
    """
    return torch.compile(function, dynamic=dynamic) if compiled else function


def splat_crops(
    points: torch.Tensor,
    centre_xyz: torch.Tensor,
    cube_mm: torch.Tensor,
    size: int,
    compiled: bool = False,
) -> torch.Tensor:
    """Render depth crops as `crop.crop_hand` would cut them from an ideal camera.

    points: (B,3,N) float [mm] camera optical frame; centre_xyz: (B,3) [mm]; cube_mm: (B,) side of
    the crop. Return (B,1,size,size) float uvdn: background +1, nearest -1; points in front of the
    cube are clamped to -1.
    """
    window = points.new_tensor(size)  # a tensor, so that it is not a constant in compiled code
    crops = []
    rotation, distance = looking_at(centre_xyz)
    for chunk in zip(
        *(values.split(chunk_size(points)) for values in (points, rotation, distance, cube_mm))
    ):
        index, d = fused(_cells, compiled)(*chunk, window)
        padded = points.new_ones(len(d), (size + 4) ** 2).scatter_reduce_(1, index, d, 'amin')
        crops.append(fused(_close_padded, compiled)(padded.view(-1, 1, size + 4, size + 4)))
    return torch.cat(crops)


def looking_at(centre_xyz: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rotations of `camera.looking_at` for B centres, and their distances.

    centre_xyz: (B,3) [mm]. Return turned_from_camera (B,3,3) and (B,) [mm].
    """
    distance = centre_xyz.norm(dim=-1)
    x, y, z = (centre_xyz / distance[:, None]).unbind(-1)
    k = 1 / (1 + z)
    rows = (1 - x * x * k, -x * y * k, -x), (-x * y * k, 1 - y * y * k, -y), (x, y, z)
    return torch.stack([torch.stack(row, -1) for row in rows], -2), distance


def _cells(points, rotation, distance, cube_mm, size):
    """Return the pixel of each point: index (B,N) int64 into crops with two pixels around them, and
    d (B,N). size: () float [px].

    In the virtual camera turned to the crop's centre, the crop's window is the cube's section at
    the centre's distance D: u = f x/z, and half a window is (cube/2) f / D pixels, so the focal
    length cancels.
    """
    x, y, z = (rotation @ points).unbind(1)  # (B,N)
    half = (cube_mm / 2)[:, None]
    per_tangent = size / 2 * distance[:, None] / half  # [px]
    inverse = per_tangent / z
    u, v = size / 2 + x * inverse, size / 2 + y * inverse
    d = ((z - distance[:, None]) / half).clamp_min(-1)
    inside = (torch.minimum(u, v) >= 0) & (torch.maximum(u, v) < size) & (d < 1) & (z > 1)
    index = (v.floor() + 2) * (size + 4) + u.floor() + 2
    return torch.where(inside, index, 0).to(
        torch.int32
    ).long(), d  # misses share a corner that nothing looks at


def xyz_to_uvdn(xyz: torch.Tensor, centre_xyz: torch.Tensor, cube_mm: torch.Tensor) -> torch.Tensor:
    """Return crop coordinates (B,J,3) uvdn of joints. xyz: (B,J,3) [mm]; centre_xyz: (B,3) [mm];
    cube_mm: (B,).
    """
    rotation, distance = looking_at(centre_xyz)
    half, distance = (cube_mm / 2)[:, None, None], distance[:, None, None]
    xy, z = (xyz @ rotation.mT).split((2, 1), -1)
    return torch.cat([xy / z * distance, z - distance], -1) / half


def uvdn_to_xyz(
    uvdn: torch.Tensor, centre_xyz: torch.Tensor, cube_mm: torch.Tensor
) -> torch.Tensor:
    """Return joints (B,J,3) [mm] camera optical frame, the inverse of `xyz_to_uvdn`. uvdn: (B,J,3);
    centre_xyz: (B,3) [mm]; cube_mm: (B,).
    """
    rotation, distance = looking_at(centre_xyz)
    distance, (offset, z) = (
        distance[:, None, None],
        (uvdn * (cube_mm / 2)[:, None, None]).split((2, 1), -1),
    )
    z = z + distance
    return torch.cat([offset / distance * z, z], -1) @ rotation


def _close_padded(padded):
    """Apply close_pinholes to a batch (B,1,H+4,W+4) with two pixels of background around the
    images. Return (B,1,H,W).
    """
    near = window3(padded, torch.minimum)
    near[..., (0, -1), :] = near[..., (0, -1)] = -torch.inf  # windows are cut at the border
    return window3(near, torch.maximum)


def close_pinholes(depth: torch.Tensor, window: int = 3) -> torch.Tensor:
    """Fill holes narrower than `window` [px] between splats: a morphological closing of the nearer
    surface. depth: (H,W) on the CPU, changed in place.
    """
    image = depth.numpy()
    # Opening the depth closes near surfaces. The repeated border acts as if windows were cut there.
    cv2.morphologyEx(
        image,
        cv2.MORPH_OPEN,
        np.ones((window, window), np.uint8),
        dst=image,
        borderType=cv2.BORDER_REPLICATE,
    )
    return depth


def window3(image: torch.Tensor, combine: Callable) -> torch.Tensor:
    """Return minimum, maximum or sum (combine) of each 3x3 window by shifted views; pooling is slow
    here.

    image: (...,H+2,W+2). Return (...,H,W).
    """
    rows = combine(combine(image[..., :-2, :], image[..., 1:-1, :]), image[..., 2:, :])
    return combine(combine(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def pad_by_one(image: torch.Tensor) -> torch.Tensor:
    """Pad (B,1,H,W) to (B,1,H+2,W+2) with the border repeated, which acts as if windows were cut
    there.
    """
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    padded[..., (0, -1), 1:-1] = image[..., (0, -1), :]
    padded[..., (0, -1)] = padded[..., (1, -2)]
    return padded


def splat_image(points: torch.Tensor, intrinsics: Intrinsics, spacing_mm: float) -> torch.Tensor:
    """Render a depth image of closed surfaces. points: (3,N) float [mm] on the CPU, camera optical
    frame; spacing_mm: approximate distance of neighbours. Return (H,W) float [mm], +inf where
    nothing is.
    """
    width, height = intrinsics.width, intrinsics.height
    x, y, z = points
    col, row = (
        (x / z * intrinsics.fx + intrinsics.cx).floor(),
        (y / z * intrinsics.fy + intrinsics.cy).floor(),
    )
    inside = (z > 1) & (col >= 0) & (col < width - 1) & (row >= 0) & (row < height - 1)
    index, z = (row * width + col)[inside].long(), z[inside]
    depth = points.new_full((height * width,), torch.inf)
    if not len(z):
        return depth.view(height, width)
    for step in (0, 1, width, width + 1):  # each point covers 2x2 pixels
        depth.scatter_reduce_(0, index + step, z, 'amin')
    # [px]; large for near surfaces and long focal lengths
    hole = UNEVEN * spacing_mm * intrinsics.fx / float(z.min()) - 2
    reach = min(max(1, math.ceil(hole / 2)), MAX_REACH)
    return close_pinholes(depth.view(height, width), 2 * reach + 1)
