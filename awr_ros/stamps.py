"""Stamps of a stream of images: which image comes late, and when time itself has jumped back."""

# [s] an image at most so much older than the newest one is late, an older one means a jump
MAX_LATE_S = 1.0
# so many late images one after another, each newer than the last: time has jumped all the same
LATE_IN_A_ROW = 5
IN_ORDER, LATE, JUMPED_BACK = 'in order', 'late', 'jumped back'


class StampOrder:
    """Tells an image that another one has overtaken from a clock that was set back or a bag that
    starts over.

    An image that overtakes another one, or a stamp some milliseconds early, must not end what is
    tracked. Where the clock was set back for good, images go on from there and newer ones no longer
    come.
    """

    def __init__(self) -> None:
        self._newest_s: float | None = None  # [s]
        self._last_late_s: float | None = None  # [s] of the late images in a row
        self._late_in_a_row = 0
        # [s] by how much the last image was older than the newest one before it
        self.behind_s = 0.0

    def add(self, stamp_s: float) -> str:
        """IN_ORDER, LATE or JUMPED_BACK for the image with this stamp [s]; after a jump the order
        begins with it.
        """
        newest_s, last_late_s = self._newest_s, self._last_late_s
        self._last_late_s = None
        if newest_s is None or not stamp_s < newest_s:
            self._newest_s, self._late_in_a_row, self.behind_s = stamp_s, 0, 0.0
            return IN_ORDER
        self.behind_s = newest_s - stamp_s
        goes_on = last_late_s is not None and stamp_s > last_late_s
        self._late_in_a_row = self._late_in_a_row + 1 if goes_on else 1
        if self.behind_s > MAX_LATE_S or self._late_in_a_row >= LATE_IN_A_ROW:
            self._newest_s, self._late_in_a_row = stamp_s, 0
            return JUMPED_BACK
        self._last_late_s = stamp_s
        return LATE
