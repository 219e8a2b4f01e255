"""Depth in another unit, or of nothing but the background."""

import numpy as np
import pytest

from awr_ros.ros.reach import note


def room(hand_mm=450.0, wall_mm=1200.0):
    """(48,64) float32 [mm]: a hand before a wall."""
    depth = np.full((48, 64), wall_mm, np.float32)
    depth[16:32, 20:40] = hand_mm
    return depth


@pytest.mark.parametrize(
    'unit', [1000.0, 100.0, 10.0, 4.0, 0.1, 0.001], ids='{:g} of the right one'.format
)
def test_another_unit_is_named_with_the_factor_to_the_right_one(unit):
    """Millimetres taken for metres, centimetres, steps of 0.1 and 0.25 mm, centimetres and metres
    taken for millimetres.
    """
    text = note(room() * np.float32(unit), 150.0, 1500.0)
    assert f'parameter depth_scale {1 / unit:g} would make them 0.45 m and 1.2 m' in text
    scaled = note(room() * np.float32(unit), 150.0, 1500.0, scale=2.0)
    assert f'parameter depth_scale {2 / unit:g} would' in scaled, (
        'a factor that is set already is counted in'
    )


def test_the_background_alone_is_named_with_what_was_seen():
    text = note(room(2800, 3600), 150.0, 1500.0)
    assert text.startswith(
        'nothing lies within reach (0.15 to 1.5 m): the nearest depth is 2.8 m, the median 3.6 m'
    )


def test_depth_of_a_room_and_no_depth_at_all_are_not_remarkable():
    assert note(room(), 150.0, 1500.0) == note(np.zeros((48, 64), np.uint16), 150.0, 1500.0) == ''
    assert note(np.full((3, 2), 700, np.uint16), 150.0, 1500.0) == ''


def test_what_no_factor_explains_has_none():
    assert 'depth_scale' not in note(np.full((48, 64), 1e30, np.float32), 150.0, 1500.0)
