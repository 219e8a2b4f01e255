"""Train the handedness head, calibrate joint scores and fit the detection score of a trained
network.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as nn_f

from awr_ros.estimator import HandPoseEstimator
from awr_ros.evaluation.scenes import RIGHT_MM
from awr_ros.networks.checkpoint import CompactNetwork, load_checkpoint, save_checkpoint
from awr_ros.networks.handedness import HandednessHead
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.synthetic.crop_config import TRAINING
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.seeds import HANDEDNESS_SEED
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.config import TrainConfig
from awr_ros.training.crop_stream import fresh_crops
from awr_ros.training.detection_score import learn_detection_weights
from awr_ros.training.logistic import fit_logistic
from awr_ros.training.refiner import BATCH_ON_DEVICE
from awr_ros.training.run import keep_memory, progress_bar
from awr_ros.training.train import chosen_device, load_compact

HIDDEN = 256
HELD_OUT = 0.1  # share of the crops held out for the figures
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 30, 128, 2e-3, 0.3


def train_handedness(
    weights: Path | None,
    output: Path,
    crops: int = 100_000,
    scenes: int = 1200,
    seed: int = HANDEDNESS_SEED,
    finder_weights: str = '',
    workers: int = 0,
    device: str = 'auto',
) -> tuple[float, float]:
    """Add to a checkpoint of the compact network a handedness head, a calibration of joint scores
    and, with scenes, the weights of the detection score.

    weights: path, None: the package's; output: path of the checkpoint to write; crops, scenes:
    numbers to render; finder_weights: as in TrackerConfig; workers: processes that render simulated
    stereo for a GPU; device: auto, cpu or cuda. Return (accuracy, mean log loss) of handedness on
    held-out crops. Raise ValueError for other networks.
    """
    network, about = load_compact(weights, 'handedness')
    torch_device = chosen_device(device)
    as_is, mirrored, errors_mm = _predict_both_orientations(
        network.to(torch_device), crops, seed, workers
    )
    calibration: tuple[float, ...] = ()
    if not network.refiner:  # a refiner predicts joint scores itself
        (slope,), constant = fit_logistic(
            as_is[1].cpu().reshape(-1, 1), errors_mm.cpu().flatten() <= RIGHT_MM
        )
        calibration = slope, -constant / slope
    trained = CompactNetwork(
        replace(
            network.config,
            handedness=HIDDEN,
            handedness_refined=bool(network.refiner),
            calibration=calibration,
            detection_weights=(),
        )
    ).eval()
    trained.load_state_dict(
        {k: v for k, v in network.state_dict().items() if not k.startswith('handedness.')},
        strict=False,
    )
    torch.manual_seed(seed % 2**31)
    head = trained.to(torch_device).handedness
    assert head is not None
    right, loss = fit_handedness(head, as_is, mirrored)
    metrics = {**about['metrics'], 'side_right': right}
    save_checkpoint(Path(output), trained, about['step'], metrics, about.get('made_by'))
    if scenes:  # saved before: the fit of the detection score may fail for lack of hands
        add_detection_weights(output, output, scenes, finder_weights)
    return right, loss


def add_detection_weights(
    weights: Path, output: Path, scenes: int, finder_weights: str = ''
) -> None:
    """Add the weights of the detection score to a checkpoint of the compact network.

    weights, output: paths, may be the same; scenes: number to render and fit to; finder_weights: as
    in TrackerConfig. Raise ValueError when no candidate of the finder is a hand found by the
    network.
    """
    network, about = load_checkpoint(weights)
    estimator = HandPoseEstimator(TorchEngine(network))
    weights_fitted = learn_detection_weights(
        estimator,
        scenes,
        TrackerConfig(finder_weights=finder_weights),
        partial(progress_bar, unit='scene'),
    )
    network.config = replace(network.config, detection_weights=weights_fitted)
    save_checkpoint(Path(output), network, about['step'], about['metrics'], about.get('made_by'))


@torch.no_grad()
def _predict_both_orientations(network, count, seed, workers=0):
    """Predict from `count` crops of right hands as they are, and mirrored.

    Return the inputs of the handedness head for both, a tuple of tensors each, and the joint errors
    of the former (count,J) [mm].
    """
    keep_memory()
    config = network.config
    wanted = replace(
        TRAINING,
        size=config.crop_size,
        cube_mm=config.cube_mm,
        negative_share=0.0,
        cut=0.0,
        upright=float(config.upright),
        coarse_share=0.0,
    )
    device = next(network.parameters()).device
    network = network.to(device, memory_format=torch.channels_last)
    batches = _batches(wanted, seed, device, workers)

    def predict(depth):
        field, hand_logit, crop_features = network.forward_features(
            depth.contiguous(memory_format=torch.channels_last)
        )
        out = network.read_out(field, depth, hand_logit, crop_features)
        return out.joints_uvdn, (
            out.voted_uvdn,
            out.closeness,
            hand_logit,
            crop_features,
            out.joints_uvdn,
            out.joint_scores,
        )

    hypotheses, errors_mm, seen = ([], []), [], 0
    with progress_bar(total=count, unit='crop') as bar:
        while seen < count:
            batch = next(batches)
            seen += len(batch.hand)
            joints_uvdn, hypothesis = predict(batch.depth)
            hypotheses[0].append(hypothesis)
            hypotheses[1].append(predict(batch.depth.flip(-1))[1])
            errors_mm.append(batch.errors_mm(joints_uvdn))
            bar.update(len(batch.hand))
    as_is, mirrored = (
        tuple(torch.cat(column)[:count] for column in zip(*parts)) for parts in hypotheses
    )
    return as_is, mirrored, torch.cat(errors_mm)[:count]


def _batches(wanted, seed, device, workers):
    """Yield CropBatches endlessly, on a device. wanted: CropConfig."""
    if device.type == 'cpu':
        source = CropSource(seed, wanted)
        while True:
            yield source.draw(64)
    for drawn in fresh_crops(TrainConfig(seed=seed, workers=workers), 0, None, device, wanted):
        for chosen in torch.arange(len(drawn.hand), device=device).split(BATCH_ON_DEVICE):
            yield drawn[chosen]


def fit_handedness(
    handedness: HandednessHead, as_is: Sequence[torch.Tensor], mirrored: Sequence[torch.Tensor]
) -> tuple[float, float]:
    """Train a handedness head on pairs of hypotheses, as_is for the true side.

    Each is a tuple of arguments of the head. Return (accuracy, mean log loss) on held-out pairs.
    """
    count = len(as_is[0])
    kept = max(1, round(count * (1 - HELD_OUT)))
    device = as_is[0].device
    optimizer = torch.optim.AdamW(
        handedness.parameters(),
        LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        fused=device.type != 'cpu',
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)

    def logits(chosen):
        # In one batch: batch norm of each half alone would remove the difference of their means.
        own, other = handedness(
            *(torch.cat([a[chosen], b[chosen]]) for a, b in zip(as_is, mirrored))
        ).chunk(2)
        return own - other

    handedness.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(kept).to(device).split(BATCH):
            loss = nn_f.softplus(-logits(chosen)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    handedness.eval()
    with torch.no_grad():
        held_out = logits(slice(kept, None))
    return (held_out > 0).float().mean().item(), nn_f.softplus(-held_out).mean().item()
