"""What is corrected of the joints that the votes give, and how sure they are: beside the network,
in one graph with it.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as nn_f

NUM_STAGES = 2  # times that all joints are corrected
GLOBAL_WIDTH = 128  # numbers kept of the crop as a whole
MIXING_ROUNDS = 2  # times that a stage mixes all joints
PATCH_SIZE, PATCH_STEP = (
    16,
    1 / 32,
)  # samples a side of what is looked at around a joint, and how far apart they are, uvdn units
DEPTH_RANGE = (
    0.3  # what is this much before or behind a joint, uvdn units, looks as if it were farther
)
NORMALISATION_SAMPLES = 20_000  # samples that say how much something varies


@dataclass(frozen=True)
class RefinerSize:
    """Widths of a refiner's layers."""

    hidden: int  # units of the layers that mix all joints
    joint_width: int  # features of each joint
    patch_features: int  # features of the depth around each joint
    # one more strided convolution on the patches: an eighth of the weights of each joint's own
    # layer
    pooled_patches: bool


def refiner_size(hidden: int) -> RefinerSize:
    """Widths for a number of hidden units: 256 are the first refiners', fewer the light ones',
    which cost a third.
    """
    return (
        RefinerSize(hidden, 48, 64, False) if hidden >= 256 else RefinerSize(hidden, 40, 48, True)
    )


class Refiner(nn.Module):
    """Moves each joint by what is known of the others and by the depth around it, and says how
    likely it is right.

    AWR reads every joint alone: nothing says that a finger has a length, or that two fingers are
    not in one place. Here the field is pooled with each joint's own voting weights, so that what
    its voters claim of all joints is heard once more. And its field has a quarter of the crop's
    resolution: here the crop itself is looked at where the joints are believed to be, and after
    they were moved once more there. An untrained one moves nothing and knows nothing.
    """

    def __init__(self, joints, crop_features, hidden):
        """joints: how many the network knows; summary: numbers of its summary of a crop; hidden:
        units between the joints.
        """
        super().__init__()
        # Some of what is told hardly varies, and says much when it does.
        self.pooled_votes, self.crop_features = (
            _Standardised(joints, 4 * joints),
            _Standardised(crop_features),
        )
        self.global_features = nn.Sequential(nn.Linear(crop_features, GLOBAL_WIDTH), nn.ReLU())
        self.stages = nn.ModuleList(
            _RefinementStage(joints, refiner_size(hidden)) for _ in range(NUM_STAGES)
        )

    def fit_normalisation(self, pooled_votes, crop_features):
        """Keep how much what it is told varies, before it learns. pooled_votes: (N,J,4J); summary:
        (N,C); SEEN of them are enough.
        """
        self.pooled_votes.fit_normalisation(pooled_votes[:NORMALISATION_SAMPLES].float())
        self.crop_features.fit_normalisation(crop_features[:NORMALISATION_SAMPLES].float())

    def forward(self, joints_uvdn, closeness, pooled_votes, crop_features, depth):
        """joints_uvdn (B,J,3) and closeness (B,J): as voted for; pooled_votes: (B,J,4J), see
        `claims`; summary: (B,C); depth: (B,1,S,S) uvdn. Returns joints (B,J,3) uvdn and the log
        odds (B,J) that each is within 10 mm of a hand's.
        """
        return self.forward_stages(joints_uvdn, closeness, pooled_votes, crop_features, depth)[-1]

    def forward_stages(self, joints_uvdn, closeness, pooled_votes, crop_features, depth):
        """What `forward` returns, after each stage: they all learn from the truth."""
        voted, logits, output = joints_uvdn, 0 * closeness, []
        features = torch.cat(
            [self.pooled_votes(pooled_votes), 8 * (closeness[..., None] - 0.8)], -1
        )  # about unit size all of it
        global_features = self.global_features(self.crop_features(crop_features))
        for stage in self.stages:
            joints_uvdn, logits = stage(
                joints_uvdn,
                logits,
                voted,
                features,
                global_features,
                sample_patches(depth, joints_uvdn.detach()),
            )
            output.append((joints_uvdn, logits))
        return output


def pool_votes(field, weights):
    """What the voters of each joint claim of all joints, on average. field: (B,4J,F,F); weights:
    (B,J,F*F), of offset_field.vote. Returns (B,J,4J).
    """
    return weights @ field.reshape(-1, int(field.shape[1]), int(field.shape[2]) ** 2).transpose(
        1, 2
    )  # whole numbers: see decode


def sample_patches(depth, joints_uvdn):
    """Depth around each joint, less its own. depth: (B,1,S,S); joints_uvdn: (B,J,3). Returns
    (B,J,PATCH,PATCH) in [-REACH,REACH].
    """
    size = int(depth.shape[-1])
    offsets = PATCH_STEP * (torch.arange(PATCH_SIZE, device=depth.device) - (PATCH_SIZE - 1) / 2)
    columns, rows = (
        ((joints_uvdn[..., axis, None] + offsets + 1) * (size / 2)).long().clamp(0, size - 1)
        for axis in (0, 1)
    )
    indices = rows[..., :, None] * size + columns[..., None, :]  # (B,J,PATCH,PATCH)
    patches_depth = (
        depth.reshape(-1, size * size)
        .gather(1, indices.flatten(1))
        .view(-1, *map(int, indices.shape[1:]))
    )
    return (patches_depth - joints_uvdn[..., 2, None, None]).clamp(-DEPTH_RANGE, DEPTH_RANGE)


class _RefinementStage(nn.Module):
    """Looks around each joint, twice mixes all joints, and tells each how far to move."""

    def __init__(self, joints, size):
        super().__init__()
        self.joints, width = joints, size.joint_width
        self.patch_encoder = _PatchEncoder(joints, size)
        self.embed = _PerJoint(joints, size.patch_features + 4 * joints + 8, width)
        self.to_hidden = nn.ModuleList(
            nn.Linear(joints * width + GLOBAL_WIDTH + 3, size.hidden) for _ in range(MIXING_ROUNDS)
        )
        self.to_joints = nn.ModuleList(
            nn.Linear(size.hidden, joints * width) for _ in range(MIXING_ROUNDS)
        )
        self.update = nn.ModuleList(_PerJoint(joints, width, width) for _ in range(MIXING_ROUNDS))
        self.head = _PerJoint(joints, width, 4)
        for layer in (*self.to_joints, self.head):
            nn.init.zeros_(layer.weight)

    def forward(self, joints_uvdn, logits, voted, features, global_features, patches):
        """joints_uvdn (B,J,3) and odds (B,J): so far; voted (B,J,3): at first; told: (B,J,4J+1);
        overview: (B,OVERVIEW); patches: (B,J,PATCH,PATCH). Returns better joints_uvdn and odds.
        """
        centre = joints_uvdn.mean(1)  # (B,3)
        global_features = torch.cat([global_features, 3 * centre], 1)
        joint_features = self.embed(
            torch.cat(
                [
                    self.patch_encoder(patches),
                    features,
                    3 * (joints_uvdn - centre[:, None]),
                    30 * (voted - joints_uvdn),
                    logits[..., None] / 2,
                ],
                -1,
            )
        )  # (B,J,W)
        for to_hidden, to_joints, update in zip(self.to_hidden, self.to_joints, self.update):
            mixed = nn_f.relu(
                to_hidden(
                    torch.cat(
                        [
                            nn_f.relu(joint_features).reshape(
                                -1, self.joints * int(joint_features.shape[2])
                            ),
                            global_features,
                        ],
                        1,
                    )
                )
            )
            message = to_joints(mixed).view(-1, self.joints, int(joint_features.shape[2]))
            joint_features = joint_features + message + update(nn_f.relu(joint_features + message))
        output = self.head(nn_f.relu(joint_features))  # (B,J,4), of memory (J,B,4)
        return (joints_uvdn + 0.1 * output[..., :3]).contiguous(), (
            logits + output[..., 3]
        ).contiguous()


class _PatchEncoder(nn.Module):
    """What is seen around each joint: the same eyes for all, but each joint knows what it looks
    for.
    """

    def __init__(self, joints, size):
        super().__init__()
        widths = (12, 24, 48) if size.pooled_patches else (16, 32, 32)
        last_stride = 2 if size.pooled_patches else 1
        self.encoder = nn.Sequential(
            nn.Conv2d(2, widths[0], 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(widths[0], widths[1], 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(widths[1], widths[2], 3, last_stride, 1),
            nn.ReLU(),
        )
        self.head = _PerJoint(
            joints, widths[2] * (PATCH_SIZE // 4 // last_stride) ** 2, size.patch_features
        )

    def forward(self, patches):
        """(B,J,PATCH,PATCH) -> (B,J,patch features)"""
        joints = int(patches.shape[1])
        patches = patches.reshape(-1, 1, PATCH_SIZE, PATCH_SIZE)
        patches_depth = self.encoder(
            torch.cat([2 / DEPTH_RANGE * patches, (patches >= DEPTH_RANGE).to(patches.dtype)], 1)
        )
        return nn_f.relu(
            self.head(patches_depth.reshape(-1, joints, int(patches_depth[0].numel())))
        )


class _Standardised(nn.Module):
    """Of zero mean and unit deviation, by what was seen before."""

    def __init__(self, *shape):
        super().__init__()
        self.register_buffer('mean', torch.zeros(shape))
        self.register_buffer('deviation', torch.ones(shape))

    def fit_normalisation(self, samples):
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
