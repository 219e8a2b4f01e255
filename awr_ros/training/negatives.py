"""Crops of what the finders offer beside hands: faces, elbows, bodies, things, from rendered scenes.

Drawing scenes costs a hundred times what a crop does, so a run renders some thousand such crops once and draws from them.
"""
from pathlib import Path

import numpy as np
import torch

from awr_ros.crop import crop_hand
from awr_ros.finder import find_candidates
from awr_ros.learned_finder import LearnedFinder
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import SceneSource
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.run import save_whole

NEGATIVES_SEED = 2_000_000_011
COARSE = ((320, 240), (424, 240), (512, 424), (640, 480))       # [px] finer cameras look no other in a crop
CLEAR_MM = 110.0                                                # a negative's centre is farther from every palm
JITTER_MM = 20.0


def render_negatives(count, crop_size, cube_mm, seed=NEGATIVES_SEED, progress=iter, finder_weights=''):
    """(count,1,S,S) float16 uvdn. progress: wraps the range of crops, as tqdm does; finder_weights: as TrackerConfig's."""
    scenes, rng, config = SceneSource(seed, COARSE), np.random.default_rng(seed), TrackerConfig()
    crops = _crops(scenes, rng, config, crop_size, cube_mm, LearnedFinder(finder_weights))
    return torch.from_numpy(np.stack([next(crops) for _ in progress(range(count))]))[:, None].half()


def _crops(scenes, rng, config, crop_size, cube_mm, finder):
    while True:
        scene = scenes.draw()
        palms = [palm_centre(hand.joints_xyz) for hand in scene.hands]
        within = scene.depth_mm, scene.intrinsics, config.min_depth_mm, config.max_depth_mm
        nearest = find_candidates(*within)
        places = [candidate.centre_xyz for candidate in finder.find(*within)]
        places += [nearest[i] for i in rng.permutation(len(nearest))[:1]]
        for place in places:
            place = place + rng.normal(0, JITTER_MM, 3)
            if place[2] < config.min_depth_mm or any(np.linalg.norm(place - palm) < CLEAR_MM for palm in palms):
                continue
            roll = rng.uniform(-np.pi, np.pi) * (rng.uniform() < 0.65)              # as often as hands are turned
            crop = crop_hand(scene.depth_mm, scene.intrinsics, place, cube_mm, crop_size, roll)
            if crop.foreground > 0.02:
                yield crop.depth


def cached_negatives(path, count, crop_size, cube_mm, progress=iter, finder_weights=''):
    """`render_negatives`, kept in a file."""
    path = Path(path)
    if path.exists():
        negatives = torch.load(path, weights_only=True)
        if negatives.shape == (count, 1, crop_size, crop_size):
            return negatives
    negatives = render_negatives(count, crop_size, cube_mm, progress=progress, finder_weights=finder_weights)
    save_whole(negatives, path)
    return negatives
