"""Frames in, identified hands out: follow the known hands, verify them, lose them, find new ones."""
import math
import time
from dataclasses import dataclass, field, replace

import numpy as np

from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.finder import find_candidates
from awr_ros.learned_finder import LearnedFinder
from awr_ros.skeleton import SIDES
from awr_ros.smoothing import OneEuro
from awr_ros.tracker_config import TrackerConfig

SAME_HAND_MM = 60.0         # two palms nearer than this are one hand
MAX_SPEED_MM_S = 3000.0     # predictions never go faster
MAX_GAP_S = 1.0             # after a longer pause nothing is followed
# Places that a search tries at most, the next ones with the next search: no frame must be late.
PLACES_ALONE = 8
PLACES_BESIDE = 2           # while some hand is tracked
WORTH_A_LOOK = 0.1          # [0,1] hand score at first sight, not centred nor turned, from which on a place is looked at again
# The network knows right hands only. A hand is read as its true side and as its mirror image, and the judge (judge.py) says
# which reading is likelier; weights without a judge draw higher closeness from the true side. Gathered over frames.
ODDS_PER_CONFIDENCE = 80.0  # a lead of 0.02 was right in 91 % of single rendered crops
ODDS_A_FRAME = 2.0          # no frame says more
SURE_ODDS, MOST_ODDS = 6.0, 10.0
SIDE_CHECK_EVERY = 10       # [frames] between looks at the mirror image once the side is sure


@dataclass(frozen=True)
class TrackedHand:
    """One hand in one frame."""
    id: str                     # stable while tracked
    side: str                   # 'left' or 'right'
    side_score: float           # [0,1] how sure the side is; NaN when fixed by the configuration
    state: str                  # 'new', 'ok', or 'coasting': not seen in this frame, the last pose is repeated
    score: float                # [0,1] hand score
    joints_xyz: np.ndarray      # (21,3) float32 [mm] camera optical frame, smoothed where the configuration says so
    joints_uvd: np.ndarray      # (21,3) float32 [px, px, mm] full image
    joint_scores: np.ndarray    # (21,) float32 [0,1]
    roi: tuple                  # (x, y, width, height) [px] the crop, may reach beyond the image


@dataclass(frozen=True)
class Timings:
    """Where the time of one update went [ms]."""
    find_ms: float = 0.0            # looking for new hands, without the network
    inference_ms: float = 0.0       # crops and network, of known and of new hands
    postprocess_ms: float = 0.0     # everything else: deciding who is who


@dataclass
class _Track:
    id: str
    pose: object                                            # the last HandPose that was believed
    stamp_s: float                                          # when
    right_odds: float                                       # log odds that it is a right hand
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))       # [mm/s] of the palm
    frames: int = 1
    seen: bool = True
    smooth: OneEuro = field(default_factory=OneEuro)
    shown: tuple = ()                                       # joints (xyz, uvd) as last reported, smoothed

    @property
    def palm(self):
        return _palm(self.pose)


class HandTracker:
    """Tracks up to `config.max_hands` hands through a stream of depth frames."""

    def __init__(self, estimator, config=TrackerConfig()):
        self.estimator, self.config = estimator, config
        self._learned = None        # loaded when it is first asked: the parameter is live
        self.timings = Timings()
        self._next_id = 0
        self.reset()

    @classmethod
    def from_pretrained(cls, weights=None, device='auto', config=TrackerConfig(), num_threads=None, engine='auto'):
        """Load weights (None: the ones that come with the package). Arguments and errors as the estimator's."""
        return cls(HandPoseEstimator.from_pretrained(weights, device, num_threads, engine), config)

    @property
    def description(self):
        """Device and weights in words."""
        return self.estimator.description

    def reset(self):
        """Forget all hands. Identifiers go on counting."""
        self._tracks, self._frame, self._searches, self._stamp_s = [], 0, 0, None

    def update(self, depth_mm, intrinsics, stamp_s, centres_xyz=()):
        """Track through one frame.

        depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; stamp_s: time of the frame [s]; a step back or a gap of
        more than a second starts afresh; centres_xyz: (n,3) [mm] camera optical frame, where somebody else sees the middle
        of a palm: with finder 'external' new hands are looked for there and nowhere else. Returns a list of TrackedHand,
        oldest first.
        """
        if self._stamp_s is not None and not 0 <= stamp_s - self._stamp_s <= MAX_GAP_S:
            self.reset()
        self._stamp_s = stamp_s
        self._frame += 1
        start = time.perf_counter()
        self._finding_s = self._estimating_s = 0.0
        self._follow(depth_mm, intrinsics, stamp_s)
        if len(self._tracks) < self.config.max_hands and (
                not self._tracks or self._frame % self.config.search_every == 0):
            self._search(depth_mm, intrinsics, stamp_s, centres_xyz)
        hands = [self._report(track, intrinsics) for track in self._tracks[:self.config.max_hands]]
        rest_s = time.perf_counter() - start - self._finding_s - self._estimating_s
        self.timings = Timings(1e3 * self._finding_s, 1e3 * self._estimating_s, 1e3 * rest_s)
        return hands

    def _follow(self, depth_mm, intrinsics, stamp_s):
        """Look for every known hand where it should be by now."""
        wanted, sides = [], []
        for track in self._tracks:
            wanted.append(track.pose.request(track.palm + track.velocity * (stamp_s - track.stamp_s) if track.seen else None))
            unsure = abs(track.right_odds) < SURE_ODDS or track.frames % SIDE_CHECK_EVERY == 0
            sides.append((self.config.side,) if self.config.side != 'auto' else SIDES if unsure else (track.pose.side,))
        # Two tracks may be drawn to one hand when hands cross: it goes to the one that expected it nearer.
        claims = []
        for track, request, readings in zip(self._tracks, wanted, self._read(depth_mm, intrinsics, wanted, sides)):
            track.seen = False
            if readings:
                odds = float(np.clip(track.right_odds + _right_odds(readings), -MOST_ODDS, MOST_ODDS))
                pose = self._as_side(readings, odds, track.pose.side)
                if pose.hand_score >= self.config.lose_threshold:
                    claims.append((np.linalg.norm(_palm(pose) - request.centre_xyz), len(claims), track, pose, odds))
        taken = []
        for _, _, track, pose, odds in sorted(claims, key=lambda claim: claim[:2]):
            if all(np.linalg.norm(_palm(pose) - other) > SAME_HAND_MM for other in taken):
                taken.append(_palm(pose))
                self._accept(track, pose, odds, stamp_s)
        self._tracks = [t for t in self._tracks if t.seen or stamp_s - t.stamp_s <= self.config.coast_s]

    def _accept(self, track, pose, right_odds, stamp_s):
        if pose.side != track.pose.side:                    # its joints are others now: nothing to glide from
            track.smooth = OneEuro()
        moved, dt = _palm(pose) - track.palm, stamp_s - track.stamp_s
        track.pose, track.right_odds, track.stamp_s, track.seen = pose, right_odds, stamp_s, True
        track.frames += 1
        if dt > 0:
            velocity = moved / dt
            track.velocity = velocity * min(1, MAX_SPEED_MM_S / max(np.linalg.norm(velocity), 1e-9))

    def _search(self, depth_mm, intrinsics, stamp_s, centres_xyz):
        """Verify the finder's candidates by the network; those that pass a second time, centred, turned and from both sides."""
        config = self.config
        start = time.perf_counter()
        candidates = self._candidates(depth_mm, intrinsics, centres_xyz)
        self._finding_s += time.perf_counter() - start
        places = [c for c in candidates
                  if all(np.linalg.norm(c - track.palm) > 1.5 * SAME_HAND_MM for track in self._tracks)]
        at_once = PLACES_BESIDE if self._tracks else PLACES_ALONE
        if len(places) > at_once:
            first = self._searches * at_once % len(places)
            places = (places[first:] + places[:first])[:at_once]
        self._searches += 1
        usual = 'right' if config.side == 'auto' else config.side
        rough = self._estimate(depth_mm, intrinsics, [Request(place, usual) for place in places])
        rough = sorted((p for p in rough if p is not None and p.hand_score >= WORTH_A_LOOK),
                       key=lambda pose: -pose.hand_score)
        wanted = []
        for pose in rough:
            if all(np.linalg.norm(_palm(pose) - other.centre_xyz) > SAME_HAND_MM / 2 for other in wanted):
                wanted.append(pose.request())
        sides = [SIDES if config.side == 'auto' else (usual,)] * len(wanted)
        found = []
        for readings in self._read(depth_mm, intrinsics, wanted, sides):
            if readings:
                odds = _right_odds(readings)
                found.append((self._as_side(readings, odds, 'right' if odds > 0 else 'left' if odds < 0 else usual), odds))
        for pose, odds in sorted(found, key=lambda entry: -entry[0].hand_score):
            least = max(config.score_threshold, config.beside_threshold) if self._tracks else config.score_threshold
            believed = pose.hand_score >= least and np.nanmean(pose.joint_scores) >= config.joint_threshold
            if (believed and len(self._tracks) < config.max_hands
                    and all(np.linalg.norm(_palm(pose) - track.palm) > SAME_HAND_MM for track in self._tracks)):
                self._tracks.append(_Track(str(self._next_id), pose, stamp_s, odds))
                self._next_id += 1

    def _candidates(self, depth_mm, intrinsics, centres_xyz):
        """(n,3) [mm] or a list of (3,)."""
        config = self.config
        if config.finder == 'learned':
            self._learned = self._learned or LearnedFinder()
            found = self._learned.find(depth_mm, intrinsics, config.min_depth_mm, config.max_depth_mm)
            return [candidate.centre_xyz for candidate in found]
        if config.finder == 'external':
            return np.asarray(centres_xyz, np.float64).reshape(-1, 3)
        return find_candidates(depth_mm, intrinsics, config.min_depth_mm, config.max_depth_mm)

    def _read(self, depth_mm, intrinsics, wanted, sides):
        """The poses at each Request as each of its sides, {side: HandPose}, empty where nothing is; one network pass."""
        requests = [replace(request, side=side) for request, its_sides in zip(wanted, sides) for side in its_sides]
        poses = iter(self._estimate(depth_mm, intrinsics, requests))
        return [{side: pose for side in its_sides if (pose := next(poses)) is not None} for its_sides in sides]

    def _estimate(self, depth_mm, intrinsics, requests):
        start = time.perf_counter()
        poses = self.estimator.estimate_batch(depth_mm, intrinsics, requests) if requests else []
        self._estimating_s += time.perf_counter() - start
        return poses

    def _as_side(self, readings, right_odds, usual):
        """The reading of the likelier side; close calls stay with the usual one."""
        if len(readings) == 2 and abs(right_odds) > 1:
            return readings['right' if right_odds > 0 else 'left']
        return readings.get(usual) or next(iter(readings.values()))

    def _report(self, track, intrinsics):
        pose = track.pose
        state = 'coasting' if not track.seen else 'new' if track.frames == 1 else 'ok'
        odds = track.right_odds if pose.side == 'right' else -track.right_odds
        side_score = 1 / (1 + math.exp(-odds)) if self.config.side == 'auto' else math.nan
        joints_xyz, joints_uvd = pose.joints_xyz, pose.joints_uvd
        if self.config.smoothing:
            joints_xyz, joints_uvd = self._smoothed(track, intrinsics)
        return TrackedHand(track.id, pose.side, side_score, state, pose.hand_score, joints_xyz, joints_uvd,
                           pose.joint_scores, pose.roi)

    def _smoothed(self, track, intrinsics):
        """The joints to report; the hand is followed by the measured ones, so smoothing never makes the tracker late."""
        if track.seen or not track.shown:                   # a coasting hand stays where it was last shown
            config = self.config
            xyz = track.smooth(track.pose.joints_xyz, track.stamp_s, config.smoothing_min_cutoff_hz, config.smoothing_beta)
            track.shown = xyz.astype(np.float32), intrinsics.xyz_to_uvd(xyz).astype(np.float32)
        return track.shown


def _palm(pose):
    """(3,) float64 [mm]"""
    return pose.centre_xyz


def _right_odds(readings):
    """Log odds that a hand is a right one, from its two readings; 0 when there is but one."""
    if len(readings) < 2:
        return 0.0
    odds = readings['right'].judgement - readings['left'].judgement
    if np.isnan(odds):
        odds = ODDS_PER_CONFIDENCE * (np.nanmean(readings['right'].joint_scores) - np.nanmean(readings['left'].joint_scores))
    return float(np.clip(odds, -ODDS_A_FRAME, ODDS_A_FRAME))
