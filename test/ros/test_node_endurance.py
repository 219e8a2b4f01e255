"""What happens to a node in the field: cameras that die, come back, change; being switched off and
on for days.
"""

import gc
import sys
from array import array
from pathlib import Path
from resource import getpagesize

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from fakes import BEST_EFFORT, RELIABLE, Camera, FakeTracker, header, image
from rclpy.lifecycle import TransitionCallbackReturn

from awr_ros.ros.node import TrackerNode


def sized(width, height, stamp_s):
    """An image of another size."""
    return image(
        stamp_s,
        width=width,
        height=height,
        step=2 * width,
        data=array('B', np.full(width * height, 500, '<u2').tobytes()),
    )


@pytest.mark.parametrize(
    'second_qos', [RELIABLE, BEST_EFFORT], ids=['same driver', 'other quality of service']
)
def test_a_camera_that_dies_is_named_and_one_that_comes_back_is_tracked(
    bench, node, hands, diagnostics, second_qos
):
    def start(qos):
        driver = bench.add(rclpy.create_node('driver'))
        return driver, Camera(driver, qos, qos)

    def tracked(camera, count):
        def one_more():
            camera.info()
            camera.image()
            bench.spin(0.03)
            return len(hands) > count

        bench.until(one_more, 'hands')

    driver, camera = start(RELIABLE)
    tracked(camera, 0)
    bench.executor.remove_node(driver)
    bench.nodes.remove(driver)
    driver.destroy_node()
    diagnostics.until('no image on /depth/image', 'input', DiagnosticStatus.ERROR)
    diagnostics.until('nobody publishes it', 'input', DiagnosticStatus.ERROR)
    tracked(start(second_qos)[1], len(hands))


def test_a_changed_resolution_costs_no_more_than_the_images_in_between(
    bench, node, camera, hands, tracker, diagnostics
):
    camera.image()
    bench.until(lambda: hands, 'hands')
    camera.image(sized(16, 12, 101.0))  # the driver changes the image first, its info comes later
    diagnostics.until(
        'image is 16 x 12, but camera_info is for 32 x 24', 'input', DiagnosticStatus.ERROR
    )
    before = node._info
    camera.info(width=16, height=12, k=[15.0, 0.0, 7.5, 0.0, 15.0, 5.5, 0.0, 0.0, 1.0])
    bench.until(lambda: node._info is not before, 'camera_info')
    sent = camera.image(sized(16, 12, 101.1))
    bench.until(lambda: len(hands) == 2, 'hands in the smaller image')
    assert (
        hands[1].header == sent.header
        and tracker.calls[-1][0].shape == (12, 16)
        and tracker.calls[-1][1].fx == 15
    )


def test_an_info_that_changes_in_flight_serves_from_the_next_image_on(
    bench, node, camera, hands, tracker
):
    for fx in (31.0, 32.0, 33.0):
        before = node._info
        # and an old stamp
        camera.info(k=[fx, 0.0, 15.5, 0.0, 30.0, 11.5, 0.0, 0.0, 1.0], header=header(stamp_s=5.0))
        bench.until(lambda before=before: node._info is not before, 'camera_info')
        count = len(hands)
        camera.image()
        bench.until(lambda count=count: len(hands) > count, 'hands')
    assert [call[1].fx for call in tracker.calls] == [31, 32, 33]


def test_a_bag_that_starts_over_is_tracked_from_its_start(bench, camera, hands, tracker):
    for stamp_s in (500.0, 500.03, 20.0, 20.03):
        count, resets = len(hands), tracker.resets
        camera.image(image(stamp_s))
        bench.until(lambda count=count: len(hands) > count, 'hands')
        assert tracker.resets == resets + (stamp_s == 20.0)
    assert [h.header.stamp.sec for h in hands] == [500, 500, 20, 20]


def resident_mib():
    return int(Path('/proc/self/statm').read_text().split()[1]) * getpagesize() / 2**20


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_fifty_times_off_and_on_needs_no_more_memory_than_once(bench):
    """A tracker of 8 MiB, so that one that is not freed shows at once."""

    class HeavyTracker(FakeTracker):
        def __init__(self):
            super().__init__()
            self.weights = np.ones(2**20)

    node = bench.add(TrackerNode(tracker_factory=lambda values: HeavyTracker()))
    node.autostart()
    used = []
    for _ in range(50):
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert node._tracker is None
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        bench.executor.spin_once(timeout_sec=0)
        gc.collect()
        used.append(resident_mib())
    # The allocator needs some rounds to find its size.
    assert np.mean(used[-5:]) - np.mean(used[10:15]) < 8, [round(value) for value in used]
    assert bench.client.count_subscribers('depth/image') == 1
