"""The examples do what they say: with real messages over DDS, with a compiler, and in numbers."""

import math
import os
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from fakes import HEIGHT, WIDTH, hand, header, open_hand_xyz
from geometry_msgs.msg import TwistStamped
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float32MultiArray, Float64MultiArray

from awr_ros.derived.openxr import operator_rotation
from awr_ros.msg import Hand, HandArray, HandGesture, HandGestureArray
from awr_ros.ros.conversions import hand_array

PREFIX = Path(get_package_prefix('awr_ros'))
RETARGET = SimpleNamespace(**runpy.run_path(str(PREFIX / 'lib' / 'awr_ros' / 'retarget.py')))
SERVO = SimpleNamespace(**runpy.run_path(str(PREFIX / 'lib' / 'awr_ros' / 'servo_teleop.py')))
STOP = SimpleNamespace(**runpy.run_path(str(PREFIX / 'lib' / 'awr_ros' / 'stop_on_palm.py')))
ALONE = dict(start_parameter_services=False)


def message(**changes):
    return hand_array([hand(**changes)], header(), WIDTH, HEIGHT)


def rotation(axis, angle):
    """(3,3), by Rodrigues' formula."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def turned(joints, axis, angle):
    return joints @ rotation(axis, angle).T


# ---- retargeting


def frame_by_plane_fit(joints):
    """The frame as dex-retargeting's example finds it: a plane fitted by SVD, its sign from index
    and middle finger.
    """
    points = joints[[0, 5, 9]]
    along = points[0] - points[2]
    normal = np.linalg.svd(points - points.mean(0))[2][2]
    x = along - (along @ normal) * normal
    x /= np.linalg.norm(x)
    z = np.cross(x, normal)
    sign = 1 if z @ (points[1] - points[2]) >= 0 else -1
    return np.stack([x, sign * normal, sign * z], axis=1)


@pytest.mark.parametrize('angle', [0.0, 0.7, 2.0, 3.1])
def test_frame_is_that_of_a_plane_fit(angle):
    joints = turned(open_hand_xyz(), (1, 2, 3), angle)
    frame = operator_rotation(joints)
    assert np.allclose(frame, frame_by_plane_fit(joints - joints[0]), atol=1e-5)
    assert np.linalg.det(frame) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize('side', ['left', 'right'])
def test_retargeting_input_does_not_depend_on_where_the_hand_is(side):
    joints = open_hand_xyz()
    here = RETARGET.retargeting_input(message(joints_xyz=joints, side=side).hands[0], side)
    there = RETARGET.retargeting_input(
        message(joints_xyz=turned(joints, (3, -1, 1), 1.3) + (50, 60, 70), side=side).hands[0], side
    )
    assert np.allclose(here, there, atol=1e-5) and np.allclose(here[0], 0)
    lengths = np.linalg.norm(joints - joints[0], axis=1) / 1000
    assert np.allclose(np.linalg.norm(here, axis=1), lengths, atol=1e-5)
    # OPERATOR2MANO's first and third column: MANO's z is along the fingers.
    assert here[9, 2] == pytest.approx(lengths[9], abs=1e-6)


def test_hands_on_a_line_have_no_frame():
    joints = np.zeros((21, 3))
    joints[:, 0] = np.arange(21)
    assert np.isnan(operator_rotation(joints)).all()


def test_retarget_node(bench):
    class Retargeting:
        """The part of dex_retargeting.seq_retarget.SeqRetargeting that is used."""

        optimizer = SimpleNamespace(
            retargeting_type='VECTOR', target_link_human_indices=[[0, 0], [4, 8]]
        )
        joint_names = ('thumb', 'index')

        def retarget(self, vectors):
            return np.linalg.norm(vectors, axis=1)

    bench.add(RETARGET.RetargetNode(Retargeting(), **ALONE))
    joints_heard = bench.listen(Float32MultiArray, 'retarget/joints')
    states = bench.listen(JointState, 'retarget/joint_states')
    publisher = bench.client.create_publisher(HandArray, 'tracker/hands', 1)
    sent = message(side='right')

    def both_heard():
        publisher.publish(sent)
        return joints_heard and states

    bench.until(both_heard, 'joints and joint states')
    expected = RETARGET.retargeting_input(sent.hands[0], 'right')
    assert np.allclose(np.reshape(joints_heard[0].data, (21, 3)), expected, atol=1e-6)
    assert list(states[0].name) == ['thumb', 'index']
    assert np.allclose(states[0].position, np.linalg.norm(expected[[4, 8]], axis=1))


def test_positions_or_vectors_for_dex_retargeting():
    joints = np.arange(63.0).reshape(21, 3)
    optimizer = SimpleNamespace(retargeting_type='POSITION', target_link_human_indices=[4, 8])
    assert np.array_equal(
        RETARGET.reference_value(joints, SimpleNamespace(optimizer=optimizer)), joints[[4, 8]]
    )


# ---- teleoperation

PERIOD_S = 0.02


def sample(position=(0, 0, 0.5), rotation=None, pinch=0.1, id='a'):
    return SERVO.WristSample(
        id, np.array(position, float), np.eye(3) if rotation is None else rotation, pinch
    )


class Drive:
    """A Teleop, its switch and its hand, one period after another."""

    def __init__(self, **settings):
        self.teleop, self.now_s, self.pressed = (
            SERVO.Teleop(SERVO.Settings(**settings)),
            100.0,
            False,
        )
        self.run(sample())
        self.pressed = True
        self.run(sample())

    def run(self, hand_sample, seconds=PERIOD_S):
        for _ in range(round(seconds / PERIOD_S)):
            self.now_s += PERIOD_S
            self.teleop.deadman(self.pressed, self.now_s)
            self.teleop.hand(hand_sample, self.now_s)
            command = self.teleop.command(self.now_s)
        return command


def test_speed_is_distance_from_the_middle_within_limits():
    drive = Drive()
    s = drive.teleop.settings
    assert not drive.run(sample((0.01, 0, 0.5)), 0.5)[0].any()  # a trembling hand
    linear, angular, _ = drive.run(sample((0, 0.06, 0.5)), 1.0)
    assert (
        np.allclose(linear, (0, s.linear_gain * (0.06 - s.linear_deadband), 0))
        and not angular.any()
    )
    linear, _, _ = drive.run(sample((0, 0.39, 0.5)), 1.0)
    assert np.linalg.norm(linear) == pytest.approx(s.max_linear)
    drive.run(sample(), 0.1)
    linear, _, _ = drive.run(sample((0.3, 0, 0.5)))
    assert np.linalg.norm(linear) <= s.max_linear_step * PERIOD_S + 1e-9  # it starts gently
    assert not drive.run(sample())[0].any()  # and stops at once


def test_turning_the_hand_turns_about_the_same_axis_of_the_camera():
    drive = Drive()
    s = drive.teleop.settings
    begin = rotation((1, 1, 0), 0.8)
    drive.pressed = False
    drive.run(sample(rotation=begin))
    drive.pressed = True
    drive.run(sample(rotation=begin))
    linear, angular, _ = drive.run(sample(rotation=rotation((0, 0, 1), 0.5) @ begin), 1.0)
    assert (
        np.allclose(angular, (0, 0, s.angular_gain * (0.5 - s.angular_deadband)))
        and not linear.any()
    )


@pytest.mark.parametrize(
    'trouble', ['lost', 'other hand', 'too far', 'silent switch', 'no images', 'clock back']
)
def test_trouble_stops_until_the_switch_was_opened(trouble):
    drive = Drive()
    away = sample((0.1, 0, 0.5))
    assert drive.run(away, 0.5)[0].any()
    if trouble == 'silent switch':
        drive.now_s += 1.0
        drive.teleop.hand(away, drive.now_s)
        assert drive.teleop.command(drive.now_s) is None
    elif trouble == 'no images':
        drive.now_s += 1.0
        drive.teleop.deadman(True, drive.now_s)
        assert drive.teleop.command(drive.now_s) is None
    elif trouble == 'clock back':
        assert drive.teleop.command(drive.now_s - 5.0) is None
    else:
        bad = {
            'lost': None,
            'other hand': sample((0.1, 0, 0.5), id='b'),
            'too far': sample((0.6, 0, 0.5)),
        }[trouble]
        assert drive.run(bad) is None
    assert drive.run(away, 0.5) is None and drive.teleop.reason == 'open the switch first'
    drive.pressed = False
    assert drive.run(away) is None
    drive.pressed = True
    assert not drive.run(away, 0.5)[0].any()  # the middle is here now


def test_opening_the_switch_once_is_enough_and_it_must_have_been_open_at_first():
    drive = Drive()
    drive.pressed = False
    assert drive.run(sample()) is None
    drive.pressed = True
    assert drive.run(sample()) is not None
    teleop = SERVO.Teleop(SERVO.Settings())
    teleop.deadman(True, 1.0)
    teleop.hand(sample(), 1.0)
    assert teleop.command(1.0) is None and teleop.reason == 'open the switch first'


def test_pinch_with_hysteresis():
    drive = Drive()
    s = drive.teleop.settings
    between = (s.pinch_close + s.pinch_open) / 2
    openings = [
        drive.run(sample(pinch=pinch))[2]
        for pinch in (between, s.pinch_close - 0.001, between, s.pinch_open + 0.001)
    ]
    assert openings == [s.gripper_opened, s.gripper_closed, s.gripper_closed, s.gripper_opened]


def test_only_one_seen_hand_of_the_side_counts():
    assert SERVO.wrist_sample(message(side='right'), 'right') is not None
    assert SERVO.wrist_sample(message(side='right'), 'left') is None
    assert SERVO.wrist_sample(message(side='right', state='coasting'), 'right') is None
    assert (
        SERVO.wrist_sample(
            hand_array([hand(id='a'), hand(id='b')], header(), WIDTH, HEIGHT), 'right'
        )
        is None
    )
    joints = open_hand_xyz()
    joints[Hand.INDEX_TIP] = np.nan
    assert SERVO.wrist_sample(message(joints_xyz=joints), 'right') is None
    found = SERVO.wrist_sample(message(), 'right')
    assert np.allclose(found.position, open_hand_xyz()[0] / 1000) and np.linalg.det(
        found.rotation
    ) == pytest.approx(1)


@pytest.mark.parametrize(
    'changes',
    [
        {'side': 'both'},
        {'max_linear': -1.0},
        {'max_linear': math.nan},
        {'rate': 0.0},
        {'pinch_close': 0.1},
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        SERVO.Settings(**changes)


@pytest.mark.parametrize(
    'script, parameter',
    [
        ('servo_teleop.py', 'rate:=50'),
        ('retarget.py', 'side:=1'),
        ('retarget.py', 'config:=nowhere.yml'),
    ],
)
def test_parameters_that_cannot_be_end_the_start_with_a_line(script, parameter):
    done = subprocess.run(
        [sys.executable, PREFIX / 'lib' / 'awr_ros' / script, '--ros-args', '-p', parameter],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        done.returncode == 1
        and done.stderr.startswith('cannot start: ')
        and 'Traceback' not in done.stderr
    )


@pytest.mark.timeout(240)
def test_servo_node(bench):
    # Patient, for a busy machine must not look like a lost hand here.
    patience = [Parameter(name, value=60.0) for name in ('hand_timeout', 'deadman_timeout')]
    node = bench.add(SERVO.ServoTeleopNode(parameter_overrides=patience, **ALONE))
    twists = bench.listen(TwistStamped, 'servo_teleop/twist')
    grips = bench.listen(Float64MultiArray, 'servo_teleop/gripper')
    hands = bench.client.create_publisher(HandArray, 'tracker/hands', 1)
    switch = bench.client.create_publisher(Bool, 'servo_teleop/deadman', 1)
    state = {'pressed': False, 'joints': open_hand_xyz(), 'next_s': 0.0}

    def fed(condition, what):
        def step():
            if time.monotonic() < state['next_s']:
                return condition()
            # as a camera does; a flood would starve the node's timer
            state['next_s'] = time.monotonic() + 0.03
            switch.publish(Bool(data=state['pressed']))
            hands.publish(message(joints_xyz=state['joints']))
            return condition()

        bench.until(step, what, seconds=50)

    bench.until(
        lambda: hands.get_subscription_count() and switch.get_subscription_count(),
        'the subscriptions',
    )
    fed(lambda: node._reason == 'the switch is open', 'the open switch')
    assert not twists
    state['pressed'] = True
    fed(lambda: twists and grips, 'a twist')
    assert twists[0].header.frame_id == header().frame_id
    state['joints'] = open_hand_xyz() + (0, 100, 0)
    fed(lambda: twists[-1].twist.linear.y > 0.05, 'a movement down')
    assert twists[-1].twist.linear.x == pytest.approx(0, abs=1e-6)
    state['pressed'] = False
    fed(lambda: twists[-1].twist.linear.y == 0, 'the stop when the switch opens')


# ---- C++

PROGRAM = r"""
#include <cmath>
#include <iostream>
#include "awr_ros_example/index_tip.hpp"

int main()
{
  awr_ros::msg::HandArray message;
  message.hands.resize(2);
  auto & seen = message.hands[0];
  seen.id = "3";
  seen.side = awr_ros::msg::Hand::SIDE_RIGHT;
  seen.tracking_state = awr_ros::msg::Hand::TRACKING_OK;
  seen.joints[awr_ros::msg::Hand::INDEX_TIP].x = 0.012;
  seen.joints[awr_ros::msg::Hand::INDEX_TIP].z = 0.48;
  message.hands[1] = seen;
  message.hands[1].joints[8].y = std::nan("");
  for (const auto & hand : message.hands) {
    std::cout << awr_ros_example::describe(hand) << "\n";
  }
}
"""


@pytest.mark.skipif(shutil.which('c++') is None, reason='no C++ compiler')
def test_cpp_reads_the_messages(tmp_path):
    source, program = tmp_path / 'main.cpp', tmp_path / 'main'
    source.write_text(PROGRAM)
    prefixes = [Path(path) for path in os.environ['AMENT_PREFIX_PATH'].split(os.pathsep)]
    headers = [
        folder
        for prefix in prefixes
        if (prefix / 'include').is_dir()
        for folder in (prefix / 'include').iterdir()
    ]
    done = subprocess.run(
        [
            'c++',
            '-std=c++17',
            '-Wall',
            '-Wextra',
            '-Werror',
            str(source),
            '-o',
            str(program),
            '-I',
            str(PREFIX / 'share' / 'awr_ros' / 'examples' / 'cpp' / 'include'),
            *(f'-isystem{folder}' for folder in headers),
        ],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = subprocess.run(
        [str(program)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines == ['right 3: 0.012 0.000 0.480 m', 'right 3: not seen']


# ---- a palm that stops


def shown(gesture, held=1.0, state=Hand.TRACKING_OK):
    return HandGestureArray(
        gestures=[HandGesture(gesture=gesture, held=held, tracking_state=state)]
    )


def test_a_palm_stops_and_a_thumb_lets_go():
    gate = STOP.Gate(hold_s=0.2, timeout_s=0.5)
    assert 'no gestures' in gate.reason(10.0)
    gate.gestures(HandGestureArray(), 10.0)
    assert gate.reason(10.4) == '' and 'no gestures' in gate.reason(10.6)
    for message in (
        shown(HandGesture.OPEN, held=0.1),
        shown(HandGesture.FIST),
        shown(HandGesture.OPEN, state=Hand.TRACKING_COASTING),
    ):
        gate.gestures(message, 11.0)
        assert gate.reason(11.0) == ''
    gate.gestures(shown(HandGesture.OPEN), 12.0)
    gate.gestures(HandGestureArray(), 12.1)  # the hand is gone: the robot stays where it is
    assert 'open palm' in gate.reason(12.1)
    gate.gestures(shown(HandGesture.THUMBS_UP), 12.2)
    assert gate.reason(12.2) == ''
    both = HandGestureArray(
        gestures=[*shown(HandGesture.THUMBS_UP).gestures, *shown(HandGesture.OPEN).gestures]
    )
    gate.gestures(both, 12.3)
    assert 'open palm' in gate.reason(12.3)


def test_stop_on_palm_node(bench):
    bench.add(STOP.StopOnPalmNode(**ALONE))
    out = bench.listen(TwistStamped, 'stop_on_palm/twist')
    twists = bench.client.create_publisher(TwistStamped, 'stop_on_palm/twist_in', 1)
    gestures = bench.client.create_publisher(HandGestureArray, 'tracker/gestures', 1)
    wanted = TwistStamped()
    wanted.twist.linear.x = 0.3

    def passed():
        gestures.publish(HandGestureArray())
        twists.publish(wanted)
        return any(message.twist.linear.x == 0.3 for message in out)

    bench.until(passed, 'a twist to pass')
    gestures.publish(shown(HandGesture.OPEN))
    bench.until(lambda: out[-1].twist.linear.x == 0, 'the stop')
