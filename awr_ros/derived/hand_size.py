"""Bone lengths of a tracked hand, and adjustment of joints to them.

A person's bones do not change their length, the joints that a network measures frame by frame do.
`HandSize` estimates the lengths as running medians over confident frames; `steady` then moves the
joints of one frame to the best compromise between lengths and measurement, in the same frame.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from awr_ros.derived.joint_scores import deviation_mm
from awr_ros.skeleton import BONES, NUM_JOINTS

NONE, AUTO = 'none', 'auto'  # values of the setting: lengths not used, or estimated
NUM_BONES = len(BONES)
STARTS, ENDS = (list(column) for column in zip(*BONES))
LIMITS_MM = 5.0, 150.0  # range of a bone length
CONFIDENT = 0.8  # [0,1] minimum joint score of both ends of a measured bone
MEMORY = 256  # [frames] length of the running median
MIN_FRAMES = 15  # measurements of a bone before its length is used
EVERY = 4  # [frames] distance of the frames in the median: consecutive ones are correlated
RAY_RATIO = 1.5  # [1] ratio of the error along the optical axis to that across it
LENGTH_MM = 1.5  # [mm] least error of a length
ITERATIONS = 2  # Gauss-Newton steps; more change the joints by less than 0.05 mm


def parse_hand_size(text: str) -> str | tuple[float, ...]:
    """Parse the setting `hand_size`: NONE, AUTO, or 20 lengths [m], comma-separated.

    Return NONE, AUTO or the lengths in [mm]. Raise ValueError with what was expected.
    """
    if text in (NONE, AUTO):
        return text
    try:
        return tuple(checked_lengths([1000 * float(number) for number in text.split(',')]).tolist())
    except ValueError as error:
        raise ValueError(
            f"hand_size is '{text}', expected {NONE}, {AUTO} or {NUM_BONES} bone lengths of "
            f'{LIMITS_MM[0] / 1000:g} to {LIMITS_MM[1] / 1000:g} m, comma-separated'
        ) from error


def bone_lengths(joints_xyz: np.ndarray) -> np.ndarray:
    """Return the lengths (...,20) of the bones of joints (...,21,3), same unit, in the order of
    BONES.
    """
    joints = np.asarray(joints_xyz, np.float64)
    return np.linalg.norm(joints[..., ENDS, :] - joints[..., STARTS, :], axis=-1)


def checked_lengths(lengths_mm: Sequence[float]) -> np.ndarray:
    """Return bone lengths as (20,) float64 [mm]. Raise ValueError for impossible ones."""
    lengths = np.asarray(lengths_mm, np.float64)
    if lengths.shape != (NUM_BONES,):
        raise ValueError(f'bone lengths must be {NUM_BONES} numbers [mm], got {lengths.size}')
    low, high = LIMITS_MM
    if not ((lengths >= low) & (lengths <= high)).all():
        raise ValueError(f'bone lengths must be {low:g} to {high:g} mm, got {lengths.tolist()}')
    return lengths


class HandSize:
    """The bone lengths of one hand: given, or estimated."""

    def __init__(self, lengths_mm: Sequence[float] | None = None) -> None:
        """lengths_mm: (20,) known lengths, None: to be estimated. Raise ValueError, see
        `checked_lengths`.
        """
        self._given = None if lengths_mm is None else checked_lengths(lengths_mm)
        self._samples = np.full((MEMORY, NUM_BONES), np.nan)  # ring [mm]
        self._counts = np.zeros(NUM_BONES, int)
        self._waiting = np.zeros(NUM_BONES, int)
        self.lengths_mm = np.full(NUM_BONES, np.nan) if self._given is None else self._given
        self.deviations_mm = np.full(NUM_BONES, math.nan if self._given is None else LENGTH_MM)

    @property
    def given(self) -> bool:
        """Whether the lengths were given."""
        return self._given is not None

    @property
    def frames(self) -> np.ndarray:
        """Number of measurements (20,) of each bone."""
        return np.minimum(self._counts, MEMORY)

    def update(self, joints_xyz: np.ndarray, joint_scores: np.ndarray) -> None:
        """Add the joints (21,3) [mm] of a frame with their scores (21,) [0,1]."""
        if self.given:
            return
        scores = np.asarray(joint_scores, np.float64)
        self._waiting -= 1
        lengths = bone_lengths(joints_xyz)
        sure = np.minimum(scores[ENDS], scores[STARTS]) >= CONFIDENT
        with np.errstate(invalid='ignore'):
            sure &= (lengths >= LIMITS_MM[0]) & (lengths <= LIMITS_MM[1]) & (self._waiting <= 0)
        if not sure.any():
            return
        bones = sure.nonzero()[0]
        self._samples[self._counts[bones] % MEMORY, bones] = lengths[bones]
        self._counts[bones] += 1
        self._waiting[bones] = EVERY
        for bone in bones[self._counts[bones] >= MIN_FRAMES]:
            samples = self._samples[: self._counts[bone], bone]
            self.lengths_mm[bone] = median = np.median(samples)
            # 1.4826 MAD is a deviation; of a median of n it is 1.25 / sqrt(n) of that.
            spread = 1.4826 * np.median(np.abs(samples - median)) * 1.25 / math.sqrt(len(samples))
            self.deviations_mm[bone] = math.hypot(LENGTH_MM, spread)


class HandSizes:
    """A HandSize for each tracked hand."""

    def __init__(self) -> None:
        self._by_id: dict[str, HandSize] = {}

    def update(self, hands: Sequence[Any]) -> list[HandSize]:
        """Return the HandSize of each TrackedHand; the state of lost hands is deleted."""
        known = {hand.id: self._by_id.get(hand.id) or HandSize() for hand in hands}
        for hand in hands:
            if hand.state != 'coasting':
                known[hand.id].update(hand.joints_xyz, hand.joint_scores)
        self._by_id = known
        return list(known.values())


def steady(
    joints_xyz: np.ndarray,
    joint_scores: np.ndarray,
    lengths_mm: np.ndarray,
    deviations_mm: np.ndarray,
) -> np.ndarray:
    """Return joints (21,3) float64 [mm] that agree best with a measurement and with bone lengths.

    joints_xyz: (21,3) [mm] camera optical frame; joint_scores: (21,) [0,1], joints with high scores
    move least; lengths_mm, deviations_mm: (20,), NaN for bones of unknown length. Minimises, by
    Gauss-Newton from the measurement y,

        sum_j |x_j - y_j|^2 / s_j^2  +  sum_b (|x_end - x_start| - length_b)^2 / deviation_b^2,

    with deviations s_j larger along the optical axis. NaN joints stay NaN.
    """
    measured = np.asarray(joints_xyz, np.float64)
    known: Any = np.isfinite(measured).all(-1)
    bones: Any = np.isfinite(lengths_mm) & known[STARTS] & known[ENDS]
    if not bones.any():
        return measured.copy()
    starts, ends = np.array(STARTS)[bones], np.array(ENDS)[bones]
    spread = deviation_mm(joint_scores)[:, None] * (1.0, 1.0, RAY_RATIO)  # (21,3)
    prior = np.where(known[:, None], 1 / spread**2, 1.0).ravel()  # (63,)
    y = np.where(known[:, None], measured, 0.0)
    x, rows = y.copy(), np.arange(len(starts))
    for _ in range(ITERATIONS):
        bone = x[ends] - x[starts]
        length = np.maximum(np.linalg.norm(bone, axis=-1), 1e-6)
        way = bone / length[:, None] / deviations_mm[bones, None]
        jacobian: np.ndarray = np.zeros((len(rows), NUM_JOINTS, 3))
        jacobian[rows, ends], jacobian[rows, starts] = way, -way
        jacobian = jacobian.reshape(len(rows), -1)
        residual = (lengths_mm[bones] - length) / deviations_mm[bones]
        normal = jacobian.T @ jacobian
        normal[np.diag_indices_from(normal)] += prior
        right = jacobian.T @ residual + prior * (y - x).ravel()
        x += np.linalg.solve(normal, right).reshape(-1, 3)
    return np.where(known[:, None], x, np.nan)
