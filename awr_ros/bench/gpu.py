"""Benchmarks on an NVIDIA GPU: the network against the limits of the card; frames, cameras,
rendering, training.

Without a GPU it reports that. With `tiny` the same code runs on the CPU with replacements for what
only a card has: to test the code, not for figures.
"""

import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from awr_ros.bench.cameras import CASES, FRAMES, Rig, bench_cameras, movement
from awr_ros.bench.timing import median_ms
from awr_ros.networks.checkpoint import ResNet, ResNetConfig
from awr_ros.runtime.cuda_engine import CudaEngine
from awr_ros.runtime.select import load_network
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.synthetic.crop_config import TRAINING
from awr_ros.synthetic.crops import CropSource
from awr_ros.training.config import TrainConfig
from awr_ros.training.train import train
from awr_ros.weight_files import DEFAULT_WEIGHTS

BATCHES = (1, 2, 16, 64)
HANDS = (1, 2, 4)
DRAW = 8192  # crops per rendered batch
TRAINED = 24_000  # training crops per size of network, half of them timed


class Card:
    """The current CUDA device."""

    device = 'cuda'

    def __init__(self):
        self.name = f'{torch.cuda.get_device_name()}, half precision, CUDA graphs'

    def engine(self, network, compiled=False):
        """Return the engine on this device."""
        return CudaEngine(network, batches=BATCHES, compiled=compiled)

    def synchronize(self):
        """Wait for the device."""
        torch.cuda.synchronize()

    def memory_mb(self):
        """Return the memory in use [MB]."""
        return torch.cuda.memory_allocated() / 1e6

    def kernel_ms(self, engine, batch, repeats):
        """Return the median time [ms] of one graph replay, between CUDA events."""
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


class CpuAsCard:
    """The CPU in place of a card, to test the benchmark without one."""

    device = 'cpu'
    name = 'NO GPU: the CPU in its place, to try the bench; none of these figures counts'

    def engine(self, network, compiled=False):
        """Return a CPU engine."""
        engine = TorchEngine(network, num_threads=1)
        engine.run_graph = engine.predict
        return engine

    def synchronize(self):
        """Do nothing."""
        pass

    def memory_mb(self):
        """Return 0."""
        return 0.0

    def kernel_ms(self, engine, batch, repeats):
        """Return the median wall time [ms] of a pass."""
        return float('nan')


def bench_gpu(report, weights, repeats, tiny=False):
    """Run all GPU benchmarks; return whether all succeeded. tiny: as little as possible, on the
    CPU.
    """
    if not tiny and not torch.cuda.is_available():
        report.section('GPU')
        report.remark(
            'No GPU here: nothing was measured. On a machine with one this section has its figures.'
        )
        return True
    card = CpuAsCard() if tiny else Card()
    cases, frames = (((2, 1),), 2) if tiny else (CASES, FRAMES)
    parts = {
        'passes': lambda: bench_passes(
            report, card, weights, repeats, 256 if tiny else 8192, BATCHES[: 1 if tiny else None]
        ),
        'updates': lambda: bench_updates(
            report, card, weights, repeats, HANDS[: 1 if tiny else None], 2 if tiny else FRAMES
        ),
        'cameras': lambda: bench_cameras(report, weights, repeats, card.device, cases, frames),
        'learning': lambda: bench_learning(
            report, card, 16 if tiny else DRAW, 16 if tiny else TRAINED
        ),
    }
    succeeded = [_succeeds(report, name, run) for name, run in parts.items()]
    return all(succeeded)


def _succeeds(report, name, run):
    """Run a part; return whether it succeeded. A failure is reported and ends no other part."""
    try:
        run()
    except Exception as error:
        traceback.print_exc()
        report.remark(f'The part {name} failed: {type(error).__name__}: {error}')
        return False
    return True


def bench_passes(report, card, weights, repeats, matrix, batches):
    """Measure passes with their copies, kernels against the roofline, memory; and ResNet-18 for
    comparison.
    """
    weights = weights or DEFAULT_WEIGHTS
    torch.manual_seed(0)
    made = {
        'compact': (lambda: load_network(weights)[0], False),
        'ResNet-18': (lambda: ResNet(ResNetConfig()).eval(), False),
        # the last, because compiling takes longest
        'compact, torch.compile': (lambda: load_network(weights)[0], True),
    }
    peak_flops, bandwidth = card_peaks(card, matrix)
    report.section(
        'GPU',
        f'{card.name}. Measured on this card: '
        f'{peak_flops / 1e12:.0f} TFLOP/s in a half precision matrix product, '
        f'{bandwidth / 1e9:.0f} GB/s in a copy. "bound": the larger of the times that those peaks '
        'allow.',
    )
    row = report.table(
        (
            'network',
            'crops',
            'pass with copies [ms]',
            'kernels [ms]',
            'bound [ms]',
            'bound / kernels',
        )
    )
    remarks = []
    for name, (make, compiled) in made.items():
        network = make()
        size = network.config.crop_size
        flop, moved = work(network, size)
        before, began = card.memory_mb(), time.monotonic()
        engine = card.engine(network, compiled)
        remarks.append(
            f'{name}: {flop / 1e9:.3f} GFLOP a crop; {engine.description}; '
            f'{card.memory_mb() - before:.0f} MB; loaded in {time.monotonic() - began:.1f} s.'
        )
        for batch in batches:
            crops = np.random.default_rng(0).uniform(-1, 1, (batch, 1, size, size))
            crops = crops.astype(np.float32)
            whole = median_ms(lambda used=engine, shown=crops: used.run_graph(shown), repeats)
            kernels = card.kernel_ms(engine, batch, repeats)
            bound = 1e3 * max(
                batch * flop / peak_flops,
                (moved['weights'] + batch * moved['activations']) / bandwidth,
            )
            row(name, batch, whole, kernels, f'{bound:.4f}', f'{bound / kernels:.1%}')
    for text in remarks:
        report.remark(text)


def bench_updates(report, card, weights, repeats, counts, frames):
    """Measure one frame of one camera, from the depth image to its hands."""
    report.section('HandTracker.update', f'640 x 480 (four hands: 1280 x 480), {card.name}.')
    row = report.table(('hands', 'update [ms]', 'tracked at the end'))
    for hands in counts:
        engine = card.engine(load_network(weights or DEFAULT_WEIGHTS)[0])
        with ThreadPoolExecutor(1) as threads:
            rig = Rig([engine], *movement(hands, frames), hands, threads)
            time_ms = median_ms(rig.step, repeats)
            row(hands, time_ms, len(rig.step()[0]))


def bench_learning(report, card, draw, samples):
    """Measure crops per second rendered, and trained end to end as `train --device` does."""
    report.section(
        'Rendering and training',
        f'{card.name}. Rendering: modelled sensors alone, {draw} crops at once. Training: with '
        'rendering, of modelled sensors and simulated stereo.',
    )
    row = report.table(('what', 'crops/s'))
    source = CropSource(0, replace(TRAINING, stereo=0.0), device=card.device, largest=draw)

    def render():
        source.draw(draw)
        card.synchronize()

    row('rendering', f'{1e3 * draw / median_ms(render, 5, warm_ups=1):.0f}')
    for size in ('s', 'm') if card.device == 'cuda' else ('s',):
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(
                size=size,
                samples=samples,
                batch=max(8, samples // 96),
                validate_every=samples // 2,
                validation=0,
                negatives=0,
                device=card.device,
                workers=0 if draw < DRAW else 8,
            )
            train(folder, config)
            header, *rows = (Path(folder) / 'log.csv').read_text().splitlines()
            rate = float(rows[-1].split(',')[header.split(',').index('crops_per_s')])
        row(f'training {size.upper()}, batch {config.batch}', f'{rate:.0f}')


def work(network, size):
    """Count floating point operations of one crop, and the least bytes moved, in half precision."""
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


def card_peaks(card, matrix):
    """Measure a half precision matrix product [FLOP/s] and a memory copy, read and write [B/s]."""
    a = torch.randn(matrix, matrix, device=card.device, dtype=torch.half)
    block = torch.empty(4 * matrix**2, device=card.device, dtype=torch.float32)  # 1 GiB of 8192
    other = torch.empty_like(block)

    def seconds(run):
        def step():
            run()
            card.synchronize()

        return median_ms(step, 20) * 1e-3

    return (
        2 * matrix**3 / seconds(lambda: a @ a),
        2 * 4 * block.numel() / seconds(lambda: other.copy_(block)),
    )
