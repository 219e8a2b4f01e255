"""Command-line verb `track` for many recordings, and its options for LeRobot."""

import argparse
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awr_ros.files import printable

if TYPE_CHECKING:
    from awr_ros.offline.archive import Job, Result, TrackerSettings
    from awr_ros.offline.lerobot_writer import LeRobotOptions
    from awr_ros.offline.track import Outputs, Recording


def add_archive(group: Any) -> None:
    """Add the options for many recordings to a group of argparse."""
    group.add_argument(
        '--jobs', type=int, metavar='N', help='parallel processes (default: one per core)'
    )
    group.add_argument(
        '--ray',
        metavar='ADDRESS',
        help='address of a Ray cluster to use; local starts one on this machine',
    )


def add_lerobot(group: Any) -> None:
    """Add the options of a LeRobotDataset to a group of argparse."""
    group.add_argument(
        '--feature',
        action='append',
        default=[],
        metavar='NAME=TOPIC',
        help='numeric topic of the bag as a feature, for example '
        'observation.state=/joint_states; can be repeated',
    )
    group.add_argument(
        '--task', default='hands', help='description of the task (default: %(default)s)'
    )
    group.add_argument(
        '--fps', type=int, metavar='HZ', help='rate of the rows (default: that of the images)'
    )
    group.add_argument(
        '--tolerance',
        type=float,
        default=0.05,
        metavar='S',
        help='largest time between a row and its message (default: %(default)s)',
    )


def lerobot_options(arguments: argparse.Namespace, recording: Path) -> 'LeRobotOptions':
    """Return the LeRobot options in the arguments. ModuleNotFoundError if lerobot is missing."""
    from awr_ros.offline.lerobot_writer import LeRobotOptions, check_installed

    check_installed()
    return LeRobotOptions(
        recording, tuple(arguments.feature), arguments.task, arguments.fps, arguments.tolerance
    )


def track_archive(
    arguments: argparse.Namespace,
    recording: 'Recording',
    outputs: 'Outputs',
    settings: 'TrackerSettings',
) -> int:
    """Track all recordings that are not done; print a table. Return 1 when one failed, else 0."""
    from tqdm import tqdm

    from awr_ros.offline.archive import done_before, find_recordings, make_jobs
    from awr_ros.offline.workers import cores, import_ray, on_processes, on_ray

    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f'--jobs must be at least 1, got {arguments.jobs}')
    if arguments.ray and arguments.jobs:
        raise ValueError('--ray and --jobs exclude each other: Ray decides how many run at a time')
    if arguments.ray:
        arguments.extra = 'cluster'  # extra to install if it is missing
        import_ray()
    recording = replace(recording, timestamps=_absolute(recording.timestamps))
    if recording.intrinsics and Path(recording.intrinsics).is_file():
        recording = replace(recording, intrinsics=str(Path(recording.intrinsics).resolve()))
    config = settings.config
    settings = replace(
        settings,
        weights=settings.weights and str(Path(settings.weights).resolve()),
        config=replace(
            config,
            finder_weights=config.finder_weights and str(Path(config.finder_weights).resolve()),
        ),
    )
    jobs = make_jobs(find_recordings(arguments.input), recording, outputs, settings)
    results = {job.name: result for job in jobs if (result := done_before(job))}
    left = [job for job in jobs if job.name not in results]
    where = f'Ray, {arguments.ray}' if arguments.ray else f'{arguments.jobs or cores()} processes'
    print(
        f'{len(jobs)} recordings, {len(results)} done before, {len(left)} to track by {where}',
        file=sys.stderr,
    )
    if left:
        work: Any = (
            on_ray(left, arguments.ray)
            if arguments.ray
            else on_processes(left, arguments.jobs or cores())
        )
        with closing(work), tqdm(total=len(left), unit='recording', disable=None) as progress:
            for result in work:
                results[result.name] = result
                progress.update()
                if result.state == 'failed':
                    progress.write(f'{printable(result.name)}: {result.error}', file=sys.stderr)
    _print_table(jobs, results)
    return int(any(result.state == 'failed' for result in results.values()))


def _absolute(path: Path | None) -> Path | None:
    return path and path.resolve()


def _print_table(jobs: 'Iterable[Job]', results: 'dict[str, Result]') -> None:
    """Print the results; of recordings done before only their number."""
    shown = [results[job.name] for job in jobs if results[job.name].state != 'done before']
    width = max([len(printable(result.name)) for result in shown] + [9])
    if shown:
        print(f'{"recording":{width}}  {"state":7}  images  with hands  left out  seconds')
    for result in shown:
        row = (
            f'{printable(result.name):{width}}  {result.state:7}  {result.frames:6}  '
            f'{result.with_hands:10}  {result.refused:8}  {result.seconds:7.1f}  {result.error}'
        )
        print(row.rstrip())
    states = [result.state for result in results.values()]
    images = sum(result.frames for result in shown)
    seconds = sum(result.seconds for result in shown)
    print(
        f'{len(states)} recordings: {states.count("tracked")} tracked ({images} images, '
        f'{seconds:.1f} s of work), {states.count("done before")} done before, '
        f'{states.count("busy")} busy elsewhere, {states.count("failed")} failed'
    )
