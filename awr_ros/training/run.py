"""A training run: a network and its average as they learn, and all that is needed to go on after
any stop.
"""

import csv
import ctypes
import io
import math
from contextlib import contextmanager

import torch

from awr_ros.files import completed
from awr_ros.networks.checkpoint import load_tensors, save_tensors
from awr_ros.training.optimizer import make_optimizer


class Run:
    """What is learnt, from folder/last.pt on where there is one."""

    def __init__(self, folder, network, config):
        """folder: Path, there already; network: on its device; config: of config.py. Raises
        ValueError where last.pt is of another network.
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
        # steps, known here so that no step waits for the GPU
        self._averaged = int(self.average.n_averaged)
        trim_log(folder / 'log.csv', self.seen)

    @property
    def finished(self):
        return self.seen >= self.config.samples

    def step(self, loss, samples):
        """One step of the optimiser and of the average. loss: scalar tensor; samples: how many it
        is of. Returns whether it is time to validate and to save.
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
        """Change the weights by the gradient of a loss (a scalar tensor). On a GPU this waits for
        nothing.
        """
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()

    def advance(self, samples: int) -> bool:
        """Update the average and count the samples of a step. Return whether it is time to validate
        and to save.
        """
        self._update_average()
        before, self.seen = self.seen, self.seen + samples
        return (
            before // self.config.validate_every != self.seen // self.config.validate_every
            or self.finished
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average whose memory grows with the steps taken, so that it forgets
        the random start.
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

    def save(self):
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


def schedule(seen, total):
    """Learning rate as a share of its peak: linear warm-up over 20k samples, then a
    cosine to zero.
    """
    return min(1, (seen + 1) / 20_000) * 0.5 * (1 + math.cos(math.pi * min(1, seen / total)))


def save_whole(state, path):
    """torch.save that leaves the old file where it is stopped."""
    with completed(path) as part:
        save_tensors(state, part)


@contextmanager
def state_of(last, device):
    """What a last.pt holds, a dict. Raises ValueError that names it where it cannot be read or what
    is done with it fails.
    """
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


def load_network_of(last, network, state):
    """Load state['network'] of a last.pt into a network. Raises ValueError where it is of another
    one.
    """
    try:
        network.load_state_dict(state['network'])
    except RuntimeError as error:
        raise ValueError(f'{last} is of another network: take another folder') from error


def checked_count(value):
    """A number of samples, steps, ... of a state. Raises ValueError where it is none."""
    if type(value) is not int or value < 0:
        raise ValueError(f'expected a number of samples, got {value!r:.60}')
    return value


def log(path, row):
    """Append a row to a CSV file, with a header if it is new. A file with other columns is kept
    under another name.

    row: {column: value}, with 'seen', the samples seen so far.
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


def trim_log(path, seen):
    """Leave out the rows of a log that a run will write again: it goes on from `seen` samples, and
    was killed later.
    """
    if not path.exists():
        return
    if not seen:  # of a run whose last.pt is gone
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
    """The samples seen that a row tells; infinity for a row that was cut short or is none."""
    values = row.strip().split(',')
    try:
        whole = row.endswith('\n') and len(values) == len(columns)
        return int(float(values[columns.index('seen')])) if whole else math.inf
    except (ValueError, OverflowError):
        return math.inf


def progress_bar(iterable=None, **options):
    from tqdm import tqdm  # of the training extras; evaluation does without

    return tqdm(iterable, mininterval=5, **options)


def keep_memory():
    """Tell glibc to keep freed memory: rendering allocates megabytes by the hundred, and fresh
    pages cost a third of it.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        mmap_threshold, trim_threshold = -3, -1
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
