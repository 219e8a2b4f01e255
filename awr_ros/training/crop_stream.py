"""Endless training batches: rendered by worker processes on CPU cores, or on the training GPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from awr_ros.synthetic.crop_batch import CropBatch
from awr_ros.synthetic.crop_config import TRAINING, CropConfig
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.hand import HandSkin, procedural_skin
from awr_ros.training.config import TrainConfig
from awr_ros.training.run import keep_memory

# longer than the part of the hand's own arm in a crop: crops show arms without hands too
FOREARM_MM = 240.0
PART = 64  # crops rendered at once on a CPU core, the fastest number there
AHEAD = 4  # batches prepared ahead by each worker process
DEVICE_ID = 63  # stands for the worker's number in the seed of crops rendered on a GPU


@dataclass(frozen=True)
class PoolSizes:
    """Numbers of crops that a GPU renders at once and keeps to draw batches from."""

    draw: int = 8192  # crops with modelled sensors per rendering; fewer would take about as long
    draws: int = 6  # renderings kept; each has one skin and one camera size
    stereo: int = 4096  # crops of simulated stereo kept, a multiple of PART
    shown: int = 4  # uses of each of these, on average

    def __post_init__(self) -> None:
        if self.stereo % PART:
            raise ValueError(f'stereo must be a multiple of {PART}, got {self.stereo}')


def load_skins(path: str | Path) -> list[HandSkin]:
    """Return the hand skins to draw from: the procedural one and, if given, that of a GLB file."""
    if not path:
        return [procedural_skin(2.5, FOREARM_MM)]
    from awr_ros.synthetic.glb_skin import read_glb_skin

    return [procedural_skin(2.5, FOREARM_MM), read_glb_skin(path, 2.5)]


class RenderedCrops(IterableDataset):
    """Endless batches on the CPU; every worker, process and start of a run draws different ones."""

    def __init__(
        self,
        config: TrainConfig,
        start: int,
        negatives: torch.Tensor | None = None,
        rank: int = 0,
        crops: CropConfig = TRAINING,
        batch: int = 0,
    ):
        """config: for seed, skin, compiled; start: crops that the run has used; negatives: as for
        CropSource; rank: of the process; batch: crops per batch, 0: config.batch.
        """
        self.config, self.start, self.negatives, self.rank = config, start, negatives, rank
        self.crops, self.batch = crops, batch or config.batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        info = get_worker_info()
        if info:
            torch.set_num_threads(1)
            keep_memory()
        source = CropSource(
            _seed(self.config, self.start, self.rank, info.id if info else 0),
            self.crops,
            skins=load_skins(self.config.skin),
            negatives=self.negatives,
            compiled=self.config.compiled,
        )
        while True:  # rendering is fastest in batches of 64, training is not
            drawn = source.draw(-(-PART // self.batch) * self.batch)
            yield from zip(
                *(getattr(drawn, name).split(self.batch) for name in CropBatch.__dataclass_fields__)
            )


class DeviceCrops:
    """Endless batches on a GPU.

    Crops with modelled sensors are rendered there, thousands at a time. Simulated stereo is block
    matching by OpenCV, which needs CPU cores: worker processes render it ahead. If they are slower
    than the GPU, batches wait for them.
    """

    def __init__(
        self,
        config: TrainConfig,
        start: int,
        negatives: torch.Tensor | None,
        rank: int,
        device: torch.device,
        crops: CropConfig = TRAINING,
        sizes: PoolSizes = PoolSizes(),
    ):
        """Arguments as RenderedCrops. device: of all tensors of a batch."""
        self._stereo_count = round(crops.stereo * config.batch)
        modelled = _modelled(config, start, negatives, rank, device, crops, sizes)
        generator = torch.Generator(device).manual_seed(_seed(config, start, rank, DEVICE_ID))
        self._modelled_count = config.batch - self._stereo_count
        self._modelled = self._stereo = None
        if self._modelled_count:
            self._modelled = Pool(lambda: modelled.draw(sizes.draw), sizes.draws, 1, generator)
        if self._stereo_count:
            parts = _stereo(config, start, negatives, rank, device, crops)
            self._stereo = Pool(lambda: next(parts), sizes.stereo // PART, sizes.shown, generator)

    def __iter__(self) -> 'DeviceCrops':
        return self

    def __next__(self) -> tuple[torch.Tensor, ...]:
        taken = [
            pool.take(count)
            for pool, count in (
                (self._stereo, self._stereo_count),
                (self._modelled, self._modelled_count),
            )
            if pool
        ]
        batch = CropBatch.join(taken)
        return tuple(getattr(batch, name) for name in CropBatch.__dataclass_fields__)


def fresh_crops(
    config: TrainConfig,
    start: int,
    negatives: torch.Tensor | None,
    device: torch.device,
    crops: CropConfig = TRAINING,
    sizes: PoolSizes = PoolSizes(),
) -> Iterator[CropBatch]:
    """Yield batches on a GPU, each crop once, those of simulated stereo last in each batch.

    A batch has about sizes.draw crops, because stereo comes in parts of PART. Arguments as
    DeviceCrops.
    """
    parts = round(crops.stereo * sizes.draw / PART)
    modelled = _modelled(config, start, negatives, 0, device, crops, sizes)
    stereo = _stereo(config, start, negatives, 0, device, crops) if parts else iter(())
    count = round((1 - crops.stereo) * sizes.draw)
    while True:
        drawn = [modelled.draw(count)] if count else []
        yield CropBatch.join(drawn + [next(stereo) for _ in range(parts)])


def _modelled(config, start, negatives, rank, device, crops, sizes) -> CropSource:
    """Make the source of crops with modelled sensors. Arguments as DeviceCrops."""
    return CropSource(
        _seed(config, start, rank, DEVICE_ID),
        replace(crops, stereo=0.0),
        skins=load_skins(config.skin),
        negatives=negatives,
        device=device,
        compiled=config.compiled,
        largest=sizes.draw,
    )


def _stereo(config, start, negatives, rank, device, crops) -> Iterator[CropBatch]:
    """Yield PART crops of simulated stereo at a time, from worker processes. Arguments as
    DeviceCrops.
    """
    rendered = RenderedCrops(config, start, negatives, rank, replace(crops, stereo=1.0), PART)
    loader = DataLoader(
        rendered,
        batch_size=None,
        num_workers=config.workers,
        prefetch_factor=AHEAD if config.workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for part in loader:
        yield CropBatch(*part).to(device)


class Pool:
    """Pool of the last crops of a source, from which random ones are taken, each `shown` times on
    average.
    """

    def __init__(
        self, fresh: Callable[[], CropBatch], parts: int, shown: int, generator: torch.Generator
    ):
        """fresh: renders new crops, always the same number; parts: renderings to keep; generator:
        on the crops' device.
        """
        self._fresh, self._shown, self._generator = fresh, shown, generator
        drawn = [fresh() for _ in range(parts)]
        self._part, self._oldest, self._crops = len(drawn[0].hand), 0, CropBatch.join(drawn)
        self._left = shown * self._part  # crops to take until the oldest part is replaced

    def take(self, count: int) -> CropBatch:
        """Return `count` random crops, after adding as many new ones as `shown` requires."""
        while self._left < count:
            part, at = self._fresh(), slice(self._oldest, self._oldest + self._part)
            for name in CropBatch.__dataclass_fields__:
                getattr(self._crops, name)[at] = getattr(part, name)
            self._oldest = (self._oldest + self._part) % len(self._crops.hand)
            self._left += self._shown * self._part
        self._left -= count
        device = self._crops.depth.device
        return self._crops[
            torch.randint(len(self._crops.hand), (count,), generator=self._generator, device=device)
        ]


def crop_stream(
    config: TrainConfig, start: int, negatives: torch.Tensor | None, rank: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the tensors of a CropBatch on the device, endlessly. Arguments as DeviceCrops."""
    if device.type != 'cpu':
        return DeviceCrops(config, start, negatives, rank, device)
    return iter(
        DataLoader(
            RenderedCrops(config, start, negatives, rank),
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=AHEAD if config.workers else None,
        )
    )


def _seed(config: TrainConfig, start: int, rank: int, worker: int) -> int:
    return (config.seed * 1_000_003 + start * 4096 + rank * 64 + worker) % 2**62
