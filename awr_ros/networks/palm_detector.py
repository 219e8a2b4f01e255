"""Network of the palm detector, and its export to the file that the tracker loads."""

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.finders.palm_detector import CELL, COLUMNS, OUTPUTS, ROWS
from awr_ros.networks.compact import ResidualBlock
from awr_ros.weight_files import (
    check_onnx,
    check_whole,
    reason_unreadable,
    save_with_checksum,
    sealed_onnx,
)


@dataclass(frozen=True)
class FinderConfig:
    """Architecture of the palm detector."""

    stem: tuple[int, int] = (12, 24)  # channels of the two stride-2 convolutions
    widths: tuple[int, ...] = (24, 64, 96, 128)
    decoder_width: int = 32


class FinderNetwork(nn.Module):
    """Residual encoder with a light top-down decoder.

    forward: (B,3,128,160) of `coarse_frame` -> (B,4,32,40), see finders/palm_detector.py.
    """

    def __init__(self, config: FinderConfig = FinderConfig()) -> None:
        super().__init__()

        def conv(inputs, outputs, stride=1):
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            )

        self.stem = nn.Sequential(
            conv(3, config.stem[0], 2), conv(config.stem[0], config.stem[1], 2)
        )
        inputs = (config.stem[1], *config.widths)
        self.stages = nn.ModuleList(
            ResidualBlock(inputs[i], width, 2 if i else 1) for i, width in enumerate(config.widths)
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, config.decoder_width, 1) for width in config.widths
        )
        self.fuse = nn.ModuleList(
            conv(config.decoder_width, config.decoder_width) for _ in config.widths[:-1]
        )
        self.output = nn.Conv2d(config.decoder_width, OUTPUTS, 1)
        # Palms are rare: a low initial score keeps the first losses small.
        nn.init.constant_(self.output.bias.data[0:1], -4.0)  # type: ignore[union-attr]

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        for name in ('weight', 'bias'):  # of training states before the layer was renamed
            if f'{prefix}said.{name}' in state_dict:
                state_dict[f'{prefix}output.{name}'] = state_dict.pop(f'{prefix}said.{name}')
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Predict palms from a batch of coarse frames."""
        x = self.stem(frame)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        x = self.laterals[-1](x)
        for level, lateral, fuse in zip(levels[-2::-1], self.laterals[-2::-1], reversed(self.fuse)):
            x = fuse(lateral(level) + nn_f.interpolate(x, scale_factor=2, mode='nearest'))
        # The palm's depth is predicted relative to the mean measured depth of the cell.
        measured = nn_f.avg_pool2d(frame[:, :1], CELL) / (
            nn_f.avg_pool2d(frame[:, 1:2], CELL) + 1e-3
        )
        output = self.output(x)
        return torch.cat([output[:, :3], output[:, 3:] + measured], 1)


def write_finder(network: nn.Module, path: str | Path) -> None:
    """Write the sealed ONNX file that `PalmDetector` loads, and its SHA-256. Needs the package
    onnx.
    """
    model = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, ROWS, COLUMNS),),
            model,  # type: ignore[arg-type]  # a file object
            input_names=['frame'],
            output_names=['palms'],
            opset_version=13,
            dynamo=False,
        )
    save_with_checksum(path, lambda part: part.write_bytes(sealed_onnx(model.getvalue())))


def read_finder(path: str | Path) -> FinderNetwork:
    """Read the network of a file that `write_finder` wrote, to train it further. Needs the package
    onnx.

    In the file the normalisation is part of the convolutions: here its means are 0 and its
    variances 1, see `measure_normalisation`. Raise FileNotFoundError, and ValueError that names the
    path for other files.
    """
    path = Path(path)
    check_whole(path)
    model = path.read_bytes()
    check_onnx(model, path, vouched=path.with_suffix('.sha256').is_file())
    network = FinderNetwork().eval()
    modules = _in_order_of_use(network)
    wanted = [i for i, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    for i, (weight, bias) in zip(wanted, _convolutions(model, path, len(wanted))):
        if weight.shape != modules[i].weight.shape:
            raise ValueError(
                f'{path} is no palm detector of this package: a convolution has weights of '
                f'{list(weight.shape)}, expected {list(modules[i].weight.shape)}'
            )
        modules[i].weight.data.copy_(weight)
        if modules[i].bias is not None:
            modules[i].bias.data.copy_(bias)
        else:
            norm = modules[i + 1]
            norm.bias.data.copy_(bias)
            norm.running_var.fill_(1 - norm.eps)
    return network


def _convolutions(model: bytes, path: Path, count: int) -> list[list[torch.Tensor]]:
    """Return [weights, bias] of the convolutions of an ONNX model, in the order of their use.
    Raise ValueError where there are not `count` of them.
    """
    from google.protobuf.message import DecodeError
    from onnx import load_model_from_string, numpy_helper

    try:
        graph = load_model_from_string(model).graph
    except DecodeError as error:
        raise ValueError(f'{path} is no ONNX file: {reason_unreadable(path, error)}') from error
    values = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Identity' and node.input[0] in values:  # of equal biases one is stored
            values[node.output[0]] = values[node.input[0]]
    found = [
        [values[name] for name in node.input[1:]]
        for node in graph.node
        if node.op_type == 'Conv' and len(node.input) == 3 and values.keys() >= {*node.input[1:]}
    ]
    if len(found) != count:
        raise ValueError(
            f'{path} is no palm detector of this package: it has {len(found)} convolutions, '
            f'expected {count}'
        )
    return found


def _in_order_of_use(network: nn.Module) -> list[Any]:
    """Return the convolutions and normalisations in the order in which `forward` uses them."""
    used: list[Any] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: used.append(module))
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    ]
    with torch.no_grad():
        network(torch.zeros(1, 3, ROWS, COLUMNS))
    for hook in hooks:
        hook.remove()
    return used


@torch.no_grad()
def measure_normalisation(network: nn.Module, frames: Iterable[torch.Tensor]) -> None:
    """Set means and variances of the normalisation to those of its inputs, and its weights and
    biases so that the network predicts the same as before. frames: batches (B,3,128,160).
    """
    sums: dict[Any, list[torch.Tensor]] = {}

    def add(norm, inputs):
        x = inputs[0].double()
        part = torch.stack([x.sum((0, 2, 3)), (x**2).sum((0, 2, 3))])
        total, count = sums.get(norm, (0, 0))
        sums[norm] = [total + part, count + x[:, 0].numel()]

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    network.eval()
    device = next(network.parameters()).device
    for batch in frames:
        network(batch.to(device))
    for hook in hooks:
        hook.remove()
    for norm, (total, count) in sums.items():
        mean, square = total / count
        variance = (square - mean**2).clamp_min(1e-8)
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        norm.bias.copy_(norm.bias + scale * (mean - norm.running_mean))
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
