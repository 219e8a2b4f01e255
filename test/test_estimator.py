"""From a depth frame and a candidate to a pose, by a network that answers with the encoded truth."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.fx

from awr_ros.camera import Intrinsics
from awr_ros.crop import crop_along_axes, crop_hand
from awr_ros.estimator import HandPose, HandPoseEstimator, Request
from awr_ros.networks.base import AwrNetwork
from awr_ros.networks.checkpoint import ModelConfig, ResNetConfig
from awr_ros.offset_field import encode
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker, TrackerConfig

K = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)


@pytest.fixture(scope='module')
def camera():
    return SyntheticCamera(num_hands=2, seed=1)


class KnowingNetwork(AwrNetwork):
    """Answers call after call with the field of given joints (B,21,3) uvdn, and with the
    given logit.
    """

    def __init__(self, *answers, logit=3.0, config=ModelConfig()):
        super().__init__(config)
        self.answers, self.logit, self.inputs = list(answers), logit, []

    def forward(self, depth):
        if isinstance(depth, torch.fx.Proxy):
            raise TypeError('its answers are no operations to trace')
        self.inputs.append(depth.clone())
        joints = torch.tensor(np.stack(self.answers.pop(0)), dtype=torch.float32)
        assert len(joints) == len(depth)
        return (
            encode(joints, depth, self.config.kernel_size, self.config.field_size),
            torch.full((len(depth),), self.logit),
        )


def uvdn(depth, joints_xyz, centre, mirror=False):
    joints = crop_hand(depth, K, centre, 280.0, 128).uvdn_from_uvd(
        K.xyz_to_uvd(joints_xyz.astype(float))
    )
    return joints * [-1, 1, 1] if mirror else joints


def palm(hand):
    return palm_centre(hand.joints_xyz.astype(float))


@pytest.mark.parametrize('index, side', [(0, 'right'), (1, 'left')])
def test_the_truth_comes_back_in_camera_and_image(camera, index, side):
    depth, hands = camera.frame(0.4)
    hand, centre = hands[index], palm(hands[index]) + [10, -8, 5]
    network = KnowingNetwork([uvdn(depth, hand.joints_xyz, centre, mirror=side == 'left')])
    pose = HandPoseEstimator(TorchEngine(network)).estimate(
        depth, K, centre, side, passes=1, views=1
    )
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
    HandPoseEstimator(TorchEngine(network)).estimate_batch(
        depth, K, [Request(centre, 'left'), Request(centre, 'right')]
    )
    seen = network.inputs[0][:, 0].numpy()
    np.testing.assert_array_equal(seen[1], crop_hand(depth, K, centre, 280.0, 128).depth)
    np.testing.assert_array_equal(seen[0], seen[1][:, ::-1])


@pytest.mark.parametrize(
    'config, cut',
    [
        (ModelConfig(), crop_hand),
        (ModelConfig(virtual_crop=False), crop_along_axes),
        (ResNetConfig(cube_mm=280.0, downsample=4), crop_along_axes),
    ],
)
def test_a_network_sees_the_kind_of_crops_it_learnt(camera, config, cut):
    depth, hands = camera.frame(0.4)
    centre = palm(hands[1])
    network = KnowingNetwork([np.zeros((21, 3))], config=config)
    HandPoseEstimator(TorchEngine(network)).estimate_batch(depth, K, [Request(centre, 'right')])
    np.testing.assert_array_equal(
        network.inputs[0][0, 0].numpy(), cut(depth, K, centre, 280.0, 128).depth
    )


@pytest.mark.parametrize('degrees', [0, 40, 55])
def test_a_hand_is_turned_up_and_comes_back_exactly_far_off_the_axis(degrees):
    """A hand that points along the image's diagonal, on the bisector, so that the turns about both
    axes matter.
    """
    wide = Intrinsics(fx=250.0, fy=262.0, cx=503.0, cy=498.0, width=1000, height=1000)
    angle, way = math.radians(degrees), 0.9
    centre = 450 * np.array(
        [math.sin(angle) * math.cos(way), math.sin(angle) * math.sin(way), math.cos(angle)]
    )
    joints = np.random.default_rng(0).uniform(-60, 60, (21, 3)) + centre
    # the palm's centre is `centre`
    joints[0], joints[[5, 9, 13, 17]] = (centre + [-40, 50, 20], centre + [10, -12.5, -5])
    rays = wide.uvd_to_xyz(np.stack([*np.indices((1000, 1000))[::-1], np.ones((1000, 1000))], -1))
    # something near every joint, to vote from
    depth = (450 / np.linalg.norm(rays, axis=-1)).astype(np.float32)
    network = KnowingNetwork(config=ModelConfig(upright=True))
    estimator = HandPoseEstimator(TorchEngine(network))
    pose = HandPose(
        joints.astype(np.float32), wide.xyz_to_uvd(joints), np.ones(21), 1.0, 'right', (0, 0, 1, 1)
    )
    request = pose.request()
    np.testing.assert_allclose(request.centre_xyz, centre, atol=1e-3)
    crop = crop_hand(depth, wide, request.centre_xyz, 280.0, 128, request.roll)
    uvdn = crop.uvdn_from_uvd(wide.xyz_to_uvd(joints))
    up = uvdn[[5, 9, 13, 17]].mean(0) - uvdn[0]
    assert abs(up[0]) < 1e-3 and up[1] < -0.1
    network.answers = [[uvdn]]
    again = estimator.estimate_batch(depth, wide, [request])[0]
    np.testing.assert_array_equal(network.inputs[0][0, 0].numpy(), crop.depth)
    np.testing.assert_allclose(again.joints_xyz, joints, atol=0.2)


def test_a_batch_keeps_its_order_and_leaves_none_where_nothing_is(camera):
    depth, hands = camera.frame(0.4)
    right, left = hands
    answers = [
        uvdn(depth, left.joints_xyz, palm(left), mirror=True),
        uvdn(depth, right.joints_xyz, palm(right)),
    ]
    requests = [
        Request(np.array([0.0, 0.0, 200.0]), 'right'),
        Request(palm(left), 'left'),
        Request(np.array([0.0, 0.0, 40.0]), 'left'),
        Request(palm(right), 'right'),
        Request(np.array([5000.0, 0.0, 500.0]), 'right'),
    ]
    poses = HandPoseEstimator(TorchEngine(KnowingNetwork(answers))).estimate_batch(
        depth, K, requests
    )
    assert [pose is None for pose in poses] == [True, False, True, False, True]
    np.testing.assert_allclose(poses[1].joints_xyz, left.joints_xyz, atol=0.1)
    np.testing.assert_allclose(poses[3].joints_xyz, right.joints_xyz, atol=0.1)


def test_nothing_to_look_at_gives_none_without_the_network(camera):
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    empty = np.zeros((480, 640), np.float32)
    assert estimator.estimate(empty, K, (0.0, 0.0, 500.0)) is None
    assert estimator.estimate_batch(empty, K, []) == []


def test_a_centre_in_metres_is_named(camera):
    with pytest.raises(ValueError, match=r'centre_xyz must be \(x, y, z\) in mm.*0.45'):
        HandPoseEstimator(TorchEngine(KnowingNetwork())).estimate(
            np.zeros((480, 640), np.float32), K, (0.0, 0.05, 0.45)
        )


def test_later_passes_look_at_the_palm_that_was_found(camera):
    depth, hands = camera.frame(0.4)
    hand = hands[0]
    off, found = palm(hand) + [30, 20, -15], palm(hand)
    network = KnowingNetwork(
        [uvdn(depth, hand.joints_xyz, off)], *[[uvdn(depth, hand.joints_xyz, found)]] * 2
    )
    pose = HandPoseEstimator(TorchEngine(network)).estimate(depth, K, off, 'right', views=1)
    np.testing.assert_allclose(pose.joints_xyz, hand.joints_xyz, atol=0.1)
    assert len(network.inputs) == 3
    expected = crop_hand(depth, K, found, 280.0, 128).depth
    for given in network.inputs[1:]:
        assert (
            (given[0, 0].numpy() == expected).mean()
            > 0.9
            > (network.inputs[0][0, 0].numpy() == expected).mean()
        )


@pytest.mark.parametrize('scores, chosen', [((0.9, 0.3, 0.6), 2), ((0.1, 0.5, 0.4), 1)])
def test_of_the_centred_looks_the_surest_counts(camera, monkeypatch, scores, chosen):
    poses = [
        HandPose(
            np.full((21, 3), 300.0 + i, np.float32),
            np.ones((21, 3)),
            np.full(21, score),
            1.0,
            'right',
            (0, 0, 1, 1),
        )
        for i, score in enumerate(scores)
    ]
    estimator, left = HandPoseEstimator(TorchEngine(KnowingNetwork())), list(poses)
    monkeypatch.setattr(estimator, 'estimate_batch', lambda *_: [left.pop(0)])
    assert estimator.estimate(None, K, (0.0, 0.0, 400.0), 'right', views=1) is poses[chosen]


def test_the_surest_of_several_starts_is_looked_at_in_other_views(camera, monkeypatch):
    """From each start the look stays where it began; the surest begins above the given centre. The
    other views of it are 20 mm farther.
    """
    network = KnowingNetwork(config=ModelConfig(upright=True, virtual_crop=True))
    estimator, asked = HandPoseEstimator(TorchEngine(network)), []

    def stay(_depth, _intrinsics, requests):
        asked.append(requests)
        farther = [0, 0, 20.0 * (len(requests) == 4)]
        return [
            HandPose(
                np.tile(request.centre_xyz + farther, (21, 1)).astype(np.float32),
                np.ones((21, 3), np.float32),
                np.full(21, 0.9 if request.centre_xyz[1] < 0 else 0.5),
                1.0,
                'right',
                (0, 0, 1, 1),
            )
            for request in requests
        ]

    monkeypatch.setattr(estimator, 'estimate_batch', stay)
    pose = estimator.estimate(None, K, (0.0, 0.0, 400.0), 'right')
    assert [len(requests) for requests in asked] == [5, 5, 5, 4]
    assert len({tuple(request.centre_xyz) for request in asked[0]}) == 5
    assert len({request.roll for request in asked[3]}) == 4
    expected = np.tile((0.0, -25.0, 420.0), (21, 1))
    np.testing.assert_allclose(pose.joints_xyz, expected, atol=0.5)


@pytest.mark.parametrize('there, chosen', [((0, 0), 0), ((500, 500), 1)])
def test_a_surer_hand_beside_is_another_one(monkeypatch, there, chosen):
    """Half of the starts find a surer hand 90 mm aside; the given one may be too far away, too."""
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    hands = np.array([(*there, 400.0), (90.0, 0.0, 400.0)])

    def either(_depth, _intrinsics, requests):
        found = [int(request.centre_xyz[0] > 10) for request in requests]
        return [
            HandPose(
                np.tile(hands[i], (21, 1)).astype(np.float32),
                np.ones((21, 3), np.float32),
                np.full(21, (0.5, 0.9)[i]),
                1.0,
                'right',
                (0, 0, 1, 1),
            )
            for i in found
        ]

    monkeypatch.setattr(estimator, 'estimate_batch', either)
    pose = estimator.estimate(None, K, (0.0, 0.0, 400.0), 'right')
    np.testing.assert_allclose(pose.centre_xyz, hands[chosen], atol=1e-3)


@pytest.mark.parametrize('upright, crops', [(True, 5 * 3 + 4), (False, 5 * 3)])
def test_networks_of_crops_that_are_not_turned_have_one_view(camera, monkeypatch, upright, crops):
    network = KnowingNetwork(config=ModelConfig(upright=upright, virtual_crop=True))
    estimator, asked = HandPoseEstimator(TorchEngine(network)), []

    def look(_depth, _intrinsics, requests):
        asked.extend(requests)
        return [
            HandPose(
                np.full((21, 3), 400, np.float32),
                np.ones((21, 3), np.float32),
                np.ones(21),
                1.0,
                'right',
                (0, 0, 1, 1),
            )
            for _ in requests
        ]

    monkeypatch.setattr(estimator, 'estimate_batch', look)
    estimator.estimate(None, K, (0.0, 0.0, 400.0), 'right')
    assert len(asked) == crops


@pytest.mark.parametrize('direction', [(1, 0, 0), (0, -1, 0), (0, 0, 1), (-0.6, 0.6, -0.53)])
def test_a_first_look_40_mm_off_is_as_good_as_one_that_is_not(camera, direction):
    """With the network of the package: by the estimator, and by the tracker where others find the
    hands.
    """
    estimator, errors = HandPoseEstimator.from_pretrained(device='cpu'), []
    for i in range(4):
        depth, hands = camera.frame(1.3 * i)
        for hand in hands:
            off = palm(hand) + 40 * np.array(direction)
            tracker = HandTracker(estimator, TrackerConfig(max_hands=1, finder='external'))
            (tracked,) = tracker.update(depth, K, 0.0, [off])
            assert tracked.side == hand.side
            for found in (
                estimator.estimate(depth, K, palm(hand), hand.side),
                estimator.estimate(depth, K, off, hand.side),
                tracked,
            ):
                errors.append(np.linalg.norm(found.joints_xyz - hand.joints_xyz, axis=1).mean())
    given, off, tracked = np.reshape(errors, (-1, 3)).mean(0)
    assert given < 6 and off < 1.25 * given and tracked < 1.25 * given


def test_a_hand_whose_side_is_not_given_is_estimated_as_the_likelier_one(camera):
    estimator = HandPoseEstimator.from_pretrained(device='cpu', engine='torch')
    depth, hands = camera.frame(0.0)
    assert {hand.side for hand in hands} == {'left', 'right'}
    for hand in hands:
        found = estimator.estimate(depth, K, palm(hand))
        given = estimator.estimate(depth, K, palm(hand), hand.side)
        assert found.side == hand.side
        np.testing.assert_allclose(found.joints_xyz, given.joints_xyz, atol=0.01)


def test_misuse_of_the_estimator_is_named(camera):
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    depth = np.zeros((480, 640), np.float32)
    with pytest.raises(ValueError, match="got 'up'"):
        estimator.estimate(depth, K, (0.0, 0.0, 500.0), side='up')
    with pytest.raises(ValueError, match='480, 640'):
        estimator.estimate(depth[:100], K, (0.0, 0.0, 500.0))
    with pytest.raises(ValueError, match="got 'tpu'"):
        HandPoseEstimator.from_pretrained('none.pt', device='tpu')
    with pytest.raises(FileNotFoundError, match='none.pt'):
        HandPoseEstimator.from_pretrained('none.pt', device='cpu')


@pytest.mark.parametrize('worst', [-0.9, math.nan, math.inf, -1e30])
def test_a_pose_with_a_joint_behind_the_camera_or_nowhere_is_none(camera, worst):
    """The cube around a centre at 100 mm reaches 40 mm behind the camera."""

    class Engine:
        config, description = ModelConfig(), ''

        def predict(self, images):
            uvdn = np.zeros((len(images), 21, 3), np.float32)
            uvdn[-1, 7, 2] = worst
            n = len(images)
            return SimpleNamespace(
                joints_uvdn=uvdn,
                joint_scores=np.ones((n, 21)),
                hand_scores=np.ones(n),
                handedness_logits=np.zeros(n),
            )

    depth = np.full((480, 640), 100, np.uint16)
    good, bad = HandPoseEstimator(Engine()).estimate_batch(
        depth, K, [Request(np.array([0.0, 0.0, 100.0]), 'right')] * 2
    )
    assert bad is None and (good.joints_xyz[:, 2] > 0).all()
