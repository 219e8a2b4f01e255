"""Hand tracker: follows known hands from frame to frame, drops lost ones and detects new ones."""

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
# A track ends when the running mean of its detection scores (over about ten frames) falls below
# this share of the score that starts a track.
CREDIT_GAIN, CREDIT_SHARE = 0.1, 0.6
MAX_SPEED_MM_S = 3000.0  # limit of the predicted velocity
MAX_GAP_S = 1.0  # after a longer pause all tracks are dropped
# Most candidates verified per search, to bound the time of a frame; the others wait for the next
# one.
MAX_CANDIDATES_IDLE = 8
MAX_CANDIDATES_TRACKING = 2  # while some hand is tracked
# [0,1] minimum candidate score while some hand is tracked
MIN_CANDIDATE_SCORE_TRACKING = 0.15
# [0,1] minimum hand score of the first pass (not centred, not rotated); below it a candidate is
# dropped
MIN_FIRST_PASS_SCORE = 0.03
# minimum detection score after the second pass, as a share of the one that starts a track
MIN_SECOND_PASS_RATIO = 0.25
# weights of `detection_score` for networks without fitted ones
DEFAULT_DETECTION_WEIGHTS = (0.60, 0.41, 17.0, -11.5)
DEFAULT_FINDER_SCORE = 0.5  # score of candidates from finders without scores
# Handedness: the pose network was trained on right hands. Each hand is evaluated as it is and
# mirrored; the handedness head (networks/handedness.py) compares the two hypotheses, and the logits
# are summed over frames. Without that head, the hypothesis with the higher closeness is likelier.
LOGIT_PER_CONFIDENCE = 80.0  # a lead of 0.02 was right in 91 % of single rendered crops
MAX_FRAME_LOGIT = 2.0  # limit of one frame's contribution
SURE_LOGIT, MAX_LOGIT = 6.0, 10.0
SIDE_CHECK_EVERY = 10  # [frames] between evaluations of both hypotheses once the side is sure


State = Literal['new', 'ok', 'coasting']
Hypotheses = dict[Side, HandPose]  # poses of one hand, by assumed side
Verified = tuple[Candidate, Hypotheses, HandPose, float]  # a verified candidate, see `verify`


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


@dataclass(frozen=True)
class Timings:
    """Duration of the parts of one update [ms]."""

    find_ms: float = 0.0  # finder: candidates of new hands
    inference_ms: float = 0.0  # crops and pose network, for known and new hands
    postprocess_ms: float = 0.0  # everything else, mainly association


@dataclass
class _Track:
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
        return _palm(self.pose)


class HandTracker:
    """Track up to `config.max_hands` hands through a stream of depth frames."""

    def __init__(
        self, estimator: HandPoseEstimator, config: TrackerConfig = TrackerConfig()
    ) -> None:
        self.estimator, self.config = estimator, config
        # Loaded here, so that a bad file fails at once; for other finders on first use, because the
        # setting `finder` may change while the tracker runs.
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
        """Load weights (None: the package's). Arguments and errors as
        HandPoseEstimator.from_pretrained.
        """
        return cls(HandPoseEstimator.from_pretrained(weights, device, num_threads, engine), config)

    @property
    def description(self) -> str:
        """Device and weights in words."""
        return self.estimator.description

    def reset(self) -> None:
        """Drop all tracks. Ids continue to count."""
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
        """Track all hands in one frame.

        depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; stamp_s: time of the frame [s].
        After a step back or a gap of more than a second all tracks are dropped; a frame that is
        late by less is counted in `late` and not evaluated, and the hands of the frame before coast
        (see awr_ros.stamps). centres_xyz: (n,3) [mm] camera optical frame, palm centres from an
        external detector: with finder 'external' they are the only candidates. Return a list of
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
        """Estimate every known hand at its predicted position and update its track."""
        expected = [self._expected(track, stamp_s) for track in self._tracks]
        # Two tracks may match one hand when hands cross: the one with the nearer prediction gets
        # it.
        matches: list[tuple[float, int, _Track, HandPose, Hypotheses, float]] = []
        all_hypotheses = self._predict(depth_mm, intrinsics, [requests for _, requests in expected])
        for track, (palm, _), hypotheses in zip(self._tracks, expected, all_hypotheses):
            track.seen = False
            if hypotheses:
                right_logit = track.right_logit + _right_logit(hypotheses)
                right_logit = min(max(right_logit, -MAX_LOGIT), MAX_LOGIT)
                pose = self._as_side(hypotheses, right_logit, track.pose.side)
                if pose.hand_score >= self.config.lose_threshold:
                    matches.append(
                        (
                            math.dist(_palm(pose), palm),
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
            if all(math.dist(_palm(pose), other) > SAME_HAND_MM for other in taken):
                taken.append(_palm(pose))
                self._accept(track, pose, hypotheses, right_logit, stamp_s)
        self._tracks = [
            t
            for t in self._tracks
            if (t.seen or stamp_s - t.stamp_s <= self.config.coast_s)
            and t.credit >= CREDIT_SHARE * self.config.score_threshold
        ]

    def _expected(self, track: _Track, stamp_s: float) -> tuple[np.ndarray, dict[Side, Request]]:
        """Predict the palm (3,) [mm] of a known hand; return it and {side: Request} to evaluate."""
        moved = track.velocity * (stamp_s - track.stamp_s) if track.seen else np.zeros(3)
        sides: tuple[Side, ...] = (track.pose.side,)
        if self.config.side != 'auto':
            sides = (self.config.side,)
        elif abs(track.right_logit) < SURE_LOGIT or track.frames % SIDE_CHECK_EVERY == 0:
            sides = SIDES
        requests: dict[Side, Request] = {}
        for side in sides:
            # Each hypothesis gets the crop around its own last pose. Centred on the pose of the
            # other one it is at a disadvantage: 1 of 10 left hands that were first evaluated as
            # right hands stayed right.
            other = track.other
            own = (
                other
                if other
                and other.side == side
                and math.dist(_palm(other), track.palm) < SAME_HAND_MM
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
        if pose.side != track.pose.side:  # other joints: restart the filter
            track.smooth = OneEuro()
        # Relative to the last pose of the same hypothesis: the two may lie apart.
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
                1, MAX_SPEED_MM_S / max(math.hypot(*velocity.tolist()), 1e-9)
            )

    def _search(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        stamp_s: float,
        centres_xyz: npt.ArrayLike,
    ) -> None:
        """Detect new hands and start their tracks."""
        start = time.perf_counter()
        candidates = self._candidates(depth_mm, intrinsics, centres_xyz)
        self._finding_s += time.perf_counter() - start
        candidates = [
            candidate
            for candidate in candidates
            if all(
                math.dist(candidate.centre_xyz, track.palm) > 1.5 * SAME_HAND_MM
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
                and all(math.dist(_palm(pose), track.palm) > SAME_HAND_MM for track in self._tracks)
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
        """Evaluate candidates with the pose network and return the hands among them.

        Three passes: at the candidate; centred and rotated by its result, as both sides; and each
        side again at its own result. Candidates that will hardly reach the detection score
        `min_score` are dropped early.

        Return a list of (Candidate, {side: HandPose}, the likelier of these, log odds of a right
        hand), by descending detection score.
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
            if all(math.dist(_palm(pose), other.centre_xyz) > SAME_HAND_MM / 2 for other in wanted):
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
        # Each hypothesis is evaluated at its own result: see _expected.
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
                pose.mean_joint_score,
            )
        )

    def _min_score(self) -> float:
        """Return the detection score that currently starts a track."""
        return (
            max(self.config.score_threshold, self.config.beside_threshold)
            if self._tracks
            else self.config.score_threshold
        )

    def _candidates(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, centres_xyz: npt.ArrayLike
    ) -> list[Candidate]:
        """Find candidates with the configured finder."""
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
        """Estimate all Requests of each {side: Request} in one batch; return {side: HandPose},
        without empty crops.
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
        """Return the hypothesis of the likelier side; `usual` when the difference is small."""
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
        score = pose.hand_score * pose.mean_joint_score
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
        """Return the joints (xyz, uvd) to report, with bone lengths adjusted and smoothed as
        configured.

        Tracking itself uses the measured joints, so the filters add no lag to it.
        """
        if track.seen or not track.shown:  # a coasting hand keeps its last reported joints
            config, xyz = self.config, track.pose.joints_xyz
            if config.hand_size != NONE:
                xyz = self._steadied(track)
            if config.smoothing:
                beta = config.smoothing_beta
                xyz = track.smooth(xyz, track.stamp_s, config.smoothing_min_cutoff_hz, beta)
            track.shown = xyz.astype(np.float32), intrinsics.xyz_to_uvd(xyz).astype(np.float32)
        return track.shown

    def _steadied(self, track: _Track) -> np.ndarray:
        """Adjust measured joints (21,3) [mm] to the bone lengths of the hand."""
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
        """Bone lengths in use, {hand id: HandSize}; {} while the setting hand_size is 'none'."""
        return {track.id: track.size for track in self._tracks if track.size is not None}


def detection_score(
    weights: Sequence[float],
    finder_score: npt.ArrayLike,
    hand_score: npt.ArrayLike,
    joint_score: npt.ArrayLike,
) -> np.ndarray:
    """Return the probability [0,1] that a candidate is a hand.

    Logistic regression on the logit of the candidate's score, the logit of the hand score and the
    mean joint score (each [0,1], numbers or arrays). weights: of these three and a constant (python
    -m awr_ros train-handedness fits them to candidates in rendered scenes).
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
    """Return the log odds of scores in [0,1], numbers or arrays."""
    score = np.minimum(np.maximum(score, 1e-6), 1 - 1e-6)  # finite logits
    return np.log(score / (1 - score))


def _palm(pose: HandPose) -> np.ndarray:
    """Return the palm centre (3,) float64 [mm]."""
    return pose.centre_xyz


def _other(hypotheses: Hypotheses, pose: HandPose) -> HandPose | None:
    """Return the hypothesis that is not `pose`, None when there is none."""
    return next((hypothesis for hypothesis in hypotheses.values() if hypothesis is not pose), None)


def _right_logit(hypotheses: Hypotheses) -> float:
    """Return the log odds of a right hand from both hypotheses; 0 when there is only one."""
    if len(hypotheses) < 2:
        return 0.0
    right_logit = hypotheses['right'].handedness_logit - hypotheses['left'].handedness_logit
    if math.isnan(right_logit):
        right_logit = LOGIT_PER_CONFIDENCE * (
            hypotheses['right'].mean_joint_score - hypotheses['left'].mean_joint_score
        )
    return float(min(max(right_logit, -MAX_FRAME_LOGIT), MAX_FRAME_LOGIT))
