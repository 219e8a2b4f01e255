"""Benchmark from crops to joints: every engine and every network, beside torch in eager mode, as
most research code runs.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from awr_ros.bench.gpu import work
from awr_ros.bench.report import Report
from awr_ros.bench.timing import median_ms
from awr_ros.networks.checkpoint import (
    COMPACT_M,
    CompactNetwork,
    HourglassConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
)
from awr_ros.runtime.onnx_engine import OnnxEngine, onnx_bytes, write_onnx
from awr_ros.runtime.openvino_engine import OpenVinoEngine, write_openvino
from awr_ros.runtime.quantized import quantizable
from awr_ros.runtime.select import default_threads, installed, load_network
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.weight_files import DEFAULT_WEIGHTS

BASELINE = 'ResNet-18'
TORCH = 'torch eager'


def networks(weights: str | Path | None) -> dict[str, Any]:
    """Return {name: network}: the default or given one, and others of the paper, untrained, which
    takes equally long.
    """
    torch.manual_seed(0)
    made = {
        'compact S (default weights)' if weights is None else f'{weights}': load_network(
            weights or DEFAULT_WEIGHTS
        )[0],
        'compact M': CompactNetwork(COMPACT_M),
        BASELINE: ResNet(ResNetConfig()),
        'Hourglass-1': StackedHourglass(HourglassConfig()),
    }
    return {name: network.eval() for name, network in made.items()}


def engines(network: Any, folder: Path, threads: int) -> dict[str, Any]:
    """Return {name: engine} of all that are installed."""
    found: dict[str, Any] = {TORCH: TorchEngine(network, num_threads=threads)}
    if installed('onnxruntime') and installed('onnx'):
        write_onnx(network, '', folder / 'net.onnx')
        found['ONNX Runtime f32'] = OnnxEngine(folder / 'net.onnx', threads)
        if not quantizable(network):
            (folder / 'int8.onnx').write_bytes(onnx_bytes(network, '', int8=True))
            found['ONNX Runtime int8'] = OnnxEngine(folder / 'int8.onnx', threads)
    if installed('openvino'):
        write_openvino(network, '', folder / 'net.xml')
        for precision in ('f32', 'bf16'):
            found[f'OpenVINO {precision}'] = OpenVinoEngine(folder / 'net.xml', threads, precision)
    return found


def peak_flops(threads: int, size: int = 1024) -> float:
    """Measure the float32 operations per second of a matrix product, the best of 10."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, times = torch.randn(size, size), []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return 2 * size**3 / min(times)


def bench_networks(report: Report, weights: str | Path | None, repeats: int) -> None:
    """Write one table: milliseconds per pass, and the speed-up over ResNet-18 in eager mode."""
    threads = default_threads()
    report.section(
        'Crops to joints',
        f'Network and read-out, crops of 128 x 128, {threads} threads, medians of up to {repeats} '
        f'passes. "times" is against {BASELINE} in torch eager in this run, one crop.',
    )
    default = load_network(weights or DEFAULT_WEIGHTS)[0]
    flop, peak = work(default, default.config.crop_size)[0], peak_flops(threads)
    report.remark(
        f'Floor: the network of the weights takes {flop / 1e9:.3f} GFLOP a crop, a float32 matrix '
        f'product here does '
        f'{peak / 1e9:.0f} GFLOP/s: {1e3 * flop / peak:.2f} ms. Integers of 8 bits go below it.'
    )
    rows, baseline = [], float('nan')
    rng = np.random.default_rng(0)
    crops = np.where(
        rng.random((2, 1, 128, 128)) < 0.5, rng.uniform(-1, 1, (2, 1, 128, 128)), 1
    ).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks(weights).items():
            for engine_name, engine in engines(network, Path(folder), threads).items():
                one, two = (
                    median_ms(lambda b=batch, engine=engine: engine.predict(crops[:b]), repeats)
                    for batch in (1, 2)
                )
                rows.append((name, engine_name, one, two))
                print(f'  {name}, {engine_name}: {one:.2f} ms', flush=True)
                if (name, engine_name) == (BASELINE, TORCH):
                    baseline = one
    row = report.table(('network', 'engine', '1 crop [ms]', '2 crops [ms]', 'times'))
    for name, engine_name, one, two in rows:
        row(name, engine_name, one, two, f'{baseline / one:.1f}')
