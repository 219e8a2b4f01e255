"""Why nothing comes out: what goes in, what happened to it, in words, at 1 Hz on /diagnostics (as
REP 107 asks).

Times are seconds of a monotonic clock that the caller reads, so that all of it can be tested
without waiting.
"""

import math
import sys
from collections import deque
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from awr_ros.stamps import MAX_LATE_S

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SILENCE_S = 2.0  # no message for so long is worth a word
START_UP_S = 30.0  # so long a camera may take to its first image, on a busy machine too
INFO_START_UP_S = 5.0  # and so long from its first image to its first camera_info
GAPS, FEWEST_GAPS = 100, 20  # stamp gaps that are looked at for lost images, at most and at least
# of the camera that must have passed: in fewer a single image is worth a warning
FEWEST_PERIODS = 50
JITTER_SHARE = 0.25  # of gaps below 0.6 periods that a jittering camera has at most
NEIGHBOURS = 4  # gaps on either side of a long one that may make up for it
LONGEST_GAP_S = 1.0  # longer ones are a pause of the camera, not a loss
LOST_SHARE, DROPPED_SHARE = 0.02, 0.10  # worth a warning
SLOW_SHARE = 0.5  # of the time spent on images: more, and the tracker is what drops them
FEWEST_DROPPED = 3  # between two reports, worth a warning where the tracker is not slow
DISORDER_SHARE = 0.2  # of late images: their stamps no longer tell which ones are missing
# of an image on arrival: worth a word, but a bag replayed without its clock works well
ODD_AGE_S = 5.0


class StampGaps:
    """Images that never arrived, seen in the stamps of those that did: fewer of them than the time
    that passed has room for.
    """

    def __init__(self):
        self._stamps = deque(maxlen=GAPS + 1)  # [s], in the order of arrival
        self._late = deque(maxlen=GAPS)  # whether each of them came after a newer one

    def add(self, stamp_s: float) -> None:
        """Add the stamp [s] of an image that arrived; one that goes back far begins anew (a bag's
        loop).
        """
        newest = max(self._stamps, default=stamp_s)
        if newest - stamp_s > MAX_LATE_S:
            self.clear()
            newest = stamp_s
        self._late.append(stamp_s < newest)
        self._stamps.append(stamp_s)

    def clear(self) -> None:
        """Begin anew: what is missing up to here was not lost on the way."""
        self._stamps.clear()
        self._late.clear()

    def _gaps(self):
        """(N,) float64 [s]: the times between the images in the order of their stamps, without
        repeated stamps.
        """
        return np.diff(np.unique(np.array(self._stamps, np.float64)))

    def period_s(self) -> float:
        """Return the period of the camera [s], NaN before the first gaps."""
        gaps = self._gaps()
        return _period(gaps[gaps < LONGEST_GAP_S])

    def extremes_s(self) -> tuple[float, float]:
        """Return the shortest and the longest gap [s] but for pauses; NaN before the first gap."""
        gaps = self._gaps()
        gaps = gaps[gaps < LONGEST_GAP_S]
        return (float(gaps.min()), float(gaps.max())) if gaps.size else (math.nan, math.nan)

    def lost_share(self) -> float:
        """Return the share of the last images that never arrived, [0,1]; NaN before the first gaps,
        and where stamps are in disorder.

        A long gap alone is no loss: the image behind it may be late, or the one before it early. So
        the images of the long gap and its neighbours are counted together, against the periods of
        the camera that they span.
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
        # among these none is missing: their mean is steadier than the median
        if len(apart) >= FEWEST_GAPS:
            period = apart.mean()
        lost = sum(
            max(0, int(gaps[run].sum() / period + 0.3) - len(gaps[run]))
            for run in _runs(near_long & ~pauses)
        )
        return lost / (lost + int((~pauses).sum()))


def _period(gaps):
    """The median of gaps (N,) [s], or of the short ones where these are too many for jitter: then
    most images are lost.
    """
    if len(gaps) < FEWEST_GAPS:
        return math.nan
    short = gaps
    while len(short) > JITTER_SHARE * len(gaps):
        period = np.percentile(short, 50, method='lower')
        short = gaps[gaps < 0.6 * period]
    return float(np.median(gaps[gaps < 1.5 * period]))  # of one period each


def _runs(chosen):
    """The slices of an array of booleans that are true throughout."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return [slice(first, end) for first, end in edges.reshape(-1, 2)]


@dataclass
class Counts:
    """Of images, since activation."""

    received: int = 0
    processed: int = 0  # the worker is done with it: tracked, or late
    dropped: int = 0  # a newer one came before this one's turn
    refused: int = 0  # could not be used
    late: int = 0  # came after a newer one
    jumps: int = 0  # times that stamps jumped back for good

    @property
    def tracked(self):
        return self.processed - self.late


@dataclass(frozen=True)
class Situation:
    """What the node knows beyond the counts when it reports."""

    state: str  # 'active', or why not
    failure: str  # what made the last transition fail, or ''
    enabled: bool
    engine: str  # device, engine and weights in words
    sources: tuple[
        tuple[str, str], ...
    ] = ()  # (topic, its publishers in words) of image and info, while subscribed
    camera_notes: tuple[str, ...] = ()  # what is odd about the camera, but can be lived with
    lens: str = ''  # what the camera_info says of the lens, and what is done about it
    unserved: tuple[str, ...] = ()  # subscribers of ours that get nothing, in words
    waiting: str = ''  # what the external finder waits for, said while no hand is tracked
    lost_advice: str = ''  # what can be done about images that are lost on the way
    hardware: str = ''  # what tells this camera from others: the topic of its images
    clock: str = ''  # what is wrong with the ROS clock


class Health:
    """Collects what happens to images and says it in two DiagnosticStatus: the input,
    the tracking.
    """

    def __init__(self, now):
        self.counts = Counts()
        self._gaps = StampGaps()
        self._started = self._last_image = self._last_info = self._last_processed = (
            self._last_hand
        ) = now
        self._first_image, self._infos = math.nan, 0
        self._infos_by_image = deque(maxlen=GAPS + 1)  # camera infos received when each image came
        self.waiting = ''  # what the start-up waits for, as of the last report
        self._refusal, self._refused_at = '', -math.inf
        self._info_refusal, self._info_refused_at = '', -math.inf
        # of the last image out of order
        self._behind_s, self._late_at, self._jumped_at = (0.0, -math.inf, -math.inf)
        self._notes = {}  # kind: (text, when it was last noted)
        self._hands = 0
        self._worked_s = 0.0  # on images since the last report
        self._latency_ms = self._processing_ms = self._age_s = math.nan
        self._reported, self._reported_at = Counts(), now

    def image_received(self, stamp_s, now, age_s=math.nan):
        """age_s: the ROS clock minus the stamp [s]; NaN when there is no stamp."""
        self.counts.received += 1
        if self.counts.received == 1:
            self._first_image = now
        self._last_image, self._age_s = now, age_s
        self._gaps.add(stamp_s)
        self._infos_by_image.append(self._infos)

    def input_started_anew(self):
        """The subscription was renewed: the camera's images meanwhile were not lost on the way."""
        self._gaps.clear()
        self._infos_by_image.clear()

    def info_received(self, now):
        self._infos += 1
        self._last_info = now

    def refused(self, reason, now):
        """An image could not be used."""
        self.counts.refused += 1
        self._refusal, self._refused_at = reason, now

    def info_refused(self, reason, now):
        """A camera_info could not be used; the one before still is."""
        self._info_refusal, self._info_refused_at = reason, now

    def late(self, behind_s, now):
        """An image came after one that is newer by behind_s [s], and was left out."""
        self.counts.processed += 1
        self.counts.late += 1
        self._behind_s, self._late_at = behind_s, now

    def jumped_back(self, behind_s, now):
        """Stamps jumped back by behind_s [s]; the image was used."""
        self.counts.jumps += 1
        self._behind_s, self._jumped_at = behind_s, now

    def noted(self, reason, now, kind=''):
        """An image was used, but something about it is wrong. Of one kind only the last reason is
        kept.
        """
        self._notes[kind or reason] = reason, now

    def without_hand_s(self, now):
        """How long no hand was tracked [s]."""
        return now - self._last_hand

    def processed(self, hands, dropped, processing_ms, latency_ms, now):
        self.counts.processed += 1
        self._last_processed = now
        self.counts.dropped = dropped
        self._hands, self._processing_ms, self._latency_ms = hands, processing_ms, latency_ms
        self._worked_s += processing_ms * 1e-3
        if hands:
            self._last_hand = now

    def report(self, name, situation, now):
        """[input, tracking] of the time since the last report."""
        since, seconds = self._reported, max(now - self._reported_at, 1e-3)
        self._reported = Counts(**vars(self.counts))
        self._reported_at = now
        new = Counts(
            **{key: value - getattr(since, key) for key, value in vars(self.counts).items()}
        )
        if situation.state != 'active' or not situation.enabled:
            why = (
                f'not active: {situation.state}'
                if situation.state != 'active'
                else 'disabled by the enable service'
            )
            level = WARN
            if situation.failure:
                level, why = ERROR, f'{why}: {situation.failure}'
            report = [
                status(f'{name}: input', [(OK, 'not listening')], {}),
                status(f'{name}: tracking', [(level, why)], {'engine': situation.engine}),
            ]
        else:
            report = [
                self._input(name, situation, new, seconds, now),
                self._tracking(name, situation, new, seconds, now),
            ]
        for part in report:
            part.hardware_id = situation.hardware
        return report

    def _input(self, name, situation, new, seconds, now):
        found = []
        (image_topic, image_publishers), (info_topic, info_publishers) = situation.sources
        image_silence, info_silence = now - self._last_image, now - self._last_info
        # also on a machine too busy to report in time, everything is told once
        recent = max(SILENCE_S, seconds)
        self.waiting = ''
        if (
            image_silence > SILENCE_S
            and not self.counts.received
            and now - self._started <= START_UP_S
        ):
            self.waiting = f'waiting for the first image on {image_topic}: {image_publishers}'
        elif image_silence > SILENCE_S:
            found.append(
                (ERROR, f'no image on {image_topic} for {image_silence:.0f} s: {image_publishers}')
            )
        if self.counts.received and not self._infos:
            if now - self._first_image > INFO_START_UP_S:
                found.append(
                    (
                        ERROR,
                        f'no camera_info on {info_topic} for {info_silence:.0f} s: '
                        f'{info_publishers}',
                    )
                )
            else:
                self.waiting = (
                    f'waiting for the first camera_info on {info_topic}: {info_publishers}'
                )
        if self.waiting:
            found.append((OK, self.waiting))
        if now - self._refused_at < recent:
            count = (
                f'{new.refused} images refused in {seconds:.0f} s'
                if new.refused
                else 'images were refused'
            )
            found.append((ERROR, f'{count}: {self._refusal}'))
        if now - self._info_refused_at < recent:
            found.append((ERROR, f'camera_info refused: {self._info_refusal}'))
        self._notes = {
            kind: noted for kind, noted in list(self._notes.items()) if now - noted[1] < recent
        }
        found += [(WARN, text) for text, _ in self._notes.values()]
        if now - self._late_at < recent:
            count = f'{new.late} of {new.received} images' if new.late else 'images'
            found.append(
                (
                    WARN,
                    f'{count} came late and were left out: stamps go back by {self._behind_s:.3f} '
                    f's, images overtake one '
                    f'another or stamps of two clocks are on {image_topic}',
                )
            )
        if now - self._jumped_at < recent:  # once is what a recording does that starts over
            found.append(
                (
                    WARN if new.jumps > 1 else OK,
                    f'stamps went back by {self._behind_s:.3f} s, {self.counts.jumps} times so '
                    f'far, and hands were forgotten: a '
                    f'recording that starts over, a clock that was set, or stamps of two clocks '
                    f'on {image_topic}',
                )
            )
        if situation.clock:
            found.append((WARN, situation.clock))
        lost = self._gaps.lost_share()
        if lost > LOST_SHARE and image_silence <= SILENCE_S:
            found.append((WARN, self._missing(lost, situation.lost_advice)))
        found += [(WARN, note) for note in situation.camera_notes]
        if abs(self._age_s) > ODD_AGE_S:
            found.append(
                (
                    OK,
                    f'images are stamped {abs(self._age_s):.0f} s '
                    f'{"before" if self._age_s > 0 else "after"} the clock of '
                    'this node: a bag without use_sim_time, or clocks that differ',
                )
            )
        return status(
            f'{name}: input',
            found,
            {
                'image topic': image_topic,
                'image publishers': image_publishers,
                'info topic': info_topic,
                'info publishers': info_publishers,
                'images per second': f'{new.received / seconds:.1f}',
                'period from stamps [ms]': f'{self._gaps.period_s() * 1e3:.1f}',
                'missing between the stamps': f'{lost:.1%}',
                'age on arrival [ms]': f'{self._age_s * 1e3:.1f}',
                'lens': situation.lens,
                'images received': self.counts.received,
                'images refused': self.counts.refused,
                'images late': self.counts.late,
                'last refusal': self._refusal,
            },
        )

    def _missing(self, share, advice):
        """Tell where the images went that are missing between the stamps.

        Their camera_info shows it, which is small and is not lost: with an image that the camera
        skipped its camera_info is missing too. Where it does not come with each image, both are
        possible.
        """
        images = len(self._infos_by_image) - 1
        infos = self._infos_by_image[-1] - self._infos_by_image[0]
        expected = images / (1 - share)  # with those that are missing
        nearer = (expected - images) / 2
        if abs(infos - images) < min(nearer, images / 4):
            # No share: a camera on a busy CPU has no steady period to count against.
            shortest, longest = self._gaps.extremes_s()
            return (
                f'images come {shortest * 1e3:.0f} to {longest * 1e3:.0f} ms apart, and so do '
                'their camera_infos: the camera or its driver skips or delays them; a longer '
                'exposure than the period, a slow USB port or a busy CPU does that'
            )
        if abs(infos - expected) < nearer:
            return (
                f'{1 - images / infos:.0%} of the images are missing, but their camera_info came: '
                f'they are lost on the way; {advice}'
            )
        return (
            f'about {share:.0%} of the images are missing between the stamps: the camera skips '
            f'them, or they are lost on the way; {advice}'
        )

    def _tracking(self, name, situation, new, seconds, now):
        found = []
        taken = new.processed + new.dropped
        worked_s, self._worked_s = self._worked_s, 0.0
        if taken and new.dropped / taken > DROPPED_SHARE:
            dropped = f'{new.dropped} of {taken} images dropped in {seconds:.0f} s'
            each = f'one takes {worked_s * 1e3 / max(new.processed, 1):.0f} ms'
            if worked_s > SLOW_SHARE * seconds:
                found.append((WARN, f'too slow: {dropped}, {each}'))
            elif new.dropped >= FEWEST_DROPPED:
                why = 'they come in bursts, or the CPU is busy with others'
                found.append((WARN, f'{dropped}: {why}; {each}'))
        if now - self._last_processed > SILENCE_S and not self.waiting:
            found.append(
                (WARN, f'no image tracked for {now - self._last_processed:.0f} s: see the input')
            )
        elif now - self._last_hand > SILENCE_S:
            found.append((OK, f'no hand for {now - self._last_hand:.0f} s'))
        if situation.waiting and not self._hands:
            found.append((WARN, situation.waiting))
        found += [(WARN, text) for text in situation.unserved]
        return status(
            f'{name}: tracking',
            found,
            {
                'engine': situation.engine,
                **gpu_memory(),
                'hands': self._hands,
                'images processed per second': f'{new.tracked / seconds:.1f}',
                'images processed': self.counts.tracked,
                'images dropped': self.counts.dropped,
                'processing [ms]': f'{self._processing_ms:.1f}',
                'latency [ms]': f'{self._latency_ms:.1f}',
            },
        )


def gpu_memory():
    """What torch holds of the GPU that it uses, and what is left there, as key values; empty while
    it uses none.
    """
    torch = sys.modules.get('torch')  # never import it for this
    if torch is None or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        'GPU memory of this process [MiB]': torch.cuda.memory_reserved() // 2**20,
        'GPU memory free [MiB]': f'{free // 2**20} of {total // 2**20}',
    }


def status(name, found, values):
    """A DiagnosticStatus of findings [(level, text)], the worst first, and key values."""
    found = sorted(found, key=lambda finding: finding[0], reverse=True)
    return DiagnosticStatus(
        name=name,
        level=found[0][0] if found else OK,
        message='; '.join(text for _, text in found) or 'ok',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
