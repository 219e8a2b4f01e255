"""The handedness head: its training, its place in a checkpoint, and its use by the tracker."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import awr_ros.training.handedness
from awr_ros.estimator import HandPose, HandPoseEstimator
from awr_ros.hypotheses import right_logit
from awr_ros.networks.checkpoint import load_checkpoint, save_checkpoint
from awr_ros.networks.compact import CompactNetwork, ModelConfig
from awr_ros.networks.handedness import HandednessHead
from awr_ros.networks.resnet import ResNet, ResNetConfig
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.training.handedness import HIDDEN, fit_handedness, train_handedness

TINY = ModelConfig(stem=(8, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=64)


def hypotheses(count, seed, bend):
    """Predictions whose last joints lie on one side of the palm, not changed by a refiner."""
    generator = torch.Generator().manual_seed(seed)
    joints = 0.3 * torch.randn(count, 21, 3, generator=generator)
    joints[:, -4:, 2] += bend
    scores, logit = (
        0.8 + 0.05 * torch.randn(count, 21, generator=generator),
        3 * torch.randn(count, generator=generator),
    )
    return joints, scores, logit, torch.rand(count, 8, generator=generator), joints, scores


def test_it_learns_which_of_two_readings_is_the_likelier():
    torch.manual_seed(0)
    right, loss = fit_handedness(
        HandednessHead(21, 8, 16), hypotheses(2000, 1, 0.25), hypotheses(2000, 2, -0.25)
    )
    assert right > 0.9 and loss < 0.3


def test_of_two_alike_it_says_nothing():
    torch.manual_seed(0)
    right, loss = fit_handedness(
        HandednessHead(21, 8, 16), hypotheses(2000, 1, 0.0), hypotheses(2000, 2, 0.0)
    )
    assert 0.35 < right < 0.65 and loss > 0.5


def test_it_learns_from_what_the_refiner_sees_where_votes_are_alike():
    as_is, mirrored = hypotheses(2000, 1, 0.0), hypotheses(2000, 2, 0.0)
    refined = [
        (*votes[:4], *bent[4:])
        for votes, bent in zip(
            (as_is, mirrored), (hypotheses(2000, 1, 0.25), hypotheses(2000, 2, -0.25))
        )
    ]
    for told, learnt in ((True, True), (False, False)):
        torch.manual_seed(0)
        right, _ = fit_handedness(HandednessHead(21, 8, 16, refined=told), *refined)
        assert (right > 0.9) == learnt


def test_where_the_hand_is_in_the_crop_does_not_matter():
    handedness, (joints, *others) = HandednessHead(21, 8, 16).eval(), hypotheses(5, 3, 0.1)
    torch.testing.assert_close(
        handedness(joints + 0.2, *others), handedness(joints, *others), rtol=1e-4, atol=1e-4
    )


def test_it_heeds_the_summary_of_the_crop():
    torch.manual_seed(0)
    as_is, mirrored = hypotheses(2000, 1, 0.0), hypotheses(2000, 2, 0.0)
    as_is[3][:, 2] += 1
    right, _ = fit_handedness(HandednessHead(21, 8, 16), as_is, mirrored)
    assert right > 0.9


def test_a_head_is_added_to_a_checkpoint_and_nothing_else_changes(tmp_path):
    torch.manual_seed(0)
    network = CompactNetwork(TINY).eval()
    save_checkpoint(tmp_path / 'without.pt', network, 77, {'mean_mm': 9.0}, {'by': 'a test'})
    right, _ = train_handedness(tmp_path / 'without.pt', tmp_path / 'with.pt', crops=128, scenes=0)
    trained, about = load_checkpoint(tmp_path / 'with.pt')
    assert 0 <= right <= 1 and trained.config == replace(
        TINY, handedness=HIDDEN, calibration=trained.config.calibration
    )
    assert len(trained.config.calibration) == 2
    assert (about['step'], about['made_by'], about['metrics']) == (
        77,
        {'by': 'a test'},
        {'mean_mm': 9.0, 'side_right': right},
    )
    crops = np.random.default_rng(0).uniform(-1, 1, (3, 1, 64, 64)).astype(np.float32)
    before, after = (
        TorchEngine(load_checkpoint(tmp_path / 'without.pt')[0]).predict(crops),
        TorchEngine(trained).predict(crops),
    )
    np.testing.assert_array_equal(before.joints_uvdn, after.joints_uvdn)
    slope, middle = trained.config.calibration
    np.testing.assert_allclose(
        after.joint_scores, 1 / (1 + np.exp(-slope * (before.joint_scores - middle))), rtol=1e-4
    )
    assert np.isnan(before.handedness_logits).all() and np.isfinite(after.handedness_logits).all()
    # a head is replaced
    train_handedness(tmp_path / 'with.pt', tmp_path / 'again.pt', crops=128, scenes=0)
    again = load_checkpoint(tmp_path / 'again.pt')[0].config
    assert replace(again, calibration=trained.config.calibration) == trained.config


def test_other_networks_and_negative_sizes_are_refused(tmp_path):
    save_checkpoint(tmp_path / 'resnet.pt', ResNet(ResNetConfig(crop_size=64)), 1, {})
    with pytest.raises(ValueError, match='resnet'):
        train_handedness(tmp_path / 'resnet.pt', tmp_path / 'out.pt', crops=64)
    with pytest.raises(ValueError, match='handedness must be at least 0, got -1'):
        replace(TINY, handedness=-1)
    with pytest.raises(ValueError, match='detection_weights must be four weights, got'):
        replace(TINY, detection_weights=(1.0,))
    with pytest.raises(ValueError, match='calibration must be slope and middle, got'):
        replace(TINY, calibration=(1.0,))


def test_the_weights_of_the_start_score_go_into_the_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / 'without.pt', CompactNetwork(TINY), 1, {})
    monkeypatch.setattr(
        awr_ros.training.handedness,
        'learn_detection_weights',
        lambda estimator, scenes, config, progress: (1.0, 2.0, 3.0, scenes),
    )
    train_handedness(tmp_path / 'without.pt', tmp_path / 'with.pt', crops=128, scenes=7)
    assert HandPoseEstimator.from_pretrained(
        tmp_path / 'with.pt', device='cpu', engine='torch'
    ).config.detection_weights == (1, 2, 3, 7)


def pose(side, handedness_logit, score):
    joints = np.zeros((21, 3), np.float32)
    return HandPose(
        joints, joints, np.full(21, score, np.float32), 1.0, side, (0, 0, 1, 1), handedness_logit
    )


def test_the_tracker_uses_the_head_and_without_one_the_closeness():
    assert right_logit({'right': pose('right', 1.0, 0.7), 'left': pose('left', -0.5, 0.8)}) == 1.5
    assert right_logit(
        {'right': pose('right', np.nan, 0.71), 'left': pose('left', np.nan, 0.7)}
    ) == pytest.approx(0.8, abs=1e-4)
    assert right_logit({'left': pose('left', 3.0, 0.7)}) == 0
