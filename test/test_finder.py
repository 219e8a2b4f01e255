"""Candidates by depth alone."""

import numpy as np
import pytest
from test_tracker import K, blob, palm

from awr_ros.camera import Intrinsics
from awr_ros.finders.geometric import find_candidates
from awr_ros.synthetic.camera import SyntheticCamera


def test_nothing_in_range_gives_no_candidates():
    for depth in (
        np.zeros((480, 640), np.float32),
        np.full((480, 640), np.nan, np.float32),
        np.zeros((480, 640), np.uint16),
        np.full((480, 640), np.inf, np.float32),
        blob((0, 0, 2000)),
    ):
        found = find_candidates(depth, K, 150, 1500)
        assert found.shape == (0, 3)


def test_specks_are_no_candidates():
    depth = np.zeros((480, 640), np.float32)
    depth[100:116, 100:116] = 500  # 17 mm square
    assert len(find_candidates(depth, K, 150, 1500)) == 0


def test_the_nearest_piece_comes_first_and_in_millimetres():
    found = find_candidates(blob((150, 30, 700), (-150, -40, 500)), K, 150, 1500)
    assert np.linalg.norm(found[0] - [-150, -40, 500]) < 15
    assert min(np.linalg.norm(found - [150, 30, 700], axis=1)) < 15
    assert len(found) <= 8


def test_uint16_frames_and_any_size_work():
    depth = blob((100, 20, 600))
    expected = find_candidates(depth, K, 150, 1500)
    np.testing.assert_allclose(find_candidates(depth.astype(np.uint16), K, 150, 1500), expected)
    half = Intrinsics(K.fx / 2, K.fy / 2, (K.cx - 0.5) / 2, (K.cy - 0.5) / 2, 320, 240)
    assert (
        np.linalg.norm(find_candidates(depth[::2, ::2], half, 150, 1500)[0] - [100, 20, 600]) < 15
    )


@pytest.fixture(scope='module')
def moments():
    """Thirty frames of twenty seconds: (depth, true palm centre)."""
    camera = SyntheticCamera(seed=3)
    frames = [camera.frame(t) for t in np.linspace(0, 20, 30)]
    return [(depth, palm(hand)) for depth, (hand,) in frames]


def with_body(depth, centre):
    """The frame with a chest 500 mm wide, 250 mm behind the palm."""
    z = centre[2] + 250
    chest, half = np.zeros(depth.shape, bool), int(250 * K.fx / z)
    chest[120:, max(320 - half, 0) : 320 + half] = True
    return np.where(chest & ((depth == 0) | (depth > z)), z, depth).astype(np.uint16)


@pytest.mark.parametrize('body', [False, True])
def test_the_finder_finds_the_hand_with_and_without_a_body_behind(moments, body):
    """A candidate within 60 mm of the true palm centre, from where the network can go
    on by itself.
    """
    hits = 0
    for depth, centre in moments:
        found = find_candidates(with_body(depth, centre) if body else depth, K, 150, 1300)
        hits += len(found) > 0 and np.linalg.norm(found - centre, axis=1).min() < 60
    assert hits >= 0.9 * len(moments)


@pytest.mark.parametrize('body', [False, True])
def test_the_finder_always_sees_something_of_the_hand(moments, body):
    for depth, centre in moments:
        found = find_candidates(with_body(depth, centre) if body else depth, K, 150, 1300)
        assert np.linalg.norm(found - centre, axis=1).min() < 110
