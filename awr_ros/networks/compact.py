"""The compact network: from a depth crop to a dense AWR field and a hand score."""

from dataclasses import dataclass

import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.crop import CropSpec
from awr_ros.networks.base import AwrNetwork, ReadOut
from awr_ros.networks.handedness import HandednessHead
from awr_ros.networks.refiner import Refiner, pool_votes
from awr_ros.offset_field import remove_isolated, vote


@dataclass(frozen=True)
class ModelConfig(CropSpec):
    """Architecture of the compact network, its crops and its read-out."""

    stem: tuple[int, int] = (16, 32)  # channels of the two stride-2 convolutions
    # channels of the stages; stages 2 to 4 halve the size
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 1, 1)  # residual blocks of each stage
    decoder_width: int = 64  # channels of the top-down decoder
    kernel_size: float = 0.8  # radius of closeness, uvdn units
    virtual_crop: bool = True
    refiner: int = 0  # hidden units of the joint refiner (refiner.py), 0: none
    handedness: int = 0  # hidden units of the handedness head (handedness.py), 0: none
    handedness_refined: bool = False  # whether this head is given the refined joints too
    # slope and centre of the logistic from closeness to joint score, the probability that the joint
    # is within 10 mm; empty: the score is the closeness
    calibration: tuple[float, ...] = ()
    # the four weights of detector.detection_score, fitted to these scores (train-handedness
    # --scenes); empty: the defaults for closeness, too strict for calibrated scores
    detection_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # JSON gives lists.
        for name in ('stem', 'widths', 'blocks', 'joint_names', 'calibration', 'detection_weights'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if (
            len(self.widths) != len(self.blocks)
            or not self.widths
            or min(*self.widths, *self.blocks) < 1
        ):
            raise ValueError(
                f'widths and blocks must be positive and of one length, got {self.widths} and '
                f'{self.blocks}'
            )
        self.check(2 ** (len(self.widths) + 1))
        if not self.kernel_size > 0:
            raise ValueError(f'kernel_size must be positive, got {self.kernel_size}')
        for name in ('refiner', 'handedness'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} must be at least 0, got {getattr(self, name)}')
        if len(self.calibration) not in (0, 2):
            raise ValueError(f'calibration must be slope and middle, got {self.calibration}')
        if len(self.detection_weights) not in (0, 4):
            raise ValueError(
                f'detection_weights must be four weights, got {self.detection_weights}'
            )

    @property
    def field_size(self) -> int:
        """Side of the dense field [px]: the stem's two strides."""
        return self.crop_size // 4


COMPACT_S = ModelConfig()
COMPACT_M = ModelConfig(widths=(64, 128, 192, 256), blocks=(2, 2, 2, 2), decoder_width=96)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block to (B,C,H,W)."""
        y = nn_f.relu(self.norm1(self.conv1(x)))
        return nn_f.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class CompactNetwork(AwrNetwork):
    """Small residual encoder with a light top-down decoder.

    forward: depth (B,1,S,S) float uvdn -> field (B,4J,S/4,S/4) and hand logit (B,), the log odds
    that a hand is centred in the crop.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)

        def conv(inputs, outputs, stride=1):
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            )

        self.stem = nn.Sequential(
            conv(1, config.stem[0], 2), conv(config.stem[0], config.stem[1], 2)
        )
        stages, inputs = [], config.stem[1]
        for i, (width, count) in enumerate(zip(config.widths, config.blocks)):
            stages.append(
                nn.Sequential(
                    *(
                        ResidualBlock(inputs if b == 0 else width, width, 2 if i and b == 0 else 1)
                        for b in range(count)
                    )
                )
            )
            inputs = width
        self.stages = nn.ModuleList(stages)
        width = config.decoder_width
        self.laterals = nn.ModuleList(nn.Conv2d(w, width, 1) for w in config.widths)
        self.fuse = nn.ModuleList(conv(width, width) for _ in config.widths[:-1])
        self.field = nn.Conv2d(width, 4 * len(config.joint_names), 1)
        self.hand = nn.Linear(config.widths[-1], 1)
        if config.refiner:
            self.refiner = Refiner(len(config.joint_names), config.widths[-1], config.refiner)
        if config.handedness:
            self.handedness = HandednessHead(
                len(config.joint_names),
                config.widths[-1],
                config.handedness,
                config.handedness_refined,
            )

    def forward(self, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the field and the hand logit of depth (B,1,S,S)."""
        return self.forward_features(depth)[:2]

    def forward_features(
        self, depth: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the output of `forward` and the crop features (B,C), the mean of the coarsest
        level.
        """
        x = self.stem(depth)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        crop_features = x.mean((2, 3))
        hand = self.hand(crop_features).squeeze(1)
        x = self.laterals[-1](x)
        for level, lateral, fuse in zip(levels[-2::-1], self.laterals[-2::-1], reversed(self.fuse)):
            x = fuse(lateral(level) + nn_f.interpolate(x, scale_factor=2, mode='nearest'))
        return self.field(x), hand, crop_features

    def read_out(
        self,
        field: torch.Tensor,
        depth: torch.Tensor,
        hand_logits: torch.Tensor,
        crop_features: torch.Tensor | None = None,
    ) -> ReadOut:
        """Read out the joints of a field, as AwrNetwork.read_out, refined and with calibrated
        scores.
        """
        depth = remove_isolated(depth)
        voted, closeness, weights = vote(field, depth, self.config.kernel_size)
        joints_uvdn, scores = voted, closeness
        if self.refiner:
            pooled = pool_votes(field, weights)
            joints_uvdn, logits = self.refiner(voted, closeness, pooled, crop_features, depth)
            scores = logits.sigmoid()
        elif self.config.calibration:
            slope, middle = self.config.calibration
            scores = torch.sigmoid(slope * (closeness - middle))
        handedness = (
            self.handedness(voted, closeness, hand_logits, crop_features, joints_uvdn, scores)
            if self.handedness
            else torch.full_like(hand_logits, torch.nan)
        )
        return ReadOut(joints_uvdn, scores, hand_logits, handedness, voted, closeness)
