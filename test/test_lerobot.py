"""Hands and other topics of a bag as a LeRobotDataset, loaded by lerobot.

Those with the library need the extra `lerobot`: pip install '.[offline,engines,lerobot]'; pytest
test/test_lerobot.py
"""

import csv
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import SECOND, PlainTracker, camera_info, depth_image, header

from awr_ros.__main__ import main
from awr_ros.offline import lerobot_writer
from awr_ros.offline.bag_types import typestore
from awr_ros.offline.bag_writer import bag
from awr_ros.offline.lerobot_writer import LeRobotOptions, _covered, _held, _rate, _ticks
from awr_ros.offline.topics import Samples, read_samples
from awr_ros.offline.track import Outputs, Recording, opened, track
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.tracker import HandTracker

RATE = 10
needs_lerobot = pytest.mark.skipif(
    importlib.util.find_spec('lerobot') is None,
    reason="lerobot is missing: pip install '.[lerobot]'",
)


class TwoHands(PlainTracker):
    """A left hand as of PlainTracker; where the depth is above 600 mm a right one beside it."""

    description = 'a tracker for tests'

    def update(self, depth_mm, intrinsics, stamp_s):
        hands = super().update(depth_mm, intrinsics, stamp_s)
        if depth_mm[0, 0] > 600 and hands:
            left = hands[0]
            hands.append(
                type(left)('8', 'right', 0.9, 'ok', 0.5, left.joints_xyz + 1, *_rest(left))
            )
        return hands


def _rest(hand):
    return hand.joints_uvd, hand.joint_scores, hand.roi


def joint_state(stamp_ns, value, names=('shoulder', 'elbow')):
    types = typestore().types
    return types['sensor_msgs/msg/JointState'](
        header(stamp_ns),
        list(names),
        np.array([value + i for i in range(len(names))], float),
        np.array([], float),
        np.array([], float),
    )


def twist(value):
    types = typestore().types
    vector = types['geometry_msgs/msg/Vector3']
    return types['geometry_msgs/msg/Twist'](vector(value, 0.0, 0.0), vector(0.0, 0.0, -value))


def named(name):
    return SimpleNamespace(name=name)


def robot_bag(path, depths=(500, 700, 800, 900), states=40, missing=()):
    """Depth images at RATE, joint states at 4 times that with the time as value, headerless twists.

    The recording is 7 s later than the stamps say.
    """
    late = 7 * SECOND
    with bag(path) as write:
        info = named('sensor_msgs/msg/CameraInfo')
        write('/depth/camera_info', info, SECOND + late, camera_info(SECOND))
        for index in range(states):
            stamp = SECOND + index * SECOND // (4 * RATE)
            state = joint_state(stamp, stamp / SECOND)
            write('/joint_states', named('sensor_msgs/msg/JointState'), stamp + late, state)
        for index, depth in enumerate(depths):
            stamp = SECOND + index * SECOND // RATE
            write('/cmd', named('geometry_msgs/msg/Twist'), stamp + late, twist(float(index)))
            if index not in missing:
                image = depth_image(stamp, depth)
                write('/depth/image', named('sensor_msgs/msg/Image'), stamp + late, image)
    return path


# ---- topics ------------------------------------------------------------------------------------


def test_numbers_of_messages_have_names_and_times(tmp_path):
    robot_bag(tmp_path / 'b')
    states = read_samples(tmp_path / 'b', '/joint_states')
    assert states.names == ('position.shoulder', 'position.elbow') and states.stamped
    assert states.values.shape == (40, 2) and states.values[4, 1] == pytest.approx(2.1)
    assert states.times_ns[4] == SECOND + SECOND // 10
    commands = read_samples(tmp_path / 'b', '/cmd')
    assert commands.names == tuple(f'{f}.{a}' for f in ('linear', 'angular') for a in 'xyz')
    assert not commands.stamped and commands.times_ns[0] == 8 * SECOND
    assert commands.values[3].tolist() == [3, 0, 0, 0, 0, -3]


def test_topics_that_are_no_numbers_are_refused(tmp_path):
    robot_bag(tmp_path / 'b')
    for topic, words in (
        ('/nowhere', 'has no messages on /nowhere; its topics: /cmd, /depth/camera_info'),
        ('/depth/image', 'numbers a message, expected 1024 at most'),
    ):
        with pytest.raises(ValueError, match=words):
            read_samples(tmp_path / 'b', topic)
    with bag(tmp_path / 'c') as write:
        for number, names in enumerate((('a', 'b'), ('a',))):
            state = joint_state(SECOND + number, 0.0, names)
            write('/s', named('sensor_msgs/msg/JointState'), SECOND + number, state)
    with pytest.raises(ValueError, match='message 1 of /s has 1 numbers, the first one 2'):
        read_samples(tmp_path / 'c', '/s')


def test_the_nearest_message_is_taken():
    samples = Samples('/t', ('x',), np.array([10, 20, 40]), np.float32([[1], [2], [4]]), True)
    values, away = samples.nearest(np.array([0, 14, 16, 31, 99]))
    assert values[:, 0].tolist() == [1, 1, 2, 4, 4] and away.tolist() == [10, 4, 4, 9, 59]
    single = Samples('/t', ('x',), np.array([10]), np.float32([[1]]), True)
    assert single.nearest(np.array([0, 12]))[1].tolist() == [10, 2]


# ---- the clock ---------------------------------------------------------------------------------


def test_rows_follow_the_clock_when_images_are_late_or_missing():
    times = np.array([0, 102, 199, 500, 601], np.int64) * 10**6 + SECOND  # 300 and 400 ms missing
    assert _rate(times) == 10
    ticks = _ticks(times, 10, 50 * 10**6)
    assert ((ticks.times_ns - SECOND) / 1e6).tolist() == [0, 100, 200, 300, 400, 500, 600]
    assert ticks.image.tolist() == [0, 1, 2, 2, 3, 3, 4]
    assert ticks.near.tolist() == [True, True, True, False, False, True, True]


def test_a_hand_that_is_not_seen_is_held():
    values = np.float32([[0], [1], [0], [3], [0]])
    assert _held(values, np.array([0, 1, 0, 1, 0], bool))[:, 0].tolist() == [1, 1, 1, 3, 3]
    assert _held(values, np.zeros(5, bool)) is values


def test_rows_without_all_topics_are_cut_at_the_ends_and_refused_between():
    ticks = _ticks(np.arange(10) * 100_000_000, 10, 50_000_000)
    delay = np.full(10, SECOND)

    def samples(numbers, stamped=True):
        times = np.array(numbers) * 100_000_000 + (0 if stamped else SECOND)
        return Samples('/t', ('x',), times, np.float32(numbers)[:, None], stamped)

    part, values = _covered(ticks, delay, [('a', samples([2, 3, 4, 5, 6, 7]))], 0.04)
    assert part == slice(2, 8) and values['a'][part, 0].tolist() == [2, 3, 4, 5, 6, 7]
    part, _ = _covered(ticks, delay, [('a', samples(range(4, 10), stamped=False))], 0.04)
    assert part == slice(4, 10)  # compared by the times of recording
    with pytest.raises(ValueError, match='/t has a gap: at 0.300 s its nearest message is 0.100 s'):
        _covered(ticks, delay, [('a', samples([2, 4, 5]))], 0.04)
    with pytest.raises(ValueError, match='the nearest is 1.100 s away'):
        _covered(ticks, delay, [('a', samples([20]))], 0.04)


def test_what_is_missing_is_named_with_the_command(tmp_path, monkeypatch, capsys):
    robot_bag(tmp_path / 'b')

    def missing(_):
        raise ModuleNotFoundError("No module named 'lerobot'")

    monkeypatch.setattr(lerobot_writer, 'import_module', missing)
    assert main(['track', str(tmp_path / 'b'), '-o', f'lerobot:{tmp_path}/d']) == 1
    assert (
        "No module named 'lerobot'; in the package's source folder: pip install '.[lerobot]'"
        in (capsys.readouterr().err)
    )
    assert main(['track', str(tmp_path / 'b'), '-o', 'o.csv', '--feature', '/x']) == 1
    assert '--feature is for a LeRobotDataset' in capsys.readouterr().err


# ---- with the library --------------------------------------------------------------------------


@needs_lerobot
@pytest.mark.timeout(600)
def test_a_dataset_loads_and_says_the_same_as_csv(tmp_path, monkeypatch):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import DataLoader

    robot_bag(tmp_path / 'b', depths=(500, 700, 999, 900, 800), missing=(3,))
    monkeypatch.setattr(HandTracker, 'from_pretrained', classmethod(lambda *_, **__: TwoHands()))
    command = ['track', str(tmp_path / 'b'), '-o']
    assert main([*command, f'{tmp_path}/o.csv']) == 0
    features = ['--feature', 'observation.state=/joint_states', '--feature', 'action=/cmd']
    assert main([*command, f'lerobot:{tmp_path}/d', *features, '--task', 'wave']) == 0
    dataset = LeRobotDataset('local/d', root=tmp_path / 'd')
    info = json.loads((tmp_path / 'd' / 'meta' / 'info.json').read_text())
    assert (info['codebase_version'], info['fps'], info['total_episodes']) == ('v3.0', RATE, 1)
    joints = info['features']['observation.hands.left.joints']
    assert (
        joints['names'][:3] == ['wrist_x', 'wrist_y', 'wrist_z'] and joints['info']['unit'] == 'm'
    )
    assert len(dataset) == 5 and dataset[0]['task'] == 'wave'
    rows = {}
    for row in csv.DictReader((tmp_path / 'o.csv').open(newline='')):
        rows[int(row['stamp_ns']), row['side']] = row
    seen = 0
    for index in range(5):
        item = dataset[index]
        assert item['timestamp'].item() == pytest.approx(index / RATE)
        stamp = SECOND + index * SECOND // RATE
        for side in ('left', 'right'):
            row = rows.get((stamp, side))
            assert bool(item[f'observation.hands.{side}.valid']) == (row is not None)
            if row is None:
                continue
            seen += 1
            assert item['observation.hands.stamp_ns'].item() == stamp
            expected = [float(row[f'{j}_{a}'] or 0) for j in JOINT_NAMES for a in 'xyz']
            np.testing.assert_allclose(
                item[f'observation.hands.{side}.joints'], expected, rtol=1e-6
            )
            assert item[f'observation.hands.{side}.score'].item() == float(row['score'])
            scores = [float(row[f'{j}_score']) for j in JOINT_NAMES]
            scores[3] = 0  # a joint that the network does not know
            np.testing.assert_allclose(
                item[f'observation.hands.{side}.joint_scores'], scores, rtol=1e-6
            )
        state = item['observation.state']
        np.testing.assert_allclose(state, [stamp / SECOND, stamp / SECOND + 1], rtol=1e-6)
        assert item['action'].tolist() == [index, 0, 0, 0, 0, -index]
    assert seen == len(rows) == 5
    np.testing.assert_array_equal(  # not seen in the image of 999 mm: held
        dataset[2]['observation.hands.right.joints'], dataset[1]['observation.hands.right.joints']
    )
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    assert batch['observation.hands.right.joints'].shape == (5, 63)
    assert np.isfinite(batch['observation.hands.left.joints'].numpy()).all()


@needs_lerobot
@pytest.mark.timeout(600)
def test_datasets_of_several_recordings_can_be_merged(tmp_path, monkeypatch):
    from lerobot.datasets.dataset_tools import merge_datasets
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    monkeypatch.setattr(HandTracker, 'from_pretrained', classmethod(lambda *_, **__: TwoHands()))
    parts = []
    for name in 'ab':
        robot_bag(tmp_path / name)
        command = ['track', str(tmp_path / name), '-o', f'lerobot:{tmp_path}/d{name}']
        assert main([*command, '--feature', 'action=/cmd']) == 0
        parts.append(LeRobotDataset(f'local/{name}', root=tmp_path / f'd{name}'))
    merged = merge_datasets(parts, 'local/all', output_dir=tmp_path / 'all')
    assert merged.meta.total_episodes == 2 and len(merged) == sum(map(len, parts))
    assert 'observation.hands.left.joints' in merged.meta.stats


@needs_lerobot
@pytest.mark.timeout(600)
def test_an_unfinished_dataset_is_not_there(tmp_path, monkeypatch):
    class Interrupted(PlainTracker):
        def update(self, *arguments):
            if self.calls:
                raise KeyboardInterrupt
            return super().update(*arguments)

    robot_bag(tmp_path / 'b')
    outputs = Outputs(f'lerobot:{tmp_path}/d', lerobot=LeRobotOptions(tmp_path / 'b'))
    with pytest.raises(KeyboardInterrupt), opened(Recording(tmp_path / 'b')) as images:
        track(images, Interrupted(), outputs)
    dataset = lerobot_writer._create

    def broken(*arguments):
        made = dataset(*arguments)
        monkeypatch.setattr(made, 'save_episode', lambda: (_ for _ in ()).throw(OSError('full')))
        return made

    monkeypatch.setattr(lerobot_writer, '_create', broken)
    with pytest.raises(OSError, match='full'), opened(Recording(tmp_path / 'b')) as images:
        track(images, PlainTracker(), outputs)
    assert [path.name for path in tmp_path.iterdir()] == ['b']
    monkeypatch.undo()
    (tmp_path / 'd').mkdir()
    with pytest.raises(ValueError, match='d is there already'):
        with opened(Recording(tmp_path / 'b')) as images:
            track(images, PlainTracker(), outputs)
