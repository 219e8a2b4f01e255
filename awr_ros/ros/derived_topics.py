"""Topics derived from the tracked hands, computed only while somebody subscribes: OpenXR hands."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from awr_ros.msg import OpenXRHandArray
from awr_ros.openxr_messages import OpenXRMessages
from awr_ros.ros import messages


class DerivedTopics:
    """Publishes what can be derived from hands. `publisher(message_type, topic)` creates the node's
    publishers."""

    def __init__(self, publisher: Callable[[type, str], Any]):
        self._openxr = OpenXRMessages(messages)
        self._openxr_pub = publisher(OpenXRHandArray, '~/openxr')
        self._named_pub = None
        if (
            find_spec('teleop_ros2_interfaces') is not None
        ):  # NVIDIA Isaac Teleop's messages, optional
            from teleop_ros2_interfaces.msg import NamedPoseArray

            self._named_type = NamedPoseArray
            self._named_pub = publisher(NamedPoseArray, '~/openxr_named')

    def publish(self, hands: Sequence[Any], header: Any, values: Any) -> None:
        """Publish what is subscribed to. hands: TrackedHands; values: the node's Parameters."""
        named = self._named_pub is not None and self._named_pub.get_subscription_count()
        if self._openxr_pub.get_subscription_count() or named:
            message = self._openxr.hand_array(hands, header, values.openxr_reference)
            self._openxr_pub.publish(message)
            if named:
                self._named_pub.publish(self._openxr.named_poses(message, self._named_type))
