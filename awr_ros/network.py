"""The network: a depth crop in, a dense AWR field out, and whether the crop holds a hand at all; and its checkpoints.

A checkpoint describes itself: configuration, joint names, weights, training step and metrics, so that nothing about it has
to be known from elsewhere. It is loaded strictly and never unpickles code.
"""
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.skeleton import JOINT_NAMES

DEFAULT_WEIGHTS = Path(__file__).parent / 'weights' / 'compact_s.pt'
FORMAT = 'awr_ros checkpoint 1'


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the network and to use its output."""
    stem: tuple[int, int] = (16, 32)                    # channels of the two stride-2 convolutions
    widths: tuple[int, ...] = (32, 64, 128, 256)        # channels of the encoder's stages, each but the first halves
    blocks: tuple[int, ...] = (1, 1, 1, 1)              # residual blocks of each stage
    decoder_width: int = 64                             # channels of the top-down decoder
    joint_names: tuple[str, ...] = JOINT_NAMES
    crop_size: int = 128                                # side of the input [px]
    cube_mm: float = 280.0                              # side of the cropped cube [mm]
    kernel_size: float = 0.8                            # radius of closeness, uvdn units

    def __post_init__(self):
        for name in ('stem', 'widths', 'blocks', 'joint_names'):       # JSON-like sources give lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.widths) != len(self.blocks) or not self.widths or min(*self.widths, *self.blocks) < 1:
            raise ValueError(f'widths and blocks must be positive and of one length, got {self.widths} and {self.blocks}')
        step = 2 ** (len(self.widths) + 1)
        if self.crop_size <= 0 or self.crop_size % step:
            raise ValueError(f'crop_size must be a positive multiple of {step}, got {self.crop_size}')
        if not self.cube_mm > 0 or not self.kernel_size > 0:
            raise ValueError(f'cube_mm and kernel_size must be positive, got {self.cube_mm} and {self.kernel_size}')

    @property
    def field_size(self):
        """Side of the dense field [px]: the stem's two strides."""
        return self.crop_size // 4


COMPACT_S = ModelConfig()
COMPACT_M = ModelConfig(widths=(64, 128, 192, 256), blocks=(2, 2, 2, 2), decoder_width=96)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = (nn.Identity() if stride == 1 and inputs == outputs else
                         nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)))

    def forward(self, x):
        y = nn_f.relu(self.norm1(self.conv1(x)))
        return nn_f.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class CompactNetwork(nn.Module):
    """Small residual encoder with a light top-down decoder.

    forward: depth (B,1,S,S) float uvdn -> field (B,4J,S/4,S/4) and the logit (B,) that a hand is centred in the crop.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config

        def conv(inputs, outputs, stride=1):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        self.stem = nn.Sequential(conv(1, config.stem[0], 2), conv(config.stem[0], config.stem[1], 2))
        stages, inputs = [], config.stem[1]
        for i, (width, count) in enumerate(zip(config.widths, config.blocks)):
            stages.append(nn.Sequential(*(ResidualBlock(inputs if b == 0 else width, width, 2 if i and b == 0 else 1)
                                          for b in range(count))))
            inputs = width
        self.stages = nn.ModuleList(stages)
        width = config.decoder_width
        self.laterals = nn.ModuleList(nn.Conv2d(w, width, 1) for w in config.widths)
        self.fuse = nn.ModuleList(conv(width, width) for _ in config.widths[:-1])
        self.field = nn.Conv2d(width, 4 * len(config.joint_names), 1)
        self.hand = nn.Linear(config.widths[-1], 1)

    def forward(self, depth):
        x = self.stem(depth)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        hand = self.hand(x.mean((2, 3))).squeeze(1)
        x = self.laterals[-1](x)
        for level, lateral, fuse in zip(levels[-2::-1], self.laterals[-2::-1], reversed(self.fuse)):
            x = fuse(lateral(level) + nn_f.interpolate(x, scale_factor=2, mode='nearest'))
        return self.field(x), hand


def save_checkpoint(path, network, step, metrics):
    """Write weights (half precision), their description and, beside them, a SHA-256 checksum.

    step: training samples seen; metrics: {name: float}, measured on these very weights.
    """
    state = {name: t.detach().cpu().half() if t.is_floating_point() else t.cpu() for name, t in network.state_dict().items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'format': FORMAT, 'network': 'compact', 'config': asdict(network.config), 'step': int(step),
                'metrics': {k: float(v) for k, v in metrics.items()}, 'state_dict': state}, path)
    path.with_suffix('.sha256').write_text(f'{checksum(path)}  {path.name}\n')


def load_checkpoint(path=None):
    """Read a checkpoint. Returns the network (float32, eval mode, CPU) and its description (a dict without weights).

    path: file; None for the weights that come with the package. Raises FileNotFoundError, or ValueError that names the
    path and the reason when the file is damaged or is no checkpoint of this package.
    """
    path = DEFAULT_WEIGHTS if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no weights at {path}')
    beside = path.with_suffix('.sha256')
    if beside.is_file() and beside.read_text().split()[:1] != [checksum(path)]:
        raise ValueError(f'weights {path} are damaged: their SHA-256 is not the one in {beside.name}')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:                          # torch raises many types for a file that is no checkpoint
        raise ValueError(f'weights {path} cannot be read: {_first_line(error)}') from error
    if not isinstance(checkpoint, dict) or checkpoint.get('format') != FORMAT:
        raise ValueError(f"weights {path} are no checkpoint of this package (expected format '{FORMAT}')")
    try:
        checkpoint['step'], checkpoint['metrics']
        network = CompactNetwork(ModelConfig(**checkpoint['config']))
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in checkpoint['state_dict'].items()})
    except (AttributeError, IndexError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f'weights {path} do not fit their own description: {_first_line(error)}') from error
    return network.eval(), {k: v for k, v in checkpoint.items() if k != 'state_dict'}


def _first_line(error):
    """An error's message without the pages that torch appends."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def checksum(path):
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
