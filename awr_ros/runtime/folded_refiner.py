"""Joint refiner prepared for engines: the same output as the trained one with a third fewer
operations.

Constants are folded into weights, and whatever both stages or both rounds compute from the same
inputs is one layer. The largest layer of each joint is a grouped convolution, which ONNX Runtime
can quantise.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as nn_f

from awr_ros.networks.base import AwrNetwork
from awr_ros.networks.refiner import DEPTH_RANGE, PATCH_SIZE, PATCH_STEP


def folded(network: AwrNetwork) -> AwrNetwork:
    """Return a copy of a network with its refiner folded; a network without a refiner is returned
    itself.
    """
    if network.refiner is None:
        return network
    network = copy.deepcopy(network)
    network.refiner = FoldedRefiner(network.refiner.float(), network.config.crop_size)
    return network


class FoldedRefiner(nn.Module):
    """Replacement of a trained `awr_ros.networks.refiner.Refiner` in exported graphs: same
    arguments, same results.
    """

    def __init__(self, refiner, crop_size):
        """refiner: trained, on the CPU; crop_size: side of the crops [px]."""
        super().__init__()
        self.sample_patches = _PatchSampler(crop_size)
        self.global_features = refiner.global_features
        self.stages = nn.ModuleList(_FoldedStage(stage) for stage in refiner.stages)
        first, mean, deviation = (
            self.global_features[0],
            refiner.crop_features.mean,
            refiner.crop_features.deviation,
        )
        self.global_features[0] = _linear(
            first.weight / deviation, first.bias - first.weight @ (mean / deviation)
        )
        # The part of the stages' first layers that depends on the votes, and of their mixing layers
        # that depends on the global features.
        weights, biases = zip(
            *(_of_votes(stage.embed, refiner.pooled_votes) for stage in refiner.stages)
        )
        self.votes = _Joints(torch.cat(weights, 2), torch.cat(biases, 2))
        mixing = [layer for stage in refiner.stages for layer in stage.to_hidden]
        units = self.global_features[0].out_features
        self.seen = _linear(
            torch.cat([layer.weight[:, -units - 3 : -3] for layer in mixing]),
            torch.cat([layer.bias for layer in mixing]),
        )

    def forward(self, joints_uvdn, closeness, pooled_votes, crop_features, depth):
        """Return joints (B,J,3) uvdn and logits (B,J), as `Refiner.forward`."""
        pooled_votes = torch.cat([pooled_votes, closeness[..., None]], -1)
        of_votes = _parts(self.votes(pooled_votes), len(self.stages))  # (J,B,W) each
        # (B,rounds*G) each
        seen = _parts(self.seen(self.global_features(crop_features)), len(self.stages))
        depth, moved = depth.reshape(-1, self.sample_patches.size**2), None
        for stage, of_vote, overview in zip(self.stages, of_votes, seen):
            patches = self.sample_patches(depth, joints_uvdn)  # (B*J,1,PATCH,PATCH)
            output = stage(patches, joints_uvdn, moved, of_vote, overview)  # (B,J,4)
            joints_uvdn = joints_uvdn + output[..., :3]
            moved = output if moved is None else moved + output
        return joints_uvdn, moved[..., 3]


class _FoldedStage(nn.Module):
    def __init__(self, stage):
        super().__init__()
        joints, _, width = stage.embed.weight.shape
        self.joints, self.width, self.hidden = joints, width, stage.to_hidden[0].out_features
        encoder = stage.patch_encoder.encoder
        with torch.no_grad():
            encoder[0].weight[:, 0] *= 2 / DEPTH_RANGE
        self.encoder, self.head = encoder, _Grouped(stage.patch_encoder.head)
        features, end = self.head.outputs, stage.embed.weight.shape[1]
        weight = stage.embed.weight
        looked, centred, shift, logits = (
            weight[:, :features],
            3 * weight[:, end - 7 : end - 4],
            -30 * weight[:, end - 4 : end - 1],
            0.5 * weight[:, end - 1 :],
        )
        self.start = _Joints(torch.cat([looked, centred], 1))
        self.go_on = _Joints(torch.cat([looked, centred, shift, logits], 1))
        self.middle = _linear(
            torch.cat([3 * layer.weight[:, -3:] for layer in stage.to_hidden]), None
        )
        flat = joints * width
        self.to_hidden = nn.ModuleList(
            _linear(layer.weight[:, :flat], None) for layer in stage.to_hidden
        )
        self.to_joints, self.update = (
            stage.to_joints,
            nn.ModuleList(_Joints(t.weight, t.bias) for t in stage.update),
        )
        scale = torch.tensor([0.1, 0.1, 0.1, 1.0])
        self.last = _Joints(stage.head.weight * scale, stage.head.bias * scale)

    def forward(self, patches, joints_uvdn, moved, of_votes, overview):
        """Return (B,J,4): the offset of each joint, uvdn, and the change of its logit.

        patches: (B,J,PATCH_SIZE,PATCH_SIZE); joints_uvdn: (B,J,3); moved: (B,J,4) offsets and
        logits of the stages before, or None; of_votes: (J,B,W); overview: (B,rounds*G) from the
        global features.
        """
        seen = self.encoder(torch.cat([patches, (patches >= DEPTH_RANGE).to(patches.dtype)], 1))
        looked = nn_f.relu(self.head(seen))  # (B,J,E)
        middle = joints_uvdn.mean(1, keepdim=True)  # (B,1,3)
        inputs = [looked, joints_uvdn - middle]
        first = self.start if moved is None else self.go_on
        # (J,B,W)
        joint_features = (
            first(torch.cat(inputs if moved is None else [*inputs, moved], -1)) + of_votes
        )
        parts = _parts(overview + self.middle(middle[:, 0]), len(self.to_hidden))
        for part, to_hidden, to_joints, update in zip(
            parts, self.to_hidden, self.to_joints, self.update
        ):
            flat = nn_f.relu(joint_features).transpose(0, 1).reshape(-1, self.joints * self.width)
            mixed = nn_f.relu(to_hidden(flat) + part)
            message = to_joints(mixed).view(-1, self.joints, self.width).transpose(0, 1)
            joint_features = joint_features + message
            joint_features = joint_features + update.of_joints(nn_f.relu(joint_features))
        return self.last.of_joints(nn_f.relu(joint_features)).transpose(0, 1)


class _Joints(nn.Module):
    """One linear layer per joint: (B,J,inputs) -> (J,B,outputs)."""

    def __init__(self, weight, bias=None):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone().contiguous())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x):
        """Apply to (B,J,inputs)."""
        return self.of_joints(x.transpose(0, 1))

    def of_joints(self, x):
        """Apply to (J,B,inputs); return (J,B,outputs)."""
        x = x @ self.weight
        return x if self.bias is None else x + self.bias


class _Grouped(nn.Module):
    """One linear layer per joint, as a grouped convolution: (B*J,...) -> (B,J,outputs)."""

    def __init__(self, layer):
        super().__init__()
        self.joints, self.inputs, self.outputs = layer.weight.shape
        self.conv = nn.Conv2d(
            self.joints * self.inputs, self.joints * self.outputs, 1, groups=self.joints
        )
        with torch.no_grad():
            self.conv.weight.copy_(layer.weight.transpose(1, 2).reshape(self.conv.weight.shape))
            self.conv.bias.copy_(layer.bias.flatten())

    def forward(self, x):
        """Apply to (B*J,...)."""
        return self.conv(x.reshape(-1, self.joints * self.inputs, 1, 1)).reshape(
            -1, self.joints, self.outputs
        )


class _PatchSampler(nn.Module):
    """Sampler of patches that returns what `awr_ros.networks.refiner.sample_patches` does with half
    the operations: the pixels of both axes and their indices are products with constants.
    """

    def __init__(self, size):
        """size: side of the crops [px]."""
        super().__init__()
        self.size = size
        ones = torch.ones(1, PATCH_SIZE)
        offsets = 1 + PATCH_STEP * (torch.arange(PATCH_SIZE) - (PATCH_SIZE - 1) / 2)
        # From u, v, d to the columns and the rows of a patch: (3,2P) and (2P,)
        per_axis = nn_f.pad(torch.block_diag(ones, ones), (0, 0, 0, 1))
        self.register_buffer('per_axis', per_axis * (size / 2), persistent=False)
        self.register_buffer('offsets', offsets.repeat(2) * (size / 2), persistent=False)
        # From columns and rows to the indices of all pixels: (2P,P*P)
        eye = torch.eye(PATCH_SIZE)
        indices = torch.cat(
            [eye.repeat(1, PATCH_SIZE), size * eye.repeat_interleave(PATCH_SIZE, 1)]
        )
        self.register_buffer('indices', indices, persistent=False)

    def forward(self, depth, joints_uvdn):
        """depth: (B,S*S) uvdn; joints_uvdn: (B,J,3). Return (B*J,1,PATCH,PATCH)."""
        count = int(joints_uvdn.shape[1]) * PATCH_SIZE**2
        pixels = (joints_uvdn @ self.per_axis + self.offsets).clamp(0, self.size - 1).floor()
        samples = depth.gather(1, (pixels @ self.indices).long().reshape(-1, count))
        patches = samples.reshape(-1, 1, PATCH_SIZE, PATCH_SIZE)
        patches = patches - joints_uvdn[..., 2:].reshape(-1, 1, 1, 1)
        return patches.clamp(-DEPTH_RANGE, DEPTH_RANGE)


def _parts(x, count):
    """Split the last axis into equal parts. Unlike `chunk` it adds no operations on shapes to the
    graph.
    """
    size = int(x.shape[-1]) // count
    return [x[..., i * size : (i + 1) * size] for i in range(count)]


def _of_votes(first, pooled_votes):
    """Return the weight (J,4J+1,W) and bias (J,1,W) by which a stage's first layer takes
    unnormalised pooled votes and closeness.
    """
    end = first.weight.shape[1]
    of_claims, of_closeness = (
        first.weight[:, end - 8 - pooled_votes.mean.shape[1] : end - 8],
        first.weight[:, end - 8 : end - 7],
    )
    weight = of_claims / pooled_votes.deviation[..., None]
    bias = first.bias - (pooled_votes.mean[:, None] @ weight) - 8 * 0.8 * of_closeness
    return torch.cat([weight, 8 * of_closeness], 1), bias


def _linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer
