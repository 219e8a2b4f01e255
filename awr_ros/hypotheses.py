"""Hypotheses of one hand: its pose as a left and as a right hand, and which is likelier.

The pose network was trained on hands of one side. Each hand is evaluated as it is and mirrored, and
the handedness head (networks/handedness.py) compares the two hypotheses. Without that head, the one
with the higher joint scores is likelier.
"""

import math
from typing import TYPE_CHECKING

from awr_ros.skeleton import Side

if TYPE_CHECKING:
    from awr_ros.estimator import HandPose

LOGIT_PER_CONFIDENCE = 80.0  # a lead of 0.02 was right in 91 % of single rendered crops
MAX_FRAME_LOGIT = 2.0  # limit of one frame's contribution; a tracker sums the logits of frames

Hypotheses = dict[Side, 'HandPose']  # poses of one hand, by assumed side


def right_logit(hypotheses: Hypotheses) -> float:
    """Return the log odds of a right hand from the two hypotheses of one frame; 0 when there is
    only one.
    """
    if len(hypotheses) < 2:
        return 0.0
    right, left = hypotheses['right'], hypotheses['left']
    difference = right.handedness_logit - left.handedness_logit
    if math.isnan(difference):
        difference = LOGIT_PER_CONFIDENCE * (right.mean_joint_score - left.mean_joint_score)
    return float(min(max(difference, -MAX_FRAME_LOGIT), MAX_FRAME_LOGIT))


def likelier(hypotheses: Hypotheses, right_logit: float, usual: Side) -> 'HandPose':
    """Return the hypothesis of the likelier side; `usual` when the difference is small."""
    if len(hypotheses) == 2 and abs(right_logit) > 1:
        return hypotheses['right' if right_logit > 0 else 'left']
    return hypotheses.get(usual) or next(iter(hypotheses.values()))


def likelier_side(right_logit: float, usual: Side) -> Side:
    """Return the side of a logit's sign; `usual` for 0."""
    return 'right' if right_logit > 0 else 'left' if right_logit < 0 else usual


def other_hypothesis(hypotheses: Hypotheses, pose: 'HandPose') -> 'HandPose | None':
    """Return the hypothesis that is not `pose`, None when there is none."""
    return next((hypothesis for hypothesis in hypotheses.values() if hypothesis is not pose), None)
