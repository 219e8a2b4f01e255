"""Training of the paper on a public data set: a dense stage, then joints as well; resumable at the
last checkpoint.

Or the later schedule of the same group: both losses from the start, the joints' a hundred times as
heavy, AdamW.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn_f
from torch.utils.data import DataLoader

from awr_ros.datasets.config import PaperTrainConfig
from awr_ros.datasets.evaluate import predict
from awr_ros.datasets.loaders import load_frames
from awr_ros.datasets.metrics import joint_errors
from awr_ros.datasets.samples import Augmentation, CropSamples
from awr_ros.datasets.specs import dataset_spec
from awr_ros.files import write_text
from awr_ros.networks.checkpoint import (
    HourglassConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
    save_checkpoint,
)
from awr_ros.offset_field import decode, encode
from awr_ros.training.run import checked_count, load_network_of, log, save_whole, state_of, trim_log

BETA = 0.01  # end of the smooth L1's parabola, uvdn units


@dataclass(frozen=True)
class StageLoss:
    """Weights of the two loss terms of a stage."""

    joint: float
    dense: float


STAGES = {
    'two_stage': (StageLoss(0.0, 1.0), StageLoss(1.0, 1.0)),
    'joint': (StageLoss(100.0, 1.0),),
}


def smooth_l1(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the authors' smooth L1: 0.5 z^2 where |z| < 0.01, else 0.01 (|z| - 0.005); mean over
    elements.
    """
    return BETA * nn_f.smooth_l1_loss(pred, target, beta=BETA)


def stage_losses(
    fields: Sequence[torch.Tensor],
    depth: torch.Tensor,
    joints_uvdn: torch.Tensor,
    kernel_size: float,
    weights: StageLoss,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss of one batch: the sum over the fields of all hourglasses, each supervised
    alike.

    fields: list of (B,4J,F,F); depth: (B,1,S,S) uvdn; joints_uvdn: (B,J,3); weights: StageLoss.
    Also return the last field's two terms, unweighted. (The authors' trainer overwrites the loss in
    its loop over the stacks, so that only the last one is supervised; the paper describes the sum.)
    """
    target = encode(joints_uvdn, depth, kernel_size, fields[-1].shape[-1])
    total = fields[0].new_zeros(())
    for field in fields:
        dense = smooth_l1(field, target)
        joint = smooth_l1(decode(field, depth, kernel_size)[0], joints_uvdn)
        total = total + weights.dense * dense + weights.joint * joint
    return total, {'dense': dense.detach(), 'joint': joint.detach()}


def build_network(config: PaperTrainConfig) -> ResNet | StackedHourglass:
    """Make the network of a run, with the data set's joints and cube."""
    conventions = dataset_spec(config.dataset)
    kind, number = config.network.split('_')
    common: dict[str, Any] = dict(
        joint_names=conventions.joint_names,
        crop_size=config.crop_size,
        cube_mm=conventions.cube_mm[config.subject],
        kernel_size=config.kernel,
        side=conventions.side,
        authors_crop=config.authors_crop,
    )
    if kind == 'resnet':
        return ResNet(ResNetConfig(layers=int(number), downsample=config.downsample, **common))
    return StackedHourglass(HourglassConfig(stacks=int(number), width=config.width, **common))


class Run:
    """State of one training run in its folder: last.pt (to resume from), weights.pt, log.csv,
    config.json.
    """

    def __init__(self, folder: Path, config: PaperTrainConfig, device: str | torch.device) -> None:
        self.folder, self.config, self.device = Path(folder), config, device
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        network: Any = build_network(config)
        self.network = network.to(device, memory_format=torch.channels_last)
        # epoch and step: within stage and epoch
        self.stage = self.epoch = self.step = self.seen = self.steps = 0
        self.optimizer = self._new_optimizer()
        last = self.folder / 'last.pt'
        if last.exists():
            with state_of(last, device) as state:
                self._go_on(last, state)
        trim_log(self.folder / 'log.csv', self.seen)
        write_text(self.folder / 'config.json', json.dumps(asdict(config), indent=1))

    def _go_on(self, last, state):
        """Restore a state. Raise ValueError when it was made with other settings."""
        for name in (
            'dataset',
            'network',
            'schedule',
            'kernel',
            'crop_size',
            'width',
            'downsample',
            'subject',
            'batch',
            'seed',
            'authors_crop',
        ):
            if state['made_with'][name] != getattr(self.config, name):
                raise ValueError(
                    f'{last} was made with {name} {state["made_with"][name]!r}, got '
                    f'{getattr(self.config, name)!r}'
                )
        load_network_of(last, self.network, state)
        self.stage, self.epoch, self.step, self.seen, self.steps = map(checked_count, state['at'])
        self.optimizer.load_state_dict(state['optimizer'])

    def _new_optimizer(self):
        make = torch.optim.AdamW if self.config.schedule == 'joint' else torch.optim.Adam
        return make(self.network.parameters(), lr=self.config.learning_rate)

    def next_epoch(self) -> None:
        """Advance, to a new stage with a new optimiser at the end of this one."""
        self.epoch, self.step = self.epoch + 1, 0
        if self.epoch == self.config.stage_epochs[self.stage]:
            self.stage, self.epoch, self.optimizer = self.stage + 1, 0, self._new_optimizer()

    def finished(self) -> bool:
        """Whether all stages are done."""
        return (
            self.stage == len(self.config.stage_epochs) or 0 < self.config.max_steps <= self.steps
        )

    def save(self, metrics: Mapping[str, float]) -> None:
        """Write the files. metrics: {name: float} of these weights on the test frames, empty
        without a test.
        """
        made_with = {**asdict(self.config), 'kernel': self.config.kernel}
        save_whole(
            {
                'network': self.network.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'made_with': made_with,
                'at': (self.stage, self.epoch, self.step, self.seen, self.steps),
            },
            self.folder / 'last.pt',
        )
        save_checkpoint(self.folder / 'weights.pt', self.network, self.seen, metrics, made_with)


def train_on_dataset(folder: Path, root: str | Path, config: PaperTrainConfig) -> None:
    """Train a network of the paper, resuming from folder/last.pt if it exists. root: folder of the
    data set.
    """
    device = torch.device(
        config.device if config.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    )
    frames = load_frames(config.dataset, root, 'train', config.subject)
    test = load_frames(config.dataset, root, 'test', config.subject, config.oracle_cube)
    run = Run(folder, config, device)
    samples = CropSamples(
        frames,
        run.network.config,
        Augmentation(config.translate_mm, config.scale, config.rotate_deg, config.augment),
        config.seed,
    )
    if len(samples) < config.batch:
        raise ValueError(
            f'batch must be at most the {len(samples)} training frames, got {config.batch}'
        )
    print(
        f'{config.network} on {config.dataset}: {len(frames)} frames to train on, {len(test)} to '
        f'test on, {device}',
        flush=True,
    )
    while not run.finished():
        began, first = time.monotonic(), run.steps
        terms = _one_epoch(run, samples)
        over = run.step == len(samples) // config.batch
        rate = (run.steps - first) * config.batch / max(time.monotonic() - began, 1e-9)
        row = {
            'stage': run.stage + 1,
            'epoch': run.epoch + over,
            'steps': run.steps,
            'seen': run.seen,
            'lr': run.optimizer.param_groups[0]['lr'],
            **terms,
            'crops_per_s': round(rate, 1),
        }
        if over:
            run.next_epoch()
        tested = run.finished() or (over and run.epoch % config.validate_every == 0)
        run.network.eval()
        mean_mm = (
            float(
                joint_errors(
                    predict(run.network, test, device),
                    test.joints_uvd(),
                    test.conventions.intrinsics,
                ).mean()
            )
            if tested
            else float('nan')
        )
        run.save({'mean_mm': mean_mm} if tested else {})
        log(run.folder / 'log.csv', {**row, 'test_mean_mm': mean_mm})
        print(
            ' '.join(
                f'{name}={value:.4g}' for name, value in {**row, 'test_mean_mm': mean_mm}.items()
            ),
            flush=True,
        )


def _one_epoch(run, samples):
    """Train to the end of the epoch, or of the run. Return the mean of each term."""
    config, samples.epoch = run.config, sum(run.config.stage_epochs[: run.stage]) + run.epoch
    order = np.random.default_rng((config.seed, samples.epoch)).permutation(len(samples))[
        run.step * config.batch :
    ]
    loader = DataLoader(
        samples,
        config.batch,
        sampler=order.tolist(),
        num_workers=config.workers,
        drop_last=True,
        pin_memory=run.device.type == 'cuda',
    )
    for group in run.optimizer.param_groups:
        group['lr'] = config.learning_rate * 0.1 ** (run.epoch // config.step_after)
    run.network.train()
    sums, count = {}, 0
    for depth, joints in loader:
        depth, joints = (
            depth.to(run.device, non_blocking=True),
            joints.to(run.device, non_blocking=True),
        )
        loss, terms = stage_losses(
            run.network.fields(depth),
            depth,
            joints,
            config.kernel,
            STAGES[config.schedule][run.stage],
        )
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        run.step, run.steps, run.seen, count = (
            run.step + 1,
            run.steps + 1,
            run.seen + len(depth),
            count + 1,
        )
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value  # a tensor: no synchronisation with the GPU
        if run.finished():
            break
    return {name: value.item() / count for name, value in sums.items()}
