"""Velocity, prediction and glitch rejection for joints: one Kalman filter for each joint and axis.

Each joint moves with a velocity that changes by white noise (the constant-velocity model, e.g.
Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation", 6.2). The
three axes are independent, as noise along the optical axis differs from noise across it; the
covariances are those of the filter; that of positions has the error added that stays for longer
than a filter remembers. Where most joints are far from their prediction the hand accelerates: the
prediction is then doubted in the same frame, so a small assumed noise does not make it lag. Nothing
waits for later frames: a glitch is recognised by how little it fits the prediction, and replaced by
it in the same frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from awr_ros.skeleton import NUM_JOINTS, PALM

MIN_JOINTS = 5  # minimum number of measured joints for a median
MAX_WIDENING = 30.0  # largest factor on the deviations in one frame
VELOCITY_CORRELATION = 0.2  # correlation of the errors of the palm's joints


@dataclass(frozen=True)
class MotionConfig:
    """Settings of a MotionFilter."""

    # [mm] frame-to-frame noise of a measured joint, x y z
    noise_mm: tuple[float, float, float] = (1.0, 1.0, 1.2)
    bias_mm: tuple[float, float, float] = (1.7, 1.7, 1.9)  # [mm] its slowly varying error
    velocity_walk: float = 100.0  # [mm/s per root second] random walk of the velocity
    expected: float = 2.0  # [deviations] median innovation above which the hand accelerates
    start_speed: float = 300.0  # [mm/s] initial deviation of the velocity
    gate: float = 6.0  # [deviations] a joint farther from its prediction than this is a glitch
    # [frames] consecutive rejections after which the joint restarts at the measurement
    max_rejected: int = 2
    max_gap_s: float = 0.5  # [s] after a longer pause the filter restarts

    def __post_init__(self) -> None:
        if not (len(self.noise_mm) == 3 and min(self.noise_mm) > 0):
            raise ValueError(f'noise_mm must be three numbers > 0, got {self.noise_mm}')
        if not (len(self.bias_mm) == 3 and min(self.bias_mm) >= 0):
            raise ValueError(f'bias_mm must be three numbers >= 0, got {self.bias_mm}')
        for name in ('velocity_walk', 'expected', 'start_speed', 'gate', 'max_gap_s'):
            if getattr(self, name) <= 0:
                raise ValueError(f'{name} must be > 0, got {getattr(self, name)}')
        if self.max_rejected < 0:
            raise ValueError(f'max_rejected must be at least 0, got {self.max_rejected}')


@dataclass(frozen=True)
class Motion:
    """Positions and velocities of joints at one time. NaN for joints never measured."""

    stamp_s: float  # [s] time of positions and velocities
    positions: np.ndarray  # (21,3) [mm]
    velocities: np.ndarray  # (21,3) [mm/s]
    position_variances: np.ndarray  # (21,3) [mm^2]
    velocity_variances: np.ndarray  # (21,3) [mm^2/s^2]
    rejected: np.ndarray  # (21,) bool: whether the last measurement was rejected as a glitch

    def palm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Position (3,) [mm], its covariance (3,3), velocity (3,) [mm/s] and its covariance (3,3).

        The palm centre is the mean of five joints. Their position errors are taken as equal,
        because they come from one crop; those of their velocities have a correlation of
        VELOCITY_CORRELATION.
        """
        palm = list(PALM)
        share = VELOCITY_CORRELATION + (1 - VELOCITY_CORRELATION) / len(palm)
        return (
            self.positions[palm].mean(0),
            np.diag(self.position_variances[palm].mean(0)),
            self.velocities[palm].mean(0),
            np.diag(self.velocity_variances[palm].mean(0)) * share,
        )


class MotionFilter:
    """Filters the joints of one hand."""

    _stamp_s: float | None  # [s] of the last update
    # (21,3) positions, velocities and their covariances
    _x: np.ndarray
    _v: np.ndarray
    _pxx: np.ndarray
    _pxv: np.ndarray
    _pvv: np.ndarray
    _rejected: np.ndarray  # (21,) bool
    _in_a_row: np.ndarray  # (21,) int

    def __init__(self, config: MotionConfig = MotionConfig()) -> None:
        self._config = config
        self._noise = np.square(np.asarray(config.noise_mm, np.float64))  # (3,) [mm^2]
        self._stamp_s = None

    def update(self, joints_xyz: np.ndarray, stamp_s: float) -> Motion:
        """Update with measured joints (21,3) [mm] of a time [s]; return the motion at that time.

        NaN joints count as not measured and are predicted. A step back in time or a long pause
        restarts the filter.
        """
        joints = np.asarray(joints_xyz, np.float64)
        if joints.shape != (NUM_JOINTS, 3):
            raise ValueError(f'joints_xyz must be ({NUM_JOINTS},3), got {joints.shape}')
        if self._stamp_s is None or not 0 < stamp_s - self._stamp_s <= self._config.max_gap_s:
            self._start(joints, stamp_s)
            return self.predict(stamp_s)
        self._advance(stamp_s)
        known = np.isfinite(joints).all(-1)
        new = known & ~np.isfinite(self._x).all(-1)
        innovation = joints - self._x
        self._widen(innovation[known & ~new])
        spread = self._pxx + self._noise
        with np.errstate(invalid='ignore'):
            distance = np.sqrt((innovation**2 / spread).sum(-1))  # (21,) in deviations
        self._rejected = known & ~new & (distance > self._config.gate)
        self._in_a_row = np.where(self._rejected, self._in_a_row + 1, 0)
        new |= self._in_a_row > self._config.max_rejected
        self._begin(new, joints)
        used = (known & ~self._rejected & ~new)[:, None]
        # Kalman gain of a position measurement, element by element.
        gain_x, gain_v = self._pxx / spread, self._pxv / spread
        self._x = np.where(used, self._x + gain_x * innovation, self._x)
        self._v = np.where(used, self._v + gain_v * innovation, self._v)
        self._pvv = np.where(used, self._pvv - gain_v * self._pxv, self._pvv)
        self._pxv = np.where(used, (1 - gain_x) * self._pxv, self._pxv)
        self._pxx = np.where(used, (1 - gain_x) * self._pxx, self._pxx)
        return self.predict(stamp_s)

    def predict(self, stamp_s: float) -> Motion:
        """Return the predicted motion at a time [s] not before the last update.

        Raise ValueError before the first update and for an earlier time.
        """
        if self._stamp_s is None or stamp_s < self._stamp_s:
            raise ValueError(f'cannot predict to {stamp_s}: the last update is {self._stamp_s}')
        x, pxx, pxv, pvv = self._moved(stamp_s - self._stamp_s)
        pxx = pxx + np.square(self._config.bias_mm)  # not reduced by filtering
        return Motion(stamp_s, x, self._v.copy(), pxx, pvv, self._rejected.copy())

    def _widen(self, innovation: np.ndarray) -> None:
        """Increase the covariances when most joints are far from the prediction: an accelerating
        hand moves them all, a glitch does not. innovation: (N,3) [mm] of the measured joints.
        """
        if len(innovation) < MIN_JOINTS:
            return
        spread = np.nanmean(self._pxx, 0) + self._noise
        distance = float(np.median(np.sqrt((innovation**2 / spread).sum(-1))))
        factor = min(max(1.0, distance / self._config.expected), MAX_WIDENING) ** 2
        self._pxx, self._pxv, self._pvv = (p * factor for p in (self._pxx, self._pxv, self._pvv))

    def _moved(self, dt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return positions and covariances after a time; the velocity stays."""
        density = self._config.velocity_walk**2 * np.array([dt**3 / 3, dt**2 / 2, dt])
        return (
            self._x + dt * self._v,
            self._pxx + 2 * dt * self._pxv + dt**2 * self._pvv + density[0],
            self._pxv + dt * self._pvv + density[1],
            self._pvv + density[2],
        )

    def _advance(self, stamp_s: float) -> None:
        assert self._stamp_s is not None  # update() starts first
        self._x, self._pxx, self._pxv, self._pvv = self._moved(stamp_s - self._stamp_s)
        self._stamp_s = stamp_s

    def _start(self, joints: np.ndarray, stamp_s: float) -> None:
        self._stamp_s = stamp_s
        self._x, self._v, self._pxx, self._pxv, self._pvv = np.full((5, NUM_JOINTS, 3), np.nan)
        self._rejected = np.zeros(NUM_JOINTS, bool)
        self._in_a_row = np.zeros(NUM_JOINTS, int)
        self._begin(np.isfinite(joints).all(-1), joints)

    def _begin(self, which: np.ndarray, joints: np.ndarray) -> None:
        """Start joints (21,) bool at their measurement with an unknown velocity."""
        self._x[which], self._v[which] = joints[which], 0.0
        self._pxx[which], self._pxv[which] = self._noise, 0.0
        self._pvv[which] = self._config.start_speed**2
        self._rejected[which], self._in_a_row[which] = False, 0


class MotionFilters:
    """A MotionFilter for each tracked hand."""

    def __init__(self, config: MotionConfig = MotionConfig()) -> None:
        self._config = config
        self._by_id: dict[tuple[str, str], MotionFilter] = {}

    def update(self, hands: Sequence, stamp_s: float, ahead_s: float = 0.0) -> list[Motion]:
        """Return the Motion of each awr_ros.tracker.TrackedHand at stamp_s + ahead_s.

        A hand that changes sides restarts, one that is coasting is predicted, the state of lost
        hands is deleted.
        """
        known, motions = {}, []
        for hand in hands:
            key = hand.id, hand.side
            known[key] = self._by_id.get(key) or MotionFilter(self._config)
            if hand.state != 'coasting' or key not in self._by_id:
                known[key].update(hand.joints_xyz, stamp_s)
            motions.append(known[key].predict(stamp_s + ahead_s))
        self._by_id = known
        return motions
