"""One Euro filter: less jitter of a hand at rest, little delay of a moving one.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012. The authors' package filters single numbers, each with its own
speed. Here a joint is one point with one speed, so that the result does not depend on the
orientation of the camera, and 21 joints are one array operation.
"""

import math

import numpy as np
import numpy.typing as npt

SPEED_CUTOFF_HZ = 1.0  # cutoff of the low pass on the speed, the paper's value


class OneEuro:
    """Filter repeatedly measured points. Adds no frame of delay: each result is for the time of its
    input.
    """

    _stamp_s: float  # [s] of the last points

    def __init__(self) -> None:
        self._points: np.ndarray | None = None

    def __call__(
        self, points: npt.ArrayLike, stamp_s: float, min_cutoff_hz: float, beta: float
    ) -> np.ndarray:
        """Return the filtered points, (n,3) float64. Non-increasing stamps restart the filter.

        points: (n,3) [mm], NaN where unknown; min_cutoff_hz: cutoff at rest; beta: increase of the
        cutoff with speed [Hz per mm/s].
        """
        points = np.asarray(points, np.float64)
        if self._points is None or stamp_s <= self._stamp_s:
            self._points, self._velocity, self._stamp_s = points, np.zeros_like(points), stamp_s
            return points
        period_s, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        # a joint that was unknown starts here
        last = np.where(np.isfinite(self._points), self._points, points)
        velocity = np.nan_to_num((points - last) / period_s)
        self._velocity += _weight(SPEED_CUTOFF_HZ, period_s) * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)  # (n,1) [mm/s]
        self._points = last + _weight(min_cutoff_hz + beta * speed, period_s) * (points - last)
        return self._points


def _weight(cutoff_hz: float | np.ndarray, period_s: float) -> float | np.ndarray:
    """Return the weight of the newest value in an exponential filter: 1 / (1 + tau/T) with tau = 1
    / (2 pi cutoff).
    """
    rate = 2 * math.pi * cutoff_hz * period_s
    return rate / (1 + rate)
