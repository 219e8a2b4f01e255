"""Order of the stamps of an image stream: late images, and jumps of time."""

# [s] an image up to this much older than the newest one is late, an older one means a jump
MAX_LATE_S = 1.0
# consecutive late images, each newer than the last, after which time has jumped all the same
LATE_IN_A_ROW = 5
IN_ORDER, LATE, JUMPED_BACK = 'in order', 'late', 'jumped back'


class StampOrder:
    """Distinguish an overtaken image from a clock that was set back or a bag that starts over.

    An image that overtakes another one, or a stamp some milliseconds early, must not end tracks.
    After a clock is set back for good, images continue from there and none is newer than the newest
    one.
    """

    def __init__(self) -> None:
        self._newest_s: float | None = None  # [s]
        self._last_late_s: float | None = None  # [s] of consecutive late images
        self._late_in_a_row = 0
        # [s] age of the last image relative to the newest one before it
        self.behind_s = 0.0

    def add(self, stamp_s: float) -> str:
        """Return IN_ORDER, LATE or JUMPED_BACK for the image with this stamp [s]; a jump restarts
        the order with it.
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
