"""The page in the browser: its pictures and controls. viser's server is an argument."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.tracker_config import TrackerConfig
from awr_ros.viewer.geometry import (
    SIDE_COLOURS,
    bone_lines,
    cloud,
    crop_lines,
    depth_colours,
    score_colours,
)
from awr_ros.viewer.joint_field import PICTURE_PX, FieldReader
from awr_ros.viewer.sources import NO_JOINT, Shown

SETTINGS = (  # live fields of TrackerConfig: name, minimum, maximum, step
    ('max_hands', 1, 4, 1),
    ('score_threshold', 0.0, 1.0, 0.01),
    ('beside_threshold', 0.0, 1.0, 0.01),
    ('lose_threshold', 0.0, 1.0, 0.01),
    ('coast_s', 0.0, 2.0, 0.05),
    ('smoothing_min_cutoff_hz', 0.1, 5.0, 0.1),
)
POINT_M = 0.0016  # smaller than their distance, so that the skeleton inside is visible
NEWEST = 0.1  # weight of the newest image in rates and times


class Page:
    """The page in the browser."""

    def __init__(
        self,
        server: Any,
        config: TrackerConfig,
        length: int | None,
        fields: Callable[[], FieldReader] = FieldReader,
        joint: str = NO_JOINT,
    ):
        """length: images of a recording, None: endless; fields: makes the FieldReader on first use;
        joint: whose field is shown first.
        """
        self._server = server
        self._nodes: dict = {}
        self._make_fields = fields
        self._fields: FieldReader | None = None
        self._rate_hz: float | None = None
        self._latency_ms: float | None = None
        self._last_s: float | None = None
        server.scene.set_up_direction('-y')
        server.initial_camera.position = (0.28, -0.16, -0.02)
        server.initial_camera.look_at = (0.02, 0.05, 0.55)
        gui = server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, control_width='large')
        self.state = gui.add_markdown('loading ...')
        self.play = gui.add_checkbox('play', True)
        self.next = gui.add_button('step')
        self.index = None
        if length is not None and length > 1:
            self.index = gui.add_slider('image', 0, length - 1, 1, 0)
        with gui.add_folder('field of a joint'):
            self._joint = gui.add_dropdown('joint', (NO_JOINT, *JOINT_NAMES), initial_value=joint)
            self._votes = gui.add_checkbox('votes in 3D', True)
            blank = np.zeros((PICTURE_PX, PICTURE_PX, 3), np.uint8)
            self._picture = gui.add_image(blank, label='closeness and direction', format='jpeg')
            self._picture.visible = False
        with gui.add_folder('show'):
            self.show = {
                name: gui.add_checkbox(name, name != 'crop') for name in ('cloud', 'crop', 'label')
            }
        with gui.add_folder('tracker'):
            self._settings = {
                name: gui.add_slider(
                    name, low, high, step, min(max(getattr(config, name), low), high)
                )
                for name, low, high, step in SETTINGS
            }
            self._smoothing = gui.add_checkbox('smoothing', config.smoothing)
        self._base = config
        self._start = self._values()

    def config(self) -> TrackerConfig:
        """Return the initial settings with the changes by the controls."""
        changed = {k: v for k, v in self._values().items() if v != self._start[k]}
        return replace(self._base, **changed)

    def _values(self) -> dict[str, Any]:
        values = {
            name: type(getattr(self._base, name))(slider.value)
            for name, slider in self._settings.items()
        }
        return {**values, 'smoothing': bool(self._smoothing.value)}

    def draw(self, shown: Shown) -> None:
        """Show an image and its hands; existing parts are replaced, others removed."""
        start_s = time.perf_counter()
        wanted = {}
        if self.show['cloud'].value:
            points = cloud(shown.depth_mm, shown.intrinsics)
            wanted['/cloud'] = lambda name: self._server.scene.add_point_cloud(
                name, points, depth_colours(points), point_size=POINT_M
            )
        for hand in shown.hands:
            wanted.update(self._hand(hand, shown.intrinsics))
        wanted.update(self._field(shown))
        with self._server.atomic():
            for name in set(self._nodes) - set(wanted):
                self._nodes.pop(name).remove()
            for name, add in wanted.items():
                self._nodes[name] = add(name)
            self._report(shown, 1e3 * (time.perf_counter() - start_s))
        self._server.flush()

    def _report(self, shown: Shown, draw_ms: float) -> None:
        now_s = time.perf_counter()
        if self._last_s is not None:
            rate_hz = 1 / max(now_s - self._last_s, 1e-3)
            self._rate_hz = rate_hz if self._rate_hz is None else self._rate_hz
            self._rate_hz += NEWEST * (rate_hz - self._rate_hz)
        self._last_s = now_s
        latency_ms = 1e3 * (time.time() - shown.taken_s)
        self._latency_ms = latency_ms if self._latency_ms is None else self._latency_ms
        self._latency_ms += NEWEST * (latency_ms - self._latency_ms)
        rate = f'{self._rate_hz:.0f} Hz' if self._rate_hz else '- Hz'
        hands = '  \n'.join(
            f'**{hand.id}** {hand.side} {hand.score:.2f} {hand.state}' for hand in shown.hands
        )
        self.state.content = (
            f'image {shown.index}, {rate}, tracked in {shown.track_ms:.0f} ms, '
            f'drawn in {draw_ms:.0f} ms, sent {self._latency_ms:.0f} ms after the image\n\n'
            f'{hands or "no hand"}'
        )

    def _field(self, shown: Shown) -> Iterator[tuple[str, Callable]]:
        """Update the picture of the chosen joint's field; (name, how to add it) of its votes."""
        joint = self._joint.value
        hand = max(shown.hands, key=lambda hand: hand.score, default=None)
        self._picture.visible = joint != NO_JOINT and hand is not None
        if not self._picture.visible:
            return
        self._fields = self._fields or self._make_fields()
        if joint not in self._fields.joint_names:
            self._picture.visible = False
            return
        field = self._fields.read(shown.depth_mm, shown.intrinsics, hand, joint)
        if field is None:
            return
        self._picture.image = field.picture()
        lines, weights = field.votes()
        if self._votes.value and len(lines):
            colours = np.outer(60 + 195 * weights, (0.3, 0.9, 1.0)).astype(np.uint8)
            colours = np.repeat(colours[:, None], 2, 1)
            yield (
                '/votes',
                lambda name: self._server.scene.add_line_segments(
                    name, lines, colours, thickness=0.001
                ),
            )

    def _hand(self, hand: Any, intrinsics: Intrinsics) -> Iterator[tuple[str, Callable]]:
        """(name, how to add it) of everything that shows a hand."""
        root, scene = f'/hands/{hand.id}', self._server.scene
        lines, colours = bone_lines(hand)
        if len(lines):
            yield (
                f'{root}/bones',
                lambda name: scene.add_line_segments(name, lines, colours, thickness=0.004),
            )
        joints = np.asarray(hand.joints_xyz, np.float32) / np.float32(MM_PER_M)
        known = np.isfinite(joints).all(-1)
        dots, dot_colours = joints[known], score_colours(hand.joint_scores)[known]
        yield (
            f'{root}/joints',
            lambda name: scene.add_point_cloud(
                name, dots, dot_colours, point_size=0.007, point_shape='circle'
            ),
        )
        if self.show['crop'].value and np.isfinite(np.asarray(hand.joints_uvd)).any():
            outline, colour = crop_lines(hand, intrinsics), SIDE_COLOURS[hand.side]
            yield (
                f'{root}/crop',
                lambda name: scene.add_line_segments(name, outline, colour, thickness=0.002),
            )
        if self.show['label'].value and known[0]:
            text, position = f'{hand.id} {hand.side} {hand.score:.2f}', joints[0] + (0, 0.03, 0)
            yield f'{root}/label', lambda name: scene.add_label(name, text, position=position)
