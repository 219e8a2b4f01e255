"""The interface of all networks, and what is read out of their fields."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from awr_ros.offset_field import decode


@dataclass(frozen=True)
class ReadOut:
    """Outputs for B crops: tensors, in single precision."""

    joints_uvdn: torch.Tensor  # (B,J,3)
    # (B,J) [0,1] probability that a joint is within 10 mm; without refiner and calibration the
    # closeness
    joint_scores: torch.Tensor
    hand_logits: torch.Tensor  # (B,) log odds that a hand is centred in the crop; NaN unknown
    # (B,) likeness to a hand of the network's side (networks.handedness); NaN without the head
    handedness_logits: torch.Tensor
    voted_uvdn: torch.Tensor  # (B,J,3) joints of the votes, before refinement
    closeness: torch.Tensor  # (B,J) [0,1] highest closeness of any foreground pixel


class AwrNetwork(nn.Module):
    """A network from depth crops to AWR fields.

    forward: depth (B,1,S,S) float uvdn -> field (B,4J,F,F) and hand logits (B,), NaN from networks
    without a hand score.
    """

    config: Any  # with the fields of awr_ros.runtime.readout.EngineConfig
    refiner: Any  # networks.refiner.Refiner, None without
    handedness: Any  # networks.handedness.HandednessHead, None without

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.refiner = self.handedness = None  # used by the read-out, not by forward

    def fields(self, depth: torch.Tensor) -> list[torch.Tensor]:
        """Return the fields to supervise, here one: [(B,4J,F,F)]."""
        return [self(depth)[0]]

    def forward_features(self, depth: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the output of `forward`, and of networks that have them crop features (B,C)."""
        return self(depth)

    def read_out(
        self,
        field: torch.Tensor,
        depth: torch.Tensor,
        hand_logits: torch.Tensor,
        crop_features: torch.Tensor | None = None,
    ) -> ReadOut:
        """Read out the joints of a field. field, hand_logits, crop_features: of `forward_features`,
        float32; depth: (B,1,S,S).
        """
        joints_uvdn, closeness = decode(field, depth, self.config.kernel_size)
        unknown = torch.full_like(hand_logits, torch.nan)
        return ReadOut(joints_uvdn, closeness, hand_logits, unknown, joints_uvdn, closeness)
