"""Memory of this process, so that a leak can be told from holes in the heap and from pages of
libraries that were read late.
"""

import contextlib
import ctypes
import gc
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Memory(NamedTuple):
    """What this process holds [MB] after everything that is free went back to the system."""

    resident: float
    anonymous: float  # of these, without the pages of files: heaps, holes in them included
    allocated: float  # by the C library's malloc and not freed, NaN where it does not report that


class MallInfo(ctypes.Structure):
    """`struct mallinfo2` of the GNU C library 2.33 or newer."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks '
        'keepcost'.split()
    ]


def memory() -> Memory:
    """Collect garbage, return what is free to the system, and measure."""
    gc.collect()
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # of the GNU C library
        library.malloc_trim(0)
    allocated = float('nan')
    with contextlib.suppress(AttributeError):
        library.mallinfo2.restype = MallInfo
        info = library.mallinfo2()
        allocated = (info.uordblks + info.hblkhd) / 1e6
    status = Path('/proc/self/status').read_text()
    resident, anonymous = (
        int(re.search(rf'^{name}:\s+(\d+) kB', status, re.M)[1]) * 1.024e-3
        for name in ('VmRSS', 'RssAnon')
    )
    return Memory(resident, anonymous, allocated)


def growth(values) -> float:
    """Return how much evenly spaced values grow from the first to the last, by the median of the
    slopes between all pairs (Theil and Sen): single jumps count little.
    """
    values = np.asarray(values, float)
    first, second = np.triu_indices(len(values), 1)
    if not len(first):
        return 0.0
    slopes = (values[second] - values[first]) / (second - first)
    return float(np.median(slopes)) * (len(values) - 1)
