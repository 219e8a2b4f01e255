"""Loaders of the public data sets, on tiny files written here bit by bit: every convention of the
formats, and damage.
"""

import struct
import zlib

import numpy as np
import pytest

from awr_ros.datasets import nyu
from awr_ros.datasets.hands17 import read_boxes
from awr_ros.datasets.loaders import load_frames
from awr_ros.datasets.specs import DATASETS
from awr_ros.datasets.text_files import read_table

scipy_io = pytest.importorskip('scipy.io')


def png(path, rows, colour):
    """A PNG by hand. rows: bytes of each row; colour: False: 16 bit grey, True: 8 bit red, green,
    blue.
    """
    bits, kind, bytes_a_pixel = (8, 2, 3) if colour else (16, 0, 2)

    def chunk(name, data):
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    header = struct.pack('>IIBBBBB', len(rows[0]) // bytes_a_pixel, len(rows), bits, kind, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows), 1))
        + chunk(b'IEND', b'')
    )


def numbers(count, seed=0):
    return np.random.default_rng(seed).uniform(-90, 90, count)


# ---- NYU


@pytest.fixture
def nyu_root(tmp_path):
    for split in ('train', 'test'):
        xyz = np.zeros((3, 2, 36, 3))
        xyz[0] = numbers((2, 36, 3)) + [0, 0, 700]
        xyz[1:] = 1e6  # the other views must not be used
        folder = tmp_path / split
        for i in range(2):
            blank = bytes(3 * 640)
            row = bytearray(blank)
            row[3 * 37 : 3 * 38] = bytes((99, 3, 5 + i))  # red is something else; depth 3 * 256 + 5
            png(
                folder / f'depth_1_{i + 1:07d}.png',
                [bytes(row) if v == 21 else blank for v in range(480)],
                colour=True,
            )
        fx, fy = 588.03, 587.07
        uvd = np.stack(
            [
                xyz[..., 0] / xyz[..., 2] * fx + 320,
                240 - xyz[..., 1] / xyz[..., 2] * fy,
                xyz[..., 2],
            ],
            -1,
        )
        scipy_io.savemat(folder / 'joint_data.mat', {'joint_xyz': xyz, 'joint_uvd': uvd})
        (tmp_path / f'center_{split}_refined.txt').write_text('1.5 20.25 700\n-3 -4 800.5\n')
    return tmp_path


def test_nyu(nyu_root):
    frames = load_frames('nyu', nyu_root, 'train')
    assert len(frames) == 2 and frames.cubes_mm.tolist() == [300, 300]
    depth = frames.depth_mm(1)
    assert depth.shape == (480, 640) and depth.dtype == np.float32
    assert depth[21, 37] == 3 * 256 + 6 and np.count_nonzero(depth) == 1
    ids = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
    content = scipy_io.loadmat(nyu_root / 'train' / 'joint_data.mat')
    # y down here
    np.testing.assert_allclose(frames.joints_xyz, content['joint_xyz'][0][:, ids] * [1, -1, 1])
    np.testing.assert_allclose(frames.joints_uvd(), content['joint_uvd'][0][:, ids])
    np.testing.assert_allclose(frames.centres_xyz, [[1.5, -20.25, 700], [-3, 4, 800.5]])


def test_the_oracle_cube_of_nyu_is_off_unless_asked_for_and_for_the_new_subjects_test_frames(
    nyu_root, monkeypatch
):
    assert nyu.SECOND_SUBJECT == 2440
    monkeypatch.setattr(nyu, 'SECOND_SUBJECT', 1)
    assert load_frames('nyu', nyu_root, 'test').cubes_mm.tolist() == [300, 300]
    assert load_frames('nyu', nyu_root, 'test', oracle_cube=True).cubes_mm.tolist() == [300, 250]
    assert load_frames('nyu', nyu_root, 'train', oracle_cube=True).cubes_mm.tolist() == [300, 300]


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda root: (root / 'train' / 'depth_1_0000002.png').unlink(), 'depth_1_0000002.png'),
        (lambda root: (root / 'train' / 'joint_data.mat').unlink(), 'joint_data.mat'),
        (
            lambda root: (root / 'train' / 'joint_data.mat').write_bytes(b'no matrix at all' * 20),
            'joint_data.mat cannot be read',
        ),
        (
            lambda root: scipy_io.savemat(
                root / 'train' / 'joint_data.mat', {'joint_uvd': np.zeros((3, 2, 36, 3))}
            ),
            'joint_xyz',
        ),
        (
            lambda root: scipy_io.savemat(
                root / 'train' / 'joint_data.mat', {'joint_xyz': np.zeros((3, 2, 31, 3))}
            ),
            r'\(N, 36, 3\)',
        ),
        (
            lambda root: (root / 'center_train_refined.txt').write_text('1 2 3\n4 5\n'),
            'center_train_refined.txt, line 2: expected 3 numbers, got 2',
        ),
        (
            lambda root: (root / 'center_train_refined.txt').write_text('1 2 3\n4 five 6\n'),
            "line 2: .*got 'five'",
        ),
        (
            lambda root: (root / 'center_train_refined.txt').write_text('1 2 700\n'),
            'has 1 lines, but there are 2 frames',
        ),
    ],
)
def test_missing_and_damaged_files_of_nyu_name_themselves(nyu_root, damage, message):
    damage(nyu_root)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        load_frames('nyu', nyu_root, 'train')


def test_a_damaged_image_names_itself(nyu_root):
    path = nyu_root / 'train' / 'depth_1_0000001.png'
    frames = load_frames('nyu', nyu_root, 'train')
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ValueError, match='depth_1_0000001.png'):
        frames.depth_mm(0)
    png(path, [bytes(30)] * 4, colour=True)
    with pytest.raises(ValueError, match='depth_1_0000001.png must be 640 x 480, got 10 x 4'):
        frames.depth_mm(0)


# ---- MSRA


def msra_gesture(folder, subject_offset=0.0):
    folder.mkdir(parents=True)
    labels = numbers((2, 21, 3)) + [0, 0, -400 - subject_offset]  # z is negative in the files
    folder.joinpath('joint.txt').write_text(
        '2\n' + '\n'.join(' '.join(f'{v:.6f}' for v in row.ravel()) for row in labels)
    )
    for i in range(2):
        box = np.arange(3 * 5, dtype=np.float32).reshape(3, 5) + 300 + 100 * i
        (folder / f'{i:06d}_depth.bin').write_bytes(
            struct.pack('<6i', 320, 240, 40, 70, 45, 73) + struct.pack('<15f', *box.ravel())
        )
    return labels


def test_msra(tmp_path):
    labels = msra_gesture(tmp_path / 'P2' / 'TIP')
    msra_gesture(tmp_path / 'P8' / '1', 50)
    frames = load_frames('msra', tmp_path, 'test', subject=2)
    assert len(frames) == 2 and frames.cubes_mm.tolist() == [200, 200]
    depth = frames.depth_mm(1)
    assert depth.shape == (240, 320) and np.count_nonzero(depth) == 15
    # rows of the box, from left and top
    assert depth[70, 40] == 400 and depth[70, 44] == 404 and depth[72, 40] == 410
    np.testing.assert_allclose(frames.joints_xyz, labels * [1, -1, -1], atol=1e-6)
    np.testing.assert_allclose(
        frames.joints_uvd()[..., 0], labels[..., 0] / -labels[..., 2] * 241.42 + 160, atol=1e-4
    )
    np.testing.assert_allclose(
        frames.joints_uvd()[..., 1], 120 - labels[..., 1] / -labels[..., 2] * 241.42, atol=1e-4
    )
    others = load_frames('msra', tmp_path, 'train', subject=2)
    assert len(others) == 2 and others.cubes_mm.tolist() == [150, 150]  # those of P8
    assert DATASETS['msra'].cube_mm == (200, 200, 200, 180, 180, 180, 170, 160, 150)


@pytest.mark.parametrize(
    'damage, message',
    [
        (
            lambda f: (f / 'joint.txt').write_text('3\n' + '1 ' * 63 + '\n'),
            'joint.txt, line 1: says 3 frames, but 1',
        ),
        (
            lambda f: (f / 'joint.txt').write_text('1 2 3\n'),
            'joint.txt, line 1: expected the number of frames',
        ),
        (
            lambda f: (f / 'joint.txt').write_text('2\n' + '1 ' * 63 + '\n' + '1 ' * 62),
            'joint.txt, line 3: expected 63 numbers, got 62',
        ),
        (lambda f: (f / 'joint.txt').unlink(), 'joint.txt'),
        (lambda f: (f / '000000_depth.bin').unlink(), '000000_depth.bin'),
        (
            lambda f: (f / '000000_depth.bin').write_bytes(b'short'),
            '000000_depth.bin must have a header of 24 bytes, got 5',
        ),
        (
            lambda f: (f / '000000_depth.bin').write_bytes(
                struct.pack('<6i', 320, 240, 40, 70, 45, 73)
            ),
            'must have 84 bytes .* got 24',
        ),
        (
            lambda f: (f / '000000_depth.bin').write_bytes(
                struct.pack('<6i', 320, 240, 45, 70, 40, 73)
            ),
            'must be within',
        ),
    ],
)
def test_missing_and_damaged_files_of_msra_name_themselves(tmp_path, damage, message):
    msra_gesture(tmp_path / 'P0' / '1')
    damage(tmp_path / 'P0' / '1')
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        load_frames('msra', tmp_path, 'test', subject=0).depth_mm(0)


def test_a_split_without_frames_is_refused(tmp_path):
    msra_gesture(tmp_path / 'P0' / '1')
    with pytest.raises(FileNotFoundError, match='train'):
        load_frames('msra', tmp_path, 'train', subject=0)


# ---- ICVL and HANDS17


def grey16(path, width, height, value):
    blank = bytes(2 * width)
    row = blank[: 2 * 11] + struct.pack('>H', value) + blank[2 * 12 :]
    png(path, [row if v == 7 else blank for v in range(height)], colour=False)


def test_icvl(tmp_path):
    uvd = numbers(48).reshape(16, 3) + [160, 120, 400]
    line = ' '.join(f'{v:.3f}' for v in uvd.ravel())
    for name in ('201403121135/image_0000.png', '22-5/201403121135/image_0000.png'):
        grey16(tmp_path / 'Training' / 'Depth' / name, 320, 240, 517)
    (tmp_path / 'Training' / 'labels.txt').write_text(
        f'201403121135/image_0000.png {line} \n22-5/201403121135/image_0000.png {line}\n'
    )
    frames = load_frames('icvl', tmp_path, 'train')
    assert len(frames) == 1 and frames.cubes_mm.tolist() == [250]  # without the turned copy
    depth = frames.depth_mm(0)
    assert depth[7, 11] == 517 and np.count_nonzero(depth) == 1
    np.testing.assert_allclose(frames.joints_uvd()[0], uvd, atol=1e-3)
    np.testing.assert_allclose(
        frames.joints_xyz[0, 3, 0], (uvd[3, 0] - 160) * uvd[3, 2] / 240.99, atol=1e-2
    )
    # y down
    np.testing.assert_allclose(
        frames.joints_xyz[0, 3, 1], (uvd[3, 1] - 120) * uvd[3, 2] / 240.96, atol=1e-2
    )
    with pytest.raises(FileNotFoundError, match='test_seq_1.txt'):
        load_frames('icvl', tmp_path, 'test')
    png(
        tmp_path / 'Training' / 'Depth' / '201403121135/image_0000.png',
        [bytes(960)] * 240,
        colour=True,
    )
    with pytest.raises(ValueError, match='image_0000.png must be a 16 bit grey image'):
        frames.depth_mm(0)


def test_hands17(tmp_path):
    xyz = numbers(63).reshape(21, 3) + [0, 0, 500]
    annotation = tmp_path / 'training' / 'Training_Annotation.txt'
    grey16(tmp_path / 'training' / 'images' / 'image_D00000001.png', 640, 480, 65535)
    annotation.write_text(
        'image_D00000001.png\t' + '\t'.join(f'{v:.4f}' for v in xyz.ravel()) + '\n'
    )
    frames = load_frames('hands17', tmp_path, 'train')
    assert frames.depth_mm(0)[7, 11] == 65535 and frames.cubes_mm.tolist() == [200]
    np.testing.assert_allclose(frames.joints_xyz[0], xyz, atol=1e-4)
    np.testing.assert_allclose(
        frames.joints_uvd()[0, :, 1], xyz[:, 1] / xyz[:, 2] * 475.065857 + 245.287079, atol=1e-2
    )
    with pytest.raises(ValueError, match='none to test on'):
        load_frames('hands17', tmp_path, 'test')
    annotation.write_text(annotation.read_text() + 'image_D00000002.png 1 2\n')
    with pytest.raises(
        ValueError, match='Training_Annotation.txt, line 2: expected 63 numbers after a name, got 2'
    ):
        load_frames('hands17', tmp_path, 'train')


def test_boxes_of_hands17(tmp_path):
    (tmp_path / 'BoundingBox.txt').write_text('a.png\t1\t2\t30\t40\nb.png 5 6 5 9\n')
    with pytest.raises(ValueError, match='b.png'):
        read_boxes(tmp_path / 'BoundingBox.txt')


def test_tables_take_commas_and_empty_lines(tmp_path):
    (tmp_path / 't.txt').write_text('1, 2,3\n\n4 5\t6\n')
    assert read_table(tmp_path / 't.txt', 3)[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    (tmp_path / 't.txt').write_text('1 2 nan\n')
    with pytest.raises(ValueError, match='line 1: expected finite numbers, got .nan'):
        read_table(tmp_path / 't.txt', 3)
    (tmp_path / 't.txt').write_text('\n')
    with pytest.raises(ValueError, match='no frames'):
        read_table(tmp_path / 't.txt', 3)
