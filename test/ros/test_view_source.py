"""A running node as a source of the browser view, over real DDS."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from fakes import open_hand_xyz

from awr_ros.ros import view_source
from awr_ros.ros.view_source import NodeSource


@pytest.fixture
def spinning(bench):
    """The nodes of the test are spun by a thread, as those of another process would be."""
    ended = threading.Event()

    def spin():
        while not ended.is_set():
            bench.executor.spin_once(timeout_sec=0.02)

    thread = threading.Thread(target=spin)
    yield thread.start
    ended.set()
    thread.join()


def test_images_of_a_running_node_come_with_their_hands_and_settings_reach_it(
    bench, node, camera, tracker, spinning
):
    spinning()
    source = NodeSource('tracker')
    try:
        assert source.config.max_hands == tracker.config.max_hands
        for _ in range(600):
            camera.info()
            camera.image()
            shown = source.step()
            if shown is not None:
                break
            threading.Event().wait(0.03)
        (hand,) = shown.hands
        assert hand.id == 'hand_1' and hand.side == 'right' and hand.state == 'ok'
        assert np.abs(hand.joints_xyz - open_hand_xyz()).max() < 0.1
        expected = shown.intrinsics.xyz_to_uvd(open_hand_xyz())
        assert hand.joints_uvd == pytest.approx(expected, abs=1e-2)
        assert shown.depth_mm.max() == 500 and shown.index == 0 and source.length is None
        source.configure(replace(source.config, max_hands=1, coast_s=0.5))
        for _ in range(400):
            if node.get_parameter('coast_time').value == 0.5:
                break
            threading.Event().wait(0.05)
        assert node.get_parameter('coast_time').value == 0.5
        assert node.get_parameter('max_hands').value == 1
    finally:
        source.close()


def test_a_node_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(view_source, 'PATIENCE_S', 0.5)
    with pytest.raises(ValueError, match='no active tracker /elsewhere/tracker in 0.5 s'):
        NodeSource('/elsewhere/tracker')
