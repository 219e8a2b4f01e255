"""Motion: velocity, prediction with a covariance that fits, glitches rejected in their frame."""

from types import SimpleNamespace

import numpy as np
import pytest

from awr_ros.derived.motion import MotionConfig, MotionFilter, MotionFilters

RATE = 30.0
CONFIG = MotionConfig()


def swaying(n=300, seed=0, noise=True):
    """(n,21,3) [mm] measured joints of a swaying hand, and its true joints by time [s]."""
    rng = np.random.default_rng(seed)
    phase, base = rng.uniform(0, 6, (21, 3)), rng.uniform(-80, 80, (21, 3)) + (0, 0, 500)

    def truth(t):
        return base + 60 * np.sin(3.0 * t + phase)  # up to 0.18 m/s on each axis

    stamps = np.arange(n) / RATE
    joints = np.array([truth(t) for t in stamps])
    spread = rng.standard_normal(joints.shape) * CONFIG.noise_mm
    return joints + (spread if noise else 0), truth


def run(joints, ahead_s=0.0, config=CONFIG):
    motion_filter, motions = MotionFilter(config), []
    for i, frame in enumerate(joints):
        motion_filter.update(frame, i / RATE)
        motions.append(motion_filter.predict(i / RATE + ahead_s))
    return motions


@pytest.mark.parametrize('ahead_s', [0.033, 0.066])
def test_prediction_is_nearer_than_the_last_joints(ahead_s):
    joints, truth = swaying()
    true = np.array([truth(i / RATE + ahead_s) for i in range(len(joints))])
    predicted = np.array([motion.positions for motion in run(joints, ahead_s)])
    held, now = (np.linalg.norm(x - true, axis=-1)[20:].mean() for x in (joints, predicted))
    assert now < 0.75 * held
    assert [motion.stamp_s for motion in run(joints[:2], ahead_s)] == [ahead_s, 1 / RATE + ahead_s]


def test_filtering_adds_no_delay():
    """With no noise a steady motion is followed without lag, and the newest frame shows at once."""
    t = np.arange(120) / RATE
    joints = np.tile(np.stack([300 * t, 0 * t, 0 * t], -1)[:, None], (1, 21, 1))
    motions = run(joints)
    assert abs(motions[-1].positions - joints[-1]).max() < 0.5
    np.testing.assert_allclose(motions[-1].velocities[:, 0], 300, atol=3)


def test_covariance_fits_the_errors():
    """A joint that moves as the model has it: errors are as large as predicted."""
    rng, dt = np.random.default_rng(1), 1 / RATE
    steps = CONFIG.velocity_walk * np.sqrt(dt) * rng.standard_normal((400, 21, 3))
    velocity = np.cumsum(steps, 0) + CONFIG.start_speed * rng.standard_normal((21, 3))
    true = np.cumsum((velocity - steps / 2) * dt, 0)
    config = MotionConfig(bias_mm=(0, 0, 0))
    motions = run(true + rng.standard_normal(true.shape) * CONFIG.noise_mm, config=config)
    for errors, variances in (
        (np.array([m.positions for m in motions]) - true, [m.position_variances for m in motions]),
        (
            np.array([m.velocities for m in motions]) - velocity,
            [m.velocity_variances for m in motions],
        ),
    ):
        scaled = (errors / np.sqrt(variances))[20:]
        assert 0.9 < scaled.std() < 1.1
    first, later = motions[3], MotionFilter()
    assert (motions[50].velocity_variances < first.velocity_variances).all()
    later.update(true[0], 0.0)
    assert (later.predict(0.2).position_variances > later.predict(0.1).position_variances).all()


def test_a_glitch_is_rejected_in_its_own_frame_and_only_there():
    joints, truth = swaying()
    with_glitch = joints.copy()
    with_glitch[100, 8] += (50, 30, 0)
    motions = run(with_glitch)
    assert motions[100].rejected.tolist() == [j == 8 for j in range(21)]
    assert np.linalg.norm(motions[100].positions[8] - truth(100 / RATE)[8]) < 8
    assert not motions[101].rejected.any() and np.mean([m.rejected for m in run(joints)]) < 1e-3


def test_a_jump_that_stays_is_believed_after_two_frames():
    joints, _ = swaying()
    joints[100:, 4] += (200, 0, 0)
    motions = run(joints)
    assert [bool(m.rejected[4]) for m in motions[99:104]] == [False, True, True, False, False]
    assert np.linalg.norm(motions[102].positions[4] - joints[102, 4]) < 1e-9
    every = run(joints, config=MotionConfig(max_rejected=0))
    assert not every[100].rejected.any()


def test_a_hand_that_starts_suddenly_is_followed_at_once():
    """At rest, then 1 m/s from one frame to the next: all joints, so it is no glitch."""
    joints, _ = swaying(60)
    moved = np.clip(np.arange(60) - 30, 0, None)[:, None, None] * np.array([1000 / RATE, 0, 0])
    motions = run(joints + moved)
    assert not any(m.rejected.any() for m in motions)
    error = np.linalg.norm(motions[32].positions - (joints + moved)[32], axis=-1)
    assert error.mean() < 5 and motions[33].velocities[:, 0].mean() > 700


def test_unknown_joints_move_on_as_predicted_and_never_measured_ones_are_nan():
    joints, truth = swaying(60, noise=False)
    joints[:, 3] = np.nan
    joints[40:43, 7] = np.nan
    motions = run(joints)
    assert (
        np.isnan(motions[-1].positions[3]).all()
        and np.isnan(motions[-1].velocity_variances[3]).all()
    )
    assert np.linalg.norm(motions[42].positions[7] - truth(42 / RATE)[7]) < 15
    assert (motions[42].position_variances[7] > motions[39].position_variances[7]).all()
    assert np.isfinite(np.delete(motions[-1].positions, 3, 0)).all()


def test_palm_is_the_mean_of_its_joints():
    joints, _ = swaying(30)
    position, covariance, velocity, velocity_covariance = run(joints)[-1].palm()
    motion = run(joints)[-1]
    np.testing.assert_allclose(position, motion.positions[[0, 5, 9, 13, 17]].mean(0))
    np.testing.assert_allclose(velocity, motion.velocities[[0, 5, 9, 13, 17]].mean(0))
    for matrix in (covariance, velocity_covariance):
        assert matrix.shape == (3, 3) and (np.linalg.eigvalsh(matrix) > 0).all()


def test_time_that_goes_back_or_rests_starts_afresh():
    joints, _ = swaying(20)
    motion_filter = MotionFilter()
    for i in range(20):
        motion_filter.update(joints[i], 100 + i / RATE)
    with pytest.raises(ValueError, match='cannot predict'):
        motion_filter.predict(100.0)
    for stamp_s in (5.0, 9.0):
        motion = motion_filter.update(joints[0], stamp_s)
        np.testing.assert_array_equal(motion.positions, joints[0])
        assert (motion.velocities == 0).all()


def test_each_hand_has_its_own_filter():
    joints, _ = swaying(20)
    filters = MotionFilters()

    def hand(name, frame, state='ok', side='right'):
        return SimpleNamespace(id=name, side=side, state=state, joints_xyz=frame)

    for i in range(10):
        first, second = filters.update([hand('a', joints[i]), hand('b', joints[i] + 300)], i / RATE)
    assert np.allclose(second.positions - first.positions, 300)
    (coasting,) = filters.update([hand('a', joints[9], 'coasting')], 10 / RATE)
    np.testing.assert_allclose(coasting.positions, first.positions + first.velocities / RATE)
    (other,) = filters.update([hand('a', joints[11], side='left')], 11 / RATE)
    assert (other.velocities == 0).all()
    assert filters.update([], 12 / RATE) == []


@pytest.mark.parametrize(
    'changes', [dict(noise_mm=(1, 0, 1)), dict(bias_mm=(1, 1)), dict(gate=0), dict(max_rejected=-1)]
)
def test_misuse_is_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        MotionConfig(**changes)
    with pytest.raises(ValueError, match='joints_xyz'):
        MotionFilter().update(np.zeros((20, 3)), 0.0)
