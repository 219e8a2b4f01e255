"""Optional TF frames of the wrists: <prefix><id>_wrist below the camera's optical frame."""

import math
from importlib.util import find_spec

from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node

from awr_ros.msg import Hand, HandArray

QUEUE = 100  # as in tf2_ros: the topic is shared with other nodes


def tf_is_installed() -> bool:
    """Whether the message of /tf is installed. tf2_ros is not needed; it would bring a listener as
    well.
    """
    return find_spec('tf2_msgs') is not None


def wrist_transforms(hands: HandArray, prefix: str) -> list[TransformStamped]:
    """Return the geometry_msgs/TransformStamped of visible hands with known wrist poses.

    Hands that are not seen have none, so that a transform is never newer than its measurement.
    """
    transforms = []
    for hand in hands.hands:
        position, orientation = hand.wrist_pose.position, hand.wrist_pose.orientation
        known = math.isfinite(position.x + position.y + position.z + orientation.w)
        if known and hand.tracking_state != Hand.TRACKING_COASTING:
            transforms.append(
                TransformStamped(
                    header=hands.header,
                    child_frame_id=f'{prefix}{hand.id}_wrist',
                    transform=Transform(
                        translation=Vector3(x=position.x, y=position.y, z=position.z),
                        rotation=orientation,
                    ),
                )
            )
    return transforms


class WristFrames:
    """Publisher of the frames on /tf."""

    def __init__(self, node: Node) -> None:
        from tf2_msgs.msg import TFMessage  # optional, see tf_is_installed

        self._type, self._node = TFMessage, node
        self._publisher = node.create_publisher(TFMessage, '/tf', QUEUE)

    def publish(self, hands: HandArray, prefix: str) -> None:
        """Publish the frames of a HandArray."""
        transforms = wrist_transforms(hands, prefix)
        if transforms:
            self._publisher.publish(self._type(transforms=transforms))

    def destroy(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)
