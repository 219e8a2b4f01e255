"""Bone lengths of a hand, and joints that respect them."""

import numpy as np
import pytest

from awr_ros.derived.hand_size import (
    MIN_FRAMES,
    HandSize,
    HandSizes,
    bone_lengths,
    parse_hand_size,
    steady,
)
from awr_ros.skeleton import BONES
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker_config import TrackerConfig

CAMERA = SyntheticCamera(seed=3)
TRUTH = np.array([CAMERA.true_joints(t / 30) for t in range(240)], np.float64)
LENGTHS = bone_lengths(TRUTH[0])
SURE = np.full(21, 0.95)


def noisy(mm=4.0, seed=0):
    return TRUTH + np.random.default_rng(seed).normal(0, mm, TRUTH.shape)


def test_bones_of_a_moving_hand_keep_their_length():
    assert np.abs(bone_lengths(TRUTH) - LENGTHS).max() < 1e-2
    parent, child = BONES[6]
    assert LENGTHS[6] == pytest.approx(np.linalg.norm(TRUTH[0, child] - TRUTH[0, parent]))


def test_lengths_are_estimated_from_confident_frames_only():
    size, rng = HandSize(), np.random.default_rng(1)
    for number, joints in enumerate(noisy(2.0)):
        wrong = number % 3 == 0  # a third of the frames is far off, and says so
        scores = np.full(21, 0.3) if wrong else SURE
        size.update(joints + (rng.normal(0, 40, joints.shape) if wrong else 0), scores)
    assert np.abs(size.lengths_mm - LENGTHS).max() < 2.0
    assert (size.deviations_mm > 1).all() and (size.deviations_mm < 3).all()
    assert (size.frames >= MIN_FRAMES).all() and not size.given


def test_nothing_is_known_before_enough_frames_and_nothing_changes_then():
    size = HandSize()
    for joints in TRUTH[:8]:
        size.update(joints, SURE)
    assert np.isnan(size.lengths_mm).all()
    joints = noisy()[0]
    assert (steady(joints, SURE, size.lengths_mm, size.deviations_mm) == joints).all()


def test_outliers_do_not_move_the_median():
    size = HandSize()
    for number, joints in enumerate(TRUTH):
        off = joints.copy()
        off[8] += 60 * (number % 5 == 0)
        size.update(off, SURE)
    assert np.abs(size.lengths_mm - LENGTHS).max() < 0.5


def test_known_lengths_make_joints_better_and_bones_steady():
    size = HandSize(LENGTHS)
    measured = noisy()
    steadied = np.array([steady(j, SURE, size.lengths_mm, size.deviations_mm) for j in measured])
    before, after = (np.linalg.norm(x - TRUTH, axis=-1).mean() for x in (measured, steadied))
    assert after < 0.92 * before
    assert bone_lengths(steadied).std(0).mean() < 0.5 * bone_lengths(measured).std(0).mean()


def test_the_unsure_joint_moves_and_the_sure_one_stays():
    joints, scores = TRUTH[0].copy(), SURE.copy()
    joints[8] += (0, -30, 0)  # index tip
    scores[8] = 0.1
    fixed = steady(joints, scores, LENGTHS, np.full(20, 1.5))
    moved = np.linalg.norm(fixed - joints, axis=-1)
    assert moved[8] > 5 * np.delete(moved, 8).max()


def test_unknown_joints_stay_unknown_and_others_are_steadied():
    joints = noisy()[0]
    joints[12] = np.nan
    fixed = steady(joints, SURE, LENGTHS, np.full(20, 1.5))
    assert np.isnan(fixed[12]).all() and np.isfinite(np.delete(fixed, 12, 0)).all()
    assert not np.allclose(fixed[8], joints[8])


def test_each_hand_has_its_size_and_a_coasting_one_teaches_nothing():
    class Hand:
        def __init__(self, name, state='ok', scale=1.0):
            self.id, self.state = name, state
            self.joints_xyz, self.joint_scores = scale * TRUTH[0], SURE

    sizes = HandSizes()
    for _ in range(100):
        first, second = sizes.update([Hand('a'), Hand('b', scale=1.1)])
    assert second.lengths_mm == pytest.approx(1.1 * first.lengths_mm)
    frames = first.frames.copy()
    assert (sizes.update([Hand('a', 'coasting')])[0].frames == frames).all()
    sizes.update([])
    assert np.isnan(sizes.update([Hand('a')])[0].lengths_mm).all()


def test_the_setting_is_none_auto_or_twenty_lengths():
    text = ','.join(f'{length / 1000:.4f}' for length in LENGTHS)
    assert parse_hand_size('none') == 'none' and parse_hand_size('auto') == 'auto'
    assert parse_hand_size(text) == pytest.approx(LENGTHS, abs=0.06)
    for bad in ('', 'large', '0.1,0.2', ','.join(['0.9'] * 20), ','.join(['nan'] * 20)):
        with pytest.raises(ValueError, match='expected none, auto or 20 bone lengths'):
            parse_hand_size(bad)
    assert TrackerConfig(hand_size=text).hand_size == text
    with pytest.raises(ValueError, match='hand_size'):
        TrackerConfig(hand_size='off')
