"""Frames in, identified hands out: follow the known hands, verify them, lose them, find new ones."""
import math
import time
from dataclasses import dataclass, field

import numpy as np

from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.finder import find_candidates
from awr_ros.skeleton import SIDES, palm_centre

SAME_HAND_MM = 60.0         # two palms nearer than this are one hand
MAX_SPEED_MM_S = 3000.0     # predictions never go faster
MAX_GAP_S = 1.0             # after a longer pause nothing is followed


@dataclass(frozen=True)
class TrackerConfig:
    """How hands are found, followed and given up."""
    max_hands: int = 2                  # at most this many at once
    side: str = 'auto'                  # 'auto', or 'left' or 'right' for all hands
    finder: str = 'nearest'             # how new hands are found
    score_threshold: float = 0.6        # [0,1] hand score that starts a track
    lose_threshold: float = 0.3         # [0,1] hand score under which a hand counts as not seen
    coast_s: float = 0.2                # [s] a hand not seen keeps its last pose for so long
    min_depth_mm: float = 150.0         # [mm] hands are looked for between these depths
    max_depth_mm: float = 1500.0        # [mm]
    search_every: int = 5               # [frames] between searches while some hand, but not max_hands, is tracked

    def __post_init__(self):
        if self.max_hands < 1:
            raise ValueError(f'max_hands must be at least 1, got {self.max_hands}')
        if self.side not in ('auto', *SIDES):
            raise ValueError(f"side must be 'auto', 'left' or 'right', got {self.side!r}")
        if self.finder != 'nearest':
            raise ValueError(f"finder must be 'nearest', got {self.finder!r}")
        if not 0 <= self.lose_threshold <= self.score_threshold <= 1:
            raise ValueError('0 <= lose_threshold <= score_threshold <= 1 must hold, got '
                             f'{self.lose_threshold} and {self.score_threshold}')
        if not 0 < self.min_depth_mm < self.max_depth_mm:
            raise ValueError(f'0 < min_depth_mm < max_depth_mm must hold, got {self.min_depth_mm} and {self.max_depth_mm}')
        if self.coast_s < 0 or self.search_every < 1:
            raise ValueError(f'coast_s must be >= 0 and search_every >= 1, got {self.coast_s} and {self.search_every}')


@dataclass(frozen=True)
class TrackedHand:
    """One hand in one frame."""
    id: str                     # stable while tracked
    side: str                   # 'left' or 'right'
    side_score: float           # [0,1] how sure the side is; NaN when fixed by the configuration
    state: str                  # 'new', 'ok', or 'coasting': not seen in this frame, the last pose is repeated
    score: float                # [0,1] hand score
    joints_xyz: np.ndarray      # (21,3) float32 [mm] camera optical frame
    joints_uvd: np.ndarray      # (21,3) float32 [px, px, mm] full image
    joint_scores: np.ndarray    # (21,) float32 [0,1]
    roi: tuple                  # (x, y, width, height) [px] the crop, may reach beyond the image


@dataclass(frozen=True)
class Timings:
    """Where the time of one update went [ms]."""
    find_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0


@dataclass
class _Track:
    id: str
    pose: object                                            # the last HandPose that was believed
    stamp_s: float                                          # when
    side_evidence: float                                    # log odds that the side is right
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))       # [mm/s] of the palm
    frames: int = 1
    seen: bool = True

    @property
    def palm(self):
        return palm_centre(self.pose.joints_xyz.astype(np.float64))


class HandTracker:
    """Tracks up to `config.max_hands` hands through a stream of depth frames."""

    def __init__(self, estimator, config=TrackerConfig()):
        self.estimator, self.config = estimator, config
        self.timings = Timings()
        self._next_id = 0
        self.reset()

    @classmethod
    def from_pretrained(cls, weights=None, device='auto', config=TrackerConfig(), num_threads=None):
        """Load weights (None: the ones that come with the package). Arguments and errors as the estimator's."""
        return cls(HandPoseEstimator.from_pretrained(weights, device, num_threads), config)

    @property
    def description(self):
        """Device and weights in words."""
        return self.estimator.description

    def reset(self):
        """Forget all hands. Identifiers go on counting."""
        self._tracks, self._frame, self._stamp_s = [], 0, None

    def update(self, depth_mm, intrinsics, stamp_s):
        """Track through one frame.

        depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; stamp_s: time of the frame [s]; a step back or a gap of
        more than a second starts afresh. Returns a list of TrackedHand, oldest first.
        """
        if self._stamp_s is not None and not 0 <= stamp_s - self._stamp_s <= MAX_GAP_S:
            self.reset()
        self._stamp_s = stamp_s
        self._frame += 1
        start = time.perf_counter()
        self._follow(depth_mm, intrinsics, stamp_s)
        followed = time.perf_counter()
        searching = len(self._tracks) < self.config.max_hands and (
            not self._tracks or self._frame % self.config.search_every == 0)
        if searching:
            self._search(depth_mm, intrinsics, stamp_s)
        searched = time.perf_counter()
        hands = [self._report(track) for track in self._tracks[:self.config.max_hands]]
        done = time.perf_counter()
        self.timings = Timings(1e3 * (searched - followed), 1e3 * (followed - start), 1e3 * (done - searched))
        return hands

    def _follow(self, depth_mm, intrinsics, stamp_s):
        """Look for every known hand where it should be by now."""
        requests = []
        for track in self._tracks:
            ahead = track.palm + track.velocity * (stamp_s - track.stamp_s)
            requests.append(Request(ahead if track.seen else track.palm, track.pose.side))
        poses = self.estimator.estimate_batch(depth_mm, intrinsics, requests) if requests else []
        # Two tracks may be drawn to one hand when hands cross: it goes to the one that expected it nearer.
        claims = []
        for track, request, pose in zip(self._tracks, requests, poses):
            track.seen = False
            if pose is not None and pose.hand_score >= self.config.lose_threshold:
                palm = palm_centre(pose.joints_xyz.astype(np.float64))
                claims.append((np.linalg.norm(palm - request.centre_xyz), len(claims), palm, track, pose))
        taken = []
        for _, _, palm, track, pose in sorted(claims, key=lambda claim: claim[:2]):
            if all(np.linalg.norm(palm - other) > SAME_HAND_MM for other in taken):
                taken.append(palm)
                track.seen = True
                self._accept(track, pose, stamp_s)
        self._tracks = [t for t in self._tracks if t.seen or stamp_s - t.stamp_s <= self.config.coast_s]

    def _accept(self, track, pose, stamp_s):
        palm_before, dt = track.palm, stamp_s - track.stamp_s
        track.pose, track.stamp_s = pose, stamp_s
        track.frames += 1
        if dt > 0:
            velocity = (track.palm - palm_before) / dt
            speed = np.linalg.norm(velocity)
            track.velocity = velocity * min(1, MAX_SPEED_MM_S / speed) if speed > 0 else velocity
        if self.config.side == 'auto':
            track.side_evidence = float(np.clip(0.9 * track.side_evidence + _logit(pose.side_score), -8, 8))
            if track.side_evidence < -1:                    # it has looked like the other side for a while
                other = SIDES[1 - SIDES.index(pose.side)]
                track.pose = _with_side(pose, other)
                track.side_evidence = -track.side_evidence

    def _search(self, depth_mm, intrinsics, stamp_s):
        """Verify the finder's candidates by the network, the second time centred and with the side it saw."""
        config = self.config
        centres = [c for c in find_candidates(depth_mm, intrinsics, config.min_depth_mm, config.max_depth_mm)
                   if all(np.linalg.norm(c - track.palm) > 1.5 * SAME_HAND_MM for track in self._tracks)]
        if not centres:
            return
        first = 'right' if config.side == 'auto' else config.side
        rough = [p for p in self.estimator.estimate_batch(depth_mm, intrinsics, [Request(c, first) for c in centres])
                 if p is not None and p.hand_score >= config.lose_threshold]
        rough.sort(key=lambda pose: -pose.hand_score)
        requests = []
        for pose in rough:
            palm = palm_centre(pose.joints_xyz.astype(np.float64))
            if all(np.linalg.norm(palm - r.centre_xyz) > SAME_HAND_MM / 2 for r in requests):
                side = first if config.side != 'auto' or pose.side_score >= 0.5 else SIDES[1 - SIDES.index(first)]
                requests.append(Request(palm, side))
        poses = self.estimator.estimate_batch(depth_mm, intrinsics, requests) if requests else []
        poses = sorted((p for p in poses if p is not None and p.hand_score >= config.score_threshold),
                       key=lambda pose: -pose.hand_score)
        for pose in poses:
            palm = palm_centre(pose.joints_xyz.astype(np.float64))
            if len(self._tracks) < config.max_hands and all(
                    np.linalg.norm(palm - track.palm) > SAME_HAND_MM for track in self._tracks):
                self._tracks.append(_Track(str(self._next_id), pose, stamp_s, max(_logit(pose.side_score), 0.0)))
                self._next_id += 1

    def _report(self, track):
        pose = track.pose
        state = 'coasting' if not track.seen else 'new' if track.frames == 1 else 'ok'
        side_score = 1 / (1 + math.exp(-track.side_evidence)) if self.config.side == 'auto' else math.nan
        return TrackedHand(track.id, pose.side, side_score, state, pose.hand_score, pose.joints_xyz, pose.joints_uvd,
                           pose.joint_scores, pose.roi)


def _logit(p):
    """Log odds, cut so that one frame alone decides little."""
    return float(np.clip(math.log(max(p, 1e-6) / max(1 - p, 1e-6)), -2, 2))


def _with_side(pose, side):
    """The same pose filed under the other side; the next frame is then read as that side."""
    return type(pose)(pose.joints_xyz, pose.joints_uvd, pose.joint_scores, pose.hand_score, 1 - pose.side_score, side,
                      pose.foreground, pose.roi)
