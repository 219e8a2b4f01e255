"""One engine for several cameras of a process: the crops that wait are read together, in one pass.

A GPU takes hardly longer for eight crops than for one, and on a CPU a single engine does not fight
with others over the cores. Nobody waits for company: whoever comes while no pass runs starts one
with whatever waits by then.
"""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from awr_ros.runtime.readout import Engine, EngineConfig, Predictions, check_crops, joined
from awr_ros.runtime.select import load_engine


class BatchedEngine:
    """An engine whose `read` may be called from several threads, one call at a time from each.

    Each pass of the engine below holds crops of all callers that wait, in equal shares: a caller
    with no more crops than its share waits for no more than the pass that is running. An error of
    the engine reaches only those callers whose own crops raise it.
    """

    def __init__(self, engine: Engine) -> None:
        """engine: of awr_ros.runtime, used by nobody else."""
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []  # in the order of their arrival, until they are done
        self._reading = False  # some caller runs a pass

    @property
    def config(self) -> EngineConfig:
        """Of the engine below."""
        return self._engine.config

    @property
    def description(self) -> str:
        """Of the engine below, in words."""
        return f'{self._engine.description}, shared by the cameras of this process'

    @property
    def max_batch(self) -> int:
        """Most crops in one pass."""
        return self._engine.max_batch

    def predict(self, crops: np.ndarray) -> Predictions:
        """Read crops (B,1,S,S) float32 uvdn.

        Raise ValueError for other arrays, and what the engine raises for these crops.
        """
        check_crops(crops, self.config)  # or one caller's mistake would end the pass of all
        request = _Request(crops)
        with self._changed:
            self._waiting.append(request)
        while not request.done:
            with self._changed:
                self._changed.wait_for(lambda: request.done or not self._reading)
                if request.done:
                    break
                self._reading = True
                shares = fair_shares([len(other.left) for other in self._waiting], self.max_batch)
                parts = [
                    (other, other.left[:count])
                    for other, count in zip(self._waiting, shares)
                    if count
                ]
            answers: list = []
            try:
                answers = self._pass(parts)
            finally:
                with self._changed:
                    if not answers:  # interrupted: the others are left to the next caller
                        self._waiting.remove(request)
                    for (other, _), answer in zip(parts, answers):
                        other.take(answer)
                    self._waiting = [other for other in self._waiting if not other.done]
                    self._reading = False
                    self._changed.notify_all()
        return request.result()

    def _pass(
        self, parts: 'Sequence[tuple[_Request, np.ndarray]]'
    ) -> list['Predictions | Exception']:
        """Read the crops of several callers together; where that fails, each caller's alone."""
        try:
            together = self._engine.predict(np.concatenate([crops for _, crops in parts]))
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return [answer for part in parts for answer in self._pass([part])]
        ends = np.cumsum([len(crops) for _, crops in parts])
        return [together[end - len(crops) : end] for (_, crops), end in zip(parts, ends)]


class _Request:
    """Crops of one caller, and what was read of them so far."""

    def __init__(self, crops: np.ndarray) -> None:
        self.left = crops
        self._parts: list[Predictions] = []
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        return self._error is not None or not len(self.left)

    def take(self, answer: Predictions | Exception) -> None:
        """answer: Predictions of the first crops that are left, or the Exception that
        these raised.
        """
        if isinstance(answer, Exception):
            self._error = answer
        else:
            self._parts.append(answer)
            self.left = self.left[len(answer) :]

    def result(self) -> Predictions:
        if self._error is not None:
            raise self._error
        return joined(self._parts)


def fair_shares(wanted: Sequence[int], most: int) -> list[int]:
    """Return how many each gets of `most` in all, in turns of one each, the first ones first.

    wanted: how many each wants.
    """
    shares = [0] * len(wanted)
    while most > 0 and shares != list(wanted):
        for i, (share, limit) in enumerate(zip(shares, wanted)):
            if share < limit and most > 0:
                shares[i] += 1
                most -= 1
    return shares


class SharedEngines:
    """The engines of a process that serves several cameras: those that want the same one share it.

    An engine is loaded for the first that wants it and freed with the last that holds it.
    """

    def __init__(self, load: Callable = load_engine) -> None:
        """load: as load_engine, replaced in tests."""
        self._load = load
        self._engines: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
        self._locks: dict[tuple, threading.Lock] = {}

    def load(
        self,
        weights: str | Path | None = None,
        engine: str = 'auto',
        device: str = 'auto',
        num_threads: int | None = None,
    ) -> BatchedEngine:
        """Return the engine of these weights, loaded where nobody holds it. Arguments and errors as
        load_engine's.
        """
        key = _contents(weights), engine, device, num_threads
        # one camera's slow load is not for others to wait for
        with self._locks.setdefault(key, threading.Lock()):
            shared = self._engines.get(key)
            if shared is None:
                shared = self._engines[key] = BatchedEngine(
                    self._load(weights, engine, device, num_threads)
                )
            return shared


def _contents(weights: str | Path | None) -> str | tuple[str, int, int] | None:
    """Return what changes when a file is replaced."""
    if weights is None:
        return None
    path = Path(weights).resolve()
    try:
        about = os.stat(path)
    except OSError:  # load_engine says what is wrong
        return str(path)
    return str(path), about.st_mtime_ns, about.st_size
