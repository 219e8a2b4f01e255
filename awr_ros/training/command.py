"""Command-line verbs of training: train, average, train-refiner, train-handedness, train-finder,
make-weights.
"""

import argparse
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from awr_ros.files import check_output
from awr_ros.settings import add_options, config_of, number_from

TRAIN_HELP = {
    'hard_negatives': 'share of the negatives that are false positives of the weights of --init',
    'size': 'size of the network, s or m',
    'samples': 'training crops in total',
    'batch': 'crops per step',
    'learning_rate': 'peak learning rate',
    'weight_decay': 'weight decay of the optimiser',
    'ema': 'decay of the moving average of the weights, per step',
    'workers': 'rendering processes, 0: none',
    'validate_every': 'crops between validations and checkpoints',
    'validation': 'validation crops',
    'seed': 'random seed',
    'device': 'auto, cpu or cuda',
    'skin': 'GLB file of a skinned hand with the WebXR joints, used for half of the crops',
    'negatives': 'hard negatives, false positives of the finders, rendered at the start; 0: none',
    'finder_weights': 'ONNX file of the palm detector (default: the one of the package)',
    'init': 'checkpoint of the same size to start from (default: random weights)',
    'compiled': 'compile with torch.compile (needs a C++ compiler, renders twice as fast)',
    'bfloat16': (
        'bfloat16 on the CPU (a third faster on some CPUs; always used on a GPU and with AMX)'
    ),
}
TRAIN_FINDER_HELP = {
    **TRAIN_HELP,
    'scenes': 'scenes, rendered once and kept in the folder, 40 kB each',
    'samples': 'training frames in total',
    'batch': 'frames per step',
    'validate_every': 'frames between validations and checkpoints',
    'init': 'finder.onnx of a palm detector to start from (default: random weights)',
}
TRAIN_REFINER_HELP = {
    **TRAIN_HELP,
    'crops': 'rendered crops, kept in memory, 21 kB each',
    'init': 'checkpoint with the refiner to start from (default: random weights)',
    'init_share': 'share of that refiner in its mean with the trained one, which is written',
}
TRAIN_HANDEDNESS_HELP = {
    'device': TRAIN_HELP['device'],
    'crops': 'rendered crops, in both orientations',
    'scenes': 'rendered scenes to fit the detection score to; 0: no fit',
    'finder_weights': 'ONNX file of the palm detector (default: the one of the package)',
}
MAKE_HELP = {
    **TRAIN_HELP,
    'samples': 'training crops of the pose network; those of the other stages are shares of it',
    'batch': 'crops per step, of all processes together',
    'refiner_share': 'training crops of the refiner, as a share of --samples',
    'handedness_share': 'training crops of the handedness head, as a share of --samples',
    'scenes': 'rendered scenes to fit the detection score to',
    'finder_samples': 'training frames of a new palm detector; 0: use --finder-weights',
    'finder_scenes': 'rendered scenes of these frames',
    'evaluated_crops': 'crops of the evaluation',
    'evaluated_scenes': 'scenes of the evaluation',
    'evaluated_sequences': 'sequences of the evaluation',
    'evaluated_seconds': 'seconds of the synthetic camera in the evaluation',
}


def add_commands(verbs: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    _add_train(verbs)
    _add_average(verbs)
    _add_train_refiner(verbs)
    _add_train_handedness(verbs)
    _add_train_finder(verbs)
    _add_make_weights(verbs)


def _add_train(verbs: Any) -> None:
    from awr_ros.datasets.command import add_train_options
    from awr_ros.training.config import TrainConfig

    train = verbs.add_parser(
        'train',
        help='train the compact network on rendered hands, or with --dataset one of the '
        "paper's networks on a public data set; resumable",
    )
    train.add_argument('folder', type=Path, help='folder of the run: last.pt, weights.pt, log.csv')
    taken = [field.name for field in fields(TrainConfig)]
    group = train.add_argument_group('rendered hands')
    add_options(group, TrainConfig, TRAIN_HELP, suppress=True)
    add_train_options(train, taken)
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    if 'dataset' in arguments:
        from awr_ros.datasets.command import train_dataset

        return train_dataset(arguments)
    from awr_ros.training.config import TrainConfig

    config = config_of(TrainConfig, arguments, others=('with --dataset',), ignore=('folder',))
    from awr_ros.training.train import train

    train(arguments.folder, config)


def _add_average(verbs: Any) -> None:
    average = verbs.add_parser(
        'average', help='average the weights of training runs that began from each other'
    )
    average.add_argument(
        'output', type=Path, help='checkpoint to write, or FILE.onnx for palm detectors'
    )
    average.add_argument(
        'weights',
        type=Path,
        nargs='+',
        help='weights.pt of two or more runs, or finder.onnx of palm detectors',
    )
    average.add_argument(
        '--shares',
        type=number_from(0, float),
        nargs='+',
        default=(),
        help='share of each of them (default: equal)',
    )
    average.add_argument(
        '--crops',
        type=number_from(1, int),
        default=4096,
        help='rendered crops for the normalisation of pose networks (default: 4096)',
    )
    average.add_argument(
        '--scenes',
        type=number_from(1, int),
        default=640,
        help='rendered scenes for that of palm detectors (default: 640)',
    )
    average.add_argument('--skin', default='', help=TRAIN_HELP['skin'] + ' (pose networks)')
    average.set_defaults(run=_average)


def _average(arguments: argparse.Namespace) -> None:
    from functools import partial

    from awr_ros.training.average import average_finders, average_weights
    from awr_ros.training.run import progress_bar

    check_output(arguments.output)
    if arguments.output.suffix == '.onnx':
        arguments.extra = 'engines'
        average_finders(
            arguments.weights,
            arguments.output,
            arguments.shares,
            scenes=arguments.scenes,
            progress=partial(progress_bar, unit='scene'),
        )
    else:
        average_weights(
            arguments.weights,
            arguments.output,
            arguments.shares,
            crops=arguments.crops,
            skin=arguments.skin,
            progress=partial(progress_bar, unit='batch'),
        )
    print(f'wrote {arguments.output}')


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('output', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--weights',
        type=Path,
        help='checkpoint to start from (default: the weights of the package)',
    )


def _add_train_refiner(verbs: Any) -> None:
    from awr_ros.training.config import RefinerTrainConfig

    refiner = verbs.add_parser('train-refiner', help='train the joint refiner of a compact network')
    _add_weights(refiner)
    add_options(refiner, RefinerTrainConfig, TRAIN_REFINER_HELP)
    refiner.set_defaults(run=_train_refiner)


def _train_refiner(arguments: argparse.Namespace) -> None:
    from awr_ros.training.config import RefinerTrainConfig
    from awr_ros.training.refiner import train_refiner

    config = config_of(RefinerTrainConfig, arguments)
    check_output(arguments.output)
    before, after = train_refiner(arguments.weights, arguments.output, **asdict(config))
    print(
        f'wrote {arguments.output}: mean joint error on held out crops {after:.2f} mm, '
        f'of the votes {before:.2f} mm'
    )


def _add_train_handedness(verbs: Any) -> None:
    from awr_ros.training.config import HandednessTrainConfig

    handedness = verbs.add_parser(
        'train-handedness',
        aliases=['train-judge'],
        help='train the handedness head of a compact network, calibrate its joint scores and fit '
        'its detection score',
    )
    _add_weights(handedness)
    add_options(handedness, HandednessTrainConfig, TRAIN_HANDEDNESS_HELP)
    handedness.set_defaults(run=_train_handedness)


def _train_handedness(arguments: argparse.Namespace) -> None:
    from awr_ros.training.config import HandednessTrainConfig
    from awr_ros.training.handedness import train_handedness

    config = config_of(HandednessTrainConfig, arguments)
    check_output(arguments.output)
    right, loss = train_handedness(arguments.weights, arguments.output, **asdict(config))
    print(
        f'wrote {arguments.output}: {right:.1%} of the held out crops on the right side, '
        f'log loss {loss:.3f}'
    )


def _add_make_weights(verbs):
    from awr_ros.training.weights_config import WeightsConfig

    make = verbs.add_parser(
        'make-weights',
        help='from random weights to a checkpoint with its evaluation and model card: network, '
        'refiner, handedness head, detection score; resumable',
    )
    make.add_argument(
        'folder', type=Path, help='folder of the run: weights.pt, evaluation.txt, model-card.md'
    )
    make.add_argument(
        '--minutes',
        type=number_from(0, float),
        default=0.0,
        help='approximate duration without the evaluation, sets --samples for this machine',
    )
    add_options(make, WeightsConfig, MAKE_HELP)
    make.set_defaults(run=_make_weights)


def _add_train_finder(verbs):
    from awr_ros.training.config import FinderTrainConfig

    train = verbs.add_parser(
        'train-finder', help='train the palm detector on rendered scenes; resumable'
    )
    train.add_argument(
        'folder', type=Path, help='folder of the run: scenes, last.pt, finder.onnx, log.csv'
    )
    add_options(train, FinderTrainConfig, TRAIN_FINDER_HELP)
    train.set_defaults(run=_train_finder)


def _make_weights(arguments):
    from awr_ros.training.make_weights import for_minutes, make_weights
    from awr_ros.training.weights_config import WeightsConfig

    config = config_of(WeightsConfig, arguments)
    if arguments.minutes:
        config = for_minutes(arguments.folder, config, arguments.minutes)
    make_weights(arguments.folder, config)


def _train_finder(arguments):
    from awr_ros.training.config import FinderTrainConfig
    from awr_ros.training.palm_detector import train_finder

    arguments.extra = 'engines'  # writing the palm detector's file needs onnx
    train_finder(arguments.folder, config_of(FinderTrainConfig, arguments))
