"""Networks and their checkpoints.

All networks have the interface of awr_ros.networks.base.AwrNetwork.

A checkpoint is self-contained: kind of network, configuration, joint names, weights, training step,
metrics and training settings. It is loaded strictly and never unpickles code.
"""

import errno
import math
import warnings
from dataclasses import asdict, fields
from pathlib import Path

import torch

from awr_ros.networks.compact import COMPACT_M, COMPACT_S, CompactNetwork, ModelConfig
from awr_ros.networks.hourglass import HourglassConfig, StackedHourglass
from awr_ros.networks.old_names import OLD_FORMAT, translated
from awr_ros.networks.resnet import ResNet, ResNetConfig
from awr_ros.weight_files import (
    DEFAULT_WEIGHTS,
    check_whole,
    checksum,
    reason_unreadable,
    save_with_checksum,
)

__all__ = (
    'COMPACT_M',
    'COMPACT_S',
    'CompactNetwork',
    'DEFAULT_WEIGHTS',
    'HourglassConfig',
    'ModelConfig',
    'ResNet',
    'ResNetConfig',
    'StackedHourglass',
    'checksum',
    'load_checkpoint',
    'load_tensors',
    'save_checkpoint',
    'save_tensors',
)

FORMAT = 'awr_ros checkpoint 2'
# Classes of the values of a checkpoint's field 'network'.
NETWORKS = {
    'compact': (CompactNetwork, ModelConfig),
    'resnet': (ResNet, ResNetConfig),
    'hourglass': (StackedHourglass, HourglassConfig),
}
KINDS = {make: kind for kind, (make, _) in NETWORKS.items()}
LARGEST = 4096  # largest integer in a configuration: sides [px], channels, blocks


def save_checkpoint(path, network, step, metrics, made_by=None, dtype=torch.float16):
    """Write weights (half precision), their description and a SHA-256 checksum beside them.

    step: number of training samples; metrics: {name: float} of these weights; made_by: {name: str,
    number or list} training settings; dtype: of the weights in the file. The file is replaced
    atomically: after an interruption the old or the new one is complete.
    """
    state = {
        name: t.detach().cpu().to(dtype) if t.is_floating_point() else t.cpu()
        for name, t in network.state_dict().items()
    }
    checkpoint = {
        'format': FORMAT,
        'network': KINDS[type(network)],
        'config': asdict(network.config),
        'step': int(step),
        'metrics': {k: float(v) for k, v in metrics.items()},
        'made_by': made_by or {},
        'state_dict': state,
    }
    save_with_checksum(path, lambda part: save_tensors(checkpoint, part))


def load_checkpoint(path=None):
    """Load a checkpoint. Return the network (float32, eval mode, CPU) and its description, a dict
    without weights.

    path: file; None for the package's weights. Raise FileNotFoundError, or ValueError that names
    the path and the reason when the file is damaged or is not a checkpoint of this package.
    """
    path = DEFAULT_WEIGHTS if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no weights at {path}')
    check_whole(path)
    checkpoint = load_tensors(path, 'weights')
    if isinstance(checkpoint, dict) and checkpoint.get('format') == OLD_FORMAT:
        checkpoint = {**translated(checkpoint), 'format': FORMAT}
    if not isinstance(checkpoint, dict) or checkpoint.get('format') != FORMAT:
        raise ValueError(
            f"weights {path} are no checkpoint of this package (expected format '{FORMAT}')"
        )
    try:
        about = _description(checkpoint)
        make, make_config = NETWORKS[about['network']]
        network = make(_config(make_config, checkpoint['config']))
        network.load_state_dict(
            {
                k: v.float() if v.is_floating_point() else v
                for k, v in checkpoint['state_dict'].items()
            }
        )
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ValueError(
            f'weights {path} do not fit their own description: {_first_line(error)}'
        ) from error
    if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
        raise ValueError(
            f'weights {path} are not finite: the training that wrote them went astray, or they '
            f'are damaged'
        )
    return network.eval(), about


def load_tensors(path, name='file', device='cpu'):
    """Load a file of torch.save with tensors and plain values; code in the file is never run.

    name: kind of file, for the message; device: of the tensors. Raise ValueError that names the
    path and the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of files that are none of ours
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for a file that is no checkpoint
        raise ValueError(
            f'{name} {path} cannot be read: {reason_unreadable(path, error)}'
        ) from error


def save_tensors(state, path):
    """Call torch.save; a full disk is an OSError."""
    try:
        torch.save(state, path)
    except RuntimeError as error:
        raise OSError(
            errno.EIO,
            f'PyTorch cannot write it, as on a full disk: {_first_line(error)}',
            str(path),
        ) from error


def _description(checkpoint):
    """Return the entries of a checkpoint without its weights. Raise ValueError for a missing or
    unusable one.
    """
    about = {
        'network': 'compact',
        'made_by': {},
        **{k: v for k, v in checkpoint.items() if k != 'state_dict'},
    }
    expected = {'network': str, 'config': dict, 'step': int, 'metrics': dict, 'made_by': dict}
    for name, kind in expected.items():
        if type(about.get(name)) is not kind:
            raise ValueError(
                f'{name} must be of type {kind.__name__}, got {about.get(name)!r:.100}'
            )
    if about['network'] not in NETWORKS:
        raise ValueError(
            f'network must be one of {", ".join(NETWORKS)}, got {about["network"]!r:.100}'
        )
    return about


def _config(make, values):
    """Make a network's configuration from stored values. Raise ValueError for wrong types or absurd
    values.
    """
    known = {field.name: field.default for field in fields(make)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f'unknown field {name!r:.100} of the configuration')
        if not _is_like(value, known[name]):
            raise ValueError(f'{name} must be like {known[name]!r:.60}, got {value!r:.60}')
    return make(**values)


def _is_like(value, default):
    """Whether a value has the type of the default and is not larger than in any network."""
    if isinstance(default, tuple):
        return (
            isinstance(value, (tuple, list))
            and len(value) <= 64
            and all(_is_like(item, default[0] if default else 0.0) for item in value)
        )
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is type(default) and not (isinstance(value, int) and value > LARGEST)


def _first_line(error):
    """Shorten an error's message to its first line; torch appends pages."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
