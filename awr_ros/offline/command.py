"""The verb `track` of the command line."""

import sys
from functools import partial
from pathlib import Path

from awr_ros.files import printable
from awr_ros.messages.depth_camera import DISTORTION_CHOICES
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.derived.hand_size import parse_hand_size
from awr_ros.tracker_config import TrackerConfig

DEFAULTS = TrackerConfig()


def add_track(verbs):
    """Add the verb to argparse's subparsers. Its options for the tracker are the parameters of the node."""
    track = verbs.add_parser(
        'track',
        help='hands in a recording: a ROS 2 bag, a folder of 16-bit PNGs, one image',
        description='Track hands in a recording, with the tracker of the node. See docs/offline.md.',
    )
    track.add_argument(
        'input',
        type=Path,
        help='ROS 2 bag (folder, .mcap, .db3), folder of 16-bit PNGs, or one PNG',
    )
    out = track.add_argument_group('outputs, at least one')
    out.add_argument(
        '-o',
        '--output',
        metavar='FILE',
        help='.jsonl or .csv; - writes JSON lines to the standard output',
    )
    out.add_argument(
        '--overlay',
        metavar='PATH',
        help='pictures: .mp4, a new folder for PNGs, or .png of a single image',
    )
    out.add_argument(
        '--bag', metavar='FOLDER', help='new bag (mcap) with HandArray, MarkerArray and PoseArray'
    )
    what = track.add_argument_group('input')
    what.add_argument('--topic', help='depth images in a bag (default: the only ones)')
    what.add_argument('--info-topic', help='their camera info (default: camera_info beside them)')
    what.add_argument(
        '--intrinsics',
        metavar='K',
        help='fx,fy,cx,cy in pixels, or a YAML or JSON file with a camera info; '
        'needed for PNGs, overrides what a bag says',
    )
    what.add_argument(
        '--distortion', choices=DISTORTION_CHOICES, default='undistort', help='default: %(default)s'
    )
    what.add_argument('--rate', type=float, metavar='HZ', help='of PNGs (default: 30)')
    what.add_argument(
        '--timestamps', type=Path, metavar='FILE', help='seconds of each PNG, one line each'
    )
    what.add_argument(
        '--depth-scale',
        type=float,
        default=1.0,
        metavar='MM',
        help='of one unit in a PNG, or what the depths of a bag are multiplied by (default: 1)',
    )
    _add_tracker(track.add_argument_group('tracker'))
    track.set_defaults(run=run_track, extra='offline')


def _add_tracker(group):
    group.add_argument(
        '--weights', type=Path, help='checkpoint (default: the weights of the package)'
    )
    group.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: %(default)s'
    )
    group.add_argument(
        '--engine',
        default='auto',
        help='auto, torch, openvino or onnxruntime (default: %(default)s)',
    )
    group.add_argument(
        '--num-threads',
        type=int,
        metavar='N',
        help='CPU threads for the network (default: all cores but one, at most 4)',
    )
    number = partial(group.add_argument, metavar='X', help='default: %(default)s')
    number('--max-hands', type=int, default=DEFAULTS.max_hands)
    group.add_argument(
        '--side',
        choices=('auto', 'left', 'right'),
        default=DEFAULTS.side,
        help='default: %(default)s',
    )
    group.add_argument(
        '--finder',
        choices=('learned', 'nearest'),
        default=DEFAULTS.finder,
        help='default: %(default)s',
    )
    group.add_argument(
        '--finder-weights',
        metavar='FILE',
        default='',
        help='of the learned finder (default: the one of the package)',
    )
    number('--search-every', type=int, default=DEFAULTS.search_every)
    number('--score-threshold', type=float, default=DEFAULTS.score_threshold)
    number('--beside-threshold', type=float, default=DEFAULTS.beside_threshold)
    number('--lose-threshold', type=float, default=DEFAULTS.lose_threshold)
    metres = partial(group.add_argument, type=float, metavar='M', help='[m], default: %(default)s')
    metres('--min-depth', default=DEFAULTS.min_depth_mm / MM_PER_M)
    metres('--max-depth', default=DEFAULTS.max_depth_mm / MM_PER_M)
    group.add_argument(
        '--coast-time',
        type=float,
        metavar='S',
        default=DEFAULTS.coast_s,
        help='[s], default: %(default)s',
    )
    group.add_argument(
        '--hand-size',
        default=DEFAULTS.hand_size,
        metavar='SIZE',
        help='bone lengths that steady the joints: none, auto (estimated) or 20 [m], comma-separated '
        '(default: %(default)s)',
    )
    group.add_argument('--smoothing', action='store_true', help='One Euro filter on the joints')
    number('--smoothing-min-cutoff', type=float, default=DEFAULTS.smoothing_min_cutoff_hz)
    number('--smoothing-beta', type=float, default=DEFAULTS.smoothing_beta * MM_PER_M)


def run_track(arguments):
    """Track as the arguments say and report on the standard error."""
    from tqdm import tqdm

    from awr_ros.offline.track import Outputs, Recording, opened, track
    from awr_ros.tracker import HandTracker

    if not (arguments.output or arguments.overlay or arguments.bag):
        raise ValueError('nothing to write: give --output, --overlay or --bag')
    config = TrackerConfig(
        max_hands=arguments.max_hands,
        side=arguments.side,
        finder=arguments.finder,
        finder_weights=arguments.finder_weights,
        search_every=arguments.search_every,
        score_threshold=arguments.score_threshold,
        beside_threshold=arguments.beside_threshold,
        lose_threshold=arguments.lose_threshold,
        coast_s=arguments.coast_time,
        min_depth_mm=arguments.min_depth * MM_PER_M,
        max_depth_mm=arguments.max_depth * MM_PER_M,
        hand_size=parse_hand_size(arguments.hand_size),
        smoothing=arguments.smoothing,
        smoothing_min_cutoff_hz=arguments.smoothing_min_cutoff,
        smoothing_beta=arguments.smoothing_beta / MM_PER_M,
    )
    recording = Recording(
        arguments.input,
        arguments.topic,
        arguments.info_topic,
        arguments.intrinsics,
        arguments.distortion,
        arguments.rate,
        arguments.timestamps,
        arguments.depth_scale,
    )
    outputs = Outputs(arguments.output, arguments.overlay, arguments.bag)
    _check_paths(outputs, arguments.input)
    with opened(recording) as images:
        tracker = HandTracker.from_pretrained(
            arguments.weights, arguments.device, config, arguments.num_threads, arguments.engine
        )
        print(
            f'{len(images)} images from {printable(arguments.input)}, tracked with {tracker.description}',
            file=sys.stderr,
        )
        summary = track(images, tracker, outputs, partial(tqdm, unit='image', disable=None))
    print(
        f'{summary.frames} images in {summary.seconds:.1f} s ({summary.frames / summary.seconds:.1f} Hz), '
        f'{summary.with_hands} with hands, {summary.refused} left out',
        file=sys.stderr,
    )


def _check_paths(outputs, source):
    """Raise ValueError where two outputs, or an output and the input, are one file; say which files will be replaced."""
    paths = [
        Path(path)
        for path in (outputs.records, outputs.overlay, outputs.bag)
        if path and path != '-'
    ]
    for path in paths:
        if path.resolve() == source.resolve():
            raise ValueError(f'{printable(path)} is the input itself: give the output another name')
        if sum(other.resolve() == path.resolve() for other in paths) > 1:
            raise ValueError(f'{printable(path)} is the name of two outputs')
        if path.is_file():
            print(
                f'{printable(path)} is there already: it is replaced if all goes well',
                file=sys.stderr,
            )
