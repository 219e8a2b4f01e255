"""What is corrected of the joints that the votes give, and how sure they are: beside the network, in one graph with it."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as nn_f

STAGES = 2  # times that all joints are corrected
OVERVIEW = 128  # numbers kept of the crop as a whole
ROUNDS = 2  # times that a stage mixes all joints
PATCH, STEP = (
    16,
    1 / 32,
)  # samples a side of what is looked at around a joint, and how far apart they are, uvdn units
REACH = 0.3  # what is this much before or behind a joint, uvdn units, looks as if it were farther
SEEN = 20_000  # samples that say how much something varies


@dataclass(frozen=True)
class RefinerSize:
    """Widths of a refiner's layers."""

    hidden: int  # units of the layers that mix all joints
    joint_width: int  # features of each joint
    patch_features: int  # features of the depth around each joint
    pooled_patches: bool  # one more strided convolution on the patches: an eighth of the weights of each joint's own layer


def refiner_size(hidden: int) -> RefinerSize:
    """Widths for a number of hidden units: 256 are the first refiners', fewer the light ones', which cost a third."""
    return (
        RefinerSize(hidden, 48, 64, False) if hidden >= 256 else RefinerSize(hidden, 40, 48, True)
    )


class Refiner(nn.Module):
    """Moves each joint by what is known of the others and by the depth around it, and says how likely it is right.

    AWR reads every joint alone: nothing says that a finger has a length, or that two fingers are not in one place. Here the
    field is pooled with each joint's own voting weights, so that what its voters claim of all joints is heard once more. And
    its field has a quarter of the crop's resolution: here the crop itself is looked at where the joints are believed to be,
    and after they were moved once more there. An untrained one moves nothing and knows nothing.
    """

    def __init__(self, joints, summary, hidden):
        """joints: how many the network knows; summary: numbers of its summary of a crop; hidden: units between the joints."""
        super().__init__()
        # Some of what is told hardly varies, and says much when it does.
        self.claimed, self.summary = _Standardised(joints, 4 * joints), _Standardised(summary)
        self.overview = nn.Sequential(nn.Linear(summary, OVERVIEW), nn.ReLU())
        self.stages = nn.ModuleList(_Stage(joints, refiner_size(hidden)) for _ in range(STAGES))

    def see(self, claimed, summary):
        """Keep how much what it is told varies, before it learns. claimed: (N,J,4J); summary: (N,C); SEEN of them are enough."""
        self.claimed.see(claimed[:SEEN].float())
        self.summary.see(summary[:SEEN].float())

    def forward(self, joints_uvdn, closeness, claimed, summary, depth):
        """joints_uvdn (B,J,3) and closeness (B,J): as voted for; claimed: (B,J,4J), see `claims`; summary: (B,C); depth:
        (B,1,S,S) uvdn. Returns joints (B,J,3) uvdn and the log odds (B,J) that each is within 10 mm of a hand's.
        """
        return self.by_stages(joints_uvdn, closeness, claimed, summary, depth)[-1]

    def by_stages(self, joints_uvdn, closeness, claimed, summary, depth):
        """What `forward` returns, after each stage: they all learn from the truth."""
        voted, odds, said = joints_uvdn, 0 * closeness, []
        told = torch.cat(
            [self.claimed(claimed), 8 * (closeness[..., None] - 0.8)], -1
        )  # about unit size all of it
        overview = self.overview(self.summary(summary))
        for stage in self.stages:
            joints_uvdn, odds = stage(
                joints_uvdn, odds, voted, told, overview, around(depth, joints_uvdn.detach())
            )
            said.append((joints_uvdn, odds))
        return said


def claims(field, weights):
    """What the voters of each joint claim of all joints, on average. field: (B,4J,F,F); weights: (B,J,F*F), of
    offset_field.vote. Returns (B,J,4J).
    """
    return weights @ field.reshape(-1, int(field.shape[1]), int(field.shape[2]) ** 2).transpose(
        1, 2
    )  # whole numbers: see decode


def around(depth, joints_uvdn):
    """Depth around each joint, less its own. depth: (B,1,S,S); joints_uvdn: (B,J,3). Returns (B,J,PATCH,PATCH) in
    [-REACH,REACH].
    """
    size = int(depth.shape[-1])
    offsets = STEP * (torch.arange(PATCH, device=depth.device) - (PATCH - 1) / 2)
    columns, rows = (
        ((joints_uvdn[..., axis, None] + offsets + 1) * (size / 2)).long().clamp(0, size - 1)
        for axis in (0, 1)
    )
    places = rows[..., :, None] * size + columns[..., None, :]  # (B,J,PATCH,PATCH)
    seen = (
        depth.reshape(-1, size * size)
        .gather(1, places.flatten(1))
        .view(-1, *map(int, places.shape[1:]))
    )
    return (seen - joints_uvdn[..., 2, None, None]).clamp(-REACH, REACH)


class _Stage(nn.Module):
    """Looks around each joint, twice mixes all joints, and tells each how far to move."""

    def __init__(self, joints, size):
        super().__init__()
        self.joints, width = joints, size.joint_width
        self.look = _Look(joints, size)
        self.first = _PerJoint(joints, size.patch_features + 4 * joints + 8, width)
        self.gather = nn.ModuleList(
            nn.Linear(joints * width + OVERVIEW + 3, size.hidden) for _ in range(ROUNDS)
        )
        self.spread = nn.ModuleList(nn.Linear(size.hidden, joints * width) for _ in range(ROUNDS))
        self.then = nn.ModuleList(_PerJoint(joints, width, width) for _ in range(ROUNDS))
        self.last = _PerJoint(joints, width, 4)
        for layer in (*self.spread, self.last):
            nn.init.zeros_(layer.weight)

    def forward(self, joints_uvdn, odds, voted, told, overview, patches):
        """joints_uvdn (B,J,3) and odds (B,J): so far; voted (B,J,3): at first; told: (B,J,4J+1); overview: (B,OVERVIEW);
        patches: (B,J,PATCH,PATCH). Returns better joints_uvdn and odds.
        """
        middle = joints_uvdn.mean(1)  # (B,3)
        overview = torch.cat([overview, 3 * middle], 1)
        each = self.first(
            torch.cat(
                [
                    self.look(patches),
                    told,
                    3 * (joints_uvdn - middle[:, None]),
                    30 * (voted - joints_uvdn),
                    odds[..., None] / 2,
                ],
                -1,
            )
        )  # (B,J,W)
        for gather, spread, then in zip(self.gather, self.spread, self.then):
            together = nn_f.relu(
                gather(
                    torch.cat(
                        [nn_f.relu(each).reshape(-1, self.joints * int(each.shape[2])), overview], 1
                    )
                )
            )
            heard = spread(together).view(-1, self.joints, int(each.shape[2]))
            each = each + heard + then(nn_f.relu(each + heard))
        said = self.last(nn_f.relu(each))  # (B,J,4), of memory (J,B,4)
        return (joints_uvdn + 0.1 * said[..., :3]).contiguous(), (odds + said[..., 3]).contiguous()


class _Look(nn.Module):
    """What is seen around each joint: the same eyes for all, but each joint knows what it looks for."""

    def __init__(self, joints, size):
        super().__init__()
        widths = (12, 24, 48) if size.pooled_patches else (16, 32, 32)
        last_stride = 2 if size.pooled_patches else 1
        self.eyes = nn.Sequential(
            nn.Conv2d(2, widths[0], 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(widths[0], widths[1], 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(widths[1], widths[2], 3, last_stride, 1),
            nn.ReLU(),
        )
        self.tell = _PerJoint(
            joints, widths[2] * (PATCH // 4 // last_stride) ** 2, size.patch_features
        )

    def forward(self, patches):
        """(B,J,PATCH,PATCH) -> (B,J,patch features)"""
        joints = int(patches.shape[1])
        patches = patches.reshape(-1, 1, PATCH, PATCH)
        seen = self.eyes(torch.cat([2 / REACH * patches, (patches >= REACH).to(patches.dtype)], 1))
        return nn_f.relu(self.tell(seen.reshape(-1, joints, int(seen[0].numel()))))


class _Standardised(nn.Module):
    """Of zero mean and unit deviation, by what was seen before."""

    def __init__(self, *shape):
        super().__init__()
        self.register_buffer('mean', torch.zeros(shape))
        self.register_buffer('deviation', torch.ones(shape))

    def see(self, samples):
        """samples: (N,...)"""
        self.mean[:], self.deviation[:] = samples.mean(0), samples.std(0) + 0.01

    def forward(self, x):
        return (x - self.mean) / self.deviation


class _PerJoint(nn.Module):
    """A linear layer for each joint. (B,J,inputs) -> (B,J,outputs)."""

    def __init__(self, joints, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(joints, inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(joints, 1, outputs))

    def forward(self, x):
        return (x.transpose(0, 1) @ self.weight + self.bias).transpose(0, 1)
