"""Hands as detections of vision_msgs, if that is installed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Vector3

try:
    from vision_msgs import msg as vision_msgs
except ImportError:  # optional
    vision_msgs = None

from awr_ros.msg import Hand, HandArray

CLASSES = {Hand.SIDE_LEFT: 'left_hand', Hand.SIDE_RIGHT: 'right_hand', Hand.SIDE_UNKNOWN: 'hand'}


def detections_2d(hands: HandArray, types: Any = vision_msgs) -> Any:
    """Return a vision_msgs/Detection2DArray of the visible hands, with their crops as boxes [px].

    types: object with the message classes as attributes.
    """
    detections = []
    for hand in _seen(hands):
        roi = hand.roi
        centre = types.Point2D(x=roi.x_offset + roi.width / 2, y=roi.y_offset + roi.height / 2)
        box = types.BoundingBox2D(
            center=types.Pose2D(position=centre, theta=0.0),
            size_x=float(roi.width),
            size_y=float(roi.height),
        )
        detections.append(
            types.Detection2D(
                header=hands.header, id=hand.id, results=_results(hand, types), bbox=box
            )
        )
    return types.Detection2DArray(header=hands.header, detections=detections)


def detections_3d(hands: HandArray, types: Any = vision_msgs) -> Any:
    """Return a vision_msgs/Detection3DArray of the visible hands.

    The box of a hand is that around its joints [m], along the axes of the optical frame. Joints
    that the network lacks (NaN) are left out, and hands with only such joints.
    """
    detections = []
    for hand in _seen(hands):
        joints = np.array([(p.x, p.y, p.z) for p in hand.joints])
        known = joints[np.isfinite(joints).all(axis=1)]
        if not len(known):
            continue
        centre, size = ((known.min(0) + known.max(0)) / 2).tolist(), np.ptp(known, axis=0).tolist()
        middle = Pose(position=Point(x=centre[0], y=centre[1], z=centre[2]))
        box = types.BoundingBox3D(center=middle, size=Vector3(x=size[0], y=size[1], z=size[2]))
        detections.append(
            types.Detection3D(
                header=hands.header, id=hand.id, results=_results(hand, types), bbox=box
            )
        )
    return types.Detection3DArray(header=hands.header, detections=detections)


def _seen(hands):
    """Return the hands seen in this image: a detection is never older than its stamp."""
    return [hand for hand in hands.hands if hand.tracking_state != Hand.TRACKING_COASTING]


def _results(hand, types):
    """Return the class of the hand, its score, and the pose of its wrist."""
    return [
        types.ObjectHypothesisWithPose(
            hypothesis=types.ObjectHypothesis(class_id=CLASSES[hand.side], score=float(hand.score)),
            pose=PoseWithCovariance(pose=hand.wrist_pose),
        )
    ]


class DetectionPublishers:
    """~/detections_2d and ~/detections_3d, computed only for subscribers.

    Without vision_msgs there are no topics.
    """

    def __init__(self, publisher: Callable) -> None:
        """publisher(message type, topic): makes a publisher."""
        self._publishers = []
        if vision_msgs is not None:
            self._publishers = [
                (publisher(vision_msgs.Detection2DArray, '~/detections_2d'), detections_2d),
                (publisher(vision_msgs.Detection3DArray, '~/detections_3d'), detections_3d),
            ]

    def publish(self, hands: HandArray) -> None:
        """Publish the hands of a HandArray."""
        for publisher, convert in self._publishers:
            if publisher.get_subscription_count():
                publisher.publish(convert(hands))
