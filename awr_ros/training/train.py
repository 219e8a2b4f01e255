"""Train the compact network on rendered hands: resumable at any sample, on the CPU, a GPU or, under
torchrun, several.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from awr_ros.estimator import HandPoseEstimator
from awr_ros.evaluation.contact_sheet import crop_sheet
from awr_ros.files import write_text
from awr_ros.networks.checkpoint import (
    COMPACT_M,
    COMPACT_S,
    CompactNetwork,
    load_checkpoint,
    save_checkpoint,
)
from awr_ros.networks.compact import ModelConfig
from awr_ros.offset_field import decode
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.synthetic.crop_batch import CropBatch
from awr_ros.synthetic.crop_config import TRAINING
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.seeds import VALIDATION_SEED
from awr_ros.training.config import TrainConfig
from awr_ros.training.crop_stream import crop_stream, load_skins
from awr_ros.training.graphed_step import GraphedStep
from awr_ros.training.hard_negatives import mixed_negatives
from awr_ros.training.losses import losses, validation_figures
from awr_ros.training.negatives import cached_negatives, render_negatives
from awr_ros.training.run import Run, keep_memory, log, progress_bar

# share of upright crops, the same as in CropSource
NETWORKS = {'s': replace(COMPACT_S, upright=True), 'm': replace(COMPACT_M, upright=True)}


def train(folder: str | Path, config: TrainConfig) -> None:
    """Train for `config.samples` crops, resuming from `folder`/last.pt if it exists.

    Writes last.pt (the state to resume from), weights.pt (the averaged weights, as the package
    loads them), log.csv and sheet.png, predictions for some crops. Under torchrun every process
    renders its own crops, and the first one writes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    device = chosen_device(config.device)
    rank, processes = join_processes(device)
    keep_memory()
    torch.manual_seed(config.seed)
    start, seen_before = start_network(config)
    run = Run(folder, start.to(device, memory_format=torch.channels_last), config)
    negatives = hard_negatives(folder, config, run.network.config, rank)
    if rank == 0:
        write_text(folder / 'config.json', json.dumps(asdict(config), indent=1))
        source = CropSource(VALIDATION_SEED, TRAINING, skins=load_skins(config.skin))
        validation = [source.draw(128) for _ in range(config.validation // 128)]
    crops = crop_stream(config, run.seen, negatives, rank, device)
    # bfloat16 is faster with matrix units for it; without them it is slower than float32 on many
    # CPUs.
    half = device.type == 'cuda' or config.bfloat16 or torch.cpu._is_amx_tile_supported()
    network = (
        run.network if processes == 1 else torch.nn.parallel.DistributedDataParallel(run.network)
    )

    def compute(*crops):
        batch = CropBatch(*crops)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=half, cache_enabled=device.type == 'cpu'
        ):
            field, hand_logit = network(batch.depth)
        return losses(field, hand_logit, batch, run.network.config.kernel_size)

    if config.compiled:
        compute = torch.compile(compute)

    def learn(*crops):
        total, terms = compute(*crops)
        run.learn(total)
        return {name: value.detach() for name, value in terms.items()}

    # The exchange of gradients between processes is launched by the CPU and cannot be captured.
    graphed = GraphedStep(learn) if device.type == 'cuda' and processes == 1 else None
    sums: dict[str, Any] = {}
    count, began = 0, time.time()
    with progress_bar(
        total=config.samples, initial=run.seen, unit='crop', smoothing=0.05, disable=rank > 0
    ) as bar:
        while not run.finished:
            crops_now = next(crops)
            network.train()
            if graphed:
                run.set_learning_rate()
                terms = graphed(*crops_now)
                due = run.advance(config.batch * processes)
            else:
                total, terms = compute(*crops_now)
                due = run.step(total, config.batch * processes)
            bar.update(config.batch * processes)
            for name, value in terms.items():
                # a tensor: no synchronisation with the GPU
                sums[name] = sums.get(name, 0) + value.detach()
            count += 1
            if due and rank == 0:
                figures = validate(run.average.module, validation, device)
                rate = count * config.batch * processes / (time.time() - began)
                row = {
                    'seen': run.seen,
                    'lr': run.optimizer.param_groups[0]['lr'],
                    'crops_per_s': round(rate, 1),
                    **{f'train_{k}': v.item() / count for k, v in sums.items()},
                    **figures,
                }
                log(folder / 'log.csv', row)
                bar.write(' '.join(f'{k}={v:.4g}' for k, v in row.items()))
                save_checkpoint(
                    folder / 'weights.pt', run.average.module, seen_before + run.seen, figures
                )
                run.save()
                if validation:
                    predicted_sheet(folder / 'sheet.png', run.average.module, validation[0], device)
                sums, count, began = {}, 0, time.time()
    if processes > 1:
        torch.distributed.destroy_process_group()


def chosen_device(name: str) -> torch.device:
    """Return the torch device for a name: auto (a GPU if available), cpu or cuda."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    return torch.device(name)


def start_network(config: TrainConfig) -> tuple[Any, int]:
    """Return the network of a run with its initial weights, and the samples these were trained on.
    Raise ValueError when they are of another network.
    """
    network, seen = CompactNetwork(NETWORKS[config.size]), 0
    if config.init:
        start, about = load_checkpoint(config.init)
        seen = about['step']
        try:  # heads trained afterwards have to be trained again
            network.load_state_dict(
                {
                    k: v
                    for k, v in start.state_dict().items()
                    if not k.startswith(('refiner.', 'handedness.'))
                }
            )
        except RuntimeError as error:
            raise ValueError(
                f'init {config.init} holds another network than size {config.size!r}'
            ) from error
    return network, seen


def load_compact(path: str | Path | None, wanted: str) -> tuple[Any, dict[str, Any]]:
    """Return (network, description) of a checkpoint of the compact network; path: None: the
    package's.

    Raise ValueError for others, which can have no `wanted`: a word for the message.
    """
    network, about = load_checkpoint(path)
    if not isinstance(network, CompactNetwork) or network.config.joint_names != JOINT_NAMES:
        raise ValueError(
            f'only compact networks of the 21 joints have a {wanted}, {path} holds a '
            f'{about["network"]} of '
            f'{len(network.config.joint_names)}'
        )
    return network, about


def join_processes(device: torch.device) -> tuple[int, int]:
    """Return (rank, number of processes): from torchrun, or 0 and 1."""
    if 'RANK' not in os.environ:
        return 0, 1
    if device.type == 'cuda':
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    torch.distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def hard_negatives(folder: Path, config: TrainConfig, model: Any, rank: int) -> torch.Tensor | None:
    """Return the run's negatives (see negatives.py), rendered by its first process; None without
    any.
    """
    if not config.negatives:
        return None
    if rank:
        torch.distributed.barrier()

    def shown(crops):
        with progress_bar(total=len(crops), desc='crops of other things', unit='crop') as bar:
            for crop in crops:
                yield crop
                bar.update()

    negatives = cached_negatives(
        folder / 'negatives.pt',
        (config.negatives, 1, model.crop_size, model.crop_size),
        lambda: _render_negatives(config, model, shown),
    )
    if rank == 0 and torch.distributed.is_initialized():
        torch.distributed.barrier()
    return negatives


def _render_negatives(config: TrainConfig, model: ModelConfig, progress: Callable) -> torch.Tensor:
    """Render the run's negatives (N,1,S,S): false positives of the finders, limbs, and false
    positives of the weights of init.
    """
    if not config.hard_negatives:
        return render_negatives(
            config.negatives,
            model.crop_size,
            model.cube_mm,
            progress=progress,
            finder_weights=config.finder_weights,
        )
    estimator = HandPoseEstimator(TorchEngine(load_checkpoint(config.init)[0]))
    return mixed_negatives(
        estimator,
        config.negatives,
        config.hard_negatives,
        progress=progress,
        finder_weights=config.finder_weights,
    )


@torch.no_grad()
def predicted_sheet(
    path: str | Path, network: Any, batch: CropBatch, device: str | torch.device
) -> None:
    """Draw the predictions for the first crops with hands of a CropBatch."""
    batch = batch[batch.hand.nonzero()[:48, 0]]
    field, _ = network.eval()(batch.depth.to(device))
    joints, _ = decode(field.float().cpu(), batch.depth, network.config.kernel_size)
    crop_sheet(path, batch, joints)


@torch.no_grad()
def validate(
    network: Any, batches: Sequence[CropBatch], device: str | torch.device
) -> dict[str, float]:
    """Return the figures of one network on labelled crops. batches: list of CropBatch on the
    CPU.
    """
    network.eval()
    sums: dict[str, float] = {}
    for batch in batches:
        batch = batch.to(device)
        field, hand_logit = network(batch.depth)
        kernel_size = network.config.kernel_size
        for name, value in validation_figures(field, hand_logit, batch, kernel_size).items():
            sums[name] = sums.get(name, 0) + value / len(batches)
    return sums
