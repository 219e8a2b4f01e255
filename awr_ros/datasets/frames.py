"""Frames of a public data set, independent of its files: depth, true joints, centre and size of the
crop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from awr_ros.datasets.specs import DatasetSpec
from awr_ros.files import printable

Split = Literal['train', 'test']


@dataclass(frozen=True)
class Frames:
    """N labelled frames of one data set."""

    conventions: DatasetSpec
    paths: tuple  # N files of depth
    read: Callable  # path -> (H,W) float32 [mm], 0 invalid; ValueError that names the file
    joints_xyz: np.ndarray  # (N,J,3) float64 [mm] camera optical frame
    centres_xyz: np.ndarray  # (N,3) float64 [mm] camera optical frame: middle of the crop
    cubes_mm: np.ndarray  # (N,) float64 [mm] side of the crop

    def __post_init__(self) -> None:
        count = len(self.paths)
        for name, shape in (
            ('joints_xyz', (count, len(self.conventions.joint_names), 3)),
            ('centres_xyz', (count, 3)),
            ('cubes_mm', (count,)),
        ):
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f'{self.conventions.name}: {name} must be {shape} for {count} frames, got '
                    f'{getattr(self, name).shape}'
                )

    def __len__(self) -> int:
        return len(self.paths)

    def depth_mm(self, index: int) -> np.ndarray:
        """Return depth (H,W) float32 [mm], 0 invalid, in the size of the camera."""
        depth = self.read(self.paths[index])
        expected = self.conventions.intrinsics.height, self.conventions.intrinsics.width
        if depth.shape != expected:
            raise ValueError(
                f'{self.paths[index]} must be {expected[1]} x {expected[0]}, got {depth.shape[1]} '
                f'x {depth.shape[0]}'
            )
        return depth

    def joints_uvd(self) -> np.ndarray:
        """Joints (N,J,3) float64 [px, px, mm]."""
        return self.conventions.intrinsics.xyz_to_uvd(self.joints_xyz)


def read_png16(path: str | Path) -> np.ndarray:
    """Read depth from a 16 bit PNG [mm]: ICVL, HANDS17. Return (H,W) float32."""
    image = _read_image(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 2 or image.dtype != np.uint16:
        raise ValueError(
            f'{path} must be a 16 bit grey image, got {image.dtype} of shape {image.shape}'
        )
    return image.astype(np.float32)


def read_png_rgb(path: str | Path) -> np.ndarray:
    """Read depth from the channels of a PNG [mm], low byte blue, high byte green: NYU. Return (H,W)
    float32.
    """
    image = _read_image(path, cv2.IMREAD_COLOR).astype(np.int32)  # bytes times 256 would overflow
    return (image[..., 0] + 256 * image[..., 1]).astype(np.float32)


def _read_image(path, mode):
    if not Path(path).is_file():
        raise FileNotFoundError(f'no image {printable(path)}')
    # Not by cv2.imread, which takes no names that are no UTF-8.
    data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    try:
        image = cv2.imdecode(data, mode) if data.size else None
    except cv2.error:  # of sizes that no image has
        image = None
    if image is None:
        raise ValueError(f'{printable(path)} is no image that can be read')
    return image


def centres_of(joints_xyz: np.ndarray) -> np.ndarray:
    """Return crop centres (N,3) for data sets without a file of them: the mean of the true joints.
    joints_xyz: (N,J,3) [mm].
    """
    return joints_xyz.mean(1)
