"""Hands as messages, converted to metres.

Message classes are arguments, from rclpy or from a bag without ROS, so both get the same numbers.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.skeleton import JOINT_CONVENTION, NUM_JOINTS, WRIST, Side, wrist_rotation


class HandMessages:
    """Make messages of hands. `types` has the message classes as attributes, which take their
    fields by name: Hand, HandArray, Point, Pose, PoseArray, Quaternion, RegionOfInterest.
    """

    def __init__(self, types: Any) -> None:
        self._types, hand = types, types.Hand
        self.sides: dict[Side, int] = {'left': hand.SIDE_LEFT, 'right': hand.SIDE_RIGHT}
        self.states = {
            'new': hand.TRACKING_NEW,
            'ok': hand.TRACKING_OK,
            'coasting': hand.TRACKING_COASTING,
        }

    def points(self, joints_xyz: npt.ArrayLike) -> list[Any]:
        """Convert (21,3) [mm] to a list of geometry_msgs/Point [m]."""
        point = self._types.Point
        return [
            point(x=x, y=y, z=z)
            for x, y, z in (np.asarray(joints_xyz, np.float64) / MM_PER_M).tolist()
        ]

    def wrist_pose(self, joints_xyz: npt.ArrayLike, side: Side, points: Sequence[Any]) -> Any:
        """Return the geometry_msgs/Pose of the wrist frame (see Hand.msg); `points` are the same
        joints in metres.
        """
        x, y, z, w = quaternion_from_rotation(wrist_rotation(joints_xyz, side))
        return self._types.Pose(
            position=points[WRIST], orientation=self._types.Quaternion(x=x, y=y, z=z, w=w)
        )

    def hand(self, hand: Any, width: int, height: int) -> Any:
        """Convert an awr_ros.tracker.TrackedHand in an image of width x height to awr_ros/Hand."""
        points = self.points(hand.joints_xyz)
        x, y, w, h = clipped_roi(hand.roi, width, height)
        return self._types.Hand(
            id=hand.id,
            side=self.sides[hand.side],
            side_score=float(hand.side_score),
            tracking_state=self.states[hand.state],
            score=float(hand.score),
            joints=points,
            joint_scores=np.asarray(hand.joint_scores, np.float32),
            wrist_pose=self.wrist_pose(hand.joints_xyz, hand.side, points),
            roi=self._types.RegionOfInterest(x_offset=x, y_offset=y, width=w, height=h),
        )

    def hand_array(self, hands: Iterable[Any], header: Any, width: int, height: int) -> Any:
        """Convert TrackedHands to awr_ros/HandArray; `header` is that of the depth image."""
        return self._types.HandArray(
            header=header,
            joint_convention=JOINT_CONVENTION,
            hands=[self.hand(hand, width, height) for hand in hands],
        )

    def true_hand_array(self, true_hands: Iterable[Any], header: Any) -> Any:
        """Convert awr_ros.synthetic.camera.TrueHands to awr_ros/HandArray, with every score 1."""
        hands = []
        for true_hand in true_hands:
            points = self.points(true_hand.joints_xyz)
            hands.append(
                self._types.Hand(
                    id=f'true_{true_hand.side}',
                    side=self.sides[true_hand.side],
                    side_score=1.0,
                    tracking_state=self.states['ok'],
                    score=1.0,
                    joints=points,
                    joint_scores=np.ones(NUM_JOINTS, np.float32),
                    wrist_pose=self.wrist_pose(true_hand.joints_xyz, true_hand.side, points),
                )
            )
        return self._types.HandArray(header=header, joint_convention=JOINT_CONVENTION, hands=hands)

    def pose_array(self, hands: Any) -> Any:
        """Convert an awr_ros/HandArray to a PoseArray, for users without our messages: 21 poses per
        hand.

        The first of each 21 is the wrist with its orientation; the others have a position only
        (orientation 0, 0, 0, 1).
        """
        pose, unturned = self._types.Pose, self._types.Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
        poses = []
        for hand in hands.hands:
            poses.append(hand.wrist_pose)
            poses.extend(
                pose(position=point, orientation=unturned) for point in hand.joints[WRIST + 1 :]
            )
        return self._types.PoseArray(header=hands.header, poses=poses)


def joints_from_hand(msg: Any) -> np.ndarray:
    """Convert an awr_ros/Hand to joints (21,3) float32 [mm]."""
    return np.array([(p.x, p.y, p.z) for p in msg.joints], np.float32) * np.float32(MM_PER_M)


def clipped_roi(
    roi: tuple[float, float, float, float], width: int, height: int
) -> tuple[int, int, int, int]:
    """Clip (x, y, width, height) [px], possibly partly outside, to an image of width x height;
    whole numbers.
    """
    x, y, w, h = roi
    left, top = min(max(x, 0), width), min(max(y, 0), height)
    right, bottom = min(max(x + w, left), width), min(max(y + h, top), height)
    return int(left), int(top), int(right - left), int(bottom - top)


def quaternion_from_rotation(rotation: npt.ArrayLike) -> tuple[float, ...]:
    """Return (x, y, z, w) of a (3,3) rotation matrix; NaN in, NaN out.

    Shepperd (1978): divide by the largest component.
    """
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(rotation, np.float64).tolist()
    if not math.isfinite(a + b + c + d + e + f + g + h + i):
        return (math.nan,) * 4
    # 4 q q^T, from the sums and differences of the matrix entries; its largest row, normalised, is
    # the quaternion.
    rows = (
        (1 + a - e - i, b + d, c + g, h - f),
        (b + d, 1 - a + e - i, f + h, c - g),
        (c + g, f + h, 1 - a - e + i, d - b),
        (h - f, c - g, d - b, 1 + a + e + i),
    )
    q = max(enumerate(rows), key=lambda row: row[1][row[0]])[1]
    length = math.hypot(*q)
    return tuple(part / length for part in q)
