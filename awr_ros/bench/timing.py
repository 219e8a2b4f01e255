"""Median run times."""

import statistics
import time

MAX_S = 4.0  # [s] limit per figure; slow functions run less often


def median_ms(run, repeats, warm_ups=3):
    """Return the median wall time [ms] of run(), after warm-ups; at least 5 runs, no more after
    MAX_S.
    """
    for _ in range(warm_ups):
        run()
    times, end = [], time.perf_counter() + MAX_S
    while len(times) < 5 or len(times) < repeats and time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)
