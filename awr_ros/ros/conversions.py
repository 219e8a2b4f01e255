"""Conversions between ROS messages and the core: awr_ros.messages with the classes of rclpy.

Inside: millimetres, NumPy. Outside: SI units, messages. Unusable messages raise BadInputError,
which names the value.
"""

from functools import partial

from sensor_msgs.msg import CameraInfo

from awr_ros.messages.depth_image import (
    MM_PER_M,
    BadInputError,
    depth_from_image,
    info_from_intrinsics,
    intrinsics_from_info,
    stamp_seconds,
)
from awr_ros.messages.hands import HandMessages, joints_from_hand
from awr_ros.ros import message_types as messages

__all__ = [
    'MM_PER_M',
    'SIDES',
    'BadInputError',
    'depth_from_image',
    'hand_array',
    'hand_message',
    'info_from_intrinsics',
    'intrinsics_from_info',
    'joints_from_hand',
    'pose_array',
    'stamp_seconds',
    'true_hand_array',
]

info_from_intrinsics = partial(info_from_intrinsics, info_type=CameraInfo)
_of_rclpy = HandMessages(messages)
SIDES = _of_rclpy.sides
hand_message, hand_array = _of_rclpy.hand, _of_rclpy.hand_array
true_hand_array, pose_array = _of_rclpy.true_hand_array, _of_rclpy.pose_array
