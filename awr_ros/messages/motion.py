"""Motion as messages: awr_ros/HandMotionArray, in metres. Message classes are arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from awr_ros.derived.motion import Motion
from awr_ros.messages.depth_image import MM_PER_M


class MotionMessages:
    """Make messages of motion. `types` has the message classes Hand, HandMotion, HandMotionArray,
    Point, Vector3.
    """

    def __init__(self, types: Any) -> None:
        self._types, hand = types, types.Hand
        self._sides = {'left': hand.SIDE_LEFT, 'right': hand.SIDE_RIGHT}
        self._states = {
            'new': hand.TRACKING_NEW,
            'ok': hand.TRACKING_OK,
            'coasting': hand.TRACKING_COASTING,
        }

    def motion_array(
        self, hands: Sequence[Any], motions: Sequence[Motion], header: Any, prediction_ms: float
    ) -> Any:
        """Convert the Motion of each TrackedHand to awr_ros/HandMotionArray."""
        return self._types.HandMotionArray(
            header=header,
            prediction_ms=prediction_ms,
            hands=[self._motion(hand, motion) for hand, motion in zip(hands, motions)],
        )

    def _motion(self, hand: Any, motion: Motion) -> Any:
        point, vector = self._types.Point, self._types.Vector3
        palm, palm_covariance, velocity, velocity_covariance = motion.palm()
        return self._types.HandMotion(
            id=hand.id,
            side=self._sides[hand.side],
            tracking_state=self._states[hand.state],
            palm=_rows(palm[None], point)[0],
            palm_covariance=(palm_covariance / MM_PER_M**2).ravel(),
            palm_velocity=_rows(velocity[None], vector)[0],
            palm_velocity_covariance=(velocity_covariance / MM_PER_M**2).ravel(),
            joints=_rows(motion.positions, point),
            joint_deviations=_rows(np.sqrt(motion.position_variances), vector),
            joint_velocities=_rows(motion.velocities, vector),
            joint_velocity_deviations=_rows(np.sqrt(motion.velocity_variances), vector),
            rejected=motion.rejected.tolist(),
        )


def _rows(values: np.ndarray, message_type: type) -> list[Any]:
    """(N,3) [mm] as messages with x, y, z [m]."""
    return [message_type(x=x, y=y, z=z) for x, y, z in (values / MM_PER_M).tolist()]
