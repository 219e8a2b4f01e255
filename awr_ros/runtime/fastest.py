"""Selection of the fastest engine on this machine: measured once, and cached.

No rule of thumb holds: bfloat16 was faster than float32 on one CPU of a vendor and slower on the
next. Measured are whole passes of one crop, alternately between the engines, so that each finds the
CPU caches as cold as in a tracker, where other work lies between frames.
"""

import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.runtime.cache import converted, own_cache_folder
from awr_ros.runtime.child import run_apart

PASSES = 40  # measured passes of each engine
GAIN = 0.9  # an engine of lower precision must need less than this share of the time
MAX_S = 300.0  # [s] limit of the whole measurement, conversions included


def measured(path: Path, choice: Any, threads: int, measure: Callable | None = None) -> Any:
    """Return the Choice (awr_ros.runtime.select) of the fastest of choice.candidates, with the
    times as its reason.

    path: of the weights; threads: CPU threads of the engines; measure(path, engines, threads):
    returns {engine: ms}, raises OSError. If nothing can be measured or stored, return the given
    choice with that reason.
    """
    measure = measure or measure_apart
    engines = choice.candidates
    key = f'times of {", ".join(engines)}; {_versions()}; {_cpu()}; {threads} threads'

    def check(files):
        times = json.loads(files['.json'])
        if not times or not all(
            name in engines and 0 < ms < math.inf for name, ms in times.items()
        ):
            raise ValueError('no times')

    try:
        own_cache_folder()
        files, _ = converted(
            path,
            key,
            lambda: {'.json': json.dumps(measure(path, engines, threads)).encode()},
            check,
        )
        times = json.loads(files['.json'])
    except OSError as error:
        return replace(choice, reason=f'{choice.reason}, not measured: {error}')
    shown = ', '.join(f'{name} {times[name]:.1f} ms' for name in engines if name in times)
    return replace(choice, engine=preferred(engines, times), reason=f'the fastest here: {shown}')


def preferred(engines: Sequence[str], times: dict[str, float]) -> str:
    """Return the engine to take. engines: the most precise first; times: {engine: ms} of those that
    run.
    """
    best = ''
    for name in engines:
        if name in times and (not best or times[name] < GAIN * times[best]):
            best = name
    return best


def measure_apart(path: Path, engines: Sequence[str], threads: int) -> dict[str, float]:
    """Return {engine: median ms of a pass} of the engines that run, measured in another process.
    Raise OSError if none does.
    """
    arguments = (os.fspath(Path(path).resolve()), tuple(engines), threads)
    try:
        done = run_apart(__name__, arguments, MAX_S)
        times = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError, subprocess.TimeoutExpired) as error:
        raise OSError(f'the measurement failed: {type(error).__name__}') from None
    if not times:
        raise OSError('no engine runs')
    return times


def main(arguments: Sequence[Any]) -> None:
    """Run the measuring process: the last line of its output is JSON."""
    path, names, threads = arguments
    print(json.dumps(measure_here(Path(path), names, threads)), flush=True)


def measure_here(path: Path, names: Sequence[str], threads: int) -> dict[str, float]:
    """Return {engine: median ms of a pass of one crop} of the engines that run: CPU time, which
    other processes hardly change.
    """
    from awr_ros.runtime.select import load_engine

    engines = {}
    for name in names:
        try:
            engines[name] = load_engine(path, name, 'cpu', threads)
        except (ImportError, OSError, ValueError) as error:
            print(f'{name}: {error}', file=sys.stderr)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(PASSES):
        for name, engine in engines.items():
            crop = np.full(
                (1, 1, engine.config.crop_size, engine.config.crop_size), 0.2, np.float32
            )
            start = time.process_time()
            engine.predict(crop)
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(each) for name, each in times.items()}


def _versions():
    """Return the versions of the packages that run networks."""
    found = []
    for package in ('onnxruntime', 'openvino'):
        try:
            found.append(f'{package} {importlib.metadata.version(package)}')
        except importlib.metadata.PackageNotFoundError:
            pass
    return ', '.join(found)


def _cpu():
    """Return the model name of the CPU, if known."""
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.partition(':')[2].strip() for line in lines if line.startswith('model name')),
        platform.machine(),
    )
