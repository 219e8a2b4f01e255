"""What the node takes besides plain images, and what it gives besides hands, over real DDS around a
fake tracker.
"""

import math
import struct
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from fakes import FRAME_ID, HEIGHT, WIDTH, Camera, hand, header, image, info
from geometry_msgs.msg import Point, PointStamped
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from awr_ros.camera import Intrinsics
from awr_ros.msg import HandArray, TrackerStats
from awr_ros.ros import conversions, external_candidates as external
from awr_ros.ros.diagnostics import Situation
from awr_ros.ros.node import TrackerNode
from awr_ros.ros.wrist_frames import tf_is_installed, wrist_transforms

K = Intrinsics(fx=30.0, fy=30.0, cx=15.5, cy=11.5, width=WIDTH, height=HEIGHT)


def start_node(bench, tracker, remapped=(), **overrides):
    node = bench.add(
        TrackerNode(
            tracker_factory=lambda values: tracker,
            parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
            cli_args=['--ros-args', *(word for rule in remapped for word in ('-r', rule))],
        )
    )
    node.autostart()
    return node


def compressed(depth, codec='png', stamp_s=100.0):
    data = struct.pack('<iff', 0, 0.0, 0.0) + cv2.imencode('.png', depth)[1].tobytes()
    return CompressedImage(
        header=header(stamp_s), format=f'16UC1; compressedDepth {codec}', data=array('B', data)
    )


# ---- camera_info


def test_infos_that_differ_by_their_stamps_only_are_one_and_other_ones_are_noticed(bench, tracker):
    node = start_node(bench, tracker)
    camera = Camera(bench.client)
    bench.until(camera.connected, 'the node to find the camera')
    known, count = [], lambda: node._health._infos
    for changes in (
        {},
        dict(header=header(101.0)),
        dict(k=[31.0, *info().k[1:]]),
        dict(header=header(102.0, 'other_frame')),
    ):
        before = count()
        camera.info(**changes)
        bench.until(lambda: count() > before, 'camera_info')
        known.append(node._info)
    assert known[0] is known[1] and known[0].k[0] == 30
    assert known[2].k[0] == 31 and known[3].k[0] == 30 and known[3].header.frame_id == 'other_frame'


def test_an_info_that_cannot_be_decoded_is_named_and_the_one_before_serves(
    bench, camera, hands, tracker, diagnostics
):
    whole = bytes(serialize_message(info()))
    for data in (whole[:30], whole[:-1], b'\0\0\0\1', whole[:4] + b'\xff' * 400):
        camera._infos.publish(data)
        diagnostics.until(
            f'camera_info refused: {len(data)} bytes that cannot be decoded',
            'input',
            DiagnosticStatus.ERROR,
        )
    camera.image()
    bench.until(lambda: hands, 'hands')
    assert tracker.calls[0][1].fx == 30


def test_texts_of_others_are_cut_short_and_stay_on_one_line(
    bench, node, camera, hands, diagnostics
):
    before = node._info
    camera.info(header=header(frame_id='line\n' * 10_000))
    bench.until(lambda: node._info is not before, 'camera_info')
    camera.image()
    diagnostics.until("its camera_info in 'line\\nline", 'input', DiagnosticStatus.WARN)
    camera.image(encoding='\n' * 10_000)
    bench.until(lambda: node._health._refusal, 'the refusal')
    assert '\n' not in node._health._refusal and len(node._health._refusal) < 500


def test_depth_of_another_unit_is_named_with_the_factor_that_mends_it(
    bench, node, camera, tracker, monkeypatch
):
    monkeypatch.setattr('awr_ros.ros.node.SILENCE_S', 0.0)
    tracker.hands = []
    camera.image(depth_mm=9000)  # steps of 0.1 mm
    bench.until(
        lambda: 'depth_scale 0.1 would make them 0.9 m' in str(node._health._notes), 'the note'
    )
    assert node.set_parameters([Parameter('depth_scale', value=0.1)])[0].successful
    camera.image(depth_mm=9000)
    bench.until(lambda: len(tracker.calls) == 2, 'the second image')
    np.testing.assert_allclose(tracker.calls[1][0], 900, rtol=1e-6)
    bench.until(lambda: not node._health._notes, 'the note to end')  # some seconds later


# ---- compressed images


@pytest.fixture
def compressed_camera(bench, tracker):
    """(node, camera for infos, publisher of compressed images), connected and informed."""
    node = start_node(bench, tracker, image_transport='compressedDepth')
    camera = Camera(bench.client)
    publisher = bench.client.create_publisher(CompressedImage, 'depth/image/compressedDepth', 1)
    bench.until(
        lambda: publisher.get_subscription_count() and camera.infos_connected(),
        'the node to find the camera',
    )
    camera.info()
    bench.until(lambda: node._info, 'camera_info')
    return node, camera, publisher


def test_compressed_depth_is_tracked_and_rvl_is_named(
    bench, compressed_camera, tracker, diagnostics
):
    _, _, publisher = compressed_camera
    depth = np.random.default_rng(0).integers(300, 3000, (HEIGHT, WIDTH)).astype(np.uint16)
    publisher.publish(compressed(depth))
    bench.until(lambda: tracker.calls, 'a tracked image')
    np.testing.assert_array_equal(tracker.calls[0][0], depth)
    publisher.publish(compressed(depth, 'rvl'))
    diagnostics.until("codec 'rvl' is not supported", 'input', DiagnosticStatus.ERROR)


def test_the_compressed_topic_may_be_given_in_full(bench, tracker):
    node = start_node(
        bench,
        tracker,
        ['depth/image:=/cam/depth/compressedDepth'],
        image_transport='compressedDepth',
    )
    assert node._input.topic == '/cam/depth/compressedDepth'


def test_a_camera_that_only_sends_compressed_images_is_named_with_the_remedy(
    bench, node, diagnostics
):
    bench.client.create_publisher(CompressedImage, 'depth/image/compressedDepth', 1)
    diagnostics.until(
        'set parameter image_transport to compressedDepth', 'input', DiagnosticStatus.ERROR
    )


def test_another_type_on_the_topic_is_named(bench, node, diagnostics):
    context = rclpy.Context()  # one participant of DDS cannot have two types on a topic
    rclpy.init(context=context)
    try:
        other = rclpy.create_node('other', context=context)
        other.create_publisher(PointStamped, 'depth/image', 1)
        diagnostics.until(
            'as geometry_msgs/msg/PointStamped (reliable, volatile), which is not '
            'sensor_msgs/msg/Image and never '
            'arrives',
            'input',
            DiagnosticStatus.ERROR,
        )
        other.destroy_node()
    finally:
        rclpy.shutdown(context=context)


# ---- lens distortion


def test_distortion_is_undone_ignored_or_refused_as_the_parameter_says(
    bench, node, camera, tracker, diagnostics
):
    before = node._info
    # pulls to the middle
    camera.info(distortion_model='rational_polynomial', d=[0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0])
    bench.until(lambda: node._info is not before, 'camera_info')
    ramp = np.tile(np.arange(WIDTH, dtype='<u2') + 500, (HEIGHT, 1))
    message = image(data=array('B', ramp.tobytes()))
    camera.image(message)
    bench.until(lambda: tracker.calls, 'a tracked image')
    undone = tracker.calls[0][0]
    x = (WIDTH - 1 - K.cx) / K.fx  # right end of the middle row: y is about 0
    assert (
        undone[12, -1] == 500 + round(K.cx + K.fx * x / (1 + 0.5 * x * x))
        and undone[12, 15] == ramp[12, 15]
    )
    node.set_parameters([Parameter('distortion', value='ignore')])
    camera.image(message)
    bench.until(lambda: len(tracker.calls) == 2, 'the second image')
    np.testing.assert_array_equal(tracker.calls[1][0], ramp)
    node.set_parameters([Parameter('distortion', value='refuse')])
    camera.image(message)
    diagnostics.until('parameter distortion refuses', 'input', DiagnosticStatus.ERROR)


def test_a_rectified_image_with_the_lens_of_the_raw_one_is_named(bench, tracker, diagnostics):
    node = bench.add(
        TrackerNode(
            tracker_factory=lambda values: tracker,
            cli_args=['--ros-args', '-r', 'depth/image:=depth/image_rect'],
        )
    )
    node.autostart()
    camera = Camera(bench.client, image_topic='depth/image_rect')
    bench.until(camera.connected, 'the node to find the camera')
    camera.info(d=[0.1, 0.0, 0.0, 0.0, 0.0])
    bench.until(lambda: node._info, 'camera_info')
    camera.image()
    diagnostics.until('/depth/image_rect sounds rectified', 'input', DiagnosticStatus.WARN)


# ---- candidates of external detectors


def test_points_of_others_reach_the_tracker_and_foreign_frames_are_named(
    bench, tracker, diagnostics
):
    tracker.hands = []
    node = start_node(bench, tracker, finder='external')
    camera = Camera(bench.client)
    points = bench.client.create_publisher(PointStamped, 'tracker/centre', 10)
    bench.until(
        lambda: camera.connected() and points.get_subscription_count(),
        'the node to find its inputs',
    )
    camera.info()
    bench.until(lambda: node._info, 'camera_info')

    def publish(*candidates):
        for frame_id, x in candidates:
            points.publish(
                PointStamped(header=header(frame_id=frame_id), point=Point(x=x, y=0.0, z=0.5))
            )
        camera.image()
        bench.spin(0.05)

    def said(*texts):
        return any(
            all(text in s.message for text in texts) and s.level == DiagnosticStatus.WARN
            for m in diagnostics._heard
            for s in m.status
        )

    def both_hands():
        # each replaces the older one of the same hand
        publish((FRAME_ID, 0.1), (FRAME_ID, -0.1))
        return tracker.centres and tracker.centres[-1].tolist() == [[-100, 0, 500], [100, 0, 500]]

    bench.until(both_hands, 'both candidates')

    def foreign():
        publish(('map', 0.0))
        return said(
            "candidates are in frame 'map' and the image is in 'camera_depth_optical_frame'"
        )

    bench.until(foreign, 'the foreign frame to be named')
    assert [0, 0, 500] not in tracker.centres[-1].tolist()

    def silent():
        publish()
        return said('no candidate came for', '/tracker/centre (published by /client')

    bench.until(silent, 'the silence to be named')


def test_points_are_not_asked_for_with_the_own_finder(bench, node, camera, tracker):
    node._external._on_point(PointStamped(header=header(), point=Point(z=0.5)))
    camera.image()
    bench.until(lambda: tracker.calls, 'a tracked image')
    assert tracker.centres[0].size == 0


def test_a_box_is_as_far_away_as_what_is_near_in_its_inner_half():
    depth = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    depth[8:16, 12:20] = 600  # a hand before a wall
    depth[10:12, 14:18] = 0  # not measured everywhere
    centre = external.centre_of_box((16.0, 12.0, 14.0, 14.0), depth, K)
    np.testing.assert_allclose(centre, K.uvd_to_xyz(np.array([16.0, 12.0, 610.0])))
    for box in (
        (16.0, 12.0, 14.0, 14.0),
        (500.0, 12.0, 10.0, 10.0),
        (float('nan'), 12.0, 10.0, 10.0),
    ):
        assert external.centre_of_box(box, np.zeros((HEIGHT, WIDTH), np.uint16), K) is None


def test_boxes_serve_for_half_a_second_and_only_in_the_frame_of_the_image(bench, node, monkeypatch):
    """The message of vision_msgs as an object with its fields, so that it need not be installed."""
    candidates, now = node._external, [10.0]
    monkeypatch.setattr(external.time, 'monotonic', lambda: now[0])
    box = SimpleNamespace(
        center=SimpleNamespace(position=SimpleNamespace(x=16.0, y=12.0)), size_x=8.0, size_y=8.0
    )
    candidates._on_boxes(SimpleNamespace(header=header(), detections=[SimpleNamespace(bbox=box)]))
    depth = np.full((HEIGHT, WIDTH), 500, np.uint16)
    assert (
        candidates.centres(FRAME_ID, depth, K, 10.4).shape == (1, 3)
        and candidates.note(FRAME_ID, 10.4) == ''
    )
    assert candidates.centres('map', depth, K, 10.4).shape == (0, 3)
    assert candidates.centres(FRAME_ID, depth, K, 10.6).shape == (
        0,
        3,
    ) and 'no candidate came for 1 s' in candidates.note(FRAME_ID, 10.6)


def test_a_detector_that_sees_nothing_neither_alarms_nor_takes_the_other_candidates(
    bench, node, monkeypatch
):
    candidates, now = node._external, [10.0]
    monkeypatch.setattr(external.time, 'monotonic', lambda: now[0])
    depth = np.full((HEIGHT, WIDTH), 500, np.uint16)
    for x in (0.1, math.nan):
        candidates._on_point(PointStamped(header=header(), point=Point(x=x, z=0.5)))
    assert candidates.centres(FRAME_ID, depth, K, 10.1).tolist() == [[100, 0, 500]]
    now[0] = 11.0
    candidates._on_boxes(SimpleNamespace(header=header(), detections=[]))
    assert (
        candidates.centres(FRAME_ID, depth, K, 11.1).size == 0
        and candidates.note(FRAME_ID, 11.1) == ''
    )
    assert 'no candidate came for 1 s' in candidates.note(FRAME_ID, 12.0)


@pytest.mark.parametrize(
    'box',
    [(1.7e308, 12.0, 1.7e308, 14.0), (16.0, 12.0, 1e300, 1e300), (16.0, -1.7e308, 14.0, -1e308)],
)
def test_boxes_of_absurd_size_are_boxes(box):
    external.centre_of_box(box, np.full((HEIGHT, WIDTH), 600, np.uint16), K)  # raises nothing


@pytest.mark.parametrize(
    'x, z',
    [(0.0, 500.0), (1e300, 0.5), (0.0, -0.5), (0.0, 0.01)],
    ids=['mm', 'absurd', 'behind', 'too near'],
)
def test_points_where_no_hand_can_be_are_left_out_and_named(bench, node, monkeypatch, x, z):
    candidates, depth = node._external, np.full((HEIGHT, WIDTH), 500, np.uint16)
    monkeypatch.setattr(external.time, 'monotonic', lambda: 10.0)
    candidates._on_point(PointStamped(header=header(), point=Point(x=x, z=z)))
    assert candidates.centres(FRAME_ID, depth, K, 10.1).size == 0
    assert (
        f'a candidate is at ({x:.3g}, 0, {z:.3g}) m, where the camera sees no hand'
        in candidates.note(FRAME_ID, 10.1)
    )


def test_boxes_over_dds(bench, tracker):
    vision = pytest.importorskip('vision_msgs.msg')
    node = start_node(bench, tracker, finder='external')
    camera = Camera(bench.client)
    boxes = bench.client.create_publisher(vision.Detection2DArray, 'tracker/boxes', 1)
    bench.until(
        lambda: camera.connected() and boxes.get_subscription_count(), 'the node to find its inputs'
    )
    camera.info()
    bench.until(lambda: node._info, 'camera_info')
    box = vision.BoundingBox2D(size_x=8.0, size_y=8.0)
    box.center.position.x, box.center.position.y = 15.5, 11.5

    def told():
        boxes.publish(
            vision.Detection2DArray(header=header(), detections=[vision.Detection2D(bbox=box)])
        )
        camera.image()
        bench.spin(0.05)
        return tracker.centres and tracker.centres[-1].size

    bench.until(told, 'a candidate')
    np.testing.assert_allclose(tracker.centres[-1], [[0, 0, 510]])


# ---- what else comes out


def test_a_listener_that_asks_for_more_than_is_offered_is_named_with_both_sides(
    bench, node, diagnostics
):
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    subscription = bench.client.create_subscription(HandArray, 'tracker/hands', lambda _: None, qos)
    words = (
        '/client gets nothing on /tracker/hands: it asks for (reliable, transient_local), offered '
        'is (reliable, volatile)'
    )
    for _ in range(2):  # it is not forgotten from one report to the next
        diagnostics.until(words, 'tracking', DiagnosticStatus.WARN)
    bench.client.destroy_subscription(subscription)
    bench.until(
        lambda: any(
            s.name == 'tracker: tracking' and words not in s.message
            for m in diagnostics._heard
            for s in m.status
        ),
        'the warning to end',
    )


def test_wrists_become_transforms_of_hands_that_are_seen():
    unknown = hand(id='1').joints_xyz.copy()
    unknown[9] = np.nan
    hands = conversions.hand_array(
        [hand(id='0'), hand(id='1', joints_xyz=unknown), hand(id='2', state='coasting')],
        header(),
        WIDTH,
        HEIGHT,
    )
    (transform,) = wrist_transforms(hands, 'left_arm/hand_')
    pose = hands.hands[0].wrist_pose
    assert transform.header == hands.header and transform.child_frame_id == 'left_arm/hand_0_wrist'
    assert (
        transform.transform.rotation == pose.orientation
        and transform.transform.translation.z == pose.position.z
    )


def test_transforms_over_dds(bench, node, camera):
    tf = pytest.importorskip('tf2_msgs.msg')
    heard = bench.listen(tf.TFMessage, '/tf')
    camera.image()
    assert node.set_parameters([Parameter('tf', value=True)])[0].successful

    def told():
        camera.image()
        bench.spin(0.05)
        return heard

    bench.until(told, 'a transform')
    assert (
        heard[0].transforms[0].child_frame_id == 'hand_hand_1_wrist'
        and heard[0].transforms[0].header.frame_id == FRAME_ID
    )


@pytest.mark.skipif(tf_is_installed(), reason='tf2_msgs is installed')
def test_transforms_without_their_message_are_refused_with_the_remedy(node):
    (result,) = node.set_parameters([Parameter('tf', value=True)])
    assert not result.successful and 'tf2_msgs is not installed (apt install' in result.reason


def test_smoothing_reaches_the_tracker_while_it_runs(bench, node, camera, hands, tracker):
    assert all(
        r.successful
        for r in node.set_parameters(
            [
                Parameter('smoothing', value=True),
                Parameter('smoothing_min_cutoff', value=0.5),
                Parameter('smoothing_beta', value=50.0),
            ]
        )
    )
    camera.image()
    bench.until(lambda: hands, 'hands')
    assert (
        tracker.config.smoothing,
        tracker.config.smoothing_min_cutoff_hz,
        tracker.config.smoothing_beta,
    ) == (True, 0.5, 0.05)


def test_the_picture_shows_what_the_tracker_saw(bench, compressed_camera):
    node, _, publisher = compressed_camera
    pictures = bench.listen(Image, 'tracker/debug/image')
    bench.until(
        lambda: node._outputs.debug_pub.get_subscription_count(), 'the picture to have a listener'
    )
    publisher.publish(compressed(np.full((HEIGHT, WIDTH), 500, np.uint16)))
    bench.until(lambda: pictures, 'a picture')
    assert (pictures[0].width, pictures[0].height, pictures[0].header.frame_id) == (
        WIDTH,
        HEIGHT,
        FRAME_ID,
    )


# ---- what the diagnostics must not miss


def test_diagnostics_come_while_simulated_time_rests(bench, tracker, diagnostics):
    start_node(bench, tracker, use_sim_time=True)
    diagnostics.until('no image on /depth/image', 'input', DiagnosticStatus.ERROR)


def test_before_the_first_clock_the_age_of_an_image_is_not_known(bench, tracker):
    node = start_node(bench, tracker, use_sim_time=True)
    stats = bench.listen(TrackerStats, 'tracker/stats')
    camera = Camera(bench.client)
    bench.until(
        lambda: camera.connected() and node._outputs.stats_pub.get_subscription_count(),
        'the node to find the camera',
    )
    camera.info()
    bench.until(lambda: node._info, 'camera_info')
    camera.image()
    bench.until(lambda: stats, 'stats')
    assert math.isnan(stats[0].input_age_ms)


def test_simulated_time_that_does_not_come_or_stands_still_is_named(bench, tracker, diagnostics):
    node = start_node(bench, tracker, use_sim_time=True)

    def said(text):
        diagnostics._heard.clear()
        bench.until(
            lambda: any(text in s.message for m in diagnostics._heard for s in m.status), text
        )

    said('use_sim_time is true, but no time has come on /clock: nobody publishes it')
    camera = Camera(bench.client)
    bench.until(camera.connected, 'the node to find the camera')

    def tracked():  # the first image may come before the node's subscription is known everywhere
        camera.info()
        camera.image()
        return tracker.calls

    bench.until(tracked, 'a tracked image')
    report = node._health.report(
        'tracker', Situation('active', '', True, '', sources=(('', ''), ('', ''))), 0.0
    )[0]
    assert 'stamped' not in report.message, 'of a clock that is not there no image has an age'
    clock = bench.client.create_publisher(Clock, '/clock', 1)
    bench.until(clock.get_subscription_count, 'the node to find the clock')
    clock.publish(Clock(clock=Time(sec=7)))
    said('use_sim_time is true, but time has stood still for')
    clock.publish(Clock(clock=Time(sec=2**31 - 1, nanosec=2**32 - 1)))  # no message can hold this
    bench.until(lambda: node.get_clock().now().nanoseconds > 2 * 10**18, 'the time to be taken')
    said('no image on')


def test_images_without_a_frame_are_named(camera, diagnostics):
    camera.image(header=header(frame_id=''))
    diagnostics.until('the image has no frame_id', 'input', DiagnosticStatus.WARN)
