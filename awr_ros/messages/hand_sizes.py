"""Bone lengths as messages: awr_ros/HandSizeArray, in metres. Message classes are arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from awr_ros.derived.hand_size import HandSize
from awr_ros.messages.depth_image import MM_PER_M


class HandSizeMessages:
    """Make messages of bone lengths. `types` has the message classes Hand, HandSize and
    HandSizeArray.
    """

    def __init__(self, types: Any) -> None:
        self._types, hand = types, types.Hand
        self._sides = {'left': hand.SIDE_LEFT, 'right': hand.SIDE_RIGHT}

    def size_array(self, hands: Sequence[Any], sizes: Sequence[HandSize], header: Any) -> Any:
        """Convert the HandSize of each TrackedHand to awr_ros/HandSizeArray."""
        return self._types.HandSizeArray(
            header=header,
            hands=[
                self._types.HandSize(
                    id=hand.id,
                    side=self._sides[hand.side],
                    bone_lengths=(size.lengths_mm / MM_PER_M).astype(np.float32),
                    deviations=(size.deviations_mm / MM_PER_M).astype(np.float32),
                    frames=size.frames.astype(np.uint16),
                )
                for hand, size in zip(hands, sizes)
            ],
        )
