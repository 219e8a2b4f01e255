"""Hand tracker: follows known hands from frame to frame, drops lost ones and detects new ones."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from awr_ros.camera import Intrinsics
from awr_ros.derived.hand_size import HandSize
from awr_ros.detector import SAME_HAND_MM, Detection, Finder, HandDetector
from awr_ros.estimator import HandPose, HandPoseEstimator, Request
from awr_ros.finders.palm_detector import MIN_SCORE, Candidate, PalmDetector
from awr_ros.hypotheses import Hypotheses, likelier, other_hypothesis, right_logit
from awr_ros.runtime.select import Device, EngineName
from awr_ros.sightings import SIGHTING_SHARE, Sighting, is_sighted, seen_again
from awr_ros.skeleton import SIDES, Side
from awr_ros.stamps import JUMPED_BACK, LATE, StampOrder
from awr_ros.tracker_config import TrackerConfig
from awr_ros.tracks import MAX_SPEED_MM_S, Track, TrackedHand

__all__ = ('HandTracker', 'Timings', 'TrackedHand', 'TrackerConfig')

# A track ends when its credit falls below this share of the score that starts a track.
CREDIT_SHARE = 0.6
MAX_GAP_S = 1.0  # after a longer pause all tracks are dropped
# Most candidates verified per search, to bound the time of a frame; the others wait for the next
# one.
MAX_CANDIDATES_IDLE = 8
MAX_CANDIDATES_TRACKING = 2  # while some hand is tracked
# [0,1] minimum candidate score while some hand is tracked
MIN_CANDIDATE_SCORE_TRACKING = 0.15
SURE_LOGIT, MAX_LOGIT = 6.0, 10.0  # of the log odds of the side, summed over frames
SIDE_CHECK_EVERY = 10  # [frames] between evaluations of both hypotheses once the side is sure


@dataclass(frozen=True)
class Timings:
    """Duration of the parts of one update [ms]."""

    find_ms: float = 0.0  # finder: candidates of new hands
    inference_ms: float = 0.0  # crops and pose network, for known and new hands
    postprocess_ms: float = 0.0  # everything else: mainly association, and merging of views


@dataclass(frozen=True)
class _Expected:
    """A known hand as it is expected in a frame."""

    palm_xyz: np.ndarray  # (3,) [mm] predicted palm centre
    requests: dict[Side, Request]  # crops to evaluate, by assumed side


@dataclass(frozen=True)
class _Match:
    """A known hand as it was found in a frame."""

    track: Track
    pose: HandPose
    hypotheses: Hypotheses
    right_logit: float  # log odds of a right hand, this frame's included
    distance_mm: float  # of the palm from the predicted one


class HandTracker:
    """Track up to `config.max_hands` hands through a stream of depth frames."""

    def __init__(
        self,
        estimator: HandPoseEstimator,
        config: TrackerConfig = TrackerConfig(),
        *,
        finder: Finder | None = None,
    ) -> None:
        """finder: takes the place of the palm detector of config.finder_weights, which must then be
        empty. Raise FileNotFoundError or ValueError for a palm detector that cannot be read.
        """
        self.estimator = estimator
        self.detector = HandDetector(estimator, finder=finder)
        self._has_own_finder = finder is not None
        # Loaded here, so that a bad file fails at once; for other finders on first use, because the
        # setting `finder` may change while the tracker runs.
        self._load_finder(config, at_once=config.finder == 'learned')
        self._config = config
        self.timings = Timings()
        self._next_id = 0
        self.late = 0  # frames that came after a newer one
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path | None = None,
        *,
        config: TrackerConfig = TrackerConfig(),
        device: Device = 'auto',
        engine: EngineName = 'auto',
        num_threads: int | None = None,
    ) -> 'HandTracker':
        """Load weights (None: the package's). Arguments and errors as
        HandPoseEstimator.from_pretrained.
        """
        estimator = HandPoseEstimator.from_pretrained(
            weights, device=device, engine=engine, num_threads=num_threads
        )
        return cls(estimator, config)

    @property
    def config(self) -> TrackerConfig:
        """Settings, which may be replaced between frames. Other finder_weights are loaded then:
        FileNotFoundError or ValueError where they cannot be read.
        """
        return self._config

    @config.setter
    def config(self, config: TrackerConfig) -> None:
        if config.finder_weights != self._config.finder_weights:
            self._load_finder(config, at_once=config.finder == 'learned')
        self._config = config

    def _load_finder(self, config: TrackerConfig, at_once: bool) -> None:
        """Load the palm detector of a configuration, where there is one or at_once."""
        if self._has_own_finder:
            if config.finder_weights:
                raise ValueError(
                    f"finder_weights is '{config.finder_weights}', but the tracker was made with a "
                    'finder of its own'
                )
        elif at_once or config.finder_weights:
            self.detector.finder = PalmDetector(config.finder_weights)
        else:
            self.detector.finder = None

    @property
    def description(self) -> str:
        """Device and weights in words."""
        return self.estimator.description

    @property
    def hand_sizes(self) -> dict[str, HandSize]:
        """Bone lengths in use, {hand id: HandSize}; {} while the setting hand_size is 'none'."""
        return {track.id: track.size for track in self._tracks if track.size is not None}

    def reset(self) -> None:
        """Drop all tracks. Ids continue to count."""
        self._tracks: list[Track] = []
        self._sightings: list[Sighting] = []
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
        self.detector.reset_times()
        del self._tracks[self.config.max_hands :]  # the parameter is live
        self._follow(depth_mm, intrinsics, stamp_s)
        lost = any(not track.seen for track in self._tracks)
        if len(self._tracks) >= self.config.max_hands and not lost:
            self._sightings = []  # too old once there is a search again
        elif (
            not self._tracks
            or lost
            or any(sighting.wants_another_look for sighting in self._sightings)
            or self._frame % self.config.search_every == 0
        ):
            self._search(depth_mm, intrinsics, stamp_s, centres_xyz)
        hands = self._hands = [track.report(self.config, intrinsics) for track in self._tracks]
        finding_s, estimating_s = self.detector.finding_s, self.detector.estimating_s
        rest_s = time.perf_counter() - start - finding_s - estimating_s
        self.timings = Timings(1e3 * finding_s, 1e3 * estimating_s, 1e3 * rest_s)
        return list(hands)

    def _follow(self, depth_mm: np.ndarray, intrinsics: Intrinsics, stamp_s: float) -> None:
        """Estimate every known hand at its predicted position and update its track."""
        expected = [self._expected(track, stamp_s) for track in self._tracks]
        found = self.detector.predict(
            depth_mm,
            intrinsics,
            [hand.requests for hand in expected],
            views=self.config.views,
        )
        matches: list[_Match] = []
        for track, hand, hypotheses in zip(self._tracks, expected, found):
            track.seen = False
            if hypotheses:
                match = self._match(track, hand, hypotheses)
                if match.pose.hand_score >= self.config.lose_threshold:
                    matches.append(match)
        # Two tracks may match one hand when hands cross: the one with the nearer prediction gets
        # it.
        taken: list[np.ndarray] = []
        for match in sorted(matches, key=lambda match: match.distance_mm):
            palm = match.pose.centre_xyz
            if all(math.dist(palm, other) > SAME_HAND_MM for other in taken):
                taken.append(palm)
                score = self.detector.score(match.track.finder_score, match.pose)
                match.track.accept(match.pose, match.hypotheses, match.right_logit, score, stamp_s)
        self._tracks = [
            t
            for t in self._tracks
            if (t.seen or stamp_s - t.stamp_s <= self.config.coast_s)
            and t.credit >= CREDIT_SHARE * self.config.score_threshold
        ]

    def _match(self, track: Track, expected: _Expected, hypotheses: Hypotheses) -> _Match:
        """Decide which hypothesis a known hand is."""
        logit = min(max(track.right_logit + right_logit(hypotheses), -MAX_LOGIT), MAX_LOGIT)
        pose = likelier(hypotheses, logit, track.pose.side)
        distance_mm = math.dist(pose.centre_xyz, expected.palm_xyz)
        return _Match(track, pose, hypotheses, logit, distance_mm)

    def _expected(self, track: Track, stamp_s: float) -> _Expected:
        """Predict where a known hand is now, and as which sides to evaluate it."""
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
                and math.dist(other.centre_xyz, track.palm) < SAME_HAND_MM
                else track.pose
            )
            requests[side] = replace(own.request(own.centre_xyz + moved), side=side)
        return _Expected(track.palm + moved, requests)

    def _search(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        stamp_s: float,
        centres_xyz: npt.ArrayLike,
    ) -> None:
        """Detect hands that are not followed: lost ones that come back, and new ones, whose tracks
        start.
        """
        candidates = self._in_turn(self._candidates(depth_mm, intrinsics, centres_xyz))
        before, self._sightings = self._sightings, []
        for detection in self.detector.verify(
            depth_mm,
            intrinsics,
            candidates,
            side=self.config.side,
            min_score=SIGHTING_SHARE * self._min_score(),
        ):
            palm = detection.pose.centre_xyz
            if detection.score < SIGHTING_SHARE * self._min_score() or not self._is_apart(
                palm, SAME_HAND_MM, lost=False
            ):
                continue
            lost = self._lost_track(detection.pose, stamp_s)
            if (
                lost is not None
                and detection.score >= self.config.score_threshold
                and detection.pose.hand_score >= self.config.lose_threshold
            ):
                self._regain(lost, detection, stamp_s)
            elif len(self._tracks) < self.config.max_hands and self._is_apart(
                palm, SAME_HAND_MM, lost=True
            ):
                seen = seen_again(detection, before)
                if seen.is_sure(self._min_score()):
                    self._start(self._surer(depth_mm, intrinsics, detection), stamp_s)
                else:
                    self._sightings.append(seen)

    def _candidates(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, centres_xyz: npt.ArrayLike
    ) -> list[Candidate]:
        """Find candidates away from the hands that are seen in this frame."""
        if self.config.finder == 'learned' and self.detector.finder is None:
            self._load_finder(self.config, at_once=True)
        min_score = MIN_CANDIDATE_SCORE_TRACKING if self._tracks else MIN_SCORE
        candidates = self.detector.candidates(
            depth_mm, intrinsics, self.config, centres_xyz=centres_xyz, min_score=min_score
        )
        return [
            candidate
            for candidate in candidates
            if self._is_apart(candidate.centre_xyz, 1.5 * SAME_HAND_MM, lost=False)
        ]

    def _in_turn(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates to verify now: of too many those sighted before and a few others,
        with the next search others.
        """
        at_once = MAX_CANDIDATES_TRACKING if self._tracks else MAX_CANDIDATES_IDLE
        again = [each for each in candidates if is_sighted(each, self._sightings)][:at_once]
        others = [each for each in candidates if not is_sighted(each, self._sightings)]
        left = at_once - len(again)
        if len(others) > left:
            first = self._searches * left % len(others)
            others = (others[first:] + others[:first])[:left]
        self._searches += 1
        return again + others

    def _surer(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, detection: Detection
    ) -> Detection:
        """Return what `HandDetector.surer` makes of a new hand, unless that is another hand."""
        surer = self.detector.surer(depth_mm, intrinsics, detection)
        palm = surer.pose.centre_xyz
        same = math.dist(palm, detection.pose.centre_xyz) <= SAME_HAND_MM
        return surer if same and self._is_apart(palm, SAME_HAND_MM, lost=True) else detection

    def _start(self, detection: Detection, stamp_s: float) -> None:
        """Start the track of a new hand."""
        self._tracks.append(
            Track(
                id=str(self._next_id),
                pose=detection.pose,
                other=other_hypothesis(detection.hypotheses, detection.pose),
                stamp_s=stamp_s,
                right_logit=detection.right_logit,
                finder_score=detection.candidate.score,
                credit=detection.score,
            )
        )
        self._next_id += 1

    def _lost_track(self, pose: HandPose, stamp_s: float) -> Track | None:
        """Return the nearest coasting track that this hand may be: at the same place, or of the
        same side and no farther than a hand moves meanwhile.
        """
        lost = [
            track
            for track in self._tracks
            if not track.seen
            and math.dist(pose.centre_xyz, track.palm)
            <= SAME_HAND_MM
            + (pose.side == track.pose.side) * MAX_SPEED_MM_S * (stamp_s - track.stamp_s)
        ]
        return min(lost, key=lambda track: math.dist(pose.centre_xyz, track.palm), default=None)

    def _regain(self, track: Track, detection: Detection, stamp_s: float) -> None:
        """Go on with a lost hand where it was detected again."""
        logit = min(max(track.right_logit + detection.right_logit, -MAX_LOGIT), MAX_LOGIT)
        track.finder_score = detection.candidate.score
        track.accept(detection.pose, detection.hypotheses, logit, detection.score, stamp_s)

    def _is_apart(self, palm_xyz: np.ndarray, distance_mm: float, *, lost: bool) -> bool:
        """Whether a palm (3,) [mm] is farther than this from every hand that is seen in this frame,
        and with `lost` also from where hands are coasting.
        """
        return all(
            math.dist(palm_xyz, track.palm) > distance_mm
            for track in self._tracks
            if track.seen or lost
        )

    def _min_score(self) -> float:
        """Return the detection score that currently starts a track."""
        return (
            max(self.config.score_threshold, self.config.beside_threshold)
            if self._tracks
            else self.config.score_threshold
        )
