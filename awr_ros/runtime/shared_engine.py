"""One engine for several cameras of a process: waiting crops are evaluated together in one pass.

A GPU takes hardly longer for eight crops than for one, and on a CPU a single engine does not
compete with others for the cores. Callers do not wait for a batch to fill: the first one that comes
while no pass runs starts one with all crops that wait.
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
    """Engine whose `predict` may be called from several threads, one call at a time from each.

    Each pass holds crops of all waiting callers, in equal shares: a caller with no more crops than
    its share waits for no more than the pass that is running. An error of the engine reaches only
    those callers whose own crops raise it.
    """

    def __init__(self, engine: Engine) -> None:
        """engine: of awr_ros.runtime, not used by anybody else."""
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []  # in order of arrival, until they are done
        self._reading = False  # whether some caller runs a pass

    @property
    def config(self) -> EngineConfig:
        """Configuration of the engine."""
        return self._engine.config

    @property
    def description(self) -> str:
        """Description of the engine in words."""
        return f'{self._engine.description}, shared by the cameras of this process'

    @property
    def max_batch(self) -> int:
        """Most crops in one pass."""
        return self._engine.max_batch

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 uvdn.

        Raise ValueError for other arrays, and whatever the engine raises for these crops.
        """
        check_crops(crops, self.config)  # before they join a pass with others
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
                    if not answers:  # interrupted: the next caller takes over the others
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
        """Predict from the crops of several callers together; if that fails, from each caller's
        alone.
        """
        try:
            together = self._engine.predict(np.concatenate([crops for _, crops in parts]))
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return [answer for part in parts for answer in self._pass([part])]
        ends = np.cumsum([len(crops) for _, crops in parts])
        return [together[end - len(crops) : end] for (_, crops), end in zip(parts, ends)]


class _Request:
    """Crops of one caller, and the predictions so far."""

    def __init__(self, crops: np.ndarray) -> None:
        self.left = crops
        self._parts: list[Predictions] = []
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether all crops are predicted, or an error occurred."""
        return self._error is not None or not len(self.left)

    def take(self, answer: Predictions | Exception) -> None:
        """Add an answer: Predictions of the first remaining crops, or the exception that these
        raised.
        """
        if isinstance(answer, Exception):
            self._error = answer
        else:
            self._parts.append(answer)
            self.left = self.left[len(answer) :]

    def result(self) -> Predictions:
        """Return the predictions of all crops, or raise the error."""
        if self._error is not None:
            raise self._error
        return joined(self._parts)


def fair_shares(wanted: Sequence[int], most: int) -> list[int]:
    """Distribute `most` items in turns of one each, the first ones first. Return the share of each.

    wanted: number wanted by each.
    """
    shares = [0] * len(wanted)
    while most > 0 and shares != list(wanted):
        for i, (share, limit) in enumerate(zip(shares, wanted)):
            if share < limit and most > 0:
                shares[i] += 1
                most -= 1
    return shares


class SharedEngines:
    """Engines of a process with several cameras: equal ones are shared.

    An engine is loaded for its first user and freed with its last.
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
        """Return the engine of these weights, loaded if nobody has it. Arguments and errors as
        load_engine.
        """
        key = _contents(weights), engine, device, num_threads
        # one lock per engine: other cameras do not wait for a slow load
        with self._locks.setdefault(key, threading.Lock()):
            shared = self._engines.get(key)
            if shared is None:
                shared = self._engines[key] = BatchedEngine(
                    self._load(weights, engine, device, num_threads)
                )
            return shared


def _contents(weights: str | Path | None) -> str | tuple[str, int, int] | None:
    """Return a key that changes when the file is replaced."""
    if weights is None:
        return None
    path = Path(weights).resolve()
    try:
        about = os.stat(path)
    except OSError:  # load_engine reports the reason
        return str(path)
    return str(path), about.st_mtime_ns, about.st_size
