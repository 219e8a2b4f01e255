"""Hands as OpenXR messages: awr_ros/OpenXRHandArray and, for teleoperation stacks, named poses.

Message classes are arguments, as for messages.hands.HandMessages.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from awr_ros.derived.openxr import (
    OPENXR_JOINT_NAMES,
    OPENXR_WRIST,
    ORIENTATION_VALID,
    POSITION_VALID,
    OpenXRJoints,
    Reference,
    in_reference,
    openxr_joints,
    reference_frame,
)
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.messages.hands import quaternion_from_rotation

VALID = ORIENTATION_VALID | POSITION_VALID
NAMED_SIDES = ('left', 'right')  # the order of named poses


class OpenXRMessages:
    """Make messages of hands. `types` has the message classes as attributes, which take their
    fields by name: Hand, OpenXRHand, OpenXRHandArray, Point, Pose, Quaternion.
    """

    def __init__(self, types: Any) -> None:
        self._types = types
        self._sides = {'left': types.Hand.SIDE_LEFT, 'right': types.Hand.SIDE_RIGHT}

    def hand_array(self, hands: Sequence[Any], header: Any, reference: Reference = 'camera') -> Any:
        """Convert awr_ros.tracker.TrackedHands to awr_ros/OpenXRHandArray in one of
        openxr.REFERENCES.
        """
        return self._types.OpenXRHandArray(
            header=header,
            reference=reference,
            hands=[self._hand(hand, reference) for hand in hands],
        )

    def _hand(self, hand: Any, reference: Reference) -> Any:
        joints_m = np.asarray(hand.joints_xyz, np.float64) / MM_PER_M
        joints = openxr_joints(hand.joints_xyz, hand.side, hand.state != 'coasting')
        joints = OpenXRJoints(
            joints.positions / MM_PER_M, joints.rotations, joints.radii / MM_PER_M, joints.flags
        )
        origin, rotation = reference_frame(joints_m, hand.side, reference)
        if reference != 'camera':
            joints = in_reference(joints, origin, rotation)
        return self._types.OpenXRHand(
            id=hand.id,
            side=self._sides[hand.side],
            score=float(hand.score),
            joints=[self._pose(p, r) for p, r in zip(joints.positions.tolist(), joints.rotations)],
            radii=joints.radii.astype(np.float32),
            flags=joints.flags,
            reference_pose=self._pose(origin.tolist(), rotation),
        )

    def _pose(self, position: Sequence[float], rotation: np.ndarray) -> Any:
        x, y, z, w = quaternion_from_rotation(rotation)
        return self._types.Pose(
            position=self._types.Point(x=position[0], y=position[1], z=position[2]),
            orientation=self._types.Quaternion(x=x, y=y, z=z, w=w),
        )

    def named_poses(self, hands: Any, array_type: Any) -> Any:
        """Convert an OpenXRHandArray to a message with header, name[], pose[] and is_valid[].

        The message is NamedPoseArray of teleop_ros2_interfaces (NVIDIA Isaac Teleop). As in its
        node, all 25 joints but the palm are listed for the left and then the right hand, named
        left_WRIST to right_LITTLE_TIP; of several hands of one side it is the most confident one.
        Invalid joints have a pose of zeros with is_valid false.
        """
        names, poses, valid = [], [], []
        for side in NAMED_SIDES:
            own = [hand for hand in hands.hands if hand.side == self._sides[side]]
            hand: Any = max(own, key=lambda hand: hand.score, default=None)
            for index in range(OPENXR_WRIST, len(OPENXR_JOINT_NAMES)):
                known = hand is not None and hand.flags[index] & VALID == VALID
                names.append(f'{side}_{OPENXR_JOINT_NAMES[index].upper()}')
                poses.append(
                    hand.joints[index] if known else self._pose((0.0, 0.0, 0.0), np.eye(3))
                )
                valid.append(bool(known))
        return array_type(header=hands.header, name=names, pose=poses, is_valid=valid)
