"""The browser view without a browser: what is drawn, playing and stepping, what the sliders set."""

import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from awr_ros.camera import Intrinsics
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig
from awr_ros.viewer.chromium import Chromium, find_chromium
from awr_ros.viewer.command import run
from awr_ros.viewer.geometry import bone_lines, cloud, crop_lines, score_colours
from awr_ros.viewer.joint_field import FieldReader
from awr_ros.viewer.page import Page
from awr_ros.viewer.sources import Player

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
    assert player.step().hands[0].id == '4' and player.index == 0  # the beginning, tracked afresh
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

    def add_dropdown(self, name, options, initial_value):
        assert initial_value in options
        return self._add(name, initial_value)

    def add_image(self, image, label, format):
        return self._add(label)

    def configure_theme(self, **_):
        pass

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
    return SimpleNamespace(
        scene=Scene(),
        gui=Gui(),
        initial_camera=SimpleNamespace(),
        atomic=nullcontext,
        flush=lambda: None,
    )


def test_what_vanished_is_removed_and_sliders_set_the_tracker(server):
    tracker = Tracker()
    page = Page(server, tracker.config, 5)
    server.gui.handles['crop'].value = True
    server.gui.handles['max_hands'].value = 3
    player = Player(load, tracker, 5, rate_hz=1000.0)
    run(player, page, images=2)
    names = {'/cloud', *(f'/hands/2/{part}' for part in ('bones', 'joints', 'crop', 'label'))}
    assert server.scene.nodes == names
    assert tracker.config.max_hands == 3 and isinstance(tracker.config.max_hands, int)
    assert 'image 1' in page.state.content and '**2** left 0.90 ok' in page.state.content
    server.gui.handles['cloud'].value = False
    server.gui.handles['play'].value = False
    server.gui.handles['image'].value = 0  # somebody pulls the timeline
    run(player, page, images=1)
    assert player.index == 0 and '/hands/1/bones' in server.scene.nodes
    assert '/cloud' not in server.scene.nodes


def test_a_timeline_that_is_moved_while_an_image_is_drawn_is_not_moved_back(server):
    class MovedPage(Page):
        def draw(self, shown):
            super().draw(shown)
            self.index.value = 3  # somebody pulls the timeline meanwhile

    player = Player(load, Tracker(), 5, rate_hz=1000.0)
    page = MovedPage(server, player.config, 5)
    run(player, page, images=1)
    assert (player.index, page.index.value) == (0, 3)
    server.gui.handles['play'].value = False
    run(player, page, images=1)
    assert (player.index, page.index.value) == (3, 3)


def test_only_settings_that_were_moved_are_changed(server):
    config = TrackerConfig(coast_s=3.0, score_threshold=0.123)  # beyond, and between the steps
    page = Page(server, config, None)
    assert page.config() == config
    server.gui.handles['lose_threshold'].value = 0.5
    assert page.config() == replace(config, lose_threshold=0.5)


@pytest.fixture(scope='module')
def rendered():
    """One rendered image with a left and a right hand, and their true joints as tracked ones."""
    camera = SyntheticCamera(num_hands=2)
    depth, true_hands = camera.frame(0.4)
    return depth, camera.intrinsics, true_hands


@pytest.mark.parametrize('side', ['left', 'right'])
def test_the_votes_of_a_joint_meet_at_the_joint(rendered, side):
    depth, intrinsics, true_hands = rendered
    truth = next(true_hand for true_hand in true_hands if true_hand.side == side)
    field = FieldReader().read(depth, intrinsics, truth, 'middle_mcp')
    assert field.mirrored == (side == 'left')
    lines, weights = field.votes()
    assert 10 <= len(lines) <= 120 and weights[0] == 1 and (np.diff(weights) <= 0).all()
    joint = truth.joints_xyz[9] / 1000
    voted = (lines[:, 1] * weights[:, None]).sum(0) / weights.sum()
    assert np.linalg.norm(voted - joint) < 0.012
    # They start on the surface: a point of the depth image is there.
    starts = intrinsics.xyz_to_uvd(lines[:, 0] * 1000)
    u, v = starts[:, :2].round().astype(int).T
    assert np.median(np.abs(depth[v, u] - starts[:, 2])) < 6
    assert abs(field.weights.sum() - 1) < 1e-3 and (field.closeness <= 1).all()


def test_the_picture_of_a_field_is_warmest_at_the_joint(rendered):
    depth, intrinsics, true_hands = rendered
    truth = next(true_hand for true_hand in true_hands if true_hand.side == 'right')
    field = FieldReader().read(depth, intrinsics, truth, 'wrist')
    image = field.picture()
    assert image.shape == (512, 512, 3) and image.dtype == np.uint8
    uvdn = field.crop.uvdn_from_uvd(truth.joints_uvd[0])
    v, u = np.unravel_index(field.closeness.argmax(), field.closeness.shape)
    peak = 2 * (np.array([u, v]) + 0.5) / len(field.closeness) - 1
    assert np.abs(peak - uvdn[:2]).max() < 0.25 and np.abs(field.voted - uvdn).max() < 0.15
    hidden = hand(joints_xyz=np.full((21, 3), np.nan, np.float32))
    assert FieldReader().read(depth, intrinsics, hidden, 'wrist') is None


# The checkbox whose nearest text is "play".
PLAY = """[...document.querySelectorAll('input[type=checkbox]')].find(box => {
  let node = box;
  while (node && !node.innerText?.trim()) node = node.parentElement;
  return node && node.innerText.trim() === 'play'; })"""


@pytest.mark.skipif(find_chromium() is None, reason='chromium is not installed')
@pytest.mark.timeout(300)
def test_the_page_in_a_browser_plays_pauses_and_shows_the_field_of_a_joint():
    viser = pytest.importorskip('viser', reason='the extra "view" is not installed')
    camera, frames = SyntheticCamera(num_hands=2, seed=1), []
    frames = [(camera.frame(i / 30)[0], camera.intrinsics, i / 30) for i in range(4)]
    tracker = HandTracker.from_pretrained(device='cpu', num_threads=1)
    player = Player(frames.__getitem__, tracker, len(frames), rate_hz=2.0)
    server = viser.ViserServer('127.0.0.1', 0, verbose=False)
    ended = threading.Event()

    def play():
        page = Page(server, tracker.config, player.length, joint='index_tip')
        while not ended.is_set():
            run(player, page, images=1)

    try:
        with Chromium(800, 600) as browser:
            thread = threading.Thread(target=play, daemon=True)
            thread.start()
            browser.open(f'http://127.0.0.1:{server.get_port()}')
            text = browser.wait_for('right')
            assert 'left' in text and 'closeness and direction' in text
            before = player.index
            deadline = time.monotonic() + 60
            while player.index == before and time.monotonic() < deadline:  # it plays
                time.sleep(0.1)
            assert player.index != before
            assert browser.evaluate(f'{PLAY}.checked')
            browser.evaluate(f'{PLAY}.click()')  # pause
            time.sleep(3)
            paused = player.index
            time.sleep(2)
            assert player.index == paused
            step = "[...document.querySelectorAll('button')].find(b => b.innerText === 'step')"
            browser.evaluate(f'{step}.click()')
            deadline = time.monotonic() + 60
            while player.index == paused and time.monotonic() < deadline:
                time.sleep(0.1)
            assert player.index == (paused + 1) % 4
            picture = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (600, 800, 3)
            scene = picture[:, :380].astype(int)  # left of the controls: cloud and skeletons
            green = (scene[..., 1] > 60) & (scene[..., 1] > 2 * scene[..., 2])
            assert (scene.max(-1) > 60).sum() > 2000 and green.sum() > 30
    finally:
        ended.set()
        server.stop()
