"""Fingers that a sensor does not measure: too dark, too bright, too steep, or matched elsewhere."""

import torch

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.skeleton import BONES
from awr_ros.synthetic.hand import KNUCKLES

TWO = 0.3  # share with two neighbouring fingers lost
# Largest distance of a lost pixel from the bone, in uvdn, where 1 is about 140 mm; skin is about 9
# mm thick.
REACH = (0.09, 0.17)


def lose_fingers(
    depth: torch.Tensor, joints_uvdn: torch.Tensor, generator: torch.Generator, share: torch.Tensor
) -> torch.Tensor:
    """Remove a finger, or two neighbouring ones, of some of the hands: whole, or beyond a joint.

    depth: (B,1,S,S) float uvdn; joints_uvdn: (B,21,3) in its coordinates; share: (B,) [0,1] the
    probability that this hand loses one. Return (B,1,S,S).
    """
    batch, _, size, _ = depth.shape
    device = depth.device

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    chosen = (uniform(batch) < share).nonzero()[:, 0]
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


def _distance(points, start, end):
    """Return the distances (M,) of points from the lines between start and end, all (M,3)."""
    from_start, bone = points - start, end - start
    at = (from_start * bone).sum(-1) / bone.square().sum(-1).clamp_min(1e-6)
    return (from_start - at.clamp(0, 1)[:, None] * bone).norm(dim=-1)
