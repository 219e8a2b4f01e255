"""A training step as one CUDA graph: one launch instead of some thousand, most of which take longer
than their work.
"""

import sys
from collections.abc import Callable
from typing import Protocol

import torch

# steps before the capture, in which libraries choose kernels and the allocator its blocks
WARM_UPS = 4

Terms = dict[str, torch.Tensor]


class Capture(Protocol):
    """Interface to capture steps: `CudaCapture`, replaced in tests."""

    def warm_up(self, step: Callable[[], Terms]) -> Terms:
        """Run a step in the way it will be captured."""

    def capture(self, step: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        """Record a step without running it. Return a function that runs it, and the tensors that
        each run overwrites.
        """


class CudaCapture:
    """Capture on a separate stream, because autograd nodes keep the stream on which they were
    made.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def warm_up(self, step: Callable[[], Terms]) -> Terms:
        """Run a step on the stream of the capture."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            terms = step()
        current.wait_stream(self._stream)
        return terms

    def capture(self, step: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        """Record a step. Raise RuntimeError for a step that synchronises with the GPU."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            terms = step()
        return graph.replay, terms


class GraphedStep:
    """A training step, captured after some steps; if that fails it runs uncaptured, after one
    warning.
    """

    def __init__(
        self, step: Callable[..., Terms], make_capture: Callable[[], Capture] = CudaCapture
    ):
        """step: takes tensors of the same size and type at every call, updates weights in place and
        returns tensors, all without synchronising with the GPU; make_capture: makes the Capture.
        """
        self._step = step
        self._capture: Capture | None = None
        self._given: list[torch.Tensor] | None = None
        self._replay: Callable[[], None] | None = None
        self._terms: Terms = {}
        self._warm_ups = 0
        self._try(lambda: setattr(self, '_capture', make_capture()))

    def __call__(self, *inputs: torch.Tensor) -> Terms:
        """Run the step on the inputs. The next call overwrites the returned tensors."""
        if self._capture is None:
            return self._step(*inputs)
        if self._given is None:
            self._given = [tensor.clone() for tensor in inputs]
        for kept, tensor in zip(self._given, inputs):
            kept.copy_(tensor)
        if self._replay is None and self._warm_ups == WARM_UPS:
            self._try(self._record)
        if self._replay:
            self._replay()
            return self._terms
        if self._capture is None:
            return self._step(*inputs)
        self._warm_ups += 1
        return self._capture.warm_up(self._run)

    def _run(self) -> Terms:
        assert self._given is not None
        return self._step(*self._given)

    def _record(self) -> None:
        assert self._capture is not None
        self._replay, self._terms = self._capture.capture(self._run)

    def _try(self, prepare: Callable[[], None]) -> None:
        try:
            prepare()
        except (
            RuntimeError,
            AssertionError,
        ) as error:  # torch raises both when CUDA lacks a feature
            self._capture = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(
                f'No CUDA graph of the training step ({reason}): its kernels are launched one by '
                f'one, which is slower.',
                file=sys.stderr,
                flush=True,
            )
