"""Fusion of the hands tracked by several cameras into one set of hands in a common frame.

Every camera has its own tracker. `HandFusion` transforms their hands to one frame and one time,
associates them, and averages each joint, weighted by the scores of the cameras.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from awr_ros.derived.joint_scores import deviation_mm
from awr_ros.derived.motion import MotionFilters
from awr_ros.skeleton import NUM_JOINTS, Side, hand_centre

State = Literal['new', 'ok', 'coasting']
MAX_SIDE_LOGIT = 6.0  # limit for one camera; also used for a side fixed by a parameter


@dataclass(frozen=True)
class FusionConfig:
    """Settings of a HandFusion."""

    same_hand_mm: float = 90.0  # [mm] palms of different cameras nearer than this are one hand
    split_mm: float = 140.0  # [mm] a fused hand is split again at this distance
    other_side_mm: float = 40.0  # [mm] added to the distance of hands of different sides
    timeout_s: float = 0.3  # [s] hands of a camera without newer messages are left out
    ray_ratio: float = 2.0  # [1] ratio of a joint's error along the camera's ray to that across it
    ageing_mm_s: float = 200.0  # [mm/s] growth of the deviation of predicted joints
    # [deviations] from the most confident camera at which a joint has half its weight
    disagreement: float = 3.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be > 0, got {getattr(self, name)}')
        if self.split_mm < self.same_hand_mm:
            raise ValueError(
                f'split_mm must be at least same_hand_mm, got {self.split_mm} < {self.same_hand_mm}'
            )


@dataclass(frozen=True)
class FusedHand:
    """One hand in the common frame; fields shared with tracker.TrackedHand have the same
    meaning.
    """

    id: str  # stable while any camera tracks the hand
    side: Side  # 'left' or 'right'
    side_score: float  # [0,1]; NaN when it is fixed for all cameras
    state: State  # 'new', 'ok', or 'coasting': not seen by any camera
    score: float  # [0,1] of the most confident camera
    joints_xyz: np.ndarray  # (21,3) float32 [mm] common frame
    joint_scores: np.ndarray  # (21,) float32 [0,1] of the most confident camera for each joint
    cameras: tuple[str, ...]  # cameras that contribute joints
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)  # fused hands have none


@dataclass(frozen=True)
class _Observation:
    """A hand of one camera, in the common frame at the common time."""

    key: tuple[str, str]  # camera and id
    hand: Any
    joints_xyz: np.ndarray  # (21,3) [mm]
    centre: np.ndarray  # (3,) [mm]
    information: np.ndarray  # (21,3,3) [1/mm^2], 0 for unknown joints
    right_logit: float  # log odds of a right hand


@dataclass
class _Camera:
    stamp_s: float
    hands: Sequence[Any]
    velocities: list[np.ndarray]  # (21,3) [mm/s] of each hand, camera frame
    common_from_camera: np.ndarray  # (4,4), [mm]
    filters: MotionFilters


@dataclass
class _Group:
    """Hands of different cameras that are one hand, kept for a while after all have lost it."""

    id: str
    centre: np.ndarray  # (3,) [mm] last position
    stamp_s: float  # [s] of that position
    members: dict[str, str] = field(default_factory=dict)  # camera: id of its hand
    new: bool = True


class HandFusion:
    """Fuse the hands of cameras with independent frame times, without added delay: hands of an
    older image are predicted to the requested time.
    """

    def __init__(self, config: FusionConfig = FusionConfig()) -> None:
        self._config = config
        self._cameras: dict[str, _Camera] = {}
        self._groups: list[_Group] = []
        self._next_id = 0

    def update(
        self, camera: str, stamp_s: float, hands: Sequence[Any], common_from_camera: np.ndarray
    ) -> bool:
        """Take the hands of one image of a camera; return False for an image older than the last
        one.

        hands: TrackedHands, or objects with their id, side, side_score, state, score, joints_xyz
        (21,3) [mm] in the camera's frame and joint_scores; common_from_camera: (4,4) rigid, its
        translation in [mm]. Raise ValueError for a transform that is not rigid.
        """
        transform = np.asarray(common_from_camera, np.float64)
        if transform.shape != (4, 4) or not np.isfinite(transform).all():
            raise ValueError(f'common_from_camera must be (4,4) and finite, got {transform}')
        known = self._cameras.get(camera)
        # A little older: late. Much older: the clock was set back, or a bag loops.
        if known and 0 <= known.stamp_s - stamp_s < self._config.timeout_s:
            return False
        filters = known.filters if known else MotionFilters()
        motions = filters.update(hands, stamp_s)
        velocities = [np.nan_to_num(motion.velocities) for motion in motions]
        self._cameras[camera] = _Camera(stamp_s, list(hands), velocities, transform, filters)
        return True

    def reset(self) -> None:
        """Drop all cameras and hands. Ids continue to count."""
        self._cameras, self._groups = {}, []

    def live(self, stamp_s: float) -> tuple[str, ...]:
        """Return the cameras with current hands at a time [s]."""
        limit_s = self._config.timeout_s
        return tuple(
            name
            for name, camera in self._cameras.items()
            if abs(stamp_s - camera.stamp_s) <= limit_s
        )

    def fuse(self, stamp_s: float) -> list[FusedHand]:
        """Return the hands at a time [s], usually that of the newest image, oldest hand first."""
        observations = [seen for name in self.live(stamp_s) for seen in self._seen(name, stamp_s)]
        found = self._grouped(observations, stamp_s)
        hands = []
        for group in self._groups:
            if found[group.id]:
                hands.append(self._fused(group, found[group.id]))
                group.new = False
        return hands

    def _seen(self, name: str, stamp_s: float) -> Iterable[_Observation]:
        camera, config = self._cameras[name], self._config
        rotation, origin = camera.common_from_camera[:3, :3], camera.common_from_camera[:3, 3]
        ahead_s = stamp_s - camera.stamp_s
        for hand, velocity in zip(camera.hands, camera.velocities):
            own = np.asarray(hand.joints_xyz, np.float64)
            joints = (own + ahead_s * velocity) @ rotation.T + origin
            centre = hand_centre(joints)
            if not np.isfinite(centre).all():
                continue
            across = deviation_mm(hand.joint_scores) ** 2 + (config.ageing_mm_s * ahead_s) ** 2
            information = _information(joints - origin, across, config.ray_ratio)
            score = 1.0 if math.isnan(hand.side_score) else hand.side_score
            logit = float(np.clip(_logit(score), -MAX_SIDE_LOGIT, MAX_SIDE_LOGIT))
            logit = logit if hand.side == 'right' else -logit
            yield _Observation((name, hand.id), hand, joints, centre, information, logit)

    def _grouped(
        self, observations: list[_Observation], stamp_s: float
    ) -> dict[str, list[_Observation]]:
        """Associate hands; return the observations of each group by its id, [] for a lost one."""
        limit_s = self._config.timeout_s
        self._groups = [g for g in self._groups if abs(stamp_s - g.stamp_s) <= limit_s]
        found: dict[str, list[_Observation]] = {group.id: [] for group in self._groups}
        free: list[_Observation] = []
        for seen in observations:
            camera, name = seen.key
            group = next((g for g in self._groups if g.members.get(camera) == name), None)
            (free if group is None else found[group.id]).append(seen)
        for group in self._groups:
            free += self._outcasts(found[group.id])
        self._merge(found)
        for seen in sorted(free, key=_sureness, reverse=True):
            near = [
                (self._distance(seen, found[group.id], group.centre), number)
                for number, group in enumerate(self._groups)
                if seen.key[0] not in {other.key[0] for other in found[group.id]}
            ]
            distance, number = min(near, default=(math.inf, -1))
            if distance < self._config.same_hand_mm:
                found[self._groups[number].id].append(seen)
            else:
                self._groups.append(_Group(str(self._next_id), seen.centre, stamp_s))
                found[self._groups[-1].id] = [seen]
                self._next_id += 1
        self._remember(found, stamp_s)
        return found

    def _remember(self, found: dict[str, list[_Observation]], stamp_s: float) -> None:
        """Store positions and members of the groups; a hand belongs to one group only."""
        taken = {seen.key for members in found.values() for seen in members}
        for group in self._groups:
            group.members = {c: name for c, name in group.members.items() if (c, name) not in taken}
            members = found[group.id]
            if members:
                group.members.update(seen.key for seen in members)
                group.centre = np.mean([seen.centre for seen in members], axis=0)
                group.stamp_s = stamp_s

    def _outcasts(self, members: list[_Observation]) -> list[_Observation]:
        """Remove from a group the least confident hands that are far from the most confident
        one.
        """
        if len(members) < 2:
            return []
        surest = max(members, key=_sureness)
        limit_mm, centre = self._config.split_mm, surest.centre
        far = [seen for seen in members if self._distance(seen, [surest], centre) > limit_mm]
        for seen in far:
            members.remove(seen)
        return far

    def _merge(self, found: dict[str, list[_Observation]]) -> None:
        """Merge groups of different cameras that have come together; the older id stays."""
        for number, group in enumerate(self._groups):
            for younger in self._groups[number + 1 :]:
                one, other = found[group.id], found[younger.id]
                cameras = {seen.key[0] for seen in one} & {seen.key[0] for seen in other}
                if one and other and not cameras:
                    distance = min(self._distance(seen, one, group.centre) for seen in other)
                    if distance < self._config.same_hand_mm:
                        one += other
                        found[younger.id] = []

    def _distance(self, seen: _Observation, members: list[_Observation], last: np.ndarray) -> float:
        """Return the distance [mm] of a hand to a group: that of the palms, and more when the sides
        differ.

        last: (3,) [mm] last position of the group, if nobody tracks it now.
        """
        if not members:
            return float(np.linalg.norm(seen.centre - last))
        centre = np.mean([member.centre for member in members], axis=0)
        distance = float(np.linalg.norm(seen.centre - centre))
        logit = sum(member.right_logit for member in members)
        return distance + self._config.other_side_mm * (logit * seen.right_logit < 0)

    def _fused(self, group: _Group, members: list[_Observation]) -> FusedHand:
        seen = [member for member in members if member.hand.state != 'coasting']
        state: State = ('new' if group.new else 'ok') if seen else 'coasting'
        members = seen or members
        logit = sum(member.right_logit for member in members)
        side: Side = 'right' if logit > 0 else 'left' if logit < 0 else _surest(members).hand.side
        # Joints of the wrong side are at wrong fingers.
        members = [member for member in members if member.hand.side == side] or members
        fixed = all(math.isnan(member.hand.side_score) for member in members)
        scores = np.array([member.hand.joint_scores for member in members], np.float32)  # (n,21)
        known = np.isfinite(scores)
        best = np.where(known, scores, -1).max(0)
        return FusedHand(
            id=group.id,
            side=side,
            side_score=math.nan if fixed else 1 / (1 + math.exp(-abs(logit))),
            state=state,
            score=max(float(member.hand.score) for member in members),
            joints_xyz=self._mean_joints(members, scores).astype(np.float32),
            joint_scores=np.where(known.any(0), best, np.nan).astype(np.float32),
            cameras=tuple(member.key[0] for member in members),
        )

    def _mean_joints(self, members: list[_Observation], scores: np.ndarray) -> np.ndarray:
        """Return (21,3) [mm]: means weighted by information; joints that contradict the most
        confident camera have less weight (Cauchy weights).
        """
        joints = np.stack([member.joints_xyz for member in members])  # (n,21,3)
        if len(members) == 1:
            return joints[0]
        information = np.stack([member.information for member in members])  # (n,21,3,3)
        known = np.isfinite(joints).all(-1)
        joints = np.where(known[..., None], joints, 0.0)
        surest = np.where(known, np.nan_to_num(scores), -1.0).argmax(0)  # (21,)
        away = joints - joints[surest, np.arange(NUM_JOINTS)]
        spread = 1 / np.maximum(information.diagonal(axis1=-2, axis2=-1).mean(-1), 1e-12)  # (n,21)
        limit = self._config.disagreement**2 * (spread + spread[surest, np.arange(NUM_JOINTS)])
        weight = known / (1 + (away**2).sum(-1) / limit)
        information = information * weight[..., None, None]
        total = information.sum(0)
        measured = known.any(0)
        total[~measured] = np.eye(3)
        mean = np.linalg.solve(total, np.einsum('njab,njb->ja', information, joints)[..., None])
        return np.where(measured[:, None], mean[..., 0], np.nan)


def _information(rays: np.ndarray, across: np.ndarray, ray_ratio: float) -> np.ndarray:
    """Return the inverse covariances (21,3,3) of joints at rays (21,3) from their camera.

    across: (21,) variances across the ray; along it the deviation is ray_ratio times as large.
    """
    way = rays / np.maximum(np.linalg.norm(rays, axis=-1, keepdims=True), 1e-9)
    along = way[:, :, None] * way[:, None]  # (21,3,3) projects onto the ray
    matrix = (np.eye(3) - (1 - 1 / ray_ratio**2) * along) / across[:, None, None]
    return np.where(np.isfinite(rays).all(-1)[:, None, None], matrix, 0.0)


def _sureness(seen: _Observation) -> float:
    return float(seen.hand.score) if seen.hand.state != 'coasting' else -1.0


def _surest(members: Iterable[_Observation]) -> _Observation:
    return max(members, key=_sureness)


def _logit(score: float) -> float:
    score = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(score / (1 - score))
