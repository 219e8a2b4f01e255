"""Frames in, identified hands out: follow the known hands, verify them, lose them, find
new ones.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from awr_ros.camera import Intrinsics
from awr_ros.derived.hand_size import NONE, HandSize, parse_hand_size, steady
from awr_ros.estimator import HandPose, HandPoseEstimator, Request
from awr_ros.finders.geometric import find_candidates
from awr_ros.finders.palm_detector import MIN_SCORE, Candidate, PalmDetector
from awr_ros.runtime.select import Device, EngineName
from awr_ros.skeleton import SIDES, Side
from awr_ros.smoothing import OneEuro
from awr_ros.stamps import JUMPED_BACK, LATE, StampOrder
from awr_ros.tracker_config import TrackerConfig

SAME_HAND_MM = 60.0  # two palms nearer than this are one hand
# What is tracked must go on looking like a hand: the mean of its detection scores over some ten
# frames is no less than this
# share of what starts a track.
CREDIT_GAIN, CREDIT_SHARE = 0.1, 0.6
MAX_SPEED_MM_S = 3000.0  # predictions never go faster
MAX_GAP_S = 1.0  # after a longer pause nothing is followed
# Places that a search tries at most, the next ones with the next search: no frame must be late.
MAX_CANDIDATES_IDLE = 8
MAX_CANDIDATES_TRACKING = 2  # while some hand is tracked
MIN_CANDIDATE_SCORE_TRACKING = (
    0.15  # [0,1] least finder's score of what is tried beside a tracked hand
)
# [0,1] hand score at first sight, not centred nor turned, from which on a place is looked at again
MIN_FIRST_PASS_SCORE = 0.03
MIN_SECOND_PASS_RATIO = (
    0.25  # of what starts a track; after the second look, places below this share are dropped
)
DEFAULT_DETECTION_WEIGHTS = (
    0.60,
    0.41,
    17.0,
    -11.5,
)  # weights of the start score for networks that bring none
DEFAULT_FINDER_SCORE = 0.5  # score of places that no network scored
# The network knows right hands only. A hand is read as its true side and as its mirror image, and
# the judge (handedness.py) says
# which reading is likelier; weights without a judge draw higher closeness from the true side.
# Gathered over frames.
LOGIT_PER_CONFIDENCE = 80.0  # a lead of 0.02 was right in 91 % of single rendered crops
MAX_FRAME_LOGIT = 2.0  # no frame says more
SURE_LOGIT, MAX_LOGIT = 6.0, 10.0
SIDE_CHECK_EVERY = 10  # [frames] between looks at the mirror image once the side is sure


State = Literal['new', 'ok', 'coasting']
Hypotheses = dict[Side, HandPose]  # the readings of one hand, by side
Verified = tuple[Candidate, Hypotheses, HandPose, float]  # what `verify` returns of a candidate


@dataclass(frozen=True)
class TrackedHand:
    """One hand in one frame."""

    id: str  # stable while tracked
    side: Side  # 'left' or 'right'
    side_score: float  # [0,1] how sure the side is; NaN when fixed by the configuration
    state: State  # 'new', 'ok', or 'coasting': not seen in this frame, the last pose is repeated
    # [0,1] hand score times the mean joint score: low where the joints do not explain what is seen
    score: float
    joints_xyz: (
        np.ndarray
    )  # (21,3) float32 [mm] camera optical frame, smoothed where the configuration says so
    joints_uvd: np.ndarray  # (21,3) float32 [px, px, mm] full image
    joint_scores: np.ndarray  # (21,) float32 [0,1]
    # (x, y, width, height) [px] the crop, may reach beyond the image
    roi: tuple[int, int, int, int]


@dataclass(frozen=True)
class Timings:
    """Where the time of one update went [ms]."""

    find_ms: float = 0.0  # the finder: places where new hands may be, not yet verified
    inference_ms: float = 0.0  # crops and network, of known and of new hands
    postprocess_ms: float = 0.0  # everything else: deciding who is who


@dataclass
class _Track:
    id: str
    pose: HandPose  # the last HandPose that was believed
    other: HandPose | None  # what the other side read then, None when it was not asked
    stamp_s: float  # when
    right_logit: float  # log odds that it is a right hand
    finder_score: float  # [0,1] of the candidate that it began with
    credit: float  # [0,1] running mean of its detection scores
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))  # [mm/s] of the palm
    frames: int = 1
    seen: bool = True
    smooth: OneEuro = field(default_factory=OneEuro)
    shown: (
        tuple[np.ndarray, np.ndarray] | tuple[()]
    ) = ()  # joints (xyz, uvd) as last reported, steadied and smoothed
    size: HandSize | None = None  # that they are steadied by
    size_setting: str = NONE  # that this was made of

    @property
    def palm(self) -> np.ndarray:
        return _palm(self.pose)


class HandTracker:
    """Tracks up to `config.max_hands` hands through a stream of depth frames."""

    def __init__(
        self, estimator: HandPoseEstimator, config: TrackerConfig = TrackerConfig()
    ) -> None:
        self.estimator, self.config = estimator, config
        # Now, so that a bad file shows at once; without need only when `finder`, which is live,
        # asks for it.
        self._palm_detector: PalmDetector | None = None
        if config.finder == 'learned' or config.finder_weights:
            self._palm_detector = PalmDetector(config.finder_weights)
        self.timings = Timings()
        self._next_id, self._finding_s, self._estimating_s = 0, 0.0, 0.0
        self._detection_weights = estimator.config.detection_weights or DEFAULT_DETECTION_WEIGHTS
        self.late = 0  # frames that came after a newer one
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path | None = None,
        device: Device = 'auto',
        config: TrackerConfig = TrackerConfig(),
        num_threads: int | None = None,
        engine: EngineName = 'auto',
    ) -> 'HandTracker':
        """Load weights (None: the ones that come with the package). Arguments and errors as the
        estimator's.
        """
        return cls(HandPoseEstimator.from_pretrained(weights, device, num_threads, engine), config)

    @property
    def description(self) -> str:
        """Device and weights in words."""
        return self.estimator.description

    def reset(self) -> None:
        """Forget all hands. Identifiers go on counting."""
        self._tracks: list[_Track] = []
        self._frame, self._searches = 0, 0
        self._stamp_s: float | None = None
        self._order = StampOrder()
        self._hands: list[TrackedHand] = []

    def update(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        stamp_s: float,
        centres_xyz: npt.ArrayLike = (),
    ) -> list[TrackedHand]:
        """Track through one frame.

        depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; stamp_s: time of the frame [s]; a
        step or a gap of more than a second starts afresh, a frame that is late by less is counted
        in `late` and not looked at: the hands of the frame before coast (see awr_ros.stamps);
        centres_xyz: (n,3) [mm] camera optical frame, where somebody else sees the middle of a palm:
        with finder 'external' new hands are looked for there and nowhere else. Returns a list of
        TrackedHand, oldest first.
        """
        order = self._order.add(stamp_s)
        if order == LATE:
            self.late += 1
            return [replace(hand, state='coasting') for hand in self._hands]
        if (
            order == JUMPED_BACK
            or self._stamp_s is not None
            and not stamp_s - self._stamp_s <= MAX_GAP_S
        ):
            self.reset()
            self._order.add(stamp_s)
        self._stamp_s = stamp_s
        self._frame += 1
        start = time.perf_counter()
        self._finding_s = self._estimating_s = 0.0
        del self._tracks[self.config.max_hands :]  # the parameter is live
        self._follow(depth_mm, intrinsics, stamp_s)
        if len(self._tracks) < self.config.max_hands and (
            not self._tracks or self._frame % self.config.search_every == 0
        ):
            self._search(depth_mm, intrinsics, stamp_s, centres_xyz)
        hands = self._hands = [self._report(track, intrinsics) for track in self._tracks]
        rest_s = time.perf_counter() - start - self._finding_s - self._estimating_s
        self.timings = Timings(1e3 * self._finding_s, 1e3 * self._estimating_s, 1e3 * rest_s)
        return list(hands)

    def _follow(self, depth_mm: np.ndarray, intrinsics: Intrinsics, stamp_s: float) -> None:
        """Look for every known hand where it should be by now."""
        expected = [self._expected(track, stamp_s) for track in self._tracks]
        # Two tracks may be drawn to one hand when hands cross: it goes to the one that expected it
        # nearer.
        matches: list[tuple[float, int, _Track, HandPose, Hypotheses, float]] = []
        all_hypotheses = self._predict(depth_mm, intrinsics, [requests for _, requests in expected])
        for track, (palm, _), hypotheses in zip(self._tracks, expected, all_hypotheses):
            track.seen = False
            if hypotheses:
                right_logit = float(
                    np.clip(track.right_logit + _right_logit(hypotheses), -MAX_LOGIT, MAX_LOGIT)
                )
                pose = self._as_side(hypotheses, right_logit, track.pose.side)
                if pose.hand_score >= self.config.lose_threshold:
                    matches.append(
                        (
                            float(np.linalg.norm(_palm(pose) - palm)),
                            len(matches),
                            track,
                            pose,
                            hypotheses,
                            right_logit,
                        )
                    )
        taken: list[np.ndarray] = []
        for _, _, track, pose, hypotheses, right_logit in sorted(
            matches, key=lambda match: match[:2]
        ):
            if all(np.linalg.norm(_palm(pose) - other) > SAME_HAND_MM for other in taken):
                taken.append(_palm(pose))
                self._accept(track, pose, hypotheses, right_logit, stamp_s)
        self._tracks = [
            t
            for t in self._tracks
            if (t.seen or stamp_s - t.stamp_s <= self.config.coast_s)
            and t.credit >= CREDIT_SHARE * self.config.score_threshold
        ]

    def _expected(self, track: _Track, stamp_s: float) -> tuple[np.ndarray, dict[Side, Request]]:
        """Where a known hand's palm should be by now (3,) [mm], and where to look for it, {side:
        Request}.
        """
        moved = track.velocity * (stamp_s - track.stamp_s) if track.seen else np.zeros(3)
        sides: tuple[Side, ...] = (track.pose.side,)
        if self.config.side != 'auto':
            sides = (self.config.side,)
        elif abs(track.right_logit) < SURE_LOGIT or track.frames % SIDE_CHECK_EVERY == 0:
            sides = SIDES
        requests: dict[Side, Request] = {}
        for side in sides:
            # Each side looks from where it saw the hand itself. Where the other one did it is at a
            # disadvantage: of ten left
            # hands that were first looked at as right ones one stayed a right one.
            other = track.other
            own = (
                other
                if other
                and other.side == side
                and np.linalg.norm(_palm(other) - track.palm) < SAME_HAND_MM
                else track.pose
            )
            requests[side] = replace(own.request(_palm(own) + moved), side=side)
        return track.palm + moved, requests

    def _accept(
        self,
        track: _Track,
        pose: HandPose,
        hypotheses: Hypotheses,
        right_logit: float,
        stamp_s: float,
    ) -> None:
        if pose.side != track.pose.side:  # its joints are others now: nothing to glide from
            track.smooth = OneEuro()
        # From where the same side saw it: the two may lie apart.
        before = track.other if track.other and track.other.side == pose.side else track.pose
        moved, dt = _palm(pose) - _palm(before), stamp_s - track.stamp_s
        track.pose, track.other = pose, _other(hypotheses, pose)
        track.right_logit, track.stamp_s, track.seen = right_logit, stamp_s, True
        track.frames += 1
        track.credit += CREDIT_GAIN * (
            self._detection_score(track.finder_score, pose) - track.credit
        )
        if dt > 0:
            velocity = moved / dt
            track.velocity = velocity * min(
                1, MAX_SPEED_MM_S / max(float(np.linalg.norm(velocity)), 1e-9)
            )

    def _search(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        stamp_s: float,
        centres_xyz: npt.ArrayLike,
    ) -> None:
        """Start tracks where the finder's candidates turn out to be hands."""
        start = time.perf_counter()
        candidates = self._candidates(depth_mm, intrinsics, centres_xyz)
        self._finding_s += time.perf_counter() - start
        candidates = [
            candidate
            for candidate in candidates
            if all(
                np.linalg.norm(candidate.centre_xyz - track.palm) > 1.5 * SAME_HAND_MM
                for track in self._tracks
            )
        ]
        at_once = MAX_CANDIDATES_TRACKING if self._tracks else MAX_CANDIDATES_IDLE
        if len(candidates) > at_once:
            first = self._searches * at_once % len(candidates)
            candidates = (candidates[first:] + candidates[:first])[:at_once]
        self._searches += 1
        for candidate, hypotheses, pose, right_logit in self.verify(
            depth_mm, intrinsics, candidates, self._min_score()
        ):
            if (
                self._detection_score(candidate.score, pose) >= self._min_score()
                and len(self._tracks) < self.config.max_hands
                and all(
                    np.linalg.norm(_palm(pose) - track.palm) > SAME_HAND_MM
                    for track in self._tracks
                )
            ):
                self._tracks.append(
                    _Track(
                        str(self._next_id),
                        pose,
                        _other(hypotheses, pose),
                        stamp_s,
                        right_logit,
                        candidate.score,
                        self._detection_score(candidate.score, pose),
                    )
                )
                self._next_id += 1

    def verify(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        candidates: Sequence[Candidate],
        min_score: float = 0.0,
    ) -> list[Verified]:
        """What the network makes of a list of Candidate, looked at as they are offered, again
        centred, turned and as both sides, and once more as each side saw them. Places that will
        hardly reach the start score `least` are left out early.

        Returns a list of (Candidate, {side: HandPose}, the likelier of these, log odds of a right
        hand), the surest first.
        """
        config = self.config
        usual: Side = 'right' if config.side == 'auto' else config.side
        poses = self._estimate(
            depth_mm, intrinsics, [Request(candidate.centre_xyz, usual) for candidate in candidates]
        )
        rough = sorted(
            (
                (candidate, pose)
                for candidate, pose in zip(candidates, poses)
                if pose is not None and (pose.hand_score >= MIN_FIRST_PASS_SCORE or not min_score)
            ),
            key=lambda entry: -entry[1].hand_score,
        )
        kept: list[Candidate] = []
        wanted: list[Request] = []
        for candidate, pose in rough:
            if all(
                np.linalg.norm(_palm(pose) - other.centre_xyz) > SAME_HAND_MM / 2
                for other in wanted
            ):
                kept.append(candidate)
                wanted.append(pose.request())
        sides: tuple[Side, ...] = SIDES if config.side == 'auto' else (usual,)
        readings = self._predict(
            depth_mm,
            intrinsics,
            [{side: replace(request, side=side) for side in sides} for request in wanted],
        )
        first_pass = [
            (candidate, hypotheses)
            for candidate, hypotheses in zip(kept, readings)
            if any(
                self._detection_score(candidate.score, pose) >= MIN_SECOND_PASS_RATIO * min_score
                for pose in hypotheses.values()
            )
        ]
        # Each side looks once more from where it saw the hand itself: see _expected.
        second_pass = self._predict(
            depth_mm,
            intrinsics,
            [
                {side: pose.request() for side, pose in hypotheses.items()}
                for _, hypotheses in first_pass
            ],
        )
        found: list[Verified] = []
        for (candidate, _), hypotheses in zip(first_pass, second_pass):
            if hypotheses:
                right_logit = _right_logit(hypotheses)
                pose = self._as_side(
                    hypotheses,
                    right_logit,
                    'right' if right_logit > 0 else 'left' if right_logit < 0 else usual,
                )
                found.append((candidate, hypotheses, pose, right_logit))
        return sorted(found, key=lambda entry: -self._detection_score(entry[0].score, entry[2]))

    def _detection_score(self, finder_score: float, pose: HandPose) -> float:
        return float(
            detection_score(
                self._detection_weights,
                finder_score,
                pose.hand_score,
                np.nanmean(pose.joint_scores),
            )
        )

    def _min_score(self) -> float:
        """Start score that starts a track now."""
        return (
            max(self.config.score_threshold, self.config.beside_threshold)
            if self._tracks
            else self.config.score_threshold
        )

    def _candidates(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, centres_xyz: npt.ArrayLike
    ) -> list[Candidate]:
        """A list of Candidate."""
        config = self.config
        if config.finder == 'learned':
            self._palm_detector = self._palm_detector or PalmDetector()
            min_score = MIN_CANDIDATE_SCORE_TRACKING if self._tracks else MIN_SCORE
            return self._palm_detector.find(
                depth_mm, intrinsics, config.min_depth_mm, config.max_depth_mm, min_score
            )
        if config.finder == 'external':
            centres = np.asarray(centres_xyz, np.float64).reshape(-1, 3)
        else:
            centres = find_candidates(
                depth_mm, intrinsics, config.min_depth_mm, config.max_depth_mm
            )
        return [Candidate(centre, DEFAULT_FINDER_SCORE) for centre in centres]

    def _predict(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, wanted: Sequence[Mapping[Side, Request]]
    ) -> list[dict[Side, HandPose]]:
        """The pose at each Request of each {side: Request}, {side: HandPose}, empty where nothing
        is; one network pass.
        """
        poses = iter(
            self._estimate(
                depth_mm,
                intrinsics,
                [request for requests in wanted for request in requests.values()],
            )
        )
        return [
            {side: pose for side in requests if (pose := next(poses)) is not None}
            for requests in wanted
        ]

    def _estimate(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, requests: Sequence[Request]
    ) -> list[HandPose | None]:
        start = time.perf_counter()
        poses = self.estimator.estimate_batch(depth_mm, intrinsics, requests) if requests else []
        self._estimating_s += time.perf_counter() - start
        return poses

    def _as_side(self, hypotheses: Hypotheses, right_logit: float, usual: Side) -> HandPose:
        """The reading of the likelier side; close calls stay with the usual one."""
        if len(hypotheses) == 2 and abs(right_logit) > 1:
            return hypotheses['right' if right_logit > 0 else 'left']
        return hypotheses.get(usual) or next(iter(hypotheses.values()))

    def _report(self, track: _Track, intrinsics: Intrinsics) -> TrackedHand:
        pose = track.pose
        state: State = 'coasting' if not track.seen else 'new' if track.frames == 1 else 'ok'
        side_logit = track.right_logit if pose.side == 'right' else -track.right_logit
        side_score = 1 / (1 + math.exp(-side_logit)) if self.config.side == 'auto' else math.nan
        joints_xyz, joints_uvd = pose.joints_xyz, pose.joints_uvd
        if self.config.smoothing or self.config.hand_size != NONE:
            joints_xyz, joints_uvd = self._filtered(track, intrinsics)
        score = pose.hand_score * float(np.nanmean(pose.joint_scores))
        return TrackedHand(
            track.id,
            pose.side,
            side_score,
            state,
            score,
            joints_xyz,
            joints_uvd,
            pose.joint_scores,
            pose.roi,
        )

    def _filtered(self, track: _Track, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
        """Joints (xyz, uvd) to report, steadied and smoothed as configured; the hand is followed by
        the measured ones, so neither makes the tracker late.
        """
        if track.seen or not track.shown:  # a coasting hand stays where it was last shown
            config, xyz = self.config, track.pose.joints_xyz
            if config.hand_size != NONE:
                xyz = self._steadied(track)
            if config.smoothing:
                beta = config.smoothing_beta
                xyz = track.smooth(xyz, track.stamp_s, config.smoothing_min_cutoff_hz, beta)
            track.shown = xyz.astype(np.float32), intrinsics.xyz_to_uvd(xyz).astype(np.float32)
        return track.shown

    def _steadied(self, track: _Track) -> np.ndarray:
        """Measured joints (21,3) [mm], moved to where they agree with the hand's bone lengths."""
        setting = self.config.hand_size
        if track.size is None or track.size_setting != setting:
            lengths_mm = parse_hand_size(setting)
            track.size = HandSize(None if isinstance(lengths_mm, str) else lengths_mm)
            track.size_setting = setting
        joints, scores = track.pose.joints_xyz, track.pose.joint_scores
        track.size.update(joints, scores)
        return steady(joints, scores, track.size.lengths_mm, track.size.deviations_mm)

    @property
    def hand_sizes(self) -> dict[str, HandSize]:
        """Bone lengths in use, {id of a hand: HandSize}; {} while the setting hand_size
        is 'none'.
        """
        return {track.id: track.size for track in self._tracks if track.size is not None}


def detection_score(
    weights: Sequence[float],
    finder_score: npt.ArrayLike,
    hand_score: npt.ArrayLike,
    joint_score: npt.ArrayLike,
) -> np.ndarray:
    """[0,1] that what is found anew is a hand: of the candidate's score, the hand score and the
    mean joint score, each [0,1], numbers or arrays. weights: of the log odds: of the logits of the
    first two, of the third, and a constant (python -m awr_ros train-judge fits them to candidates
    in rendered scenes).
    """
    of_finder, of_hand, of_joints, constant = weights
    score_logit = (
        of_finder * logit(finder_score)
        + of_hand * logit(hand_score)
        + of_joints * np.asarray(joint_score)
        + constant
    )
    return 1 / (1 + np.exp(-score_logit))


def logit(score: npt.ArrayLike) -> np.ndarray:
    """Log odds of scores in [0,1], numbers or arrays."""
    score = np.clip(score, 1e-6, 1 - 1e-6)  # surer than that no score can be
    return np.log(score / (1 - score))


def _palm(pose: HandPose) -> np.ndarray:
    """(3,) float64 [mm]"""
    return pose.centre_xyz


def _other(hypotheses: Hypotheses, pose: HandPose) -> HandPose | None:
    """The reading that is not `pose`, None when there is none."""
    return next((hypothesis for hypothesis in hypotheses.values() if hypothesis is not pose), None)


def _right_logit(hypotheses: Hypotheses) -> float:
    """Log odds that a hand is a right one, from its two readings; 0 when there is but one."""
    if len(hypotheses) < 2:
        return 0.0
    right_logit = hypotheses['right'].handedness_logit - hypotheses['left'].handedness_logit
    if np.isnan(right_logit):
        right_logit = LOGIT_PER_CONFIDENCE * (
            np.nanmean(hypotheses['right'].joint_scores)
            - np.nanmean(hypotheses['left'].joint_scores)
        )
    return float(np.clip(right_logit, -MAX_FRAME_LOGIT, MAX_FRAME_LOGIT))
