"""Gestures as messages: awr_ros/HandGestureArray. Message classes are arguments, as for
HandMessages.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from awr_ros.derived.gestures import Gesture


class GestureMessages:
    """Make messages of gestures. `types` has the message classes Hand, HandGesture,
    HandGestureArray.
    """

    def __init__(self, types: Any) -> None:
        self._types, hand = types, types.Hand
        self._sides = {'left': hand.SIDE_LEFT, 'right': hand.SIDE_RIGHT}
        self._states = {
            'new': hand.TRACKING_NEW,
            'ok': hand.TRACKING_OK,
            'coasting': hand.TRACKING_COASTING,
        }

    def gesture_array(self, hands: Sequence[Any], gestures: Sequence[Gesture], header: Any) -> Any:
        """Convert the Gesture of each TrackedHand to awr_ros/HandGestureArray."""
        return self._types.HandGestureArray(
            header=header,
            gestures=[self._gesture(hand, gesture) for hand, gesture in zip(hands, gestures)],
        )

    def _gesture(self, hand: Any, gesture: Gesture) -> Any:
        return self._types.HandGesture(
            id=hand.id,
            side=self._sides[hand.side],
            tracking_state=self._states[hand.state],
            pinch=gesture.features.pinch,
            grasp=gesture.features.grasp,
            extension=gesture.features.extension.astype(np.float32),
            gesture=gesture.gesture,
            held=gesture.held_s,
        )
