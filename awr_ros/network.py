"""The networks and their checkpoints.

All networks have one interface: `config`; forward, depth (B,1,S,S) float uvdn -> field (B,4J,F,F) and a logit (B,) that a
hand is centred in the crop, NaN from networks that do not say so; and `fields`, all fields to supervise.

A checkpoint describes itself: kind of network, configuration, joint names, weights, training step, metrics and recipe, so
that nothing about it has to be known from elsewhere. It is loaded strictly and never unpickles code.
"""
from dataclasses import asdict
from pathlib import Path

import torch

from awr_ros.compact import COMPACT_M, COMPACT_S, CompactNetwork, ModelConfig
from awr_ros.default_weights import DEFAULT_WEIGHTS, check_whole, checksum
from awr_ros.hourglass import HourglassConfig, StackedHourglass
from awr_ros.resnet import ResNet, ResNetConfig

__all__ = ('COMPACT_M', 'COMPACT_S', 'CompactNetwork', 'DEFAULT_WEIGHTS', 'HourglassConfig', 'ModelConfig', 'ResNet', 'ResNetConfig',
           'StackedHourglass', 'checksum', 'load_checkpoint', 'save_checkpoint')

FORMAT = 'awr_ros checkpoint 1'
# What a checkpoint's field 'network' stands for.
NETWORKS = {'compact': (CompactNetwork, ModelConfig), 'resnet': (ResNet, ResNetConfig),
            'hourglass': (StackedHourglass, HourglassConfig)}
KINDS = {make: kind for kind, (make, _) in NETWORKS.items()}


def save_checkpoint(path, network, step, metrics, recipe=None, dtype=torch.float16):
    """Write weights (half precision), their description and, beside them, a SHA-256 checksum.

    step: training samples seen; metrics: {name: float}, measured on these very weights; recipe: {name: str, number or list}
    of how they were made; dtype: of the weights in the file.
    """
    state = {name: t.detach().cpu().to(dtype) if t.is_floating_point() else t.cpu() for name, t in network.state_dict().items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'format': FORMAT, 'network': KINDS[type(network)], 'config': asdict(network.config), 'step': int(step),
                'metrics': {k: float(v) for k, v in metrics.items()}, 'recipe': recipe or {}, 'state_dict': state}, path)
    path.with_suffix('.sha256').write_text(f'{checksum(path)}  {path.name}\n')


def load_checkpoint(path=None):
    """Read a checkpoint. Returns the network (float32, eval mode, CPU) and its description (a dict without weights).

    path: file; None for the weights that come with the package. Raises FileNotFoundError, or ValueError that names the
    path and the reason when the file is damaged or is no checkpoint of this package.
    """
    path = DEFAULT_WEIGHTS if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no weights at {path}')
    check_whole(path)
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:                          # torch raises many types for a file that is no checkpoint
        raise ValueError(f'weights {path} cannot be read: {_first_line(error)}') from error
    if not isinstance(checkpoint, dict) or checkpoint.get('format') != FORMAT:
        raise ValueError(f"weights {path} are no checkpoint of this package (expected format '{FORMAT}')")
    try:
        checkpoint['step'], checkpoint['metrics']
        make, make_config = NETWORKS[checkpoint.get('network', 'compact')]
        network = make(make_config(**checkpoint['config']))
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in checkpoint['state_dict'].items()})
    except (AttributeError, IndexError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f'weights {path} do not fit their own description: {_first_line(error)}') from error
    return network.eval(), {k: v for k, v in checkpoint.items() if k != 'state_dict'}


def _first_line(error):
    """An error's message without the pages that torch appends."""
    return next(iter(str(error).splitlines()), type(error).__name__)
