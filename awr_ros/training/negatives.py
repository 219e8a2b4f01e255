"""Hard negatives: crops of the finders' false positives and of arms and legs, from rendered scenes.

Rendering scenes costs a hundred times as much as crops, so a run renders some thousand such crops
once and draws from them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from awr_ros.crop import crop_hand
from awr_ros.finders.geometric import find_candidates
from awr_ros.finders.palm_detector import BELOW_SKIN_MM, PalmDetector
from awr_ros.networks.checkpoint import load_tensors
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import Scene, SceneSource
from awr_ros.synthetic.seeds import NEGATIVES_SEED
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.run import save_whole

# [px] finer cameras give the same crops
COARSE = ((320, 240), (424, 240), (512, 424), (640, 480))
CLEAR_MM, LIMB_CLEAR_MM = 110.0, 130.0  # minimum distance of a negative's centre from every palm
JITTER_MM = 20.0
FARTHEST_MM = 2000.0
LIMBS = 0.5  # share of the crops centred on arms and legs
LIMBS_A_SCENE = 4  # most crops on limbs per scene
THICKEST_MM = 130.0  # largest depth of a limb's axis behind its surface


def render_negatives(
    count: int,
    crop_size: int,
    cube_mm: float,
    seed: int = NEGATIVES_SEED,
    progress: Callable = iter,
    limbs: float = LIMBS,
    finder_weights: str = '',
) -> torch.Tensor:
    """Return (count,1,S,S) float16 uvdn. progress: wraps the range of crops, as tqdm does; limbs:
    share on limbs [0,1]; finder_weights: as in TrackerConfig.
    """
    rng = np.random.default_rng(seed)
    crops = _crops(
        SceneSource(seed, COARSE), rng, crop_size, cube_mm, limbs, PalmDetector(finder_weights)
    )
    return torch.from_numpy(np.stack([next(crops) for _ in progress(range(count))]))[:, None].half()


def _crops(
    scenes: SceneSource,
    rng: np.random.Generator,
    crop_size: int,
    cube_mm: float,
    limbs: float,
    finder: PalmDetector,
) -> Iterator[np.ndarray]:
    """Yield crops (S,S) endlessly, a share `limbs` of them on limbs."""
    config = TrackerConfig(max_depth_mm=FARTHEST_MM)
    taken = [0, 0]  # numbers of crops from the finders and on limbs
    while True:
        scene = scenes.draw(arms=None if rng.uniform() < 0.5 else 1)
        of_limbs = taken[1] < limbs * (sum(taken) + 1)
        for centre in (
            limb_centres(scene, rng) if of_limbs else _offered(scene, finder, config, rng)
        ):
            crop = _crop(scene, centre, rng, crop_size, cube_mm)
            if crop.foreground > 0.02:
                taken[of_limbs] += 1
                yield crop.depth


def _crop(scene, centre, rng, crop_size, cube_mm):
    # with the share of upright crops of hands
    roll = rng.uniform(-np.pi, np.pi) * (rng.uniform() < 0.65)
    return crop_hand(scene.depth_mm, scene.intrinsics, centre, cube_mm, crop_size, roll)


def _offered(scene, finder, config, rng):
    """Return candidates (3,) [mm] of the finders away from hands, or points near these."""
    within = scene.depth_mm, scene.intrinsics, config.min_depth_mm, config.max_depth_mm
    nearest = find_candidates(*within)
    centres_xyz = [candidate.centre_xyz for candidate in finder.find(*within)]
    centres_xyz += [nearest[i] for i in rng.permutation(len(nearest))[:1]]
    for centre in centres_xyz:
        centre = centre + rng.normal(0, JITTER_MM, 3)
        if centre[2] > config.min_depth_mm and _clear(scene, centre, CLEAR_MM):
            yield centre


def _clear(scene, centre, distance_mm):
    return all(
        np.linalg.norm(centre - palm_centre(hand.joints_xyz)) > distance_mm for hand in scene.hands
    )


def limb_centres(
    scene: Scene,
    rng: np.random.Generator,
    max_count: int = LIMBS_A_SCENE,
    jitter_mm: float = JITTER_MM,
) -> np.ndarray:
    """Return points (n,3) [mm] on visible arms and legs, in random order, n <= most, where a finder
    would centre a crop.

    Forearms, elbows, upper arms, sleeves, and often the image border that cuts a limb; none nearer
    than LIMB_CLEAR_MM to a palm.
    """
    k, centres = scene.intrinsics, []
    size = np.array([k.width, k.height])
    for limb in (scene.limbs[i] for i in rng.permutation(len(scene.limbs))):
        along = np.sort(rng.uniform(0, len(limb) - 1, 12))
        low = along.astype(int)
        points = limb[low] + (along - low)[:, None] * (limb[low + 1] - limb[low])
        points = points[points[:, 2] > 150].astype(np.float64)
        uvd = k.xyz_to_uvd(points)
        inside = ((uvd[:, :2] >= 0) & (uvd[:, :2] <= size - 1)).all(1)
        uvd, cut = uvd[inside], _beside_border(inside)[inside]
        column, row = np.rint(uvd[:, :2]).astype(int).T
        surface = scene.depth_mm[row, column].astype(np.float64)
        seen = (
            (surface > 0)
            & (surface <= FARTHEST_MM)
            & (surface < uvd[:, 2] + 10)
            & (surface > uvd[:, 2] - THICKEST_MM)
        )
        order = np.concatenate(
            [
                rng.permutation(np.flatnonzero(seen & cut)),
                rng.permutation(np.flatnonzero(seen & ~cut)),
            ]
        )
        order = order if rng.uniform() < 0.5 else rng.permutation(order)
        for i in order.astype(int)[:2]:
            centre = k.uvd_to_xyz(np.array([*uvd[i, :2], surface[i] + BELOW_SKIN_MM])) + rng.normal(
                0, jitter_mm, 3
            )
            if centre[2] > 150 and _clear(scene, centre, LIMB_CLEAR_MM):
                centres.append(centre)
    return np.array(centres[:max_count]).reshape(-1, 3)


def _beside_border(inside):
    """Return (n,) bool: points in the image with a neighbour along the limb outside of it."""
    out = ~inside
    beside = np.zeros_like(inside)
    beside[1:] |= out[:-1]
    beside[:-1] |= out[1:]
    return beside & inside


def cached_negatives(
    path: str | Path, shape: tuple[int, ...], render: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Return the negatives of a file; if it has none of this shape, call `render` and store them
    there.
    """
    path = Path(path)
    if path.exists():
        negatives = load_tensors(path)
        if isinstance(negatives, torch.Tensor) and negatives.shape == shape:
            return negatives
    negatives = render()
    save_whole(negatives, path)
    return negatives
