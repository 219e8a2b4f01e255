"""Rendered training scenes of the palm detector, stored in files, and their random augmentation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nn_f

from awr_ros.finders.palm_detector import COLUMNS, FAR_MM, ROWS, coarse_frame
from awr_ros.networks.checkpoint import load_tensors
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import SceneSource
from awr_ros.synthetic.seeds import PALM_DETECTOR_SEED
from awr_ros.training.run import save_whole

# finer cameras give the same image at 160x128
RESOLUTIONS = ((320, 240), (320, 180), (424, 240), (512, 424))
# minimum visible share of a hand, and of what the camera measured of that; others are ignored
CLEAR, CLEAR_MEASURED = 0.6, 0.4
HANDS = 2  # most hands in a scene
FARTHEST_MM = 2000.0  # farthest target palm; after augmentation, palms beyond it are ignored
# kinds of hands: empty slot, ignored, to be found
NONE, IGNORED, TARGET = (0, 1, 2)
# Light on a palm or on the arm beside it saturates a camera: share of hands with such a spot, half
# axes [mm] of the ellipse, largest distance of its middle from the palm's centre along each axis,
# standard deviation of its border as a share of the half axes, and depth [mm] before and behind the
# palm that it reaches.
SPOT_SHARE, SPOT_MM, SPOT_OFF_MM, SPOT_RAGGED, SPOT_DEEP_MM = 0.2, (25.0, 100.0), 70.0, 0.35, 150.0
HAND_MM = 90.0  # what is nearer to a palm's centre counts as its hand


@dataclass(frozen=True)
class FinderScenes:
    """N coarse frames with their hands."""

    depth: torch.Tensor  # (N,128,160) uint16 [mm], 0 invalid
    focal: torch.Tensor  # (N,) float [px] of the coarse frame
    palms: torch.Tensor  # (N,2,3) float [px, px, mm] of the coarse frame, pixel centres at integers
    kind: torch.Tensor  # (N,2) uint8: NONE, IGNORED or TARGET

    def __len__(self) -> int:
        return len(self.depth)

    def save(self, path: str | Path) -> None:
        """Write to one file."""
        save_whole(vars(self), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> 'FinderScenes':
        """Read from a file. Raise ValueError that names it if it is damaged; without the file it is
        rendered again.
        """
        try:
            return cls(**load_tensors(path))
        except TypeError as error:
            raise ValueError(f'{path} holds no scenes: {error}') from error

    def to(self, device: str | torch.device) -> 'FinderScenes':
        """Copy to a GPU, depth as int16: few operations there support uint16."""
        # depth beyond FAR_MM is invalid anyway
        depth = self.depth.int().clamp(max=2**15 - 1).short()
        tensors = {**vars(self), 'depth': depth}
        return FinderScenes(**{name: tensor.to(device) for name, tensor in tensors.items()})

    @classmethod
    def join(cls, parts: Sequence['FinderScenes']) -> 'FinderScenes':
        """Concatenate several."""
        return cls(
            *(torch.cat([vars(part)[name] for part in parts]) for name in cls.__dataclass_fields__)
        )


def render_finder_scenes(
    count: int, seed: int = PALM_DETECTOR_SEED, progress: Callable = iter
) -> FinderScenes:
    """Render `count` scenes. progress: wraps their range, as tqdm does."""
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
        for j, (hand, visible, measured) in enumerate(
            zip(scene.hands, scene.visible, scene.measured)
        ):
            u, v, z = scene.intrinsics.xyz_to_uvd(palm_centre(hand.joints_xyz).astype(np.float64))
            scenes.palms[i, j] = torch.tensor([(u + 0.5) / step - 0.5, (v + 0.5) / step - 0.5, z])
            scenes.kind[i, j] = (
                TARGET if visible >= CLEAR and measured >= CLEAR_MEASURED else IGNORED
            )
    return scenes


@dataclass(frozen=True)
class FinderBatch:
    """B frames as input of the network, and their hands."""

    frame: torch.Tensor  # (B,3,128,160) float32, see palm_detector.coarse_frame
    focal: torch.Tensor  # (B,) float [px]
    palms: torch.Tensor  # (B,2,3) float [px, px, mm]
    kind: torch.Tensor  # (B,2) uint8

    @classmethod
    def of(
        cls, depth: torch.Tensor, focal: torch.Tensor, palms: torch.Tensor, kind: torch.Tensor
    ) -> 'FinderBatch':
        """Make the input from depth (B,128,160) float [mm], 0 invalid, and its hands."""
        depth = torch.where(depth <= FAR_MM, depth, 0)
        frame = torch.stack(
            [depth / 1000, (depth > 0).float(), depth / focal[:, None, None] / 10], 1
        )
        return cls(frame, focal, palms, kind)


def as_rendered(scenes: FinderScenes, chosen: torch.Tensor) -> FinderBatch:
    """Return a FinderBatch of some scenes without augmentation. chosen: (B,) long."""
    return FinderBatch.of(
        scenes.depth[chosen].float(),
        scenes.focal[chosen],
        scenes.palms[chosen],
        scenes.kind[chosen],
    )


def varied(scenes: FinderScenes, chosen: torch.Tensor, generator: torch.Generator) -> FinderBatch:
    """Return a FinderBatch of some scenes with random augmentation. chosen: (B,) long.

    Mirrored, upside down, shifted, zoomed, resized, moved in depth, with additional loss of pixels
    anywhere and on hands. Scenes moved in depth keep their size in pixels: they correspond to a
    camera with a proportionally longer focal length.
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
    focal = scenes.focal[chosen] * zoom * farther
    depth, kind = _with_spots(depth, focal, palms, kind, uniform)
    return FinderBatch.of(depth, focal, palms, kind)


def augmented(scenes: FinderScenes, frames: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches (32,3,128,160) of randomly chosen and augmented frames, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(-(-frames // 32)):
        chosen = torch.randint(len(scenes), (32,), generator=generator)
        yield varied(scenes, chosen, generator).frame


def _with_spots(depth, focal, palms, kind, uniform):
    """Remove what spots of light hide of some hands. Return depth, and kind, where hands of which
    too little is left are ignored. Arguments as FinderBatch.of; uniform: draws numbers by shape.
    """
    hands = palms.shape[:2]
    z = palms[..., 2].clamp_min(100)[..., None, None]
    rows, columns = torch.meshgrid(
        *(torch.arange(side, device=depth.device) for side in (ROWS, COLUMNS)), indexing='ij'
    )
    mm = z / focal[:, None, None, None]  # size of a pixel
    x, y = ((axis - palms[..., i, None, None]) * mm for i, axis in enumerate((columns, rows)))
    angle = torch.pi * uniform(*hands, 1, 1)
    x0, y0 = (SPOT_OFF_MM * (2 * uniform(*hands, 1, 1) - 1) for _ in range(2))
    low, high = SPOT_MM
    a, b = (low + (high - low) * uniform(*hands, 1, 1) for _ in range(2))
    along = ((x - x0) * angle.cos() + (y - y0) * angle.sin()) / a
    across = ((y - y0) * angle.cos() - (x - x0) * angle.sin()) / b
    # The sum of four uniform numbers is nearly normal; its standard deviation is 0.58.
    border = sum(uniform(*hands, ROWS // 4, COLUMNS // 4) for _ in range(4)) - 2
    border = nn_f.interpolate(border, scale_factor=4, mode='bilinear') * SPOT_RAGGED / 0.58
    near = ((depth[:, None] - z).abs() < SPOT_DEEP_MM) & (depth[:, None] > 0)
    lit = (uniform(*hands) < SPOT_SHARE) & (kind != NONE)
    hidden = near & ((along**2 + across**2).sqrt() + border < 1) & lit[..., None, None]
    of_hand = near & (x**2 + y**2 < HAND_MM**2)
    left = (of_hand & ~hidden).sum((2, 3)) / of_hand.sum((2, 3)).clamp_min(1)
    kind = torch.where((left < CLEAR_MEASURED) & (kind == TARGET), IGNORED, kind)
    return depth.masked_fill(hidden.any(1), 0), kind


def _sources(middle, shift, slope, side):
    """Return (B,side) long source pixel of every pixel of an axis, and whether it is in the
    image.
    """
    pixels = torch.arange(side, device=shift.device)
    source = (middle + (pixels - middle - shift[:, None]) * slope[:, None]).round().long()
    return source.clamp(0, side - 1), (source >= 0) & (source < side)
