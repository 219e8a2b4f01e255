"""Command-line verb `bench`."""

import tempfile
from pathlib import Path

from awr_ros.bench.report import Report
from awr_ros.files import check_output
from awr_ros.settings import number_from

RATES_HZ = (15, 30, 60, 90)
PARTS = ('networks', 'frame', 'mediapipe', 'start', 'ros', 'training', 'cameras', 'gpu')


def add_bench(verbs, messages):
    """Add the verb `bench` to argparse's subparsers. messages(report, seconds, rates): measures
    over ROS, None without ROS.
    """
    parser = verbs.add_parser('bench', help='measure the speed on this machine')
    parser.add_argument(
        '--weights', type=Path, help='checkpoint (default: the weights of the package)'
    )
    parser.add_argument(
        '--repeats',
        type=number_from(1),
        default=100,
        help='runs of each stage; medians are shown (default: %(default)s)',
    )
    parser.add_argument(
        '--seconds',
        type=number_from(0, float),
        default=10.0,
        help='duration of each measurement over ROS (default: %(default)s)',
    )
    parser.add_argument(
        '--rates',
        nargs='+',
        type=int,
        default=RATES_HZ,
        metavar='HZ',
        help=f'image rates of the measurements over ROS (default: {" ".join(map(str, RATES_HZ))})',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        choices=PARTS,
        default=PARTS,
        metavar='PART',
        help=f'parts to measure: {", ".join(PARTS)}',
    )
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='test the part gpu on the CPU; its figures are meaningless',
    )
    parser.add_argument('--output', type=Path, help='Markdown file for the tables')
    parser.add_argument('--readme', type=Path, help='README whose table of latencies is updated')
    parser.add_argument(
        '--mediapipe', default='', help='Python interpreter with MediaPipe (default: this one)'
    )
    parser.set_defaults(run=lambda arguments: bench(arguments, messages))


def bench(arguments, messages):
    """Run the requested benchmarks; return the exit status. Other load on the machine makes figures
    worse: the report mentions it.
    """
    from awr_ros.bench import cameras, frame, gpu, machine, mediapipe, network
    from awr_ros.bench.readme import update_readme
    from awr_ros.runtime.select import load_engine
    from awr_ros.weight_files import DEFAULT_WEIGHTS, checksum

    check_output(arguments.output)
    check_output(arguments.readme)
    report = Report('awr_ros on this machine')
    row = report.table(('machine', ''))
    for what, value in machine.describe():
        row(what, value)
    row('weights', f'SHA-256 {checksum(arguments.weights or DEFAULT_WEIGHTS)}')
    row('engine', load_engine(arguments.weights).description.partition(';')[0])
    wanted, failed = set(arguments.only), False
    if 'networks' in wanted:
        network.bench_networks(report, arguments.weights, arguments.repeats)
    if 'frame' in wanted:
        frame.bench_frame(report, arguments.weights, arguments.repeats)
    if 'mediapipe' in wanted:
        mediapipe.bench_mediapipe(report, arguments.weights, arguments.mediapipe)
    if 'start' in wanted:
        with tempfile.TemporaryDirectory() as folder:
            frame.bench_cold_start(report, arguments.weights, Path(folder))
    if 'ros' in wanted:
        messages(report, arguments.seconds, arguments.rates)
    if 'training' in wanted:
        frame.bench_training(report, arguments.repeats)
    if 'cameras' in wanted:
        cameras.bench_cameras(report, arguments.weights, arguments.repeats)
    if 'gpu' in wanted:
        failed = not gpu.bench_gpu(report, arguments.weights, arguments.repeats, arguments.tiny)
    if arguments.output is not None:
        report.write(arguments.output)
        print(f'\nwrote {arguments.output}')
    if arguments.readme is not None:
        update_readme(arguments.readme, report.text())
        print(f'wrote the table of {arguments.readme}')
    return int(failed)
