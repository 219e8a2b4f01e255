"""Tracks: what a tracker knows of a hand between frames, and what it reports of it."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.derived.hand_size import NONE, HandSize, parse_hand_size, steady
from awr_ros.estimator import HandPose
from awr_ros.hypotheses import Hypotheses, other_hypothesis
from awr_ros.skeleton import Side
from awr_ros.smoothing import OneEuro
from awr_ros.tracker_config import TrackerConfig

MAX_SPEED_MM_S = 3000.0  # limit of the predicted velocity
CREDIT_GAIN = 0.1  # weight of the newest detection score in a track's credit, over about ten frames

State = Literal['new', 'ok', 'coasting']


@dataclass(frozen=True)
class TrackedHand:
    """One hand in one frame."""

    id: str  # stable while tracked
    side: Side  # 'left' or 'right'
    side_score: float  # [0,1] how sure the side is; NaN when fixed by the configuration
    state: State  # 'new', 'ok', or 'coasting': not seen in this frame, the last pose is repeated
    # [0,1] hand score times mean joint score: low where the joints do not explain the depth
    score: float
    # (21,3) float32 [mm] camera optical frame, smoothed if the configuration asks for it
    joints_xyz: np.ndarray
    joints_uvd: np.ndarray  # (21,3) float32 [px, px, mm] full image
    joint_scores: np.ndarray  # (21,) float32 [0,1]
    # (x, y, width, height) [px] the crop, may reach beyond the image
    roi: tuple[int, int, int, int]


@dataclass
class Track:
    """A hand that is tracked."""

    id: str
    pose: HandPose  # the last accepted pose
    other: HandPose | None  # pose of the other hypothesis, None when not evaluated
    stamp_s: float  # [s] of the last accepted pose
    right_logit: float  # log odds that it is a right hand
    finder_score: float  # [0,1] score of its first candidate
    credit: float  # [0,1] running mean of its detection scores
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))  # [mm/s] of the palm
    frames: int = 1
    seen: bool = True
    smooth: OneEuro = field(default_factory=OneEuro)
    # joints (xyz, uvd) as last reported, adjusted to the bone lengths and smoothed
    shown: tuple[np.ndarray, np.ndarray] | tuple[()] = ()
    size: HandSize | None = None  # bone lengths that the joints are adjusted to
    size_setting: str = NONE  # value of the setting `hand_size` that `size` was made from

    @property
    def palm(self) -> np.ndarray:
        """Palm centre (3,) float64 [mm] of the last pose."""
        return self.pose.centre_xyz

    def accept(
        self,
        pose: HandPose,
        hypotheses: Hypotheses,
        right_logit: float,
        score: float,
        stamp_s: float,
    ) -> None:
        """Take the pose of a new frame. right_logit: with this frame's; score: detection score of
        the pose.
        """
        if pose.side != self.pose.side:  # other joints: restart the filter
            self.smooth = OneEuro()
        # Relative to the last pose of the same hypothesis: the two may lie apart.
        before = self.other if self.other and self.other.side == pose.side else self.pose
        moved, dt = pose.centre_xyz - before.centre_xyz, stamp_s - self.stamp_s
        self.pose, self.other = pose, other_hypothesis(hypotheses, pose)
        self.right_logit, self.stamp_s, self.seen = right_logit, stamp_s, True
        self.frames += 1
        self.credit += CREDIT_GAIN * (score - self.credit)
        if dt > 0:
            velocity = moved / dt
            speed = max(math.hypot(*velocity.tolist()), 1e-9)
            self.velocity = velocity * min(1, MAX_SPEED_MM_S / speed)

    def report(self, config: TrackerConfig, intrinsics: Intrinsics) -> TrackedHand:
        """Return the hand of this frame, with bone lengths adjusted and smoothed as configured."""
        pose = self.pose
        state: State = 'coasting' if not self.seen else 'new' if self.frames == 1 else 'ok'
        side_logit = self.right_logit if pose.side == 'right' else -self.right_logit
        side_score = 1 / (1 + math.exp(-side_logit)) if config.side == 'auto' else math.nan
        joints_xyz, joints_uvd = pose.joints_xyz, pose.joints_uvd
        if config.smoothing or config.hand_size != NONE:
            joints_xyz, joints_uvd = self._filtered(config, intrinsics)
        return TrackedHand(
            self.id,
            pose.side,
            side_score,
            state,
            pose.hand_score * pose.mean_joint_score,
            joints_xyz,
            joints_uvd,
            pose.joint_scores,
            pose.roi,
        )

    def _filtered(
        self, config: TrackerConfig, intrinsics: Intrinsics
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the joints (xyz, uvd) to report.

        Tracking itself uses the measured joints, so the filters add no lag to it.
        """
        if self.seen or not self.shown:  # a coasting hand keeps its last reported joints
            xyz = self.pose.joints_xyz
            if config.hand_size != NONE:
                xyz = self._steadied(config.hand_size)
            if config.smoothing:
                beta = config.smoothing_beta
                xyz = self.smooth(xyz, self.stamp_s, config.smoothing_min_cutoff_hz, beta)
            self.shown = xyz.astype(np.float32), intrinsics.xyz_to_uvd(xyz).astype(np.float32)
        return self.shown

    def _steadied(self, setting: str) -> np.ndarray:
        """Adjust measured joints (21,3) [mm] to the bone lengths of the hand."""
        if self.size is None or self.size_setting != setting:
            lengths_mm = parse_hand_size(setting)
            self.size = HandSize(None if isinstance(lengths_mm, str) else lengths_mm)
            self.size_setting = setting
        joints, scores = self.pose.joints_xyz, self.pose.joint_scores
        self.size.update(joints, scores)
        return steady(joints, scores, self.size.lengths_mm, self.size.deviations_mm)
