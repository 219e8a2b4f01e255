"""What the tracker node publishes of an image: its hands, and whatever else somebody listens to."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

try:
    from cv_bridge import CvBridge
except ImportError:  # ROS from wheels
    from awr_ros.ros.compat import CvBridge

from awr_ros.messages.markers import HandMarkers
from awr_ros.msg import HandArray, TrackerStats
from awr_ros.ros import conversions, message_types as messages, parameters
from awr_ros.ros.derived_topics import DerivedTopics
from awr_ros.ros.detections import DetectionPublishers
from awr_ros.ros.wrist_frames import WristFrames


class Outputs:
    """The node's publishers of hands. What takes time to build is built for subscribers only."""

    def __init__(self, node: Any, publisher: Callable[..., Any]) -> None:
        """node: the rclpy node; publisher: creates its publisher of a message type, a topic and
        optionally a depth.
        """
        self._node = node
        self.hands_pub = publisher(HandArray, '~/hands')
        self.markers_pub = publisher(MarkerArray, '~/markers')
        self.poses_pub = publisher(PoseArray, '~/poses')
        self.debug_pub = publisher(Image, '~/debug/image', depth=1)
        self.stats_pub = publisher(TrackerStats, '~/stats')
        self.detections = DetectionPublishers(publisher)
        self.derived = DerivedTopics(publisher)
        self._bridge = CvBridge()
        self._markers: HandMarkers | None = None
        self._wrists: WristFrames | None = None

    def start(self, marker_lifetime: float) -> None:
        """Begin without any hand. marker_lifetime: of the markers [s]."""
        self._markers = HandMarkers(marker_lifetime, messages)

    def stop(self) -> None:
        """Delete the hands in viewers, and the publisher of frames."""
        if self._markers is not None:
            self.markers_pub.publish(self._markers.update(HandArray()))
        if self._wrists is not None:
            self._wrists.destroy()
            self._wrists = None

    def publish_hands(
        self, hands: Sequence[Any], header: Header, width: int, height: int
    ) -> HandArray:
        """Publish TrackedHands on ~/hands and return the message. width, height: of the image
        [px].
        """
        message = conversions.hand_array(hands, header, width, height)
        self.hands_pub.publish(message)
        return message

    def publish_others(
        self,
        hands: Sequence[Any],
        message: HandArray,
        depth_mm: np.ndarray,
        time_s: float,
        values: parameters.Parameters,
    ) -> None:
        """Publish the same hands in all other forms. message: of `publish_hands`; depth_mm: (H,W)
        [mm]; time_s: the tracker's time of the image [s].
        """
        # building markers takes as long as everything else but the network
        if self._markers is not None and self.markers_pub.get_subscription_count():
            self.markers_pub.publish(self._markers.update(message))
        if values.tf:
            self._wrists = self._wrists or WristFrames(self._node)
            self._wrists.publish(message, values.tf_prefix)
        if self.poses_pub.get_subscription_count():
            self.poses_pub.publish(conversions.pose_array(message))
        self.detections.publish(message)
        self.derived.publish(hands, message.header, time_s, values)
        if self.debug_pub.get_subscription_count():
            from awr_ros.draw import overlay

            self.debug_pub.publish(
                self._bridge.cv2_to_imgmsg(overlay(depth_mm, hands), 'bgr8', message.header)
            )
