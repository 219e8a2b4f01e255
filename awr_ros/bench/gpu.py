"""The network on an NVIDIA GPU, against what the card can do. Says so where there is none."""

import numpy as np
import torch

from awr_ros.bench.timing import median_ms
from awr_ros.runtime.cuda_engine import CudaEngine
from awr_ros.runtime.select import load_network
from awr_ros.weight_files import DEFAULT_WEIGHTS

BATCHES = (1, 2, 16, 64)
CAMERAS = 4


def bench_gpu(report, weights, repeats):
    """Kernel time against the roofline, time of a pass with its copies, memory, several cameras in one process."""
    if not torch.cuda.is_available():
        report.section('GPU')
        report.remark(
            'No GPU here: nothing was measured. On a machine with one this section has its figures.'
        )
        return
    network, _ = load_network(weights or DEFAULT_WEIGHTS)
    size = network.config.crop_size
    flop, moved = work(network, size)
    peak_flops, bandwidth = card_peaks()
    report.section(
        'GPU',
        f'{torch.cuda.get_device_name()}, half precision, CUDA graphs. Measured on this card: '
        f'{peak_flops / 1e12:.0f} TFLOP/s in a half precision matrix product, {bandwidth / 1e9:.0f} GB/s in a copy. '
        f'A crop takes {flop / 1e9:.3f} GFLOP. "bound": the larger of the times that those peaks allow.',
    )
    before = torch.cuda.memory_allocated()
    engine = CudaEngine(network, batches=BATCHES)
    row = report.table(
        ('crops', 'pass with copies [ms]', 'kernels [ms]', 'bound [ms]', 'share of the bound')
    )
    for batch in BATCHES:
        crops = np.random.default_rng(0).uniform(-1, 1, (batch, 1, size, size)).astype(np.float32)
        whole = median_ms(lambda: engine.run_graph(crops), repeats)
        kernels = kernel_ms(engine, batch, repeats)
        bound = 1e3 * max(
            batch * flop / peak_flops, (moved['weights'] + batch * moved['activations']) / bandwidth
        )
        row(batch, whole, kernels, f'{bound:.4f}', f'{bound / kernels:.1%}')
    report.remark(
        f'Memory of the graphs and weights: {(torch.cuda.memory_allocated() - before) / 1e6:.0f} MB.'
    )
    engines = [CudaEngine(load_network(weights or DEFAULT_WEIGHTS)[0]) for _ in range(CAMERAS)]
    crops = crops[:2]
    report.remark(
        f'{CAMERAS} cameras in one process, 2 crops each, one after the other: '
        f'{median_ms(lambda: [one.read(crops) for one in engines], repeats):.2f} ms.'
    )


def kernel_ms(engine, batch, repeats):
    """Median time [ms] between events around one replay."""
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(engine.stream):
            start.record()
            engine.graphs[batch].graph.replay()
            stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return float(np.median(times))


def work(network, size):
    """Of one crop: floating point operations of the convolutions, and bytes moved at least, in half precision."""
    from torch.utils.flop_counter import FlopCounterMode

    activations = []
    hooks = [
        module.register_forward_hook(
            lambda _, inputs, output: activations.append(inputs[0].numel() + output.numel())
        )
        for module in network.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
    ]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.ones(1, 1, size, size))
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops(), {
        'activations': 2 * sum(activations),
        'weights': 2 * sum(p.numel() for p in network.parameters()),
    }


def card_peaks():
    """Half precision matrix product [FLOP/s] and memory copy, read and write [B/s], measured on this card."""
    a = torch.randn(8192, 8192, device='cuda', dtype=torch.half)
    block = torch.empty(2**28, device='cuda', dtype=torch.float32)  # 1 GiB
    other = torch.empty_like(block)

    def synchronised(run):
        def step():
            run()
            torch.cuda.synchronize()

        return median_ms(step, 20) * 1e-3

    return 2 * 8192**3 / synchronised(lambda: a @ a), 2 * 4 * 2**28 / synchronised(
        lambda: other.copy_(block)
    )
