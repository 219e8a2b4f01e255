"""Lost images, estimated from the stamps of the received ones."""

import math
from collections import deque

import numpy as np

from awr_ros.stamps import MAX_LATE_S

GAPS, FEWEST_GAPS = 100, 20  # most and fewest stamp gaps in the estimate of lost images
# least time of that estimate, in periods of the camera: in fewer one image would be a warning
FEWEST_PERIODS = 50
JITTER_SHARE = 0.25  # largest share of gaps below 0.6 periods explained by jitter
NEIGHBOURS = 4  # gaps on either side of a long one that may compensate for it
LONGEST_GAP_S = 1.0  # longer gaps are pauses of the camera, not losses
DISORDER_SHARE = 0.2  # share of late images above which stamps do not show losses


class StampGaps:
    """Estimate of lost images from the gaps between the stamps of received ones."""

    def __init__(self):
        self._stamps = deque(maxlen=GAPS + 1)  # [s] in the order of arrival
        self._late = deque(maxlen=GAPS)  # whether each of them came after a newer one

    def add(self, stamp_s: float) -> None:
        """Add the stamp [s] of a received image; one that is much older restarts the estimate (a
        bag's loop).
        """
        newest = max(self._stamps, default=stamp_s)
        if newest - stamp_s > MAX_LATE_S:
            self.clear()
            newest = stamp_s
        self._late.append(stamp_s < newest)
        self._stamps.append(stamp_s)

    def clear(self) -> None:
        """Restart: images missing up to here were not lost."""
        self._stamps.clear()
        self._late.clear()

    def _gaps(self):
        """Return the gaps (N,) float64 [s] between distinct stamps in their order."""
        return np.diff(np.unique(np.array(self._stamps, np.float64)))

    def period_s(self) -> float:
        """Return the period of the camera [s], NaN before the first gaps."""
        gaps = self._gaps()
        return _period(gaps[gaps < LONGEST_GAP_S])

    def extremes_s(self) -> tuple[float, float]:
        """Return the shortest and the longest gap [s] without pauses; NaN before the first gap."""
        gaps = self._gaps()
        gaps = gaps[gaps < LONGEST_GAP_S]
        return (float(gaps.min()), float(gaps.max())) if gaps.size else (math.nan, math.nan)

    def lost_share(self) -> float:
        """Return the share of lost images, [0,1]; NaN before the first gaps, and when stamps are in
        disorder.

        A long gap alone is not a loss: the image after it may be late, or the one before it early.
        So the images of the long gap and its neighbours are counted together, against the periods
        of the camera that they span.
        """
        gaps, period = self._gaps(), self.period_s()
        pauses = gaps >= LONGEST_GAP_S
        if (
            not math.isfinite(period)
            or gaps[~pauses].sum() < FEWEST_PERIODS * period
            or np.mean(self._late) > DISORDER_SHARE
        ):
            return math.nan
        long = (gaps > 1.7 * period) & ~pauses
        long[:NEIGHBOURS] = long[-NEIGHBOURS:] = False  # not all of their neighbours are known
        near_long = np.convolve(long, np.ones(2 * NEIGHBOURS + 1), 'same') > 0.5
        apart = gaps[~near_long & ~pauses]
        # without losses, the mean is more precise than the median
        if len(apart) >= FEWEST_GAPS:
            period = apart.mean()
        lost = sum(
            max(0, int(gaps[run].sum() / period + 0.3) - len(gaps[run]))
            for run in _runs(near_long & ~pauses)
        )
        return lost / (lost + int((~pauses).sum()))


def _period(gaps):
    """Return the median of gaps (N,) [s], or of the short ones if these are too many for jitter:
    then most images are lost.
    """
    if len(gaps) < FEWEST_GAPS:
        return math.nan
    short = gaps
    while len(short) > JITTER_SHARE * len(gaps):
        period = np.percentile(short, 50, method='lower')
        short = gaps[gaps < 0.6 * period]
    return float(np.median(gaps[gaps < 1.5 * period]))  # gaps of one period


def _runs(chosen):
    """Return the slices of an array of booleans in which all are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return [slice(first, end) for first, end in edges.reshape(-1, 2)]
