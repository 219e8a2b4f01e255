"""Import of the authors' checkpoints: {'model', 'optimizer', 'best_records'}, or a bare state_dict
with the same names.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from awr_ros.datasets.specs import dataset_spec
from awr_ros.networks.checkpoint import (
    HourglassConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
    save_checkpoint,
)
from awr_ros.weight_files import reason_unreadable

DECONVOLUTIONS = {2: 4, 3: 2, 4: 1}  # transposed convolutions: downsample
# From their configuration for the hourglass. For ResNets the configuration has 1, the paper 0.8:
# hence an option.
KERNEL_SIZE = {'hourglass': 0.4, 'resnet': 1.0}


def import_authors_checkpoint(
    path: str | Path,
    name: str,
    output: str | Path,
    kernel_size: float | None = None,
    subject: int = 0,
    authors_crop: bool = True,
) -> ResNetConfig | HourglassConfig:
    """Convert an official checkpoint to one of this package, which the estimator and the node load.

    path: the authors' file; name: of the data set that it was trained on; output: file to write;
    kernel_size: radius of closeness, None: as in the authors' configuration; subject: of MSRA, the
    one left out, whose cube is used for crops; authors_crop: the network was trained on crops of
    the authors' code. Every key must be there with its shape, and no other. Return the network's
    configuration. Raise FileNotFoundError, or ValueError that names the file and what does not fit.
    """
    state, records = read_authors_checkpoint(path)
    conventions = dataset_spec(name)
    count = len(conventions.joint_names)
    if (
        not 0
        <= subject
        < max(1, len(conventions.test_subjects) if len(conventions.cube_mm) > 1 else 1)
    ):
        raise ValueError(
            f'subject must be one of the {len(conventions.cube_mm)} with a cube of their own, got '
            f'{subject}'
        )
    common: dict[str, Any] = dict(
        joint_names=conventions.joint_names,
        cube_mm=conventions.cube_mm[subject],
        side=conventions.side,
        authors_crop=authors_crop,
    )
    stacks, deconvolutions = (
        _count(r'outs_1\.(\d+)\.weight', state),
        _count(r'deconv_layers\.(\d+)\.weight', state, 4),
    )
    network: ResNet | StackedHourglass
    if stacks:
        network = StackedHourglass(
            HourglassConfig(
                stacks=stacks, kernel_size=kernel_size or KERNEL_SIZE['hourglass'], **common
            )
        )
        joints = state['outs_2.0.weight'].shape[0]
    elif deconvolutions in DECONVOLUTIONS and 'final2.weight' in state:
        network = ResNet(
            ResNetConfig(
                layers=50 if 'layer1.0.conv3.weight' in state else 18,
                downsample=DECONVOLUTIONS[deconvolutions],
                kernel_size=kernel_size or KERNEL_SIZE['resnet'],
                **common,
            )
        )
        joints = state['final2.weight'].shape[0]
    else:
        raise ValueError(
            f'{path} is neither a ResNet nor an hourglass of the authors: it has neither '
            f'outs_1.0.weight nor '
            f'final2.weight with 2 to 4 deconv_layers, among {len(state)} keys'
        )
    if joints != count:
        raise ValueError(f'{path} predicts {joints} joints, but {name} has {count}')
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f'{path} does not fit the network of its keys: {" ".join(str(error).split())[:500]}'
        ) from error
    made_by = {'imported_from': f'imported from {Path(path).name}', 'dataset': name}
    metrics = {
        f'authors_{key}': float(value) for key, value in records.items() if _is_number(value)
    }
    save_checkpoint(output, network, 0, metrics, made_by, torch.float32)
    return network.config


def read_authors_checkpoint(path: str | Path) -> tuple[dict[str, torch.Tensor], Any]:
    """Return the weights and the authors' best records of a file. Code in it is never run."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of files that are none of theirs
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as first:  # torch raises many types for a file that is no checkpoint
        content = _read_with_numpy(path, first)
    state = content.get('model', content) if isinstance(content, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise ValueError(
            f"{path} is no checkpoint of the authors: expected a dict with 'model', a state_dict"
        )
    records = content.get('best_records')
    # Some were saved from DataParallel.
    return {
        key.removeprefix('module.'): value for key, value in state.items()
    }, records if isinstance(records, dict) else {}


def _read_with_numpy(path, first):
    """Load again with NumPy's scalars allowed: best_records contain errors as such."""
    import numpy as np

    try:
        from numpy._core.multiarray import scalar
    except ImportError:  # NumPy 1
        from numpy.core.multiarray import scalar
    allowed = [
        (scalar, 'numpy.core.multiarray.scalar'),
        scalar,
        np.dtype,
        type(np.dtype('f4')),
        type(np.dtype('f8')),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception:
        raise ValueError(f'{path} cannot be read: {reason_unreadable(path, first)}') from first


def _is_number(value):
    return isinstance(value, (int, float)) or getattr(value, 'ndim', None) == 0


def _count(pattern, state, dimensions=0):
    """Count the keys that match. dimensions: of the tensors that count, 0: any."""
    return sum(
        re.fullmatch(pattern, key) is not None and dimensions in (0, value.ndim)
        for key, value in state.items()
    )
