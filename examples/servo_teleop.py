#!/usr/bin/env python3
"""A hand as a joystick for MoveIt Servo: its offset from the start sets the velocity of the arm; a
pinch closes the gripper.

    ros2 run awr_ros servo_teleop.py --ros-args \\
        -r ~/twist:=/servo_node/delta_twist_cmds -r ~/gripper:=/gripper_controller/commands

Nothing moves unless a dead-man's switch is held: std_msgs/Bool true on ~/deadman, at least
every deadman_timeout. The joystick's centre is the position of the hand when the switch closes (or
the first one after it). The arm stops immediately when the switch opens or its messages end, when
the hand is lost, not seen in an image, or replaced by another, when hands stop arriving, and when
a clock jumps; it starts again only after the switch was opened and closed.

~/twist is a geometry_msgs/TwistStamped [m/s, rad/s] in the camera's frame: Servo must know that
frame (TF), its command_in_type must be "speed_units", and from Jazzy on it takes twists only after

    ros2 service call /servo_node/switch_command_type \\
        moveit_msgs/srv/ServoCommandType '{command_type: 1}'

~/gripper is a std_msgs/Float64MultiArray with one opening [m], as position controllers of
ros2_control take it. This is an example and no safety device: keep the robot's own limits and stop.
"""

import math
import sys
from dataclasses import dataclass, fields

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from std_msgs.msg import Bool, Float64MultiArray

from awr_ros.msg import Hand, HandArray

SIDES = {'left': Hand.SIDE_LEFT, 'right': Hand.SIDE_RIGHT}


@dataclass(frozen=True)
class Settings:
    """Settings, which are also the node's parameters."""

    side: str = 'right'
    linear_gain: float = 1.5  # [1/s], m/s per metre from the centre
    angular_gain: float = 1.0  # [1/s], rad/s per radian from the centre
    linear_deadband: float = 0.02  # [m], tremor of a hand
    angular_deadband: float = 0.15  # [rad]
    max_linear: float = 0.2  # [m/s]
    max_angular: float = 0.6  # [rad/s]
    max_linear_step: float = 1.0  # [m/s^2]; stopping is not limited
    max_angular_step: float = 3.0  # [rad/s^2]
    max_reach: float = 0.4  # [m], larger offsets are errors, not commands
    pinch_close: float = 0.025  # [m], thumb tip to index tip, below which the gripper closes
    pinch_open: float = 0.045  # [m], above which it opens
    gripper_closed: float = 0.0  # [m]
    gripper_opened: float = 0.04  # [m]
    deadman_timeout: float = 0.3  # [s], longest silence of the switch
    hand_timeout: float = 0.2  # [s], longest silence of the hand
    rate: float = 50.0  # [Hz] of ~/twist

    def __post_init__(self):
        if self.side not in SIDES:
            raise ValueError(f"parameter side is '{self.side}', expected left or right")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != 'side' and not (math.isfinite(value) and value >= 0):
                raise ValueError(f'parameter {field.name} is {value}, expected a number >= 0')
        if self.pinch_close >= self.pinch_open:
            raise ValueError(
                f'parameter pinch_close is {self.pinch_close}, expected less than pinch_open '
                f'{self.pinch_open}'
            )
        if self.rate <= 0:
            raise ValueError(f'parameter rate is {self.rate}, expected more than 0')


@dataclass(frozen=True)
class WristSample:
    """Position, orientation and pinch of one hand."""

    id: str
    position: np.ndarray  # (3,) [m] camera frame
    rotation: np.ndarray  # (3,3) camera_from_wrist
    pinch: float  # [m], thumb tip to index tip


def rotation_from_quaternion(x, y, z, w):
    """Return the rotation (3,3) of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_vector(rotation):
    """Return axis times angle (3,) [rad], angle in [0, pi], of a rotation matrix; at pi exactly,
    where the axis is not unique, 0.
    """
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine = np.linalg.norm(axis)  # 2 sin(angle)
    angle = math.atan2(sine, np.trace(rotation) - 1)
    return axis / sine * angle if sine > 1e-9 else np.zeros(3)


def wrist_sample(message: HandArray, side):
    """Return the WristSample of the only visible hand of this side, None for no hand or two."""
    hands = [hand for hand in message.hands if hand.side == SIDES[side]]
    if len(hands) != 1 or hands[0].tracking_state == Hand.TRACKING_COASTING:
        return None
    position, q = hands[0].wrist_pose.position, hands[0].wrist_pose.orientation
    thumb, index = (
        np.array([p.x, p.y, p.z])
        for p in (hands[0].joints[Hand.THUMB_TIP], hands[0].joints[Hand.INDEX_TIP])
    )
    sample = WristSample(
        hands[0].id,
        np.array([position.x, position.y, position.z]),
        rotation_from_quaternion(q.x, q.y, q.z, q.w),
        float(np.linalg.norm(thumb - index)),
    )
    if not (
        np.isfinite(sample.position).all()
        and np.isfinite(sample.rotation).all()
        and math.isfinite(sample.pinch)
    ):
        return None
    return sample


def speed(offset, gain, deadband, limit):
    """Return the velocity (3,) for an offset (3,): 0 within the deadband, proportional beyond it,
    up to the limit.
    """
    length = np.linalg.norm(offset)
    if length <= deadband:
        return np.zeros(3)
    return offset / length * min(gain * (length - deadband), limit)


def towards(current, wanted, step):
    """Return `current` moved to `wanted` by at most `step`; deceleration is not limited."""
    if np.linalg.norm(wanted) <= np.linalg.norm(current) and wanted @ current >= 0:
        return wanted
    change = wanted - current
    length = np.linalg.norm(change)
    return wanted if length <= step else current + change / length * step


class Teleop:
    """From hands and the dead-man's switch to velocities; times are seconds of one steady clock."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._sample, self._sample_s = None, -math.inf
        self._deadman, self._deadman_s = False, -math.inf
        self._middle = None  # WristSample when the switch closed; None: not engaged
        self._locked = True  # until the switch was open
        self._linear = self._angular = np.zeros(3)
        self._command_s = None
        self._gripping = False
        self.reason = 'waiting for the switch'

    def hand(self, sample, now_s):
        """Take the WristSample of a new image, or None."""
        self._sample, self._sample_s = sample, now_s

    def deadman(self, pressed, now_s):
        """Take a message of the switch."""
        self._deadman, self._deadman_s = pressed, now_s
        if not pressed:
            self._locked = False

    def command(self, now_s):
        """Return (linear (3,) [m/s], angular (3,) [rad/s], gripper opening [m]); None when not
        engaged.
        """
        trouble = self._trouble(now_s)
        if trouble:
            # Moving again needs the switch anew. That it was opened is all that is needed, when
            # that was the trouble.
            self._locked = self._locked or (self._middle is not None and self._deadman)
            self._middle = self._command_s = None
            self._linear = self._angular = np.zeros(3)
            self.reason = trouble
            return None
        if self._middle is None:
            self._middle, self.reason = self._sample, 'engaged'
        s, step_s = self.settings, now_s - self._command_s if self._command_s is not None else 0.0
        self._command_s = now_s
        linear = speed(
            self._sample.position - self._middle.position,
            s.linear_gain,
            s.linear_deadband,
            s.max_linear,
        )
        # Rotation since the start, in the camera's axes.
        turned = rotation_vector(self._sample.rotation @ self._middle.rotation.T)
        angular = speed(turned, s.angular_gain, s.angular_deadband, s.max_angular)
        self._linear = towards(self._linear, linear, s.max_linear_step * step_s)
        self._angular = towards(self._angular, angular, s.max_angular_step * step_s)
        self._gripping = self._sample.pinch < (s.pinch_open if self._gripping else s.pinch_close)
        return self._linear, self._angular, s.gripper_closed if self._gripping else s.gripper_opened

    def _trouble(self, now_s):
        """Return why nothing may move, or ''."""
        s = self.settings
        if not self._deadman:
            return 'the switch is open'
        if not 0 <= now_s - self._deadman_s <= s.deadman_timeout:
            return 'the switch is silent'
        if self._sample is None:
            return 'no hand'
        if not 0 <= now_s - self._sample_s <= s.hand_timeout:
            return 'no images'
        if self._locked:
            return 'open the switch first'
        if self._middle is not None and self._sample.id != self._middle.id:
            return 'another hand'
        if (
            self._middle is not None
            and np.linalg.norm(self._sample.position - self._middle.position) > s.max_reach
        ):
            return 'the hand is too far from the middle'
        return ''


class ServoTeleopNode(Node):
    """Node around a Teleop. After a stop it sends some zero twists, then none, so that others may
    drive.
    """

    STOPS = 10

    def __init__(self, **node_options):
        super().__init__('servo_teleop', **node_options)
        settings = Settings(
            **{
                field.name: self.declare_parameter(field.name, field.default).value
                for field in fields(Settings)
            }
        )
        self._teleop, self._frame, self._stops, self._gripper, self._reason = (
            Teleop(settings),
            '',
            0,
            None,
            '',
        )
        self._twist_pub = self.create_publisher(TwistStamped, '~/twist', 1)
        self._gripper_pub = self.create_publisher(Float64MultiArray, '~/gripper', 1)
        self.create_subscription(HandArray, 'tracker/hands', self._on_hands, 1)
        self.create_subscription(
            Bool, '~/deadman', lambda m: self._teleop.deadman(m.data, self._now_s()), 1
        )
        self.create_timer(1 / settings.rate, self._on_timer)

    def _now_s(self):
        return self.get_clock().now().nanoseconds * 1e-9

    def _on_hands(self, message):
        self._frame = message.header.frame_id
        self._teleop.hand(wrist_sample(message, self._teleop.settings.side), self._now_s())

    def _on_timer(self):
        command = self._teleop.command(self._now_s())
        if self._teleop.reason != self._reason:
            self._reason = self._teleop.reason
            self.get_logger().info(self._reason)
        if command is None:
            if self._stops:
                self._stops -= 1
                self._publish(np.zeros(3), np.zeros(3))
            return
        self._stops = self.STOPS
        linear, angular, gripper = command
        self._publish(linear, angular)
        if gripper != self._gripper:
            self._gripper = gripper
            self._gripper_pub.publish(Float64MultiArray(data=[gripper]))

    def _publish(self, linear, angular):
        message = TwistStamped()
        message.header.stamp, message.header.frame_id = self.get_clock().now().to_msg(), self._frame
        message.twist.linear.x, message.twist.linear.y, message.twist.linear.z = map(float, linear)
        message.twist.angular.x, message.twist.angular.y, message.twist.angular.z = map(
            float, angular
        )
        self._twist_pub.publish(message)


def main():
    """Run the node."""
    rclpy.init()
    try:
        rclpy.spin(ServoTeleopNode())
    except KeyboardInterrupt:
        pass
    except (ValueError, ParameterException) as error:
        print(f'cannot start: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
