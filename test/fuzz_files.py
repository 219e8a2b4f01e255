"""Damaged files for everything that the package reads: each must be read, or refused by one of the
errors that are named.

By hand, some thousand of them: PYTHONPATH=test:$PYTHONPATH python test/fuzz_files.py 2000
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from memory import Memory, growth, memory
from recordings import K, PlainTracker, png, usual

from awr_ros.datasets.authors_checkpoint import import_authors_checkpoint
from awr_ros.finders.palm_detector import DEFAULT_FINDER, PalmDetector
from awr_ros.networks.checkpoint import (
    CompactNetwork,
    ModelConfig,
    load_checkpoint,
    save_checkpoint,
)
from awr_ros.offline.track import Outputs, Recording, opened, track
from awr_ros.runtime import select
from awr_ros.runtime.export import export
from awr_ros.runtime.onnx_engine import OnnxEngine
from awr_ros.runtime.openvino_engine import OpenVinoEngine
from awr_ros.training.config import TrainConfig
from awr_ros.training.run import Run, log

TINY = ModelConfig(stem=(4, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=32)
NAMED = (ValueError, OSError)  # what the command line turns into a line
PART = 100  # files of one folder, after which memory is measured
PRINTED = 5  # parts between two lines of progress
# Limits over the second half of a run. In the heap the largest file, 2 MB, may leave a hole or not.
MAX_GROWTH_MB = {'allocated': 1.0, 'anonymous': 3.0}
INFO = '{"fx": 30, "fy": 31, "cx": 15.5, "cy": 11.5, "width": 32, "height": 24}'


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes cut short, flipped, overwritten, removed, doubled, filled with zeros or
    replaced.
    """
    at = int(rng.integers(0, len(data)))
    some = int(rng.integers(1, 64))
    kind = rng.integers(0, 9)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + rng.bytes(some) + data[at + some :]
    if kind == 3:
        return data[:at] + data[at + some :]
    if kind == 4:
        return data[:at] + data[max(0, at - some) :]
    if kind == 5:
        return data[:at] + bytes(len(data) - at)  # as after a power cut
    if kind == 6:
        return data[:at] + b'\xff' * 8 + data[at + 8 :]  # lengths
    if kind == 7:
        return rng.bytes(int(rng.integers(0, 300)))
    several = bytearray(data)
    for i in rng.integers(0, len(data), some):
        several[i] = int(rng.integers(256))
    return bytes(several)


class Readers:
    """{kind: (path of a good file, function that reads it)}, in a folder."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder = folder
        network = CompactNetwork(TINY).eval()
        png(folder / 'frames' / '0.png')
        png(folder / 'frames' / '1.png')
        (folder / 'k.json').write_text(INFO)
        (folder / 'k.yaml').write_text(INFO.replace('"', ''))
        for storage in ('mcap', 'sqlite3'):
            usual(folder / storage, storage=storage)
        for name in ('checked', 'alone'):
            save_checkpoint(folder / f'{name}.pt', network, 1, {})
        (folder / 'alone.sha256').unlink()
        for file_format in ('onnx', 'openvino'):
            export(folder / 'checked.pt', folder / 'net', file_format)
        shutil.copy(DEFAULT_FINDER, folder / 'finder.onnx')
        (folder / 'run').mkdir()
        self._run().save()
        log(folder / 'run' / 'log.csv', {'seen': 0, 'loss': 1.0})
        self._cached('onnxruntime'), self._cached('openvino')
        cache = list((folder / 'cache' / 'awr_ros').glob('*/network.*'))
        self.all = {
            'png': (folder / 'frames' / '0.png', lambda path: self._track(path.parent)),
            'camera json': (
                folder / 'k.json',
                lambda path: self._track(folder / 'frames', str(path)),
            ),
            'camera yaml': (
                folder / 'k.yaml',
                lambda path: self._track(folder / 'frames', str(path)),
            ),
            'mcap': (next((folder / 'mcap').glob('*.mcap')), lambda path: self._track(path.parent)),
            'db3': (
                next((folder / 'sqlite3').glob('*.db3')),
                lambda path: self._track(path.parent),
            ),
            'metadata': (folder / 'mcap' / 'metadata.yaml', lambda path: self._track(path.parent)),
            'weights': (folder / 'checked.pt', load_checkpoint),
            'weights without checksum': (
                folder / 'alone.pt',
                lambda path: select.load_engine(path, 'torch', 'cpu', 1),
            ),
            'checksum': (
                folder / 'checked.sha256',
                lambda path: load_checkpoint(path.with_suffix('.pt')),
            ),
            'import': (
                folder / 'alone.pt',
                lambda path: import_authors_checkpoint(path, 'nyu', folder / 'imported.pt'),
            ),
            'last.pt': (folder / 'run' / 'last.pt', lambda path: self._run()),
            'log.csv': (folder / 'run' / 'log.csv', lambda path: self._run()),
            'onnx': (folder / 'net.onnx', OnnxEngine),
            'openvino xml': (folder / 'net.xml', OpenVinoEngine),
            'openvino bin': (
                folder / 'net.bin',
                lambda path: OpenVinoEngine(path.with_suffix('.xml')),
            ),
            'finder': (folder / 'finder.onnx', PalmDetector),
            **{
                f'cached {path.suffix}': (
                    path,
                    lambda path: self._cached(
                        'onnxruntime' if path.suffix == '.onnx' else 'openvino'
                    ),
                )
                for path in cache
            },
        }

    def _track(self, path, intrinsics=K):
        camera = None if path.name in ('mcap', 'sqlite3') else intrinsics
        with opened(Recording(path, intrinsics=camera)) as images:
            track(images, PlainTracker(), Outputs(str(self.folder / 'o.jsonl')))

    def _run(self):
        return Run(
            self.folder / 'run',
            CompactNetwork(TINY).to(memory_format=torch.channels_last),
            TrainConfig(samples=64, batch=8),
        )

    def _cached(self, engine):
        before = os.environ.get('XDG_CACHE_HOME')
        os.environ['XDG_CACHE_HOME'] = str(self.folder / 'cache')
        try:
            return select.load_engine(self.folder / 'checked.pt', engine, 'cpu', 1)
        finally:
            os.environ.pop('XDG_CACHE_HOME')
            if before is not None:
                os.environ['XDG_CACHE_HOME'] = before


def fuzz(count: int, seed: int, folder: Path) -> tuple[Counter, Counter, float]:
    """Read `count` damaged files. Returns how many of each kind were refused and how many were
    read, and the longest time [s].

    Raises whatever else a reader raises, with the damaged file kept in `folder`.
    """
    rng, readers = np.random.default_rng(seed), Readers(folder)
    refused, read, longest_s = Counter(), Counter(), 0.0
    slow = [kind for kind in readers.all if kind.startswith('cached')]  # converted anew each time
    kinds = 8 * [kind for kind in readers.all if kind not in slow] + slow
    for number in range(count):
        kind = kinds[number % len(kinds)]
        path, reader = readers.all[kind]
        good = path.read_bytes()
        (folder / 'damaged').write_bytes(damaged(good, rng))
        path.write_bytes((folder / 'damaged').read_bytes())
        start_s = time.perf_counter()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                reader(path)
            read[kind] += 1
        except NAMED as error:
            if len(str(error).splitlines()) != 1:
                raise AssertionError(f'{kind}: not one line: {error!r}') from error
            refused[kind] += 1
        except BaseException as error:
            raise AssertionError(f'{kind}, file {number} of seed {seed}: {error!r}') from error
        longest_s = max(longest_s, time.perf_counter() - start_s)
        for file in path.parent.glob('log*.csv'):  # of runs: renamed where last.pt is damaged
            file.unlink() if file != path else None
        path.write_bytes(good)
        if path.name != 'log.csv':
            (folder / 'run' / 'log.csv').write_text('seen,loss\n0,1.0\n')
    return refused, read, longest_s


def too_much(readings: list[Memory]) -> list[str]:
    """Return what grew by more than is allowed over the second half of the readings, in words."""
    later = readings[len(readings) // 2 :]
    texts = []
    for name, limit in MAX_GROWTH_MB.items():
        grown = growth([getattr(reading, name) for reading in later])
        print(f'{name} memory grew by {grown:+.2f} MB over the second half, allowed are {limit}')
        if grown > limit:
            texts.append(f'{name} +{grown:.2f} MB')
    return texts


def main(total: int) -> int:
    """Read `total` damaged files and report; return the exit status, 1 where memory grew."""
    all_refused, all_read, longest, readings = Counter(), Counter(), 0.0, []
    for part in range(-(-total // PART)):
        with tempfile.TemporaryDirectory() as name:
            result = fuzz(min(PART, total - PART * part), part, Path(name))
        all_refused, all_read = all_refused + result[0], all_read + result[1]
        longest = max(longest, result[2])
        readings.append(memory())
        if (part + 1) % PRINTED == 0:
            print(
                '{} files: {:.1f} MB resident, {:.1f} anonymous, {:.2f} allocated'.format(
                    min(total, PART * (part + 1)), *readings[-1]
                ),
                flush=True,
            )
    for kind in {**all_refused, **all_read}:
        print(f'{kind:<26} {all_refused[kind]:>4} refused {all_read[kind]:>4} read')
    print(
        f'{sum(all_refused.values())} refused, {sum(all_read.values())} read, the longest took '
        f'{longest:.1f} s'
    )
    return int(bool(too_much(readings)))


if __name__ == '__main__':
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
