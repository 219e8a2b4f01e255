"""Evaluation of a network on the test frames of a public data set, in full-image coordinates, with
the papers' metrics.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from awr_ros.datasets.frames import Frames
from awr_ros.datasets.loaders import load_frames
from awr_ros.datasets.metrics import joint_errors, print_report, report
from awr_ros.datasets.samples import CropSamples
from awr_ros.datasets.text_files import write_predictions
from awr_ros.evaluation.curves import draw_curves
from awr_ros.networks.checkpoint import load_checkpoint
from awr_ros.offset_field import decode

BATCH = 32


@torch.inference_mode()
def predict(network: Any, frames: Frames, device: str | torch.device = 'cpu') -> np.ndarray:
    """Return the joints of all frames (N,J,3) float64 [px, px, mm] full image. network: in eval
    mode, on device.
    """
    samples = CropSamples(frames, network.config)
    joints = []
    for first in range(0, len(frames), BATCH):
        crops = [samples.crop(i) for i in range(first, min(first + BATCH, len(frames)))]
        # (B,1,S,S)
        depth = torch.from_numpy(np.stack([crop.depth for crop in crops]))[:, None].to(device)
        uvdn, _ = decode(network(depth)[0].float(), depth, network.config.kernel_size)
        joints += [crop.uvd_from_uvdn(one) for crop, one in zip(crops, uvdn.cpu().numpy())]
    return np.stack(joints)


def evaluate_weights(
    weights: str | Path,
    name: str,
    root: str | Path,
    plots: str | Path = '.',
    output: str | Path | None = None,
    subject: int = 0,
    oracle_cube: bool = False,
) -> None:
    """Print the report of a checkpoint on a data set's test frames and draw its plots.

    output: text file for the predictions in the standard format; the truth is written beside it.
    Other arguments as `load_frames` and `metrics.compare`.
    """
    network, _ = load_checkpoint(weights)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    frames = load_frames(name, root, 'test', subject, oracle_cube)
    joints_uvd, truth_uvd = predict(network.to(device), frames, device), frames.joints_uvd()
    conventions = frames.conventions
    errors = joint_errors(joints_uvd, truth_uvd, conventions.intrinsics)
    label = Path(weights).stem
    print_report(
        label,
        report(errors, () if name == 'msra' else conventions.test_subjects),
        len(errors),
        conventions.joint_names,
    )
    if output:
        truth = Path(output).with_suffix('.truth.txt')
        write_predictions(output, joints_uvd)
        write_predictions(truth, truth_uvd)
        print(f'wrote {output} and {truth}')
    for path in draw_curves(plots, name, {label: errors}, conventions.joint_names):
        print(f'wrote {path}')
