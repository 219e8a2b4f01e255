"""What is corrected of the joints that the votes give, and how sure they are: beside the network, in one graph with it."""
import torch
from torch import nn
from torch.nn import functional as nn_f

WIDTH, OVERVIEW = 48, 128       # numbers kept of each joint, and of the crop as a whole
ROUNDS = 2
SEEN = 20_000                   # samples that say how much something varies


class Refiner(nn.Module):
    """Moves each joint by what is known of the others, and says how likely it is right.

    AWR reads every joint alone: nothing says that a finger has a length, or that two fingers are not in one place. Here the
    field is pooled with each joint's own voting weights, so that what its voters claim of all joints is heard once more;
    twice all joints are mixed, and each is then told how far to move. An untrained one moves nothing and knows nothing.
    """

    def __init__(self, joints, summary, hidden):
        """joints: how many the network knows; summary: numbers of its summary of a crop; hidden: units between the joints."""
        super().__init__()
        self.joints, told = joints, 4 * joints + 4
        # Some of what is told hardly varies, and says much when it does.
        self.claimed, self.summary = _Standardised(joints, 4 * joints), _Standardised(summary)
        self.overview = nn.Sequential(nn.Linear(summary, OVERVIEW), nn.ReLU())
        self.first = _PerJoint(joints, told, WIDTH)
        self.gather = nn.ModuleList(nn.Linear(joints * WIDTH + OVERVIEW + 3, hidden) for _ in range(ROUNDS))
        self.spread = nn.ModuleList(nn.Linear(hidden, joints * WIDTH) for _ in range(ROUNDS))
        self.then = nn.ModuleList(_PerJoint(joints, WIDTH, WIDTH) for _ in range(ROUNDS))
        self.last = _PerJoint(joints, WIDTH, 4)
        for layer in (*self.spread, self.last):
            nn.init.zeros_(layer.weight)

    def see(self, claimed, summary):
        """Keep how much what it is told varies, before it learns. claimed: (N,J,4J); summary: (N,C); SEEN of them are enough."""
        self.claimed.see(claimed[:SEEN].float())
        self.summary.see(summary[:SEEN].float())

    def forward(self, joints_uvdn, closeness, claimed, summary):
        """joints_uvdn (B,J,3) and closeness (B,J): as voted for; claimed: (B,J,4J), see `claims`; summary: (B,C). Returns
        joints (B,J,3) uvdn and the log odds (B,J) that each is within 10 mm of a hand's."""
        middle = joints_uvdn.mean(1)                                                    # (B,3)
        # About unit size all of them.
        told = torch.cat([self.claimed(claimed), 3 * (joints_uvdn - middle[:, None]), 8 * (closeness[..., None] - 0.8)], -1)
        overview = torch.cat([self.overview(self.summary(summary)), 3 * middle], 1)
        each = self.first(told)                                                         # (B,J,WIDTH)
        for gather, spread, then in zip(self.gather, self.spread, self.then):
            together = nn_f.relu(gather(torch.cat([nn_f.relu(each).reshape(-1, self.joints * WIDTH), overview], 1)))
            heard = spread(together).view(-1, self.joints, WIDTH)
            each = each + heard + then(nn_f.relu(each + heard))
        said = self.last(nn_f.relu(each))                                               # (B,J,4), of memory (J,B,4)
        return (joints_uvdn + 0.1 * said[..., :3]).contiguous(), said[..., 3].contiguous()


def claims(field, weights):
    """What the voters of each joint claim of all joints, on average. field: (B,4J,F,F); weights: (B,J,F*F), of
    offset_field.vote. Returns (B,J,4J)."""
    return weights @ field.reshape(-1, int(field.shape[1]), int(field.shape[2]) ** 2).transpose(1, 2)    # whole numbers: see decode


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
        self.weight = nn.Parameter(torch.randn(joints, inputs, outputs) / inputs ** 0.5)
        self.bias = nn.Parameter(torch.zeros(joints, 1, outputs))

    def forward(self, x):
        return (x.transpose(0, 1) @ self.weight + self.bias).transpose(0, 1)
