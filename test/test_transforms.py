"""Transforms between named frames."""

import numpy as np
import pytest

from awr_ros.derived.transforms import TransformTree, inverse, parse_extrinsics, rigid

QUARTER = (0, 0, np.sqrt(0.5), np.sqrt(0.5))  # about z


def test_a_rigid_transform_turns_then_shifts():
    transform = rigid((1, 2, 3), np.multiply(QUARTER, 5))
    assert transform @ (1, 0, 0, 1) == pytest.approx((1, 3, 3, 1))
    assert inverse(transform) @ transform == pytest.approx(np.eye(4), abs=1e-12)


@pytest.mark.parametrize(
    'shift, turn', [((0, 0), QUARTER), ((0, 0, 0), (0, 0, 0, 0)), ((np.nan, 0, 0), QUARTER)]
)
def test_numbers_that_are_no_transform_are_refused(shift, turn):
    with pytest.raises(ValueError, match='no rigid transform'):
        rigid(shift, turn)


def test_the_way_between_two_frames_goes_by_their_common_ancestor():
    tree = TransformTree()
    tree.set('world', 'left', rigid((1, 0, 0), (0, 0, 0, 1)))
    tree.set('world', 'right', rigid((0, 1, 0), QUARTER))
    tree.set('right', 'right_optical', rigid((0, 0, 2), (0, 0, 0, 1)))
    assert tree.lookup('left', 'right_optical') @ (1, 0, 0, 1) == pytest.approx((-1, 2, 2, 1))
    assert tree.lookup('right_optical', 'world') @ (0, 1, 2, 1) == pytest.approx((0, 0, 0, 1))
    assert tree.lookup('left', 'left') == pytest.approx(np.eye(4))
    assert tree.lookup('left', 'elsewhere') is None
    tree.set('world', 'left', rigid((5, 0, 0), (0, 0, 0, 1)))  # the newest counts
    assert tree.lookup('world', 'left')[0, 3] == 5


def test_a_circle_of_frames_ends():
    tree = TransformTree()
    tree.set('a', 'b', np.eye(4))
    tree.set('b', 'a', np.eye(4))
    assert tree.lookup('a', 'c') is None


def test_extrinsics_are_read_from_text():
    both = parse_extrinsics('left 0 0 0 0 0 0 1; right 1 2 3 0 0 0.7071 0.7071;')
    assert list(both) == ['left', 'right']
    assert both['right'] == pytest.approx(rigid((1, 2, 3), QUARTER), abs=1e-4)
    for bad in ('left 1 2 3', 'left a b c 0 0 0 1', 'left 0 0 0 0 0 0 0', 'left 0 0 nan 0 0 0 1'):
        with pytest.raises(ValueError, match="extrinsics 'left.*expected FRAME x y z"):
            parse_extrinsics(bad)
