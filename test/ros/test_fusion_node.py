"""The node that fuses several trackers, over real DDS."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import FakeHand, header, open_hand_xyz
from rclpy.parameter import Parameter

from awr_ros.messages.hands import joints_from_hand
from awr_ros.msg import HandArray
from awr_ros.ros.conversions import hand_array
from awr_ros.ros.fusion import FusionNode

INPUTS = '/left/tracker/hands, /right/tracker/hands'
# The right camera looks along the left one's -x axis from (0.5, 0, 0.5).
EXTRINSICS = 'right_optical 0.5 0 0.5 0 -0.7071068 0 0.7071068'


class Trackers:
    """Two publishers of hands, and what the node makes of them."""

    def __init__(self, bench, **values):
        values = {'inputs': INPUTS, 'frame': 'left_optical', 'wait': 0.2, **values}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = bench.add(FusionNode(parameter_overrides=overrides))
        self._bench = bench
        self._publishers = {
            side: bench.client.create_publisher(HandArray, f'/{side}/tracker/hands', 10)
            for side in ('left', 'right')
        }
        self.fused = bench.listen(HandArray, '/fusion/hands')
        self.diagnostics = bench.listen(DiagnosticArray, '/diagnostics')
        bench.until(
            lambda: (
                all(p.get_subscription_count() for p in self._publishers.values())
                and self.node._hands_pub.get_subscription_count()
            ),
            'the node to be connected',
        )

    def send(self, side, stamp_s, joints):
        hands = [] if joints is None else [FakeHand(joints_xyz=np.asarray(joints, np.float32))]
        message = hand_array(hands, header(stamp_s, f'{side}_optical'), 32, 24)
        self._publishers[side].publish(message)

    def next(self):
        before = len(self.fused)
        return self._bench.until(lambda: self.fused[before:], 'fused hands')[0]

    def says(self, text, level):
        def said():
            return any(
                text in status.message and status.level == level
                for message in self.diagnostics
                for status in message.status
            )

        self._bench.until(said, f'the diagnostics to say {text}')


def as_right_camera_sees(joints):
    """Joints of the left camera's frame in that of the right one [mm]."""
    x, y, z = np.moveaxis(np.asarray(joints, np.float64), -1, 0)
    return np.stack([z - 500, y, 500 - x], -1)


def test_two_trackers_become_one_hand_in_the_common_frame(bench):
    trackers = Trackers(bench, extrinsics=EXTRINSICS)
    truth = open_hand_xyz()
    trackers.send('left', 100.0, truth)
    trackers.next()  # the node knows of one camera only and waits for nobody
    trackers.send('right', 100.01, as_right_camera_sees(truth))
    trackers.next()
    trackers.send('left', 100.03, truth)
    trackers.send('right', 100.04, as_right_camera_sees(truth))
    message = trackers.next()  # both of this round
    assert message.header.frame_id == 'left_optical'
    assert message.header.stamp.nanosec == pytest.approx(40e6, abs=1e3)
    (hand,) = message.hands
    assert np.abs(joints_from_hand(hand) - truth).max() < 0.1
    assert np.isfinite(hand.wrist_pose.orientation.w) and hand.roi.width == 0
    trackers.says('2 trackers are fused', DiagnosticStatus.OK)


def test_a_tracker_that_dies_is_named_and_the_other_goes_on(bench):
    trackers = Trackers(bench, extrinsics=EXTRINSICS, wait=0.02)
    truth = open_hand_xyz()
    trackers.send('left', 100.0, truth)
    trackers.send('right', 100.0, as_right_camera_sees(truth))
    first = trackers.next().hands[0]
    for i in range(1, 30):
        trackers.send('left', 100.0 + i / 30, truth)
        message = trackers.next()
        assert [hand.id for hand in message.hands] == [first.id]
    trackers.says('nothing came on /right/tracker/hands for', DiagnosticStatus.WARN)


def test_missing_extrinsics_are_said_in_one_line_and_the_others_are_published(bench):
    trackers = Trackers(bench)
    truth = open_hand_xyz()
    trackers.send('right', 100.0, as_right_camera_sees(truth))
    trackers.send('left', 100.0, truth)
    (hand,) = trackers.next().hands
    assert np.abs(joints_from_hand(hand) - truth).max() < 0.1

    def named():
        trackers.send('right', 100.1, None)
        bench.spin(0.1)
        return [line for line in trackers.node.troubles() if 'left out' in line]

    (line,) = bench.until(named, 'the missing transform to be named')
    assert 'no transform from right_optical to left_optical' in line and '\n' not in line


@pytest.mark.parametrize(
    'values, text',
    [
        ({'inputs': '/a,/a'}, 'expected different topics'),
        ({'inputs': ''}, 'expected different topics'),
        ({'extrinsics': 'left 1 2'}, 'expected FRAME x y z'),
        ({'extrinsics': EXTRINSICS, 'frame': ''}, 'needs parameter frame'),
    ],
)
def test_bad_parameters_are_named(bench, values, text):
    with pytest.raises(ValueError, match=text):
        Trackers(bench, **values)


def test_transforms_come_from_tf_where_it_is_installed(bench):
    tf = pytest.importorskip('tf2_msgs.msg', reason='tf2_msgs is not installed')
    from geometry_msgs.msg import TransformStamped
    from rclpy.qos import DurabilityPolicy, QoSProfile

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    stamped = TransformStamped(child_frame_id='right_optical')
    stamped.header.frame_id = 'left_optical'
    stamped.transform.translation.x = stamped.transform.translation.z = 0.5
    stamped.transform.rotation.y, stamped.transform.rotation.w = -(0.5**0.5), 0.5**0.5
    publisher = bench.client.create_publisher(tf.TFMessage, '/tf_static', latched)
    publisher.publish(tf.TFMessage(transforms=[stamped]))
    trackers = Trackers(bench)
    bench.spin(0.5)
    trackers.send('right', 100.0, as_right_camera_sees(open_hand_xyz()))
    (hand,) = trackers.next().hands
    assert np.abs(joints_from_hand(hand) - open_hand_xyz()).max() < 0.1
