"""A live view in the browser: point cloud, tracked skeletons, crops, timeline. The verb `view`.

viser (extra "view") serves the page. Images come from the synthetic camera or a recording; the
tracker runs here, so that its settings can be tried out while it plays.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.skeleton import BONES, PALM
from awr_ros.tracker_config import TrackerConfig

DEFAULT_PORT = 8080
RATE_HZ = 30.0
MAX_POINTS = 40_000  # of the cloud, more are left out evenly
FAR_M = 1.6  # farther points are not drawn
SIDE_COLOURS = {'left': (80, 150, 255), 'right': (255, 150, 50)}
SETTINGS = (  # live fields of TrackerConfig: name, least, most, step
    ('max_hands', 1, 4, 1),
    ('score_threshold', 0.0, 1.0, 0.01),
    ('beside_threshold', 0.0, 1.0, 0.01),
    ('lose_threshold', 0.0, 1.0, 0.01),
    ('coast_s', 0.0, 2.0, 0.05),
    ('smoothing_min_cutoff_hz', 0.1, 5.0, 0.1),
)


@dataclass(frozen=True)
class Shown:
    """One image and what was tracked in it."""

    depth_mm: np.ndarray  # (H,W) [mm]
    intrinsics: Intrinsics
    hands: tuple  # of TrackedHand
    track_ms: float  # [ms] that the tracker took


class Player:
    """Tracks images one by one, forwards, and remembers what was tracked for going back.

    load(index) returns (depth_mm, intrinsics, stamp_s); length: of a recording, None: endless.
    """

    def __init__(self, load: Callable[[int], tuple], tracker: Any, length: int | None = None):
        self._load, self.tracker, self.length = load, tracker, length
        self._hands = {}  # index: (hands, ms), of a recording
        self.index = -1

    def step(self) -> Shown:
        """The next image; after a recording's last one the first, tracked afresh."""
        following = self.index + 1
        return self.show(0 if self.length is not None and following >= self.length else following)

    def show(self, index: int) -> Shown:
        """An image by its index; hands that were tracked in it before are shown again."""
        depth_mm, intrinsics, stamp_s = self._load(index)
        if index in self._hands and index != self.index + 1:
            hands, track_ms = self._hands[index]
        else:
            start_s = time.perf_counter()
            hands = tuple(self.tracker.update(depth_mm, intrinsics, stamp_s))
            track_ms = 1e3 * (time.perf_counter() - start_s)
        if self.length is not None:
            self._hands[index] = hands, track_ms
        self.index = index
        return Shown(depth_mm, intrinsics, hands, track_ms)


def cloud(depth_mm: np.ndarray, intrinsics: Intrinsics, most: int = MAX_POINTS) -> np.ndarray:
    """Points (N,3) float32 [m] of a depth image in the optical frame, at most about `most`."""
    depth_mm = np.asarray(depth_mm, np.float32)
    near = np.isfinite(depth_mm) & (depth_mm > 0) & (depth_mm < FAR_M * MM_PER_M)
    v, u = near.nonzero()
    every = max(1, -(-len(u) // most))
    v, u = v[::every], u[::every]
    points = intrinsics.uvd_to_xyz(np.stack([u, v, depth_mm[v, u]], -1))
    return (points / MM_PER_M).astype(np.float32)


def depth_colours(points: np.ndarray) -> np.ndarray:
    """(N,3) uint8 for points [m]: near bright, far dark."""
    shade = np.clip(230 - 150 * (points[:, 2] - 0.3) / 1.1, 40, 230)
    return np.repeat(shade[:, None], 3, 1).astype(np.uint8)


def score_colours(scores: np.ndarray) -> np.ndarray:
    """(N,3) uint8 for joint scores [0,1]: red over yellow to green; NaN is grey."""
    scores = np.asarray(scores, np.float64)
    share = np.clip(np.nan_to_num(scores), 0, 1)
    colours = np.stack(
        [255 * np.minimum(1, 2 - 2 * share), 255 * np.minimum(1, 2 * share), 0 * share], -1
    )
    return np.where(np.isfinite(scores)[:, None], colours, 128).astype(np.uint8)


def bone_lines(hand: Any) -> tuple[np.ndarray, np.ndarray]:
    """Known bones of a TrackedHand: ends (B,2,3) float32 [m] and their colours (B,2,3) uint8."""
    bones = np.array(BONES)
    ends = np.asarray(hand.joints_xyz, np.float32)[bones] / np.float32(MM_PER_M)
    known = np.isfinite(ends).all((1, 2))
    return ends[known], score_colours(hand.joint_scores)[bones][known]


def crop_lines(hand: Any, intrinsics: Intrinsics) -> np.ndarray:
    """The outline of a hand's crop at the palm's depth, (4,2,3) float32 [m]."""
    x, y, width, height = hand.roi
    d = float(np.nanmean(np.asarray(hand.joints_uvd)[list(PALM), 2]))
    corners = np.array(
        [(x, y, d), (x + width, y, d), (x + width, y + height, d), (x, y + height, d)]
    )
    points = intrinsics.uvd_to_xyz(corners) / MM_PER_M
    return np.stack([points, np.roll(points, -1, 0)], 1).astype(np.float32)


class Page:
    """The page in the browser."""

    def __init__(self, server: Any, config: TrackerConfig, length: int | None):
        self._scene, self._nodes = server.scene, {}
        server.scene.set_up_direction('-y')
        server.initial_camera.position, server.initial_camera.look_at = (
            (0.35, -0.25, -0.25),
            (0, 0, 0.6),
        )
        gui = server.gui
        self.state = gui.add_markdown('loading ...')
        self.play = gui.add_checkbox('play', True)
        self.next = gui.add_button('step')
        self.index = None
        if length is not None and length > 1:
            self.index = gui.add_slider('image', 0, length - 1, 1, 0)
        with gui.add_folder('show'):
            self._show = {
                name: gui.add_checkbox(name, name != 'crop') for name in ('cloud', 'crop', 'label')
            }
        with gui.add_folder('tracker'):
            self._settings = {
                name: gui.add_slider(name, low, high, step, getattr(config, name))
                for name, low, high, step in SETTINGS
            }
            self._smoothing = gui.add_checkbox('smoothing', config.smoothing)

    def config(self, config: TrackerConfig) -> TrackerConfig:
        """`config` with what the sliders say."""
        values = {
            name: type(getattr(config, name))(slider.value)
            for name, slider in self._settings.items()
        }
        return replace(config, smoothing=self._smoothing.value, **values)

    def draw(self, shown: Shown, index: int, rate_hz: float) -> None:
        """Show an image and its hands; what is there is replaced, what is gone is removed."""
        wanted = {}
        if self._show['cloud'].value:
            points = cloud(shown.depth_mm, shown.intrinsics)
            wanted['/cloud'] = lambda name: self._scene.add_point_cloud(
                name, points, depth_colours(points), point_size=0.0025
            )
        for hand in shown.hands:
            wanted.update(self._hand(hand, shown.intrinsics))
        for name in set(self._nodes) - set(wanted):
            self._nodes.pop(name).remove()
        for name, add in wanted.items():
            self._nodes[name] = add(name)
        hands = ', '.join(
            f'{hand.id} {hand.side} {hand.score:.2f} {hand.state}' for hand in shown.hands
        )
        timing = f'image {index}, {rate_hz:.0f} Hz, tracked in {shown.track_ms:.0f} ms'
        self.state.content = f'{timing}\n\n{hands or "no hand"}'

    def _hand(self, hand: Any, intrinsics: Intrinsics) -> Iterator[tuple[str, Callable]]:
        """(name, how to add it) of everything that shows a hand."""
        root = f'/hands/{hand.id}'
        lines, colours = bone_lines(hand)
        if len(lines):
            yield (
                f'{root}/bones',
                lambda name: self._scene.add_line_segments(name, lines, colours, thickness=0.005),
            )
        joints = np.asarray(hand.joints_xyz, np.float32) / np.float32(MM_PER_M)
        known = np.isfinite(joints).all(-1)
        yield (
            f'{root}/joints',
            lambda name: self._scene.add_point_cloud(
                name,
                joints[known],
                score_colours(hand.joint_scores)[known],
                point_size=0.008,
                point_shape='circle',
            ),
        )
        if self._show['crop'].value:
            colour = SIDE_COLOURS[hand.side]
            yield (
                f'{root}/crop',
                lambda name: self._scene.add_line_segments(
                    name, crop_lines(hand, intrinsics), colour, thickness=0.002
                ),
            )
        if self._show['label'].value and known[0]:
            text = f'{hand.id} {hand.side} {hand.score:.2f}'
            yield (
                f'{root}/label',
                lambda name: self._scene.add_label(name, text, position=joints[0] + (0, 0.03, 0)),
            )


def run(player: Player, page: Page, rate_hz: float, images: int | None = None) -> None:
    """Play until interrupted, or for so many images."""
    config, stepping = player.tracker.config, []
    page.next.on_click(lambda _: stepping.append(True))
    shown_hz, last_s = rate_hz, time.perf_counter()
    for count in itertools.count():
        if images is not None and count >= images:
            return
        due_s = last_s + 1 / rate_hz
        shown = None
        while shown is None:
            player.tracker.config = page.config(config)
            if page.index is not None and page.index.value != max(player.index, 0):
                shown = player.show(int(page.index.value))
            elif page.play.value or stepping:
                stepping[:] = []
                shown = player.step()
            else:
                time.sleep(0.02)
        time.sleep(max(0.0, due_s - time.perf_counter()))
        now_s = time.perf_counter()
        shown_hz, last_s = 0.9 * shown_hz + 0.1 / max(now_s - last_s, 1e-3), now_s
        page.draw(shown, player.index, shown_hz)
        if page.index is not None:
            page.index.value = player.index


def add_view(verbs: Any) -> None:
    """Add the verb to argparse's subparsers."""
    parser = verbs.add_parser(
        'view', help='the tracker at work, in the browser: synthetic camera or a recording'
    )
    parser.add_argument(
        'input',
        type=Path,
        nargs='?',
        help='bag, folder of PNGs or PNG (default: the synthetic camera)',
    )
    parser.add_argument(
        '--intrinsics',
        metavar='K',
        help='fx,fy,cx,cy or a file with a camera info; needed for PNGs',
    )
    parser.add_argument('--topic', help='depth images in a bag (default: the only ones)')
    parser.add_argument(
        '--images',
        type=int,
        default=900,
        metavar='N',
        help='of a recording, the first ones are kept in memory (default: %(default)s)',
    )
    parser.add_argument(
        '--hands', type=int, default=2, choices=(1, 2), help='of the synthetic camera (default: 2)'
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='0.0.0.0 lets other machines see it (default: %(default)s)',
    )
    parser.add_argument('--port', type=int, default=DEFAULT_PORT, help='default: %(default)s')
    parser.set_defaults(run=view, extra='view')


def view(arguments: argparse.Namespace) -> None:
    """Run the verb until it is interrupted."""
    import viser

    from awr_ros.tracker import HandTracker

    tracker = HandTracker.from_pretrained()
    load, length, rate_hz = _source(arguments)
    server = viser.ViserServer(arguments.host, arguments.port, label='awr_ros', verbose=False)
    page = Page(server, tracker.config, length)
    host = 'localhost' if arguments.host in ('127.0.0.1', '0.0.0.0') else arguments.host
    print(f'open http://{host}:{server.get_port()} in a browser; Ctrl-C ends it', file=sys.stderr)
    try:
        run(Player(load, tracker, length), page, rate_hz)
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _source(arguments: argparse.Namespace) -> tuple[Callable[[int], tuple], int | None, float]:
    """(load, length, rate) of what is to be shown; see Player."""
    if arguments.input is None:
        from awr_ros.synthetic.camera import SyntheticCamera

        camera = SyntheticCamera(num_hands=arguments.hands)
        return (
            lambda index: (camera.frame(index / RATE_HZ)[0], camera.intrinsics, index / RATE_HZ),
            None,
            RATE_HZ,
        )
    from awr_ros.offline.track import Recording, opened

    with opened(
        Recording(arguments.input, arguments.topic, intrinsics=arguments.intrinsics)
    ) as images:
        frames, rate_hz = list(itertools.islice(images, arguments.images)), images.rate_hz
    if not frames:
        raise ValueError(f'{arguments.input} has no images')
    return lambda index: (*frames[index].load(), frames[index].time_s), len(frames), rate_hz
