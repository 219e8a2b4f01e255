"""What a finished network's refiner learns from crops that the network reads: to correct the joints that the votes give, and to
know how likely they are right."""
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as nn_f
from torch.utils.data import DataLoader, IterableDataset

from awr_ros.network import CompactNetwork, load_checkpoint, save_checkpoint
from awr_ros.offset_field import vote, without_strays
from awr_ros.refiner import claims
from awr_ros.synthetic.crops import TRAINING, CropSource
from awr_ros.training.evaluate_scenes import RIGHT_MM
from awr_ros.training.negatives import render_negatives
from awr_ros.training.run import keep_memory, progress_bar
from awr_ros.training.train import load_compact, load_skins

HIDDEN = 128
REFINER_SEED = 4_000_000_007        # of crops that no network was trained on
HELD_OUT = 0.02                     # share of the crops that only the figures are of
BATCH_READ = 64                     # crops rendered and read at once
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 6, 256, 1e-3, 0.05
SCORE = 0.04                        # weight of the cross entropy of the scores beside the joints' errors, uvdn units
DEPTH_STEP = 2 / 255                # uvdn units, 1.1 mm: what depth is kept in
NEGATIVES = 4096                    # crops of what the finder offers beside hands


def train_refiner(weights, output, crops=500_000, skin='', workers=2, compiled=False, bfloat16=False, init='', seed=REFINER_SEED):
    """Add a refiner to a checkpoint of the compact network, or replace the one it has.

    weights: path, None: the package's; output: path of the checkpoint to write; crops: to render and to read, 21 kB each; skin,
    compiled, bfloat16: as TrainConfig's; workers: processes that render and read, one core each; init: path of a checkpoint
    whose refiner is the one to start from. What `train_judge` adds has to be learnt anew afterwards. Returns the mean error [mm]
    of crops held out, before and after. Raises ValueError for other networks.
    """
    network, about = load_compact(weights, 'refiner')
    torch.manual_seed(seed % 2 ** 31)
    refined = CompactNetwork(replace(network.config, refiner=HIDDEN, calibration=(), start=())).eval()
    own = {k: v for k, v in network.state_dict().items() if not k.startswith('refiner.')}
    refined.load_state_dict(refined.state_dict() | own)
    if init:
        try:
            refined.refiner.load_state_dict(load_compact(init, 'refiner')[0].refiner.state_dict())
        except (AttributeError, RuntimeError) as error:
            raise ValueError(f'init {init} holds no refiner of this size') from error
    negatives = render_negatives(min(NEGATIVES, crops // 16), network.config.crop_size, network.config.cube_mm, seed % 2 ** 31,
                                 partial(progress_bar, desc='crops of other things', unit='crop'))
    readings = read_crops(network, crops, seed, skin, workers, compiled, bfloat16, negatives)
    if not init:
        refined.refiner.see(*readings[2:4])
    before, after = fit_refiner(refined.refiner, readings)
    save_checkpoint(Path(output), refined, about['step'], {**about['metrics'], 'refined_mm': after}, about.get('recipe'))
    return before, after


def read_crops(network, count, seed, skin='', workers=2, compiled=False, bfloat16=False, negatives=None):
    """What the refiner is told of `count` rendered crops and the truth: a list of tensors, voted (N,J,3), closeness (N,J),
    claimed (N,J,4J), summary (N,C), depth (N,1,S,S), joints_uvdn (N,J,3), cube_mm (N,) and hand (N,) bool. The large ones are of
    half precision, and depth of whole steps of DEPTH_STEP. negatives: as CropSource's."""
    readings = _Readings(network, seed, skin, compiled, bfloat16, negatives)
    readings = DataLoader(readings, batch_size=None, num_workers=workers)
    kept = None
    with progress_bar(total=count, unit='crop') as bar:
        for first, part in zip(range(0, count, BATCH_READ), readings):
            if not kept:                # at once: there is not memory for two of them
                kept = [torch.empty(count, *tensor.shape[1:], dtype=tensor.dtype) for tensor in part]
            for whole, tensor in zip(kept, part):
                whole[first:first + BATCH_READ] = tensor[:count - first]
            bar.update(min(BATCH_READ, count - first))
    return kept


class _Readings(IterableDataset):
    """Endless readings of BATCH_READ crops."""

    def __init__(self, network, seed, skin, compiled, bfloat16, negatives):
        self.network, self.seed, self.skin, self.negatives = network, seed, skin, negatives
        self.compiled, self.bfloat16 = compiled, bfloat16

    @torch.inference_mode()
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        if info:
            torch.set_num_threads(1)
            keep_memory()
        config, network = self.network.config, self.network.to(memory_format=torch.channels_last)
        wanted = replace(TRAINING, size=config.crop_size, cube_mm=config.cube_mm)
        source = CropSource(self.seed * 64 + (info.id if info else 0), wanted if config.aligned else replace(wanted, aligned=0.0),
                            load_skins(self.skin), self.negatives, compiled=self.compiled)

        def read(depth):
            with torch.autocast('cpu', torch.bfloat16, enabled=self.bfloat16):
                field, _, summary = network.look(depth)
            field, depth = field.float(), without_strays(depth)
            voted, closeness, weights = vote(field, depth, config.kernel_size)
            return voted, closeness, claims(field, weights).half(), summary.half(), as_bytes(depth)
        if self.compiled:
            read = torch.compile(read)
        while True:
            batch = source.draw(BATCH_READ)
            yield *read(batch.depth.contiguous(memory_format=torch.channels_last)), batch.joints_uvdn, batch.cube_mm, batch.hand


def as_bytes(depth):
    """Depth [-1,1] in whole steps of DEPTH_STEP, uint8."""
    return ((depth + 1) / DEPTH_STEP).round().clamp(0, 255).to(torch.uint8)


def fit_refiner(refiner, readings, epochs=EPOCHS):
    """Teach a refiner from `read_crops`. Returns the mean error [mm] of those held out, before and after."""
    count = len(readings[0])
    kept = max(1, round(count * (1 - HELD_OUT)))
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-kept // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)

    def refine(voted, closeness, claimed, summary, depth, true, cube_mm, hand):
        """(loss, errors [mm] of the hands' joints as voted for (B,), and refined; 0 where there is none)"""
        loss, share = 0, hand.float().mean().clamp_min(1e-6)
        for joints_uvdn, odds in refiner.by_stages(voted, closeness, claimed.float(), summary.float(), depth.float() * DEPTH_STEP - 1):
            off = (joints_uvdn - true).norm(dim=-1) * hand[:, None]                                     # (B,J)
            right = (off.detach() * cube_mm[:, None] / 2 <= RIGHT_MM) & hand[:, None]
            loss = loss + off.mean() / share + SCORE * nn_f.binary_cross_entropy_with_logits(odds, right.float())
        before = (voted - true).norm(dim=-1).mean(1) * hand
        return loss, torch.stack([before, off.detach().mean(1)]) * cube_mm / 2
    refiner.train()
    with progress_bar(total=steps, unit='step') as bar:
        for _ in range(epochs):
            for chosen in torch.randperm(kept).split(BATCH):
                loss, _ = refine(*(tensor[chosen] for tensor in readings))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    refiner.eval()
    with torch.no_grad():
        off_mm = torch.cat([refine(*part)[1] for part in zip(*(tensor[kept:].split(BATCH) for tensor in readings))], 1)
    return (off_mm.sum(1) / readings[-1][kept:].sum()).tolist()
