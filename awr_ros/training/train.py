"""Train the compact network on rendered hands: resumable at any sample, on the CPU or a GPU."""
import csv
import ctypes
import itertools
import json
import math
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset

from awr_ros.network import COMPACT_M, COMPACT_S, CompactNetwork, save_checkpoint
from awr_ros.synthetic.crops import CropBatch, CropSource
from awr_ros.training.config import TrainConfig
from awr_ros.training.losses import losses, validation_figures
from awr_ros.training.negatives import cached_negatives

NETWORKS = {'s': replace(COMPACT_S, aligned=True), 'm': replace(COMPACT_M, aligned=True)}     # as CropSource turns hands
VALIDATION_SEED = 1_000_000_007


class RenderedCrops(IterableDataset):
    """Endless batches; every worker and every start of a run draws other ones."""

    def __init__(self, config, start, negatives):
        self.config, self.start, self.negatives = config, start, negatives

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        if info:
            torch.set_num_threads(1)
            keep_memory()
        seed = (self.config.seed * 1_000_003 + self.start * 64 + (info.id if info else 0)) % (2 ** 62)
        source = CropSource(seed, skins=load_skins(self.config.skin), negatives=self.negatives, compiled=self.config.compiled)
        while True:                     # rendering is fastest in batches of 64, learning not
            drawn = source.draw(-(-64 // self.config.batch) * self.config.batch)
            yield from zip(*(getattr(drawn, name).split(self.config.batch) for name in CropBatch.__dataclass_fields__))


def load_skins(path):
    """The hands to draw from: the procedural one, and a GLB file's where one is given."""
    from awr_ros.synthetic.hand import procedural_skin
    if not path:
        return [procedural_skin(2.5)]
    from awr_ros.training.glb_skin import read_glb_skin
    return [procedural_skin(2.5), read_glb_skin(path, 2.5)]


def train(folder, config: TrainConfig):
    """Train until `config.samples` crops were seen, going on from `folder`/last.pt where there is one.

    Writes last.pt (all that is needed to go on), weights.pt (the averaged weights, as the package loads them), log.csv.
    """
    from tqdm import tqdm       # of the training extras; evaluation does without

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(config.device if config.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu')
    keep_memory()
    torch.manual_seed(config.seed)
    network = CompactNetwork(NETWORKS[config.size]).to(device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=Average(config.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    seen = 0
    if (folder / 'last.pt').exists():
        state = torch.load(folder / 'last.pt', map_location=device, weights_only=True)
        network.load_state_dict(state['network'])
        average.load_state_dict(state['average'])
        optimizer.load_state_dict(state['optimizer'])
        seen = state['seen']
    (folder / 'config.json').write_text(json.dumps(asdict(config), indent=1))

    negatives = None
    if config.negatives:
        shown = partial(tqdm, desc='crops of other things', unit='crop', mininterval=5)
        negatives = cached_negatives(folder / 'negatives.pt', config.negatives, network.config.crop_size, network.config.cube_mm, shown)
    validation = CropSource(VALIDATION_SEED, skins=load_skins(config.skin))
    validation = [validation.draw(128) for _ in range(config.validation // 128)]
    crops = iter(DataLoader(RenderedCrops(config, seen, negatives), batch_size=None, num_workers=config.workers,
                            prefetch_factor=4 if config.workers else None))
    # Half precision pays where there are matrix units for it; without them it is slower than float32.
    half = device.type == 'cuda' or torch.cpu._is_amx_tile_supported()

    def compute(*crops):
        batch = CropBatch(*crops)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            field, hand_logit = network(batch.depth)
        return losses(field, hand_logit, batch, network.config.kernel_size)
    if config.compiled:
        compute = torch.compile(compute)
    sums, count, began = {}, 0, time.time()
    with tqdm(total=config.samples, initial=seen, unit='crop', smoothing=0.05, mininterval=5) as bar:
        for step in itertools.count(1):
            if seen >= config.samples:
                break
            for group in optimizer.param_groups:
                group['lr'] = config.learning_rate * schedule(seen, config.samples)
            crops_now = [t.to(device, non_blocking=True) for t in next(crops)]
            network.train()
            total, terms = compute(*crops_now)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            average.update_parameters(network)
            before, seen = seen, seen + config.batch
            bar.update(config.batch)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.item()
            count += 1
            if before // config.validate_every != seen // config.validate_every or seen >= config.samples:
                figures = validate(average.module, validation, device)
                row = {'seen': seen, 'lr': optimizer.param_groups[0]['lr'], 'crops_per_s': round(count * config.batch / (time.time() - began), 1),
                       **{f'train_{k}': v / count for k, v in sums.items()}, **figures}
                log(folder / 'log.csv', row)
                tqdm.write(' '.join(f'{k}={v:.4g}' for k, v in row.items()))
                save_checkpoint(folder / 'weights.pt', average.module, seen, figures)
                torch.save({'network': network.state_dict(), 'average': average.state_dict(),
                            'optimizer': optimizer.state_dict(), 'seen': seen}, folder / 'last.tmp')
                (folder / 'last.tmp').replace(folder / 'last.pt')
                sums, count, began = {}, 0, time.time()


class Average:
    """Exponential moving average whose memory grows with the steps taken, so that it forgets the random start."""

    def __init__(self, decay):
        self.decay = decay

    @torch.no_grad()
    def __call__(self, averages, values, steps):
        keep = min(self.decay, (1 + float(steps)) / (10 + float(steps)))
        for average, value in zip(averages, values):
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)


def schedule(seen, total):
    """Learning rate as a share of its peak: linear warm-up over 20k samples, then a cosine to zero."""
    return min(1, (seen + 1) / 20_000) * 0.5 * (1 + math.cos(math.pi * min(1, seen / total)))


@torch.no_grad()
def validate(network, batches, device):
    """Figures of one network on labelled crops. batches: list of CropBatch on the CPU."""
    network.eval()
    sums = {}
    for batch in batches:
        batch = CropBatch(*(getattr(batch, name).to(device) for name in CropBatch.__dataclass_fields__))
        for name, value in validation_figures(*network(batch.depth), batch, network.config.kernel_size).items():
            sums[name] = sums.get(name, 0) + value / len(batches)
    return sums


def log(path, row):
    """Append a row to a CSV file, with a header if it is new. A file with other columns is kept under another name."""
    if path.exists() and path.read_text().partition('\n')[0] != ','.join(row):
        path.rename(path.with_name(f'{path.stem}-until-{row["seen"]}{path.suffix}'))
    new = not path.exists()
    with open(path, 'a', newline='') as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def keep_memory():
    """Tell glibc to keep freed memory: rendering allocates megabytes by the hundred, and fresh pages cost a third of it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        mmap_threshold, trim_threshold = -3, -1
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
