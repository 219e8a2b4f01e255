"""Training samples of a public data set: the crop, its joints, and the paper's random
augmentation.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from awr_ros.crop import BACKGROUND, Crop, crop_along_axes, crop_as_authors
from awr_ros.datasets.frames import Frames

KINDS = ('none', 'translate', 'scale', 'rotate')


@dataclass(frozen=True)
class Augmentation:
    """Exactly one of translation, scaling, rotation and none, with equal probability."""

    translate_mm: float = 10.0  # [mm] standard deviation of the centre, per axis
    scale: float = 0.1  # standard deviation of the cube's factor around 1
    rotate_deg: float = 180.0  # [deg] rotations are uniform within this to both sides
    share: float = 1.0  # share of samples with augmentation


class CropSamples(Dataset):
    """Crops of Frames as tensors: depth (1,S,S) float32 uvdn and joints (J,3) float32 uvdn.

    config: of the network; augmentation: None for tests. A sample depends on seed, epoch and index
    only, so a resumed run draws the same samples.
    """

    def __init__(
        self, frames: Frames, config: Any, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        if frames.conventions.joint_names != config.joint_names:
            raise ValueError(
                f'the network must predict the joints of {frames.conventions.name}, '
                f'{frames.conventions.joint_names}, got {config.joint_names}'
            )
        self.frames, self.config, self.augmentation, self.seed, self.epoch = (
            frames,
            config,
            augmentation,
            seed,
            0,
        )

    def __len__(self) -> int:
        return len(self.frames)

    def crop(self, index: int, shift_mm: float | np.ndarray = 0.0, factor: float = 1.0) -> Crop:
        """Return the Crop of a frame, its centre moved [mm] and its cube scaled."""
        cut = crop_as_authors if self.config.authors_crop else crop_along_axes
        return cut(
            self.frames.depth_mm(index),
            self.frames.conventions.intrinsics,
            self.frames.centres_xyz[index] + shift_mm,
            self.frames.cubes_mm[index] * factor,
            self.config.crop_size,
        )

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        kind, shift, factor, degrees = self._draw(index)
        # Translated and scaled by cutting anew, so nothing is interpolated and what comes into view
        # is really there.
        crop = self.crop(
            index, shift if kind == 'translate' else 0.0, factor if kind == 'scale' else 1.0
        )
        depth, joints = (
            crop.depth,
            crop.uvdn_from_uvd(
                self.frames.conventions.intrinsics.xyz_to_uvd(self.frames.joints_xyz[index])
            ),
        )
        if kind == 'rotate':
            depth, joints = rotate(depth, joints, degrees, self.config.authors_crop)
        return torch.from_numpy(np.ascontiguousarray(depth))[None], torch.from_numpy(
            joints.astype(np.float32)
        )

    def _draw(self, index):
        """Draw the kind of augmentation, shift (3,) [mm], factor of the cube, angle [deg]."""
        augmentation = self.augmentation
        if augmentation is None:
            return 'none', 0.0, 1.0, 0.0
        random = np.random.default_rng((self.seed, self.epoch, index))
        kind = (
            KINDS[random.integers(len(KINDS))] if random.random() < augmentation.share else 'none'
        )
        return (
            kind,
            random.normal(0, augmentation.translate_mm, 3),
            abs(random.normal(1, augmentation.scale)) or 1.0,
            random.uniform(-augmentation.rotate_deg, augmentation.rotate_deg),
        )


def rotate(
    depth: np.ndarray, joints_uvdn: np.ndarray, degrees: float, authors_crop: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate a crop in the image plane about its centre, from u towards v (clockwise on the
    screen).

    depth: (S,S) float32 uvdn; joints_uvdn: (J,3); authors_crop: the centre is pixel S/2, because
    its index is its coordinate. Nearest neighbour, so that no depth arises between hand and
    background; outside is background. Return both.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = len(depth) / 2 - (0 if authors_crop else 0.5)  # pixel centres lie on whole numbers
    matrix = np.concatenate([turn, (np.full(2, middle) - turn @ np.full(2, middle))[:, None]], 1)
    turned = cv2.warpAffine(
        depth,
        matrix,
        depth.shape[::-1],
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=BACKGROUND,
    )
    joints = np.array(joints_uvdn)
    joints[:, :2] = joints[:, :2] @ turn.T
    return turned, joints
