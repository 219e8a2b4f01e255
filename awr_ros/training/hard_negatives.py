"""Hard negatives: rendered crops without a hand that trained weights take for hands.

The tracker centres and rotates a crop in three passes before it evaluates the hand score. Arms and
boxes are then framed as a hand would be: of the candidates without a hand, one in five gets a hand
score above 0.5 there. These negatives are cut after the last pass, so training sees exactly such
crops (hard negative mining, e.g. Felzenszwalb et al., PAMI 2010).
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from awr_ros.crop import crop_hand
from awr_ros.estimator import HandPose, HandPoseEstimator
from awr_ros.finders.palm_detector import Candidate, PalmDetector
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import Scene, SceneSource
from awr_ros.synthetic.seeds import HARD_NEGATIVES_SEED, NEGATIVES_SEED
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.negatives import (
    CLEAR_MM,
    FARTHEST_MM,
    limb_centres,
    render_negatives,
)

MIN_HAND_SCORE = 0.2  # minimum hand score of a hard negative
CANDIDATES_A_SCENE = 10  # most candidates of the palm detector per scene
LIMB_SCORE = 0.1  # detector score assigned to candidates on limbs
FRUITLESS_SCENES = 200  # consecutive scenes without a hard negative after which to stop


def render_hard_negatives(
    estimator: HandPoseEstimator,
    count: int,
    seed: int = HARD_NEGATIVES_SEED,
    progress: Callable = iter,
    finder_weights: str = '',
) -> torch.Tensor:
    """Return at most `count` crops (n,1,S,S) float16 uvdn in which the estimator finds a hand that
    does not exist.

    Fewer after FRUITLESS_SCENES consecutive scenes without one. progress: wraps the range of crops,
    as tqdm does; finder_weights: as in TrackerConfig.
    """
    config = TrackerConfig(finder_weights=finder_weights, max_depth_mm=FARTHEST_MM)
    finder = PalmDetector(finder_weights)
    crops = _mistaken_crops(HandTracker(estimator, config), finder, SceneSource(seed), seed)
    drawn = [crop for _, crop in zip(progress(range(count)), crops, strict=False)]
    size = estimator.config.crop_size
    return torch.from_numpy(np.array(drawn).reshape(-1, 1, size, size)).half()


def mixed_negatives(
    estimator: HandPoseEstimator,
    count: int,
    hard: float,
    seed: int = 0,
    progress: Callable = iter,
    finder_weights: str = '',
) -> torch.Tensor:
    """Return `count` negatives (count,1,S,S) float16 uvdn, a share `hard` of them false positives
    of the estimator, if there are enough.

    seed: added to those of both kinds; progress, finder_weights: as for `render_hard_negatives`.
    """
    config = estimator.config
    mistaken = render_hard_negatives(
        estimator, round(hard * count), HARD_NEGATIVES_SEED + seed, progress, finder_weights
    )
    if len(mistaken) == count:
        return mistaken
    others = render_negatives(
        count - len(mistaken),
        config.crop_size,
        config.cube_mm,
        NEGATIVES_SEED + seed,
        progress,
        finder_weights=finder_weights,
    )
    return torch.cat([mistaken, others])


def _mistaken_crops(
    tracker: HandTracker, finder: PalmDetector, scenes: SceneSource, seed: int
) -> Iterator[np.ndarray]:
    """Yield crops (S,S) in which the tracker's estimator finds a hand that does not exist."""
    rng, fruitless = np.random.default_rng(seed), 0
    while fruitless < FRUITLESS_SCENES:
        scene = scenes.draw(arms=1 if rng.uniform() < 0.3 else None)
        poses = _mistaken(tracker, _candidates(tracker, finder, scene, rng), scene)
        fruitless = 0 if poses else fruitless + 1
        for pose in poses:
            yield _crop(tracker.estimator, scene, pose)


def _candidates(
    tracker: HandTracker, finder: PalmDetector, scene: Scene, rng: np.random.Generator
) -> list[Candidate]:
    """Return the candidates of the finder, and points on limbs, which it seldom proposes."""
    config = tracker.config
    found = finder.find(
        scene.depth_mm, scene.intrinsics, config.min_depth_mm, config.max_depth_mm, LIMB_SCORE
    )
    limbs = [Candidate(centre, LIMB_SCORE) for centre in limb_centres(scene, rng)]
    return found[:CANDIDATES_A_SCENE] + limbs


def _mistaken(tracker: HandTracker, candidates: list[Candidate], scene: Scene) -> list[HandPose]:
    """Return the poses after the last pass that are away from every hand but have the score of a
    hand.
    """
    palms = [palm_centre(hand.joints_xyz) for hand in scene.hands]
    detections = tracker.detector.verify(scene.depth_mm, scene.intrinsics, candidates)
    return [
        pose
        for pose in (detection.pose for detection in detections)
        if pose.hand_score > MIN_HAND_SCORE
        and all(np.linalg.norm(pose.centre_xyz - palm) > CLEAR_MM for palm in palms)
    ]


def _crop(estimator: HandPoseEstimator, scene: Scene, pose: HandPose) -> np.ndarray:
    """Cut the crop (S,S) around a pose, mirrored if needed."""
    config, request = estimator.config, pose.request()
    depth = crop_hand(
        scene.depth_mm,
        scene.intrinsics,
        request.centre_xyz,
        config.cube_mm,
        config.crop_size,
        request.roll,
    ).depth
    return depth if pose.side == config.side else depth[:, ::-1].copy()
