"""The node over real DDS around a fake tracker: everything that is not the network."""

import gc
import math
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from conftest import PATIENCE_S
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import BEST_EFFORT, LATCHED, RELIABLE, Camera, FakeTracker, hand, header, image
from geometry_msgs.msg import PoseArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import Marker, MarkerArray

from awr_ros.msg import TrackerStats
from awr_ros.ros.node import TrackerNode


def change_state(bench, transition):
    return bench.call(
        ChangeState,
        'tracker/change_state',
        ChangeState.Request(transition=Transition(id=transition)),
    )


def state(bench):
    return bench.call(GetState, 'tracker/get_state', GetState.Request()).current_state.id


def set_parameter(bench, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return bench.call(SetParameters, 'tracker/set_parameters', request).results[0]


# ---- images to hands


def test_image_becomes_hands_in_metres_with_its_header(bench, camera, hands, tracker):
    sent = camera.image()
    got = bench.until(lambda: hands, 'hands')[0]
    assert got.header == sent.header
    assert got.joint_convention == 'mediapipe_21'
    assert [h.id for h in got.hands] == ['hand_1']
    xyz = np.array([(p.x, p.y, p.z) for p in got.hands[0].joints])
    np.testing.assert_allclose(xyz, tracker.hands[0].joints_xyz / 1000, atol=1e-6)
    depth_mm, intrinsics, stamp_s = tracker.calls[0]
    assert (depth_mm == 500).all() and intrinsics.fx == 30 and intrinsics.cx == 15.5
    assert stamp_s == pytest.approx(sent.header.stamp.sec + sent.header.stamp.nanosec * 1e-9)


def test_no_hand_is_an_empty_array_with_the_header(bench, camera, hands, tracker):
    tracker.hands = []
    sent = camera.image()
    got = bench.until(lambda: hands, 'an empty array')[0]
    assert got.header == sent.header and list(got.hands) == []


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16', '32FC1'])
def test_every_depth_encoding_is_millimetres_inside(bench, camera, hands, tracker, encoding):
    camera.image(encoding=encoding, depth_mm=750)
    bench.until(lambda: hands, 'hands')
    np.testing.assert_allclose(tracker.calls[0][0], 750, rtol=1e-6)


def test_stats_count_and_time(bench, node, camera):
    stats = bench.listen(TrackerStats, 'tracker/stats')
    bench.until(
        lambda: node._outputs.stats_pub.get_subscription_count(), 'the stats to have a listener'
    )
    for number in range(1, 4):
        sent = camera.image()
        bench.until(lambda: len(stats) == number, f'stats {number}')
    last = stats[-1]
    assert last.header == sent.header
    assert (last.frames_received, last.frames_processed, last.frames_dropped) == (3, 3, 0)
    assert (last.find_ms, last.inference_ms, last.postprocess_ms) == (1, 2, 3)
    assert 0 <= last.decode_ms <= last.latency_ms < 10_000
    assert last.input_age_ms > 1e6  # the stamps of this camera are of 1970


def test_poses_and_debug_image_have_the_header(bench, node, camera, tracker):
    poses = bench.listen(PoseArray, 'tracker/poses')
    pictures = bench.listen(Image, 'tracker/debug/image')
    bench.until(
        lambda: (
            node._outputs.poses_pub.get_subscription_count()
            and node._outputs.debug_pub.get_subscription_count()
        ),
        'listeners',
    )
    sent = camera.image()
    bench.until(lambda: poses and pictures, 'poses and a picture')
    assert poses[0].header == sent.header and len(poses[0].poses) == 21
    picture = pictures[0]
    assert picture.header == sent.header and picture.encoding == 'bgr8'
    assert (picture.width, picture.height, len(picture.data)) == (32, 24, 32 * 24 * 3)


def test_newest_image_wins_and_nothing_queues(bench, node, camera, tracker):
    stats = bench.listen(TrackerStats, 'tracker/stats')
    bench.until(
        lambda: node._outputs.stats_pub.get_subscription_count(), 'the stats to have a listener'
    )
    tracker.gate.clear()
    sent = []
    for number in range(1, 7):  # the first is being tracked, 2 to 5 give way to 6
        sent.append(camera.image())
        bench.until(lambda: node._health.counts.received == number, f'image {number}')
        bench.until(lambda: tracker.calls, 'the first image to be taken')
    tracker.gate.set()
    bench.until(lambda: len(stats) == 2, 'two processed images')
    bench.spin(0.2)
    assert [s.header for s in stats] == [sent[0].header, sent[5].header]
    assert (stats[0].frames_received, stats[0].frames_dropped) == (1, 0)
    assert (stats[1].frames_received, stats[1].frames_processed, stats[1].frames_dropped) == (
        6,
        2,
        4,
    )


def test_images_that_come_at_once_are_dropped_and_not_lost(bench, node, camera, tracker):
    """A busy CPU lets several wait for the node's thread."""
    stats = bench.listen(TrackerStats, 'tracker/stats')
    bench.until(
        lambda: node._outputs.stats_pub.get_subscription_count(), 'the stats to have a listener'
    )
    infos = node._health._infos
    for _ in range(4):
        camera.info()
        newest = camera.image()
    bench.until(lambda: any(s.header == newest.header for s in stats), 'the newest image')
    last = stats[-1]
    assert (last.frames_received, last.frames_processed + last.frames_dropped) == (4, 4)
    bench.until(lambda: node._health._infos == infos + 4, 'all camera infos')


# ---- quality of service


@pytest.mark.parametrize('first', ['tracker first', 'camera first'])
@pytest.mark.parametrize('image_qos', [RELIABLE, BEST_EFFORT], ids=['reliable', 'best_effort'])
@pytest.mark.parametrize(
    'info_qos', [RELIABLE, BEST_EFFORT, LATCHED], ids=['reliable', 'best_effort', 'latched']
)
def test_every_quality_of_service_is_heard(bench, tracker, image_qos, info_qos, first):
    def start_node():
        node = bench.add(TrackerNode(tracker_factory=lambda values: tracker))
        node.autostart()

    if first == 'tracker first':
        start_node()
        bench.spin(0.1)
    camera = Camera(bench.client, image_qos, info_qos)
    if info_qos is LATCHED:
        camera.info()  # once, and before anybody listens
    if first == 'camera first':
        bench.until(lambda: bench.client.count_publishers('depth/image'), 'the camera')
        start_node()

    def tracked():
        if info_qos is not LATCHED:
            camera.info()
        camera.image()
        bench.spin(0.03)
        return tracker.calls

    bench.until(tracked, 'a tracked image')


@pytest.mark.parametrize(
    'qos', [RELIABLE, BEST_EFFORT, LATCHED], ids=['reliable', 'best_effort', 'latched']
)
def test_no_driver_is_asked_for_what_it_does_not_offer(bench, node, qos):
    """It would print "requesting incompatible QoS. No messages will be sent to it"."""
    bench.spin(0.1)  # the tracker is there first
    refused, driver = [], bench.add(rclpy.create_node('driver'))
    for message_type, topic in ((Image, 'depth/image'), (CameraInfo, 'depth/camera_info')):
        driver.create_publisher(
            message_type,
            topic,
            qos,
            event_callbacks=PublisherEventCallbacks(incompatible_qos=refused.append),
        )

    def asked():
        return {
            (s.qos_profile.reliability, s.qos_profile.durability)
            for topic in ('/depth/image', '/depth/camera_info')
            for s in driver.get_subscriptions_info_by_topic(topic)
        }

    bench.until(
        lambda: asked() == {(qos.reliability, qos.durability)}, 'what is offered to be made use of'
    )
    bench.executor.remove_node(driver)
    bench.nodes.remove(driver)
    driver.destroy_node()
    other = bench.add(rclpy.create_node('other_driver'))
    bench.until(
        lambda: (
            {
                (s.qos_profile.reliability, s.qos_profile.durability)
                for s in other.get_subscriptions_info_by_topic('/depth/image')
            }
            == {(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)}
        ),
        'the subscription to ask for nothing again',
    )
    assert not refused


def test_the_quality_of_service_of_each_output_is_a_parameter(bench, tracker):
    overrides = {'reliability': 'best_effort', 'durability': 'transient_local', 'depth': 3}
    node = bench.add(
        TrackerNode(
            tracker_factory=lambda values: tracker,
            parameter_overrides=[
                Parameter(f'qos_overrides./tracker/hands.publisher.{policy}', value=value)
                for policy, value in overrides.items()
            ],
        )
    )
    (offered,) = node.get_publishers_info_by_topic('/tracker/hands')
    assert (offered.qos_profile.reliability, offered.qos_profile.durability) == (
        ReliabilityPolicy.BEST_EFFORT,
        DurabilityPolicy.TRANSIENT_LOCAL,
    )
    for topic in (
        'tracker/hands',
        'tracker/markers',
        'tracker/poses',
        'tracker/stats',
        'tracker/debug/image',
        'diagnostics',
    ):
        assert node.has_parameter(f'qos_overrides./{topic}.publisher.reliability')


# ---- bad input

BAD_IMAGES = {
    'encoding': (dict(encoding='rgb8'), "encoding is 'rgb8'"),
    'step': (dict(step=10), 'step is 10 bytes'),
    'longer step': (dict(step=100), 'step 100'),
    'truncated': (dict(data=image().data[:-7]), f'data has {32 * 24 * 2 - 7} bytes'),
    'empty': (dict(width=0, height=0, step=0, data=image().data[:0]), '0 x 0'),
    'other size': (
        dict(width=16, step=32, data=image().data[: 16 * 24 * 2]),
        'image is 16 x 24, but camera_info is for 32 x 24',
    ),
}


@pytest.mark.parametrize('changes, words', BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_image_is_named_and_the_next_one_tracked(
    bench, camera, hands, diagnostics, changes, words
):
    camera.image(**changes)
    diagnostics.until(words, 'input', DiagnosticStatus.ERROR)
    assert not hands
    good = camera.image()
    assert bench.until(lambda: hands, 'hands')[0].header == good.header


BAD_INFOS = {
    'zero K': (dict(k=[0.0] * 9), 'K has fx=0'),
    'NaN K': (dict(k=[math.nan] * 9), 'K has fx=nan'),
    'other size': (dict(width=640, height=480), 'camera_info is for 640 x 480'),
    'no size': (dict(width=0, height=0), 'image of 0 x 0'),
}


@pytest.mark.parametrize('changes, words', BAD_INFOS.values(), ids=BAD_INFOS)
def test_bad_info_is_named_and_a_good_one_mends_it(
    bench, node, camera, hands, diagnostics, changes, words
):
    camera.info(**changes)
    before = node._info
    bench.until(lambda: node._info is not before, 'the bad camera_info')
    camera.image()
    diagnostics.until(words, 'input', DiagnosticStatus.ERROR)
    assert not hands
    bad = node._info
    camera.info()
    bench.until(lambda: node._info is not bad, 'the good camera_info')
    camera.image()
    bench.until(lambda: hands, 'hands')


@pytest.mark.parametrize(
    'encoding, value', [('16UC1', 0), ('32FC1', math.nan), ('32FC1', -1000.0), ('32FC1', math.inf)]
)
def test_depth_without_a_measurement_is_tracked_and_named(
    bench, camera, hands, tracker, diagnostics, encoding, value
):
    tracker.hands = []
    camera.image(encoding=encoding, depth_mm=value)
    diagnostics.until('no valid depth', 'input', DiagnosticStatus.WARN)
    assert not tracker.calls[0][0].any()
    assert bench.until(lambda: hands, 'an empty array')[0].hands == []


def test_stamp_zero_is_tracked_by_arrival_and_named(bench, camera, hands, tracker, diagnostics):
    camera.image(image(0.0))
    diagnostics.until('stamp is 0', 'input', DiagnosticStatus.WARN)
    assert bench.until(lambda: hands, 'hands')[0].header.stamp.sec == 0
    camera.image(image(0.0))
    bench.until(lambda: len(tracker.calls) == 2, 'the second image')
    assert tracker.calls[1][2] > tracker.calls[0][2]


def test_a_failing_tracker_is_named_and_gets_the_next_image(
    bench, camera, hands, tracker, diagnostics
):
    tracker.failure = RuntimeError('out of memory')
    camera.image()
    diagnostics.until('RuntimeError: out of memory', 'input', DiagnosticStatus.ERROR)
    tracker.failure = None
    camera.image()
    bench.until(lambda: hands, 'hands')


def test_frames_that_differ_are_named_and_lived_with(bench, node, camera, hands, diagnostics):
    before = node._info
    camera.info(header=header(frame_id='elsewhere'))
    bench.until(lambda: node._info is not before, 'camera_info')
    camera.image()
    bench.until(lambda: hands, 'hands')
    diagnostics.until("camera_info in 'elsewhere'", 'input', DiagnosticStatus.WARN)


# ---- diagnostics


def test_diagnostics_without_camera(node, diagnostics):
    diagnostics.until('no image on /depth/image', 'input', DiagnosticStatus.ERROR)
    diagnostics.until('nobody publishes it', 'input', DiagnosticStatus.ERROR)


def test_diagnostics_without_info(bench, node, diagnostics):
    camera = Camera(bench.client)
    bench.until(camera.connected, 'the node to find the camera')
    camera.image()
    diagnostics.until('no camera_info on /depth/camera_info', 'input', DiagnosticStatus.ERROR)
    assert node._health.counts.refused == 0


def test_a_network_that_is_slow_to_load_does_not_crowd_the_reports(bench, tracker):
    def load_slowly(_values):
        time.sleep(1.1)  # longer than the time between two reports
        return tracker

    node = bench.add(TrackerNode(tracker_factory=load_slowly))
    reports = bench.listen(DiagnosticArray, '/diagnostics')
    bench.until(node._diagnostics_pub.get_subscription_count, 'the listener to be known')
    node.autostart()
    start_s = time.monotonic()
    bench.until(lambda: reports, 'a report')
    bench.spin(0.2)
    assert len(reports) <= 1 + (time.monotonic() - start_s), 'more than one in a second'


def test_who_waits_for_a_first_start_is_told_why(bench, tracker, monkeypatch):
    said, told = [], threading.Event()
    monkeypatch.setattr('awr_ros.ros.node.LOADING_S', 0.01)

    def load_until_told(_values):
        assert told.wait(PATIENCE_S)
        return tracker

    node = bench.add(TrackerNode(tracker_factory=load_until_told))
    logger = SimpleNamespace(info=lambda text: (said.append(text), told.set()))
    monkeypatch.setattr(node, 'get_logger', lambda: logger)
    node.autostart()
    assert said[0] == 'still loading: a first start converts the network and measures the engines'
    assert said[1].startswith('tracking hands on')


def test_diagnostics_name_engine_and_are_ok_while_tracking(bench, camera, diagnostics):
    def tracking():
        camera.image()
        bench.spin(0.03)
        return any(
            s.message == 'ok'
            and s.level == DiagnosticStatus.OK
            and s.name == 'tracker: tracking'
            and any(v.key == 'engine' and v.value == 'fake tracker' for v in s.values)
            for m in diagnostics._heard
            for s in m.status
        )

    bench.until(tracking, 'everything to be ok')


# ---- services and parameters


def test_disable_is_silent_and_clears_markers_and_enable_goes_on(
    bench, node, camera, hands, tracker, diagnostics
):
    markers = bench.listen(MarkerArray, 'tracker/markers')
    bench.until(
        lambda: node._outputs.markers_pub.get_subscription_count(), 'the markers to have a listener'
    )
    camera.image()
    bench.until(lambda: hands and markers, 'hands and markers')
    assert bench.call(SetBool, 'tracker/enable', SetBool.Request(data=False)).success
    bench.until(lambda: len(markers) == 2, 'the markers to be deleted')
    assert {m.action for m in markers[1].markers} == {Marker.DELETE}
    diagnostics.until('disabled', 'tracking', DiagnosticStatus.WARN)
    calls = len(tracker.calls)
    camera.image()
    bench.spin(0.2)
    assert len(hands) == 1 and len(tracker.calls) == calls
    node._on_image(image())  # one that was on its way when listening ended
    resets = tracker.resets
    assert bench.call(SetBool, 'tracker/enable', SetBool.Request(data=True)).success
    assert tracker.resets == resets + 1
    bench.until(camera.connected, 'the node to listen again')
    camera.info()
    bench.until(lambda: node._info, 'camera_info')
    camera.image()
    bench.until(lambda: len(hands) == 2, 'hands again')


def test_reset_forgets_the_hands(bench, camera, hands, tracker):
    resets = tracker.resets
    assert bench.call(Trigger, 'tracker/reset', Trigger.Request()).success
    camera.image()
    bench.until(lambda: hands, 'hands')
    assert tracker.resets == resets + 1


def test_time_that_jumps_back_forgets_the_hands(bench, camera, hands, tracker):
    camera.image(image(200.0))
    bench.until(lambda: len(hands) == 1, 'hands')
    resets = tracker.resets
    camera.image(image(198.9))
    bench.until(lambda: len(hands) == 2, 'hands of the earlier image')
    assert tracker.resets == resets + 1


@pytest.mark.parametrize(
    'behind_s, words, times',
    [(0.05, 'stamps go back by 0.017 s', 0), (10.0, 'stamps went back by', 10)],
)
def test_two_clocks_on_a_topic_are_named_and_flood_no_log(
    bench, node, camera, hands, tracker, diagnostics, behind_s, words, times
):
    lines = bench.listen(Log, '/rosout', 100)
    bench.until(lambda: bench.client.count_publishers('/rosout'), 'the log')
    resets = tracker.resets
    for index in range(20):
        done = node._health.counts.processed
        camera.image(image(200 + index / 30 - behind_s * (index % 2)))
        bench.until(lambda done=done: node._health.counts.processed > done, 'the image to be done')
    diagnostics.until(words, 'input', DiagnosticStatus.WARN)
    assert tracker.resets - resets == times
    assert sum('went back' in line.msg for line in lines if line.level < 30) <= 1


def test_a_late_image_is_left_out_and_counted_as_dropped(bench, node, camera, hands, tracker):
    stats = bench.listen(TrackerStats, 'tracker/stats')
    bench.until(
        lambda: node._outputs.stats_pub.get_subscription_count(), 'the stats to have a listener'
    )
    for stamp_s in (200.0, 200.1, 200.05, 200.15):
        done = node._health.counts.processed
        camera.image(image(stamp_s))
        bench.until(lambda done=done: node._health.counts.processed > done, 'the image to be done')
    bench.until(lambda: len(hands) == len(stats) == 3, 'three tracked images')
    assert (stats[-1].frames_received, stats[-1].frames_processed, stats[-1].frames_dropped) == (
        4,
        3,
        1,
    )


def test_live_parameter_reaches_the_tracker(bench, camera, hands, tracker):
    assert set_parameter(bench, 'max_hands', 1).successful
    assert set_parameter(bench, 'max_depth', 2.5).successful
    camera.image()
    bench.until(lambda: hands, 'hands')
    assert tracker.config.max_hands == 1 and tracker.config.max_depth_mm == pytest.approx(2500)


@pytest.mark.parametrize(
    'name, value, words',
    [
        ('max_hands', 0, 'max_hands'),
        ('side', 'both', "side is 'both'"),
        ('min_depth', 4.9, 'min_depth is 4.9'),
        ('weights', 'other.pt', 'while not active'),
        ('autostart', False, 'read-only'),
    ],
)
def test_unusable_parameter_is_refused_with_its_name(bench, node, name, value, words):
    result = set_parameter(bench, name, value)
    assert not result.successful and words in result.reason


# ---- lifecycle


def test_without_autostart_nothing_happens_until_asked(bench, tracker, diagnostics):
    node = bench.add(
        TrackerNode(
            tracker_factory=lambda values: tracker,
            parameter_overrides=[Parameter('autostart', value=False)],
        )
    )
    node.autostart()
    assert state(bench) == State.PRIMARY_STATE_UNCONFIGURED
    diagnostics.until('not active: unconfigured', 'tracking', DiagnosticStatus.WARN)
    assert change_state(bench, Transition.TRANSITION_CONFIGURE).success
    assert state(bench) == State.PRIMARY_STATE_INACTIVE
    assert bench.client.count_subscribers('depth/image') == 0
    assert change_state(bench, Transition.TRANSITION_ACTIVATE).success
    assert state(bench) == State.PRIMARY_STATE_ACTIVE
    bench.until(lambda: bench.client.count_subscribers('depth/image') == 1, 'a subscription')


def test_deactivate_frees_the_network_and_activate_loads_it_again(bench):
    alive = weakref.WeakSet()

    def load(values):
        tracker = FakeTracker()
        alive.add(tracker)
        return tracker

    node = bench.add(TrackerNode(tracker_factory=load))
    node.autostart()
    assert len(alive) == 1
    assert change_state(bench, Transition.TRANSITION_DEACTIVATE).success
    gc.collect()
    assert len(alive) == 0
    assert set_parameter(bench, 'weights', 'other.pt').successful
    assert change_state(bench, Transition.TRANSITION_ACTIVATE).success
    assert len(alive) == 1
    assert change_state(bench, Transition.TRANSITION_DEACTIVATE).success
    assert change_state(bench, Transition.TRANSITION_CLEANUP).success
    assert state(bench) == State.PRIMARY_STATE_UNCONFIGURED
    assert change_state(bench, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN).success
    assert state(bench) == State.PRIMARY_STATE_FINALIZED


def test_what_a_node_has_loaded_is_out_of_reach_of_the_garbage_collector(bench):
    gc.unfreeze()
    node = bench.add(TrackerNode(tracker_factory=lambda values: FakeTracker()))
    assert gc.get_freeze_count() == 0
    node.autostart()
    # a full collection goes through the others alone, and so pauses the node for no image
    assert gc.get_freeze_count() > 10 * len(gc.get_objects())


def test_two_hands_and_one_that_leaves(bench, node, camera, hands, tracker):
    markers = bench.listen(MarkerArray, 'tracker/markers')
    bench.until(
        lambda: node._outputs.markers_pub.get_subscription_count(), 'the markers to have a listener'
    )
    tracker.hands = [hand(id='a', side='left'), hand(id='b')]
    camera.image()
    bench.until(lambda: markers, 'markers')
    assert {m.ns for m in markers[0].markers} == {'a', 'b'}
    tracker.hands = tracker.hands[1:]
    camera.image()
    bench.until(lambda: len(markers) == 2, 'markers again')
    assert {m.ns for m in markers[1].markers if m.action == Marker.DELETE} == {'a'}
    assert {m.ns for m in markers[1].markers if m.action == Marker.ADD} == {'b'}


@pytest.mark.parametrize(
    'content, words', [(None, 'no weights'), (b'this is no checkpoint', 'cannot be read')]
)
def test_configure_fails_with_path_and_reason(bench, diagnostics, tmp_path, content, words):
    """The real tracker factory."""
    path = tmp_path / 'weights.pt'
    if content is not None:
        path.write_bytes(content)
    node = bench.add(TrackerNode(parameter_overrides=[Parameter('weights', value=str(path))]))
    node.autostart()
    assert state(bench) == State.PRIMARY_STATE_UNCONFIGURED
    diagnostics.until(str(path), 'tracking', DiagnosticStatus.ERROR)
    diagnostics.until(words, 'tracking', DiagnosticStatus.ERROR)
    assert set_parameter(bench, 'weights', '').successful
    node._tracker_factory = lambda values: FakeTracker()
    assert change_state(bench, Transition.TRANSITION_CONFIGURE).success
    diagnostics.until('not active: inactive', 'tracking', DiagnosticStatus.WARN)
