"""Fingers that a sensor does not measure: too dark, too bright, too steep, or matched elsewhere."""

import torch

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.skeleton import BONES

FIRST_JOINTS = (1, 5, 9, 13, 17)  # of the fingers, thumb first; each has four
TWO = 0.3  # share with two neighbouring fingers lost
# Largest distance of a lost pixel from the bone, uvdn units of 140 mm; skin is about 9 mm thick.
REACH = (0.09, 0.17)


def lose_fingers(
    depth: torch.Tensor, joints_uvdn: torch.Tensor, generator: torch.Generator, share: float
) -> torch.Tensor:
    """Remove a finger, or two neighbouring ones, of some of the hands: whole, or beyond a joint.

    depth: (B,1,S,S) float uvdn; joints_uvdn: (B,21,3) in its coordinates; share: of the hands with
    a finger lost. Return (B,1,S,S).
    """
    batch, _, size, _ = depth.shape
    device = depth.device

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    chosen = (uniform(batch) < share).nonzero()[:, 0]
    n = len(chosen)
    if not n:
        return depth
    crops = depth[chosen]
    parents, children = (torch.tensor(column, device=device) for column in zip(*BONES))
    starts = joints_uvdn[chosen][:, parents]  # (n,20,3)
    along = joints_uvdn[chosen][:, children] - starts
    axis = 2 * (torch.arange(size, device=device) + 0.5) / size - 1
    hand, _, row, column = where = (crops < BACKGROUND_FROM).nonzero(as_tuple=True)
    points = torch.stack([axis[column], axis[row], crops[where]], -1)[:, None]  # (M,1,3)
    from_start, bones = points - starts[hand], along[hand]  # (M,20,3)
    at = (from_start * bones).sum(-1) / bones.square().sum(-1).clamp_min(1e-6)
    distance, nearest = (from_start - at.clamp(0, 1)[..., None] * bones).norm(dim=-1).min(-1)

    finger = (5 * uniform(n)).long()
    second = torch.where(uniform(n) < TWO, finger + 1, finger)
    # The bones of a finger end at its second, third and fourth joint.
    beyond = (3 * uniform(n) ** 2).long()[:, None]  # 0: the whole finger
    lost_bones = torch.zeros(n, len(BONES), dtype=torch.bool, device=device)
    for k, first in enumerate(FIRST_JOINTS):
        taken = ((finger == k) | (second == k))[:, None]
        lost_bones |= taken & (children > first + beyond) & (children <= first + 3)
    low, high = REACH
    reach = low + (high - low) * uniform(n)
    lost = lost_bones[hand, nearest] & (distance < reach[hand])
    crops[where] = torch.where(lost, 1.0, crops[where])
    result = depth.clone()
    result[chosen] = crops
    return result
