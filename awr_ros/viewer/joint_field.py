"""Visualisation of the dense field of one joint: the vote of every pixel of the crop.

AWR (Huang et al., AAAI 2020, section 3) predicts at each pixel of a crop the direction to the joint
and a closeness, 1 at the joint and 0 at the kernel's radius. The joint is the mean of the pixels'
votes, weighted by a softmax over closeness.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from awr_ros.camera import Intrinsics, looking_at
from awr_ros.crop import BACKGROUND_FROM, Crop
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.runtime.readout import EngineConfig
from awr_ros.skeleton import JOINT_NAMES, hand_centre, in_plane_rotation
from awr_ros.weight_files import DEFAULT_WEIGHTS

PICTURE_PX = 512
MAX_VOTES = 120  # lines drawn, from the pixels with the largest weights
MIN_SHARE = 0.02  # minimum weight relative to the largest one
ARROW_EVERY = 2  # field pixels between arrows
MIN_ARROW_CLOSENESS = 0.25


@dataclass(frozen=True)
class JointField:
    """Field of one joint over one crop. A hand of the other side than the network's is mirrored."""

    crop: Crop
    mirrored: bool
    depth: np.ndarray  # (S,S) float32 uvdn, input of the network
    directions: np.ndarray  # (3,F,F) unit vectors, 0 on the background
    closeness: np.ndarray  # (F,F) [0,1], 0 on the background
    weights: np.ndarray  # (F,F) weights of the vote, their sum is 1
    points: np.ndarray  # (3,F,F) uvdn of the field's pixels
    kernel_size: float  # [uvdn]
    voted: np.ndarray  # (3,) uvdn: voted joint, before refinement

    def votes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return lines (N,2,3) float32 [m] in the optical frame, from the pixels with the largest
        weights to the joint that each votes for, and their weights (N,), 1 for the largest.
        """
        weight = self.weights.ravel() / max(float(self.weights.max()), 1e-9)
        chosen = np.argsort(-weight)[:MAX_VOTES]
        chosen = chosen[(weight[chosen] >= MIN_SHARE) & (self.closeness.ravel()[chosen] > 0)]
        points = self.points.reshape(3, -1)[:, chosen].T
        reach = self.kernel_size * (1 - self.closeness.ravel()[chosen, None])
        ends = points + reach * self.directions.reshape(3, -1)[:, chosen].T
        lines = np.stack([points, ends], 1)  # (N,2,3)
        if self.mirrored:
            lines = lines * (-1, 1, 1)
        xyz = self.crop.intrinsics.uvd_to_xyz(self.crop.uvd_from_uvdn(lines))
        return (xyz / MM_PER_M).astype(np.float32), weight[chosen]

    def picture(self) -> np.ndarray:
        """Draw the crop in grey, closeness as heat, directions as arrows, the voted joint as a
        cross.

        Return (512,512,3) uint8 RGB; the crop is shown as input of the network.
        """
        size = PICTURE_PX
        grey = np.where(self.depth < BACKGROUND_FROM, 200 - 70 * self.depth, 20).astype(np.uint8)
        image = cv2.resize(grey, (size, size), interpolation=cv2.INTER_NEAREST)
        image = np.repeat(image[..., None], 3, -1).astype(np.float32)
        close = cv2.resize(self.closeness.astype(np.float32), (size, size))
        heat = cv2.applyColorMap((255 * close).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        share = np.clip(1.3 * close, 0, 0.85)[..., None]
        image = np.ascontiguousarray(image * (1 - share) + heat * share).astype(np.uint8)
        scale = size / len(self.closeness)
        for v, u in np.argwhere(self.closeness > MIN_ARROW_CLOSENESS):
            if u % ARROW_EVERY == v % ARROW_EVERY == 0:
                start = (np.array([u, v]) + 0.5) * scale
                end = start + 1.4 * ARROW_EVERY * scale * self.directions[:2, v, u] / 2
                first, last = ([int(x) for x in p.round()] for p in (start, end))
                cv2.arrowedLine(image, first, last, (120, 220, 255), 1, cv2.LINE_AA, tipLength=0.35)
        centre = tuple(int(x) for x in ((self.voted[:2] + 1) * size / 2).round())
        cv2.drawMarker(image, centre, (255, 255, 255), cv2.MARKER_CROSS, 26, 5, cv2.LINE_AA)
        cv2.drawMarker(image, centre, (30, 160, 30), cv2.MARKER_CROSS, 24, 2, cv2.LINE_AA)
        return image


class FieldReader:
    """Compute fields with PyTorch, whatever engine tracks: engines return joints only."""

    def __init__(self, weights: str | Path | None = None):
        """weights: a checkpoint, None for the package's. Raise FileNotFoundError or ValueError that
        names the path.
        """
        from awr_ros.networks.checkpoint import load_checkpoint

        self._network, _ = load_checkpoint(weights or DEFAULT_WEIGHTS)
        self._network.eval()
        self._config = EngineConfig.of(self._network.config)
        self.joint_names = tuple(n for n in JOINT_NAMES if n in self._config.joint_names)

    def read(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, hand: Any, joint: str
    ) -> JointField | None:
        """Return the field of a joint of a TrackedHand, None if its crop cannot be cut.

        depth_mm: (H,W) [mm]; joint: one of joint_names.
        """
        import torch

        from awr_ros.offset_field import field_points, vote

        centre = hand_centre(hand.joints_xyz)
        if not np.isfinite(centre).all() or centre[2] < 60:
            return None
        roll = float(in_plane_rotation(np.asarray(hand.joints_xyz) @ looking_at(centre).T))
        crop = self._config.cut(depth_mm, intrinsics, centre, roll)
        mirrored = hand.side != self._config.side
        depth = np.ascontiguousarray(crop.depth[:, ::-1] if mirrored else crop.depth)
        kernel_size = self._network.config.kernel_size
        with torch.inference_mode():
            image = torch.from_numpy(depth)[None, None]
            output = self._network(image)
            field = (output[0] if isinstance(output, tuple) else output)[:1]
            size, count = field.shape[-1], field.shape[1] // 4
            points, foreground = field_points(image, size)
            voted, _, weights = vote(field, image, kernel_size)
        index = self._config.joint_names.index(joint)
        mask = foreground[0, 0].numpy() > 0
        return JointField(
            crop,
            mirrored,
            depth,
            field[0, 3 * index : 3 * index + 3].numpy() * mask,
            np.clip(field[0, 3 * count + index].numpy(), 0, 1) * mask,
            weights[0, index].reshape(size, size).numpy() * mask,
            points[0].numpy(),
            kernel_size,
            voted[0, index].numpy(),
        )
