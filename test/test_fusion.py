"""Hands of several cameras as one set: who is who, who is believed, what happens when
one is gone.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from awr_ros.derived.fusion import FusionConfig, HandFusion
from awr_ros.derived.joint_scores import deviation_mm

SHAPE = np.random.default_rng(0).normal(0, 30, (21, 3)) + (0, 0, 500)
# The second camera looks along the world's -x axis from x = 500 mm, at the same hand.
SIDEWAYS = np.array([[0, 0, -1, 500], [0, 1, 0, 0], [1, 0, 0, 500], [0, 0, 0, 1]], float)


def hand(joints, name='0', side='right', side_score=0.99, state='ok', score=0.9, scores=0.9):
    return SimpleNamespace(
        id=name,
        side=side,
        side_score=side_score,
        state=state,
        score=score,
        joints_xyz=np.asarray(joints, np.float32),
        joint_scores=np.broadcast_to(np.float32(scores), 21),
    )


def seen_from(transform, joints):
    """World joints (21,3) in the frame of a camera whose world_from_camera is given."""
    inverse = np.linalg.inv(transform)
    return joints @ inverse[:3, :3].T + inverse[:3, 3]


def two_cameras(first, second, fusion=None, stamp_s=1.0, later_s=0.0):
    fusion = fusion or HandFusion()
    fusion.update('first', stamp_s, first, np.eye(4))
    fusion.update('second', stamp_s + later_s, second, SIDEWAYS)
    return fusion, fusion.fuse(stamp_s + later_s)


def test_the_same_hand_of_two_cameras_is_one_in_the_common_frame():
    _, fused = two_cameras([hand(SHAPE)], [hand(seen_from(SIDEWAYS, SHAPE), '7')])
    (only,) = fused
    assert only.cameras == ('first', 'second') and only.side == 'right' and only.state == 'new'
    assert only.joints_xyz.dtype == np.float32
    assert np.abs(only.joints_xyz - SHAPE).max() < 1e-3


def test_the_surer_joint_weighs_more():
    off = SHAPE + (0, 8, 0)  # across both rays
    sure, unsure = np.full(21, 0.97), np.full(21, 0.3)
    _, (only,) = two_cameras(
        [hand(SHAPE, scores=sure)], [hand(seen_from(SIDEWAYS, off), scores=unsure)]
    )
    ratio = (deviation_mm(0.97) / deviation_mm(0.3)) ** 2
    pull = (only.joints_xyz - SHAPE)[:, 1].mean()
    assert 0 < pull <= 8 * ratio / (1 + ratio) + 0.1
    assert np.allclose(only.joint_scores, 0.97)


def test_depth_errors_of_one_camera_are_corrected_by_the_other():
    deeper = SHAPE + (0, 0, 10)  # along the ray of the first camera, across that of the second
    _, (only,) = two_cameras([hand(deeper)], [hand(seen_from(SIDEWAYS, SHAPE))])
    assert np.abs(only.joints_xyz - SHAPE)[:, 2].mean() < 4


def test_a_joint_that_only_one_camera_knows_is_taken_from_it():
    first, second = SHAPE.copy(), seen_from(SIDEWAYS, SHAPE)
    first[8], second[12] = np.nan, np.nan
    _, (only,) = two_cameras([hand(first)], [hand(second)])
    assert np.abs(only.joints_xyz - SHAPE).max() < 1e-3
    first[12] = np.nan
    _, (only,) = two_cameras([hand(first)], [hand(second)])
    assert np.isnan(only.joints_xyz[12]).all() and np.isfinite(only.joints_xyz).all(-1).sum() == 20


def test_two_hands_stay_two_and_keep_their_ids_when_cameras_lose_them():
    left = SHAPE + (200, 0, 0)
    both = [hand(SHAPE, 'a'), hand(left, 'b', 'left')]
    second = [
        hand(seen_from(SIDEWAYS, left), 'x', 'left'),
        hand(seen_from(SIDEWAYS, SHAPE), 'y'),
    ]
    fusion, fused = two_cameras(both, second)
    ids = {only.side: only.id for only in fused}
    assert len(fused) == 2 and len(set(ids.values())) == 2
    _, fused = two_cameras(both[:1], second[:1], fusion, 1.03)  # each sees one of them
    assert {only.side: only.id for only in fused} == ids
    assert {only.side: only.cameras for only in fused} == {
        'right': ('first',),
        'left': ('second',),
    }
    # A camera that finds its hand again under a new id: still the same hand.
    _, fused = two_cameras([hand(SHAPE, 'c')], second, fusion, 1.06)
    assert {only.side: only.id for only in fused} == ids


def test_cameras_that_disagree_on_the_side_follow_the_surer_one():
    mirrored = seen_from(SIDEWAYS, SHAPE[::-1])
    _, (only,) = two_cameras([hand(SHAPE)], [hand(mirrored, side='left', side_score=0.7)])
    assert only.side == 'right' and only.cameras == ('first',)
    assert 0.9 < only.side_score < 0.99
    _, (only,) = two_cameras([hand(SHAPE, side_score=0.6)], [hand(mirrored, side='left')])
    assert only.side == 'left' and only.cameras == ('second',)
    fixed = (
        [hand(SHAPE, side_score=math.nan)],
        [hand(seen_from(SIDEWAYS, SHAPE), side_score=math.nan)],
    )
    assert math.isnan(two_cameras(*fixed)[1][0].side_score)


def test_a_camera_that_dies_is_left_out_after_a_while_and_its_hands_go_on():
    fusion, (only,) = two_cameras([hand(SHAPE)], [hand(seen_from(SIDEWAYS, SHAPE))])
    for i in range(1, 30):
        fusion.update('first', 1 + i / 30, [hand(SHAPE)], np.eye(4))
        (after,) = fusion.fuse(1 + i / 30)
        assert after.id == only.id
    assert after.cameras == ('first',) and fusion.live(1 + 29 / 30) == ('first',)
    assert fusion.fuse(9.0) == []


def test_a_coasting_hand_does_not_pull_and_coasts_when_nobody_sees_it():
    stale = seen_from(SIDEWAYS, SHAPE + 30)
    _, (only,) = two_cameras([hand(SHAPE)], [hand(stale, state='coasting')])
    assert only.cameras == ('first',) and np.abs(only.joints_xyz - SHAPE).max() < 1e-3
    _, (only,) = two_cameras([hand(SHAPE, state='coasting')], [hand(stale, state='coasting')])
    assert only.state == 'coasting'


def test_an_older_image_is_brought_to_the_time_of_the_newer_one():
    fusion, way = HandFusion(), np.array([0.0, 600.0, 0.0])  # [mm/s]
    for i in range(15):
        t = i / 30
        fusion.update('first', t, [hand(SHAPE + t * way)], np.eye(4))
    fusion.update('second', t + 0.02, [], SIDEWAYS)
    (only,) = fusion.fuse(t + 0.02)
    assert np.abs(only.joints_xyz - (SHAPE + (t + 0.02) * way)).max() < 2  # 12 mm were it held


def test_late_images_are_refused_and_a_clock_set_back_is_not():
    fusion = HandFusion()
    assert fusion.update('first', 5.0, [hand(SHAPE)], np.eye(4))
    assert not fusion.update('first', 4.95, [], np.eye(4))
    assert len(fusion.fuse(5.0)) == 1
    assert fusion.update('first', 1.0, [hand(SHAPE)], np.eye(4)) and len(fusion.fuse(1.0)) == 1


def test_what_was_taken_for_two_hands_becomes_one_and_what_drifts_apart_two():
    fusion, fused = two_cameras([hand(SHAPE)], [hand(seen_from(SIDEWAYS, SHAPE + (150, 0, 0)))])
    assert len(fused) == 2
    _, fused = two_cameras([hand(SHAPE)], [hand(seen_from(SIDEWAYS, SHAPE))], fusion, 1.03)
    assert [only.id for only in fused] == ['0']
    away = [hand(seen_from(SIDEWAYS, SHAPE + (200, 0, 0)), score=0.5)]
    _, fused = two_cameras([hand(SHAPE)], away, fusion, 1.06)
    assert len(fused) == 2 and fused[0].id == '0' and fused[0].cameras == ('first',)


def test_bad_settings_and_transforms_are_named():
    with pytest.raises(ValueError, match='timeout_s must be > 0'):
        FusionConfig(timeout_s=0)
    with pytest.raises(ValueError, match='split_mm'):
        FusionConfig(split_mm=10)
    for bad in (np.eye(3), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match='common_from_camera'):
            HandFusion().update('first', 0.0, [], bad)


def test_scores_are_deviations():
    assert deviation_mm([0.99, 0.5, 0.1]) == pytest.approx([2.97, 6.5, 13.1], abs=0.1)
    assert deviation_mm(np.nan) == deviation_mm(0.5)
    assert deviation_mm(0.0) == deviation_mm(0.05)
