"""ResNet with transposed convolutions: the paper's backbone, with module names as in the authors'
checkpoints.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.crop import CropSpec
from awr_ros.networks.base import AwrNetwork

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}  # of each stage (He et al. 2016)
DECODER_WIDTH = 256


@dataclass(frozen=True)
class ResNetConfig(CropSpec):
    """Architecture, crops and read-out."""

    layers: int = 18  # 18 or 50
    downsample: int = 2  # 1, 2 or 4: crop side over field side
    cube_mm: float = 300.0
    kernel_size: float = 0.8  # radius of closeness, uvdn units

    def __post_init__(self) -> None:
        object.__setattr__(self, 'joint_names', tuple(self.joint_names))  # JSON gives lists
        if self.layers not in BLOCKS:
            raise ValueError(f'layers must be one of {tuple(BLOCKS)}, got {self.layers}')
        if self.downsample not in (1, 2, 4):
            raise ValueError(f'downsample must be 1, 2 or 4, got {self.downsample}')
        self.check(16)
        if not self.kernel_size > 0:
            raise ValueError(f'kernel_size must be positive, got {self.kernel_size}')

    @property
    def field_size(self) -> int:
        """Side of the dense field [px]."""
        return self.crop_size // self.downsample


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (B,C,H,W)."""
        y = nn_f.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return nn_f.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut; the stride is the 3x3's."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (B,C,H,W)."""
        y = nn_f.relu(self.bn1(self.conv1(x)))
        y = nn_f.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return nn_f.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(AwrNetwork):
    """ResNet encoder (1/16) and transposed convolutions up to the field (1/downsample).

    forward: depth (B,1,S,S) float uvdn -> field (B,4J,F,F) and NaN (B,), as there is no hand score.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        block = BasicBlock if config.layers == 18 else Bottleneck
        self.pre = nn.Sequential(
            nn.Conv2d(1, 64, 5, 1, 2, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        inputs = 64
        for i, (width, count) in enumerate(zip((64, 128, 256, 512), BLOCKS[config.layers])):
            stride, outputs = 2 if i else 1, block.expansion * width
            shortcut = (
                None
                if stride == 1 and inputs == outputs
                else nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            )
            rest = [block(outputs, width, 1, None) for _ in range(count - 1)]
            self.add_module(
                f'layer{i + 1}', nn.Sequential(block(inputs, width, stride, shortcut), *rest)
            )
            inputs = outputs
        deconv = []
        for _ in range(4 - int(math.log2(config.downsample))):
            deconv += [
                nn.ConvTranspose2d(inputs, DECODER_WIDTH, 4, 2, 1, bias=False),
                nn.BatchNorm2d(DECODER_WIDTH),
                nn.ReLU(),
            ]
            inputs = DECODER_WIDTH
        self.deconv_layers = nn.Sequential(*deconv)
        self.final1 = nn.Conv2d(DECODER_WIDTH, 3 * len(config.joint_names), 1)  # directions
        self.final2 = nn.Conv2d(DECODER_WIDTH, len(config.joint_names), 1)  # closeness
        self._initialise()

    def _initialise(self):
        """Initialise as the authors do: He normal (fan-out), final layers near zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
        for final in (self.final1, self.final2):
            nn.init.normal_(final.weight, std=0.001)
            nn.init.zeros_(final.bias)

    def fields(self, depth: torch.Tensor) -> list[torch.Tensor]:
        """Return the fields to supervise, here one: [(B,4J,F,F)]."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.pre(depth)))))
        x = self.deconv_layers(x)
        return [torch.cat([self.final1(x), self.final2(x)], dim=1)]

    def forward(self, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last field and NaN for the hand logit."""
        field = self.fields(depth)[-1]
        return field, field.new_full((field.shape[0],), math.nan)
