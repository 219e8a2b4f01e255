"""Command-line verbs for the public data sets: import, and train and evaluate with --dataset."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from awr_ros.datasets.specs import DATASETS
from awr_ros.settings import add_options, config_of


def add_commands(verbs: Any) -> None:
    """Add the verb `import` (`awr import CKPT --dataset nyu`) to argparse's subparsers."""
    verb = verbs.add_parser(
        'import', help="convert a checkpoint of AWR's authors to one of this package"
    )
    verb.add_argument('checkpoint', type=Path, help="the authors' .pth file")
    verb.add_argument(
        '--dataset', required=True, choices=tuple(DATASETS), help='data set that it was trained on'
    )
    verb.add_argument(
        '--output',
        type=Path,
        help='file to write (default: named after the checkpoint, .pt, in this folder)',
    )
    verb.add_argument(
        '--kernel-size',
        type=float,
        help='radius of closeness (default: 0.4 for hourglasses, 1 for ResNets, as in '
        "the authors' configuration; the paper has 0.8 for ResNets)",
    )
    verb.add_argument(
        '--subject',
        type=int,
        default=0,
        help='MSRA: subject left out of training, for the size of the crop (default: 0)',
    )
    verb.add_argument(
        '--our-crop',
        action='store_true',
        help="trained on this package's crops instead of the authors'",
    )
    verb.set_defaults(run=_import)


def _import(arguments):
    from awr_ros.datasets.authors_checkpoint import import_authors_checkpoint

    output = arguments.output or Path(arguments.checkpoint.stem + '.pt')
    if output.exists() and output.samefile(arguments.checkpoint):
        raise ValueError(f'{output} is the checkpoint itself: give another --output')
    config = import_authors_checkpoint(
        arguments.checkpoint,
        arguments.dataset,
        output,
        arguments.kernel_size,
        arguments.subject,
        not arguments.our_crop,
    )
    print(
        f'wrote {output}: {type(config).__name__.removesuffix("Config")}, '
        f'{len(config.joint_names)} joints, kernel size '
        f'{config.kernel_size:g}, cube {config.cube_mm:g} mm'
    )


def extend_evaluate(verb: argparse.ArgumentParser) -> None:
    """Add the options of `awr evaluate --dataset` to the verb."""
    group = verb.add_argument_group(
        'public data sets', "the papers' metrics, for files of predictions or for weights"
    )
    group.add_argument(
        'predictions',
        type=Path,
        nargs='*',
        help='text files, one line per frame: u v d of each joint [px, px, mm]',
    )
    group.add_argument('--dataset', choices=tuple(DATASETS), help='data set, for its conventions')
    group.add_argument(
        '--truth',
        type=Path,
        help='labels in the same format, with or without file names; NYU: or joint_data.mat',
    )
    group.add_argument(
        '--xyz',
        action='store_true',
        help='predictions and truth are x y z [mm], y down, instead of u v d',
    )
    group.add_argument(
        '--plots', type=Path, help='folder of the plots (default: here; without --dataset none)'
    )
    _add_source(group)
    group.add_argument(
        '--output',
        type=Path,
        help='with --root: file for the predictions of --weights, the truth is written beside it',
    )


def _add_source(group):
    group.add_argument('--root', type=Path, help='folder of the data set')
    group.add_argument(
        '--subject',
        type=int,
        default=0,
        help='MSRA: test subject (default: %(default)s)',
    )
    group.add_argument(
        '--oracle-cube',
        action='store_true',
        help="NYU: the new subject's test crops are 5/6 as large. "
        'The published figures use it, but it requires knowledge of the subject',
    )


def evaluate_dataset(arguments: argparse.Namespace) -> None:
    """Run `awr evaluate --dataset NAME`, either with files of predictions or with --root and
    --weights.
    """
    from awr_ros.datasets.metrics import compare

    arguments.plots = arguments.plots or Path('.')
    if arguments.predictions:
        if arguments.truth is None:
            raise ValueError('predictions are compared with a truth: give --truth')
        compare(
            arguments.dataset,
            arguments.predictions,
            arguments.truth,
            arguments.plots,
            arguments.xyz,
        )
        return
    if arguments.root is None or arguments.weights is None:
        raise ValueError(
            'give files of predictions and --truth, or --root with the data set and --weights'
        )
    from awr_ros.datasets.evaluate import evaluate_weights

    evaluate_weights(
        arguments.weights,
        arguments.dataset,
        arguments.root,
        arguments.plots,
        arguments.output,
        subject=arguments.subject,
        oracle_cube=arguments.oracle_cube,
    )


def add_train_options(verb: Any, taken: Sequence[str]) -> None:
    """Add the options of `awr train RUN --dataset NAME` to the verb.

    taken: names of options that the verb already has; their defaults differ with --dataset.
    """
    from awr_ros.datasets.config import HELP, PaperTrainConfig

    group = verb.add_argument_group('public data sets')
    group.add_argument(
        '--dataset',
        choices=tuple(DATASETS),
        default=argparse.SUPPRESS,
        help='public data set to train on',
    )
    group.add_argument(
        '--root', type=Path, default=argparse.SUPPRESS, help='folder of the data set'
    )
    shared = [
        f'--{field.name.replace("_", "-")} {field.default}'
        for field in fields(PaperTrainConfig)
        if field.name in taken
    ]
    group.description = f'Other defaults of the options above: {", ".join(shared)}.'
    add_options(group, PaperTrainConfig, HELP, suppress=True, skip=('dataset', *taken))


def train_dataset(arguments: argparse.Namespace) -> None:
    """Run `awr train RUN --dataset NAME`."""
    from awr_ros.datasets.config import PaperTrainConfig

    if 'root' not in arguments:
        raise ValueError('--dataset needs --root, the folder of the data set')
    config = config_of(
        PaperTrainConfig, arguments, others=('without --dataset',), ignore=('folder', 'root')
    )
    from awr_ros.datasets.train import train_on_dataset

    train_on_dataset(arguments.folder, arguments.root, config)
