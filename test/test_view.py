"""The browser view without a browser: what is drawn, playing and stepping, what the sliders set."""

from types import SimpleNamespace

import numpy as np
import pytest

from awr_ros.camera import Intrinsics
from awr_ros.tracker_config import TrackerConfig
from awr_ros.viewer.view import Page, Player, bone_lines, cloud, crop_lines, run, score_colours

CAMERA = Intrinsics(fx=50, fy=50, cx=31.5, cy=23.5, width=64, height=48)


def hand(**changes):
    joints = np.zeros((21, 3), np.float32) + (0, 0, 500)
    joints[:, 0] = 5 * np.arange(21)
    values = dict(
        id='3',
        side='left',
        score=0.9,
        state='ok',
        joints_xyz=joints,
        joints_uvd=CAMERA.xyz_to_uvd(joints),
        joint_scores=np.linspace(0, 1, 21),
        roi=(10, 10, 20, 20),
    )
    return SimpleNamespace(**{**values, **changes})


class Tracker:
    """Finds one hand, whose id counts the images."""

    config = TrackerConfig()

    def __init__(self):
        self.stamps = []

    def update(self, depth_mm, intrinsics, stamp_s):
        self.stamps.append(stamp_s)
        return [hand(id=str(len(self.stamps)))]


def load(index):
    return np.full((48, 64), 500, np.uint16), CAMERA, index / 30


def test_cloud_is_metres_in_the_optical_frame_and_thinned():
    depth = np.full((48, 64), 500, np.uint16)
    depth[0], depth[1] = 0, 4000
    points = cloud(depth, CAMERA)
    assert points.dtype == np.float32 and len(points) == 46 * 64 and np.allclose(points[:, 2], 0.5)
    assert points[0] == pytest.approx((-31.5 / 100, -21.5 / 100, 0.5))
    assert 400 <= len(cloud(depth, CAMERA, most=500)) <= 500
    assert len(cloud(np.full((48, 64), np.nan, np.float32), CAMERA)) == 0


def test_scores_are_red_to_green_and_unknown_ones_grey():
    assert score_colours([0, 0.5, 1, np.nan]).tolist() == [
        [255, 0, 0],
        [255, 255, 0],
        [0, 255, 0],
        [128] * 3,
    ]


def test_bones_of_unknown_joints_are_left_out():
    joints = hand().joints_xyz.copy()
    joints[8] = np.nan
    lines, colours = bone_lines(hand(joints_xyz=joints))
    assert (
        lines.shape == colours.shape == (19, 2, 3)
        and np.isfinite(lines).all()
        and lines[0, 0, 2] == 0.5
    )
    assert len(bone_lines(hand(joints_xyz=joints * np.nan))[0]) == 0


def test_the_crop_is_drawn_at_the_depth_of_the_palm():
    lines = crop_lines(hand(), CAMERA)
    assert lines.shape == (4, 2, 3) and np.allclose(lines[..., 2], 0.5)
    assert np.allclose(lines[0, 1] - lines[0, 0], (20 * 0.5 / 50, 0, 0), atol=1e-6)


def test_a_recording_plays_forwards_and_back_without_tracking_twice():
    tracker = Tracker()
    player = Player(load, tracker, 3)
    ids = [player.step().hands[0].id for _ in range(3)]
    assert ids == ['1', '2', '3'] and player.show(0).hands[0].id == '1' and len(tracker.stamps) == 3
    assert player.show(2).hands[0].id == '3'
    assert player.step().hands[0].id == '1'  # from the beginning again
    endless = Player(load, Tracker())
    assert [endless.step().hands[0].id for _ in range(5)][-1] == '5' and endless._hands == {}


class Gui:
    """viser's gui, as far as it is used: handles with a value."""

    def __init__(self):
        self.handles = {}

    def _add(self, name, value=None):
        handle = SimpleNamespace(
            value=value, content='', on_click=lambda call: setattr(handle, 'click', call)
        )
        self.handles[name] = handle
        return handle

    def add_markdown(self, content):
        return self._add('state')

    def add_checkbox(self, name, value):
        return self._add(name, value)

    def add_button(self, name):
        return self._add(name)

    def add_slider(self, name, low, high, step, value):
        assert low <= value <= high, name
        return self._add(name, value)

    def add_folder(self, name):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Scene:
    """viser's scene: names of what is there."""

    def __init__(self):
        self.nodes = set()

    def set_up_direction(self, direction):
        assert direction == '-y'

    def __getattr__(self, name):
        if not name.startswith('add_'):
            raise AttributeError(name)

        def add(node, *_, **__):
            self.nodes.add(node)
            return SimpleNamespace(remove=lambda: self.nodes.discard(node))

        return add


@pytest.fixture
def server():
    return SimpleNamespace(scene=Scene(), gui=Gui(), initial_camera=SimpleNamespace())


def test_what_vanished_is_removed_and_sliders_set_the_tracker(server):
    tracker = Tracker()
    page = Page(server, tracker.config, 5)
    server.gui.handles['crop'].value = True
    server.gui.handles['max_hands'].value = 3
    player = Player(load, tracker, 5)
    run(player, page, 1000.0, images=2)
    names = {'/cloud', *(f'/hands/2/{part}' for part in ('bones', 'joints', 'crop', 'label'))}
    assert server.scene.nodes == names
    assert tracker.config.max_hands == 3 and isinstance(tracker.config.max_hands, int)
    assert 'image 1' in page.state.content and '2 left 0.90 ok' in page.state.content
    server.gui.handles['cloud'].value = False
    server.gui.handles['play'].value = False
    server.gui.handles['image'].value = 0  # somebody pulls the timeline
    run(player, page, 1000.0, images=1)
    assert player.index == 0 and '/hands/1/bones' in server.scene.nodes
    assert '/cloud' not in server.scene.nodes
