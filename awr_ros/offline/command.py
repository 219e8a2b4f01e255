"""Command-line verb `track`."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from awr_ros.files import printable
from awr_ros.messages.depth_camera import DISTORTION
from awr_ros.offline.archive_command import add_archive, add_lerobot, lerobot_options, track_archive
from awr_ros.settings import add_settings, config_from
from awr_ros.tracker_config import NETWORK_SETTINGS, TRACKER_SETTINGS, TrackerConfig


def add_commands(verbs: Any) -> None:
    """Add the verb to argparse's subparsers. Its options for the tracker are the parameters of the
    node.
    """
    track = verbs.add_parser(
        'track',
        help='track hands in recordings: ROS 2 bags, folders of 16-bit PNGs, images',
        description='Track hands in recordings, with the tracker of the node. See docs/offline.md.',
    )
    track.add_argument(
        'input',
        type=Path,
        nargs='+',
        help='ROS 2 bag (folder, .mcap, .db3), folder of 16-bit PNGs, or one PNG; '
        'several, or a folder of recordings, if the outputs have {name} in their names',
    )
    out = track.add_argument_group('outputs, at least one')
    out.add_argument(
        '-o',
        '--output',
        metavar='FILE',
        help='.jsonl, .csv or lerobot:FOLDER (a LeRobotDataset); - writes JSON lines '
        'to the standard output',
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
    what.add_argument('--topic', help='topic of the depth images in a bag (default: the only one)')
    what.add_argument(
        '--info-topic', help='topic of their camera info (default: camera_info beside them)'
    )
    what.add_argument(
        '--intrinsics',
        metavar='K',
        help='fx,fy,cx,cy in pixels, or a YAML or JSON file with a camera info; '
        'needed for PNGs, overrides the camera info of a bag',
    )
    add_settings(what, (DISTORTION,))
    what.add_argument('--rate', type=float, metavar='HZ', help='frame rate of PNGs (default: 30)')
    what.add_argument(
        '--timestamps',
        type=Path,
        metavar='FILE',
        help='file with the time of each PNG [s], one per line',
    )
    what.add_argument(
        '--depth-scale',
        type=float,
        default=1.0,
        metavar='MM',
        help='millimetres per unit of a PNG, or factor on the depths of a bag (default: 1)',
    )
    add_lerobot(track.add_argument_group('LeRobotDataset'))
    add_archive(track.add_argument_group('many recordings'))
    tracker = track.add_argument_group('tracker, as the parameters of the node')
    # Without ROS topics there are no external candidates.
    add_settings(
        tracker, (*NETWORK_SETTINGS, *TRACKER_SETTINGS), {'finder': ('learned', 'nearest')}
    )
    track.set_defaults(run=run_track, extra='offline')


def run_track(arguments: argparse.Namespace) -> int:
    """Track as the arguments describe and report on standard error; return the exit status."""
    from awr_ros.offline.archive import NAME, TrackerSettings
    from awr_ros.offline.track import LEROBOT, Outputs, Recording

    texts = [text for text in (arguments.output, arguments.overlay, arguments.bag) if text]
    if not texts:
        raise ValueError('nothing to write: give --output, --overlay or --bag')
    source = arguments.input[0]
    recording = Recording(
        source,
        arguments.topic,
        arguments.info_topic,
        arguments.intrinsics,
        arguments.distortion,
        arguments.rate,
        arguments.timestamps,
        arguments.depth_scale,
    )
    lerobot = None
    if (arguments.output or '').startswith(LEROBOT):
        arguments.extra = 'lerobot'  # extra to install if it is missing
        lerobot = lerobot_options(arguments, source)
    elif arguments.feature:
        raise ValueError(f'--feature is for a LeRobotDataset: -o {LEROBOT}FOLDER')
    outputs = Outputs(arguments.output, arguments.overlay, arguments.bag, lerobot)
    settings = TrackerSettings(
        str(arguments.weights) if arguments.weights else None,
        arguments.device,
        arguments.engine,
        arguments.num_threads or None,
        config_from(TrackerConfig, vars(arguments)),
    )
    if len(arguments.input) > 1 or any(NAME in text for text in texts):
        return track_archive(arguments, recording, outputs, settings)
    if arguments.ray or arguments.jobs:
        raise ValueError(
            f'--ray and --jobs are for many recordings: put {NAME} into the outputs, as in '
            f"-o 'hands/{NAME}.jsonl'"
        )
    _track_one(recording, outputs, settings)
    return 0


def _track_one(recording, outputs, settings):
    from tqdm import tqdm

    from awr_ros.offline.track import opened, track
    from awr_ros.tracker import HandTracker

    _check_paths(outputs, recording.path)
    with opened(recording) as images:
        tracker = HandTracker.from_pretrained(
            weights=settings.weights,
            device=settings.device,
            config=settings.config,
            num_threads=settings.num_threads,
            engine=settings.engine,
        )
        source = printable(recording.path)
        print(
            f'{len(images)} images from {source}, tracked with {tracker.description}',
            file=sys.stderr,
        )
        summary = track(images, tracker, outputs, partial(tqdm, unit='image', disable=None))
    print(
        f'{summary.frames} images in {summary.seconds:.1f} s '
        f'({summary.frames / summary.seconds:.1f} Hz), '
        f'{summary.with_hands} with hands, {summary.refused} left out',
        file=sys.stderr,
    )


def _check_paths(outputs, source):
    """Raise ValueError when two outputs, or an output and the input, are one file; print which
    files will be replaced.
    """
    from awr_ros.offline.track import LEROBOT

    paths = [
        Path(path.removeprefix(LEROBOT))
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
