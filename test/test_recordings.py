"""Recordings in: what a bag, a folder or an image says of its frames."""

import gc
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from recordings import (
    HEIGHT,
    SECOND,
    TYPES,
    WIDTH,
    K,
    PlainTracker,
    camera_info,
    depth_image,
    header,
    loaded,
    png,
    recorded,
    usual,
)

from awr_ros.messages.depth_image import BadInputError
from awr_ros.offline.bag_reader import BagImages
from awr_ros.offline.bag_types import DEFINITIONS, OURS, typestore
from awr_ros.offline.bag_writer import bag
from awr_ros.offline.camera_file import given_camera_info
from awr_ros.offline.frames import even_stamps, image_paths, read_stamps
from awr_ros.offline.track import Outputs, Recording, opened, track

# ---- bags


def test_definitions_are_installed_as_they_are():
    installed, sources = DEFINITIONS
    assert {path.name for path in installed.iterdir()} >= {f'{name}.msg' for name in OURS}
    assert installed.parent.name == 'awr_ros' and sources.name == 'msg'


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize(
    'encoding, dtype, depth',
    [('16UC1', '<u2', 750), ('mono16', '<u2', 750), ('32FC1', '<f4', 0.75)],
)
def test_depth_of_a_bag_is_millimetres(tmp_path, storage, encoding, dtype, depth):
    recorded(
        tmp_path / 'b',
        [
            ('/d/camera_info', camera_info(SECOND)),
            ('/d/image', depth_image(3 * SECOND + 5, depth, encoding, dtype)),
        ],
        storage,
    )
    ((frame, depth_mm, intrinsics),) = loaded(tmp_path / 'b')
    np.testing.assert_allclose(depth_mm, np.full((HEIGHT, WIDTH), 750), rtol=1e-6)
    assert (intrinsics.fx, intrinsics.cx, intrinsics.width, intrinsics.height) == (
        30,
        15.5,
        WIDTH,
        HEIGHT,
    )
    assert (frame.stamp_ns, frame.frame_id, frame.logged_ns) == (
        3 * SECOND + 5,
        'camera',
        SECOND + 10**6,
    )
    assert frame.time_s == 3 + 5 * 1e-9
    (single_file,) = (
        path for path in (tmp_path / 'b').iterdir() if path.suffix in ('.mcap', '.db3')
    )
    assert len(loaded(single_file)) == 1


def test_an_image_belongs_to_the_last_info_before_it_or_else_to_the_first(tmp_path):
    image, info = '/d/image', '/d/camera_info'
    recorded(
        tmp_path / 'b',
        [
            (image, depth_image(SECOND)),
            (info, camera_info(SECOND, 40)),
            (image, depth_image(2 * SECOND)),
            (image, depth_image(3 * SECOND)),
            (info, camera_info(9 * SECOND, 50)),
            (image, depth_image(4 * SECOND)),
        ],
    )
    assert [intrinsics.fx for _, _, intrinsics in loaded(tmp_path / 'b')] == [40, 40, 40, 50]


def test_compressed_depth_is_taken_where_there_is_no_other(tmp_path):
    pixels = np.full((HEIGHT, WIDTH), 640, np.uint16)
    png = np.frombuffer(bytes(12) + cv2.imencode('.png', pixels)[1].tobytes(), np.uint8)
    message = typestore().types['sensor_msgs/msg/CompressedImage'](
        header(SECOND), '16UC1; compressedDepth png', png
    )
    name = SimpleNamespace(name='sensor_msgs/msg/CompressedImage')
    for folder, raw in (('compressed', False), ('both', True)):
        with bag(tmp_path / folder) as write:
            write('/d/camera_info', TYPES.CameraInfo, SECOND, camera_info(SECOND))
            write('/d/image/compressedDepth', name, SECOND, message)
            if raw:
                write('/d/image', TYPES.Image, SECOND, depth_image(SECOND, 500))
    with BagImages(tmp_path / 'compressed') as images:
        assert images.topic == '/d/image/compressedDepth' and images.info_topic == '/d/camera_info'
    ((_, depth_mm, _),) = loaded(tmp_path / 'compressed')
    np.testing.assert_array_equal(depth_mm, pixels)
    ((_, depth_mm, intrinsics),) = loaded(tmp_path / 'compressed', camera_info=given_camera_info(K))
    assert (intrinsics.fy, intrinsics.width) == (31, WIDTH)
    with BagImages(tmp_path / 'both') as images:
        assert images.topic == '/d/image'


def test_rate_of_a_bag(tmp_path):
    recorded(
        tmp_path / 'b',
        [('/d/image', depth_image(SECOND))] * 5 + [('/d/camera_info', camera_info(1))],
    )
    with BagImages(tmp_path / 'b') as images:
        assert images.rate_hz == pytest.approx(800)  # 4 periods in 5 ms: the camera info comes last


MANY = [
    ('/a/image', depth_image(SECOND)),
    ('/b/image', depth_image(SECOND)),
    ('/a/camera_info', camera_info(SECOND)),
    ('/rgb/image', depth_image(SECOND, 1, 'rgb8', 'u1')),
    ('/rgb/camera_info', camera_info(SECOND, 99)),
]
CHOICES = {
    'two': ({}, 'has 2 topics with depth images: /a/image, /b/image; choose one with --topic'),
    'no info': (
        dict(topic='/b/image'),
        'has no /b/camera_info to /b/image; choose one with --info-topic, or give '
        '--intrinsics; .*infos: /a/camera_info, /rgb/camera_info',
    ),
    'absent': (
        dict(topic='/c'),
        r'has no topic /c; images in the bag: /a/image \(16UC1\), .*/rgb/image \(rgb8\)',
    ),
    'no image': (
        dict(topic='/a/camera_info'),
        'topic /a/camera_info is sensor_msgs/msg/CameraInfo, expected sensor_msgs/',
    ),
    'no such info': (
        dict(topic='/a/image', info_topic='/b/image'),
        'topic /b/image is sensor_msgs/msg/Image, .*CameraInfo',
    ),
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
    (file,) = (path for path in folder.iterdir() if path.suffix in ('.mcap', '.db3'))
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) * 2 // 3])
    out = tmp_path / 'out'
    with (
        pytest.raises(
            ValueError, match=f'{folder} is not a ROS 2 bag that can be read, or damaged: .'
        ),
        opened(Recording(folder)) as images,
    ):
        track(
            images,
            PlainTracker(),
            Outputs(str(out / 'o.jsonl'), str(out / 'o.mp4'), str(out / 'o')),
        )
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_left_in_the_middle_prints_nothing(tmp_path, storage, monkeypatch):
    ignored = []
    monkeypatch.setattr('sys.unraisablehook', ignored.append)
    with opened(Recording(usual(tmp_path / 'b', storage=storage))) as images:
        messages = iter(images)
        next(messages)
    del messages
    gc.collect()
    assert not ignored


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_that_is_written_while_it_is_read_is_no_damaged_one(tmp_path, storage):
    folder = usual(tmp_path / 'b', depths=range(400, 9400, 3), storage=storage)
    file = next(path for path in folder.iterdir() if path.suffix in ('.mcap', '.db3'))
    with opened(Recording(folder)) as images:
        frames = iter(images)
        next(frames)
        with file.open('r+b') as part:
            part.seek(file.stat().st_size // 3)
            part.write(b'\xff' * (file.stat().st_size // 2))
        with pytest.raises(ValueError, match='/b changed while it was read: wait until'):
            list(frames)


def test_a_recorder_that_goes_on_is_named(tmp_path):
    folder = usual(tmp_path / 'b', depths=range(400, 9400, 3), storage='sqlite3')
    with opened(Recording(folder)) as images:
        frames = iter(images)
        next(frames)
        with closing(sqlite3.connect(next(folder.glob('*.db3')))) as recorder, recorder:
            recorder.execute(
                'INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp + 9, '
                'data FROM messages'
            )
        with pytest.raises(ValueError, match='/b changed while it was read: wait until'):
            list(frames)


def test_a_damaged_message_in_the_middle_leaves_nothing(tmp_path):
    folder = tmp_path / 'b'
    with bag(folder) as write:
        write('/d/camera_info', TYPES.CameraInfo, SECOND, camera_info(SECOND))
        for index in range(3):
            write('/d/image', TYPES.Image, SECOND + index, depth_image(SECOND + index))
    file = folder / 'b.mcap'
    data = file.read_bytes()
    third = data.rfind(b'16UC1')
    file.write_bytes(data[: third - 4] + b'\xff\xff\xff\x7f' + data[third:])  # a string of 2 GB
    out = tmp_path / 'out'
    tracker = PlainTracker()
    with pytest.raises(ValueError, match='damaged'), opened(Recording(folder)) as images:
        track(images, tracker, Outputs(str(out / 'o.jsonl'), str(out / 'o.mp4'), str(out / 'o')))
    assert len(tracker.calls) == 2 and not list(out.iterdir())


# ---- images in files


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
    (tmp_path / 't.txt').write_text(
        '# seconds file\n1700000000.033333333 depth/a.png\n\n1700000000.5\n1700000001\n'
    )
    assert read_stamps(tmp_path / 't.txt') == [
        1700000000033333333,
        1700000000500000000,
        1700000001000000000,
    ]
    (tmp_path / 'bad.txt').write_text('1.5\nsoon\n')
    with pytest.raises(ValueError, match="bad.txt, line 2: expected seconds .* got 'soon'"):
        read_stamps(tmp_path / 'bad.txt')
    png(tmp_path / 'f' / 'a.png')
    with (
        pytest.raises(ValueError, match='1 images, but 3 timestamps'),
        opened(Recording(tmp_path / 'f', intrinsics=K, timestamps=tmp_path / 't.txt')),
    ):
        pass


@pytest.mark.parametrize(
    'content, stamps_ns',
    [
        (b'\xef\xbb\xbf1.0\n2.0\n', [SECOND, 2 * SECOND]),  # as editors on Windows write it
        (b'1.0\r\n2.0\r\n', [SECOND, 2 * SECOND]),
        (b'# seconds name\n1.0 a.png\n\n2.0,b.png\n', [SECOND, 2 * SECOND]),
    ],
)
def test_timestamps_of_other_programs_are_read(content, stamps_ns, tmp_path):
    (tmp_path / 't.txt').write_bytes(content)
    assert read_stamps(tmp_path / 't.txt') == stamps_ns


@pytest.mark.parametrize(
    'content, words',
    [
        ('1.0\n'.encode('utf-16'), 'no text in UTF-8'),
        (b'\xe4\n', 'no text in UTF-8'),
        (b'9' * 400, 'line 1: expected seconds like'),
        (b'9' * 9999, 'line 1: expected seconds like'),
        ('\u0661\n'.encode(), 'line 1: expected seconds like'),
        (b'1,033\n1,066\n', 'line 2: all images have the same stamp; is there a comma'),
        (b'nan\n', "line 1: .* got 'nan'"),
        (b'-1.0\n', "line 1: .* got '-1.0'"),
        (b'2026-11-27T12:00:00Z\n', 'line 1: expected seconds like'),
        (b'\0', 'line 1: expected seconds like'),
    ],
)
def test_timestamps_that_are_none_are_refused_in_a_short_line(content, words, tmp_path):
    (tmp_path / 't.txt').write_bytes(content)
    with pytest.raises(ValueError, match=f't.txt.*{words}') as caught:
        read_stamps(tmp_path / 't.txt')
    assert len(str(caught.value)) < 250 + len(str(tmp_path))


@pytest.mark.parametrize(
    'lines, words',
    [
        (
            '# ms\n1700000000000\n1700000000033\n',
            'line 2: expected seconds up to 2147483647, got 1700000000000, which looks like milli',
        ),
        ('1700000000000000\n', 'line 1: .* looks like microseconds'),
        ('1700000000\n1700000000033333333 a.png\n', 'line 2: .* looks like nanoseconds'),
        (
            '0\n33\n67\n100\n',
            'line 2: expected seconds, but images are usually 33 apart, which looks like '
            'milliseconds',
        ),
        ('0\n33333\n66667\n', 'looks like microseconds'),
        ('0\n33333333\n66666667\n', 'looks like nanoseconds'),
        ('9' * 30, 'line 1: expected seconds up to 2147483647, got 9+$'),
    ],
)
def test_timestamps_in_another_unit_are_refused_with_line_and_guess(tmp_path, lines, words):
    (tmp_path / 't.txt').write_text(lines)
    with pytest.raises(ValueError, match=words):
        read_stamps(tmp_path / 't.txt')


def test_a_rate_whose_stamps_no_message_can_hold_is_refused():
    with pytest.raises(
        ValueError, match='at 1e-09 Hz the stamps of 3 images do not end before 2147483647 s'
    ):
        even_stamps(3, 1e-9)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(), 'tells nothing of its camera: give --intrinsics'),
        (dict(intrinsics=K, topic='/a'), 'no bag and has no topics'),
        (dict(intrinsics=K, rate_hz=0.0), 'rate must be positive, got 0'),
        (dict(intrinsics=K, depth_scale=0.0), 'depth scale must be positive, got 0'),
    ],
)
def test_what_images_need(tmp_path, options, words):
    with (
        pytest.raises(ValueError, match=words),
        opened(Recording(png(tmp_path / 'a.png'), **options)),
    ):
        pass


def test_paths_that_are_no_recording(tmp_path):
    with pytest.raises(ValueError, match='neither PNGs nor the files of a bag'):
        image_paths(tmp_path)
    (tmp_path / 'old.bag').touch()
    for path, words in (
        (tmp_path / 'nowhere', 'there is no '),
        (tmp_path / 'old.bag', 'bag of ROS 1: convert it'),
    ):
        with pytest.raises((ValueError, OSError), match=words), opened(Recording(path)):
            pass


INFO_YAML = """
header: {stamp: {sec: 1, nanosec: 0}, frame_id: camera}
height: 24
width: 32
distortion_model: plumb_bob
d: [0.0, 0.0, 0.0, 0.0, 0.0]
k: [30.0, 0.0, 15.5, 0.0, 31.0, 11.5, 0.0, 0.0, 1.0]
binning_x: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
"""
CALIBRATION_YAML = """
image_width: 32
image_height: 24
camera_matrix: {rows: 3, cols: 3, data: [30, 0, 15.5, 0, 31, 11.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}
"""


@pytest.mark.parametrize(
    'name, text',
    [
        ('info.yaml', INFO_YAML),
        ('calibration.yaml', CALIBRATION_YAML),
        ('k.json', '{"fx": 30, "fy": 31, "cx": 15.5, "cy": 11.5, "width": 32, "height": 24}'),
    ],
)
def test_camera_from_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    images = png(tmp_path / 'a.png'), png(tmp_path / 'b.png', size=(HEIGHT, 16))
    for path, good in zip(images, (True, False), strict=True):
        with opened(Recording(path, intrinsics=str(tmp_path / name))) as frames:
            (frame,) = frames
            if good:
                depth_mm, k = frame.load()
                assert (k.fx, k.fy, k.cx, k.cy, k.width, k.height) == (
                    30,
                    31,
                    15.5,
                    11.5,
                    WIDTH,
                    HEIGHT,
                )
                assert (depth_mm[5:-5, 5:-5] == 500).all()
            else:
                with pytest.raises(
                    BadInputError, match='image is 16 x 24, but camera_info is for 32 x 24'
                ):
                    frame.load()


@pytest.mark.parametrize(
    'text, words',
    [
        ('fx: 3\nfy: 3\ncx: 1\n', "has no 'cy'"),
        ('k: [1, 2]\nwidth: 3\nheight: 3', 'matrix has 2 numbers, expected 9'),
        (
            'k: [1, 0, 0, 0, 1, 0, 0, 0, 1]\np: [1]\nwidth: 3\nheight: 3',
            'projection matrix 1, expected 12',
        ),
        ('[1, 2]', 'has no keys'),
        ('a: [', 'while parsing'),
        ('k: [a, 2, 3, 4, 5, 6, 7, 8, 9]', 'could not convert'),
    ],
)
def test_bad_camera_files_say_what_is_wrong(tmp_path, text, words):
    (tmp_path / 'k.yaml').write_text(text)
    with pytest.raises(ValueError, match=words):
        given_camera_info(str(tmp_path / 'k.yaml'))


@pytest.mark.parametrize('text', ['1,2,3', 'a,b,c,d', 'nowhere.yaml'])
def test_bad_intrinsics_say_what_is_expected(text):
    with pytest.raises(
        ValueError, match=f"--intrinsics is '{text}'.*expected fx,fy,cx,cy in pixels"
    ):
        given_camera_info(text)
