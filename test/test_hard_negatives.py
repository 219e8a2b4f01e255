"""Hard negatives: crops of other things that weights take for hands."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import awr_ros.training.hard_negatives as hard_negatives
from awr_ros.estimator import HandPoseEstimator
from awr_ros.skeleton import palm_centre
from awr_ros.training.config import TrainConfig


class Credulous:
    """The default weights, but sure that everything is a hand, or that nothing is."""

    def __init__(self, hand_score):
        self.estimator = HandPoseEstimator.from_pretrained(device='cpu', engine='torch')
        self.config, self.hand_score, self.asked = self.estimator.config, hand_score, 0

    def estimate_batch(self, depth_mm, intrinsics, requests):
        self.asked += len(requests)
        poses = self.estimator.estimate_batch(depth_mm, intrinsics, requests)
        return [pose and replace(pose, hand_score=self.hand_score) for pose in poses]


@pytest.fixture
def seen(monkeypatch):
    """The (scene, pose) pairs of which crops were cut."""
    pairs, cut = [], hard_negatives._crop

    def noted(estimator, scene, pose):
        pairs.append((scene, pose))
        return cut(estimator, scene, pose)

    monkeypatch.setattr(hard_negatives, '_crop', noted)
    return pairs


def test_what_is_taken_for_a_hand_becomes_a_negative_and_hands_do_not(seen):
    # Some scenes' worth: not every scene has a hand.
    crops = hard_negatives.render_hard_negatives(Credulous(1.0), 36, seed=3)
    assert crops.shape == (36, 1, 128, 128) and crops.dtype == torch.float16
    assert ((crops < 0.99).float().mean((1, 2, 3)) > 0.01).all()
    assert any(scene.hands for scene, _ in seen)
    for scene, pose in seen:
        for hand in scene.hands:
            assert np.linalg.norm(pose.centre_xyz - palm_centre(hand.joints_xyz)) > 110


def test_weights_without_mistakes_give_fewer(monkeypatch):
    monkeypatch.setattr(hard_negatives, 'FRUITLESS_SCENES', 3)
    perfect = Credulous(0.1)
    assert hard_negatives.render_hard_negatives(perfect, 4, seed=3).shape == (0, 1, 128, 128)
    assert perfect.asked


def test_hard_negatives_are_of_given_weights():
    with pytest.raises(ValueError, match='init'):
        TrainConfig(hard_negatives=0.5)
    with pytest.raises(ValueError, match=r'\[0,1\]'):
        TrainConfig(hard_negatives=1.5, init='x.pt')


@pytest.mark.parametrize('hard', [0.0, 0.5, 1.0])
def test_mixed_negatives_are_as_many_as_asked_for(hard, seen):
    negatives = hard_negatives.mixed_negatives(Credulous(1.0), 6, hard)
    assert negatives.shape == (6, 1, 128, 128) and len(seen) == round(6 * hard)
