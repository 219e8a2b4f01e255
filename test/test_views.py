"""Views of a hand: crops of it that are rotated differently, merged by the geometric median."""

import numpy as np
import pytest

from awr_ros.camera import Intrinsics
from awr_ros.detector import HandDetector
from awr_ros.estimator import HandPose, HandPoseEstimator, Request
from awr_ros.runtime.readout import EngineConfig
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker, TrackerConfig
from awr_ros.views import MAX_VIEWS, VIEW_ROLLS, geometric_median, merged, rotated

K = Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480)


def pose(joints_xyz, score=0.5, side='right', **others):
    joints = np.broadcast_to(np.asarray(joints_xyz, np.float32), (21, 3)).copy()
    scores = np.full(21, score, np.float32)
    given = {'hand_score': score, 'handedness_logit': 2 * score, **others}
    roi = (0, 0, 9, 9)
    return HandPose(joints, K.xyz_to_uvd(joints), scores, side=side, roi=roi, **given)


def test_the_median_of_points_on_a_line_is_the_middle_one():
    points = np.array([[[0, 0, 400]], [[7, 0, 400]], [[90, 0, 400]]], float)
    found = geometric_median(points, np.ones((3, 1)))
    np.testing.assert_allclose(found, [[7, 0, 400]], atol=0.5)


def test_the_median_minimises_the_weighted_distances():
    generator = np.random.default_rng(1)
    points, weights = generator.normal(0, 20, (5, 21, 3)), generator.uniform(0.1, 1, (5, 21))

    def cost(at):
        return (weights * np.linalg.norm(points - at, axis=-1)).sum(axis=0)

    median = geometric_median(points, weights)
    for step in 3 * np.array([*np.eye(3), *-np.eye(3)]):
        assert (cost(median) < cost(median + step)).all()


def test_a_finger_that_one_view_has_wrong_hardly_moves():
    views = np.full((5, 21, 3), 300.0)
    views += np.random.default_rng(0).normal(0, 1, views.shape)
    right = geometric_median(views, np.ones((5, 21)))
    views[2, 5:9] += 80
    moved = np.linalg.norm(geometric_median(views, np.ones((5, 21))) - right, axis=-1)
    assert moved[5:9].max() < 2 < np.linalg.norm(views.mean(axis=0) - right, axis=-1)[5:9].min()
    np.testing.assert_array_equal(np.delete(moved, range(5, 9)), 0)


def test_sure_joints_count_for_more():
    points = np.array([[[0, 0, 400]], [[10, 0, 400]]], float)
    assert geometric_median(points, np.array([[0.9], [0.1]]))[0, 0] < 3
    assert geometric_median(points, np.array([[0.1], [0.9]]))[0, 0] > 7
    assert geometric_median(points, np.zeros((2, 1)))[0, 0] == pytest.approx(5)


def test_joints_that_a_network_lacks_stay_nan():
    first, second = pose([0, 0, 400]), pose([6, 0, 400])
    for each in (first, second):
        each.joints_xyz[3] = each.joint_scores[3] = np.nan
    found = merged([first, second], K)
    assert np.isnan(found.joints_xyz[3]).all() and np.isnan(found.joint_scores[3])
    others = np.delete(np.arange(21), 3)
    np.testing.assert_allclose(found.joints_xyz[others, 0], 3, atol=0.1)


def test_views_without_a_pose_are_left_out():
    only = pose([0, 0, 400])
    assert merged([None, only, None], K) is only
    assert merged([None, None], K) is None


def test_scores_are_means_and_the_image_agrees_with_space():
    found = merged([pose([0, 0, 400], 0.2), None, pose([8, 4, 410], 0.6)], K)
    assert found.hand_score == pytest.approx(0.4)
    assert found.handedness_logit == pytest.approx(0.8)
    np.testing.assert_allclose(found.joint_scores, 0.4, rtol=1e-6)
    np.testing.assert_allclose(found.joints_uvd, K.xyz_to_uvd(found.joints_xyz), atol=1e-3)
    assert found.joints_xyz.dtype == found.joints_uvd.dtype == np.float32


@pytest.mark.parametrize('views', range(1, MAX_VIEWS + 1))
def test_each_view_is_rotated_by_something_else(views):
    request = Request(np.array([10.0, 20.0, 500.0]), 'left', 0.3)
    looks = rotated(request, views)
    assert looks[0] == request and len({look.roll for look in looks}) == len(looks) == views
    assert all(look.side == 'left' and look.centre_xyz is request.centre_xyz for look in looks)


@pytest.mark.parametrize('views', [0, MAX_VIEWS + 1, -1])
def test_other_numbers_of_views_are_refused(views):
    with pytest.raises(ValueError, match=f'views must be 1 to {MAX_VIEWS}, got {views}'):
        TrackerConfig(views=views)
    estimator = HandPoseEstimator.from_pretrained(device='cpu')
    with pytest.raises(ValueError, match=f'views must be 1 to {MAX_VIEWS}, got {views}'):
        estimator.estimate(np.zeros((480, 640), np.float32), K, (0, 0, 500), views=views)


class Looks:
    """Estimator whose joints tell the crop: x is its centre's, y its roll; a roll below -0.2 has no
    pose.
    """

    def __init__(self, uses_roll=True):
        self.config, self.asked = EngineConfig(upright=uses_roll), []

    def estimate_batch(self, _depth, _intrinsics, requests):
        self.asked += requests
        return [
            None
            if request.roll < -0.2
            else pose([request.centre_xyz[0], request.roll, 400], side=request.side)
            for request in requests
        ]


@pytest.mark.parametrize('uses_roll, crops', [(True, 12), (False, 4)])
def test_each_hypothesis_is_merged_from_its_own_views(uses_roll, crops):
    looks = Looks(uses_roll)
    wanted = [
        {side: Request(np.array([x, 0, 400.0]), side) for side in ('left', 'right')}
        for x in (-50.0, 80.0)
    ]
    found = HandDetector(looks).predict(None, K, wanted, views=3)
    assert len(looks.asked) == crops
    for hypotheses, x in zip(found, (-50, 80), strict=True):
        assert list(hypotheses) == ['left', 'right']
        for side, each in hypotheses.items():
            assert each.side == side
            # of the rolls 0, 0.25 and -0.25, which has no pose, the mean
            expected = [x, 0.125 if uses_roll else 0, 400]
            np.testing.assert_allclose(each.joints_xyz, np.tile(expected, (21, 1)), atol=1e-4)


@pytest.mark.parametrize('views', [1, 3, MAX_VIEWS])
def test_the_tracker_looks_so_often_at_a_tracked_hand(views):
    camera = SyntheticCamera(intrinsics=K)
    estimator = HandPoseEstimator.from_pretrained(device='cpu')
    tracker = HandTracker(estimator, TrackerConfig(max_hands=1, side='right', views=views))
    asked = []
    whole = estimator.estimate_batch

    def counted(depth_mm, intrinsics, requests):
        asked.append([request.roll for request in requests])
        return whole(depth_mm, intrinsics, requests)

    estimator.estimate_batch = counted
    for frame in range(3):
        depth, hands = camera.frame(frame / 30)
        tracked = tracker.update(depth, K, frame / 30)
        if tracked and tracked[0].state == 'ok':
            (rolls,) = asked
            np.testing.assert_allclose(np.subtract(rolls, rolls[0]), VIEW_ROLLS[:views])
            errors = [
                np.linalg.norm(tracked[0].joints_xyz - hand.joints_xyz, axis=1).mean()
                for hand in hands
            ]
            assert min(errors) < 8
        asked.clear()
    assert tracked and tracked[0].state == 'ok'
