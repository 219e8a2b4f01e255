"""Command-line verbs `evaluate` and `render`: errors of weights, and pictures and bags of rendered
hands.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from awr_ros.files import check_output
from awr_ros.settings import add_settings, config_from, number_from
from awr_ros.tracker_config import TRACKER_SETTINGS, TrackerConfig

TRACKER_OPTIONS = (
    'finder_weights',
    'views',
    'score_threshold',
    'beside_threshold',
    'max_depth',
)


def add_commands(verbs: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    _add_evaluate(verbs)
    _add_render(verbs)


def _add_evaluate(verbs: Any) -> None:
    from awr_ros.datasets.command import extend_evaluate

    evaluate = verbs.add_parser(
        'evaluate', help='measure the errors of weights on rendered crops and scenes'
    )
    evaluate.add_argument(
        '--weights', type=Path, help='checkpoint (default: the weights of the package)'
    )
    evaluate.add_argument(
        '--crops', type=number_from(0), default=4096, help='rendered crops (default: %(default)s)'
    )
    evaluate.add_argument(
        '--scenes',
        type=number_from(0),
        default=1000,
        help='rendered frames: errors at given centres, recall, handedness, false hands '
        '(default: %(default)s)',
    )
    evaluate.add_argument(
        '--sequences',
        type=number_from(0),
        default=80,
        help='rendered sequences of a moving camera or arms, half of them without a hand: false '
        'hands and recall, by kind of camera and distance (default: %(default)s)',
    )
    evaluate.add_argument(
        '--seconds',
        type=number_from(0, float),
        default=20.0,
        help='duration of the synthetic camera: jitter, lost hands (default: %(default)s)',
    )
    evaluate.add_argument('--sheet', type=Path, help='picture of the worst crops to write')
    evaluate.add_argument(
        '--off-axis',
        type=number_from(0),
        nargs='?',
        const=100,
        metavar='HANDS',
        help='measure only the errors by the angle between hand and optical axis, for a number of '
        'rendered hands (default: %(const)s)',
    )
    tracker = evaluate.add_argument_group(
        'tracker, for the scenes, the sequences and the synthetic camera'
    )
    add_settings(tracker, [each for each in TRACKER_SETTINGS if each.name in TRACKER_OPTIONS])
    extend_evaluate(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_render(verbs: Any) -> None:
    render = verbs.add_parser(
        'render',
        help='write a picture of training crops, or a bag of the synthetic camera, with the truth',
    )
    render.add_argument('output', type=Path, help='picture to write; with --bag the folder')
    render.add_argument(
        '--crops', type=number_from(1), default=48, help='number of crops (default: %(default)s)'
    )
    render.add_argument(
        '--seed', type=number_from(0), default=1, help='random seed (default: %(default)s)'
    )
    render.add_argument(
        '--scenes',
        type=number_from(1),
        metavar='N',
        help='render N frames of people instead: tracked hands in colour, true ones in white',
    )
    render.add_argument(
        '--bag',
        type=number_from(1),
        metavar='FRAMES',
        help='write a new bag of the synthetic camera instead, with this number of images, their '
        'camera info and the true hands',
    )
    render.add_argument(
        '--rate',
        type=float,
        default=30.0,
        metavar='HZ',
        help='frame rate of the bag (default: %(default)s)',
    )
    render.add_argument(
        '--hands',
        type=int,
        default=1,
        choices=(1, 2),
        help='number of hands in the bag (default: %(default)s)',
    )
    render.add_argument(
        '--storage',
        default='mcap',
        choices=('mcap', 'sqlite3'),
        help='storage format of the bag (default: %(default)s)',
    )
    render.set_defaults(run=_render)


def _evaluate(arguments: argparse.Namespace) -> None:
    if arguments.dataset:
        from awr_ros.datasets.command import evaluate_dataset

        return evaluate_dataset(arguments)
    if arguments.predictions:
        raise ValueError('files of predictions need --dataset')
    from awr_ros.evaluation.crops import evaluate, evaluate_off_axis

    if arguments.off_axis is not None:
        return evaluate_off_axis(arguments.weights, arguments.off_axis)
    check_output(arguments.sheet)
    options = {name: getattr(arguments, name) for name in TRACKER_OPTIONS}
    config = config_from(TrackerConfig, options)
    evaluate(
        arguments.weights,
        arguments.crops,
        arguments.scenes,
        arguments.seconds,
        arguments.sheet,
        arguments.plots,
        config,
        arguments.sequences,
    )


def _render(arguments: argparse.Namespace) -> None:
    check_output(arguments.output)
    if arguments.bag is not None:
        arguments.extra = 'offline'
        from tqdm import tqdm

        from awr_ros.offline.bag_writer import record_synthetic

        record_synthetic(
            arguments.output,
            arguments.bag,
            arguments.rate,
            arguments.hands,
            arguments.seed,
            arguments.storage,
            partial(tqdm, unit='image', disable=None),
        )
        print(f'wrote {arguments.output}')
        return
    from awr_ros.evaluation.contact_sheet import crop_sheet, scene_sheet

    if arguments.scenes is not None:
        from awr_ros.tracker import HandTracker

        scene_sheet(
            arguments.output,
            arguments.scenes,
            arguments.seed,
            HandTracker.from_pretrained(device='cpu'),
        )
        print(f'wrote {arguments.output}')
        return
    from awr_ros.synthetic.crop_config import TRAINING
    from awr_ros.synthetic.crops import CropSource

    crop_sheet(arguments.output, CropSource(arguments.seed, TRAINING).draw(arguments.crops))
    print(f'wrote {arguments.output}')
