"""Gestures from joints: pinch and grasp strength, and one of a few gestures with hysteresis.

All measures are lengths relative to the palm and angles between bones, so the size of the hand and
its distance do not matter; only THUMBS_UP depends on the orientation of the hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from awr_ros.skeleton import MIDDLE_MCP, WRIST

NONE, OPEN, FIST, POINT, PINCH, THUMBS_UP = range(6)
GESTURE_NAMES = ('none', 'open', 'fist', 'point', 'pinch', 'thumbs_up')
UP_IN_IMAGE = (0.0, -1.0, 0.0)  # up in the optical frame of a level camera

_CHAINS = np.array([(0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20)])
THUMB_TIP, INDEX_TIP = 4, 8


@dataclass(frozen=True)
class GestureConfig:
    """Settings of a GestureRecognizer."""

    straight_deg: float = 40.0  # [deg] sum of the bends of a finger, up to which it is straight
    curled_deg: float = 190.0  # [deg] from which on it is curled
    thumb_straight_deg: float = 25.0  # [deg] the same for the thumb's two upper joints
    thumb_curled_deg: float = 85.0  # [deg]
    # distance of thumb and index tip in palm lengths when they touch: the sum of their radii
    pinch_closed: float = 0.18
    pinch_open: float = 0.60  # distance in palm lengths at which pinch strength is 0
    enter: float = 0.05  # minimum margin of a new gesture
    leave: float = -0.10  # margin below which a gesture ends
    hold_s: float = 0.08  # [s] duration of a change before it is reported

    def __post_init__(self) -> None:
        for low, high in (
            ('straight_deg', 'curled_deg'),
            ('thumb_straight_deg', 'thumb_curled_deg'),
            ('pinch_closed', 'pinch_open'),
            ('leave', 'enter'),
        ):
            if not getattr(self, low) < getattr(self, high):
                values = f'{getattr(self, low)} and {getattr(self, high)}'
                raise ValueError(f'{low} must be less than {high}, got {values}')
        if self.hold_s < 0:
            raise ValueError(f'hold_s must be at least 0, got {self.hold_s}')


@dataclass(frozen=True)
class HandShapeFeatures:
    """Features of the hand shape; NaN where joints are NaN."""

    extension: np.ndarray  # (5,) [0,1] thumb to pinky: 0 curled, 1 straight
    pinch: float  # [0,1] 1: thumb and index tip touch
    grasp: float  # [0,1] mean curl of the four fingers
    # [deg] mean bend of the four fingers at the MCP: small in a hook, large in a fist
    knuckles: float
    thumb_gap: float  # [palm lengths] from the thumb tip to the index finger's middle joints
    thumb_up: float  # [-1,1] cosine between the thumb and up


@dataclass(frozen=True)
class Gesture:
    """Gesture of one hand."""

    features: HandShapeFeatures
    gesture: int  # NONE, OPEN, FIST, POINT, PINCH or THUMBS_UP
    held_s: float  # [s] duration so far


def hand_features(
    joints_xyz: np.ndarray,
    config: GestureConfig = GestureConfig(),
    up: Sequence[float] = UP_IN_IMAGE,
) -> HandShapeFeatures:
    """Measure a hand. joints_xyz: (21,3) float [any unit] any frame; up: (3,) unit vector in that
    frame.
    """
    joints = np.asarray(joints_xyz, np.float64)
    if joints.shape != (21, 3):
        raise ValueError(f'joints_xyz must be (21,3), got {joints.shape}')
    bends_each = _bends(joints[_CHAINS])  # (4,3) [deg] MCP, PIP, DIP
    bends = bends_each.sum(-1)
    thumb = _bends(joints[None, 1:5])[0].sum()
    extension = np.concatenate(
        [
            [_falling(thumb, config.thumb_straight_deg, config.thumb_curled_deg)],
            _falling(bends, config.straight_deg, config.curled_deg),
        ]
    )
    palm = np.linalg.norm(joints[MIDDLE_MCP] - joints[WRIST])
    with np.errstate(invalid='ignore', divide='ignore'):
        gap = np.linalg.norm(joints[THUMB_TIP] - joints[INDEX_TIP]) / palm
        thumb_gap = np.linalg.norm(joints[[5, 6, 7]] - joints[THUMB_TIP], axis=-1).min() / palm
        way = joints[THUMB_TIP] - joints[2]
        thumb_up = float(way @ np.asarray(up, np.float64) / np.linalg.norm(way))
    pinch = float(_falling(gap, config.pinch_closed, config.pinch_open))
    knuckles, grasp = float(bends_each[:, 0].mean()), float(1 - extension[1:].mean())
    return HandShapeFeatures(extension, pinch, grasp, knuckles, float(thumb_gap), thumb_up)


def margins(features: HandShapeFeatures) -> np.ndarray:
    """Return the margin of each gesture (6,): the least over its conditions, positive if all hold.
    NONE is 0.

    With NaN features no gesture holds.
    """
    thumb, index, *others = features.extension
    fingers = features.extension[1:]
    fist = min(0.35 - fingers.max(), (features.knuckles - 35) / 60)
    result = np.array(
        [
            0.0,
            min(fingers.min() - 0.7, thumb - 0.4),
            min(fist, 0.6 - min(thumb, features.thumb_gap, features.thumb_up)),
            min(index - 0.65, 0.4 - max(others), 0.9 - features.pinch),
            min(features.pinch - 0.8, index - 0.15),
            min(fist, thumb - 0.5, features.thumb_gap - 0.4, features.thumb_up - 0.6),
        ]
    )
    return np.where(np.isfinite(result), result, -1.0)


class GestureRecognizer:
    """The gesture of one hand through time."""

    def __init__(
        self, config: GestureConfig = GestureConfig(), up: Sequence[float] = UP_IN_IMAGE
    ) -> None:
        self._config, self._up = config, up
        self._gesture = NONE  # as reported
        self._since_s: float | None = None  # [s] its beginning
        # candidate for the next gesture, and its beginning
        self._next, self._next_since_s = NONE, 0.0

    def __call__(self, joints_xyz: np.ndarray, stamp_s: float) -> Gesture:
        """Update with (21,3) joints [any unit, optical frame] of a time [s]. A step back in time
        resets it.
        """
        if self._since_s is None or stamp_s < self._since_s:
            self._gesture, self._since_s, self._next = NONE, stamp_s, NONE
        features = hand_features(joints_xyz, self._config, self._up)
        wanted = self._wanted(margins(features))
        if wanted == self._gesture:
            self._next = wanted
        else:
            if wanted != self._next:
                self._next, self._next_since_s = wanted, stamp_s
            if stamp_s - self._next_since_s >= self._config.hold_s:
                self._gesture, self._since_s = wanted, self._next_since_s
        return Gesture(features, self._gesture, stamp_s - self._since_s)

    def repeat(self, joints_xyz: np.ndarray, stamp_s: float) -> Gesture:
        """Return the last gesture, for a hand that is not seen now; the state does not change."""
        since_s = stamp_s if self._since_s is None else self._since_s
        features = hand_features(joints_xyz, self._config, self._up)
        return Gesture(features, self._gesture, max(0.0, stamp_s - since_s))

    def _wanted(self, margin: np.ndarray) -> int:
        """Return the gesture of the current joints, with hysteresis in favour of the reported
        one.
        """
        best = 1 + int(margin[1:].argmax())
        if self._gesture != NONE and margin[self._gesture] > self._config.leave:
            clearer = margin[best] > max(self._config.enter, margin[self._gesture])
            return best if clearer else self._gesture
        return best if margin[best] > self._config.enter else NONE


class GestureRecognizers:
    """A GestureRecognizer for each tracked hand."""

    def __init__(self, config: GestureConfig = GestureConfig()) -> None:
        self._config = config
        self._by_id: dict[str, GestureRecognizer] = {}

    def update(self, hands: Sequence, stamp_s: float) -> list[Gesture]:
        """Return the Gesture of each awr_ros.tracker.TrackedHand; the state of lost hands is
        deleted.
        """
        known = {
            hand.id: self._by_id.get(hand.id) or GestureRecognizer(self._config) for hand in hands
        }
        self._by_id = known
        return [
            (known[hand.id].repeat if hand.state == 'coasting' else known[hand.id])(
                hand.joints_xyz, stamp_s
            )
            for hand in hands
        ]


def _bends(points: np.ndarray) -> np.ndarray:
    """Return the angles [deg] (...,N-2) between consecutive bones of chains of points (...,N,3)."""
    bones = np.diff(points, axis=-2)
    with np.errstate(invalid='ignore', divide='ignore'):
        bones = bones / np.linalg.norm(bones, axis=-1, keepdims=True)
    cosine = (bones[..., 1:, :] * bones[..., :-1, :]).sum(-1)
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def _falling(value: Any, full: float, none: float) -> np.ndarray:
    """Return 1 up to `full`, 0 from `none` on, linear in between; NaN stays NaN."""
    return 1 - np.clip((value - full) / (none - full), 0, 1)
