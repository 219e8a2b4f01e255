"""Hand poses from crops: cut the crops, run the engine (network and read-out), map back to the
camera.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from awr_ros.camera import Intrinsics, looking_at
from awr_ros.crop import MIN_CENTRE_MM, checked_centre
from awr_ros.hypotheses import Hypotheses, likelier, likelier_side, right_logit
from awr_ros.runtime.readout import Engine
from awr_ros.runtime.select import Device, EngineName, load_engine
from awr_ros.skeleton import PALM, SIDES, Side, as_21_joints, hand_centre
from awr_ros.views import MAX_VIEWS, checked_views, merged, rotated

# (x, y) offsets [mm] from the given centre at which the passes start, one for each view.
STARTS_MM = ((0, 0), (25, 0), (-25, 0), (0, 25), (0, -25))
assert len(STARTS_MM) == MAX_VIEWS
# A palm farther than this from the given centre is that of another hand, if there is a nearer one.
OTHER_HAND_MM = 60.0


@dataclass(frozen=True)
class HandPose:
    """Hand pose estimated from one crop, or merged from several (awr_ros.views). Joints that the
    network lacks are NaN.
    """

    joints_xyz: np.ndarray  # (21,3) float32 [mm] camera optical frame
    joints_uvd: np.ndarray  # (21,3) float32 [px, px, mm] full image
    # (21,) float32 [0,1] probability that a joint is within 10 mm; for networks without refiner and
    # calibration the maximum of its closeness
    joint_scores: np.ndarray
    # [0,1] probability that a hand is centred in the crop; for networks without it the mean joint
    # score
    hand_score: float
    side: Side  # the assumed side
    # (x, y, width, height) [px] around the crop in the full image, may reach beyond it
    roi: tuple[int, int, int, int]
    # log odds for this side; the hypothesis with the larger value is likelier
    # (awr_ros.networks.handedness); NaN unknown
    handedness_logit: float = np.nan

    @cached_property  # used several times per frame
    def centre_xyz(self) -> np.ndarray:
        """Palm centre (3,) float64 [mm], which tracks follow (skeleton.hand_centre)."""
        return hand_centre(self.joints_xyz)

    @cached_property
    def mean_joint_score(self) -> float:
        """Mean of the scores of the joints that the network has, [0,1]."""
        mean = float(self.joint_scores.mean())
        return float(np.nanmean(self.joint_scores)) if math.isnan(mean) else mean

    def request(self, centre_xyz: np.ndarray | None = None) -> 'Request':
        """Return the Request for the next frame: at this palm or at centre_xyz (3,) [mm], rotated
        as this hand.
        """
        centre_xyz = self.centre_xyz if centre_xyz is None else centre_xyz
        return Request(centre_xyz, self.side, _roll(self.joints_xyz, centre_xyz))


def _roll(joints_xyz: np.ndarray, centre_xyz: np.ndarray) -> float:
    """Return skeleton.in_plane_rotation of a hand in the frame of the virtual camera that is turned
    to a centre. In plain numbers, because NumPy takes five times as long for so few.
    """
    rotation, joints = looking_at(centre_xyz).tolist(), joints_xyz.tolist()
    palm = [[sum(map(operator.mul, row, joints[j])) for row in rotation] for j in PALM]
    u, v = zip(*((x / (z or 1e-9), y / (z or 1e-9)) for x, y, z in palm))
    roots = len(PALM) - 1  # of the fingers; the wrist is first
    return math.atan2(sum(u[1:]) / roots - u[0], v[0] - sum(v[1:]) / roots)


@dataclass(frozen=True)
class Request:
    """Where to cut a crop, and the assumed side."""

    centre_xyz: np.ndarray  # (3,) [mm] near the palm's centre
    side: Side  # 'left' or 'right'
    # [rad] in-plane rotation of the hand, clockwise from up (skeleton.in_plane_rotation), in the
    # image of the virtual camera that is turned to the centre (camera.looking_at)
    roll: float = 0.0


class HandPoseEstimator:
    """AWR on crops. The network covers one side; crops and joints of the other one are mirrored."""

    def __init__(self, engine: Engine) -> None:
        """engine: from awr_ros.runtime.select.load_engine, or any other
        awr_ros.runtime.readout.Engine.
        """
        self.engine, self.config, self.description = engine, engine.config, engine.description

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path | None = None,
        *,
        device: Device = 'auto',
        engine: EngineName = 'auto',
        num_threads: int | None = None,
    ) -> 'HandPoseEstimator':
        """Load weights (None: the package's) into the fastest engine of this machine, or a given
        one.

        device: 'auto' (CUDA if available), 'cpu' or 'cuda'; num_threads: CPU threads, None: all
        cores but one, at most 4; engine: 'auto', 'torch', 'openvino' or 'onnxruntime'. Raise
        FileNotFoundError or ValueError that names the path, and ValueError for a device or an
        engine that is not available.
        """
        return cls(load_engine(weights, engine, device, num_threads))

    def estimate(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        centre_xyz: npt.ArrayLike,
        side: Side | Literal['auto'] = 'auto',
        *,
        passes: int = 3,
        views: int = MAX_VIEWS,
    ) -> HandPose | None:
        """Estimate the pose of the hand at a given centre, from this one frame.

        depth_mm: (H,W) float32 or uint16 [mm], 0 invalid; centre_xyz: (3,) [mm] within about 40 mm
        of the palm's centre; side: of the hand, 'auto': the likelier one, which takes twice as
        long; a hand of another side than the given one gets a wrong pose; passes: number of crops,
        each after the first centred on the palm of the one before and rotated like it; views: 1 to
        MAX_VIEWS. So many times the passes are made, from starts beside each other; of the poses
        after the first pass the one with the highest mean joint score is kept, and merged with the
        poses of so many rotated crops less one (awr_ros.views). That makes passes * views + views -
        1 crops of each side.

        Return None when the cubes around all starts are empty. Raise ValueError for a centre that
        is not a finite point in front of the camera, and for other numbers of views.
        """
        centre_xyz = checked_centre(centre_xyz)
        starts = [centre_xyz + np.array((x, y, 0)) for x, y in STARTS_MM[: checked_views(views)]]
        sides: tuple[Side, ...] = SIDES if side == 'auto' else (side,)
        hypotheses: Hypotheses = {}
        for each in sides:
            requests = [Request(start, each) for start in starts]
            best = self._best_of(depth_mm, intrinsics, requests, passes)
            if best is not None and views > 1 and self.config.uses_roll:
                others = rotated(best.request(), views)[1:]
                best = merged(
                    [best, *self.estimate_batch(depth_mm, intrinsics, others)], intrinsics
                )
            if best is not None:
                hypotheses[each] = best
        if not hypotheses:
            return None
        usual: Side = 'left' if self.config.side == 'left' else 'right'
        logit = right_logit(hypotheses)
        return likelier(hypotheses, logit, likelier_side(logit, usual))

    def _best_of(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        requests: Sequence[Request],
        passes: int,
    ) -> HandPose | None:
        """Return the pose with the highest mean joint score of all passes after the first, or of
        that one if it is the only one; None where every cube is empty. requests: around one hand,
        the first one at its centre.
        """
        best: HandPose | None = None
        centre = requests[0].centre_xyz
        for count in range(passes):
            poses = [
                pose
                for pose in self.estimate_batch(depth_mm, intrinsics, requests)
                if pose is not None
            ]
            if not poses:
                break
            own = [pose for pose in poses if math.dist(pose.centre_xyz, centre) < OTHER_HAND_MM]
            found = max(own or poses, key=lambda pose: pose.mean_joint_score)
            if best is None or count == 1 or found.mean_joint_score > best.mean_joint_score:
                best = found
            requests = [pose.request() for pose in poses]
        return best

    def estimate_batch(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, requests: Sequence[Request]
    ) -> list[HandPose | None]:
        """Estimate several hands of one frame in one batch.

        requests: list of Request. Return a list of the same length: HandPose, or None where the
        cube is empty or too near, or where a predicted joint is behind the camera.
        """
        for request in requests:
            if request.side not in SIDES:
                raise ValueError(f"side must be 'left' or 'right', got {request.side!r}")
        crops: list[Any] = [  # Crop, None where the centre is too near
            self.config.cut(depth_mm, intrinsics, request.centre_xyz, request.roll)
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
                uvdn = uvdn.copy()
                uvdn[:, 0] *= -1
                if self.config.authors_crop:
                    # There the coordinate of a pixel is its index, not its centre.
                    uvdn[:, 0] -= np.float32(2 / len(crop.depth))
            if np.isnan(hand_score):  # a network without hand score
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
