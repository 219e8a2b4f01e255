"""A recording gives the same hands through the node, replayed in sim time over DDS, as offline; and
ROS reads our bags.
"""

import json

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from fakes import hand
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from awr_ros.msg import HandArray, TrackerStats
from awr_ros.offline.bag_types import typestore
from awr_ros.offline.bag_writer import hands_bag, record_synthetic
from awr_ros.offline.outputs import Tracked
from awr_ros.offline.track import Outputs, Recording, opened, track
from awr_ros.ros import message_types as messages
from awr_ros.ros.conversions import joints_from_hand, stamp_seconds
from awr_ros.ros.node import TrackerNode
from awr_ros.tracker import HandTracker

FRAMES = 12
ENGINE = {'device': 'cpu', 'engine': 'torch', 'num_threads': 1}


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp('recording') / 'bag'
    record_synthetic(path, FRAMES, num_hands=2)
    return path


def replayed(bench, path):
    """The HandArrays of the node for a bag, played in the order of recording; each image waits for
    its hands.
    """
    node = bench.add(
        TrackerNode(
            parameter_overrides=[Parameter('use_sim_time', value=True)]
            + [Parameter(name, value=value) for name, value in ENGINE.items()]
        )
    )
    node.autostart()
    publishers = {
        topic: bench.client.create_publisher(type_, topic, 5)
        for topic, type_ in (
            ('/clock', Clock),
            ('/depth/image', Image),
            ('/depth/camera_info', CameraInfo),
        )
    }
    hands, stats = (
        bench.listen(HandArray, 'tracker/hands'),
        bench.listen(TrackerStats, 'tracker/stats'),
    )
    bench.until(
        lambda: all(publisher.get_subscription_count() for publisher in publishers.values()),
        'the node to listen',
    )
    bench.until(
        lambda: (
            node._outputs.hands_pub.get_subscription_count()
            and node._outputs.stats_pub.get_subscription_count()
        ),
        'listeners',
    )
    with AnyReader([path]) as reader:
        for connection, logged_ns, data in reader.messages():
            if connection.topic not in publishers:
                continue
            clock = Clock()
            clock.clock.sec, clock.clock.nanosec = divmod(logged_ns, 10**9)
            publishers['/clock'].publish(clock)
            bench.until(
                lambda: node.get_clock().now().nanoseconds == logged_ns, 'the time of the bag'
            )
            message = deserialize_message(
                data, {'/depth/image': Image, '/depth/camera_info': CameraInfo}[connection.topic]
            )
            count = len(hands)
            publishers[connection.topic].publish(message)
            if connection.topic == '/depth/camera_info':
                # all of a bag say the same
                bench.until(lambda: node._info is not None, 'the camera info')
            else:
                bench.until(lambda: len(hands) > count, 'the hands of the image', seconds=100)
                assert hands[-1].header == message.header
    bench.until(lambda: len(stats) == FRAMES, 'the statistics of all images')
    assert {s.frames_dropped for s in stats} == {0} and stats[-1].frames_processed == FRAMES
    # sim time: images arrive when they were taken
    assert all(abs(s.input_age_ms) < 1e-3 for s in stats)
    return hands


@pytest.mark.timeout(900)  # on an idle machine some seconds
def test_the_node_and_offline_tracking_say_the_same(bench, recording, tmp_path):
    live = replayed(bench, recording)
    tracker = HandTracker.from_pretrained(**ENGINE)
    with opened(Recording(recording)) as images:
        summary = track(
            images, tracker, Outputs(str(tmp_path / 'hands.jsonl'), bag=str(tmp_path / 'hands'))
        )
    assert summary.frames == len(live) == FRAMES
    assert summary.with_hands > FRAMES / 2, 'without hands nothing is compared'
    lines = [json.loads(line) for line in (tmp_path / 'hands.jsonl').read_text().splitlines()]
    with AnyReader([tmp_path / 'hands']) as reader:
        bagged = [
            deserialize_message(data, HandArray)
            for connection, _, data in reader.messages()
            if connection.topic == '/tracker/hands'
        ]
    for array, line, from_bag in zip(live, lines, bagged, strict=True):
        assert round(stamp_seconds(array.header.stamp) * 1e3) == round(line['stamp_ns'] / 1e6)
        assert (
            from_bag.header == array.header and from_bag.joint_convention == array.joint_convention
        )
        assert [(hand.id, hand.side) for hand in array.hands] == [
            (hand.id, hand.side) for hand in from_bag.hands
        ]
        assert [hand.id for hand in array.hands] == [hand['id'] for hand in line['hands']]
        for ours, record, other in zip(array.hands, line['hands'], from_bag.hands, strict=True):
            joints_mm = joints_from_hand(ours)
            np.testing.assert_allclose(1e3 * np.array(record['joints']), joints_mm, atol=0.1)
            np.testing.assert_allclose(joints_from_hand(other), joints_mm, atol=0.1)
            assert (ours.tracking_state, ours.roi) == (other.tracking_state, other.roi)
            assert ours.wrist_pose.orientation.w == pytest.approx(
                other.wrist_pose.orientation.w, abs=1e-3
            )


def test_ros_reads_the_bags_that_are_written(recording, tmp_path):
    with opened(Recording(recording)) as images:
        frame = next(iter(images))
        depth_mm, intrinsics = frame.load()
    with hands_bag(tmp_path / 'hands') as write:
        write(Tracked(0, frame, depth_mm, intrinsics, (hand(), hand(id='b', side='left'))))
    types = {
        '/tracker/hands': messages.HandArray,
        '/tracker/markers': messages.MarkerArray,
        '/tracker/poses': messages.PoseArray,
    }
    with AnyReader([tmp_path / 'hands']) as reader:
        got = {
            c.topic: deserialize_message(data, types[c.topic]) for c, _, data in reader.messages()
        }
    hands = got['/tracker/hands']
    assert [h.id for h in hands.hands] == [
        'hand_1',
        'b',
    ] and hands.header.frame_id == 'synthetic_camera_depth_optical_frame'
    np.testing.assert_allclose(joints_from_hand(hands.hands[0]), hand().joints_xyz, atol=1e-3)
    assert {(m.ns, m.type) for m in got['/tracker/markers'].markers} == {
        (ns, type_)
        for ns in ('hand_1', 'b')
        for type_ in (
            messages.Marker.LINE_LIST,
            messages.Marker.SPHERE_LIST,
            messages.Marker.TEXT_VIEW_FACING,
        )
    }
    assert len(got['/tracker/poses'].poses) == 42


@pytest.mark.parametrize('name', ['Hand', 'HandArray'])
def test_types_in_bags_have_the_hash_that_ros_computes(name):
    """`ros2 bag play` refuses messages of a type whose hash is another."""
    described = json.loads(open(f'{get_package_share_directory("awr_ros")}/msg/{name}.json').read())
    hashes = {entry['type_name']: entry['hash_string'] for entry in described['type_hashes']}
    assert typestore().hash_rihs01(f'awr_ros/msg/{name}') == hashes[f'awr_ros/msg/{name}']
