"""A training run: network, moving average and everything needed to resume after any stop."""

import csv
import ctypes
import io
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from awr_ros.files import completed
from awr_ros.networks.checkpoint import load_tensors, save_tensors
from awr_ros.training.optimizer import make_optimizer


class Run:
    """State of a training run, resumed from folder/last.pt if it exists."""

    def __init__(self, folder: Path, network: nn.Module, config: Any) -> None:
        """folder: existing Path; network: on its device; config: of config.py. Raise ValueError
        when last.pt is of another network.
        """
        self.folder, self.network, self.config, self.seen = folder, network, config, 0
        self.average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
        self.optimizer = make_optimizer(network, config.learning_rate, config.weight_decay)
        last = folder / 'last.pt'
        if last.exists():
            with state_of(last, next(network.parameters()).device) as state:
                load_network_of(last, network, state)
                self.average.load_state_dict(state['average'])
                self.optimizer.load_state_dict(state['optimizer'])
                self.seen = checked_count(state['seen'])
        # step counts on the host, so that no step synchronises with the GPU
        self._averaged = int(self.average.n_averaged)
        if int(os.environ.get('RANK', 0)) == 0:  # of several processes the first one writes
            trim_log(folder / 'log.csv', self.seen)

    @property
    def finished(self) -> bool:
        """Whether all samples are done."""
        return self.seen >= self.config.samples

    def step(self, loss: torch.Tensor, samples: int) -> bool:
        """Do one step of optimiser and average. loss: scalar tensor; samples: number in the batch.
        Return whether to validate and save now.
        """
        self.set_learning_rate()
        self.learn(loss)
        return self.advance(samples)

    def set_learning_rate(self) -> None:
        """Set the learning rate of the next step."""
        self.optimizer.set_learning_rate(
            self.config.learning_rate * schedule(self.seen, self.config.samples)
        )

    def learn(self, loss: torch.Tensor) -> None:
        """Update the weights by the gradient of a loss (a scalar tensor), without synchronising
        with a GPU.
        """
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()

    def advance(self, samples: int) -> bool:
        """Update the average and count the samples of a step. Return whether to validate and save
        now.
        """
        self._update_average()
        before, self.seen = self.seen, self.seen + samples
        return (
            before // self.config.validate_every != self.seen // self.config.validate_every
            or self.finished
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Update the exponential moving average; its time constant grows with the steps, so that
        the random start is forgotten.
        """
        keep = (
            min(self.config.ema, (1 + self._averaged) / (10 + self._averaged))
            if self._averaged
            else 0.0
        )
        averages, values = (
            [*module.parameters(), *module.buffers()]
            for module in (self.average.module, self.network)
        )
        floating = [average.is_floating_point() for average in averages]
        torch._foreach_lerp_(
            [a for a, real in zip(averages, floating) if real],
            [v for v, real in zip(values, floating) if real],
            1 - keep,
        )
        for average, value, real in zip(averages, values, floating):
            if not real:
                average.copy_(value)
        self.average.n_averaged += 1
        self._averaged += 1

    def save(self) -> None:
        """Write last.pt."""
        save_whole(
            {
                'network': self.network.state_dict(),
                'average': self.average.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'seen': self.seen,
            },
            self.folder / 'last.pt',
        )


def schedule(seen: int, total: int) -> float:
    """Return the learning rate as a share of its peak: linear warm-up over 20k samples, then a
    cosine to zero.
    """
    return min(1, (seen + 1) / 20_000) * 0.5 * (1 + math.cos(math.pi * min(1, seen / total)))


def save_whole(state: Any, path: str | Path) -> None:
    """Save as torch.save does, atomically: after an interruption the old file is still there."""
    with completed(path) as part:
        save_tensors(state, part)


@contextmanager
def state_of(last: Path, device: str | torch.device) -> Any:
    """Load a last.pt, a dict. Raise ValueError that names it if it cannot be read or used."""
    try:
        state = load_tensors(last, 'file', device)
        if not isinstance(state, dict):
            raise ValueError(f'expected a dict, got {type(state).__name__}')
        yield state
    except ValueError as error:
        if str(last) in str(error):
            raise
        raise ValueError(
            f'{last} is no state of a training: {error}; move it away to begin anew'
        ) from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), '')[:200]
        raise ValueError(
            f'{last} is no state of this training ({type(error).__name__}: {reason}): take '
            f'another folder, or '
            'move it away to begin anew'
        ) from error


def load_network_of(last: Path, network: nn.Module, state: dict[str, Any]) -> None:
    """Load state['network'] of a last.pt into a network. Raise ValueError when it is of another
    one.
    """
    try:
        network.load_state_dict(state['network'])
    except RuntimeError as error:
        raise ValueError(f'{last} is of another network: take another folder') from error


def checked_count(value: Any) -> int:
    """Return a number of samples, steps, ... of a state. Raise ValueError when it is none."""
    if type(value) is not int or value < 0:
        raise ValueError(f'expected a number of samples, got {value!r:.60}')
    return value


def log(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a CSV file, with a header if it is new. A file with other columns is renamed
    first.

    row: {column: value}, with 'seen', the number of samples so far.
    """
    if path.exists() and path.read_text(encoding='utf-8').partition('\n')[0] != ','.join(row):
        path.rename(path.with_name(f'{path.stem}-until-{row["seen"]}{path.suffix}'))
    text = io.StringIO()
    writer = csv.DictWriter(text, row, lineterminator='\n')
    if not path.exists():
        writer.writeheader()
    writer.writerow(row)
    with open(path, 'a', encoding='utf-8', newline='') as file:
        file.write(text.getvalue())


def trim_log(path: Path, seen: int) -> None:
    """Remove the rows of a log after `seen` samples, which a resumed run will write again."""
    if not path.exists():
        return
    if not seen:  # a run without last.pt
        path.rename(path.with_name(f'{path.stem}-before-{path.stat().st_mtime_ns}{path.suffix}'))
        return
    header, *rows = path.read_text(encoding='utf-8', errors='replace').splitlines(
        keepends=True
    ) or ['']
    columns = header.strip().split(',')
    kept = [row for row in rows if _seen_in(row, columns) <= seen]
    if len(kept) < len(rows):
        with completed(path) as part:
            part.write_text(''.join([header, *kept]), encoding='utf-8')


def _seen_in(row, columns):
    """Return the number of samples in a row; infinity for a truncated row or another line."""
    values = row.strip().split(',')
    try:
        whole = row.endswith('\n') and len(values) == len(columns)
        return int(float(values[columns.index('seen')])) if whole else math.inf
    except (ValueError, OverflowError):
        return math.inf


def progress_bar(iterable: Iterable | None = None, **options: Any) -> Any:
    """Return a tqdm progress bar."""
    from tqdm import tqdm  # from the training extras, not needed for evaluation

    return tqdm(iterable, mininterval=5, **options)


def keep_memory() -> None:
    """Tell glibc to keep freed memory: rendering allocates hundreds of megabytes, and fresh pages
    would add a third to its time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        mmap_threshold, trim_threshold = -3, -1
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
