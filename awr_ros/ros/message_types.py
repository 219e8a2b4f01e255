"""Message classes of rclpy, for the modules that take them as arguments."""

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion, Vector3
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from awr_ros.msg import (
    Hand,
    HandArray,
    HandGesture,
    HandGestureArray,
    HandMotion,
    HandMotionArray,
    HandSize,
    HandSizeArray,
    OpenXRHand,
    OpenXRHandArray,
)

__all__ = [
    'ColorRGBA',
    'Duration',
    'Hand',
    'HandArray',
    'HandGesture',
    'HandGestureArray',
    'HandMotion',
    'HandMotionArray',
    'HandSize',
    'HandSizeArray',
    'Marker',
    'MarkerArray',
    'OpenXRHand',
    'OpenXRHandArray',
    'Point',
    'Pose',
    'PoseArray',
    'Quaternion',
    'RegionOfInterest',
    'Vector3',
]
