"""Files out: what is written of the hands of a recording, and the command that does it."""

import csv
import json
import math

import cv2
import numpy as np
import pytest
from recordings import HEIGHT, SECOND, K, PlainTracker, png, usual
from rosbags.highlevel import AnyReader

from awr_ros.__main__ import main
from awr_ros.offline.outputs import CSV_COLUMNS
from awr_ros.offline.track import Outputs, Recording, opened, track

# ---- what is written


def test_json_csv_and_bag_say_the_same_in_metres(tmp_path):
    usual(tmp_path / 'b', depths=(500, 999, 700))
    for name in ('o.jsonl', 'o.csv'):
        with opened(Recording(tmp_path / 'b')) as images:
            summary = track(
                images,
                PlainTracker(),
                Outputs(str(tmp_path / name), bag=str(tmp_path / f'bag of {name}')),
            )
    assert (summary.frames, summary.with_hands) == (3, 2)
    lines = [json.loads(line) for line in (tmp_path / 'o.jsonl').read_text().splitlines()]
    assert [
        (line['frame'], line['stamp_ns'], line['frame_id'], len(line['hands'])) for line in lines
    ] == [(0, 2 * SECOND, 'camera', 1), (1, 3 * SECOND, 'camera', 0), (2, 4 * SECOND, 'camera', 1)]
    hand = lines[2]['hands'][0]
    assert hand['joints'][5] == [0.005, 0.01, 0.7] and hand['joints'][3] == [None] * 3
    # all joints on one line
    assert hand['side_score'] is None and hand['wrist_orientation'] == [None] * 4
    assert (hand['id'], hand['side'], hand['state'], hand['score'], hand['roi']) == (
        '7',
        'left',
        'ok',
        0.75,
        [0, 10, 8, 14],
    )
    rows = list(csv.reader((tmp_path / 'o.csv').open(newline='')))
    assert rows[0] == list(CSV_COLUMNS) and {len(row) for row in rows} == {len(CSV_COLUMNS)}
    row = dict(zip(*rows[::2], strict=True))
    assert (
        row['frame'],
        row['stamp_ns'],
        row['id'],
        row['index_mcp_z'],
        row['thumb_ip_x'],
        row['pinky_tip_score'],
    ) == ('2', str(4 * SECOND), '7', '0.7', '', '1.0')
    with AnyReader([tmp_path / 'bag of o.csv']) as reader:
        messages = [
            (connection.topic, time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
        ]
    assert [topic for topic, _, _ in messages] == [
        '/tracker/hands',
        '/tracker/markers',
        '/tracker/poses',
    ] * 3
    time, hands = messages[6][1:]
    assert (
        time == SECOND + 3 * 10**6
        and hands.header.stamp.sec == 4
        and hands.joint_convention == 'mediapipe_21'
    )
    assert (
        hands.hands[0].joints[5].z == 0.7
        and math.isnan(hands.hands[0].joints[3].x)
        and hands.hands[0].side == 1
    )
    assert {marker.action for marker in messages[4][2].markers} == {2}  # the hand vanished
    assert len(messages[8][2].poses) == 21


def test_frames_that_cannot_be_used_are_named_and_left_out(tmp_path, capsys):
    png(tmp_path / 'f' / '1.png')
    png(tmp_path / 'f' / '2.png', 5, np.uint8)
    (tmp_path / 'f' / '3.png').write_bytes(b'')
    png(tmp_path / 'f' / '4.png', 700)
    with opened(Recording(tmp_path / 'f', intrinsics=K)) as images:
        summary = track(
            images, PlainTracker(), Outputs(str(tmp_path / 'o.jsonl'), str(tmp_path / 'o'))
        )
    assert (summary.frames, summary.refused) == (2, 2)
    lines = [json.loads(line) for line in (tmp_path / 'o.jsonl').read_text().splitlines()]
    assert [line.get('refused', '') for line in lines] == [
        '',
        'the image has 1 channel(s) of uint8, expected 1 of uint16: depth',
        'not an image that can be read: it is empty',
        '',
    ]
    assert 'left out: 2.png: the image has 1 channel(s) of uint8' in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / 'o').iterdir()) == ['000000.png', '000003.png']


def test_an_image_that_another_one_overtook_is_named_and_left_out(tmp_path, capsys):
    for number in range(4):
        png(tmp_path / 'f' / f'{number}.png')
    (tmp_path / 't.txt').write_text('1.0\n1.1\n1.05\n1.2\n')
    tracker = PlainTracker()
    with opened(Recording(tmp_path / 'f', intrinsics=K, timestamps=tmp_path / 't.txt')) as images:
        summary = track(images, tracker, Outputs(str(tmp_path / 'o.jsonl')))
    assert (summary.frames, summary.refused, len(tracker.calls)) == (3, 1, 3)
    assert (
        'left out: 2.png: its stamp is 0.050 s older than that of an image before it'
        in capsys.readouterr().err
    )


def test_when_no_frame_can_be_used_nothing_is_written(tmp_path):
    png(tmp_path / 'f' / '1.png', 5, np.uint8)
    with (
        pytest.raises(ValueError, match='none of the 1 images could be used'),
        opened(Recording(tmp_path / 'f', intrinsics=K)) as images,
    ):
        track(
            images,
            PlainTracker(),
            Outputs(str(tmp_path / 'o.csv'), str(tmp_path / 'o.mp4'), str(tmp_path / 'o')),
        )
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
        track(
            images,
            Interrupted(),
            Outputs(str(tmp_path / 'o.jsonl'), str(tmp_path / 'o.mp4'), str(tmp_path / 'o')),
        )
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
    # grey depth, coloured bones
    assert picture.shape == (48, 64, 3) and (picture.std(2) > 20).any()


@pytest.mark.parametrize(
    'outputs, words',
    [
        (dict(records='o.txt'), 'ends in .jsonl or .csv'),
        (dict(overlay='o.avi'), 'ends in .mp4'),
        (dict(overlay='o.png'), 'one picture, but there are 3 images'),
        (dict(bag='b'), 'b is there already'),
    ],
)
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
    with (
        pytest.raises(ValueError, match='image 1 is 64 x 24, the ones before were 32 x 24'),
        opened(Recording(tmp_path / 'f', intrinsics=K)) as images,
    ):
        track(images, PlainTracker(), Outputs(overlay=str(tmp_path / 'o.mp4')))
    assert [path.name for path in tmp_path.iterdir()] == ['f']


# ---- the command line


def test_the_command_line_tracks_a_bag_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        main(['render', 'bag', '--bag', '3', '--rate', '15', '--seed', '0', '--storage', 'sqlite3'])
        == 0
    )
    assert (
        main(
            [
                'track',
                'bag',
                '-o',
                '-',
                '--side',
                'right',
                '--max-hands',
                '1',
                '--engine',
                'torch',
                '--device',
                'cpu',
                '--num-threads',
                '1',
            ]
        )
        == 0
    )
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines() if line.startswith('{')]
    assert [line['stamp_ns'] for line in lines] == [
        SECOND + round(index * SECOND / 15) for index in range(3)
    ]
    assert (
        '3 images from bag, tracked with' in captured.err
        and ' with hands, 0 left out' in captured.err
    )
    with AnyReader([tmp_path / 'bag']) as reader:
        truth = [
            reader.deserialize(data, c.msgtype)
            for c, _, data in reader.messages()
            if c.topic == '/synthetic_camera/truth'
        ]
    assert any(line['hands'] for line in lines)
    for hand, true in [
        (hand, true) for line, true in zip(lines, truth, strict=True) for hand in line['hands']
    ]:
        expected = np.array([(p.x, p.y, p.z) for p in true.hands[0].joints])
        assert np.linalg.norm(np.array(hand['joints']) - expected, axis=1).mean() < 0.04
        assert hand['side'] == 'right' and hand['side_score'] is None


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['nowhere', '-o', 'o.csv'], 'there is no nowhere'),
        (['b'], 'nothing to write'),
        (['b', '-o', 'o.csv', '--topic', '/x'], 'has no topic /x'),
        (['b', '-o', 'o.csv', '--rate', '3'], 'has its own stamps'),
    ],
)
def test_the_command_line_names_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / 'b')
    assert main(['track', *arguments]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / 'o.csv').exists()
