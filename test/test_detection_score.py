"""The detection score and its fit: which candidates are hands."""

import numpy as np
import pytest

from awr_ros.detector import detection_score
from awr_ros.estimator import HandPoseEstimator
from awr_ros.training.detection_score import (
    detection_examples,
    fit_detection_weights,
    learn_detection_weights,
)


@pytest.fixture(scope='module')
def estimator():
    return HandPoseEstimator.from_pretrained(device='cpu', engine='torch')


def test_the_fit_finds_the_odds_that_made_the_labels():
    random = np.random.default_rng(0)
    features = np.column_stack([random.uniform(0, 1, (6000, 2)), random.uniform(0.4, 0.9, 6000)])
    hand = np.where(
        random.uniform(size=6000) < detection_score((0.6, 0.4, 15.0, -10.0), *features.T), 5, -1
    )
    hand[:500] = -2  # these do not count, whatever they are
    features[:500, 2] += 3
    assert fit_detection_weights(features, hand) == pytest.approx((0.6, 0.4, 15.0, -10.0), rel=0.15)


def test_examples_tell_hands_from_the_rest_and_the_score_ranks_them(estimator):
    features, hand, frame, peopled, targets = detection_examples(estimator, 12)
    assert features.shape == (len(hand), 3) and len(hand) == len(frame) > 8
    assert peopled.shape == (12,) and set(targets) <= set(np.flatnonzero(peopled))
    assert all(frame[i] == targets[hand[i]] for i in np.flatnonzero(hand >= 0))
    assert not (hand[~peopled[frame]] != -1).any()
    score = detection_score(estimator.config.detection_weights, *features.T)
    assert np.median(score[hand >= 0]) > 0.8 > 0.5 > np.median(score[hand == -1])


def test_weights_are_learned_and_the_table_is_printed(estimator, capsys):
    weights = learn_detection_weights(estimator, 10)
    assert len(weights) == 4 and np.isfinite(weights).all()
    said = capsys.readouterr().out
    assert said.startswith('10 scenes, ') and 'false, beside hands' in said


def test_without_any_hand_there_is_nothing_to_fit_to():
    with pytest.raises(ValueError, match='of 3 candidates'):
        fit_detection_weights(np.full((3, 3), 0.5), np.array([-1, -1, -2]))
