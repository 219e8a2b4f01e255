"""Median run times."""

import statistics
import time
from collections.abc import Callable

MAX_S = 4.0  # [s] limit per figure; slow functions run less often


def median_ms(run: Callable, repeats: int, warm_ups: int = 3) -> float:
    """Return the median wall time [ms] of run(), after warm-ups; at least 5 runs, no more after
    MAX_S.
    """
    for _ in range(warm_ups):
        run()
    times: list[float] = []
    end = time.perf_counter() + MAX_S
    while len(times) < 5 or len(times) < repeats and time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)
