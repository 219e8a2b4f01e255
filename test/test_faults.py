"""Commands that are stopped, cannot write, or are given odd files: one line, no traceback, nothing
that looks like a result.
"""

import errno
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from recordings import (
    HEIGHT,
    SECOND,
    TYPES,
    WIDTH,
    K,
    PlainTracker,
    camera_info,
    depth_image,
    loaded,
    png,
    recorded,
    usual,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from awr_ros.__main__ import main
from awr_ros.datasets.frames import read_png16, read_png_rgb
from awr_ros.draw import write_picture
from awr_ros.file_kinds import describe_file
from awr_ros.files import FULL, check_output, completed, work_folder, write_text
from awr_ros.messages.depth_image import BadInputError
from awr_ros.messages.png16 import decode_png16
from awr_ros.offline import bag_writer, outputs, pictures
from awr_ros.offline.bag_files import zstd
from awr_ros.offline.bag_types import typestore
from awr_ros.offline.bag_writer import bag
from awr_ros.offline.frames import DepthImages
from awr_ros.offline.track import Outputs, Recording, opened, track

# The command with a tracker that takes no time to load.
PROGRAM = """
import sys, time
import awr_ros.tracker
class Plain:
    description = 'a tracker for tests'
    def update(self, *arguments):
        time.sleep(PAUSE_S)
        return []
awr_ros.tracker.HandTracker.from_pretrained = classmethod(lambda *_, **__: Plain())
from awr_ros.__main__ import command_line
command_line()
"""


def command(*arguments, pause_s=0.0):
    return [sys.executable, '-c', PROGRAM.replace('PAUSE_S', str(pause_s)), *map(str, arguments)]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments), **{'capture_output': True, 'timeout': 100, **options}
    )


def in_process(monkeypatch, *arguments):
    """The exit status of the command, run here with a tracker for tests."""
    from awr_ros.tracker import HandTracker

    tracker = PlainTracker()
    tracker.description = 'a tracker for tests'
    monkeypatch.setattr(HandTracker, 'from_pretrained', classmethod(lambda *_, **__: tracker))
    return main([str(argument) for argument in arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- signals and streams


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_in_one_line_and_leaves_nothing(number, tmp_path):
    usual(tmp_path / 'b', depths=[500] * 50)
    out = tmp_path / 'out'
    out.mkdir()
    process = subprocess.Popen(
        command(
            'track',
            tmp_path / 'b',
            '-o',
            out / 'o.jsonl',
            '--overlay',
            out / 'o.mp4',
            '--bag',
            out / 'b',
            pause_s=0.2,
        ),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    wait_for(lambda: len(names(out)) == 3)
    process.send_signal(number)
    time.sleep(0.01)
    process.send_signal(number)  # impatient
    text = process.communicate(timeout=60)[1]
    assert process.returncode == -number and names(out) == [] and 'Traceback' not in text
    assert text.rstrip().endswith(f'awr track: stopped by {number.name}')


def heed_signals():
    """A shell that runs the tests in the background has SIGINT ignored, and nohup SIGHUP: not so a
    terminal.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nohup_is_heeded(tmp_path):
    usual(tmp_path / 'b', depths=[500] * 5)
    process = subprocess.Popen(
        command('track', tmp_path / 'b', '-o', tmp_path / 'o.jsonl', pause_s=0.1),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(lambda: any(name.startswith('.o.jsonl') for name in names(tmp_path)))
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0 and (tmp_path / 'o.jsonl').exists()


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_runs_is_not(tmp_path, monkeypatch):
    usual(tmp_path / 'b', depths=[500] * 50)
    out = tmp_path / 'o.jsonl'
    process = subprocess.Popen(
        command('track', tmp_path / 'b', '-o', out, pause_s=0.5), stderr=subprocess.DEVNULL
    )
    wait_for(lambda: any(tmp_path.glob('.o.jsonl.part-*')))
    assert in_process(monkeypatch, 'track', tmp_path / 'b', '-o', out) == 0
    assert any(tmp_path.glob('.o.jsonl.part-*'))  # the other one is at work
    process.kill()
    process.wait(60)
    assert any(tmp_path.glob('.o.jsonl.part-*'))
    assert in_process(monkeypatch, 'track', tmp_path / 'b', '-o', out) == 0
    assert names(tmp_path) == ['b', 'o.jsonl']


def test_a_pipe_that_ends_early_is_a_line(tmp_path):
    usual(tmp_path / 'b', depths=[500] * 300)
    process = subprocess.Popen(
        command('track', tmp_path / 'b', '-o', '-', '--overlay', tmp_path / 'o'),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    text = process.stderr.read().decode()
    assert process.wait(60) == 1 and text.rstrip().endswith(
        'awr track: the reader of the output has ended'
    )
    assert 'Traceback' not in text and names(tmp_path) == ['b']


@pytest.mark.parametrize(
    'streams, status, words',
    [
        ('>/dev/full', 1, 'No space left on device'),
        ('>&-', 1, 'the standard output is closed'),
        ('2>&- <&-', 0, ''),
        ('>&- 2>&-', 1, ''),
    ],
)
def test_standard_streams_that_are_closed_or_full(streams, status, words, tmp_path):
    usual(tmp_path / 'b', depths=[500] * 3)
    line = ' '.join(
        f"'{part}'" if "'" not in part else f'"{part}"'
        for part in (
            sys.executable,
            str(tmp_path / 'awr.py'),
            'track',
            str(tmp_path / 'b'),
            '-o',
            '-',
            '--overlay',
            str(tmp_path / 'o'),
        )
    )
    (tmp_path / 'awr.py').write_text(PROGRAM.replace('PAUSE_S', '0'))
    done = subprocess.run(
        ['bash', '-c', f'{line} {streams}'], capture_output=True, text=True, timeout=100
    )
    assert (
        done.returncode == status
        and 'Traceback' not in done.stderr
        and words in done.stderr.strip().splitlines()[-1:] + ['']
        or (words in done.stderr)
    ), done
    assert (tmp_path / 'o').exists() == (status == 0)
    assert all(line.startswith('{') for line in done.stdout.splitlines())


# ---- outputs

WRITERS = {
    'jsonl': ['-o', 'o.jsonl'],
    'csv': ['-o', 'o.csv'],
    'mp4': ['--overlay', 'o.mp4'],
    'pictures': ['--overlay', 'o'],
    'bag': ['--bag', 'o'],
}


@contextmanager
def limited_files(size):
    """Limit the size of files [bytes], as a full disk does. No longer than needed: what pytest
    prints may go to a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('output', WRITERS.values(), ids=WRITERS)
def test_an_output_without_room_is_an_error_and_is_not_there(output, tmp_path, monkeypatch, capfd):
    rng = np.random.default_rng(0)
    for number in range(40):
        (tmp_path / 'f').mkdir(exist_ok=True)
        noise = rng.integers(400, 900, (48, 64)).astype(np.uint16)
        (tmp_path / 'f' / f'{number}.png').write_bytes(cv2.imencode('.png', noise)[1].tobytes())
    monkeypatch.chdir(tmp_path)
    with limited_files(3000):
        status = in_process(monkeypatch, 'track', 'f', '--intrinsics', K, *output)
    assert status == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('awr track: ') and re.search(
        'File too large|could not be written to its end', last
    ), last
    assert output[1] in last and 'None' not in last and names(tmp_path) == ['f']


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_recording_without_room_is_an_error_and_is_not_there(
    storage, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    with limited_files(300_000):
        status = main(['render', 'b', '--bag', '2', '--storage', storage])
    assert status == 1
    text = capfd.readouterr().err
    assert (
        'awr render: ' in text.strip().splitlines()[-1]
        and 'Traceback' not in text
        and names(tmp_path) == []
    )


@pytest.mark.parametrize(
    'write',
    [lambda folder: pictures.overlays(folder / 'o.mp4', 3, 30.0), lambda folder: bag(folder / 'o')],
)
def test_an_output_that_cannot_be_read_back_is_an_error(write, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, '_frames_in', lambda _: 0)
    monkeypatch.setattr(bag_writer, '_messages_in', lambda _: 0)
    with pytest.raises(OSError, match='could not be written to its end'), write(tmp_path) as add:
        if add.__name__ == 'write':
            add('/i', TYPES.Image, SECOND, depth_image(SECOND))
        else:
            add(outputs.Tracked(0, None, np.full((48, 64), 500, np.uint16), None, ()))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    'name',
    [
        b'h\xe4nde',
        b'\xff\xfe',
        'händë 手'.encode(),
        b'a b;c&d',
        b'50%41?x#y',
        b'quote\'"',
        b'-dash',
        b'new\nline',
        b'x' * 90,
    ],
)
def test_paths_may_have_any_bytes(name, tmp_path, monkeypatch, capfd):
    folder = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    folder.mkdir()
    own = folder.name
    usual(folder / own, storage='sqlite3')
    assert (
        in_process(
            monkeypatch,
            'track',
            folder / own,
            '-o',
            folder / f'{own}.csv',
            '--overlay',
            folder / f'{own}.mp4',
            '--bag',
            folder / f'{own}.bag',
        )
        == 0
    )
    assert names(folder) == sorted([own, f'{own}.csv', f'{own}.mp4', f'{own}.bag'])
    shutil.copy(next((folder / own).glob('*.db3')), folder / f'{own}.db3')
    assert (
        in_process(monkeypatch, 'track', folder / f'{own}.db3', '-o', folder / f'{own}.jsonl') == 0
    )
    png(folder / 'f' / f'{own}.png')
    assert (
        in_process(
            monkeypatch,
            'track',
            folder / 'f',
            '--intrinsics',
            K,
            '-o',
            folder / 'f.csv',
            '--overlay',
            folder / 'f out',
        )
        == 0
    )
    assert in_process(monkeypatch, 'track', folder / 'f', '--intrinsics', K, '-o', '-') == 0
    assert in_process(monkeypatch, 'track', folder / 'none', '-o', '-') == 1
    capfd.readouterr()[1].encode('utf-8')


@pytest.mark.parametrize('name', [b'h\xe4nde', 'händë 手'.encode()])
def test_images_of_data_sets_and_pictures_may_have_any_bytes_in_their_names(name, tmp_path):
    path = tmp_path / os.fsdecode(name) / os.fsdecode(name + b'.png')
    png(path)
    assert read_png16(path).dtype == np.float32
    write_picture(path, np.full((9, 9, 3), (5, 2, 0), np.uint8))
    assert (read_png_rgb(path) == 5 + 256 * 2).all()
    for content in (b'', bomb(40000, 40000, 0)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='no image that can be read'):
            read_png16(path)


@pytest.mark.parametrize(
    'environment',
    [
        {'LC_ALL': 'C'},
        {'LC_ALL': 'POSIX', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
        {'PYTHONIOENCODING': 'ascii'},
    ],
)
def test_names_are_written_in_any_locale(environment, tmp_path):
    folder = tmp_path / os.fsdecode('händë'.encode() + b'\xff')
    png(folder / os.fsdecode('手'.encode() + b'\xfe.png'))
    done = run(
        'track',
        folder,
        '--intrinsics',
        K,
        '-o',
        folder / 'o.jsonl',
        '--overlay',
        folder / 'out',
        env={**os.environ, **environment},
    )
    assert done.returncode == 0 and b'Traceback' not in done.stderr, done
    name = json.loads((folder / 'o.jsonl').read_text(encoding='utf-8'))['name']
    # in UTF-8, and where nothing but ASCII is text
    assert name in ('手\\udcfe.png', '\\udce6\\udc89\\udc8b\\udcfe.png')


def test_an_output_that_is_replaced_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / 'b')
    (tmp_path / 'o.jsonl').write_text('old')
    assert in_process(monkeypatch, 'track', 'b', '-o', 'o.jsonl') == 0
    assert 'o.jsonl is there already: it is replaced if all goes well' in capsys.readouterr().err
    assert (tmp_path / 'o.jsonl').read_text() != 'old'


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['a.png', '--overlay', 'a.png'], 'a.png is the input itself'),
        (['b', '-o', 'o.csv', '--bag', 'o.csv'], 'the name of two outputs'),
        (['b', '--bag', 'a.png'], 'a.png is there already'),
        (['b', '-o', 'pipe.csv'], 'pipe.csv is no regular file'),
        (['b', '-o', 'a.png/o.csv'], "File exists: 'a.png'"),
        (['b', '-o', f'{"x" * 300}.csv'], 'File name too long'),
    ],
)
def test_outputs_that_would_destroy_something_are_refused(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / 'b')
    png(tmp_path / 'a.png')
    os.mkfifo('pipe.csv')
    before = (tmp_path / 'a.png').read_bytes()
    assert in_process(monkeypatch, 'track', *arguments, '--intrinsics', K) == 1
    assert words in capsys.readouterr().err
    assert (tmp_path / 'a.png').read_bytes() == before and names(tmp_path) == [
        'a.png',
        'b',
        'pipe.csv',
    ]


def test_stamps_that_messages_have_no_room_for_are_an_error(tmp_path):
    usual(tmp_path / 'b')
    with (
        pytest.raises(ValueError, match='has no room in sensor_msgs/msg/Image'),
        bag(tmp_path / 'o') as write,
    ):
        write(
            '/i', TYPES.Image, SECOND, TYPES.Image(header=TYPES.Header(stamp=TYPES.Time(sec=2**40)))
        )
    assert names(tmp_path) == ['b']


def test_no_error_of_the_disk_is_lost(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    (tmp_path / 'o').write_text('old')
    monkeypatch.setattr(os, 'fsync', full)
    with (
        pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'o'}'$"),
        completed(tmp_path / 'o') as part,
    ):
        part.write_text('new')
    assert (
        (tmp_path / 'o').read_text() == 'old' and names(tmp_path) == ['o'] and errno.ENOSPC in FULL
    )


@pytest.mark.skipif(os.geteuid() != 0, reason='takes root to mount')
def test_a_read_only_folder_is_an_error_with_the_wanted_name(tmp_path):
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip('mounts are not allowed here')
    try:
        for write in (write_text, lambda path, _: check_output(path)):
            with pytest.raises(OSError, match=f"Read-only file system: '{tmp_path / 'o'}'$"):
                write(tmp_path / 'o', 'x')
    finally:
        subprocess.run(['umount', tmp_path], check=True)


VERBS = {
    'render': ['render', 'o'],
    'scenes': ['render', 'o', '--scenes', '9000'],
    'evaluate': ['evaluate', '--sheet', 'o'],
    'conformance': ['conformance', '--output', 'o'],
    'bench': ['bench', '--output', 'o'],
    'refiner': ['train-refiner', 'o'],
    'handedness': ['train-handedness', 'o'],
}


@pytest.mark.parametrize('arguments', VERBS.values(), ids=VERBS)
@pytest.mark.parametrize('taken', ['folder', 'pipe'])
def test_long_work_is_not_begun_without_room_for_its_output(
    arguments, taken, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    os.mkdir('o') if taken == 'folder' else os.mkfifo('o')
    for work in (
        'awr_ros.tracker.HandTracker.from_pretrained',
        'awr_ros.synthetic.crops.CropSource.draw',
        'awr_ros.evaluation.crops.evaluate',
        'awr_ros.runtime.select.load_engine',
        'awr_ros.training.refiner.train_refiner',
        'awr_ros.training.handedness.train_handedness',
    ):
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail('begun'))
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert 'o is there already' in said or 'o is no regular file' in said
    assert names(tmp_path) == ['o']


def test_an_output_that_is_checked_is_not_changed(tmp_path):
    check_output(None)
    check_output(tmp_path / 'new' / 'o')
    assert names(tmp_path / 'new') == []
    (tmp_path / 'o').write_text('old')
    check_output(tmp_path / 'o')
    assert (tmp_path / 'o').read_text() == 'old' and names(tmp_path) == ['new', 'o']


def test_a_checkpoint_without_room_is_an_error_with_the_wanted_name(tmp_path):
    from awr_ros.training.run import save_whole

    with limited_files(3000), pytest.raises(OSError, match=f"full disk: .*'{tmp_path / 'o.pt'}'$"):
        save_whole({'a': torch.zeros(9999)}, tmp_path / 'o.pt')
    assert names(tmp_path) == []


def test_folders_of_others_are_not_taken_for_left_over_ones(tmp_path):
    """Without locks, as on some network file systems, nothing is removed; nor are files and links
    of such a name.
    """
    (tmp_path / 'target').mkdir()
    (tmp_path / '.o.part-file').write_text('')
    (tmp_path / '.o.part-link').symlink_to(tmp_path / 'target')
    with work_folder(tmp_path, '.o.part-') as first, work_folder(tmp_path, '.o.part-') as second:
        assert first.is_dir() and second.is_dir() and first != second
    assert names(tmp_path) == ['.o.part-file', '.o.part-link', 'target']


# ---- images in files


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def bomb(width, height, rows=100):
    """A PNG of a few bytes that claims many pixels."""
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 16, 0, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(bytes(rows * (1 + 2 * width))))
        + chunk(b'IEND', b'')
    )


GOOD = cv2.imencode('.png', np.full((HEIGHT, WIDTH), 500, np.uint16))[1].tobytes()
ODD_FILES = {
    'bomb': (bomb(40000, 40000, 0), '40000 x 40000 pixels'),
    'tall bomb': (bomb(1, 2**31 - 1, 0), '2147483647 pixels'),
    'no size': (bomb(0, 5), '0 x 5 pixels'),
    'cut': (GOOD[:60], 'cut short'),
    'flipped': (GOOD[:50] + b'x' + GOOD[51:], 'cut short or damaged'),
    'no end': (GOOD[:-12], 'cut short'),
    'short of rows': (bomb(9, 9, 3), 'OpenCV can read'),
    'header': (GOOD[:20], 'is a PNG image'),
    'exr': (bytes.fromhex('762f3101020000') + bytes(400), 'OpenEXR'),
    'empty': (b'', 'is empty'),
    'zeros': (bytes(500), 'all zeros'),
    'text': (b'sorry', "text that begins 'sorry'"),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'a Git LFS pointer'),
    'jpeg': (cv2.imencode('.jpg', np.zeros((9, 9), np.uint8))[1].tobytes(), 'a JPEG image'),
    'tiff': (cv2.imencode('.tiff', np.zeros((9, 9), np.uint16))[1].tobytes(), 'a TIFF image'),
    'random': (np.random.default_rng(0).bytes(500), 'no PNG'),
    '8 bit': (
        cv2.imencode('.png', np.zeros((9, 9, 3), np.uint8))[1].tobytes(),
        '3 channel(s) of uint8',
    ),
    '1 bit': (
        cv2.imencode('.png', np.zeros((9, 9), np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes(),
        '1 bits',
    ),
}


@pytest.mark.parametrize('content, words', ODD_FILES.values(), ids=ODD_FILES)
def test_an_odd_file_in_a_folder_is_left_out_and_named(content, words, tmp_path, capfd):
    for number in (1, 3):
        png(tmp_path / 'f' / f'{number}.png')
    (tmp_path / 'f' / '2.png').write_bytes(content)
    with opened(Recording(tmp_path / 'f', intrinsics=K)) as images:
        summary = track(images, PlainTracker(), Outputs(str(tmp_path / 'o.csv')))
    assert (summary.frames, summary.refused) == (2, 1)
    *others, line = capfd.readouterr().err.strip().splitlines()
    assert (
        line.startswith('left out: 2.png: ')
        and words in line
        and (not others or 'Not enough image data' in others[0])
    )


def unpacked_bomb(name, start):
    """A chunk that unpacks to 60 MB."""
    return chunk(name, start + zlib.compress(bytes(60_000_000)))


@pytest.mark.parametrize(
    'extra',
    [
        unpacked_bomb(b'zTXt', b'k\0\0'),
        unpacked_bomb(b'iCCP', b'k\0\0'),
        chunk(b'iCCP', b'k\0\0damaged'),
        chunk(b'tRNS', b'\1\364'),  # 500 is transparent
        chunk(b'gAMA', struct.pack('>I', 45455)),
        chunk(b'sBIT', b'\14'),
        chunk(b'acTL', struct.pack('>II', 2, 0)),  # an animation
        chunk(b'eXIf', b'MM\0*'),
    ],
    ids=lambda extra: f'{extra[4:8].decode()}-{len(extra)}',
)
def test_chunks_that_are_no_pixels_do_not_matter(extra, tmp_path, capfd):
    (tmp_path / 'a.png').write_bytes(GOOD[:33] + extra + GOOD[33:])
    (frame,) = DepthImages([tmp_path / 'a.png'], lambda *_: camera_info(0), [SECOND])
    assert (frame.load()[0] == 500).all() and capfd.readouterr().err == ''


DAMAGED_ROWS = {
    'filter': (b'\x09' + bytes(2 * WIDTH)) * HEIGHT,
    'short': bytes((1 + 2 * WIDTH) * HEIGHT - 1),
    'none': b'',
}


@pytest.mark.parametrize('rows', DAMAGED_ROWS.values(), ids=DAMAGED_ROWS)
def test_images_whose_pixels_are_damaged_flood_no_log(rows, capfd):
    """libpng and OpenCV print a line for each, and cannot be told not to."""
    head = struct.pack('>IIBBBBB', WIDTH, HEIGHT, 16, 0, 0, 0, 0)
    data = GOOD[:8] + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + GOOD[-12:]
    for _ in range(100):
        assert decode_png16(memoryview(data), WIDTH, HEIGHT) is None
    assert len(capfd.readouterr().err.splitlines()) <= 2
    assert (decode_png16(memoryview(GOOD), WIDTH, HEIGHT) == 500).all()


def test_folders_pipes_and_vanished_files_among_images_are_left_out(tmp_path, capfd):
    for name in ('1', '6'):
        png(tmp_path / 'f' / f'{name}.png')
    (tmp_path / 'f' / '2.png').mkdir()
    os.mkfifo(tmp_path / 'f' / '3.png')
    (tmp_path / 'f' / '4.png').symlink_to('nowhere')
    (tmp_path / 'f' / '5.png').symlink_to('5.png')
    with opened(Recording(tmp_path / 'f', intrinsics=K)) as images:
        assert track(images, PlainTracker(), Outputs(str(tmp_path / 'o.csv'))).refused == 4
    said = capfd.readouterr().err
    assert (
        'left out: 2.png: it is a folder' in said
        and 'left out: 3.png: it is no regular file' in said
    )
    assert 'left out: 4.png: it is not there any more' in said


def test_a_bomb_takes_no_memory(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / 'a.png').write_bytes(bomb(30000, 30000, 500))
    (frame,) = DepthImages([tmp_path / 'a.png'], None, [SECOND])
    with pytest.raises(BadInputError, match='30000 x 30000'):
        frame.load()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # [kB]


@pytest.mark.parametrize(
    'text',
    [
        'roi: 3\nk: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nwidth: 3\nheight: 3',
        'camera_matrix: 5',
        'fx: [1]\nfy: 1\ncx: 1\ncy: 1',
        'fx: .inf\nfy: 1\ncx: 1\ncy: 1\nwidth: .inf',
        '[' * 5000,
        '\x00',
        'a: &x [*x]',
        'k: null',
    ],
)
def test_camera_files_of_any_content_are_a_value_error(text, tmp_path, monkeypatch, capsys):
    png(tmp_path / 'a.png')
    for name, content in (
        ('k.yaml', text.encode()),
        ('k.json', text.encode()),
        ('k.yml', b'\xff\xfe\x00'),
    ):
        (tmp_path / name).write_bytes(content)
        assert (
            in_process(
                monkeypatch, 'track', tmp_path / 'a.png', '--intrinsics', tmp_path / name, '-o', '-'
            )
            == 1
        )
        assert 'Traceback' not in capsys.readouterr().err


# ---- bags


def storage_file(folder):
    (file,) = (path for path in folder.iterdir() if path.suffix in ('.mcap', '.db3'))
    return file


def depths(path, **options):
    return [int(depth[0, 0]) for _, depth, _ in loaded(path, **options)]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize(
    'metadata',
    [
        None,
        '',
        'rosbag2_bagfile_information: {version: 10, relative_file_paths: [gone.mcap]}',
        '{',
        '3',
        "rosbag2_bagfile_information: {storage_identifier: ''}",
        '\x00',
    ],
)
def test_a_bag_without_good_metadata_is_read(storage, metadata, tmp_path):
    folder = usual(tmp_path / 'b', storage=storage)
    (folder / 'metadata.yaml').unlink() if metadata is None else (
        folder / 'metadata.yaml'
    ).write_text(metadata)
    assert depths(folder) == [500, 600, 700]
    with opened(Recording(folder)) as images:
        assert len(images) == 3


@pytest.mark.parametrize('identifier', ["''", 'unheard_of', 'sqlite3'])
def test_any_storage_identifier_is_read(identifier, tmp_path):
    metadata = usual(tmp_path / 'b') / 'metadata.yaml'
    metadata.write_text(
        re.sub('storage_identifier: .*', f'storage_identifier: {identifier}', metadata.read_text())
    )
    assert depths(tmp_path / 'b') == [500, 600, 700]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_compressed_files_are_read(storage, tmp_path):
    file = storage_file(usual(tmp_path / 'b', storage=storage))
    packed = file.with_name(file.name + '.zstd')
    packed.write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    assert depths(tmp_path / 'b') == depths(packed) == [500, 600, 700]
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(ValueError, match='not a ROS 2 bag that can be read'):
        depths(packed)


@pytest.mark.parametrize(
    'mode', [CompressionMode.MESSAGE, CompressionMode.FILE, CompressionMode.STORAGE]
)
def test_bags_of_every_compression_are_read(mode, tmp_path):
    writer = Writer(tmp_path / 'b', version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        for topic, message in (
            ('/d/camera_info', camera_info(SECOND)),
            ('/d/image', depth_image(SECOND)),
        ):
            kind = message.__msgtype__
            writer.write(
                writer.add_connection(topic, kind, typestore=typestore()),
                SECOND,
                typestore().serialize_cdr(message, kind),
            )
    assert depths(tmp_path / 'b') == [500]
    (tmp_path / 'b' / 'metadata.yaml').unlink()
    assert depths(tmp_path / 'b') == [500]


def test_a_split_bag_is_read_in_order_and_a_missing_part_is_named(tmp_path):
    folder = tmp_path / 'split'
    folder.mkdir()
    parts = {10: 700, 9: 600, 1: 500}
    for number, depth in parts.items():
        recorded(
            tmp_path / f'{number}',
            [('/d/camera_info', camera_info(SECOND))] * (number == 1)
            + [('/d/image', depth_image(number * SECOND, depth))],
        )
        shutil.copy(storage_file(tmp_path / f'{number}'), folder / f'split_{number}.mcap')
    assert depths(folder) == [500, 600, 700]
    (folder / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information: {relative_file_paths: [split_1.mcap, split_9.mcap, '
        'split_10.mcap]}'
    )
    (folder / 'split_9.mcap').unlink()
    with pytest.raises(ValueError, match='lacks split_9.mcap, which its metadata.yaml lists'):
        depths(folder)
    (folder / 'metadata.yaml').unlink()
    assert depths(folder) == [500, 700]


def mcap_record(op, data):
    return bytes([op]) + struct.pack('<Q', len(data)) + data


def text(value):
    return struct.pack('<I', len(value)) + value


def foreign_mcap(path, encoding=b'jsonschema', message_encoding=b'json', topic=b'/d/image'):
    """Our messages without an index, beside a channel of another encoding and one of a type that
    nobody knows.
    """

    def channel(number, schema, topic, encoding, metadata=b''):
        return mcap_record(
            4, struct.pack('<HH', number, schema) + text(topic) + text(encoding) + text(metadata)
        )

    def schema(number, name, encoding, data):
        return mcap_record(3, struct.pack('<H', number) + text(name) + text(encoding) + text(data))

    kinds = b'sensor_msgs/msg/CameraInfo', b'sensor_msgs/msg/Image'
    records = [
        mcap_record(1, text(b'ros2') + text(b'')),
        schema(1, kinds[0], b'ros2msg', b'no definition at all ('),
        schema(2, kinds[1], b'', b''),
        schema(3, b'foxglove.Log', encoding, b'{}'),
        schema(4, b'my_msgs/msg/Secret', b'ros2msg', b'x y z'),
        channel(
            1, 1, b'/d/camera_info', b'cdr', text(b'offered_qos_profiles') + text(b'- what: [')
        ),
        channel(2, 2, b'/d/image', b'cdr'),
        channel(3, 3, topic, message_encoding),
        channel(4, 4, b'/secret', b'cdr'),
    ]
    for number, message in ((1, camera_info(SECOND)), (2, depth_image(2 * SECOND))):
        data = bytes(typestore().serialize_cdr(message, message.__msgtype__))
        records.append(
            mcap_record(5, struct.pack('<HIQQ', number, 0, number * SECOND, number * SECOND) + data)
        )
    records += [
        mcap_record(5, struct.pack('<HIQQ', number, 0, 3 * SECOND, 3 * SECOND) + b'{"a": 1}')
        for number in (3, 4)
    ]
    footer = mcap_record(2, struct.pack('<QQI', 0, 0, 0))
    magic = b'\x89MCAP0\r\n'
    path.write_bytes(magic + b''.join(records) + mcap_record(15, bytes(4)) + footer + magic)


@pytest.mark.parametrize('encoding', [b'jsonschema', b'protobuf', b'flatbuffer', b'unknown', b''])
def test_foreign_channels_and_unknown_types_beside_ours_do_not_matter(encoding, tmp_path):
    foreign_mcap(tmp_path / 'f.mcap', encoding)
    assert depths(tmp_path / 'f.mcap') == [500]


def test_a_database_with_types_that_nobody_knows_is_read(tmp_path):
    folder = usual(tmp_path / 'b', storage='sqlite3')
    with sqlite3.connect(storage_file(folder)) as database:
        database.execute(
            "UPDATE message_definitions SET encoding = 'unknown', encoded_message_definition = ''"
        )
        database.execute(
            "INSERT INTO topics VALUES (99, '/odd', 'my_msgs/msg/Secret', 'protobuf', 'nonsense: "
            "[', '')"
        )
        database.execute(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (99, 5, 'no bytes')"
        )
    database.close()
    assert depths(folder) == [500, 600, 700]


def test_what_a_recorder_left_in_the_log_of_a_database_is_read(tmp_path):
    folder = usual(tmp_path / 'b', storage='sqlite3')
    file = storage_file(folder)
    database = sqlite3.connect(file)
    database.execute('PRAGMA journal_mode=WAL')
    topic, data = database.execute(
        'SELECT topic_id, data FROM messages ORDER BY timestamp DESC'
    ).fetchone()
    with database:
        database.execute(
            'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)',
            (topic, 9 * SECOND, data),
        )
    (tmp_path / 'copy').mkdir()
    for path in folder.glob('*.db3*'):  # as killed: the log is still there
        shutil.copy(path, tmp_path / 'copy' / path.name)
    database.close()
    assert depths(tmp_path / 'copy') == [500, 600, 700, 700]


def test_a_file_of_a_killed_recorder_names_the_remedy(tmp_path):
    file = storage_file(usual(tmp_path / 'b'))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(
        ValueError, match='b.mcap was not written to its end.*mcap recover b.mcap -o NEW.mcap'
    ):
        depths(file)


@pytest.mark.parametrize(
    'content, words',
    [
        (b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS pointer'),
        (b'', 'is empty'),
        (b'<html>', 'a web page'),
        (bytes(999), 'all zeros'),
        (b'#ROSBAG V2.0\n', 'ROS 1'),
    ],
)
@pytest.mark.parametrize('name', ['b.mcap', 'b.db3'])
def test_what_a_file_of_a_bag_is_instead(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match=words), opened(Recording(path)):
            pass


def test_depths_of_a_bag_are_scaled(tmp_path, monkeypatch, capsys):
    folder = usual(tmp_path / 'b')
    assert depths(folder, scale=0.25) == [125, 150, 175]
    for scale in ('0', '-3', 'nan', 'inf'):
        assert in_process(monkeypatch, 'track', folder, '--depth-scale', scale, '-o', '-') == 1
        assert 'the depth scale must be positive' in capsys.readouterr().err


def test_what_files_are(tmp_path):
    for content, kind in (
        (b'\xef\xbb\xbf  <!DOCTYPE HTML>', 'a web page'),
        (b'\x1f\x8b\x08', 'a gzip archive'),
        (b'PK\x03\x04', ''),
        (b'Not Found\n', "text that begins 'Not Found"),
    ):
        (tmp_path / 'x').write_bytes(content)
        assert kind in describe_file(tmp_path / 'x')
    assert describe_file(tmp_path / 'none') == describe_file(tmp_path) == ''
