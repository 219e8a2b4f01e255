"""Workers for the jobs of an archive: processes of this machine, or a Ray cluster."""

import io
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from functools import lru_cache
from typing import Any

from awr_ros.interrupts import stoppable
from awr_ros.offline.archive import (
    Job,
    Result,
    TrackerSettings,
    begin,
    done_before,
    input_state,
    locked,
    note_done,
)

RETRIES = 3  # retries of a Ray task whose worker or node died
OBJECT_STORE = 100 * 2**20  # [bytes] object store of a local Ray: jobs and results are small


def do(job: Job) -> Result:
    """Track one recording, unless it is done or another process tracks it. Never raises for it."""
    with locked(job) as mine:
        if not mine:
            return Result(job.name, 'busy')
        before = done_before(job)
        return before or _track(job)


def _track(job: Job) -> Result:
    from awr_ros.offline.track import opened, track
    from awr_ros.tracker import HandTracker

    start_s = time.perf_counter()
    try:
        inputs = input_state(job)
        with redirect_stderr(io.StringIO()), opened(job.recording) as images:
            # A new tracker, so that ids of hands start again; the network is shared.
            tracker = HandTracker(_estimator(job.tracker), job.tracker.config)
            begin(job)
            summary = track(images, tracker, job.outputs)
        result = Result(
            job.name,
            'tracked',
            summary.frames,
            summary.with_hands,
            summary.refused,
            round(summary.seconds, 3),
        )
        note_done(job, inputs, result)
        return result
    except Exception as error:  # an error in one file must not stop the others
        reason = ' '.join(str(error).split()) or type(error).__name__
        if not isinstance(error, (OSError, ValueError, MemoryError)):
            reason = f'{type(error).__name__}: {reason}'
        return Result(
            job.name, 'failed', seconds=round(time.perf_counter() - start_s, 3), error=reason
        )


@lru_cache(maxsize=1)
def _estimator(settings: TrackerSettings) -> Any:
    """Load the network of this process, with one thread: there is a process for each core."""
    from awr_ros.estimator import HandPoseEstimator

    return HandPoseEstimator.from_pretrained(
        settings.weights,
        device=settings.device,
        engine=settings.engine,
        num_threads=settings.num_threads or 1,
    )


# ---- processes of this machine -----------------------------------------------------------------


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def on_processes(jobs: Sequence[Job], processes: int) -> Generator[Result, None, None]:
    """Do the jobs in processes of this machine; yield results as they are ready.

    When a process dies, for example for lack of memory, the jobs in progress are repeated one at a
    time after all others: the one whose process dies again has failed.
    """
    suspects: list[Job] = []
    waiting = deque(jobs)
    while waiting:
        suspects += yield from _in_pool(waiting, min(processes, len(waiting)))
    for job in suspects:
        if (yield from _in_pool(deque([job]), 1)):
            yield Result(job.name, 'failed', error='its process died: out of memory?')


def _in_pool(waiting: deque[Job], processes: int) -> Generator[Result, None, list[Job]]:
    """Do jobs until none is left, or a process dies; return those in progress then."""
    # Not forked: libraries have threads. A small window, so that the jobs in progress are known.
    spawn = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(processes, spawn, initializer=_start_process)
    running: dict[Future, Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                future = executor.submit(_do_stoppable, waiting[0])  # raises when broken
                running[future] = waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                del running[future]
                yield result
    except BrokenProcessPool:
        return list(running.values())
    except BaseException:  # a signal, or the generator is closed
        for process in list((executor._processes or {}).values()):
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
    return []


def _start_process() -> None:
    """Prepare a process: its parent handles Ctrl-C for it, and it ends when its parent was
    killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _do_stoppable(job: Job) -> Result:
    with stoppable():
        return do(job)


# ---- a Ray cluster -----------------------------------------------------------------------------


def import_ray() -> Any:
    """Import ray without its usage statistics, which it sends to its makers unless this is set."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    import ray

    return ray


def on_ray(jobs: Sequence[Job], address: str) -> Iterator[Result]:
    """Do the jobs as tasks of a Ray cluster; yield results as they are ready.

    address: 'local' starts one on this machine for as long as this runs; otherwise as for ray.init.
    Ray repeats the tasks of workers and nodes that die. Recordings and outputs must have the same
    paths on all nodes, and this package must be installed there.
    """
    ray = import_ray()
    options: dict[str, Any] = {'logging_level': 'warning', 'log_to_driver': False}
    if address == 'local':
        options.update(include_dashboard=False, object_store_memory=OBJECT_STORE)
    already = ray.is_initialized()
    if not already:
        ray.init(address=address, **options)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(do)
        running = {task.remote(job): job for job in jobs}
        while running:
            for reference in ray.wait(list(running))[0]:
                job = running.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError as error:
                    reason = ' '.join(str(error).split())[:200]
                    yield Result(job.name, 'failed', error=f'Ray gave it up: {reason}')
    finally:
        if not already:
            ray.shutdown()
