"""From a depth frame and a place to a pose, by a network that answers with the encoded truth."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics
from awr_ros.crop import crop_hand
from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.network import ModelConfig
from awr_ros.offset_field import encode
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import SyntheticCamera

K = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)


@pytest.fixture(scope='module')
def camera():
    return SyntheticCamera(num_hands=2, seed=1)


class KnowingNetwork(torch.nn.Module):
    """Answers call after call with the field of joints it was told (B,21,3) uvdn, and with the logit it was told."""

    def __init__(self, *answers, logit=3.0, config=ModelConfig()):
        super().__init__()
        self.config, self.answers, self.logit, self.asked = config, list(answers), logit, []

    def forward(self, depth):
        self.asked.append(depth.clone())
        joints = torch.tensor(np.stack(self.answers.pop(0)), dtype=torch.float32)
        assert len(joints) == len(depth)
        return (encode(joints, depth, self.config.kernel_size, self.config.field_size),
                torch.full((len(depth),), self.logit))


def uvdn(depth, joints_xyz, centre, mirror=False):
    joints = crop_hand(depth, K, centre, 280.0, 128).uvdn_from_uvd(K.xyz_to_uvd(joints_xyz.astype(float)))
    return joints * [-1, 1, 1] if mirror else joints


def palm(hand):
    return palm_centre(hand.joints_xyz.astype(float))


@pytest.mark.parametrize('index, side', [(0, 'right'), (1, 'left')])
def test_the_truth_comes_back_in_camera_and_image(camera, index, side):
    depth, hands = camera.frame(0.4)
    hand, centre = hands[index], palm(hands[index]) + [10, -8, 5]
    network = KnowingNetwork([uvdn(depth, hand.joints_xyz, centre, mirror=side == 'left')])
    pose = HandPoseEstimator(TorchEngine(network)).estimate(depth, K, centre, side, passes=1)
    np.testing.assert_allclose(pose.joints_xyz, hand.joints_xyz, atol=0.1)
    np.testing.assert_allclose(pose.joints_uvd, hand.joints_uvd, atol=0.1)
    assert pose.joints_xyz.dtype == pose.joints_uvd.dtype == np.float32 and pose.side == side
    assert pose.hand_score == pytest.approx(1 / (1 + math.exp(-3)))
    assert (pose.joint_scores > 0.5).all() and pose.joint_scores.shape == (21,)
    crop = crop_hand(depth, K, centre, 280.0, 128)
    u0, v0, u1, v1 = crop.window
    assert pose.roi == (u0, v0, u1 - u0, v1 - v0)


def test_the_network_sees_left_hands_mirrored(camera):
    depth, hands = camera.frame(0.4)
    centre = palm(hands[1])
    network = KnowingNetwork([uvdn(depth, hands[1].joints_xyz, centre)] * 2)
    HandPoseEstimator(TorchEngine(network)).estimate_batch(depth, K, [Request(centre, 'left'), Request(centre, 'right')])
    seen = network.asked[0][:, 0].numpy()
    np.testing.assert_array_equal(seen[1], crop_hand(depth, K, centre, 280.0, 128).depth)
    np.testing.assert_array_equal(seen[0], seen[1][:, ::-1])


def test_a_batch_keeps_its_order_and_leaves_none_where_nothing_is(camera):
    depth, hands = camera.frame(0.4)
    right, left = hands
    answers = [uvdn(depth, left.joints_xyz, palm(left), mirror=True), uvdn(depth, right.joints_xyz, palm(right))]
    requests = [Request(np.array([0., 0., 200.]), 'right'), Request(palm(left), 'left'),
                Request(np.array([0., 0., 40.]), 'left'),
                Request(palm(right), 'right'), Request(np.array([5000., 0., 500.]), 'right')]
    poses = HandPoseEstimator(TorchEngine(KnowingNetwork(answers))).estimate_batch(depth, K, requests)
    assert [pose is None for pose in poses] == [True, False, True, False, True]
    np.testing.assert_allclose(poses[1].joints_xyz, left.joints_xyz, atol=0.1)
    np.testing.assert_allclose(poses[3].joints_xyz, right.joints_xyz, atol=0.1)


def test_nothing_to_look_at_gives_none_without_the_network(camera):
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    empty = np.zeros((480, 640), np.float32)
    assert estimator.estimate(empty, K, (0., 0., 500.)) is None
    assert estimator.estimate_batch(empty, K, []) == []


def test_a_centre_in_metres_is_named(camera):
    with pytest.raises(ValueError, match=r'centre_xyz must be \(x, y, z\) in mm.*0.45'):
        HandPoseEstimator(TorchEngine(KnowingNetwork())).estimate(np.zeros((480, 640), np.float32), K, (0., 0.05, 0.45))


def test_the_second_pass_looks_at_the_palm_the_first_one_found(camera):
    depth, hands = camera.frame(0.4)
    hand = hands[0]
    off, found = palm(hand) + [30, 20, -15], palm(hand)
    network = KnowingNetwork([uvdn(depth, hand.joints_xyz, off)], [uvdn(depth, hand.joints_xyz, found)])
    pose = HandPoseEstimator(TorchEngine(network)).estimate(depth, K, off)
    np.testing.assert_allclose(pose.joints_xyz, hand.joints_xyz, atol=0.1)
    assert len(network.asked) == 2
    expected = crop_hand(depth, K, found, 280.0, 128).depth
    assert (network.asked[1][0, 0].numpy() == expected).mean() > 0.9 > (network.asked[0][0, 0].numpy() == expected).mean()


def test_misuse_of_the_estimator_is_named(camera):
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    depth = np.zeros((480, 640), np.float32)
    with pytest.raises(ValueError, match="got 'up'"):
        estimator.estimate(depth, K, (0., 0., 500.), side='up')
    with pytest.raises(ValueError, match='480, 640'):
        estimator.estimate(depth[:100], K, (0., 0., 500.))
    with pytest.raises(ValueError, match="got 'tpu'"):
        HandPoseEstimator.from_pretrained('none.pt', device='tpu')
    with pytest.raises(FileNotFoundError, match='none.pt'):
        HandPoseEstimator.from_pretrained('none.pt', device='cpu')


@pytest.mark.parametrize('worst', [-0.9, math.nan, math.inf, -1e30])
def test_a_pose_with_a_joint_behind_the_camera_or_nowhere_is_none(camera, worst):
    """The cube around a centre at 100 mm reaches 40 mm behind the camera."""
    class Engine:
        config, description = ModelConfig(), ''

        def read(self, images):
            uvdn = np.zeros((len(images), 21, 3), np.float32)
            uvdn[-1, 7, 2] = worst
            n = len(images)
            return SimpleNamespace(joints_uvdn=uvdn, joint_scores=np.ones((n, 21)), hand_scores=np.ones(n), judgements=np.zeros(n))
    depth = np.full((480, 640), 100, np.uint16)
    good, bad = HandPoseEstimator(Engine()).estimate_batch(depth, K, [Request(np.array([0.0, 0.0, 100.0]), 'right')] * 2)
    assert bad is None and (good.joints_xyz[:, 2] > 0).all()
