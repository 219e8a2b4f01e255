"""A training run: a network and its average as they learn, and all that is needed to go on after any stop."""
import csv
import ctypes
import math

import torch

from awr_ros.training.optimizer import make_optimizer


class Run:
    """What is learnt, from folder/last.pt on where there is one."""

    def __init__(self, folder, network, config):
        """folder: Path, there already; network: on its device; config: of config.py. Raises ValueError where last.pt is of
        another network."""
        self.folder, self.network, self.config, self.seen = folder, network, config, 0
        self.average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
        self.optimizer = make_optimizer(network, config.learning_rate, config.weight_decay)
        if (folder / 'last.pt').exists():
            state = torch.load(folder / 'last.pt', map_location=next(network.parameters()).device, weights_only=True)
            try:
                network.load_state_dict(state['network'])
            except RuntimeError as error:
                raise ValueError(f"{folder / 'last.pt'} is of another network: take another folder") from error
            self.average.load_state_dict(state['average'])
            self.optimizer.load_state_dict(state['optimizer'])
            self.seen = state['seen']
        self._averaged = int(self.average.n_averaged)       # steps, known here so that no step waits for the GPU

    @property
    def finished(self):
        return self.seen >= self.config.samples

    def step(self, loss, samples):
        """One step of the optimiser and of the average. loss: scalar tensor; samples: how many it is of. Returns whether it is
        time to validate and to save."""
        self.set_learning_rate()
        self.learn(loss)
        return self.advance(samples)

    def set_learning_rate(self) -> None:
        """Set the learning rate of the next step."""
        self.optimizer.set_learning_rate(self.config.learning_rate * schedule(self.seen, self.config.samples))

    def learn(self, loss: torch.Tensor) -> None:
        """Change the weights by the gradient of a loss (a scalar tensor). On a GPU this waits for nothing."""
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()

    def advance(self, samples: int) -> bool:
        """Update the average and count the samples of a step. Return whether it is time to validate and to save."""
        self._update_average()
        before, self.seen = self.seen, self.seen + samples
        return before // self.config.validate_every != self.seen // self.config.validate_every or self.finished

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average whose memory grows with the steps taken, so that it forgets the random start."""
        keep = min(self.config.ema, (1 + self._averaged) / (10 + self._averaged)) if self._averaged else 0.0
        averages, values = ([*module.parameters(), *module.buffers()] for module in (self.average.module, self.network))
        floating = [average.is_floating_point() for average in averages]
        torch._foreach_lerp_([a for a, real in zip(averages, floating) if real], [v for v, real in zip(values, floating) if real],
                             1 - keep)
        for average, value, real in zip(averages, values, floating):
            if not real:
                average.copy_(value)
        self.average.n_averaged += 1
        self._averaged += 1

    def save(self):
        """Write last.pt."""
        save_whole({'network': self.network.state_dict(), 'average': self.average.state_dict(),
                    'optimizer': self.optimizer.state_dict(), 'seen': self.seen}, self.folder / 'last.pt')


def schedule(seen, total):
    """Learning rate as a share of its peak: linear warm-up over 20k samples, then a cosine to zero."""
    return min(1, (seen + 1) / 20_000) * 0.5 * (1 + math.cos(math.pi * min(1, seen / total)))


def save_whole(state, path):
    """torch.save that leaves the old file where it is stopped."""
    unfinished = path.with_suffix('.tmp')
    torch.save(state, unfinished)
    unfinished.replace(path)


def log(path, row):
    """Append a row to a CSV file, with a header if it is new. A file with other columns is kept under another name.

    row: {column: value}, with 'seen', the samples seen so far.
    """
    if path.exists() and path.read_text().partition('\n')[0] != ','.join(row):
        path.rename(path.with_name(f'{path.stem}-until-{row["seen"]}{path.suffix}'))
    new = not path.exists()
    with open(path, 'a', newline='') as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def progress_bar(iterable=None, **options):
    from tqdm import tqdm       # of the training extras; evaluation does without
    return tqdm(iterable, mininterval=5, **options)


def keep_memory():
    """Tell glibc to keep freed memory: rendering allocates megabytes by the hundred, and fresh pages cost a third of it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        mmap_threshold, trim_threshold = -3, -1
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
