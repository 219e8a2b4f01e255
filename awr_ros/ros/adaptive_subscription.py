"""A subscription that matches whatever quality of service the publisher offers, whichever of the two starts first."""
try:
    from message_filters import SimpleFilter
except ImportError:             # ROS from wheels
    from awr_ros.ros.stand_ins import SimpleFilter
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from awr_ros.ros.endpoints import describe_publishers

STEADY = Clock(clock_type=ClockType.STEADY_TIME)


class AdaptiveSubscription(SimpleFilter):
    """A message filter that subscribes with BEST_AVAILABLE, which ROS resolves against the publishers known at that moment only.

    With none known it means reliable and transient local, and a best-effort camera that starts later would never be
    heard. So an incompatible publisher makes the subscription start anew, now resolved against that publisher.
    """

    def __init__(self, node, message_type, topic, depth=1, raw=False):
        """depth: of the queue. 1 for images: an older one is never worth having, deeper queues only add latency. raw: messages
        are passed on as bytes, for rclpy.serialization.deserialize_message."""
        super().__init__()
        self._node, self._type, self._topic, self._raw = node, message_type, topic, raw
        self._qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_AVAILABLE,
                               durability=DurabilityPolicy.BEST_AVAILABLE)
        self._renewal = None            # a timer while the subscription is about to start anew
        self._subscription = self._subscribe()

    @property
    def topic(self):
        """The name after remapping."""
        return self._subscription.topic_name

    def describe_publishers(self):
        """Who publishes the topic and how, for a person who wonders why nothing arrives."""
        return describe_publishers(self._node, self.topic, self._type)

    def destroy(self):
        self._end_renewal()
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self):
        events = SubscriptionEventCallbacks(incompatible_qos=self._renew_soon)
        return self._node.create_subscription(self._type, self._topic, self.signalMessage, self._qos,
                                              event_callbacks=events, raw=self._raw)

    def _renew_soon(self, _):
        """Not from within the event: a subscription is not destroyed while one of its own callbacks runs. By a timer and not
        by a guard condition, which rclpy's EventsExecutor does not know; of the steady clock, because simulated time may rest."""
        if self._renewal is None:
            self._renewal = self._node.create_timer(0.0, self._subscribe_again, clock=STEADY)

    def _end_renewal(self):
        if self._renewal is not None:
            self._node.destroy_timer(self._renewal)
            self._renewal = None

    def _subscribe_again(self):
        if self._renewal is None:       # a timer that is gone may still have been due: starting anew twice would lose messages
            return
        self._end_renewal()
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe()
