"""Scenes for the learned finder: rendered once, kept in files, shown turned, shifted, scaled and
noisy anew.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nn_f

from awr_ros.finders.palm_detector import COLUMNS, FAR_MM, ROWS, coarse_frame
from awr_ros.networks.checkpoint import load_tensors
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import SceneSource
from awr_ros.training.run import save_whole

SCENES_SEED = 2_500_000_003  # evaluation draws scenes from another
# finer cameras look no other at 160x128
RESOLUTIONS = ((320, 240), (320, 180), (424, 240), (512, 424))
CLEAR = 0.6  # hands that show less of their surface are neither asked for nor wrong
HANDS = 2  # at most, in a scene
FARTHEST_MM = 2000.0  # of palms to be found; those that are moved farther count as hidden
# kinds of hands: a free place, neither asked for nor wrong, to be found
NONE, IGNORED, TARGET = (0, 1, 2)


@dataclass(frozen=True)
class FinderScenes:
    """N coarse frames with their hands."""

    depth: torch.Tensor  # (N,128,160) uint16 [mm], 0 invalid
    focal: torch.Tensor  # (N,) float [px] of the coarse frame
    palms: torch.Tensor  # (N,2,3) float [px, px, mm] of the coarse frame, pixel centres at integers
    kind: torch.Tensor  # (N,2) uint8: NONE, HIDDEN or TARGET

    def __len__(self):
        return len(self.depth)

    def save(self, path):
        """To one file."""
        save_whole(vars(self), Path(path))

    @classmethod
    def load(cls, path):
        """From a file. Raises ValueError that names it where it is damaged: removed, it is rendered
        anew.
        """
        try:
            return cls(**load_tensors(path))
        except TypeError as error:
            raise ValueError(f'{path} holds no scenes: {error}') from error

    def to(self, device) -> 'FinderScenes':
        """Copy them to a GPU, depth as int16: hardly anything is defined there for uint16."""
        depth = self.depth.int().clamp(max=2**15 - 1).short()  # beyond FAR_MM it is invalid anyway
        tensors = {**vars(self), 'depth': depth}
        return FinderScenes(**{name: tensor.to(device) for name, tensor in tensors.items()})

    @classmethod
    def join(cls, parts):
        """Several as one."""
        return cls(
            *(torch.cat([vars(part)[name] for part in parts]) for name in cls.__dataclass_fields__)
        )


def render_finder_scenes(count, seed=SCENES_SEED, progress=iter):
    """FinderScenes of `count` scenes. progress: wraps their range, as tqdm does."""
    source = SceneSource(seed, RESOLUTIONS)
    scenes = FinderScenes(
        torch.zeros(count, ROWS, COLUMNS, dtype=torch.uint16),
        torch.zeros(count),
        torch.zeros(count, HANDS, 3),
        torch.zeros(count, HANDS, dtype=torch.uint8),
    )
    for i in progress(range(count)):
        scene = source.draw()
        frame, step = coarse_frame(scene.depth_mm, scene.intrinsics)
        scenes.depth[i] = torch.from_numpy(np.rint(frame[0] * 1000).astype(np.uint16))
        scenes.focal[i] = scene.intrinsics.fx / step
        for j, (hand, visible) in enumerate(zip(scene.hands, scene.visible)):
            u, v, z = scene.intrinsics.xyz_to_uvd(palm_centre(hand.joints_xyz).astype(np.float64))
            scenes.palms[i, j] = torch.tensor([(u + 0.5) / step - 0.5, (v + 0.5) / step - 0.5, z])
            scenes.kind[i, j] = TARGET if visible >= CLEAR else IGNORED
    return scenes


@dataclass(frozen=True)
class FinderBatch:
    """B frames as the network sees them, and their hands."""

    frame: torch.Tensor  # (B,3,128,160) float32, see palm_detector.coarse_frame
    focal: torch.Tensor  # (B,) float [px]
    palms: torch.Tensor  # (B,2,3) float [px, px, mm]
    kind: torch.Tensor  # (B,2) uint8

    @classmethod
    def of(cls, depth, focal, palms, kind):
        """Of depth (B,128,160) float [mm], 0 invalid, and the hands in it."""
        depth = torch.where(depth <= FAR_MM, depth, 0)
        frame = torch.stack(
            [depth / 1000, (depth > 0).float(), depth / focal[:, None, None] / 10], 1
        )
        return cls(frame, focal, palms, kind)


def as_rendered(scenes, chosen):
    """FinderBatch of some scenes. chosen: (B,) long."""
    return FinderBatch.of(
        scenes.depth[chosen].float(),
        scenes.focal[chosen],
        scenes.palms[chosen],
        scenes.kind[chosen],
    )


def varied(scenes, chosen, generator):
    """FinderBatch of some scenes, each mirrored, turned upside down, shifted, zoomed, made smaller
    or larger, moved nearer or farther and with more of it lost, or not. What is moved fills as many
    pixels as before: of a camera with as much longer a focal length. chosen: (B,) long.
    """
    batch = len(chosen)

    def uniform(*shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(*shape, generator=generator, device=chosen.device)

    mirrored, over = uniform(batch) < 0.5, uniform(batch) < 0.15
    zoom = torch.where(uniform(batch) < 0.5, uniform(batch, low=0.75, high=1.3), 1.0)
    # Source pixel of every pixel: source = middle + (pixel - middle - shift) * sign / zoom, on each
    # axis.
    axes = []
    for side, flipped, most in ((COLUMNS, mirrored ^ over, 24), (ROWS, over, 16)):
        shift = torch.where(uniform(batch) < 0.6, uniform(batch, low=-most, high=most), 0.0).round()
        axes.append(((side - 1) / 2, shift, torch.where(flipped, -1.0, 1.0) / zoom, side))
    (columns, columns_in), (rows, rows_in) = (_sources(*axis) for axis in axes)
    depth = scenes.depth[chosen].float()[
        torch.arange(batch, device=chosen.device)[:, None, None], rows[:, :, None], columns[:, None]
    ]
    depth *= rows_in[:, :, None] & columns_in[:, None]
    farther = torch.where(uniform(batch) < 0.6, uniform(batch, low=0.8, high=1.3), 1.0)
    scale = uniform(batch, low=0.92, high=1.08) * farther
    lost = uniform(batch, ROWS, COLUMNS) < (uniform(batch, 1, 1) - 0.6).clamp_min(0)
    holes = uniform(batch, 1, ROWS // 8, COLUMNS // 8) < (
        0.5 * uniform(batch, 1, 1, 1) - 0.42
    ).clamp_min(0)
    lost |= nn_f.interpolate(holes.float(), scale_factor=8, mode='nearest')[:, 0] > 0
    depth = (depth * scale[:, None, None]).masked_fill(lost, 0)
    palms = scenes.palms[chosen].clone()
    for i, (middle, shift, slope, _) in enumerate(axes):
        palms[..., i] = (palms[..., i] - middle) / slope[:, None] + middle + shift[:, None]
    palms[..., 2] *= scale[:, None]
    inside = (
        (palms[..., 0] > 0)
        & (palms[..., 0] < COLUMNS - 1)
        & (palms[..., 1] > 0)
        & (palms[..., 1] < ROWS - 1)
    )
    kind = torch.where(inside, scenes.kind[chosen], NONE)
    kind = torch.where((palms[..., 2] > FARTHEST_MM) & (kind == TARGET), IGNORED, kind)
    return FinderBatch.of(depth, scenes.focal[chosen] * zoom * farther, palms, kind)


def _sources(middle, shift, slope, side):
    """(B,side) long source of every pixel of an axis, and whether it is in the image."""
    pixels = torch.arange(side, device=shift.device)
    source = (middle + (pixels - middle - shift[:, None]) * slope[:, None]).round().long()
    return source.clamp(0, side - 1), (source >= 0) & (source < side)
