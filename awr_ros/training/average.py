"""Average of the weights of several training runs, one after the other: better than each of them.

Stochastic weight averaging (Izmailov et al., UAI 2018): each run ends its learning rate's cosine at
another point around one minimum, the average lies nearer to its middle.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from awr_ros.networks.checkpoint import CompactNetwork, save_checkpoint
from awr_ros.networks.palm_detector import measure_normalisation, read_finder, write_finder
from awr_ros.synthetic.crop_config import TRAINING
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.seeds import AVERAGE_SEED
from awr_ros.training.crop_stream import load_skins
from awr_ros.training.palm_detector import NORMALISED
from awr_ros.training.palm_detector_scenes import augmented, render_finder_scenes
from awr_ros.training.train import load_compact

BATCH = 128


def average_weights(
    paths: Sequence[str | Path],
    output: str | Path,
    shares: Sequence[float] = (),
    *,
    crops: int = 4096,
    skin: str = '',
    progress: Callable = iter,
) -> None:
    """Write the average of pose networks, with the normalisation of rendered crops.

    paths: checkpoints of runs that began from each other, at least two; output: checkpoint to
    write, with the description of the last one; shares: of each of them, in any unit (default:
    equal); crops: rendered ones from which the means and variances of the normalisation are taken;
    skin: GLB file of a skinned hand for half of them; progress: wraps the range of
    batches. Raise ValueError for networks of different settings or with a refiner or a handedness
    head, which belong to one network, and for shares that are not positive.
    """
    shares = _checked_shares(paths, shares)
    loaded = [load_compact(path, 'average') for path in paths]
    network, about = loaded[-1]
    for path, (other, _) in zip(paths, loaded):
        if other.refiner is not None or other.handedness is not None:
            raise ValueError(f'{path} has a refiner or a handedness head: average before these')
        if other.config != network.config:
            raise ValueError(f'{path} and {paths[-1]} are networks of different settings')
    network.load_state_dict(_mean([other for other, _ in loaded], shares))
    _normalise(network, crops, skin, progress)
    save_checkpoint(Path(output), network, about['step'], {})


def average_finders(
    paths: Sequence[str | Path],
    output: str | Path,
    shares: Sequence[float] = (),
    *,
    scenes: int = 640,
    progress: Callable = iter,
) -> None:
    """Write the average of palm detectors, with the normalisation of rendered scenes.

    paths: ONNX files of runs that began from each other, at least two; output: ONNX file to write;
    shares: of each of them, in any unit (default: equal); scenes: rendered ones from which, with
    the augmentation of training, the means and variances of the normalisation are taken; progress:
    wraps the range of scenes. Raise FileNotFoundError, and ValueError for other files and for
    shares that are not positive. Needs the package onnx.
    """
    shares = _checked_shares(paths, shares)
    networks = [read_finder(path) for path in paths]
    rendered = render_finder_scenes(scenes, AVERAGE_SEED, progress)

    def frames():
        return augmented(rendered, NORMALISED, AVERAGE_SEED)

    for network in networks:  # the files have no normalisation that could be taken anew
        measure_normalisation(network, frames())
    network = networks[-1]
    network.load_state_dict(_mean(networks, shares))
    update_bn(frames(), network)
    write_finder(network, output)


def _checked_shares(paths: Sequence[str | Path], shares: Sequence[float]) -> list[float]:
    shares = list(shares) or [1.0] * len(paths)
    if len(paths) < 2 or len(shares) != len(paths):
        raise ValueError(
            f'two or more weights and a share of each are needed, got {len(paths)} and '
            f'{len(shares)} shares'
        )
    if not min(shares) > 0:
        raise ValueError(f'shares must be above 0, got {min(shares)}')
    return shares


def _mean(networks: Sequence[nn.Module], shares: Sequence[float]) -> dict[str, torch.Tensor]:
    """Return the mean of their weights, and all else of the last one."""
    states = [network.state_dict() for network in networks]
    return {
        name: sum(share / sum(shares) * state[name] for share, state in zip(shares, states))
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }


def _normalise(network: CompactNetwork, crops: int, skin: str, progress: Callable) -> None:
    """Take the means and variances of the layers' inputs from rendered crops."""
    source = CropSource(AVERAGE_SEED, TRAINING, skins=load_skins(skin))
    update_bn((source.draw(BATCH).depth for _ in progress(range(-(-crops // BATCH)))), network)
    network.eval()
