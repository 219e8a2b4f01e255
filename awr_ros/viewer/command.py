"""Command-line verb `view`: the tracker at work, in the browser.

viser (extra "view") serves the page. The tracker runs in this process, so that its settings can be
changed while it plays; with `--node` it is that of a running ROS node.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from awr_ros.skeleton import JOINT_NAMES
from awr_ros.viewer.sources import NO_JOINT, Source, recording_player, synthetic_player

DEFAULT_PORT = 8080
IDLE_S = 0.005  # [s] polling interval


def run(source: Source, page: Any, images: int | None = None) -> None:
    """Play until interrupted, or for a number of images. page: awr_ros.viewer.page.Page."""
    stepping: list[bool] = []
    page.next.on_click(lambda _: stepping.append(True))
    config, count, due_s = source.config, 0, time.perf_counter()
    while images is None or count < images:
        if page.config() != config:
            config = page.config()
            source.configure(config)
        shown, at = None, page.index.value if page.index is not None else None
        if at is not None and at != max(source.index, 0):
            shown = source.show(int(at))
        elif page.play.value or stepping:
            if time.perf_counter() >= due_s or stepping:
                shown = source.step()
            stepping[:] = []
        if shown is None:
            time.sleep(IDLE_S)
            continue
        # By the clock, not by the last image: a late image does not delay all others.
        due_s = max(due_s + 1 / source.rate_hz, time.perf_counter() - 1 / source.rate_hz)
        page.draw(shown)
        count += 1
        # A timeline that was moved meanwhile is not set: the next image is the chosen one.
        if at is not None and page.index.value == at != source.index:
            page.index.value = source.index


def add_view(verbs: Any, open_node: Callable[[str, str], Source]) -> None:
    """Add the verb to argparse's subparsers. open_node(name, depth topic): makes the Source of a
    node.
    """
    parser = verbs.add_parser(
        'view',
        help='show the tracker in the browser: synthetic camera, recording or running node',
    )
    parser.add_argument(
        'input',
        type=Path,
        nargs='?',
        help='bag, folder of PNGs or PNG (default: the synthetic camera)',
    )
    parser.add_argument(
        '--node',
        nargs='?',
        const='/tracker',
        metavar='NAME',
        help='show a running ROS node of this name instead (default: %(const)s)',
    )
    parser.add_argument(
        '--intrinsics',
        metavar='K',
        help='fx,fy,cx,cy or a file with a camera info; needed for PNGs',
    )
    parser.add_argument(
        '--topic',
        help='topic of the images, in a bag (default: the only one) or of a node (default: '
        'depth/image in its namespace)',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=900,
        metavar='N',
        help='most images of a recording, kept in memory (default: %(default)s)',
    )
    parser.add_argument(
        '--hands',
        type=int,
        default=2,
        choices=(1, 2),
        help='hands of the synthetic camera (default: 2)',
    )
    parser.add_argument(
        '--joint',
        default=NO_JOINT,
        choices=(NO_JOINT, *JOINT_NAMES),
        metavar='NAME',
        help='joint with the field to show, e.g. index_tip (default: %(default)s)',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to serve; 0.0.0.0 for other machines too (default: %(default)s)',
    )
    parser.add_argument(
        '--port', type=int, default=DEFAULT_PORT, help='port (default: %(default)s)'
    )
    parser.set_defaults(run=lambda arguments: view(arguments, open_node), extra='view')


def view(arguments: argparse.Namespace, open_node: Callable[[str, str], Source]) -> None:
    """Run the verb until it is interrupted."""
    import viser

    from awr_ros.viewer.page import Page

    if arguments.node is not None and arguments.input is not None:
        raise ValueError(f'--node and {arguments.input} exclude each other')
    if arguments.images < 1:
        raise ValueError(f'--images must be at least 1, got {arguments.images}')
    source = _source(arguments, open_node)
    try:
        server = viser.ViserServer(arguments.host, arguments.port, label='awr_ros', verbose=False)
        try:
            page = Page(server, source.config, source.length, joint=arguments.joint)
            host = 'localhost' if arguments.host in ('127.0.0.1', '0.0.0.0') else arguments.host
            address = f'http://{host}:{server.get_port()}'
            print(f'open {address} in a browser; Ctrl-C ends it', file=sys.stderr, flush=True)
            run(source, page)
        finally:
            server.stop()
    finally:
        source.close()


def _source(arguments: argparse.Namespace, open_node: Callable[[str, str], Source]) -> Source:
    """Make the Source that the arguments describe."""
    if arguments.node is not None:
        return open_node(arguments.node, arguments.topic or '')
    from awr_ros.tracker import HandTracker

    tracker = HandTracker.from_pretrained()
    if arguments.input is None:
        return synthetic_player(tracker, arguments.hands)
    return recording_player(
        tracker, arguments.input, arguments.topic, arguments.intrinsics, arguments.images
    )
