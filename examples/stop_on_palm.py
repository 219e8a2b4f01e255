#!/usr/bin/env python3
"""A robot that stops when it is shown an open palm and goes on after a thumbs-up.

    ros2 run awr_ros stop_on_palm.py --ros-args -r ~/twist_in:=/cmd_vel_wanted -r ~/twist:=/cmd_vel

Velocities (geometry_msgs/TwistStamped) pass from ~/twist_in to ~/twist. After an open palm of any
hand zero velocities are sent instead, until a thumbs-up. They are also stopped while no gestures
arrive: a palm could not be seen then. Open and thumbs-up must be held for `hold` seconds. This is
an example and no safety device: keep the robot's own limits and stop.
"""

import sys

import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from awr_ros.msg import Hand, HandGesture, HandGestureArray


class Gate:
    """Decides whether the robot may move. Times are seconds of a monotonic clock."""

    def __init__(self, hold_s: float = 0.2, timeout_s: float = 0.5):
        if hold_s < 0 or timeout_s <= 0:
            raise ValueError(f'hold must be >= 0 and timeout > 0, got {hold_s} and {timeout_s}')
        self._hold_s, self._timeout_s = hold_s, timeout_s
        self._stopped, self._heard_s = False, None

    def gestures(self, message: HandGestureArray, now_s: float) -> None:
        """Take the gestures of one image; hands that are not seen in it are ignored."""
        self._heard_s = now_s
        shown = {
            gesture.gesture
            for gesture in message.gestures
            if gesture.tracking_state != Hand.TRACKING_COASTING and gesture.held >= self._hold_s
        }
        if HandGesture.OPEN in shown:  # stopping has priority
            self._stopped = True
        elif HandGesture.THUMBS_UP in shown:
            self._stopped = False

    def reason(self, now_s: float) -> str:
        """Return why the robot must stop; '' when it may move."""
        if self._heard_s is None or now_s - self._heard_s > self._timeout_s:
            return 'no gestures arrive: is the tracker running?'
        return 'stopped by an open palm; a thumbs-up lets it go' if self._stopped else ''


class StopOnPalmNode(Node):
    """Node around a Gate."""

    def __init__(self, **node_options):
        super().__init__('stop_on_palm', **node_options)
        hold_s, timeout_s = (
            self.declare_parameter(name, default).value
            for name, default in (('hold', 0.2), ('timeout', 0.5))
        )
        self._gate, self._reason, self._frame = Gate(hold_s, timeout_s), None, ''
        self._twist_pub = self.create_publisher(TwistStamped, '~/twist', 1)
        self.create_subscription(TwistStamped, '~/twist_in', self._on_twist, 1)
        self.create_subscription(HandGestureArray, 'tracker/gestures', self._on_gestures, 1)
        self.create_timer(0.05, self._on_timer)

    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _on_gestures(self, message: HandGestureArray) -> None:
        self._gate.gestures(message, self._now_s())

    def _on_twist(self, message: TwistStamped) -> None:
        self._frame = message.header.frame_id
        if not self._gate.reason(self._now_s()):
            self._twist_pub.publish(message)

    def _on_timer(self) -> None:
        """Send zeros while the robot must stop."""
        reason = self._gate.reason(self._now_s())
        if reason != self._reason:
            self._reason = reason
            self.get_logger().info(reason or 'free')
        if reason:
            stop = TwistStamped()
            stop.header.stamp = self.get_clock().now().to_msg()
            stop.header.frame_id = self._frame
            self._twist_pub.publish(stop)


def main() -> int:
    """Run the node."""
    rclpy.init()
    try:
        rclpy.spin(StopOnPalmNode())
    except KeyboardInterrupt:
        pass
    except (ValueError, ParameterException) as error:
        print(f'cannot start: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
