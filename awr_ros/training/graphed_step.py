"""A training step as one CUDA graph: one launch instead of some thousand, most of which take longer
than their work.
"""

import sys
from collections.abc import Callable
from typing import Protocol

import torch

WARM_UPS = 4  # steps before the capture: libraries choose their kernels, the allocator its blocks

Terms = dict[str, torch.Tensor]


class Capture(Protocol):
    """How steps are captured: `CudaCapture`, replaced in tests."""

    def warm_up(self, step: Callable[[], Terms]) -> Terms:
        """Run a step as it will be captured."""

    def capture(self, step: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        """Record a step without running it. Return what runs it, and the tensors that each run
        fills.
        """


class CudaCapture:
    """Captures on a stream of its own, as the gradients' nodes remember the stream that they were
    made on.
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
        """Record a step. Raises RuntimeError for a step that waits for the GPU."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            terms = step()
        return graph.replay, terms


class GraphedStep:
    """A step of training, captured after some steps, or where that fails run as it is, which is
    said once.
    """

    def __init__(
        self, step: Callable[..., Terms], make_capture: Callable[[], Capture] = CudaCapture
    ):
        """step: takes tensors of one size and type at every call, updates weights in place and
        returns tensors, all without waiting for the GPU; make_capture: how it is captured.
        """
        self._step, self._capture, self._given, self._replay, self._terms, self._warm_ups = (
            step,
            None,
            None,
            None,
            {},
            0,
        )
        self._try(lambda: setattr(self, '_capture', make_capture()))

    def __call__(self, *inputs: torch.Tensor) -> Terms:
        """Run the step on the inputs. The tensors that it returns are overwritten by
        the next one.
        """
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
        return self._step(*self._given)

    def _record(self) -> None:
        self._replay, self._terms = self._capture.capture(self._run)

    def _try(self, prepare: Callable[[], None]) -> None:
        try:
            prepare()
        except (
            RuntimeError,
            AssertionError,
        ) as error:  # torch raises both where CUDA lacks something
            self._capture = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(
                f'No CUDA graph of the training step ({reason}): its kernels are launched one by '
                f'one, which is slower.',
                file=sys.stderr,
                flush=True,
            )
