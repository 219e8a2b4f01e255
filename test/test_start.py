"""The start score and its fit: which candidates are hands."""
import numpy as np
import pytest

from awr_ros.estimator import HandPoseEstimator
from awr_ros.tracker import START_OF_CHANCES
from awr_ros.training.start import fit_start, print_start, start_examples


def test_the_fit_finds_the_odds_that_made_the_labels():
    random = np.random.default_rng(0)
    told = np.column_stack([random.normal(0, 2, (6000, 2)), random.uniform(0.4, 0.9, 6000)])
    odds = told @ [0.6, 0.4, 15.0] - 10.0
    hand = np.where(random.uniform(size=6000) < 1 / (1 + np.exp(-odds)), 5, -1)
    hand[:500] = -2                                         # these do not count, whatever they are
    told[:500] += 3
    assert fit_start(told, hand) == pytest.approx((0.6, 0.4, 15.0, -10.0), rel=0.15)


def test_examples_tell_hands_from_the_rest_and_the_score_ranks_them():
    told, hand, frame, peopled, asked = start_examples(HandPoseEstimator.from_pretrained(device='cpu', engine='torch'), 12)
    assert told.shape == (len(hand), 3) and len(hand) == len(frame) > 8
    assert peopled.shape == (12,) and set(asked) <= set(np.flatnonzero(peopled))
    assert all(frame[i] == asked[hand[i]] for i in np.flatnonzero(hand >= 0))
    assert not (hand[~peopled[frame]] != -1).any()
    score = 1 / (1 + np.exp(-(told @ START_OF_CHANCES[:3] + START_OF_CHANCES[3])))
    assert np.median(score[hand >= 0]) > 0.8 > 0.5 > np.median(score[hand == -1])


def test_the_table_is_printed(capsys):
    print_start(None, 10)
    said = capsys.readouterr().out
    assert said.count('false, beside hands') == 2 and 'START_OF_CHANCES = ' in said
