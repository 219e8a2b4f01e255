"""Parts of hands that a sensor does not measure: too dark, too bright, too steep, or matched
elsewhere.
"""

from functools import partial

import torch

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.skeleton import BONES, PALM
from awr_ros.synthetic.hand import KNUCKLES

TWO = 0.3  # share with two neighbouring fingers lost
# Largest distance of a lost pixel from the bone, in uvdn, where 1 is about 140 mm; skin is about 9
# mm thick.
REACH = (0.09, 0.17)
# A spot of light is an ellipse with these half axes, in uvdn, around a joint of the palm.
SPOT = (0.15, 0.6)
RAGGED = 0.35  # standard deviation of its border, as a share of the half axes
MAX_HIDDEN = 11  # joints in a spot; of hands with more of them too little is left to learn from


def lose_fingers(
    depth: torch.Tensor, joints_uvdn: torch.Tensor, generator: torch.Generator, share: torch.Tensor
) -> torch.Tensor:
    """Remove a finger, or two neighbouring ones, of some of the hands: whole, or beyond a joint.

    depth: (B,1,S,S) float uvdn; joints_uvdn: (B,21,3) in its coordinates; share: (B,) [0,1] the
    probability that this hand loses one. Return (B,1,S,S).
    """
    size, device, uniform = depth.shape[-1], depth.device, _uniform(generator, depth.device)
    chosen = (uniform(len(depth)) < share).nonzero()[:, 0]
    n = len(chosen)
    if not n:
        return depth
    first = (5 * uniform(n)).long()
    neighbour = torch.where(first < 4, first + 1, first - 1)
    second = torch.where(uniform(n) < TWO, neighbour, first)
    kept = (3 * uniform(n) ** 2).long()  # joints that are left, 0: the whole finger is lost

    crops, joints = depth[chosen], joints_uvdn[chosen]
    axis = 2 * (torch.arange(size, device=device) + 0.5) / size - 1
    hand, _, row, column = where = (crops < BACKGROUND_FROM).nonzero(as_tuple=True)
    points = torch.stack([axis[column], axis[row], crops[where]], -1)  # (M,3)
    # Each point belongs to the nearest bone.
    nearest = torch.full_like(points[:, 0], torch.inf)
    of_lost = torch.zeros_like(nearest, dtype=torch.bool)
    for parent, child in BONES:
        bone_lost = torch.zeros(n, dtype=torch.bool, device=device)
        for finger, knuckle in enumerate(KNUCKLES):
            if knuckle < child <= knuckle + 3:
                lost = (first == finger) | (second == finger)
                bone_lost = lost & (child > knuckle + kept)
        distance = _distance(points, joints[hand, parent], joints[hand, child])
        nearer = distance < nearest
        of_lost = torch.where(nearer, bone_lost[hand], of_lost)
        nearest = torch.minimum(nearest, distance)

    low, high = REACH
    reach = low + (high - low) * uniform(n)
    crops[where] = torch.where(of_lost & (nearest < reach[hand]), 1.0, crops[where])
    result = depth.clone()
    result[chosen] = crops
    return result


def lose_spots(
    depth: torch.Tensor, joints_uvdn: torch.Tensor, generator: torch.Generator, share: torch.Tensor
) -> torch.Tensor:
    """Remove what a spot of light hides, of some of the hands: most of a palm or of a forearm, but
    few fingers.

    depth: (B,1,S,S) float uvdn; joints_uvdn: (B,21,3) in its coordinates; share: (B,) [0,1] the
    probability that a spot is on this hand. Return (B,1,S,S).
    """
    size, device, uniform = depth.shape[-1], depth.device, _uniform(generator, depth.device)
    chosen = (uniform(len(depth)) < share).nonzero()[:, 0]
    n = len(chosen)
    if not n:
        return depth
    palm = torch.tensor(PALM, device=device)
    joints = joints_uvdn[chosen]
    centre = joints[range(n), palm[(len(PALM) * uniform(n)).long()], :2]
    low, high = SPOT
    half_axes = low + (high - low) * uniform(2, n)
    angle = torch.pi * uniform(n)
    axes = (
        torch.stack(
            [
                torch.stack([angle.cos(), angle.sin()], -1),
                torch.stack([-angle.sin(), angle.cos()], -1),
            ],
            1,
        )
        / half_axes.T[:, :, None]
    )  # (n,2,2)
    centre = centre + 0.2 * (uniform(n, 2) - 0.5)
    axis = 2 * (torch.arange(size, device=device) + 0.5) / size - 1
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing='xy'), -1).view(1, -1, 2)

    def distance(points):
        return ((points - centre[:, None]) @ axes.mT).norm(dim=-1)

    few = (distance(joints[..., :2]) < 1).sum(1) <= MAX_HIDDEN
    border = torch.randn(n, 1, size // 16, size // 16, generator=generator, device=device)
    border = torch.nn.functional.interpolate(border, size=size, mode='bilinear')[:, 0]
    hidden = distance(pixels).view(n, size, size) + RAGGED * border < 1
    hidden &= few[:, None, None]
    result = depth.clone()
    result[chosen, 0] = torch.where(hidden, 1.0, depth[chosen, 0])
    return result


def _uniform(generator, device):
    """Return a function that draws numbers in [0,1) of a given shape."""
    return partial(torch.rand, generator=generator, device=device)


def _distance(points, start, end):
    """Return the distances (M,) of points from the lines between start and end, all (M,3)."""
    from_start, bone = points - start, end - start
    at = (from_start * bone).sum(-1) / bone.square().sum(-1).clamp_min(1e-6)
    return (from_start - at.clamp(0, 1)[:, None] * bone).norm(dim=-1)
