"""A subscription with the quality of service of its publishers, in any order of starting."""

try:
    from message_filters import SimpleFilter
except ImportError:  # ROS from wheels
    from awr_ros.ros.compat import SimpleFilter
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from awr_ros.ros.endpoints import describe_publishers, type_name

STEADY = Clock(clock_type=ClockType.STEADY_TIME)
LOOK_S = 0.1  # interval of queries of the publishers; one takes 0.03 ms


class AdaptiveSubscription(SimpleFilter):
    """A message filter with the QoS that its publishers offer, renewed when they change.

    Without publishers it requests the minimum (best effort, volatile), which every publisher can
    serve: otherwise a publisher that offers less prints a warning. ROS's own BEST_AVAILABLE
    requests the maximum then, and keeps it.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        depth: int = 1,
        raw: bool = False,
        on_renewal: Callable = lambda: None,
    ) -> None:
        """depth: of the queue; a deeper one adds latency if the callback is slow. raw: pass
        messages on as bytes, for rclpy.serialization.deserialize_message. on_renewal: called when
        the subscription was renewed; messages of that moment are missing.
        """
        super().__init__()
        self._node, self._type, self._raw, self._depth = node, message_type, raw, depth
        self._on_renewal = on_renewal
        self._topic, self._resolved = topic, node.resolve_topic_name(topic)
        self._asked = self._fitting()
        self._subscription = self._subscribe()
        # By polling: the events of rclpy differ between versions and middlewares, and come before
        # the graph knows. By the steady clock, because simulated time may rest.
        self._timer = node.create_timer(LOOK_S, self._look, clock=STEADY)

    @property
    def topic(self) -> str:
        """Name after remapping."""
        return self._subscription.topic_name

    def describe_publishers(self) -> str:
        """Describe the publishers of the topic and their QoS, for users who wonder why nothing
        arrives.
        """
        return describe_publishers(self._node, self.topic, self._type)

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _fitting(self) -> tuple[ReliabilityPolicy, DurabilityPolicy]:
        """Return the strongest QoS that all publishers of the topic offer."""
        publishers = self._node.get_publishers_info_by_topic(self._resolved)
        offered = [
            publisher.qos_profile
            for publisher in publishers
            if publisher.topic_type == type_name(self._type)
        ]
        most = ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
        reliable = offered and all(qos.reliability == most[0] for qos in offered)
        latched = offered and all(qos.durability == most[1] for qos in offered)
        return (
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

    def _subscribe(self):
        reliability, durability = self._asked
        qos = QoSProfile(depth=self._depth, reliability=reliability, durability=durability)
        return self._node.create_subscription(
            self._type, self._topic, self.signalMessage, qos, raw=self._raw
        )

    def _look(self):
        fitting = self._fitting()
        if fitting != self._asked:
            self._asked = fitting
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()
            self._on_renewal()
