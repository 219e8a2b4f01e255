"""Joint refiner: corrects the voted joints and predicts the score of each one. Exported in one
graph with the network.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as nn_f

NUM_STAGES = 2  # successive corrections of all joints
GLOBAL_WIDTH = 128  # features of the whole crop
MIXING_ROUNDS = 2  # exchanges of features between all joints within a stage
PATCH_SIZE = 16  # samples per side of the depth patch around each joint
PATCH_STEP = 1 / 32  # spacing of these samples, uvdn units
DEPTH_RANGE = 0.3  # depth relative to the joint is clamped to this, uvdn units
NORMALISATION_SAMPLES = 20_000  # most samples for mean and standard deviation of the inputs


@dataclass(frozen=True)
class RefinerSize:
    """Layer widths of a refiner."""

    hidden: int  # units of the layers that mix all joints
    joint_width: int  # features of each joint
    patch_features: int  # features of the depth around each joint
    # stride 2 in the last convolution on the patches: a quarter of the positions for each joint's
    # own layer
    pooled_patches: bool


def refiner_size(hidden: int) -> RefinerSize:
    """Return the widths for a number of hidden units: 256 for the first refiners, fewer for the
    light ones at a third of the cost.
    """
    return (
        RefinerSize(hidden, 48, 64, False) if hidden >= 256 else RefinerSize(hidden, 40, 48, True)
    )


class Refiner(nn.Module):
    """Correct each joint from the votes for all joints and the depth around it, and predict its
    score.

    AWR predicts every joint alone: nothing expresses that a finger has a length, or that two
    fingers cannot be at the same position. Here the field is pooled with each joint's own voting
    weights, so each joint has what its voting pixels predict for all joints. The field has a
    quarter of the crop's resolution; each stage therefore also samples the crop itself around the
    current joints. An untrained refiner moves nothing.
    """

    def __init__(self, joints: int, crop_features: int, hidden: int) -> None:
        """joints: number of joints; crop_features: number of crop features; hidden: units of the
        layers that mix joints.
        """
        super().__init__()
        # Some inputs hardly vary but are informative: all get zero mean and unit variance.
        self.pooled_votes, self.crop_features = (
            _Standardised(joints, 4 * joints),
            _Standardised(crop_features),
        )
        self.global_features = nn.Sequential(nn.Linear(crop_features, GLOBAL_WIDTH), nn.ReLU())
        self.stages = nn.ModuleList(
            _RefinementStage(joints, refiner_size(hidden)) for _ in range(NUM_STAGES)
        )

    def fit_normalisation(self, pooled_votes: torch.Tensor, crop_features: torch.Tensor) -> None:
        """Set the input normalisation from training samples. pooled_votes: (N,J,4J); crop_features:
        (N,C); NORMALISATION_SAMPLES are used.
        """
        self.pooled_votes.fit_normalisation(pooled_votes[:NORMALISATION_SAMPLES].float())
        self.crop_features.fit_normalisation(crop_features[:NORMALISATION_SAMPLES].float())

    def forward(
        self,
        joints_uvdn: torch.Tensor,
        closeness: torch.Tensor,
        pooled_votes: torch.Tensor,
        crop_features: torch.Tensor,
        depth: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return joints (B,J,3) uvdn and the logits (B,J) that each is within 10 mm of the truth.

        joints_uvdn (B,J,3), closeness (B,J): from the votes; pooled_votes: (B,J,4J), see
        `pool_votes`; crop_features: (B,C); depth: (B,1,S,S) uvdn.
        """
        return self.forward_stages(joints_uvdn, closeness, pooled_votes, crop_features, depth)[-1]

    def forward_stages(
        self,
        joints_uvdn: torch.Tensor,
        closeness: torch.Tensor,
        pooled_votes: torch.Tensor,
        crop_features: torch.Tensor,
        depth: torch.Tensor,
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the output of `forward` after each stage, all of which are supervised."""
        voted, logits, output = joints_uvdn, 0 * closeness, []
        # scaled to about unit variance
        features = torch.cat(
            [self.pooled_votes(pooled_votes), 8 * (closeness[..., None] - 0.8)], -1
        )
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


def pool_votes(field: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Average the field over the voting weights of each joint: what its voting pixels predict for
    all joints.

    field: (B,4J,F,F); weights: (B,J,F*F), of offset_field.vote. Return (B,J,4J).
    """
    joints, side = int(field.shape[1]), int(field.shape[2])  # constants of the graph: see decode
    return weights @ field.reshape(-1, joints, side**2).transpose(1, 2)


def sample_patches(depth: torch.Tensor, joints_uvdn: torch.Tensor) -> torch.Tensor:
    """Sample the depth around each joint, relative to the joint.

    depth: (B,1,S,S); joints_uvdn: (B,J,3). Return (B,J,PATCH_SIZE,PATCH_SIZE) in
    [-DEPTH_RANGE,DEPTH_RANGE].
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
    """Encode the depth around each joint, mix the features of all joints, predict an offset and a
    logit change per joint.
    """

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
        """Return refined joints and logits.

        joints_uvdn (B,J,3) and logits (B,J): current; voted (B,J,3): joints of the votes; features:
        (B,J,4J+1); global_features: (B,GLOBAL_WIDTH); patches: (B,J,PATCH_SIZE,PATCH_SIZE).
        """
        centre = joints_uvdn.mean(1)  # (B,3)
        global_features = torch.cat([global_features, 3 * centre], 1)
        # (B,J,W)
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
        )
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
        output = self.head(nn_f.relu(joint_features))  # (B,J,4), in memory (J,B,4)
        return (joints_uvdn + 0.1 * output[..., :3]).contiguous(), (
            logits + output[..., 3]
        ).contiguous()


class _PatchEncoder(nn.Module):
    """Patch encoder with shared convolutions and one output layer per joint."""

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
        """Encode (B,J,PATCH_SIZE,PATCH_SIZE) to (B,J,patch features)."""
        joints = int(patches.shape[1])
        patches = patches.reshape(-1, 1, PATCH_SIZE, PATCH_SIZE)
        patches_depth = self.encoder(
            torch.cat([2 / DEPTH_RANGE * patches, (patches >= DEPTH_RANGE).to(patches.dtype)], 1)
        )
        return nn_f.relu(
            self.head(patches_depth.reshape(-1, joints, int(patches_depth[0].numel())))
        )


class _Standardised(nn.Module):
    """Normalise inputs with a stored mean and standard deviation."""

    def __init__(self, *shape):
        super().__init__()
        self.register_buffer('mean', torch.zeros(shape))
        self.register_buffer('deviation', torch.ones(shape))

    def fit_normalisation(self, samples):
        """Set mean and deviation from samples (N,...)."""
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
