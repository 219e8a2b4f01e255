"""Train the palm detector on rendered scenes: resumable, and light enough for a laptop."""

import time
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.finders.palm_detector import CELL, COLUMNS, ROWS
from awr_ros.networks.palm_detector import (
    FinderNetwork,
    measure_normalisation,
    read_finder,
    write_finder,
)
from awr_ros.synthetic.seeds import PALM_DETECTOR_SEED
from awr_ros.training.config import SCENES_A_FILE, FinderTrainConfig
from awr_ros.training.palm_detector_scenes import (
    IGNORED,
    TARGET,
    FinderBatch,
    FinderScenes,
    as_rendered,
    augmented,
    render_finder_scenes,
    varied,
)
from awr_ros.training.run import Run, keep_memory, log, progress_bar
from awr_ros.training.train import chosen_device

PALM_MM = 28.0  # standard deviation of the target around a palm's centre
# A candidate is a hit within this distance of a palm across the ray, and within this share of its
# depth along it, which is measured in the frame afterwards.
FOUND_MM = 60.0
FOUND_SHARE = 0.1
FAR_PALM_MM = 1000.0  # palms beyond this distance are also evaluated apart
NORMALISED = 2560  # augmented frames from which a network's normalisation is measured


def train_finder(folder: str | Path, config: FinderTrainConfig) -> None:
    """Train for `config.samples` frames, resuming from `folder`/last.pt if it exists.

    Writes scenes_*.pt (rendered once), last.pt, finder.onnx (the averaged weights, as the package
    loads them) and log.csv. Raise ModuleNotFoundError when the package onnx is not installed,
    FileNotFoundError or ValueError for an init that is no palm detector.
    """
    import_module('onnx')  # fail now, not after an hour of rendering
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keep_memory()
    torch.manual_seed(config.seed)
    device = chosen_device(config.device)
    network: Any = read_finder(config.init) if config.init else FinderNetwork()
    network = network.to(device, memory_format=torch.channels_last)
    run = Run(folder, network, config)
    # the first is for validation
    files = [_rendered(folder, i) for i in range(-1, config.scenes // SCENES_A_FILE)]
    validation, scenes = files[0], FinderScenes.join(files[1:])
    if config.init and not run.seen:
        measure_normalisation(network, augmented(scenes, NORMALISED, config.seed))
    if device.type != 'cpu':
        scenes = scenes.to(device)
    generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + run.seen)
    total, count, began = torch.zeros((), device=device), 0, time.time()
    with progress_bar(total=config.samples, initial=run.seen, unit='frame', smoothing=0.05) as bar:
        while not run.finished:
            network.train()
            chosen = torch.randint(len(scenes), (config.batch,), generator=generator, device=device)
            batch = varied(scenes, chosen, generator)
            loss = finder_loss(
                network(batch.frame.contiguous(memory_format=torch.channels_last)), *targets(batch)
            )
            due = run.step(loss, config.batch)
            bar.update(config.batch)
            # a tensor: no synchronisation with the GPU
            total, count = total + loss.detach(), count + 1
            if due:
                average = run.average.module
                if device.type != 'cpu':
                    average = deepcopy(average).cpu()
                figures = validate_finder(average, validation)
                row = {
                    'seen': run.seen,
                    'frames_per_s': round(count * config.batch / (time.time() - began), 1),
                    'loss': total.item() / count,
                    **figures,
                }
                log(folder / 'log.csv', row)
                bar.write(' '.join(f'{k}={v:.4g}' for k, v in row.items()))
                write_finder(average, folder / 'finder.onnx')
                run.save()
                total, count, began = torch.zeros((), device=device), 0, time.time()


def _rendered(folder, number):
    """Load one file of scenes, or render it first."""
    path = folder / f'scenes_{number}.pt'
    if not path.exists():
        with progress_bar(total=SCENES_A_FILE, desc=f'scenes {number}', unit='scene') as bar:

            def shown(indices):
                for i in indices:
                    yield i
                    bar.update()

            render_finder_scenes(SCENES_A_FILE, PALM_DETECTOR_SEED + number, shown).save(path)
    return FinderScenes.load(path)


def targets(batch: FinderBatch) -> tuple[torch.Tensor, ...]:
    """Make the training targets of a FinderBatch.

    Return closeness (B,1,32,40): 1 in the cell of a palm's centre, falling around it; mask
    (B,1,32,40): 0 around ignored hands; values (B,3,32,40): u and v offset [cells], depth [m] of
    the nearest palm; nearness (B,1,32,40): weights of these.
    """
    rows, columns = torch.meshgrid(
        *(torch.arange(side // CELL, device=batch.palms.device) for side in (ROWS, COLUMNS)),
        indexing='ij',
    )
    # (B,2,1,1) [cells]
    u, v = ((batch.palms[..., i, None, None] - (CELL - 1) / 2) / CELL for i in (0, 1))
    du, dv = u - columns, v - rows  # (B,2,32,40)
    spread = (PALM_MM * batch.focal[:, None] / batch.palms[..., 2].clamp_min(100) / CELL).clamp(
        0.7, 4
    )[..., None, None]
    near = torch.exp(-(du**2 + dv**2) / (2 * spread**2))
    near = torch.where((du.abs() <= 0.5) & (dv.abs() <= 0.5), 1.0, near)
    kind = batch.kind[..., None, None]
    hands = near * (kind == TARGET)  # (B,2,32,40)
    closeness, which = hands.max(1, keepdim=True)
    target = 1 - ((near * (kind == IGNORED)).amax(1, keepdim=True) > 0.1).float()
    # (B,2,3,32,40)
    values = torch.stack([du, dv, (batch.palms[..., 2, None, None] / 1000).expand_as(du)], 2)
    values = values.gather(1, which[:, :, None].expand(-1, -1, 3, -1, -1))[:, 0]  # (B,3,32,40)
    return closeness, target, values, closeness * (closeness > 0.3)


def finder_loss(
    output: torch.Tensor,
    closeness: torch.Tensor,
    target: torch.Tensor,
    values: torch.Tensor,
    nearness: torch.Tensor,
) -> torch.Tensor:
    """Return the scalar loss. output: (B,4,32,40); the rest: of `targets`. The term of the
    palms is that of CenterNet (Zhou et al. 2019, equation 1).
    """
    score = output[:, :1].sigmoid().clamp(1e-4, 1 - 1e-4)
    middle = closeness == 1
    palms = (
        torch.where(
            middle,
            (1 - score) ** 2 * score.log(),
            (1 - closeness) ** 4 * score**2 * (1 - score).log(),
        )
        * target
    )
    weight = nearness / nearness.sum().clamp_min(1)
    offset = (output[:, 1:3] - values[:, :2]).abs().sum(1, keepdim=True)
    depth = (output[:, 3:] - values[:, 2:]).abs()
    return -palms.sum() / middle.sum().clamp_min(1) + (weight * (0.5 * offset + 10 * depth)).sum()


@torch.no_grad()
def validate_finder(network: nn.Module, scenes: FinderScenes) -> dict[str, float]:
    """Return {name: float}: recall of unobstructed hands at the thresholds with false candidates in
    2 % and in 20 % of the frames, the former also for hands beyond 1 m alone, and the median
    distance of the hits from their palms [mm].
    """
    network.eval()
    scores, depths, distances, false = [], [], [], []
    for first in range(0, len(scenes), 100):
        batch = as_rendered(scenes, torch.arange(first, min(first + 100, len(scenes))))
        output = network(batch.frame)
        score = output[:, 0].sigmoid()
        peak = score == nn_f.max_pool2d(score[:, None], 3, 1, 1)[:, 0]
        rows, columns = torch.meshgrid(
            torch.arange(ROWS // CELL), torch.arange(COLUMNS // CELL), indexing='ij'
        )
        u, v = (
            (columns + output[:, 1]) * CELL + (CELL - 1) / 2,
            (rows + output[:, 2]) * CELL + (CELL - 1) / 2,
        )
        taken = torch.zeros_like(peak)
        for j in range(batch.palms.shape[1]):
            palm, focal = batch.palms[:, j, :, None, None], batch.focal[:, None, None]
            aside = ((u - palm[:, 0]) ** 2 + (v - palm[:, 1]) ** 2).sqrt() * palm[:, 2] / focal
            deeper = (1000 * output[:, 3] - palm[:, 2]).abs()
            distance = (aside**2 + deeper**2).sqrt()  # (B,32,40) [mm]
            near = (
                peak
                & (aside < FOUND_MM)
                & (deeper < (FOUND_SHARE * palm[:, 2]).clamp_min(FOUND_MM))
            )
            near &= batch.kind[:, j, None, None] > 0
            taken |= near
            best, where = (score * near).flatten(1).max(1)
            for i in (batch.kind[:, j] == TARGET).nonzero()[:, 0].tolist():
                scores.append(best[i].item())
                depths.append(batch.palms[i, j, 2].item())
                if scores[-1] > 0:
                    distances.append(distance[i].flatten()[where[i]].item())
        false += (score * (peak & ~taken)).flatten(1).amax(1).tolist()
    score, highest_false = torch.tensor(scores), torch.tensor(false)
    found = {
        f'found_at_{share:.0%}_false': (score > highest_false.quantile(1 - share))
        .float()
        .mean()
        .item()
        for share in (0.02, 0.2)
    }
    far = score[torch.tensor(depths) > FAR_PALM_MM]
    found['far_at_2%_false'] = (
        (far > highest_false.quantile(0.98)).float().mean().item() if len(far) else 0
    )
    return {**found, 'median_mm': torch.tensor(distances).median().item() if distances else 0}
