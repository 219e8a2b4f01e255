"""Fit the start score (tracker.start_score): how likely what the finder offers and the network reads is a hand."""
import numpy as np

from awr_ros.estimator import HandPoseEstimator
from awr_ros.learned_finder import LearnedFinder
from awr_ros.network import load_checkpoint
from awr_ros.skeleton import PALM, palm_centre
from awr_ros.synthetic.scenes import SceneSource
from awr_ros.tracker import HandTracker, START_OF_CHANCES, START_OF_CLOSENESS, logit
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.evaluate_scenes import FOUND_MM, VISIBLE, in_image
from awr_ros.training.logistic import fit_logistic

START_SEED = 3_500_000_011          # of scenes that neither networks nor evaluation use
UNLIKELY = 0.02                     # [0,1] least finder's score of candidates to fit to
THRESHOLDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)


def start_examples(estimator, scenes, seed=START_SEED, progress=iter):
    """What became of the candidates of `scenes` scenes.

    Returns told (N,3), logits of finder's and hand score and mean joint score; hand (N,) int, which of the scenes' hands it is,
    -1 none, -2 one that shows too little to count; frame (N,) int; whether each frame has hands (scenes,) bool; and the frame
    of each hand there was to find (M,) int.
    """
    source, finder, config = SceneSource(seed), LearnedFinder(), TrackerConfig()
    told, hand, frame, peopled, asked = [], [], [], [], []
    for index in progress(range(scenes)):
        scene = source.draw()
        peopled.append(bool(scene.hands))
        names = []
        for truth, visible in zip(scene.hands, scene.visible):
            counts = visible >= VISIBLE and in_image(truth.joints_uvd[list(PALM)], scene.intrinsics)
            names.append(len(asked) if counts else -2)
            asked += [index] * counts
        places = finder.find(scene.depth_mm, scene.intrinsics, config.min_depth_mm, config.max_depth_mm, UNLIKELY)
        for place, readings, pose, _ in HandTracker(estimator, config).verify(scene.depth_mm, scene.intrinsics, places):
            near = [name for name, truth in zip(names, scene.hands)
                    if np.linalg.norm(pose.centre_xyz - palm_centre(truth.joints_xyz)) < FOUND_MM]
            told.append((logit(place.score), logit(pose.hand_score), np.nanmean(pose.joint_scores)))
            hand.append(near[0] if near else -1)
            frame.append(index)
    return np.array(told).reshape(-1, 3), np.array(hand, int), np.array(frame, int), np.array(peopled), np.array(asked, int)


def fit_start(told, hand):
    """Logistic regression. told, hand: as of `start_examples`. Returns four floats as tracker.START_OF_CHANCES."""
    kept = hand != -2
    weights, constant = fit_logistic(told[kept], hand[kept] >= 0)
    return (*weights, constant)


def print_start(weights, scenes, progress=iter):
    """Fit to one half of the scenes and print what the score does in the other; then print the fit to all of them."""
    told, hand, frame, peopled, asked = start_examples(HandPoseEstimator.from_pretrained(weights, device='cpu'), scenes,
                                                       progress=progress)
    chances = bool(getattr(load_checkpoint(weights)[0].config, 'calibration', ()))
    print(f'{scenes} scenes, {len(asked)} hands at least {VISIBLE:.0%} visible, {len(told)} candidates')
    second, late = frame >= scenes / 2, np.arange(scenes) >= scenes / 2
    for name, fit in (('fitted to the first half of the scenes, in the second', fit_start(told[~second], hand[~second])),
                      ('as the tracker has it, in the second', START_OF_CHANCES if chances else START_OF_CLOSENESS)):
        print(name)
        print('start score   hands   false, no hands there   false, beside hands')
        score = 1 / (1 + np.exp(-(told @ np.array(fit[:3]) + fit[3])))
        for threshold in THRESHOLDS:
            over = second & (score >= threshold)
            found = len(np.unique(hand[over & (hand >= 0)])) / max(1, (asked >= scenes / 2).sum())
            false = np.zeros(scenes, bool)
            false[frame[over & (hand == -1)]] = True
            print(f'{threshold:11.2f} {found:7.1%} {false[late & ~peopled].mean():23.1%} {false[late & peopled].mean():21.1%}')
    print(f'START_OF_{"CHANCES" if chances else "CLOSENESS"} = ' + ', '.join(f'{value:.2f}' for value in fit_start(told, hand)))
