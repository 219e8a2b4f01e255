"""From image messages to pinhole depth: compressed images as the transport packs them, lenses
against their equations.
"""

import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from awr_ros.messages.compressed_depth import depth_from_compressed
from awr_ros.messages.depth_camera import DepthCamera, scaled
from awr_ros.messages.depth_image import BadInputError

WIDTH, HEIGHT, F = 160, 120, 100.0
RATIONAL = [0.5, 0.2, 1e-3, -1e-3, 0.01, 0.8, 0.15, 0.02]


# Compressed images, packed here as the transport's codec.cpp does it


def compressed(pixels, format='16UC1; compressedDepth png', header=(0, 0.0, 0.0), cut=None):
    done, png = cv2.imencode('.png', pixels)
    assert done
    return SimpleNamespace(format=format, data=(struct.pack('<iff', *header) + png.tobytes())[:cut])


def inverse_depth(depth_m, depth_max=10.0, quantisation=100.0):
    """32FC1 as the transport's defaults quantise it."""
    a = np.float32(quantisation * (quantisation + 1))
    b = np.float32(1 - a / depth_max)
    near = depth_m < depth_max
    pixels = np.where(near, a / np.where(near & (depth_m > 0), depth_m, 1) + b, 0).astype(np.uint16)
    return compressed(pixels, '32FC1; compressedDepth png', (0, a, b))


@pytest.mark.parametrize(
    'format',
    ['16UC1; compressedDepth png', '16UC1; compressedDepth', '16UC1', 'mono16; compressedDepth '],
)
def test_16_bit_depth_comes_back_as_it_was(format):
    pixels = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    depth = depth_from_compressed(compressed(pixels, format))
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, pixels)


def test_float_depth_comes_back_within_a_step_of_the_quantisation():
    metres = np.linspace(0.2, 9.0, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    metres[0, :3] = np.nan, np.inf, 11.0
    depth = depth_from_compressed(inverse_depth(metres))
    assert depth.dtype == np.float32 and not depth[0, :3].any()
    step_mm = 1000 * metres**2 / 10100  # one step of q = 10100 / depth + B
    assert (np.abs(depth - 1000 * metres) <= 1.01 * step_mm).ravel()[3:].all()


PIXELS = np.full((4, 6), 500, np.uint16)
UNREADABLE = {
    'rvl': (
        dict(format='16UC1; compressedDepth rvl'),
        "codec 'rvl' is not supported.*format to png",
    ),
    'colour': (
        dict(format='rgb8; jpeg compressed bgr8'),
        "format is 'rgb8; jpeg.*expected one of 16UC1",
    ),
    'empty': (dict(cut=0), 'has 0 bytes'),
    'header only': (dict(cut=12), 'has 12 bytes'),
    'cut': (dict(cut=40), 'no PNG'),
    'quantisation': (
        dict(format='32FC1; compressedDepth png', header=(0, 0.0, 1.0)),
        'A = 0, B = 1',
    ),
}


@pytest.mark.parametrize('changes, words', UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named(changes, words):
    with pytest.raises(BadInputError, match=words):
        depth_from_compressed(compressed(PIXELS, **changes))


@pytest.mark.parametrize('pixels', [PIXELS.astype(np.uint8), np.zeros((4, 6, 3), np.uint16)])
def test_other_pngs_are_refused(pixels):
    with pytest.raises(BadInputError, match='expected one channel of 16 bits'):
        depth_from_compressed(compressed(pixels))


# A PNG that claims more than it is


def png(width=6, height=4, *, bits=16, colour=0, chunks=()):
    """A CompressedImage whose PNG claims a size, with its checksums in order and no pixels."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    data = struct.pack('<iff', 0, 0.0, 0.0) + b'\x89PNG\r\n\x1a\n'
    data += chunk(
        b'IHDR', struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    ) + b''.join(chunk(*c) for c in chunks)
    return SimpleNamespace(format='16UC1; compressedDepth png', data=data + chunk(b'IEND', b''))


@pytest.mark.parametrize(
    'width, height',
    [(30_000, 30_000), (2**31 - 1, 1), (8192, 8192), (2**32 - 1, 2**32 - 1), (1, 16_385)],
)
def test_a_png_that_claims_too_much_is_refused_by_its_header(monkeypatch, width, height):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('it was decoded'))
    with pytest.raises(BadInputError, match=f'compressed image is for {width} x {height} pixels'):
        depth_from_compressed(png(width, height))
    with pytest.raises(
        BadInputError, match='image is 5000 x 5000, but camera_info is for 160 x 120'
    ):
        DepthCamera(info()).depth_from(png(5000, 5000))


def other_format(suffix):
    done, data = cv2.imencode(suffix, np.full((64, 64), 500, np.uint16))
    assert done
    return SimpleNamespace(format='16UC1; compressedDepth png', data=bytes(12) + data.tobytes())


@pytest.mark.parametrize('suffix', ['.tiff', '.pgm', '.jp2'])
def test_what_is_no_png_is_refused_though_opencv_reads_it(suffix):
    with pytest.raises(BadInputError, match='is no PNG: it begins with '):
        depth_from_compressed(other_format(suffix))


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'chunks'])
def test_a_damaged_png_is_refused_without_a_word_from_the_library(capfd, damage):
    good = compressed(np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), np.uint16))
    data = bytearray(good.data)
    if damage == 'cut':
        del data[-500:]
    elif damage == 'flipped':
        data[len(data) // 2] ^= 4
    else:
        data = png(chunks=[(b'tEXt', b'')] * 70_000).data
    with pytest.raises(BadInputError, match='cut short or damaged|more than 65536 chunks'):
        depth_from_compressed(SimpleNamespace(format=good.format, data=bytes(data)))
    assert capfd.readouterr() == ('', '')


# Lenses


def info(model='plumb_bob', d=(0.0,) * 5, **changes):
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    fields = dict(
        width=WIDTH,
        height=HEIGHT,
        k=[F, 0, 79.5, 0, F, 59.5, 0, 0, 1],
        p=[0.0] * 12,
        d=list(d),
        distortion_model=model,
        binning_x=0,
        binning_y=0,
        roi=roi,
    )
    return SimpleNamespace(**{**fields, **changes})


def image(depth):
    return SimpleNamespace(
        encoding='16UC1',
        width=depth.shape[1],
        height=depth.shape[0],
        step=2 * depth.shape[1],
        is_bigendian=0,
        data=depth.tobytes(),
    )


def lens(model, d, x, y):
    """Distorted from ideal normalised coordinates: the equations of OpenCV's documentation, written
    out.
    """
    if model == 'equidistant':
        r = np.hypot(x, y)
        theta = np.arctan(r)
        bent = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d)))
        return x * bent / r, y * bent / r
    k1, k2, p1, p2, k3, k4, k5, k6 = (list(d) + [0.0] * 8)[:8]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


LENSES = {
    'plumb_bob': ('plumb_bob', [-0.2, 0.05, 1e-3, -2e-3, 0.0]),
    'rational_polynomial': ('rational_polynomial', RATIONAL),
    'equidistant': ('equidistant', [-0.02, 0.01, 0.0, 0.0]),
}


@pytest.mark.parametrize('model, d', LENSES.values(), ids=LENSES)
@pytest.mark.parametrize('binning', [1, 2])
def test_points_seen_through_a_lens_land_where_a_pinhole_would_see_them(model, d, binning):
    """Dots of 3 x 3 pixels, put where the lens shows them: undistorted each covers the pixel that a
    pinhole shows it at.
    """
    camera = DepthCamera(info(model, d, binning_x=binning, binning_y=binning))
    k = camera.intrinsics
    rng = np.random.default_rng(0)
    moved = 0.0
    for x, y in rng.uniform(-1, 1, (40, 2)) * [0.6, 0.45]:
        distorted = np.zeros((k.height, k.width), np.uint16)
        xd, yd = lens(model, d, x, y)
        column, row = round(k.fx * xd + k.cx), round(k.fy * yd + k.cy)
        moved = max(moved, np.hypot(k.fx * (xd - x), k.fy * (yd - y)))
        distorted[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 700
        assert (
            camera.depth_from(image(distorted))[round(k.fy * y + k.cy), round(k.fx * x + k.cx)]
            == 700
        )
    assert moved > 2, 'a lens that moves nothing tests nothing'


def test_no_depth_is_invented_at_edges():
    depth = np.full((HEIGHT, WIDTH), 400, np.uint16)
    depth[:, WIDTH // 2 :] = 900
    seen = DepthCamera(info('rational_polynomial', RATIONAL)).depth_from(image(depth))
    assert set(np.unique(seen)) <= {0, 400, 900} and seen.dtype == np.uint16


def test_ignored_and_absent_distortion_leave_the_image_alone():
    depth = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    for camera in (
        DepthCamera(info()),
        DepthCamera(info('', ())),
        DepthCamera(info('rational_polynomial', RATIONAL), 'ignore'),
        DepthCamera(info('unheard_of', [1.0]), 'ignore'),
    ):
        np.testing.assert_array_equal(camera.depth_from(image(depth)), depth)
    assert (
        DepthCamera(info('rational_polynomial', RATIONAL)).lens == 'rational_polynomial, undistort'
    )


def test_a_rectified_image_is_read_with_the_camera_that_it_was_rectified_to():
    p = [96.0, 0, 80.0, 0, 0, 97.0, 61.0, 0, 0, 0, 1, 0]
    for d, distortion, fx, cy in (
        (RATIONAL, 'ignore', 96, 61),
        (RATIONAL, 'undistort', F, 59.5),
        ([0.0] * 8, 'ignore', F, 59.5),
    ):
        k = DepthCamera(info('rational_polynomial', d, p=p), distortion).intrinsics
        assert (k.fx, k.cy) == (fx, cy)
    # P is not filled
    assert DepthCamera(info('rational_polynomial', RATIONAL), 'ignore').intrinsics.fx == F


def test_depths_in_another_unit_are_scaled():
    depth = np.array([[0, 1, 9000, 65535]], np.uint16)
    camera = DepthCamera(info(width=4, height=1, k=[3, 0, 1.5, 0, 3, 0, 0, 0, 1]), scale=0.1)
    seen = camera.depth_from(image(depth))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, [[0, 0.1, 900, 6553.5]], rtol=1e-6)
    assert (scaled(np.array([[1e36]], np.float32), 1e4) == 0).all()


ABSURD = {
    'focal length': dict(k=[1e-30, 0, 79.5, 0, 1e-30, 59.5, 0, 0, 1]),
    'tele': dict(k=[1e30, 0, 79.5, 0, 1e30, 59.5, 0, 0, 1]),
    'one axis': dict(k=[F, 0, 79.5, 0, 1e-3, 59.5, 0, 0, 1]),
    'principal point': dict(k=[F, 0, 1e6, 0, F, 59.5, 0, 0, 1]),
    'roi': dict(roi=SimpleNamespace(x_offset=2**31, y_offset=0, width=0, height=0)),
    'size': dict(width=2**32 - 1),
    'pixels': dict(width=10_000, height=10_000, k=[1e4, 0, 5e3, 0, 1e4, 5e3, 0, 0, 1]),
    'coefficients': dict(d=[1.0] * 10_000),
    'lens': dict(d=[1e300] * 5),
    'other lens': dict(d=[1e9, 0, 0, 0], model='equidistant'),
}


@pytest.mark.parametrize('changes', ABSURD.values(), ids=ABSURD)
def test_absurd_but_finite_cameras_are_refused(changes):
    depth = np.full((HEIGHT, WIDTH), 500, np.uint16)
    with pytest.raises(BadInputError, match='camera_info .*(expected|no lens)'):
        DepthCamera(info(**changes)).depth_from(image(depth))


@pytest.mark.parametrize(
    'k',
    [
        (2300, 2300, 1024, 768, 2048, 1536),
        (504, 504, 512, 512, 1024, 1024),
        (40, 40, 79.5, 59.5, 160, 120),
        (475, 475, -400, 200, 64, 64),
    ],
    ids=['structured light', 'wide', '127 degrees', 'cropped'],
)
def test_cameras_of_all_kinds_are_taken(k):
    fx, fy, cx, cy, width, height = k
    assert (
        DepthCamera(
            info(k=[fx, 0, cx, 0, fy, cy, 0, 0, 1], width=width, height=height)
        ).intrinsics.fx
        == fx
    )


def test_no_lens_is_said_so():
    assert DepthCamera(info()).lens == 'no distortion'


@pytest.mark.parametrize(
    'model, d, distortion, words',
    [
        ('rational_polynomial', RATIONAL, 'refuse', 'parameter distortion refuses'),
        (
            'fov',
            [0.9],
            'undistort',
            "'fov' with D = \\[0.9\\], expected finite coefficients of one of plumb_bob \\(4 or "
            '5\\)',
        ),
        ('plumb_bob', [0.1] * 8, 'undistort', 'plumb_bob'),
        ('plumb_bob', [float('nan')] * 5, 'undistort', 'nan'),
    ],
)
def test_lenses_that_cannot_be_undone_are_named(model, d, distortion, words):
    with pytest.raises(BadInputError, match=words):
        DepthCamera(info(model, d), distortion)


def test_size_is_checked_for_both_kinds_of_image():
    camera = DepthCamera(info())
    for message in (image(PIXELS), compressed(PIXELS)):
        with pytest.raises(BadInputError, match='image is 6 x 4, but camera_info is for 160 x 120'):
            camera.depth_from(message)
