"""What a finished network's refiner learns: to correct the joints that the votes give, from crops that the network reads."""
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as nn_f
from torch.utils.data import DataLoader, IterableDataset

from awr_ros.network import CompactNetwork, load_checkpoint, save_checkpoint
from awr_ros.offset_field import vote
from awr_ros.refiner import Refiner, claims
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.synthetic.crops import CropConfig, CropSource
from awr_ros.training.run import keep_memory, progress_bar
from awr_ros.training.train import load_skins

HIDDEN = 256
REFINER_SEED = 4_000_000_007        # of crops that no network was trained on
HELD_OUT = 0.02                     # share of the crops that only the figures are of
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 8, 256, 1e-3, 0.05
TOLD = 4                            # of the tensors of a reading: what the refiner is told; then joints_uvdn (true), cube_mm


def train_refiner(weights, output, crops=500_000, skin='', workers=2, compiled=False, seed=REFINER_SEED):
    """Add a refiner to a checkpoint of the compact network, or replace the one it has.

    weights: path, None: the package's; output: path of the checkpoint to write; crops: to render and to read, 4 kB each; skin,
    compiled: as TrainConfig's; workers: processes that render and read, one core each. Returns the mean error [mm] of crops held
    out, before and after. Raises ValueError for other networks.
    """
    network, about = load_checkpoint(weights)
    if not isinstance(network, CompactNetwork) or network.config.joint_names != JOINT_NAMES:
        raise ValueError(f'only compact networks of the 21 joints have a refiner, {weights} holds a {about["network"]} of '
                         f'{len(network.config.joint_names)}')
    refined = CompactNetwork(replace(network.config, refiner=HIDDEN)).eval()
    torch.manual_seed(seed % 2 ** 31)
    refined.refiner = Refiner(len(JOINT_NAMES), network.config.widths[-1], HIDDEN)
    own = {k: v for k, v in network.state_dict().items() if not k.startswith('refiner.')}
    refined.load_state_dict(refined.state_dict() | own)
    before, after = fit_refiner(refined.refiner, read_crops(network, crops, seed, skin, workers, compiled))
    save_checkpoint(Path(output), refined, about['step'], {**about['metrics'], 'refined_mm': after}, about.get('recipe'))
    return before, after


def read_crops(network, count, seed, skin='', workers=2, compiled=False):
    """What the refiner is told of `count` rendered hands and the truth: a list of tensors, voted (N,J,3), closeness (N,J),
    claimed (N,J,4J), summary (N,C), joints_uvdn (N,J,3), cube_mm (N,). The large ones are of half precision."""
    readings = DataLoader(_Readings(network, seed, skin, compiled), batch_size=None, num_workers=workers)
    parts = []
    with progress_bar(total=count, unit='crop') as bar:
        for part in readings:
            # Copies: every tensor of a worker's holds a file open.
            parts.append([tensor.clone() for tensor in part])
            bar.update(len(part[0]))
            if bar.n >= count:
                break
    return [torch.cat(column)[:count] for column in zip(*parts)]


class _Readings(IterableDataset):
    """Endless readings of 64 crops."""

    def __init__(self, network, seed, skin, compiled):
        self.network, self.seed, self.skin, self.compiled = network, seed, skin, compiled

    @torch.inference_mode()
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        if info:
            torch.set_num_threads(1)
            keep_memory()
        config, network = self.network.config, self.network.to(memory_format=torch.channels_last)
        source = CropSource(self.seed * 64 + (info.id if info else 0),
                            CropConfig(config.crop_size, config.cube_mm, no_hand=0.0,
                                       **({} if config.aligned else {'aligned': 0.0})), load_skins(self.skin), compiled=self.compiled)

        def read(depth):
            field, _, summary = network.look(depth)
            voted, closeness, weights = vote(field, depth, config.kernel_size)
            return voted, closeness, claims(field, weights).half(), summary.half()
        if self.compiled:
            read = torch.compile(read)
        while True:
            batch = source.draw(64)
            yield *read(batch.depth.contiguous(memory_format=torch.channels_last)), batch.joints_uvdn, batch.cube_mm


def fit_refiner(refiner, readings, epochs=EPOCHS):
    """Teach a refiner from `read_crops`. Returns the mean error [mm] of those held out, before and after."""
    count = len(readings[0])
    kept = max(1, round(count * (1 - HELD_OUT)))
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-kept // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)

    def corrected(chosen):
        return refiner(*(tensor[chosen].float() for tensor in readings[:TOLD]))

    @torch.no_grad()
    def held_out_mm(joints_uvdn):
        *_, true, cube_mm = (tensor[kept:] for tensor in readings)
        return ((joints_uvdn - true).norm(dim=-1) * cube_mm[:, None] / 2).mean().item()
    before = held_out_mm(readings[0][kept:])
    refiner.train()
    with progress_bar(total=steps, unit='step') as bar:
        for _ in range(epochs):
            for chosen in torch.randperm(kept).split(BATCH):
                loss = nn_f.smooth_l1_loss(corrected(chosen), readings[TOLD][chosen], beta=0.01)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    refiner.eval()
    with torch.no_grad():
        return before, held_out_mm(corrected(slice(kept, None)))
