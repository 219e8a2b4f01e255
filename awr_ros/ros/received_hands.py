"""Hands of a received awr_ros/HandArray, with the fields of awr_ros.tracker.TrackedHand."""

from dataclasses import dataclass

import numpy as np

from awr_ros.messages.hands import joints_from_hand
from awr_ros.msg import Hand, HandArray

SIDES = {Hand.SIDE_LEFT: 'left', Hand.SIDE_RIGHT: 'right'}
STATES = {
    Hand.TRACKING_NEW: 'new',
    Hand.TRACKING_OK: 'ok',
    Hand.TRACKING_COASTING: 'coasting',
}


@dataclass(frozen=True)
class ReceivedHand:
    """A hand of a message; fields as in awr_ros.tracker.TrackedHand."""

    id: str
    side: str  # a hand of unknown side counts as a right one, with a side score of 0.5
    side_score: float
    state: str
    score: float
    joints_xyz: np.ndarray  # (21,3) float32 [mm]
    joint_scores: np.ndarray  # (21,) float32
    roi: tuple[int, int, int, int]  # [px]


def received_hands(message: HandArray) -> list[ReceivedHand]:
    """Convert the hands of a message."""
    return [
        ReceivedHand(
            hand.id,
            SIDES.get(hand.side, 'right'),
            hand.side_score if hand.side in SIDES else 0.5,
            STATES.get(hand.tracking_state, 'ok'),
            hand.score,
            joints_from_hand(hand),
            np.array(hand.joint_scores, np.float32),
            (hand.roi.x_offset, hand.roi.y_offset, hand.roi.width, hand.roi.height),
        )
        for hand in message.hands
    ]
