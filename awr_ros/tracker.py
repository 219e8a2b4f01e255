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
CANDIDATES_BESIDE = 3       # while some hand is tracked a search tries no more places, so that its frame is not late
# The network knows right hands only. Read as its true side, a hand draws higher closeness from it than as its mirror image;
# the difference, gathered over frames as log odds, tells the side.
ODDS_PER_CONFIDENCE = 80.0  # a lead of 0.02 was right in 91 % of single rendered crops
ODDS_A_FRAME = 2.0          # no frame says more
SURE_ODDS, MOST_ODDS = 6.0, 10.0
SIDE_CHECK_EVERY = 10       # [frames] between looks at the mirror image once the side is sure


@dataclass(frozen=True)
class TrackerConfig:
    """How hands are found, followed and given up."""
    max_hands: int = 2                  # at most this many at once
    side: str = 'auto'                  # 'auto', or 'left' or 'right' for all hands
    finder: str = 'nearest'             # how new hands are found
    score_threshold: float = 0.6        # [0,1] hand score that starts a track
    joint_threshold: float = 0.7        # [0,1] mean joint score that starts a track: low on faces and other things
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
        if not 0 <= self.joint_threshold <= 1:
            raise ValueError(f'joint_threshold must be in [0,1], got {self.joint_threshold}')
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
    right_odds: float                                       # log odds that it is a right hand
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))       # [mm/s] of the palm
    frames: int = 1
    seen: bool = True

    @property
    def palm(self):
        return _palm(self.pose)


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
        places, sides = [], []
        for track in self._tracks:
            places.append(track.palm + track.velocity * (stamp_s - track.stamp_s) if track.seen else track.palm)
            unsure = abs(track.right_odds) < SURE_ODDS or track.frames % SIDE_CHECK_EVERY == 0
            sides.append(SIDES if self.config.side == 'auto' and unsure else (track.pose.side,))
        # Two tracks may be drawn to one hand when hands cross: it goes to the one that expected it nearer.
        claims = []
        for track, place, readings in zip(self._tracks, places, self._read(depth_mm, intrinsics, places, sides)):
            track.seen = False
            if readings:
                track.right_odds = float(np.clip(track.right_odds + _right_odds(readings), -MOST_ODDS, MOST_ODDS))
                pose = self._as_side(readings, track.right_odds, track.pose.side)
                if pose.hand_score >= self.config.lose_threshold:
                    claims.append((np.linalg.norm(_palm(pose) - place), len(claims), track, pose))
        taken = []
        for _, _, track, pose in sorted(claims, key=lambda claim: claim[:2]):
            if all(np.linalg.norm(_palm(pose) - other) > SAME_HAND_MM for other in taken):
                taken.append(_palm(pose))
                self._accept(track, pose, stamp_s)
        self._tracks = [t for t in self._tracks if t.seen or stamp_s - t.stamp_s <= self.config.coast_s]

    def _accept(self, track, pose, stamp_s):
        moved, dt = _palm(pose) - track.palm, stamp_s - track.stamp_s
        track.pose, track.stamp_s, track.seen = pose, stamp_s, True
        track.frames += 1
        if dt > 0:
            velocity = moved / dt
            track.velocity = velocity * min(1, MAX_SPEED_MM_S / max(np.linalg.norm(velocity), 1e-9))

    def _search(self, depth_mm, intrinsics, stamp_s):
        """Verify the finder's candidates by the network; those that pass a second time, now centred and from both sides."""
        config = self.config
        places = [c for c in find_candidates(depth_mm, intrinsics, config.min_depth_mm, config.max_depth_mm)
                  if all(np.linalg.norm(c - track.palm) > 1.5 * SAME_HAND_MM for track in self._tracks)]
        places = places[:CANDIDATES_BESIDE] if self._tracks else places
        first = 'right' if config.side == 'auto' else config.side
        rough = self.estimator.estimate_batch(depth_mm, intrinsics, [Request(c, first) for c in places]) if places else []
        rough = sorted((p for p in rough if p is not None and p.hand_score >= config.lose_threshold),
                       key=lambda pose: -pose.hand_score)
        places = []
        for pose in rough:
            if all(np.linalg.norm(_palm(pose) - place) > SAME_HAND_MM / 2 for place in places):
                places.append(_palm(pose))
        sides = [SIDES if config.side == 'auto' else (first,)] * len(places)
        found = []
        for readings in self._read(depth_mm, intrinsics, places, sides):
            if readings:
                odds = _right_odds(readings)
                found.append((self._as_side(readings, odds, first), odds))
        for pose, odds in sorted(found, key=lambda entry: -entry[0].hand_score):
            believed = pose.hand_score >= config.score_threshold and pose.joint_scores.mean() >= config.joint_threshold
            if (believed and len(self._tracks) < config.max_hands
                    and all(np.linalg.norm(_palm(pose) - track.palm) > SAME_HAND_MM for track in self._tracks)):
                self._tracks.append(_Track(str(self._next_id), pose, stamp_s, odds))
                self._next_id += 1

    def _read(self, depth_mm, intrinsics, places, sides):
        """The poses at each place [mm] as each of its sides, {side: HandPose}, empty where nothing is; one network pass."""
        requests = [Request(place, side) for place, its_sides in zip(places, sides) for side in its_sides]
        poses = iter(self.estimator.estimate_batch(depth_mm, intrinsics, requests) if requests else [])
        return [{side: pose for side in its_sides if (pose := next(poses)) is not None} for its_sides in sides]

    def _as_side(self, readings, right_odds, usual):
        """The reading of the likelier side; close calls stay with the usual one."""
        if len(readings) == 2 and abs(right_odds) > 1:
            return readings['right' if right_odds > 0 else 'left']
        return readings.get(usual) or next(iter(readings.values()))

    def _report(self, track):
        pose = track.pose
        state = 'coasting' if not track.seen else 'new' if track.frames == 1 else 'ok'
        odds = track.right_odds if pose.side == 'right' else -track.right_odds
        side_score = 1 / (1 + math.exp(-odds)) if self.config.side == 'auto' else math.nan
        return TrackedHand(track.id, pose.side, side_score, state, pose.hand_score, pose.joints_xyz, pose.joints_uvd,
                           pose.joint_scores, pose.roi)


def _palm(pose):
    """(3,) float64 [mm]"""
    return palm_centre(pose.joints_xyz.astype(np.float64))


def _right_odds(readings):
    """Log odds that a hand is a right one, from its two readings; 0 when there is but one."""
    if len(readings) < 2:
        return 0.0
    lead = np.mean(readings['right'].joint_scores) - np.mean(readings['left'].joint_scores)
    return float(np.clip(ODDS_PER_CONFIDENCE * lead, -ODDS_A_FRAME, ODDS_A_FRAME))
