"""Diagnostics (REP 107): input and tracking status at 1 Hz, with the reason when no hands are
published.

Times are seconds of a monotonic clock that the caller reads, so that everything can be tested
without waiting.
"""

import math
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from awr_ros.ros.stamp_gaps import GAPS, StampGaps

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SILENCE_S = 2.0  # silence after which a reason is reported
START_UP_S = 30.0  # time for a camera's first image, on a busy machine too
INFO_START_UP_S = 5.0  # time from its first image to its first camera_info
LOST_SHARE, DROPPED_SHARE = 0.02, 0.10  # shares that give a warning
SLOW_SHARE = 0.5  # share of the time spent on images above which the tracker is too slow
# dropped images between two reports that give a warning if the tracker is not slow
FEWEST_DROPPED = 3
# age of an image on arrival that is reported; a bag replayed without its clock still works
ODD_AGE_S = 5.0


@dataclass
class Counts:
    """Numbers of images since activation."""

    received: int = 0
    processed: int = 0  # finished by the worker: tracked, or late
    dropped: int = 0  # replaced by a newer one
    refused: int = 0  # unusable
    late: int = 0  # came after a newer one
    jumps: int = 0  # jumps of the stamps back in time

    @property
    def tracked(self) -> int:
        """Number of tracked images."""
        return self.processed - self.late


@dataclass(frozen=True)
class Situation:
    """State of the node beyond the counts, for a report."""

    state: str  # 'active', or the other state
    failure: str  # reason of the last failed transition, or ''
    enabled: bool
    engine: str  # device, engine and weights in words
    # (topic, description of its publishers) of image and info, while subscribed
    sources: tuple[tuple[str, str], ...] = ()
    camera_notes: tuple[str, ...] = ()  # unusual but acceptable properties of the camera
    lens: str = ''  # lens model of the camera_info, and its treatment
    unserved: tuple[str, ...] = ()  # descriptions of subscribers with incompatible QoS
    waiting: str = ''  # what the external finder waits for, reported while no hand is tracked
    lost_advice: str = ''  # advice on lost images
    hardware: str = ''  # identifies the camera: the topic of its images
    clock: str = ''  # what is wrong with the ROS clock


class Health:
    """Collects events of images and reports them in two DiagnosticStatus: input and tracking."""

    def __init__(self, now: float) -> None:
        self.counts = Counts()
        self._gaps = StampGaps()
        self._started = self._last_image = self._last_info = self._last_processed = (
            self._last_hand
        ) = now
        self._first_image, self._infos = math.nan, 0
        # number of camera infos at the arrival of each image
        self._infos_by_image: deque[int] = deque(maxlen=GAPS + 1)
        self.waiting = ''  # what the start-up waits for, at the last report
        self._refusal, self._refused_at = '', -math.inf
        self._info_refusal, self._info_refused_at = '', -math.inf
        # of the last image out of order
        self._behind_s, self._late_at, self._jumped_at = (0.0, -math.inf, -math.inf)
        self._notes: dict[str, tuple[str, float]] = {}  # kind: (text, time of the last note)
        self._hands = 0
        self._worked_s = 0.0  # [s] time spent on images since the last report
        self._latency_ms = self._processing_ms = self._age_s = math.nan
        self._reported, self._reported_at = Counts(), now

    def image_received(self, stamp_s: float, now: float, age_s: float = math.nan) -> None:
        """Record an image. age_s: ROS clock minus stamp [s]; NaN without a stamp."""
        self.counts.received += 1
        if self.counts.received == 1:
            self._first_image = now
        self._last_image, self._age_s = now, age_s
        self._gaps.add(stamp_s)
        self._infos_by_image.append(self._infos)

    def input_started_anew(self) -> None:
        """Record that the subscription was renewed: images missing meanwhile were not lost."""
        self._gaps.clear()
        self._infos_by_image.clear()

    def info_received(self, now: float) -> None:
        """Record a camera_info."""
        self._infos += 1
        self._last_info = now

    def refused(self, reason: str, now: float) -> None:
        """Record an unusable image."""
        self.counts.refused += 1
        self._refusal, self._refused_at = reason, now

    def info_refused(self, reason: str, now: float) -> None:
        """Record an unusable camera_info; the one before is still used."""
        self._info_refusal, self._info_refused_at = reason, now

    def late(self, behind_s: float, now: float) -> None:
        """Record an image that is older than the newest one by behind_s [s], and was not
        tracked.
        """
        self.counts.processed += 1
        self.counts.late += 1
        self._behind_s, self._late_at = behind_s, now

    def jumped_back(self, behind_s: float, now: float) -> None:
        """Record that stamps jumped back by behind_s [s]; the image was tracked."""
        self.counts.jumps += 1
        self._behind_s, self._jumped_at = behind_s, now

    def noted(self, reason: str, now: float, kind: str = '') -> None:
        """Record a defect of a tracked image. Of each kind only the last reason is kept."""
        self._notes[kind or reason] = reason, now

    def without_hand_s(self, now: float) -> float:
        """Return the time without a tracked hand [s]."""
        return now - self._last_hand

    def processed(
        self, hands: int, dropped: int, processing_ms: float, latency_ms: float, now: float
    ) -> None:
        """Record a tracked image."""
        self.counts.processed += 1
        self._last_processed = now
        self.counts.dropped = dropped
        self._hands, self._processing_ms, self._latency_ms = hands, processing_ms, latency_ms
        self._worked_s += processing_ms * 1e-3
        if hands:
            self._last_hand = now

    def report(self, name: str, situation: Situation, now: float) -> list[DiagnosticStatus]:
        """Return the status [input, tracking] since the last report."""
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
        # everything is reported at least once, also on a machine too busy to report in time
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
        if now - self._jumped_at < recent:  # one jump is normal for a recording that starts over
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
        """Explain missing images.

        The camera_info shows where: it is small and does not get lost. For an image skipped by the
        camera, the camera_info is missing too. If there is not one per image, both explanations are
        possible.
        """
        images = len(self._infos_by_image) - 1
        infos = self._infos_by_image[-1] - self._infos_by_image[0]
        expected = images / (1 - share)  # including the missing ones
        nearer = (expected - images) / 2
        if abs(infos - images) < min(nearer, images / 4):
            # Without a share: a camera on a busy CPU has no steady period.
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


def gpu_memory() -> dict[str, Any]:
    """Return the GPU memory used by torch, and the free one, as key values; empty if it uses
    none.
    """
    torch = sys.modules.get('torch')  # not imported for this
    if torch is None or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        'GPU memory of this process [MiB]': torch.cuda.memory_reserved() // 2**20,
        'GPU memory free [MiB]': f'{free // 2**20} of {total // 2**20}',
    }


def status(name: str, found: list[tuple[int, str]], values: Mapping[str, Any]) -> DiagnosticStatus:
    """Return a DiagnosticStatus of findings [(level, text)], the worst first, and key values."""
    found = sorted(found, key=lambda finding: finding[0], reverse=True)
    return DiagnosticStatus(
        name=name,
        level=found[0][0] if found else OK,
        message='; '.join(text for _, text in found) or 'ok',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
