"""Recordings in, files out: what a bag, a folder or an image says of its frames, and what is written of their hands."""
import csv
import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from awr_ros.__main__ import main
from awr_ros.camera_messages import BadInput
from awr_ros.offline.bag_reader import BagImages
from awr_ros.offline.bag_types import DEFINITIONS, OURS, bag_types, typestore
from awr_ros.offline.bag_writer import bag
from awr_ros.offline.camera_file import given_camera_info
from awr_ros.offline.frames import image_paths, read_stamps
from awr_ros.offline.outputs import CSV_COLUMNS
from awr_ros.offline.track import Outputs, Recording, opened, track
from awr_ros.tracker import TrackedHand

WIDTH, HEIGHT, SECOND = 32, 24, 10**9
K = '30,31,15.5,11.5'
TYPES = bag_types()


class PlainTracker:
    """A hand whose joints all lie where the depth of the image is; none in an image of 999 mm."""

    def __init__(self):
        self.calls = []

    def update(self, depth_mm, intrinsics, stamp_s):
        self.calls.append((depth_mm.copy(), intrinsics, stamp_s))
        depth = float(depth_mm[0, 0])
        if depth == 999:
            return []
        joints = np.float32([[j, 2 * j, depth] for j in range(21)])
        joints[3] = np.nan                      # a joint that the network does not know
        return [TrackedHand('7', 'left', math.nan, 'ok', 0.75, joints, joints, np.linspace(0, 1, 21, dtype=np.float32),
                            (-4, 10, 12, 100))]


def header(stamp_ns):
    return TYPES.Header(stamp=TYPES.Time(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND), frame_id='camera')


def depth_image(stamp_ns, depth=500, encoding='16UC1', dtype='<u2', width=WIDTH):
    pixels = np.full((HEIGHT, width), depth, dtype)
    return TYPES.Image(header=header(stamp_ns), height=HEIGHT, width=width, encoding=encoding, step=width * pixels.itemsize,
                       data=pixels.view('u1').ravel())


def camera_info(stamp_ns, fx=30.0, width=WIDTH):
    return TYPES.CameraInfo(header=header(stamp_ns), width=width, height=HEIGHT, distortion_model='plumb_bob', d=[0.0] * 5,
                            k=[fx, 0.0, 15.5, 0.0, fx, 11.5, 0.0, 0.0, 1.0])


def recorded(path, messages, storage='mcap'):
    """A bag of (topic, message) pairs, one a millisecond."""
    with bag(path, storage) as write:
        for index, (topic, message) in enumerate(messages):
            write(topic, getattr(TYPES, message.__msgtype__.split('/')[-1]), SECOND + index * 10**6, message)
    return path


def usual(path, depths=(500, 600, 700), storage='mcap'):
    """A good bag."""
    return recorded(path, [('/cam/depth/camera_info', camera_info(SECOND)), *(
        ('/cam/depth/image', depth_image((2 + index) * SECOND, depth)) for index, depth in enumerate(depths))], storage)


def loaded(path, **options):
    with BagImages(path, **options) as images:
        return [(frame, *frame.load()) for frame in images]


# ---- bags ----------------------------------------------------------------------------------------------------------


def test_definitions_are_installed_as_they_are():
    installed, sources = DEFINITIONS
    assert {path.name for path in installed.iterdir()} >= {f'{name}.msg' for name in OURS}
    assert installed.parent.name == 'awr_ros' and sources.name == 'msg'


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('encoding, dtype, depth', [('16UC1', '<u2', 750), ('mono16', '<u2', 750), ('32FC1', '<f4', 0.75)])
def test_depth_of_a_bag_is_millimetres(tmp_path, storage, encoding, dtype, depth):
    recorded(tmp_path / 'b', [('/d/camera_info', camera_info(SECOND)),
                              ('/d/image', depth_image(3 * SECOND + 5, depth, encoding, dtype))], storage)
    (frame, depth_mm, intrinsics), = loaded(tmp_path / 'b')
    np.testing.assert_allclose(depth_mm, np.full((HEIGHT, WIDTH), 750), rtol=1e-6)
    assert (intrinsics.fx, intrinsics.cx, intrinsics.width, intrinsics.height) == (30, 15.5, WIDTH, HEIGHT)
    assert (frame.stamp_ns, frame.frame_id, frame.logged_ns) == (3 * SECOND + 5, 'camera', SECOND + 10**6)
    assert frame.time_s == 3 + 5 * 1e-9
    single_file, = (path for path in (tmp_path / 'b').iterdir() if path.suffix in ('.mcap', '.db3'))
    assert len(loaded(single_file)) == 1


def test_an_image_belongs_to_the_last_info_before_it_or_else_to_the_first(tmp_path):
    image, info = '/d/image', '/d/camera_info'
    recorded(tmp_path / 'b', [(image, depth_image(SECOND)), (info, camera_info(SECOND, 40)), (image, depth_image(2 * SECOND)),
                              (image, depth_image(3 * SECOND)), (info, camera_info(9 * SECOND, 50)),
                              (image, depth_image(4 * SECOND))])
    assert [intrinsics.fx for _, _, intrinsics in loaded(tmp_path / 'b')] == [40, 40, 40, 50]


def test_compressed_depth_is_taken_where_there_is_no_other(tmp_path):
    pixels = np.full((HEIGHT, WIDTH), 640, np.uint16)
    png = np.frombuffer(bytes(12) + cv2.imencode('.png', pixels)[1].tobytes(), np.uint8)
    message = typestore().types['sensor_msgs/msg/CompressedImage'](header(SECOND), '16UC1; compressedDepth png', png)
    name = SimpleNamespace(name='sensor_msgs/msg/CompressedImage')
    for folder, raw in (('compressed', False), ('both', True)):
        with bag(tmp_path / folder) as write:
            write('/d/camera_info', TYPES.CameraInfo, SECOND, camera_info(SECOND))
            write('/d/image/compressedDepth', name, SECOND, message)
            if raw:
                write('/d/image', TYPES.Image, SECOND, depth_image(SECOND, 500))
    with BagImages(tmp_path / 'compressed') as images:
        assert images.topic == '/d/image/compressedDepth' and images.info_topic == '/d/camera_info'
    (_, depth_mm, _), = loaded(tmp_path / 'compressed')
    np.testing.assert_array_equal(depth_mm, pixels)
    (_, depth_mm, intrinsics), = loaded(tmp_path / 'compressed', camera_info=given_camera_info(K))
    assert (intrinsics.fy, intrinsics.width) == (31, WIDTH)
    with BagImages(tmp_path / 'both') as images:
        assert images.topic == '/d/image'


def test_rate_of_a_bag(tmp_path):
    recorded(tmp_path / 'b', [('/d/image', depth_image(SECOND))] * 5 + [('/d/camera_info', camera_info(1))])
    with BagImages(tmp_path / 'b') as images:
        assert images.rate_hz == pytest.approx(800)      # 4 periods in 5 ms: the camera info comes last


MANY = [('/a/image', depth_image(SECOND)), ('/b/image', depth_image(SECOND)), ('/a/camera_info', camera_info(SECOND)),
        ('/rgb/image', depth_image(SECOND, 1, 'rgb8', 'u1')), ('/rgb/camera_info', camera_info(SECOND, 99))]
CHOICES = {
    'two': ({}, 'has 2 topics with depth images: /a/image, /b/image; choose one with --topic'),
    'no info': (dict(topic='/b/image'), 'has no /b/camera_info to /b/image; choose one with --info-topic, or give '
                                        '--intrinsics; .*infos: /a/camera_info, /rgb/camera_info'),
    'absent': (dict(topic='/c'), r'has no topic /c; images in the bag: /a/image \(16UC1\), .*/rgb/image \(rgb8\)'),
    'no image': (dict(topic='/a/camera_info'), 'topic /a/camera_info is sensor_msgs/msg/CameraInfo, expected sensor_msgs/'),
    'no such info': (dict(topic='/a/image', info_topic='/b/image'), 'topic /b/image is sensor_msgs/msg/Image, .*CameraInfo'),
}


@pytest.mark.parametrize('options, words', CHOICES.values(), ids=CHOICES)
def test_what_cannot_be_guessed_is_asked_for(tmp_path, options, words):
    recorded(tmp_path / 'b', MANY)
    with pytest.raises(ValueError, match=words), BagImages(tmp_path / 'b', **options):
        pass


def test_topics_are_those_that_were_asked_for(tmp_path):
    recorded(tmp_path / 'b', MANY)
    assert loaded(tmp_path / 'b', topic='/a/image')[0][2].fx == 30
    assert loaded(tmp_path / 'b', topic='/b/image', info_topic='/rgb/camera_info')[0][2].fx == 99
    assert loaded(tmp_path / 'b', topic='/b/image', camera_info=given_camera_info(K))[0][2].fy == 31


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_damaged_bag_is_named_and_leaves_nothing(tmp_path, storage):
    folder = usual(tmp_path / 'b', storage=storage)
    file, = (path for path in folder.iterdir() if path.suffix in ('.mcap', '.db3'))
    file.write_bytes(file.read_bytes()[:len(file.read_bytes()) * 2 // 3])
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match=f'{folder} is not a ROS 2 bag that can be read, or damaged: .'), \
            opened(Recording(folder)) as images:
        track(images, PlainTracker(), Outputs(str(out / 'o.jsonl'), str(out / 'o.mp4'), str(out / 'o')))
    assert not out.exists() or not list(out.iterdir())


def test_a_damaged_message_in_the_middle_leaves_nothing(tmp_path):
    folder = tmp_path / 'b'
    with bag(folder) as write:
        write('/d/camera_info', TYPES.CameraInfo, SECOND, camera_info(SECOND))
        for index in range(3):
            write('/d/image', TYPES.Image, SECOND + index, depth_image(SECOND + index))
    file = folder / 'b.mcap'
    data = file.read_bytes()
    third = data.rfind(b'16UC1')
    file.write_bytes(data[:third - 4] + b'\xff\xff\xff\x7f' + data[third:])        # a string of 2 GB
    out = tmp_path / 'out'
    tracker = PlainTracker()
    with pytest.raises(ValueError, match='damaged'), opened(Recording(folder)) as images:
        track(images, tracker, Outputs(str(out / 'o.jsonl'), str(out / 'o.mp4'), str(out / 'o')))
    assert len(tracker.calls) == 2 and not list(out.iterdir())


# ---- images in files -----------------------------------------------------------------------------------------------


def png(path, depth=500, dtype=np.uint16, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, depth, dtype))
    return path


def test_images_come_in_natural_order_at_their_rate(tmp_path):
    for number in (10, 9, 100, 1):
        png(tmp_path / 'f' / f'depth_{number}.png', 500 + number)
    (tmp_path / 'f' / 'notes.txt').write_text('no image')
    tracker = PlainTracker()
    with opened(Recording(tmp_path / 'f', intrinsics=K, rate_hz=10.0, depth_scale=0.5)) as images:
        assert images.rate_hz == pytest.approx(10)
        summary = track(images, tracker, Outputs(str(tmp_path / 'o.jsonl')))
    assert (summary.frames, summary.with_hands, summary.refused) == (4, 4, 0)
    assert [depth[0, 0] for depth, _, _ in tracker.calls] == [250.5, 254.5, 255, 300]
    np.testing.assert_allclose([stamp_s for _, _, stamp_s in tracker.calls], [1, 1.1, 1.2, 1.3])
    assert tracker.calls[0][1].fy == 31 and tracker.calls[0][1].height == HEIGHT


def test_timestamps_keep_their_nanoseconds(tmp_path):
    (tmp_path / 't.txt').write_text('# seconds file\n1700000000.033333333 depth/a.png\n\n1700000000.5\n1700000001\n')
    assert read_stamps(tmp_path / 't.txt') == [1700000000033333333, 1700000000500000000, 1700000001000000000]
    (tmp_path / 'bad.txt').write_text('1.5\nsoon\n')
    with pytest.raises(ValueError, match="bad.txt, line 2: expected seconds .* got 'soon'"):
        read_stamps(tmp_path / 'bad.txt')
    png(tmp_path / 'f' / 'a.png')
    with pytest.raises(ValueError, match='1 images, but 3 timestamps'), \
            opened(Recording(tmp_path / 'f', intrinsics=K, timestamps=tmp_path / 't.txt')):
        pass


@pytest.mark.parametrize('options, words', [
    (dict(), 'tells nothing of its camera: give --intrinsics'), (dict(intrinsics=K, topic='/a'), 'no bag and has no topics'),
    (dict(intrinsics=K, rate_hz=0.0), 'rate must be positive, got 0'),
    (dict(intrinsics=K, depth_scale=0.0), 'depth scale must be positive, got 0')])
def test_what_images_need(tmp_path, options, words):
    with pytest.raises(ValueError, match=words), opened(Recording(png(tmp_path / 'a.png'), **options)):
        pass


def test_paths_that_are_no_recording(tmp_path):
    with pytest.raises(ValueError, match='neither PNGs nor a metadata.yaml'):
        image_paths(tmp_path)
    (tmp_path / 'old.bag').touch()
    for path, words in ((tmp_path / 'nowhere', 'there is no '), (tmp_path / 'old.bag', 'bag of ROS 1: convert it')):
        with pytest.raises((ValueError, OSError), match=words), opened(Recording(path)):
            pass


INFO_YAML = '''
header: {stamp: {sec: 1, nanosec: 0}, frame_id: camera}
height: 24
width: 32
distortion_model: plumb_bob
d: [0.0, 0.0, 0.0, 0.0, 0.0]
k: [30.0, 0.0, 15.5, 0.0, 31.0, 11.5, 0.0, 0.0, 1.0]
binning_x: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
'''
CALIBRATION_YAML = '''
image_width: 32
image_height: 24
camera_matrix: {rows: 3, cols: 3, data: [30, 0, 15.5, 0, 31, 11.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}
'''


@pytest.mark.parametrize('name, text', [('info.yaml', INFO_YAML), ('calibration.yaml', CALIBRATION_YAML), (
    'k.json', '{"fx": 30, "fy": 31, "cx": 15.5, "cy": 11.5, "width": 32, "height": 24}')])
def test_camera_from_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    images = png(tmp_path / 'a.png'), png(tmp_path / 'b.png', size=(HEIGHT, 16))
    for path, good in zip(images, (True, False), strict=True):
        with opened(Recording(path, intrinsics=str(tmp_path / name))) as frames:
            frame, = frames
            if good:
                depth_mm, k = frame.load()
                assert (k.fx, k.fy, k.cx, k.cy, k.width, k.height) == (30, 31, 15.5, 11.5, WIDTH, HEIGHT)
                assert (depth_mm[5:-5, 5:-5] == 500).all()
            else:
                with pytest.raises(BadInput, match='image is 16 x 24, but camera_info is for 32 x 24'):
                    frame.load()


@pytest.mark.parametrize('text, words', [
    ('fx: 3\nfy: 3\ncx: 1\n', "has no 'cy'"), ('k: [1, 2]\nwidth: 3\nheight: 3', 'matrix has 2 numbers, expected 9'),
    ('k: [1, 0, 0, 0, 1, 0, 0, 0, 1]\np: [1]\nwidth: 3\nheight: 3', 'projection matrix 1, expected 12'),
    ('[1, 2]', 'has no keys'), ('a: [', 'while parsing'), ('k: [a, 2, 3, 4, 5, 6, 7, 8, 9]', 'could not convert')])
def test_bad_camera_files_say_what_is_wrong(tmp_path, text, words):
    (tmp_path / 'k.yaml').write_text(text)
    with pytest.raises(ValueError, match=words):
        given_camera_info(str(tmp_path / 'k.yaml'))


@pytest.mark.parametrize('text', ['1,2,3', 'a,b,c,d', 'nowhere.yaml'])
def test_bad_intrinsics_say_what_is_expected(text):
    with pytest.raises(ValueError, match=f"--intrinsics is '{text}'.*expected fx,fy,cx,cy in pixels"):
        given_camera_info(text)


# ---- what is written -----------------------------------------------------------------------------------------------


def test_json_csv_and_bag_say_the_same_in_metres(tmp_path):
    usual(tmp_path / 'b', depths=(500, 999, 700))
    for name in ('o.jsonl', 'o.csv'):
        with opened(Recording(tmp_path / 'b')) as images:
            summary = track(images, PlainTracker(), Outputs(str(tmp_path / name), bag=str(tmp_path / f'bag of {name}')))
    assert (summary.frames, summary.with_hands) == (3, 2)
    lines = [json.loads(line) for line in (tmp_path / 'o.jsonl').read_text().splitlines()]
    assert [(line['frame'], line['stamp_ns'], line['frame_id'], len(line['hands'])) for line in lines] == [
        (0, 2 * SECOND, 'camera', 1), (1, 3 * SECOND, 'camera', 0), (2, 4 * SECOND, 'camera', 1)]
    hand = lines[2]['hands'][0]
    assert hand['joints'][5] == [0.005, 0.01, 0.7] and hand['joints'][3] == [None] * 3
    assert hand['side_score'] is None and hand['wrist_orientation'] == [None] * 4       # all joints on one line
    assert (hand['id'], hand['side'], hand['state'], hand['score'], hand['roi']) == ('7', 'left', 'ok', 0.75, [0, 10, 8, 14])
    rows = list(csv.reader((tmp_path / 'o.csv').open(newline='')))
    assert rows[0] == list(CSV_COLUMNS) and {len(row) for row in rows} == {len(CSV_COLUMNS)}
    row = dict(zip(*rows[::2], strict=True))
    assert (row['frame'], row['stamp_ns'], row['id'], row['index_mcp_z'], row['thumb_ip_x'], row['pinky_tip_score']) == (
        '2', str(4 * SECOND), '7', '0.7', '', '1.0')
    with AnyReader([tmp_path / 'bag of o.csv']) as reader:
        messages = [(connection.topic, time, reader.deserialize(data, connection.msgtype))
                    for connection, time, data in reader.messages()]
    assert [topic for topic, _, _ in messages] == ['/tracker/hands', '/tracker/markers', '/tracker/poses'] * 3
    time, hands = messages[6][1:]
    assert time == SECOND + 3 * 10**6 and hands.header.stamp.sec == 4 and hands.joint_convention == 'mediapipe_21'
    assert hands.hands[0].joints[5].z == 0.7 and math.isnan(hands.hands[0].joints[3].x) and hands.hands[0].side == 1
    assert {marker.action for marker in messages[4][2].markers} == {2}      # the hand vanished
    assert len(messages[8][2].poses) == 21


def test_frames_that_cannot_be_used_are_named_and_left_out(tmp_path, capsys):
    png(tmp_path / 'f' / '1.png')
    png(tmp_path / 'f' / '2.png', 5, np.uint8)
    (tmp_path / 'f' / '3.png').write_bytes(b'')
    png(tmp_path / 'f' / '4.png', 700)
    with opened(Recording(tmp_path / 'f', intrinsics=K)) as images:
        summary = track(images, PlainTracker(), Outputs(str(tmp_path / 'o.jsonl'), str(tmp_path / 'o')))
    assert (summary.frames, summary.refused) == (2, 2)
    lines = [json.loads(line) for line in (tmp_path / 'o.jsonl').read_text().splitlines()]
    assert [line.get('refused', '') for line in lines] == [
        '', 'the image has 1 channel(s) of uint8, expected 1 of uint16: depth', 'not an image that OpenCV can read', '']
    assert 'left out: 2.png: the image has 1 channel(s) of uint8' in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / 'o').iterdir()) == ['000000.png', '000003.png']


def test_when_no_frame_can_be_used_nothing_is_written(tmp_path):
    png(tmp_path / 'f' / '1.png', 5, np.uint8)
    with pytest.raises(ValueError, match='none of the 1 images could be used'), \
            opened(Recording(tmp_path / 'f', intrinsics=K)) as images:
        track(images, PlainTracker(), Outputs(str(tmp_path / 'o.csv'), str(tmp_path / 'o.mp4'), str(tmp_path / 'o')))
    assert [path.name for path in tmp_path.iterdir()] == ['f']


def test_an_interrupted_run_leaves_nothing_and_spares_what_was_there(tmp_path):
    class Interrupted(PlainTracker):
        def update(self, *arguments):
            if self.calls:
                raise KeyboardInterrupt
            return super().update(*arguments)
    usual(tmp_path / 'b')
    (tmp_path / 'o.jsonl').write_text('from before')
    with pytest.raises(KeyboardInterrupt), opened(Recording(tmp_path / 'b')) as images:
        track(images, Interrupted(), Outputs(str(tmp_path / 'o.jsonl'), str(tmp_path / 'o.mp4'), str(tmp_path / 'o')))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['b', 'o.jsonl']
    assert (tmp_path / 'o.jsonl').read_text() == 'from before'


def test_overlay_as_video_and_as_picture(tmp_path):
    for number in range(5):
        png(tmp_path / 'f' / f'{number}.png', size=(48, 64))
    with opened(Recording(tmp_path / 'f', intrinsics=K, rate_hz=15.0)) as images:
        track(images, PlainTracker(), Outputs(overlay=str(tmp_path / 'o.mp4')))
    video = cv2.VideoCapture(str(tmp_path / 'o.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(15, abs=0.01)
    shapes = []
    while (read := video.read())[0]:
        shapes.append(read[1].shape)
    assert shapes == [(48, 64, 3)] * 5
    with opened(Recording(tmp_path / 'f' / '0.png', intrinsics=K)) as images:
        track(images, PlainTracker(), Outputs(overlay=str(tmp_path / 'o.png')))
    picture = cv2.imread(str(tmp_path / 'o.png'))
    assert picture.shape == (48, 64, 3) and (picture.std(2) > 20).any()         # grey depth, coloured bones


@pytest.mark.parametrize('outputs, words', [
    (dict(records='o.txt'), 'ends in .jsonl or .csv'), (dict(overlay='o.avi'), 'ends in .mp4'),
    (dict(overlay='o.png'), 'one picture, but there are 3 images'), (dict(bag='b'), 'b is there already')])
def test_outputs_that_cannot_be(tmp_path, monkeypatch, outputs, words):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / 'b')
    tracker = PlainTracker()
    with pytest.raises(ValueError, match=words), opened(Recording(tmp_path / 'b')) as images:
        track(images, tracker, Outputs(**outputs))
    assert not tracker.calls and [path.name for path in tmp_path.iterdir()] == ['b']


def test_a_video_has_one_size(tmp_path):
    png(tmp_path / 'f' / '1.png')
    png(tmp_path / 'f' / '2.png', size=(HEIGHT, 64))
    with pytest.raises(ValueError, match='image 1 is 64 x 24, the ones before were 32 x 24'), \
            opened(Recording(tmp_path / 'f', intrinsics=K)) as images:
        track(images, PlainTracker(), Outputs(overlay=str(tmp_path / 'o.mp4')))
    assert [path.name for path in tmp_path.iterdir()] == ['f']


# ---- the command line ----------------------------------------------------------------------------------------------


def test_the_command_line_tracks_a_bag_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['render', 'bag', '--bag', '3', '--rate', '15', '--seed', '0', '--storage', 'sqlite3']) == 0
    assert main(['track', 'bag', '-o', '-', '--side', 'right', '--max-hands', '1', '--engine', 'torch', '--device', 'cpu',
                 '--num-threads', '1']) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines() if line.startswith('{')]
    assert [line['stamp_ns'] for line in lines] == [SECOND + round(index * SECOND / 15) for index in range(3)]
    assert '3 images from bag, tracked with' in captured.err and ' with hands, 0 left out' in captured.err
    with AnyReader([tmp_path / 'bag']) as reader:
        truth = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages()
                 if c.topic == '/synthetic_camera/truth']
    assert any(line['hands'] for line in lines)
    for hand, true in [(hand, true) for line, true in zip(lines, truth, strict=True) for hand in line['hands']]:
        expected = np.array([(p.x, p.y, p.z) for p in true.hands[0].joints])
        assert np.linalg.norm(np.array(hand['joints']) - expected, axis=1).mean() < 0.04
        assert hand['side'] == 'right' and hand['side_score'] is None


@pytest.mark.parametrize('arguments, words', [
    (['nowhere', '-o', 'o.csv'], 'there is no nowhere'), (['b'], 'nothing to write'),
    (['b', '-o', 'o.csv', '--topic', '/x'], 'has no topic /x'), (['b', '-o', 'o.csv', '--rate', '3'], 'has its own stamps')])
def test_the_command_line_names_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / 'b')
    assert main(['track', *arguments]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / 'o.csv').exists()
