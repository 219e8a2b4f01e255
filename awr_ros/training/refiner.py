"""Train the joint refiner of a trained network on the predictions of that network for rendered
crops.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as nn_f
from torch.utils.data import DataLoader, IterableDataset

from awr_ros.estimator import HandPoseEstimator
from awr_ros.evaluation.scenes import RIGHT_MM
from awr_ros.files import write_text
from awr_ros.networks.checkpoint import CompactNetwork, save_checkpoint
from awr_ros.networks.refiner import pool_votes
from awr_ros.offset_field import remove_isolated, vote
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.synthetic.crop_config import TRAINING
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.seeds import REFINER_SEED
from awr_ros.training.config import TrainConfig
from awr_ros.training.crop_stream import fresh_crops, load_skins
from awr_ros.training.hard_negatives import mixed_negatives
from awr_ros.training.run import (
    checked_count,
    keep_memory,
    progress_bar,
    save_whole,
    state_of,
)
from awr_ros.training.train import chosen_device, load_compact

HIDDEN = 256
HELD_OUT = 0.02  # share of the crops held out for the figures
PREDICT_BATCH = 64  # crops rendered and predicted at once on a CPU
BATCH_ON_DEVICE = 512  # crops predicted at once on a GPU
FILLED = 0.7  # share of the free memory of a GPU for the samples
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 6, 256, 1e-3, 0.05
SCORE = 0.04  # weight of the cross entropy of the scores relative to the joint errors, uvdn units
DEPTH_STEP = 2 / 255  # step of the stored depth, uvdn units, 1.1 mm
HARD_NEGATIVES = 0.7  # share of these that are false positives of the network
NEGATIVES = 4096  # hard negatives
PROGRESS_EVERY = 16  # batches between saved states of the prediction
SAVE_EVERY = 500  # steps between saved states of the fitting


def train_refiner(
    weights: str | Path | None,
    output: str | Path,
    crops: int = 500_000,
    skin: str = '',
    workers: int = 2,
    compiled: bool = False,
    bfloat16: bool = False,
    init: str = '',
    init_share: float = 0.0,
    seed: int = REFINER_SEED,
    folder: Path | None = None,
    device: str = 'auto',
) -> tuple[float, float]:
    """Add a refiner to a checkpoint of the compact network, or replace the one it has.

    weights: path, None: the package's; output: path of the checkpoint to write; crops: number to
    render, 21 kB each; skin, compiled, bfloat16: as in TrainConfig; workers: processes that render
    and predict, one core each; init: checkpoint with the refiner to start from; init_share: as in
    fit_refiner; folder: for the state that a run resumes from after a stop, emptied at its end,
    None: not resumable; device: auto, cpu or cuda. The handedness head has to be trained again
    afterwards. Return the mean error [mm] on held-out crops, before and after. Raise ValueError for
    other networks.
    """
    torch_device = chosen_device(device)
    network, about = load_compact(weights, 'refiner')
    torch.manual_seed(seed % 2**31)
    refined = CompactNetwork(
        replace(network.config, refiner=HIDDEN, calibration=(), detection_weights=())
    ).eval()
    refiner = refined.refiner
    assert refiner is not None
    own = {k: v for k, v in network.state_dict().items() if not k.startswith('refiner.')}
    refined.load_state_dict(refined.state_dict() | own)
    if init:
        try:
            refiner.load_state_dict(load_compact(init, 'refiner')[0].refiner.state_dict())
        except (AttributeError, RuntimeError) as error:
            raise ValueError(f'init {init} holds no refiner of this size') from error
    folder = None if folder is None else Path(folder)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    samples = _finished_samples(folder, crops, seed)
    if samples is None:
        negatives = mixed_negatives(
            HandPoseEstimator(TorchEngine(network)),
            min(NEGATIVES, crops // 16),
            HARD_NEGATIVES,
            seed % 2**31,
            partial(progress_bar, desc='negatives', unit='crop'),
        )
        samples = predict_crops(
            network.to(torch_device),
            crops,
            seed,
            skin,
            workers,
            compiled,
            bfloat16,
            negatives,
            folder,
        )
    if not init:
        refiner.fit_normalisation(*samples[2:4])
    refined.to(torch_device)
    before, after = fit_refiner(
        refiner, samples, state=folder and folder / 'fitting.pt', init_share=init_share
    )
    save_checkpoint(
        Path(output),
        refined,
        about['step'],
        {**about['metrics'], 'refined_mm': after},
        about.get('made_by'),
    )
    if folder:
        del samples
        shutil.rmtree(folder)
    return before, after


def predict_crops(
    network: Any,
    count: int,
    seed: int,
    skin: str = '',
    workers: int = 2,
    compiled: bool = False,
    bfloat16: bool = False,
    negatives: torch.Tensor | None = None,
    folder: Path | None = None,
) -> list[torch.Tensor]:
    """Predict from `count` rendered crops; return the inputs of the refiner and the truth, a list
    of tensors.

    They are voted (N,J,3), closeness (N,J), pooled_votes (N,J,4J), crop_features (N,C), depth
    (N,1,S,S), joints_uvdn (N,J,3), cube_mm (N,) and hand (N,) bool; the large ones in half
    precision, depth in steps of DEPTH_STEP. network: its device renders and predicts, on a CPU the
    workers do; negatives: as for CropSource; folder: of files for the tensors, from which a stopped
    run resumes, None: in memory.
    """
    done = _load_progress(folder, count, seed)
    device = next(network.parameters()).device
    if device.type == 'cpu':
        stream = _SampleStream(
            network, seed, skin, compiled, bfloat16, negatives, done['predicted']
        )
        samples: Iterable = DataLoader(stream, batch_size=None, num_workers=workers)
    else:
        config = TrainConfig(seed=seed, skin=skin, workers=workers, compiled=compiled)
        samples = _device_readings(network, config, done['predicted'], negatives)
    kept: list[torch.Tensor] = []
    with progress_bar(total=count, initial=done['predicted'], unit='crop') as bar:
        for number, part in enumerate(samples, 1):
            if not kept:  # at once: memory does not suffice for two of them
                done['tensors'] = [
                    (list(tensor.shape[1:]), str(tensor.dtype).removeprefix('torch.'))
                    for tensor in part
                ]
                kept = _allocate(folder, done)
            first, done['predicted'] = (
                done['predicted'],
                min(done['predicted'] + len(part[0]), count),
            )
            for whole, tensor in zip(kept, part, strict=True):
                whole[first : done['predicted']] = tensor[: done['predicted'] - first]
            if folder and (number % PROGRESS_EVERY == 0 or done['predicted'] == count):
                _save_progress(folder, done)
            bar.update(done['predicted'] - first)
            if done['predicted'] == count:
                break
    return kept


def _load_progress(folder: Path | None, count: int, seed: int) -> dict:
    """Return the state of the prediction of `count` crops: a dict of read, count, seed and tensors,
    with shape and type of each.
    """
    path = folder and folder / 'readings.json'
    if path and path.exists():
        try:
            done = json.loads(path.read_text())
            if (done['count'], done['seed']) == (count, seed):
                return {'predicted': int(done['predicted']), 'tensors': done['tensors'], **done}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path} cannot be read: remove it to begin anew') from error
    return {'predicted': 0, 'count': count, 'seed': seed, 'tensors': []}


def _save_progress(folder: Path, done: dict) -> None:
    write_text(folder / 'readings.json', json.dumps(done))


def _allocate(folder: Path | None, done: dict) -> list[torch.Tensor]:
    """Allocate the tensors of all samples: in memory, or in files of the folder, which the system
    can page out.
    """
    shapes = [((done['count'], *shape), getattr(torch, dtype)) for shape, dtype in done['tensors']]
    if folder is None:
        return [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
    return [
        _mapped(folder / f'readings_{i}.bin', shape, dtype, done['predicted'] > 0)
        for i, (shape, dtype) in enumerate(shapes)
    ]


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype, written: bool) -> torch.Tensor:
    """Map a file to memory as a tensor. Raise OSError on a full disk, where a write to a mapped
    file would end the process, and ValueError where a written file is gone or cut short.
    """
    size = torch.Size(shape).numel()
    bytes_needed = size * dtype.itemsize
    if written and (not path.is_file() or path.stat().st_size != bytes_needed):
        raise ValueError(f'{path} is gone or cut short: remove readings.json to begin anew')
    if not written and bytes_needed and hasattr(os, 'posix_fallocate'):
        with path.open('wb') as file:
            try:
                os.posix_fallocate(file.fileno(), 0, bytes_needed)
            except OSError as error:
                path.unlink()
                raise OSError(error.errno, error.strerror, str(path)) from None
    return torch.from_file(str(path), True, size, dtype=dtype).view(shape)


def _finished_samples(folder: Path | None, count: int, seed: int) -> list[torch.Tensor] | None:
    """Return the samples of a folder if they are complete."""
    done = _load_progress(folder, count, seed)
    return _allocate(folder, done) if folder and done['predicted'] == count else None


class _SampleStream(IterableDataset):
    """Endless samples of PREDICT_BATCH crops each."""

    def __init__(self, network, seed, skin, compiled, bfloat16, negatives, start=0):
        self.network, self.seed, self.skin, self.negatives, self.start = (
            network,
            seed,
            skin,
            negatives,
            start,
        )
        self.compiled, self.bfloat16 = compiled, bfloat16

    @torch.inference_mode()
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        if info:
            torch.set_num_threads(1)
            keep_memory()
        config, network = self.network.config, self.network.to(memory_format=torch.channels_last)
        wanted = replace(TRAINING, size=config.crop_size, cube_mm=config.cube_mm)
        source = CropSource(
            self.seed * 64 + self.start * 4096 + (info.id if info else 0),
            wanted if config.upright else replace(wanted, upright=0.0),
            load_skins(self.skin),
            self.negatives,
            compiled=self.compiled,
        )

        def predict(depth):
            return read_depth(network, depth, torch.bfloat16 if self.bfloat16 else None)

        if self.compiled:
            predict = torch.compile(predict)
        while True:
            batch = source.draw(PREDICT_BATCH)
            yield (
                *predict(batch.depth.contiguous(memory_format=torch.channels_last)),
                batch.joints_uvdn,
                batch.cube_mm,
                batch.hand,
            )


@torch.no_grad()
def _device_readings(network, config, start, negatives):
    """Yield samples of BATCH_ON_DEVICE crops, rendered and predicted on the network's device.

    config: TrainConfig; start: number of crops before; negatives: as for CropSource.
    """
    wanted = replace(TRAINING, size=network.config.crop_size, cube_mm=network.config.cube_mm)
    wanted = wanted if network.config.upright else replace(wanted, upright=0.0)
    device = next(network.parameters()).device
    network = network.to(device, memory_format=torch.channels_last)
    for drawn in fresh_crops(config, start, negatives, device, wanted):
        for chosen in torch.arange(len(drawn.hand), device=device).split(BATCH_ON_DEVICE):
            batch = drawn[chosen]
            depth = batch.depth.contiguous(memory_format=torch.channels_last)
            predict = read_depth(network, depth, torch.float16)  # like the CUDA engine
            yield *predict, batch.joints_uvdn, batch.cube_mm, batch.hand


def read_depth(network: Any, depth: torch.Tensor, half: torch.dtype | None = None) -> Any:
    """Return a function from crops to the inputs of the refiner, see predict_crops. half: data type
    of the network.
    """
    with torch.autocast(depth.device.type, half, enabled=half is not None):
        field, _, crop_features = network.forward_features(depth)
    field, depth = field.float(), remove_isolated(depth)
    voted, closeness, weights = vote(field, depth, network.config.kernel_size)
    return (
        voted,
        closeness,
        pool_votes(field, weights).half(),
        crop_features.half(),
        as_bytes(depth),
    )


def as_bytes(depth: torch.Tensor) -> torch.Tensor:
    """Quantise depth [-1,1] in steps of DEPTH_STEP to uint8."""
    return ((depth + 1) / DEPTH_STEP).round().clamp(0, 255).to(torch.uint8)


def fit_refiner(
    refiner: Any,
    samples: Sequence[torch.Tensor],
    epochs: int = EPOCHS,
    state: Path | None = None,
    init_share: float = 0.0,
) -> list[float]:
    """Train a refiner on the output of `predict_crops`, on its device.

    state: file of the training state, written now and then and resumed from, None: none;
    init_share: [0,1) share of the weights it began with in the mean that it gets at the end: of two
    trained refiners the mean errs less than either (training/average.py). Return the mean error
    [mm] on held-out crops, before and after.
    """
    began_with = {name: value.clone() for name, value in refiner.state_dict().items()}
    device = next(refiner.parameters()).device
    count = len(samples[0])
    kept = max(1, round(count * (1 - HELD_OUT)))
    samples, held_out = ([t[part] for t in samples] for part in (slice(kept), slice(kept, None)))
    samples = _beside_the_weights(samples, device)
    optimizer = torch.optim.AdamW(
        refiner.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=device.type != 'cpu'
    )
    steps = epochs * -(-kept // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)

    def refine(voted, closeness, pooled_votes, crop_features, depth, true, cube_mm, hand):
        """(loss, errors [mm] of the hands' joints as voted for (B,), and refined; 0 where there is
        none)
        """
        loss, share = 0, hand.float().mean().clamp_min(1e-6)
        for joints_uvdn, logits in refiner.forward_stages(
            voted,
            closeness,
            pooled_votes.float(),
            crop_features.float(),
            depth.float() * DEPTH_STEP - 1,
        ):
            off = (joints_uvdn - true).norm(dim=-1) * hand[:, None]  # (B,J)
            right = (off.detach() * cube_mm[:, None] / 2 <= RIGHT_MM) & hand[:, None]
            loss = (
                loss
                + off.mean() / share
                + SCORE * nn_f.binary_cross_entropy_with_logits(logits, right.float())
            )
        before = (voted - true).norm(dim=-1).mean(1) * hand
        return loss, torch.stack([before, off.detach().mean(1)]) * cube_mm / 2

    refiner.train()
    step, order_seed = 0, int(torch.randint(2**31, ()))
    parts = {'refiner': refiner, 'optimizer': optimizer, 'schedule': schedule}
    if state and state.exists():
        with state_of(state, device) as saved:
            step, order_seed = checked_count(saved['step']), checked_count(saved['order_seed'])
            for name, part in parts.items():
                part.load_state_dict(saved[name])
    with progress_bar(total=steps, initial=step, unit='step') as bar:
        while step < steps:
            epoch, first = divmod(step, steps // epochs)
            order = torch.randperm(
                kept, generator=torch.Generator().manual_seed(order_seed + epoch)
            )
            for chosen in order.to(samples[0].device).split(BATCH)[first:]:
                loss, _ = refine(*(tensor[chosen].to(device) for tensor in samples))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                step += 1
                if state and (step % SAVE_EVERY == 0 or step == steps):
                    save_whole(
                        {
                            'step': step,
                            'order_seed': order_seed,
                            **{name: part.state_dict() for name, part in parts.items()},
                        },
                        state,
                    )
    refiner.load_state_dict(
        {
            name: torch.lerp(value, began_with[name], init_share)
            for name, value in refiner.state_dict().items()
        }
    )
    refiner.eval()
    with torch.no_grad():
        errors_mm = torch.cat(
            [
                refine(*(tensor.to(device) for tensor in part))[1].cpu()
                for part in zip(*(tensor.split(BATCH) for tensor in held_out))
            ],
            1,
        )
    return (errors_mm.sum(1) / held_out[-1].sum()).tolist()


def _beside_the_weights(samples, device):
    """Move the samples to the device of the weights if they fit, so that no step waits for a
    copy.
    """
    if device.type == 'cpu':
        return samples
    wanted = sum(tensor.numel() * tensor.element_size() for tensor in samples)
    if torch.cuda.is_available() and wanted > FILLED * torch.cuda.mem_get_info()[0]:
        print(
            f'The samples take {wanted / 1e9:.1f} GB, more than this GPU has free: every step '
            'copies its own, which is slower.',
            file=sys.stderr,
            flush=True,
        )
        return samples
    return [tensor.to(device) for tensor in samples]
