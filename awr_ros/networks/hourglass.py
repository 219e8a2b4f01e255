"""Stacked hourglass network: the second backbone of the paper, with module names as in the authors'
checkpoints.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.crop import CropSpec
from awr_ros.networks.base import AwrNetwork

DEPTH = 4  # halvings of the resolution in an hourglass


@dataclass(frozen=True)
class HourglassConfig(CropSpec):
    """Architecture, crops and read-out."""

    stacks: int = 1  # hourglasses, one after the other
    width: int = 256  # channels inside them
    cube_mm: float = 300.0
    kernel_size: float = 0.4  # radius of closeness, uvdn units

    def __post_init__(self) -> None:
        object.__setattr__(self, 'joint_names', tuple(self.joint_names))  # JSON gives lists
        if self.stacks < 1 or self.width < 2 or self.width % 2:
            raise ValueError(
                f'stacks must be at least 1 and width positive and even, got {self.stacks} and '
                f'{self.width}'
            )
        self.check(2 ** (DEPTH + 1))
        if not self.kernel_size > 0:
            raise ValueError(f'kernel_size must be positive, got {self.kernel_size}')

    @property
    def field_size(self) -> int:
        """Side of the dense field [px]."""
        return self.crop_size // 2


class Conv(nn.Module):
    """Convolution with bias that keeps the size, optionally with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bn: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, (kernel - 1) // 2)
        self.bn = nn.BatchNorm2d(outputs) if bn else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (B,C,H,W)."""
        x = self.conv(x)
        return x if self.bn is None else nn_f.relu(self.bn(x))


class Residual(nn.Module):
    """Pre-activation bottleneck of half the width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = Conv(inputs, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = Conv(half, half, 3)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv3 = Conv(half, outputs, 1)
        # in the authors' checkpoints even where it is not used
        self.skip_layer = Conv(inputs, outputs, 1)
        self.project = inputs != outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (B,C,H,W)."""
        y = self.conv1(nn_f.relu(self.bn1(x)))
        y = self.conv2(nn_f.relu(self.bn2(y)))
        y = self.conv3(nn_f.relu(self.bn3(y)))
        return y + (self.skip_layer(x) if self.project else x)


class Hourglass(nn.Module):
    """Downsample, a smaller hourglass, upsample, added to a branch at full resolution (Newell et
    al. 2016).
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.up1 = Residual(width, width)
        self.low1 = Residual(width, width)
        self.low2 = Hourglass(depth - 1, width) if depth > 1 else Residual(width, width)
        self.low3 = Residual(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (B,C,H,W)."""
        low = self.low3(self.low2(self.low1(nn_f.max_pool2d(x, 2))))
        return self.up1(x) + nn_f.interpolate(low, scale_factor=2, mode='nearest')


class Merge(nn.Module):
    """A 1x1 convolution back into the features of the next stack."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (B,C,H,W)."""
        return self.conv(x)


class StackedHourglass(AwrNetwork):
    """Stem at half resolution, then hourglasses with one field each; the last field is the output.

    forward: depth (B,1,S,S) float uvdn -> field (B,4J,S/2,S/2) and NaN (B,), as there is no hand
    score.
    """

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__(config)
        width, joints = config.width, len(config.joint_names)

        def stacked(make, count=config.stacks):
            return nn.ModuleList(make() for _ in range(count))

        self.pre = nn.Sequential(
            Conv(1, 64, 5, bn=True),
            Residual(64, 128),
            nn.MaxPool2d(2),
            Residual(128, 256),
            Residual(256, width),
        )
        self.hgs = stacked(lambda: nn.Sequential(Hourglass(DEPTH, width)))
        self.features = stacked(
            lambda: nn.Sequential(Residual(width, width), Conv(width, width, 1, bn=True))
        )
        self.outs_1 = stacked(lambda: nn.Conv2d(width, 3 * joints, 1))  # directions
        self.outs_2 = stacked(lambda: nn.Conv2d(width, joints, 1))  # closeness
        self.merge_features = stacked(lambda: Merge(width, width), config.stacks - 1)
        self.merge_preds = stacked(lambda: Merge(4 * joints, width), config.stacks - 1)

    def fields(self, depth: torch.Tensor) -> list[torch.Tensor]:
        """Return the field after each hourglass, all of them supervised: a list of (B,4J,F,F)."""
        x = self.pre(depth)
        fields = []
        for i, (hourglass, features) in enumerate(zip(self.hgs, self.features)):
            y = features(hourglass(x))
            fields.append(torch.cat([self.outs_1[i](y), self.outs_2[i](y)], dim=1))
            if i < len(self.merge_preds):
                x = x + self.merge_preds[i](fields[-1]) + self.merge_features[i](y)
        return fields

    def forward(self, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last field and NaN for the hand logit."""
        field = self.fields(depth)[-1]
        return field, field.new_full((field.shape[0],), math.nan)
