"""Errors of a checkpoint on rendered crops and scenes, always the same ones, with seeds that
training never uses.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from awr_ros.detector import DEFAULT_DETECTION_WEIGHTS, DEFAULT_FINDER_SCORE, detection_score
from awr_ros.estimator import HandPoseEstimator
from awr_ros.evaluation.contact_sheet import crop_sheet
from awr_ros.evaluation.curves import draw_curves, draw_reliability
from awr_ros.evaluation.off_axis import off_axis_errors, print_off_axis
from awr_ros.evaluation.scenes import (
    print_scenes,
    print_sequence,
    print_sequences,
    reliability,
    scene_figures,
    sequence_figures,
)
from awr_ros.networks.base import AwrNetwork
from awr_ros.networks.checkpoint import load_checkpoint
from awr_ros.runtime.readout import readout_module
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import JOINT_NAMES, TIPS
from awr_ros.synthetic.crop_batch import CropBatch
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.seeds import VALIDATION_SEED
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.run import keep_memory, progress_bar

BATCH = 128
DEFAULTS = TrackerConfig()


def evaluate(
    weights: str | Path | None,
    crops: int,
    scenes: int = 0,
    seconds: float = 0.0,
    sheet: str | Path | None = None,
    plots: Path | None = None,
    tracker: TrackerConfig = DEFAULTS,
    sequences: int = 0,
) -> None:
    """Print the tables of a checkpoint.

    weights: path or None for the package's; crops, scenes, sequences: numbers to render; seconds:
    of the synthetic camera; sheet: PNG of the worst crops; plots: folder for the curves of the
    scenes and the reliability of the scores; tracker: TrackerConfig for scenes and camera. All
    hands have the procedural skin.
    """
    keep_memory()
    network, about = _load(weights)
    print(f'{about["step"]} training samples')
    hand_scores = evaluate_crops(network, crops, sheet) if crops else {}
    estimator = HandPoseEstimator(TorchEngine(network))
    if scenes:
        figures = scene_figures(estimator, scenes, config=tracker)
        print_scenes(figures)
        if plots is not None:
            paths = draw_curves(
                plots, 'scenes', {'centre given': np.array(figures.errors)}, JOINT_NAMES
            )
            draw_reliability(plots / 'scores.png', {**hand_scores, **reliability(figures)})
            print('wrote', *paths, plots / 'scores.png')
    if sequences:
        print_sequences(sequence_figures(estimator, sequences, config=tracker))
    if seconds:
        print_sequence(estimator, seconds, tracker)


def evaluate_off_axis(weights: str | Path | None, hands: int) -> None:
    """Print the errors of a checkpoint by the angle off the optical axis. weights: as `evaluate`;
    hands: number.
    """
    network, _ = _load(weights)
    errors = off_axis_errors(
        HandPoseEstimator(TorchEngine(network)), hands, progress=partial(progress_bar, unit='hand')
    )
    print_off_axis(errors)


def _load(weights):
    """Return network and description of a checkpoint; ValueError for other joints than those of
    rendered hands.
    """
    network, about = load_checkpoint(weights)
    if network.config.joint_names != JOINT_NAMES:
        raise ValueError(
            f'rendered hands have the 21 joints of awr_ros.skeleton, but {weights} knows '
            f'{len(network.config.joint_names)} others; its data set is evaluated with --dataset'
        )
    return network, about


@torch.inference_mode()
def evaluate_crops(
    network: AwrNetwork, crops: int, sheet: str | Path | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Print the errors on crops of the difficulty of training, by kind: any sensor, clutter,
    occlusion and view; upright ones off centre as while tracking, the others also as for a new
    candidate. Return {label: (hand scores, is a hand)}.
    """
    hand_scores = {}
    turned = CropConfig(upright=1.0, coarse_share=0.0)
    for kind, config, count in (
        ('turned as when followed', turned, crops),
        ('as at first sight', CropConfig(upright=0.0), crops // 4),
        ('turned, nothing beside the hand', replace(turned, clutter=False), crops // 4),
        ('turned, something in the hand', replace(turned, held=1.0), crops // 4),
        ('turned, a finger lost', replace(turned, lost=1.0), crops // 4),
        ('turned, a part of the palm lost', replace(turned, spots=1.0), crops // 4),
        ('turned, in a glove', replace(turned, gloves=1.0), crops // 4),
        ('turned, stereo by block matching', replace(turned, stereo=1.0), crops // 4),
        ('turned, structured light', replace(turned, sensor='structured light'), crops // 4),
        (
            'turned, time of flight',
            replace(turned, sensor='time of flight', bridges=True),
            crops // 4,
        ),
    ):
        error, lead, sure, is_hand, found, worst = crop_figures(
            network, CropSource(VALIDATION_SEED + 1, config), max(1, count // BATCH)
        )
        print_crops(
            kind,
            error,
            lead,
            sure,
            is_hand,
            found,
            getattr(network.config, 'detection_weights', ()) or DEFAULT_DETECTION_WEIGHTS,
        )
        hand_scores[f'hand score, crops {kind}'] = found.numpy(), is_hand.numpy()
        if sheet:
            crop_sheet(
                sheet,
                _many([entry[1] for entry in worst]),
                torch.stack([entry[2] for entry in worst]),
                [f'{entry[0]:.0f} mm' for entry in worst],
            )
            print(f'wrote the worst {len(worst)} crops to {sheet}')
            sheet = None
    return hand_scores


def crop_figures(network: AwrNetwork, source: CropSource, batches: int) -> tuple:
    """Return errors (n,21) [mm], leads (n,) of the right over the left hypothesis, sure (N,) mean
    joint score, is_hand (N,), hand score (N,) and the worst 48 of N crops, n of them of hands.
    """
    errors, leads, sure, is_hand, found, worst = [], [], [], [], [], []
    predict = readout_module(network)
    for _ in range(batches):
        batch = source.draw(BATCH)
        pred, confidence, hand_score, handedness_logit = predict(batch.depth)
        _, other_confidence, _, other_handedness = predict(batch.depth.flip(-1))
        lead = (
            handedness_logit - other_handedness
            if network.handedness is not None
            else confidence.mean(1) - other_confidence.mean(1)
        )
        error = batch.errors_mm(pred)  # (B,21)
        errors.append(error[batch.hand])
        leads.append(lead[batch.hand])
        sure.append(confidence.mean(1))
        is_hand.append(batch.hand)
        found.append(hand_score)
        worst += [(error[i].mean().item(), batch[i], pred[i]) for i in batch.hand.nonzero()[:, 0]]
        worst = sorted(worst, key=lambda entry: -entry[0])[:48]
    return *(torch.cat(parts) for parts in (errors, leads, sure, is_hand, found)), worst


def print_crops(
    kind: str,
    error: torch.Tensor,
    lead: torch.Tensor,
    sure: torch.Tensor,
    is_hand: torch.Tensor,
    found: torch.Tensor,
    detection_weights: Sequence[float],
) -> None:
    """Print the table of `crop_figures`. detection_weights: of detector.detection_score."""
    print(f'crops, {kind}: {len(is_hand)}, of them {len(error)} with a hand')
    print(f'joint error       mean {error.mean():6.2f} mm   median {error.median():6.2f} mm')
    print(
        f'fingertips        mean {error[:, TIPS].mean():6.2f} mm   median '
        f'{error[:, TIPS].median():6.2f} mm'
    )
    print(
        'max error         '
        + '   '.join(
            f'<= {limit} mm {(error.amax(1) <= limit).float().mean():6.1%}'
            for limit in (10, 20, 30, 40)
        )
    )
    print(f'side right        {(lead > 0).float().mean():6.1%}')
    for threshold in (0.3, 0.6, 0.9):
        print(
            f'hand score >= {threshold} misses {(found < threshold)[is_hand].float().mean():6.1%} '
            f'of hands, '
            f'takes {(found >= threshold)[~is_hand].float().mean():6.1%} of other crops for one'
        )
    start = (
        torch.from_numpy(
            detection_score(detection_weights, DEFAULT_FINDER_SCORE, found.numpy(), sure.numpy())
        )
        >= DEFAULTS.score_threshold
    )
    print(
        f'starts a track    {start[is_hand].float().mean():6.1%} of hands, '
        f'{start[~is_hand].float().mean():6.1%} of other crops'
    )
    print(
        'joint [mm]        '
        + '  '.join(f'{name} {value:.1f}' for name, value in zip(JOINT_NAMES, error.mean(0)))
    )


def _many(crops):
    return CropBatch(
        *(
            torch.stack([getattr(crop, name) for crop in crops])
            for name in CropBatch.__dataclass_fields__
        )
    )
