"""One Euro: as the authors' package along an axis, the same however the camera is turned, steady at
rest, quick in motion.
"""

import cv2
import numpy as np
import pytest

from awr_ros.smoothing import OneEuro

RATE = 30.0


def filtered(points, stamps, min_cutoff_hz=1.0, beta=0.01):
    one_euro = OneEuro()
    return np.array([one_euro(frame, t, min_cutoff_hz, beta) for frame, t in zip(points, stamps)])


def walk(n=200, joints=21, seed=0):
    rng = np.random.default_rng(seed)
    return 500 + np.cumsum(rng.normal(0, 8, (n, joints, 3)), 0), np.cumsum(
        rng.uniform(0.02, 0.06, n)
    ) + 1000


def test_along_one_axis_it_is_the_authors_filter():
    reference = pytest.importorskip('OneEuroFilter').OneEuroFilter(RATE, mincutoff=1.3, beta=0.02)
    points, stamps = walk(joints=1)
    points[..., 1:] = 0
    expected = [reference(x, t) for x, t in zip(points[:, 0, 0], stamps)]
    np.testing.assert_allclose(filtered(points, stamps, 1.3, 0.02)[:, 0, 0], expected, rtol=1e-9)


def test_a_turned_camera_gives_the_turned_answer():
    points, stamps = walk()
    rotation = cv2.Rodrigues(np.array([0.3, -1.0, 0.5]))[0]
    np.testing.assert_allclose(
        filtered(points @ rotation.T, stamps), filtered(points, stamps) @ rotation.T, atol=1e-8
    )


def test_a_hand_at_rest_is_steadier_and_one_in_motion_hardly_late():
    t = np.arange(300) / RATE
    noise = np.random.default_rng(0).normal(0, 2, (300, 21, 3))
    still = filtered(500 + noise, t)
    assert np.diff(still[30:], axis=0).std() < 0.35 * np.diff(noise[30:], axis=0).std()
    moving = 500 + np.stack([400 * t, 0 * t, 0 * t], -1)[:, None].repeat(21, 1)  # 0.4 m/s
    late_s = (moving - filtered(moving + noise, t))[100:, :, 0].mean() / 400
    assert 0 < late_s < 1.2 / RATE


def test_first_answer_and_answers_after_time_went_back_are_the_measurement():
    points, _ = walk(3)
    one_euro = OneEuro()
    for frame, stamp in zip(points, (10.0, 9.0, 9.0)):
        np.testing.assert_array_equal(one_euro(frame, stamp, 1.0, 0.0), frame)


def test_unknown_joints_stay_unknown_and_disturb_no_other():
    points, stamps = walk()
    expected = filtered(points, stamps)
    points[:, 3] = np.nan
    points[:50, 7] = np.nan
    got = filtered(points, stamps)
    known = np.delete(np.arange(21), [3, 7])
    np.testing.assert_array_equal(got[:, known], expected[:, known])
    assert (
        np.isnan(got[:, 3]).all() and np.isnan(got[:50, 7]).all() and np.isfinite(got[50:, 7]).all()
    )
