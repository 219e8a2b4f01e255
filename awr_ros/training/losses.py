"""Training losses of the compact network: the dense field, the read-out joints and the hand
score.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as nn_f

from awr_ros.offset_field import decode, encode, field_points
from awr_ros.synthetic.crop_batch import CropBatch


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms. Joint and dense terms are mean absolute errors in uvdn units."""

    joint: float = 10.0  # read-out joints
    # field, on foreground pixels only: the others have no votes
    dense: float = 2.0
    hand: float = 0.1  # hand score (cross entropy)


def losses(
    field: torch.Tensor,
    hand_logit: torch.Tensor,
    batch: CropBatch,
    kernel_size: float,
    config: LossConfig = LossConfig(),
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the total loss and its terms.

    field: (B,4J,F,F); hand_logit: (B,); batch: CropBatch. Return (scalar tensor, {name: scalar
    tensor}). A crop without a hand trains the hand logit only.
    """
    posed = batch.hand.float()  # (B,)
    field = field.float()
    joints_pred, _ = decode(field, batch.depth, kernel_size)
    joint = (
        _smooth_l1(joints_pred, batch.joints_uvdn, 'none').mean((1, 2)) * posed
    ).sum() / posed.sum().clamp_min(1)
    with torch.no_grad():
        field_gt = encode(batch.joints_uvdn, batch.depth, kernel_size, field.shape[-1])
        # (B,1,F,F)
        votes = field_points(batch.depth, field.shape[-1])[1] * posed[:, None, None, None]
        field_gt *= votes
    dense = _smooth_l1(field * votes, field_gt, 'sum') / (votes.sum() * field.shape[1]).clamp_min(1)
    hand = nn_f.binary_cross_entropy_with_logits(hand_logit.float(), posed)
    return config.joint * joint + config.dense * dense + config.hand * hand, {
        'joint': joint,
        'dense': dense,
        'hand': hand,
    }


def _smooth_l1(pred, target, reduction):
    """Return the paper's smooth L1, |e| with a parabola below 0.01, in uvdn units (the authors'
    code has 0.01 times this).
    """
    return nn_f.smooth_l1_loss(pred, target, beta=0.01, reduction=reduction)


def validation_figures(
    field: torch.Tensor, hand_logit: torch.Tensor, batch: CropBatch, kernel_size: float
) -> dict[str, float]:
    """Return the errors on labelled crops: {name: float}, joints in mm in space.

    field: (B,4J,F,F); hand_logit: (B,); batch: CropBatch.
    """
    hands = batch[batch.hand]
    pred, _ = decode(field[batch.hand].float(), hands.depth, kernel_size)
    error = hands.errors_mm(pred)  # (n,J)
    tips = error[:, [4, 8, 12, 16, 20]] if error.shape[1] == 21 else error
    return {
        'mean_mm': error.mean().item(),
        'median_mm': error.median().item(),
        'tips_mm': tips.mean().item(),
        'max_below_20mm': (error.amax(1) < 20).float().mean().item(),
        'hand_accuracy': ((hand_logit > 0) == batch.hand).float().mean().item(),
    }
