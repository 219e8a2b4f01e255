"""Command line: `python -m awr_ros VERB`, also installed as `awr`."""

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path

from awr_ros.interrupts import Stopped, end, open_standard_streams, stoppable


def command_line() -> None:
    """The program `awr`: run one verb and end the process. Nothing large is imported before signals are heeded."""
    open_standard_streams()
    end(main())


def main(argv=None):
    """Run one verb; returns the exit status, after a signal 128 + its number. Modules are imported by the verb that needs them."""
    verb, arguments = 'awr', None
    try:
        with stoppable():
            arguments = _parse(sys.argv[1:] if argv is None else argv)
            verb = f'awr {arguments.verb}'
            return arguments.run(arguments) or 0
    except Stopped as stopped:
        print(f'{verb}: {stopped}', file=sys.stderr)
        return 128 + stopped.number
    except BrokenPipeError:
        print(f'{verb}: the reader of the output has ended', file=sys.stderr)
    except ModuleNotFoundError as error:
        extra = getattr(arguments, 'extra', 'train')
        print(
            f"{verb}: {error}; in the package's source folder: pip install '.[{extra}]'",
            file=sys.stderr,
        )
    except MemoryError as error:
        print(f'{verb}: out of memory {error}'.rstrip(), file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f'{verb}: {" ".join(str(error).splitlines())}', file=sys.stderr)
    return 1


def _parse(argv):
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog='awr', description='3D hand tracking from depth: train, evaluate, look, measure.'
    )
    from awr_ros.bench.command import add_bench
    from awr_ros.datasets.command import add_import, extend_evaluate
    from awr_ros.evaluation.openxr_conformance import add_conformance
    from awr_ros.offline.command import add_track
    from awr_ros.runtime.export import add_export
    from awr_ros.tracker_config import TrackerConfig
    from awr_ros.viewer.command import add_view

    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    _add_train_finder(verbs)
    refiner = verbs.add_parser(
        'train-refiner',
        help='teach a trained compact network to correct the joints that its votes give',
    )
    refiner.add_argument('output', type=Path, help='checkpoint to write')
    refiner.add_argument(
        '--weights',
        type=Path,
        help='checkpoint to start from (default: the weights of the package)',
    )
    refiner.add_argument(
        '--crops',
        type=int,
        default=500_000,
        help='to render, to read and to keep, 21 kB each (default: %(default)s)',
    )
    refiner.add_argument(
        '--workers', type=int, default=2, help='processes that do so (default: %(default)s)'
    )
    refiner.add_argument(
        '--init',
        default='',
        help='checkpoint whose refiner is the one to start from (default: a new one)',
    )
    for name, options in (
        ('skin', {'default': ''}),
        ('compiled', {'action': 'store_true'}),
        ('bfloat16', {'action': 'store_true'}),
    ):
        refiner.add_argument('--' + name, help=TRAIN_HELP[name], **options)
    refiner.set_defaults(run=_train_refiner)
    judge = verbs.add_parser(
        'train-judge',
        help='teach a trained compact network to tell left hands from right ones, how likely '
        'its joints are right and what is a hand',
    )
    judge.add_argument('output', type=Path, help='checkpoint to write')
    judge.add_argument(
        '--weights',
        type=Path,
        help='checkpoint to start from (default: the weights of the package)',
    )
    judge.add_argument(
        '--crops',
        type=int,
        default=100_000,
        help='to render and to read both ways (default: %(default)s)',
    )
    judge.add_argument(
        '--scenes',
        type=int,
        default=1200,
        help='to render and to fit to what starts a track (default: %(default)s)',
    )
    judge.add_argument(
        '--finder-weights',
        metavar='FILE',
        default='',
        help='of the learned finder (default: the one of the package)',
    )
    for trained in (refiner, judge):
        trained.add_argument('--device', default='auto', help=TRAIN_HELP['device'])
    judge.set_defaults(run=_train_handedness)
    _add_make_weights(verbs)
    _add_train(
        verbs, argv[:1] == ['train'] and any(word.split('=')[0] == '--dataset' for word in argv)
    )
    evaluate = verbs.add_parser(
        'evaluate', help='errors of weights on rendered crops never trained on'
    )
    evaluate.add_argument(
        '--weights', type=Path, help='checkpoint (default: the weights of the package)'
    )
    evaluate.add_argument(
        '--crops', type=int, default=4096, help='rendered crops (default: %(default)s)'
    )
    evaluate.add_argument(
        '--scenes',
        type=int,
        default=1000,
        help='whole frames: centre given, finder, side, false hands (default: %(default)s)',
    )
    evaluate.add_argument(
        '--sequences',
        type=int,
        default=80,
        help='of a moving camera or arms, half of them without a hand: '
        'false hands, hands found, by kind of camera and distance (default: %(default)s)',
    )
    evaluate.add_argument(
        '--seconds',
        type=float,
        default=20.0,
        help='of the synthetic camera: jitter, lost hands (default: %(default)s)',
    )
    evaluate.add_argument('--sheet', type=Path, help='write a picture of the worst crops here')
    evaluate.add_argument(
        '--off-axis',
        type=int,
        nargs='?',
        const=100,
        metavar='HANDS',
        help='instead only the errors by the angle between hand and optical axis, of '
        'so many rendered hands (default: %(const)s)',
    )
    tracker = evaluate.add_argument_group('tracker, of the scenes and the synthetic camera')
    tracker.add_argument(
        '--finder-weights',
        metavar='FILE',
        default='',
        help='of the learned finder (default: the one of the package)',
    )
    for name in ('score_threshold', 'beside_threshold'):
        tracker.add_argument(
            f'--{name.replace("_", "-")}',
            type=float,
            metavar='X',
            default=getattr(TrackerConfig, name),
            help='default: %(default)s',
        )
    tracker.add_argument(
        '--max-depth',
        type=float,
        metavar='MM',
        default=TrackerConfig.max_depth_mm,
        help='hands are looked for to here (default: %(default)s)',
    )
    extend_evaluate(evaluate)
    evaluate.set_defaults(run=_evaluate)
    render = verbs.add_parser(
        'render',
        help='a picture of training crops, or a bag of the synthetic camera, with true joints',
    )
    render.add_argument('output', type=Path, help='picture, or with --bag the folder, to write')
    render.add_argument('--crops', type=int, default=48, help='how many (default: %(default)s)')
    render.add_argument('--seed', type=int, default=1, help='default: %(default)s')
    render.add_argument(
        '--scenes',
        type=int,
        metavar='N',
        help='instead N whole frames of people: what the tracker says of their '
        'hands in colour, the truth in white',
    )
    render.add_argument(
        '--bag',
        type=int,
        metavar='FRAMES',
        help='instead a new bag of the synthetic camera with so many images, '
        'with their camera info and the true hands',
    )
    render.add_argument(
        '--rate', type=float, default=30.0, metavar='HZ', help='of the bag (default: %(default)s)'
    )
    render.add_argument(
        '--hands', type=int, default=1, choices=(1, 2), help='in the bag (default: %(default)s)'
    )
    render.add_argument(
        '--storage',
        default='mcap',
        choices=('mcap', 'sqlite3'),
        help='of the bag (default: %(default)s)',
    )
    render.set_defaults(run=_render)
    add_bench(verbs, _bench_messages)
    add_track(verbs)
    add_conformance(verbs, _listen)
    add_view(verbs, _open_node)
    add_export(verbs)
    add_import(verbs)
    parser.set_defaults(extra='train')
    return parser.parse_args(argv)


TRAIN_HELP = {
    'hard_negatives': 'share of the negatives that the weights of --init take for hands',
    'size': 'network: s or m',
    'samples': 'crops to see in all',
    'batch': 'crops a step',
    'learning_rate': 'peak',
    'weight_decay': 'of the optimiser',
    'ema': 'share of the average kept a step',
    'workers': 'rendering processes, 0: none',
    'validate_every': 'crops between validations and checkpoints',
    'validation': 'crops to validate on',
    'seed': 'of everything',
    'device': 'auto, cpu or cuda',
    'skin': 'GLB file of a skinned hand with the WebXR joints, drawn half the time',
    'negatives': 'crops of other things that the finder offers, rendered at the start; 0: none',
    'finder_weights': 'of the finder that offers these (default: the one of the package)',
    'init': 'checkpoint of the same size to start from (default: random weights)',
    'compiled': 'fuse with torch.compile (needs a C++ compiler, renders twice as fast)',
    'bfloat16': 'compute in it on the CPU (a third faster on some: measure; always taken on a GPU and with AMX)',
}
TRAIN_FINDER_HELP = {
    **TRAIN_HELP,
    'scenes': 'to render once and keep in the folder, 40 kB each',
    'samples': 'frames to see in all',
    'batch': 'frames a step',
    'validate_every': 'frames between validations and checkpoints',
}


def _add_train(verbs, on_dataset):
    train = verbs.add_parser(
        'train',
        help='train the compact network on rendered hands, or with --dataset NAME one of the '
        "paper's on a public data set (train --dataset nyu --help); goes on where it stopped",
    )
    train.add_argument('folder', type=Path, help='folder of the run: last.pt, weights.pt, log.csv')
    if on_dataset:  # has options of its own
        from awr_ros.datasets.command import extend_train

        return extend_train(train)
    from awr_ros.training.config import TrainConfig

    _add_options(train, TrainConfig, TRAIN_HELP)
    train.set_defaults(run=_train)


MAKE_HELP = {
    **TRAIN_HELP,
    'samples': 'crops that the network learns from; what follows learns from shares of it',
    'batch': 'crops a step, of all processes together',
    'refiner_share': 'crops of the refiner, as a share of the samples',
    'handedness_share': 'crops of the handedness head, likewise',
    'scenes': 'that the detection score is fitted to',
    'finder_samples': 'frames that a new finder learns from, 0: finder_weights is used',
    'finder_scenes': 'that these frames are of',
    'evaluated_crops': 'to evaluate the result on',
    'evaluated_scenes': 'likewise',
    'evaluated_sequences': 'likewise',
    'evaluated_seconds': 'of the synthetic camera, likewise',
}


def _add_make_weights(verbs):
    from awr_ros.training.weights_config import WeightsConfig

    make = verbs.add_parser(
        'make-weights',
        help='from random weights to a checkpoint with its evaluation and model card: network, '
        'refiner, handedness head, detection score; goes on where it stopped',
    )
    make.add_argument(
        'folder', type=Path, help='folder of the run: weights.pt, evaluation.txt, model-card.md'
    )
    make.add_argument(
        '--minutes',
        type=float,
        default=0.0,
        help='about, without the evaluation: as many samples as fit here, instead of --samples',
    )
    _add_options(make, WeightsConfig, MAKE_HELP)
    make.set_defaults(run=_make_weights)


def _add_train_finder(verbs):
    from awr_ros.training.config import FinderTrainConfig

    train = verbs.add_parser(
        'train-finder', help='train the learned finder on rendered scenes; goes on where it stopped'
    )
    train.add_argument(
        'folder', type=Path, help='folder of the run: scenes, last.pt, finder.onnx, log.csv'
    )
    _add_options(train, FinderTrainConfig, TRAIN_FINDER_HELP)
    train.set_defaults(run=_train_finder)


def _add_options(parser, config, help_texts):
    """An option for every field of a configuration."""
    for field in dataclasses.fields(config):
        option = '--' + field.name.replace('_', '-')
        if isinstance(field.default, bool):
            parser.add_argument(option, action='store_true', help=help_texts[field.name])
        else:
            parser.add_argument(
                option,
                type=type(field.default),
                default=field.default,
                help=f'{help_texts[field.name]} (default: {field.default!r})',
            )


def _of_options(config, arguments):
    return config(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(config)}
    )


def _train(arguments):
    from awr_ros.training.config import TrainConfig
    from awr_ros.training.train import train

    train(arguments.folder, _of_options(TrainConfig, arguments))


def _make_weights(arguments):
    from awr_ros.training.make_weights import for_minutes, make_weights
    from awr_ros.training.weights_config import WeightsConfig

    config = _of_options(WeightsConfig, arguments)
    if arguments.minutes:
        config = for_minutes(arguments.folder, config, arguments.minutes)
    make_weights(arguments.folder, config)


def _train_finder(arguments):
    from awr_ros.training.config import FinderTrainConfig
    from awr_ros.training.palm_detector import train_finder

    arguments.extra = 'engines'  # onnx writes the finder's file
    train_finder(arguments.folder, _of_options(FinderTrainConfig, arguments))


def _train_refiner(arguments):
    from awr_ros.training.refiner import train_refiner

    before, after = train_refiner(
        arguments.weights,
        arguments.output,
        arguments.crops,
        arguments.skin,
        arguments.workers,
        arguments.compiled,
        arguments.bfloat16,
        arguments.init,
        device=arguments.device,
    )
    print(
        f'wrote {arguments.output}: joints of crops held out {after:.2f} mm off, as voted for {before:.2f} mm'
    )


def _train_handedness(arguments):
    from awr_ros.training.handedness import train_handedness

    right, loss = train_handedness(
        arguments.weights,
        arguments.output,
        arguments.crops,
        arguments.scenes,
        finder_weights=arguments.finder_weights,
        device=arguments.device,
    )
    print(
        f'wrote {arguments.output}: {right:.1%} of the crops held out on the right side, log loss {loss:.3f}'
    )


def _evaluate(arguments):
    if arguments.dataset:
        from awr_ros.datasets.command import evaluate_dataset

        return evaluate_dataset(arguments)
    if arguments.predictions:
        raise ValueError('files of predictions need --dataset')
    from awr_ros.evaluation.crops import evaluate, evaluate_off_axis
    from awr_ros.tracker_config import TrackerConfig

    if arguments.off_axis is not None:
        return evaluate_off_axis(arguments.weights, arguments.off_axis)
    config = TrackerConfig(
        finder_weights=arguments.finder_weights,
        score_threshold=arguments.score_threshold,
        beside_threshold=arguments.beside_threshold,
        max_depth_mm=arguments.max_depth,
    )
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


def _render(arguments):
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
    from awr_ros.synthetic.crops import TRAINING, CropSource

    crop_sheet(arguments.output, CropSource(arguments.seed, TRAINING).draw(arguments.crops))
    print(f'wrote {arguments.output}')


def _bench_messages(report, seconds):
    """The bench over ROS, which is not everywhere where the rest is."""
    import importlib.util

    if importlib.util.find_spec('rclpy') is None or importlib.util.find_spec('awr_ros.msg') is None:
        report.section('Message to message')
        report.remark('ROS is not here: nothing was measured.')
        return
    from awr_ros.ros.measure.latency import bench_messages

    bench_messages(report, seconds)


def _open_node(name, topic):
    """Subscribe to a running node for the view; only here is ROS needed."""
    from awr_ros.ros.view_source import NodeSource

    return NodeSource(name, topic)


def _listen(topic, seconds):
    """OpenXR hands of a running node."""
    from awr_ros.ros.measure.listen import listen

    return listen(topic, seconds)


if __name__ == '__main__':
    command_line()
