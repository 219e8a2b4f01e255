"""Topics derived from the hands: published only while somebody subscribes, with the header of the
image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fakes import hand, header, open_hand_xyz
from rclpy.parameter import Parameter

from awr_ros.derived.gestures import GESTURE_NAMES, OPEN
from awr_ros.derived.hand_size import bone_lengths
from awr_ros.derived.openxr import OPENXR_JOINT_NAMES
from awr_ros.evaluation.openxr_conformance import Frame, run_checks
from awr_ros.messages.openxr import OpenXRMessages
from awr_ros.msg import (
    HandGesture,
    HandGestureArray,
    HandMotionArray,
    HandSizeArray,
    OpenXRHand,
    OpenXRHandArray,
)
from awr_ros.ros import message_types as messages
from awr_ros.ros.measure.listen import hand_from_message

OPENXR = OpenXRMessages(messages)


def test_constants_of_the_message_are_the_names():
    for index, name in enumerate(OPENXR_JOINT_NAMES):
        assert getattr(OpenXRHand, name.upper()) == index
    assert OpenXRHand.NUM_JOINTS == len(OPENXR_JOINT_NAMES)


@pytest.mark.parametrize('side', ['left', 'right'])
def test_openxr_message_conforms(side):
    joints = open_hand_xyz() if side == 'right' else open_hand_xyz() * np.float32((-1, 1, 1))
    joints += np.float32((0, 0, 3)) * np.arange(21)[:, None]
    message = OPENXR.hand_array([hand(side=side, joints_xyz=joints)], header())
    assert message.reference == 'camera' and message.header == header()
    frames = [Frame(i / 30, i / 30, 0.01, (hand_from_message(message.hands[0]),)) for i in range(3)]
    assert [check.name for check in run_checks(frames) if not check.passed] == []
    np.testing.assert_allclose(frames[0].hands[0].positions[1], joints[0] / 1000, atol=1e-6)


def test_a_coasting_hand_is_not_tracked_and_the_reference_is_told():
    message = OPENXR.hand_array([hand(state='coasting')], header(), 'mano').hands[0]
    assert set(message.flags) == {3}
    assert (message.joints[1].position.x, message.joints[1].position.z) == (0, 0)
    assert message.reference_pose.position.z == pytest.approx(0.5)


@dataclass
class NamedPoseArray:
    """The fields of teleop_ros2_interfaces/NamedPoseArray."""

    header: Any
    name: list
    pose: list
    is_valid: list


def test_named_poses_have_both_hands_of_which_one_may_be_missing():
    array = OPENXR.hand_array(
        [hand(score=0.4, id='a'), hand(score=0.9, id='b', joints_xyz=open_hand_xyz() + 5)], header()
    )
    named = OPENXR.named_poses(array, NamedPoseArray)
    assert len(named.name) == len(named.pose) == len(named.is_valid) == 50
    assert named.name[0] == 'left_WRIST' and named.name[-1] == 'right_LITTLE_TIP'
    assert named.is_valid == [False] * 25 + [True] * 25
    assert named.pose[25] == array.hands[1].joints[1] and named.pose[0].orientation.w == 1


def test_the_node_publishes_openxr_while_somebody_listens(bench, node, camera, hands, tracker):
    camera.image()
    bench.until(lambda: hands, 'hands')  # nobody listens to ~/openxr yet: this must work as ever
    heard = bench.listen(OpenXRHandArray, 'tracker/openxr')
    bench.until(lambda: node._outputs.derived._openxr_pub.get_subscription_count(), 'a listener')
    sent = camera.image()
    bench.until(lambda: heard, 'OpenXR hands')
    assert heard[0].header == sent.header and [h.id for h in heard[0].hands] == ['hand_1']
    node.set_parameters([Parameter('openxr_reference', value='view')])
    tracker.hands = []
    camera.image()
    bench.until(lambda: len(heard) == 2, 'an empty array')
    assert heard[1].reference == 'view' and list(heard[1].hands) == []


# ---- gestures ------------------------------------------------------------------------------------


def test_constants_of_the_gesture_message_are_the_names():
    for value, name in enumerate(GESTURE_NAMES):
        assert getattr(HandGesture, name.upper()) == value


def test_the_node_recognizes_gestures_while_somebody_listens(bench, node, camera, hands, tracker):
    heard = bench.listen(HandGestureArray, 'tracker/gestures')
    bench.until(lambda: node._outputs.derived._gestures_pub.get_subscription_count(), 'a listener')
    for number in range(1, 7):
        sent = camera.image()
        bench.until(lambda: len(heard) == number, f'gestures {number}')
    last = heard[-1].gestures[0]
    assert heard[-1].header == sent.header and (last.id, last.side) == ('hand_1', 2)
    assert last.gesture == OPEN and last.held == pytest.approx(5 / 30, abs=1e-3)
    assert (
        last.grasp < 0.2 and last.pinch < 0.1 and all(0 <= value <= 1 for value in last.extension)
    )
    tracker.hands = []
    camera.image()
    bench.until(lambda: len(heard) == 7, 'an empty array')
    assert list(heard[-1].gestures) == [] and len(node._outputs.derived._recognizers._by_id) == 0


# ---- motion --------------------------------------------------------------------------------------


def test_the_node_predicts_joints_while_somebody_listens(bench, node, camera, hands, tracker):
    heard = bench.listen(HandMotionArray, 'tracker/motion')
    bench.until(lambda: node._outputs.derived._motion_pub.get_subscription_count(), 'a listener')
    node.set_parameters([Parameter('predict_ms', value=50.0)])
    start = open_hand_xyz()
    for number in range(1, 16):
        tracker.hands = [hand(joints_xyz=start + np.float32((0, 10 * number, 0)))]  # 0.3 m/s
        sent = camera.image()
        bench.until(lambda: len(heard) == number, f'motion {number}')
    last = heard[-1].hands[0]
    assert heard[-1].header == sent.header and heard[-1].prediction_ms == 50
    assert (last.id, last.side, last.tracking_state) == ('hand_1', 2, 1)
    assert last.palm_velocity.y == pytest.approx(0.3, abs=0.03)
    assert last.joint_velocities[8].y == pytest.approx(0.3, abs=0.03)
    assert last.joints[8].y == pytest.approx(start[8, 1] / 1000 + 0.15 + 0.015, abs=0.003)
    assert 0 < last.palm_velocity_covariance[4] < 0.05 and last.palm_velocity_covariance[1] == 0
    assert 0 < last.joint_deviations[0].x < 0.05 and not any(last.rejected)
    tracker.hands = []
    camera.image()
    bench.until(lambda: len(heard) == 16, 'an empty array')
    assert list(heard[-1].hands) == []


def test_hand_sizes_say_how_long_the_bones_are_once_they_were_seen_often(bench, camera, node):
    heard = bench.listen(HandSizeArray, 'tracker/hand_sizes')
    bench.until(lambda: node.count_subscribers('/tracker/hand_sizes'), 'a listener')
    truth = bone_lengths(open_hand_xyz()) / 1000

    def known():
        camera.info()
        camera.image()
        bench.spin(0.02)
        return heard and heard[-1].hands and np.isfinite(heard[-1].hands[0].bone_lengths[-1])

    bench.until(known, 'the length of the last bone')
    (size,) = heard[-1].hands
    assert size.id == 'hand_1' and heard[-1].header.frame_id
    # The fake hand's joint scores go from 0 to 1: the first bones are never seen well.
    assert np.isnan(size.bone_lengths[:10]).all() and not any(size.frames[:10])
    assert size.bone_lengths[-1] == pytest.approx(truth[-1], abs=1e-4)
    assert 0.001 < size.deviations[-1] < 0.005 and size.frames[-1] >= 15
