"""torch on an NVIDIA GPU: half precision, channels last, one CUDA graph per batch size, with the
read-out.

At batch 1 a GPU needs far less time for the compact network's kernels than Python and the driver
need to launch them one by one. A graph replays them all with one launch. A graph is fixed to its
batch size and to its memory, so there is one for each of a few sizes, and smaller batches are
padded with background.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from awr_ros.crop import BACKGROUND
from awr_ros.runtime.fused_network import fused_readout
from awr_ros.runtime.readout import (
    MAX_BATCH,
    EngineConfig,
    Predictions,
    check_crops,
    predict_in_passes,
)

# max_hands x sides is 4 by default; a search takes MAX_BATCH, and twice that for both sides.
GRAPH_BATCHES = (1, 2, 4, MAX_BATCH, 2 * MAX_BATCH)
WARM_UPS = 3  # passes before the capture: cuDNN chooses its kernels, the allocator its blocks


def graph_batch(count: int, batches: Sequence[int] = GRAPH_BATCHES) -> int:
    """Return the smallest batch size that holds `count` crops."""
    if not 1 <= count <= max(batches):
        raise ValueError(f'a pass takes 1 to {max(batches)} crops, got {count}')
    return min(size for size in batches if size >= count)


class CudaEngine:
    """A network on the current CUDA device. All graphs are captured at the start, so no frame waits
    for one.
    """

    def __init__(
        self,
        network: Any,
        origin: str = '',
        half: bool = True,
        batches: Sequence[int] = GRAPH_BATCHES,
        compiled: bool = False,
    ) -> None:
        """Capture the graphs.

        network: of awr_ros.networks.checkpoint; origin: of its weights, a text; half: half
        precision instead of single; batches: sizes to capture a graph for; compiled: as for
        fused_readout.
        """
        if not torch.cuda.is_available():
            raise ValueError("device is 'cuda', but torch finds no CUDA device")
        self.config, self.max_batch = EngineConfig.of(network.config, origin), max(batches)
        self.description = (
            f'torch {torch.__version__} on {torch.cuda.get_device_name()}, '
            f'{"float16" if half else "float32"}, CUDA graphs'
        )
        readout, note = fused_readout(network.eval(), 'cuda', half, compiled)
        if note:
            self.description += f' ({note})'
            print(f'CUDA engine, slower than it could be: {note}', file=sys.stderr, flush=True)
        self.stream = torch.cuda.Stream()
        with torch.inference_mode(), torch.cuda.stream(self.stream):
            # The largest first: the smaller graphs then fit into the memory pool that it made.
            self.graphs: dict[int, _Graph] = {}
            for size in sorted(batches, reverse=True):
                pool = next(iter(self.graphs.values())).graph.pool() if self.graphs else None
                self.graphs[size] = _Graph(readout, size, self.config.crop_size, pool, self.stream)
        self.stream.synchronize()

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 uvdn. Return Predictions."""
        check_crops(crops, self.config)
        return predict_in_passes(self.run_graph, crops, self.max_batch)

    def run_graph(self, crops: np.ndarray) -> list[np.ndarray]:
        """Run one pass with at most as many crops as the largest graph. Return the arrays of
        Predictions.
        """
        return self.graphs[graph_batch(len(crops), tuple(self.graphs))].run(crops, self.stream)


class _Graph:
    """One captured pass with its input and outputs on the device and pinned copies of them on the
    host.
    """

    def __init__(self, readout, batch, size, pool, stream):
        # From pinned memory the GPU copies by itself, without staging by the driver.
        self._host_in = torch.full((batch, 1, size, size), BACKGROUND).pin_memory()
        self._device_in = self._host_in.to('cuda')
        for _ in range(WARM_UPS):
            readout(self._device_in)
        stream.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, stream=stream):
            self._device_out = readout(self._device_in)
        self._host_out = [
            torch.empty(output.shape, dtype=output.dtype).pin_memory()
            for output in self._device_out
        ]

    @torch.inference_mode()
    def run(self, crops, stream):
        """Run crops (b,1,S,S), b up to the graph's batch size. Return the arrays of Predictions
        with b rows.
        """
        count = len(crops)
        self._host_in[:count] = torch.from_numpy(crops)
        self._host_in[count:] = BACKGROUND
        with torch.cuda.stream(stream):
            self._device_in.copy_(self._host_in, non_blocking=True)
            self.graph.replay()
            for host, device in zip(self._host_out, self._device_out):
                host.copy_(device, non_blocking=True)
        stream.synchronize()
        # copies: the next pass overwrites the buffers
        return [host[:count].numpy().copy() for host in self._host_out]
