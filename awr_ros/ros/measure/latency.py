"""Latency from message to message: camera and tracker as two processes, at several rates, with one
and two hands.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from awr_ros.ros.measure.session import STAGES, Result, Session, exit_on_endings

HANDS = (1, 2)
STALL_MS = 40.0  # longer latencies are counted as stalls
REPEAT_S = 2.0  # [s] rendered beforehand, so that rendering takes no CPU during the measurement
SHOWN = 30  # [Hz] rate for the table of stages


def stalls_by_part(result: Result) -> tuple[int, int, int]:
    """Count the stalls by the part of the latency that took longest: before the tracker had the
    image, in it, after it published the hands.
    """
    stalled = result.parts_ms[result.latencies_ms > STALL_MS]
    longest = stalled[~np.isnan(stalled).any(axis=1)].argmax(axis=1)
    before, within, after = np.bincount(longest, minlength=3)
    return int(before), int(within), int(after)


def bench_messages(
    report: Any, seconds: float, rates: Sequence[float], hands: Sequence[int] = HANDS
) -> None:
    """Measure two tables: latency at each rate and number of hands; the stages reported by the
    node.
    """
    exit_on_endings()
    report.section(
        'Message to message',
        'Camera and tracker as two processes over DDS, best effort, 640 x 480, '
        f'{seconds:g} s each; a third process listens. Latency: from the stamp of the image, taken '
        'before it is published, to the arrival of its hands; stalls are latencies above '
        f'{STALL_MS:g} ms, each counted where most of its time passed: before the tracker had the '
        'image, in the tracker, or between its publication of the hands and their arrival. '
        "Dropped: a newer image came before this one's turn. Lost: never "
        "arrived. CPU: of the tracker's process, 100 % is one core. Start: of that process, to its "
        'first hand. Stolen: of all cores, what the host of a virtual machine gave to others; p99 '
        'is theirs as soon as it is not 0.',
    )
    measured = {}
    for count in hands:
        for rate in rates:
            with Session(
                (
                    f'num_hands:={count}',
                    f'rate:={rate:.1f}',
                    f'repeat:={REPEAT_S}',
                    'best_effort:=true',
                ),
                (f'max_hands:={count}',),
            ) as session:
                measured[count, rate] = (*session.measure(seconds), session.cold_start_s)
    row = report.table(
        (
            'hands, rate',
            'p50 [ms]',
            'p99 [ms]',
            'longest [ms]',
            'stalls',
            'before, in, after the tracker',
            'published',
            'dropped',
            'lost',
            'found',
            'error [mm]',
            'CPU',
            'memory [MB]',
            'start [s]',
            'stolen',
        )
    )
    for (count, rate), (result, usage, start_s) in measured.items():
        latencies_ms = result.latencies_ms if result.latencies_ms.size else np.array([np.nan])
        p50, p99, longest = np.percentile(latencies_ms, [50, 99, 100])
        error = result.errors_mm.mean() if result.errors_mm.size else np.nan
        row(
            f'{count} at {rate} Hz',
            float(p50),
            float(p99),
            float(longest),
            int((latencies_ms > STALL_MS).sum()),
            ', '.join(map(str, stalls_by_part(result))),
            result.published,
            result.dropped,
            result.lost,
            f'{result.found:.1%}',
            f'{error:.1f}',
            f'{usage.cpu:.0%}',
            f'{usage.memory_mb:.0f}',
            f'{start_s:.1f}',
            f'{usage.stolen:.1%}',
        )
    if not any(rate == SHOWN for _, rate in measured):
        return
    report.remark(
        f'Where the time goes at {SHOWN} Hz, medians of what the node says of itself in '
        f'milliseconds; input_age is '
        'the way from the stamp to the node, latency from there to the publication of the hands.'
    )
    row = report.table(('hands', *(stage.removesuffix('_ms') for stage in STAGES)))
    for (count, rate), (result, _, _) in measured.items():
        if rate == SHOWN:
            row(count, *(f'{result.stages_ms[stage]:.2f}' for stage in STAGES))
