"""The wrists as TF frames, for who asks for them: <prefix><id>_wrist below the camera's optical
frame.
"""

import math
from importlib.util import find_spec

from geometry_msgs.msg import Transform, TransformStamped, Vector3

from awr_ros.msg import Hand, HandArray

QUEUE = 100  # as tf2_ros has it: other nodes' transforms share the topic


def tf_is_installed():
    """Whether there is the message of /tf. The message is all that is needed: tf2_ros would bring a
    listener as well.
    """
    return find_spec('tf2_msgs') is not None


def wrist_transforms(hands: HandArray, prefix):
    """The geometry_msgs/TransformStamped of hands that are seen and whose wrist pose is known.

    A hand that is not seen gets none, so that a transform is never newer than its measurement.
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
    """Publishes them on /tf."""

    def __init__(self, node):
        from tf2_msgs.msg import TFMessage  # optional: see tf_is_installed

        self._type, self._node = TFMessage, node
        self._publisher = node.create_publisher(TFMessage, '/tf', QUEUE)

    def publish(self, hands: HandArray, prefix):
        transforms = wrist_transforms(hands, prefix)
        if transforms:
            self._publisher.publish(self._type(transforms=transforms))

    def destroy(self):
        self._node.destroy_publisher(self._publisher)
