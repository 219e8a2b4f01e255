"""Adaptive Weighting Regression: joints <-> dense field (Huang et al., AAAI 2020, arXiv
2007.09590).

Every pixel of a depth crop holds, for each joint, a unit direction towards it and a closeness (the
paper's heatmap):
1 at the joint, falling linearly to 0 at `kernel_size`. A joint is read out as the average of all
pixels' votes, weighted by a softmax over closeness, so the weights widen where depth near the joint
is missing.

Shapes: B batch, J joints, S crop side [px], F field side [px]. Coordinates are uvdn: each axis of
the crop in [-1,1]. Field channels: 3J directions (x, y, d of joint 0, then of joint 1, ...), then J
closeness maps.
"""

import torch
import torch.nn.functional as nn_f

from awr_ros.crop import BACKGROUND_FROM

SHARPNESS = 30.0  # factor of the softmax, from the authors' code
# [px] side of a window, and most foreground pixels in it for an isolated pixel
ISOLATED_WINDOW, ISOLATED_PIXELS = (5, 4)


def field_points(depth: torch.Tensor, field_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the 3D point of every field pixel, and which pixels are foreground.

    depth: (B,1,S,S) float uvdn, background +1. Return points (B,3,F,F) uvdn and foreground
    (B,1,F,F) bool.
    """
    depth = _at_size(depth, field_size)  # (B,1,F,F)
    grid = _grid(field_size, depth).expand(depth.shape[0], 2, field_size, field_size)
    return torch.cat([grid, depth], dim=1), depth < BACKGROUND_FROM


def remove_isolated(depth: torch.Tensor) -> torch.Tensor:
    """Return depth (B,1,S,S) uvdn with isolated foreground pixels set to background, so that they
    do not vote.

    Flying pixels, and walls that just touch the cube, leave such pixels where the field had hardly
    any training. One of them can have more closeness than the whole hand.
    """
    foreground = (depth < BACKGROUND_FROM).to(depth.dtype)
    around = nn_f.avg_pool2d(foreground, ISOLATED_WINDOW, stride=1, padding=ISOLATED_WINDOW // 2)
    # More than 1 where isolated, else less than -1, which no depth is: three times as fast as
    # `torch.where` in an exported graph.
    isolated = 60 * ((ISOLATED_PIXELS + 0.5) / ISOLATED_WINDOW**2 - around)
    return torch.maximum(depth, isolated).clamp(max=1)


def _at_size(depth: torch.Tensor, field_size: int) -> torch.Tensor:
    """Sample the depth of each field pixel. (B,1,S,S) -> (B,1,F,F)."""
    stride, rest = divmod(int(depth.shape[-1]), field_size)
    if not rest and depth.shape[-2] == depth.shape[-1]:
        return depth[..., ::stride, ::stride]  # the same, by one operation of an exported graph
    return nn_f.interpolate(depth, size=(field_size, field_size), mode='nearest')


def _grid(field_size: int, like: torch.Tensor) -> torch.Tensor:
    """Return (2,F,F) u and v of the field's pixels, uvdn, with the device and type of `like`."""
    # Pixel centres over F, not over F-1 as in older public code: that grid is 2.4 to 4.8 mm off in
    # a 300 mm cube.
    axis = (
        2 * (torch.arange(field_size, device=like.device, dtype=like.dtype) + 0.5) / field_size - 1
    )
    v, u = torch.meshgrid(axis, axis, indexing='ij')
    return torch.stack([u, v])


def encode(
    joints_uvdn: torch.Tensor, depth: torch.Tensor, kernel_size: float = 0.8, field_size: int = 32
) -> torch.Tensor:
    """Encode joints as a dense field, the network's target.

    joints_uvdn: (B,J,3) float; depth: (B,1,S,S) float uvdn; kernel_size: radius of closeness, uvdn
    units. Return (B,4J,F,F), zero outside the radius and on the background.
    """
    _check(
        joints_uvdn.ndim == 3 and joints_uvdn.shape[-1] == 3, 'joints_uvdn', '(B,J,3)', joints_uvdn
    )
    _check(
        depth.ndim == 4 and depth.shape[:2] == (joints_uvdn.shape[0], 1),
        'depth',
        '(B,1,S,S)',
        depth,
    )
    points, foreground = field_points(depth, field_size)
    offset = joints_uvdn[..., None, None] - points[:, None]  # (B,J,3,F,F)
    distance = (offset.square().sum(2) + 1e-8).sqrt()  # (B,J,F,F)
    closeness = (kernel_size - distance) / kernel_size
    near = (closeness >= 0) & foreground  # (B,J,F,F)
    directions = (offset / distance[:, :, None] * near[:, :, None]).flatten(1, 2)  # (B,3J,F,F)
    return torch.cat([directions, closeness * near], dim=1)


def decode(
    field: torch.Tensor, depth: torch.Tensor, kernel_size: float = 0.8
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode joints and confidences from a dense field (section 3.2 of the paper). Differentiable
    in field.

    field: (B,4J,F,F) float; depth: (B,1,S,S) float uvdn. Return joints_uvdn (B,J,3) and confidence
    (B,J) in [0,1], the maximum closeness over the foreground. A joint without votes has confidence
    0.
    """
    return vote(field, depth, kernel_size)[:2]


def vote(
    field: torch.Tensor, depth: torch.Tensor, kernel_size: float = 0.8
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the output of `decode`, and the weight of each pixel in each joint (B,J,F*F)."""
    _check(
        field.ndim == 4 and field.shape[1] % 4 == 0 and field.shape[2] == field.shape[3],
        'field',
        '(B,4J,F,F)',
        field,
    )
    _check(depth.ndim == 4 and depth.shape[:2] == (field.shape[0], 1), 'depth', '(B,1,S,S)', depth)
    # Python integers, so that they are constants of an exported graph, in which only the batch size
    # varies: otherwise 60 of its 90 nodes after the network would compute shapes.
    num_joints, size = int(field.shape[1]) // 4, int(field.shape[2])
    grid = nn_f.pad(_grid(size, field).reshape(2, -1), (0, 0, 0, 1))  # (3,P), of depth 0
    depth = _at_size(depth.to(field.dtype), size).reshape(-1, 1, size * size)  # (B,1,P)
    foreground = SHARPNESS * (depth < BACKGROUND_FROM).to(field.dtype)
    # (B,J,P), times SHARPNESS
    closeness = field[:, 3 * num_joints :].reshape(-1, num_joints, size * size) * foreground
    weights = torch.softmax(closeness, dim=-1)  # (B,J,P)
    # joint = sum_p w_p (direction_p * distance_p + point_p), distance = k (1 - closeness),
    # background has no direction: matrix products, so that no (B,J,3,F,F) copy of the points is
    # made, and factors where tensors are small.
    reach = weights * (foreground - closeness)  # (B,J,P), times SHARPNESS / k
    directions = field[:, : 3 * num_joints].reshape(-1, num_joints, 3, size * size)  # (B,J,3,P)
    offsets = (directions @ reach.unsqueeze(-1)).squeeze(-1) * (kernel_size / SHARPNESS)  # (B,J,3)
    # padded, because a constant made here would be copied to a GPU in every pass, which the capture
    # of a CUDA graph refuses
    points = grid + nn_f.pad(depth, (0, 0, 2, 0))  # (B,3,P)
    return (
        offsets + weights @ points.transpose(1, 2),
        (closeness.amax(-1) / SHARPNESS).clamp(0, 1),
        weights,
    )


def _check(ok: bool, name: str, expected: str, got: torch.Tensor) -> None:
    if not ok:
        raise ValueError(f'{name} must be {expected}, got {tuple(got.shape)}')
