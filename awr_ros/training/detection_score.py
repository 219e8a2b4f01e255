"""Fit the detection score (detector.detection_score), a logistic regression over finder, hand and
joint scores.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from awr_ros.detector import HandDetector, detection_score, logit
from awr_ros.evaluation.scenes import FOUND_MM, VISIBLE, is_target
from awr_ros.finders.palm_detector import PalmDetector
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import SceneSource
from awr_ros.synthetic.seeds import DETECTION_SEED
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.logistic import fit_logistic

MIN_FITTED_SCORE = 0.02  # [0,1] minimum finder score of the candidates in the fit
THRESHOLDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)


def detection_examples(
    estimator: Any,
    scenes: int,
    seed: int = DETECTION_SEED,
    config: TrackerConfig = TrackerConfig(),
    progress: Callable = iter,
) -> tuple[np.ndarray, ...]:
    """Run finder and pose network on rendered scenes and label their candidates. config: of the
    tracker.

    Return the features (N,3), finder score, hand score and mean joint score; hand (N,) int, the
    index of the hand in its scene, -1 none, -2 a hand that is too hidden to count; frame (N,) int;
    whether each frame has hands (scenes,) bool; and the frame (M,) int of each hand that should be
    found.
    """
    source, finder = SceneSource(seed), PalmDetector(config.finder_weights)
    detector = HandDetector(estimator)
    features: list = []
    hand: list[int] = []
    frame: list[int] = []
    peopled: list[bool] = []
    targets: list[int] = []
    for index in progress(range(scenes)):
        scene = source.draw()
        peopled.append(bool(scene.hands))
        names = []
        for truth, visible in zip(scene.hands, scene.visible):
            counts = is_target(truth, visible, scene, config)
            names.append(len(targets) if counts else -2)
            targets += [index] * counts
        candidates = finder.find(
            scene.depth_mm,
            scene.intrinsics,
            config.min_depth_mm,
            config.max_depth_mm,
            MIN_FITTED_SCORE,
        )
        for detection in detector.verify(
            scene.depth_mm, scene.intrinsics, candidates, side=config.side
        ):
            pose = detection.pose
            near = [
                name
                for name, truth in zip(names, scene.hands)
                if np.linalg.norm(pose.centre_xyz - palm_centre(truth.joints_xyz)) < FOUND_MM
            ]
            features.append((detection.candidate.score, pose.hand_score, pose.mean_joint_score))
            hand.append(near[0] if near else -1)
            frame.append(index)
    return (
        np.array(features).reshape(-1, 3),
        np.array(hand, int),
        np.array(frame, int),
        np.array(peopled),
        np.array(targets, int),
    )


def fit_detection_weights(features: np.ndarray, hand: np.ndarray) -> tuple[float, ...]:
    """Return the four weights of detector.detection_score, by logistic regression.

    Arguments as returned by `detection_examples`. Raise ValueError when no candidate is a hand.
    """
    kept = hand != -2
    if not (hand >= 0).any():
        raise ValueError(
            f'of {len(hand)} candidates in rendered scenes none was read as the hand that it is'
        )
    weights, constant = fit_logistic(
        np.column_stack([logit(features[kept, :2]), features[kept, 2]]), hand[kept] >= 0
    )
    return (*weights, constant)


def learn_detection_weights(
    estimator: Any, scenes: int, config: TrackerConfig = TrackerConfig(), progress: Callable = iter
) -> tuple[float, ...]:
    """Return the four weights of detector.detection_score for an estimator, fitted to rendered
    scenes.

    Print the result of weights fitted to one half of the scenes on the other half. config: of the
    tracker; progress: wraps the range of scenes.
    """
    features, hand, frame, peopled, targets = detection_examples(
        estimator, scenes, config=config, progress=progress
    )
    print(
        f'{scenes} scenes, {len(targets)} hands at least {VISIBLE:.0%} visible, {len(features)} '
        f'candidates'
    )
    fit = fit_detection_weights(features, hand)
    second, late = frame >= scenes / 2, np.arange(scenes) >= scenes / 2
    if not (hand[~second] >= 0).any():
        return fit  # too few scenes for a table
    score = detection_score(fit_detection_weights(features[~second], hand[~second]), *features.T)
    print('      score   hands   false, no hands there   false, beside hands')
    for threshold in THRESHOLDS:
        over = second & (score >= threshold)
        found = len(np.unique(hand[over & (hand >= 0)])) / max(1, (targets >= scenes / 2).sum())
        false = np.zeros(scenes, bool)
        false[frame[over & (hand == -1)]] = True
        print(
            f'{threshold:11.2f} {found:7.1%} {false[late & ~peopled].mean():23.1%} '
            f'{false[late & peopled].mean():21.1%}'
        )
    return fit
