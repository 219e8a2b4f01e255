#!/usr/bin/env python3
"""Tracked hands as input of dex-retargeting, and with it as joint angles of a robot hand.

21 x 3 numbers [m] on ~/joints, for your own retargeting:

    ros2 run awr_ros retarget.py

also ~/joint_states, with dex-retargeting installed:

    ros2 run awr_ros retarget.py --ros-args \\
        -p config:=.../dex_retargeting/configs/teleop/allegro_hand_right.yml \\
        -p urdf_folder:=.../dex-urdf/robots/hands

dex-retargeting (https://github.com/dexsuite/dex-retargeting) takes 21 points in MediaPipe's order,
relative to the wrist, in MANO's wrist frame, as
example/vector_retargeting/single_hand_detector.py there makes them from MediaPipe's: p = (joints -
wrist) @ frame @ OPERATOR2MANO.
"""

import sys

import numpy as np
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32MultiArray, MultiArrayDimension

from awr_ros.derived.openxr import mano_rotation
from awr_ros.msg import Hand, HandArray

SIDES = {'left': Hand.SIDE_LEFT, 'right': Hand.SIDE_RIGHT}


def retargeting_input(hand: Hand, side):
    """Return (21,3) float64 [m]: the joints of an awr_ros/Hand, relative to the wrist, in MANO's
    wrist frame. NaN stays NaN.
    """
    joints = np.array([(p.x, p.y, p.z) for p in hand.joints])
    return (joints - joints[Hand.WRIST]) @ mano_rotation(joints, side)


def reference_value(joints, retargeting):
    """Return the argument of retargeting.retarget() of dex-retargeting for (21,3) joints: points
    for "position", else vectors.
    """
    indices = np.asarray(retargeting.optimizer.target_link_human_indices)
    if retargeting.optimizer.retargeting_type.lower() == 'position':
        return joints[indices]
    return joints[indices[1]] - joints[indices[0]]


def load_retargeting(config, urdf_folder):
    """Load a retargeting of dex-retargeting from its configuration."""
    from dex_retargeting.retargeting_config import RetargetingConfig

    RetargetingConfig.set_default_urdf_dir(urdf_folder)
    return RetargetingConfig.load_from_file(config).build()


class RetargetNode(Node):
    """Subscribe to tracker/hands; publish ~/joints and, if a retargeting was loaded,
    ~/joint_states.
    """

    def __init__(self, retargeting=None, **node_options):
        super().__init__('retarget', **node_options)
        self._side = self.declare_parameter('side', 'right').value
        config, urdf_folder = (
            self.declare_parameter(name, '').value for name in ('config', 'urdf_folder')
        )
        if self._side not in SIDES:
            raise ValueError(f"parameter side is '{self._side}', expected left or right")
        self._retargeting = load_retargeting(config, urdf_folder) if config else retargeting
        self._joints_pub = self.create_publisher(Float32MultiArray, '~/joints', 1)
        self._states_pub = self.create_publisher(JointState, '~/joint_states', 1)
        self.create_subscription(HandArray, 'tracker/hands', self._on_hands, 1)

    def _on_hands(self, message):
        for hand in message.hands:
            # A hand that is not seen repeats its last pose.
            if hand.side != SIDES[self._side] or hand.tracking_state == Hand.TRACKING_COASTING:
                continue
            joints = retargeting_input(hand, self._side)
            if not np.isfinite(joints).all():
                continue
            array = Float32MultiArray(data=joints.ravel().tolist())
            array.layout.dim = [
                MultiArrayDimension(label='joint', size=21, stride=63),
                MultiArrayDimension(label='xyz', size=3, stride=3),
            ]
            self._joints_pub.publish(array)
            if self._retargeting is not None:
                angles = self._retargeting.retarget(reference_value(joints, self._retargeting))
                state = JointState(
                    name=list(self._retargeting.joint_names), position=[float(a) for a in angles]
                )
                state.header.stamp = message.header.stamp
                self._states_pub.publish(state)
            return


def main():
    """Run the node."""
    rclpy.init()
    try:
        rclpy.spin(RetargetNode())
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError, ImportError, ParameterException) as error:
        print(f'cannot start: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
