"""Topics derived from tracked hands, computed only for subscribers: OpenXR hands, gestures,
motion.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from awr_ros.derived.gestures import GestureRecognizers
from awr_ros.derived.hand_size import HandSizes
from awr_ros.derived.motion import MotionFilters
from awr_ros.messages.gestures import GestureMessages
from awr_ros.messages.hand_sizes import HandSizeMessages
from awr_ros.messages.motion import MotionMessages
from awr_ros.messages.openxr import OpenXRMessages
from awr_ros.msg import HandGestureArray, HandMotionArray, HandSizeArray, OpenXRHandArray
from awr_ros.ros import message_types as messages


class DerivedTopics:
    """Publish derived quantities of hands. `publisher(message_type, topic)` creates the node's
    publishers.
    """

    def __init__(self, publisher: Callable[[type, str], Any]):
        self._openxr = OpenXRMessages(messages)
        self._openxr_pub = publisher(OpenXRHandArray, '~/openxr')
        self._gesture_messages = GestureMessages(messages)
        self._gestures_pub = publisher(HandGestureArray, '~/gestures')
        self._motion_messages = MotionMessages(messages)
        self._motion_pub = publisher(HandMotionArray, '~/motion')
        self._size_messages = HandSizeMessages(messages)
        self._sizes_pub = publisher(HandSizeArray, '~/hand_sizes')
        self._named_pub: Any = None
        if find_spec('teleop_ros2_interfaces'):  # NVIDIA Isaac Teleop's messages, optional
            from teleop_ros2_interfaces.msg import NamedPoseArray

            self._named_type = NamedPoseArray
            self._named_pub = publisher(NamedPoseArray, '~/openxr_named')
        self.reset()

    def reset(self) -> None:
        """Delete the state of all hands: their next image is the first one."""
        self._recognizers: GestureRecognizers | None = None
        self._filters: MotionFilters | None = None
        self._sizes: HandSizes | None = None

    def publish(self, hands: Sequence[Any], header: Any, stamp_s: float, values: Any) -> None:
        """Publish all topics with subscribers.

        hands: TrackedHands; stamp_s: the tracker's time of the image [s]; values: the node's
        Parameters.
        """
        self._publish_openxr(hands, header, values)
        self._publish_gestures(hands, header, stamp_s)
        self._publish_motion(hands, header, stamp_s, values.predict_ms)
        self._publish_sizes(hands, header)

    def _publish_openxr(self, hands: Sequence[Any], header: Any, values: Any) -> None:
        named = self._named_pub is not None and self._named_pub.get_subscription_count()
        if self._openxr_pub.get_subscription_count() or named:
            message = self._openxr.hand_array(hands, header, values.openxr_reference)
            self._openxr_pub.publish(message)
            if named:
                self._named_pub.publish(self._openxr.named_poses(message, self._named_type))

    def _publish_gestures(self, hands: Sequence[Any], header: Any, stamp_s: float) -> None:
        if not self._gestures_pub.get_subscription_count():
            self._recognizers = None
            return
        self._recognizers = self._recognizers or GestureRecognizers()
        gestures = self._recognizers.update(hands, stamp_s)
        self._gestures_pub.publish(self._gesture_messages.gesture_array(hands, gestures, header))

    def _publish_motion(
        self, hands: Sequence[Any], header: Any, stamp_s: float, predict_ms: float
    ) -> None:
        if not self._motion_pub.get_subscription_count():
            self._filters = None
            return
        self._filters = self._filters or MotionFilters()
        motions = self._filters.update(hands, stamp_s, predict_ms / 1e3)
        message = self._motion_messages.motion_array(hands, motions, header, predict_ms)
        self._motion_pub.publish(message)

    def _publish_sizes(self, hands: Sequence[Any], header: Any) -> None:
        if not self._sizes_pub.get_subscription_count():
            self._sizes = None
            return
        self._sizes = self._sizes or HandSizes()
        message = self._size_messages.size_array(hands, self._sizes.update(hands), header)
        self._sizes_pub.publish(message)
