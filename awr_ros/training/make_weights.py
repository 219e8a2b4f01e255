"""From random weights to a checkpoint with its evaluation and its model card, in stages that resume
after any stop.
"""

import contextlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from awr_ros.evaluation.crops import evaluate
from awr_ros.files import write_text
from awr_ros.networks.checkpoint import load_checkpoint
from awr_ros.training.config import FinderTrainConfig, TrainConfig
from awr_ros.training.handedness import add_detection_weights, train_handedness
from awr_ros.training.palm_detector import train_finder
from awr_ros.training.refiner import train_refiner
from awr_ros.training.train import train
from awr_ros.training.weights_config import WeightsConfig, differences
from awr_ros.weight_files import checksum, save_with_checksum

# approximate share of the time for the pose network; the rest is for the stages after it
NETWORK_TIME = 0.6
MEASURED_STEPS = 40  # steps, the second half of them timed, to convert minutes to samples


class Progress:
    """Progress of a run, in progress.json: its configuration, and the seconds of each finished
    stage.
    """

    def __init__(self, folder: Path, config: WeightsConfig):
        """Raise ValueError when the folder holds a run of another configuration."""
        self._path, self.seconds = folder / 'progress.json', {}
        kept = self.kept_config(folder)
        if kept is not None:
            changed = differences(kept, config)
            if changed:
                raise ValueError(
                    f'{folder} was begun with other settings ({", ".join(changed)}): repeat these '
                    f'or take another folder'
                )
            self.seconds = _read(self._path)[1]
        self.config = config
        self._write()

    @staticmethod
    def kept_config(folder: Path) -> WeightsConfig | None:
        """Return the configuration of the run in a folder, None for a new one."""
        path = folder / 'progress.json'
        return _read(path)[0] if path.exists() else None

    def finish(self, stage: str, seconds: float) -> None:
        """Mark a stage as done, with the duration of its last start."""
        self.seconds[stage] = seconds
        self._write()

    def _write(self) -> None:
        write_text(
            self._path,
            json.dumps({'config': asdict(self.config), 'seconds': self.seconds}, indent=1),
        )


def _read(path: Path) -> tuple[WeightsConfig, dict[str, float]]:
    """Return configuration and seconds of a progress.json. Raise ValueError that names it."""
    try:
        progress = json.loads(path.read_text())
        seconds = {str(stage): float(value) for stage, value in progress['seconds'].items()}
        return WeightsConfig(**progress['config']), seconds
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is no record of such a run, or damaged: take another folder'
        ) from error


def make_weights(folder: Path | str, config: WeightsConfig) -> None:
    """Make weights, resuming the run in the folder if there is one.

    Writes weights.pt, evaluation.txt and model-card.md, beside the files of the stages. Under
    torchrun the pose network is trained by all processes, the rest by the first one. Raise
    ValueError when the folder holds a run of another configuration.
    """
    folder, rank = Path(folder), int(os.environ.get('RANK', 0))
    folder.mkdir(parents=True, exist_ok=True)
    stages = _stages(folder, config)
    if rank:
        return _follow(folder, stages)
    progress = Progress(folder, config)
    for name, run in stages.items():
        if name not in progress.seconds:
            print(f'make-weights: {name}', flush=True)
            began = time.monotonic()
            run()
            progress.finish(name, round(time.monotonic() - began, 1))
    write_text(folder / 'model-card.md', model_card(folder, config, progress.seconds))
    print(f'wrote {folder / "weights.pt"}, evaluation.txt and model-card.md')


def _follow(folder: Path, stages: dict[str, Callable[[], object]]) -> None:
    """Take part in the training of the pose network, once the palm detector is finished."""

    def done() -> dict:
        path = folder / 'progress.json'
        return _read(path)[1] if path.exists() else {}

    while 'finder' not in done():
        time.sleep(1)
    if 'network' not in done():
        stages['network']()


def _stages(folder: Path, config: WeightsConfig) -> dict[str, Callable[[], object]]:
    """Return the stages in their order, each with its function."""
    finder = (
        str(folder / 'finder' / 'finder.onnx') if config.finder_samples else config.finder_weights
    )
    processes = int(os.environ.get('WORLD_SIZE', 1))
    common: dict[str, Any] = dict(
        skin=config.skin, workers=config.workers, compiled=config.compiled, bfloat16=config.bfloat16
    )
    network = TrainConfig(
        size=config.size,
        samples=config.samples,
        batch=max(1, config.batch // processes),
        learning_rate=config.learning_rate,
        validate_every=config.validate_every,
        validation=config.validation,
        negatives=config.negatives,
        finder_weights=finder,
        init=config.init,
        seed=config.seed,
        device=config.device,
        **common,
    )
    refined, headed, weights = (
        folder / name for name in ('refined.pt', 'with_handedness.pt', 'weights.pt')
    )

    def learn_finder() -> None:
        if config.finder_samples:
            train_finder(
                folder / 'finder',
                FinderTrainConfig(
                    scenes=config.finder_scenes,
                    samples=config.finder_samples,
                    seed=config.seed,
                    device=config.device,
                ),
            )

    def learn_refiner() -> None:
        train_refiner(
            folder / 'network' / 'weights.pt',
            refined,
            config.crops(config.refiner_share),
            folder=folder / 'refiner',
            device=config.device,
            **common,
        )

    def learn_detection() -> None:
        try:
            add_detection_weights(headed, weights, config.scenes, finder)
        except ValueError as error:  # the network finds no hand
            print(
                f'make-weights: no detection score was fitted, its default stays: {error}',
                file=sys.stderr,
                flush=True,
            )
            save_with_checksum(weights, lambda part: part.write_bytes(headed.read_bytes()))

    def report() -> None:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            evaluate(
                weights,
                config.evaluated_crops,
                config.evaluated_scenes,
                config.evaluated_seconds,
                sequences=config.evaluated_sequences,
            )
        write_text(folder / 'evaluation.txt', text.getvalue())
        print(text.getvalue())

    return {
        'finder': learn_finder,
        'network': partial(train, folder / 'network', network),
        'refiner': learn_refiner,
        'handedness': lambda: train_handedness(
            refined,
            headed,
            config.crops(config.handedness_share),
            scenes=0,
            workers=config.workers,
            device=config.device,
        ),
        'detection score': learn_detection,
        'evaluation': report,
    }


def for_minutes(folder: Path, config: WeightsConfig, minutes: float) -> WeightsConfig:
    """Return the configuration with the number of samples that fit into about so many minutes,
    without evaluation.

    A run that was begun keeps its number. Otherwise some steps are timed in folder/measured. Raise
    ValueError under torchrun, whose processes would have to agree.
    """
    kept = Progress.kept_config(folder)
    if kept is not None:
        return replace(config, samples=kept.samples, scenes=kept.scenes)
    if 'RANK' in os.environ:
        raise ValueError('minutes cannot be turned into samples under torchrun: give samples')
    half = MEASURED_STEPS // 2 * config.batch
    timed = TrainConfig(
        size=config.size,
        samples=2 * half,
        batch=config.batch,
        validate_every=half,
        validation=0,
        negatives=0,
        workers=config.workers,
        device=config.device,
        compiled=config.compiled,
        bfloat16=config.bfloat16,
    )
    (folder / 'measured').mkdir(parents=True, exist_ok=True)
    (folder / 'measured' / 'log.csv').unlink(missing_ok=True)
    (folder / 'measured' / 'last.pt').unlink(missing_ok=True)
    train(folder / 'measured', timed)
    header, *rows = (folder / 'measured' / 'log.csv').read_text().splitlines()
    rate = float(rows[-1].split(',')[header.split(',').index('crops_per_s')])
    samples = max(config.batch, round(NETWORK_TIME * 60 * minutes * rate))
    return replace(config, samples=samples, scenes=max(20, min(config.scenes, samples // 1000)))


def model_card(folder: Path, config: WeightsConfig, seconds: dict[str, float]) -> str:
    """Return the table of a model card, in Markdown: how the weights in the folder were made, and
    their evaluation.
    """
    _, about = load_checkpoint(folder / 'weights.pt')
    defaults = WeightsConfig()
    options = ' '.join(
        f'--{field.name.replace("_", "-")}' + ('' if value is True else f' {value}')
        for field in fields(config)
        if (value := getattr(config, field.name)) != getattr(defaults, field.name)
    )
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available() and config.device != 'cpu'
        else f'{platform.machine()}, {os.cpu_count()} CPU cores'
    )
    rows = {
        'Command': f'`python -m awr_ros make-weights OUT {options}`'.replace(' `', '`'),
        'Machine': device,
        'PyTorch': torch.__version__,
        'SHA-256': f'`{checksum(folder / "weights.pt")}`',
        'Crops the network learnt from': f'{about["step"]:,}',
        'Crops of the refiner': f'{config.crops(config.refiner_share):,}',
        'Crops of the handedness head': f'{config.crops(config.handedness_share):,}',
        'Scenes of the detection score': f'{config.scenes:,}',
        **{f'Time, {stage}': f'{time_s / 60:.1f} min' for stage, time_s in seconds.items()},
        **{name: f'{value:.4g}' for name, value in about['metrics'].items()},
    }
    table = '\n'.join(f'| {name} | {value} |' for name, value in rows.items())
    return (
        f'| | |\n|---|---|\n{table}\n\nTimes are of the last start of each stage.\n\n`python -m '
        f'awr_ros evaluate`:\n\n```\n'
        f'{(folder / "evaluation.txt").read_text()}```\n'
    )
