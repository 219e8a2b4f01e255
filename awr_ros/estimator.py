"""One crop in, one hand pose out: crop, engine (network and read-out) and back to the camera,
batched over hands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from awr_ros.camera import Intrinsics, looking_at
from awr_ros.crop import (
    MIN_CENTRE_MM,
    Crop,
    checked_centre,
    crop_along_axes,
    crop_as_authors,
    crop_hand,
)
from awr_ros.runtime.readout import Engine, EngineConfig
from awr_ros.runtime.select import Device, EngineName, load_engine
from awr_ros.skeleton import SIDES, Side, as_21_joints, hand_centre, in_plane_rotation


@dataclass(frozen=True)
class HandPose:
    """What the network says of one crop. Joints that it does not know are NaN."""

    joints_xyz: np.ndarray  # (21,3) float32 [mm] camera optical frame
    joints_uvd: np.ndarray  # (21,3) float32 [px, px, mm] full image
    # (21,) float32 [0,1], chance that a joint is within 10 mm; of networks that are neither refined
    joint_scores: np.ndarray
    # nor calibrated the highest closeness claimed for it
    # [0,1] that a hand is centred in the crop; of networks that do not say so the mean joint score
    hand_score: float
    side: Side  # the side it was taken for
    # (x, y, width, height) [px] around the crop in the full image, may reach beyond it
    roi: tuple[int, int, int, int]
    # more than that of the other side's reading: the hand is of this side
    # (awr_ros.networks.handedness); NaN unknown
    handedness_logit: float = np.nan

    @cached_property  # asked for several times in a frame
    def centre_xyz(self) -> np.ndarray:
        """(3,) float64 [mm] what the hand is followed by (skeleton.hand_centre)."""
        return hand_centre(self.joints_xyz)

    def request(self, centre_xyz: np.ndarray | None = None) -> 'Request':
        """Where to look for this hand next: here, or at another centre, and turned as it lies.
        centre_xyz: (3,) [mm].
        """
        centre_xyz = self.centre_xyz if centre_xyz is None else centre_xyz
        seen = self.joints_xyz @ looking_at(centre_xyz).T
        return Request(centre_xyz, self.side, float(in_plane_rotation(seen)))


@dataclass(frozen=True)
class Request:
    """Where to look for a hand, and for which."""

    centre_xyz: np.ndarray  # (3,) [mm] near the palm's centre
    side: Side  # 'left' or 'right'
    roll: float = (
        0.0  # [rad] which way it points, from up, clockwise (skeleton.in_plane_rotation), in the
    )
    # image of a camera that looks at the centre (camera.looking_at)


class HandPoseEstimator:
    """AWR on crops. The network knows hands of one side; those of the other are mirrored in and
    out.
    """

    def __init__(self, engine: Engine) -> None:
        """engine: what awr_ros.runtime.select.load_engine returns, or another of
        awr_ros.runtime.
        """
        self.engine, self.config, self.description = engine, engine.config, engine.description

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path | None = None,
        device: Device = 'auto',
        num_threads: int | None = None,
        engine: EngineName = 'auto',
    ) -> 'HandPoseEstimator':
        """Load weights (None: the ones that come with the package) into the fastest engine here, or
        the one asked for.

        device: 'auto' (CUDA when there is any), 'cpu' or 'cuda'; num_threads: on the CPU, None: all
        cores but one, at most
        4; engine: 'auto', 'torch', 'openvino' or 'onnxruntime'. Raises FileNotFoundError or
        ValueError naming the path, and ValueError for a device or an engine that is not there.
        """
        return cls(load_engine(weights, engine, device, num_threads))

    def estimate(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        centre_xyz: npt.ArrayLike,
        side: Side = 'right',
        passes: int = 3,
    ) -> HandPose | None:
        """Pose of the hand at a given centre.

        depth_mm: (H,W) float32 or uint16 [mm], 0 invalid; centre_xyz: (3,) [mm] within some 40 mm
        of the palm's centre; passes: crops after the first are centred on the palm that the one
        before found and turned as it lies; of these the pose with the highest mean joint score
        counts. Returns HandPose, or None when the cube around the centre is empty. Raises
        ValueError for a centre that is none in millimetres.
        """
        request = Request(checked_centre(centre_xyz), side)
        poses: list[HandPose] = []
        for _ in range(passes):
            pose = self.estimate_batch(depth_mm, intrinsics, [request])[0]
            if pose is None:
                break
            poses.append(pose)
            request = pose.request()
        return max(poses[1:] or poses, key=lambda pose: np.nanmean(pose.joint_scores), default=None)

    def estimate_batch(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, requests: Sequence[Request]
    ) -> list[HandPose | None]:
        """Poses of several hands of one frame in one pass of the network.

        requests: list of Request. Returns a list as long of HandPose, None where the cube is empty
        or too near, or where the network sees a joint behind the camera: all joints that it knows
        are finite and in front of it.
        """
        for request in requests:
            if request.side not in SIDES:
                raise ValueError(f"side must be 'left' or 'right', got {request.side!r}")
        crops: list[Any] = [  # of Crop, None where the centre is too near
            cut_crop(self.config, depth_mm, intrinsics, request)
            if request.centre_xyz[2] >= MIN_CENTRE_MM
            else None
            for request in requests
        ]
        full = [i for i, crop in enumerate(crops) if crop is not None and crop.foreground > 0]
        poses: list[HandPose | None] = [None] * len(requests)
        if not full:
            return poses
        images = np.empty((len(full), 1, self.config.crop_size, self.config.crop_size), np.float32)
        for image, i in zip(images[:, 0], full):
            image[:] = (
                crops[i].depth if requests[i].side == self.config.side else crops[i].depth[:, ::-1]
            )
        predictions = self.engine.predict(images)
        for i, uvdn, joint_scores, hand_score, handedness_logit in zip(
            full,
            predictions.joints_uvdn,
            predictions.joint_scores,
            predictions.hand_scores,
            predictions.handedness_logits,
        ):
            crop = crops[i]
            if not np.isfinite(uvdn).all():
                continue
            if requests[i].side != self.config.side:
                # In the authors' crops a pixel's index, not its middle, is its coordinate.
                uvdn = uvdn * np.array([-1, 1, 1], np.float32) - np.array(
                    [2 / len(crop.depth) if self.config.authors_crop else 0, 0, 0], np.float32
                )
            if np.isnan(hand_score):  # the network does not say: how sure it is of its joints
                hand_score = joint_scores.mean()
            uvd = crop.uvd_from_uvdn(uvdn)
            if uvd[:, 2].min() <= 0:  # a cube around a near centre reaches behind the camera
                continue
            uvd = as_21_joints(uvd, self.config.joint_names)
            joint_scores = as_21_joints(joint_scores[:, None], self.config.joint_names)[:, 0]
            u0, v0, u1, v1 = crop.window
            poses[i] = HandPose(
                intrinsics.uvd_to_xyz(uvd).astype(np.float32),
                uvd.astype(np.float32),
                joint_scores,
                float(hand_score),
                requests[i].side,
                (u0, v0, u1 - u0, v1 - v0),
                float(handedness_logit),
            )
        return poses


def cut_crop(
    config: EngineConfig, depth_mm: np.ndarray, intrinsics: Intrinsics, request: Request
) -> Crop:
    """Cut the crop of a Request as a network wants it.

    config: EngineConfig; depth_mm: (H,W) [mm]. Returns awr_ros.crop.Crop.
    """
    centre_xyz, cube_mm, size = request.centre_xyz, config.cube_mm, config.crop_size
    if config.authors_crop:
        return crop_as_authors(depth_mm, intrinsics, centre_xyz, cube_mm, size)
    cut = crop_hand if config.virtual_crop else crop_along_axes
    roll = request.roll if config.upright else 0.0
    return cut(depth_mm, intrinsics, centre_xyz, cube_mm, size, roll)
