"""Hand detector: candidates of a finder, verified by the pose network."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from awr_ros.camera import Intrinsics
from awr_ros.estimator import HandPose, HandPoseEstimator, Request
from awr_ros.finders.geometric import find_candidates
from awr_ros.finders.palm_detector import MIN_SCORE, Candidate
from awr_ros.hypotheses import Hypotheses, likelier, likelier_side, right_logit
from awr_ros.skeleton import SIDES, Side
from awr_ros.tracker_config import TrackerConfig
from awr_ros.views import merged, rotated

SAME_HAND_MM = 60.0  # two palms nearer than this are one hand
# [0,1] minimum hand score of the first pass (not centred, not rotated); below it a candidate is
# dropped
MIN_FIRST_PASS_SCORE = 0.03
# minimum detection score after the second pass, as a share of the one that starts a track
MIN_SECOND_PASS_RATIO = 0.25
# A new hand with a mean joint score below the first is estimated from several starts, too; that
# pose is taken if its mean joint score is higher by the second.
POOR_JOINT_SCORE, CLEARLY_HIGHER = 0.6, 0.05
# weights of `detection_score` for networks without fitted ones
DEFAULT_DETECTION_WEIGHTS = (0.60, 0.41, 17.0, -11.5)
DEFAULT_FINDER_SCORE = 0.5  # score of candidates from finders without scores


class Finder(Protocol):
    """Source of hand candidates, awr_ros.finders.palm_detector.PalmDetector or your own."""

    def find(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        min_depth_mm: float,
        max_depth_mm: float,
        min_score: float,
    ) -> list[Candidate]:
        """Return the candidates between two depths whose score [0,1] is at least min_score, by
        descending score. depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid.
        """


@dataclass(frozen=True)
class Detection:
    """A hand that the pose network found at a candidate."""

    candidate: Candidate
    hypotheses: Hypotheses  # of the last pass
    pose: HandPose  # the likelier hypothesis
    right_logit: float  # log odds that it is a right hand
    score: float  # [0,1] see `detection_score`


class HandDetector:
    """Detector of hands in depth frames: a finder proposes candidates, up to three passes of the
    pose network verify them.
    """

    def __init__(self, estimator: HandPoseEstimator, *, finder: Finder | None = None) -> None:
        """finder: used where the setting `finder` is 'learned'."""
        self.estimator, self.finder = estimator, finder
        # Durations since `reset_times` [s]: of the finder, and of crops and pose network
        self.finding_s = self.estimating_s = 0.0
        self._weights = estimator.config.detection_weights or DEFAULT_DETECTION_WEIGHTS

    def reset_times(self) -> None:
        """Set finding_s and estimating_s to 0."""
        self.finding_s = self.estimating_s = 0.0

    def candidates(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        config: TrackerConfig,
        *,
        centres_xyz: npt.ArrayLike = (),
        min_score: float = MIN_SCORE,
    ) -> list[Candidate]:
        """Find candidates with the configured finder.

        centres_xyz: (n,3) [mm] camera optical frame, the candidates of finder 'external';
        min_score: [0,1] of candidates of finder 'learned'. Raise ValueError where that is missing.
        """
        start = time.perf_counter()
        depths = config.min_depth_mm, config.max_depth_mm
        if config.finder == 'learned':
            if self.finder is None:
                raise ValueError("the setting finder is 'learned', but the detector has no finder")
            found = self.finder.find(depth_mm, intrinsics, *depths, min_score)
        else:
            centres = (
                np.asarray(centres_xyz, np.float64).reshape(-1, 3)
                if config.finder == 'external'
                else find_candidates(depth_mm, intrinsics, *depths)
            )
            found = [Candidate(centre, DEFAULT_FINDER_SCORE) for centre in centres]
        self.finding_s += time.perf_counter() - start
        return found

    def verify(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        candidates: Sequence[Candidate],
        *,
        side: Side | Literal['auto'] = 'auto',
        min_score: float = 0.0,
    ) -> list[Detection]:
        """Evaluate candidates with the pose network and return the hands among them.

        Three passes: at the candidate; centred and rotated by its result, as both sides or as the
        given one; and each side again at its own result. Candidates that will hardly reach the
        detection score `min_score` are dropped early. Return them by descending detection score.
        """
        usual: Side = 'right' if side == 'auto' else side
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
                math.dist(pose.centre_xyz, other.centre_xyz) > SAME_HAND_MM / 2 for other in wanted
            ):
                kept.append(candidate)
                wanted.append(pose.request())
        sides: tuple[Side, ...] = SIDES if side == 'auto' else (side,)
        first_pass = self.predict(
            depth_mm,
            intrinsics,
            [{side: replace(request, side=side) for side in sides} for request in wanted],
        )
        likely = [
            (candidate, hypotheses)
            for candidate, hypotheses in zip(kept, first_pass)
            if any(
                self.score(candidate.score, pose) >= MIN_SECOND_PASS_RATIO * min_score
                for pose in hypotheses.values()
            )
        ]
        # Each hypothesis is evaluated at its own result: see tracker._expected.
        second_pass = self.predict(
            depth_mm,
            intrinsics,
            [{side: pose.request() for side, pose in each.items()} for _, each in likely],
        )
        found = [
            self._detection(candidate, hypotheses, usual)
            for (candidate, _), hypotheses in zip(likely, second_pass)
            if hypotheses
        ]
        return sorted(found, key=lambda detection: -detection.score)

    def surer(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, detection: Detection
    ) -> Detection:
        """Return the detection of a new hand, with another pose where its own is poor and several
        starts around the candidate lead to a surer one. depth_mm: (H,W) [mm], 0 or NaN invalid.

        A track goes on from its last pose, so fingers taken for one another would stay so.
        """
        pose = detection.pose
        if pose.mean_joint_score >= POOR_JOINT_SCORE:
            return detection
        start = time.perf_counter()
        best = self.estimator.estimate(
            depth_mm, intrinsics, detection.candidate.centre_xyz, pose.side
        )
        self.estimating_s += time.perf_counter() - start
        if best is None or best.mean_joint_score < pose.mean_joint_score + CLEARLY_HIGHER:
            return detection
        return replace(
            detection,
            pose=best,
            hypotheses={**detection.hypotheses, pose.side: best},
            score=self.score(detection.candidate.score, best),
        )

    def predict(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        wanted: Sequence[Mapping[Side, Request]],
        *,
        views: int = 1,
    ) -> list[Hypotheses]:
        """Estimate all Requests of each {side: Request} in one batch; return {side: HandPose},
        without empty crops. views: crops for each Request, whose poses are merged (awr_ros.views).
        """
        requests = [request for of_hand in wanted for request in of_hand.values()]
        if not self.estimator.config.uses_roll:
            views = 1  # they would all be the same crop
        if views > 1:
            requests = [view for request in requests for view in rotated(request, views)]
        found = self._estimate(depth_mm, intrinsics, requests)
        if views > 1:
            found = [merged(found[i : i + views], intrinsics) for i in range(0, len(found), views)]
        poses = iter(found)
        return [
            {side: pose for side in of_hand if (pose := next(poses)) is not None}
            for of_hand in wanted
        ]

    def score(self, finder_score: float, pose: HandPose) -> float:
        """Return the detection score [0,1] of a pose, found at a candidate of this score."""
        scores = finder_score, pose.hand_score, pose.mean_joint_score
        return float(detection_score(self._weights, *scores))

    def _detection(self, candidate: Candidate, hypotheses: Hypotheses, usual: Side) -> Detection:
        logit = right_logit(hypotheses)
        pose = likelier(hypotheses, logit, likelier_side(logit, usual))
        return Detection(candidate, hypotheses, pose, logit, self.score(candidate.score, pose))

    def _estimate(
        self, depth_mm: np.ndarray, intrinsics: Intrinsics, requests: Sequence[Request]
    ) -> list[HandPose | None]:
        start = time.perf_counter()
        poses = self.estimator.estimate_batch(depth_mm, intrinsics, requests) if requests else []
        self.estimating_s += time.perf_counter() - start
        return poses


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
