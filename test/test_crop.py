"""The crop and the way back: both must agree to the pixel, and bad depth must become background."""
import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics
from awr_ros.crop import crop_hand
from awr_ros.skeleton import hand_roll

VGA = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)
UNEQUAL = Intrinsics(fx=500.0, fy=380.0, cx=301.2, cy=252.7, width=640, height=480)
COARSE = Intrinsics(fx=120.0, fy=121.0, cx=79.3, cy=60.1, width=160, height=120)


def blank(intrinsics, value=0.0):
    return np.full((intrinsics.height, intrinsics.width), value, np.float32)


def cell_centres(size):
    """uvdn (u, v) of all crop pixels (S,S,2)."""
    axis = 2 * (np.arange(size) + 0.5) / size - 1
    return np.stack(np.meshgrid(axis, axis), -1)


@pytest.mark.parametrize('intrinsics', [VGA, UNEQUAL, COARSE])
@pytest.mark.parametrize('cube', [280.0, (300.0, 250.0, 200.0)])
@pytest.mark.parametrize('roll', [0.0, 2.1])
def test_round_trips_are_exact(intrinsics, cube, roll):
    crop = crop_hand(blank(intrinsics, 500), intrinsics, (-31.7, 22.3, 487.0), cube, 128, roll)
    uvdn = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 21, 3))
    np.testing.assert_allclose(crop.uvdn_from_uvd(crop.uvd_from_uvdn(uvdn)), uvdn, atol=1e-12)
    uvd = uvdn * [100, 80, 90] + [200, 100, 500]
    np.testing.assert_allclose(crop.uvd_from_uvdn(crop.uvdn_from_uvd(uvd)), uvd, atol=1e-9)


def test_uvdn_corners_are_the_window_and_the_cube():
    crop = crop_hand(blank(UNEQUAL, 500), UNEQUAL, (20., -30., 400.), (300., 250., 200.), 64)
    u0, v0, u1, v1 = crop.window
    np.testing.assert_allclose(crop.uvd_from_uvdn([[-1, -1, -1], [1, 1, 1]]),
                               [[u0 - 0.5, v0 - 0.5, 300], [u1 - 0.5, v1 - 0.5, 500]])


@pytest.mark.parametrize('intrinsics', [VGA, UNEQUAL])
def test_window_is_the_cube_seen_at_its_centre(intrinsics):
    crop = crop_hand(blank(intrinsics, 500), intrinsics, (40., -25., 500.), 280.0, 128)
    u0, v0, u1, v1 = crop.window
    assert abs(u1 - u0 - 280 * intrinsics.fx / 500) <= 1 and abs(v1 - v0 - 280 * intrinsics.fy / 500) <= 1
    centre = intrinsics.xyz_to_uvd(np.array([40., -25., 500.]))
    # whole pixels: the window's ends are rounded, so the middle is at most a pixel off
    assert np.abs(crop.uvd_from_uvdn([0., 0., 0.]) - centre).max() <= 1


@pytest.mark.parametrize('size, roll', [(32, 0), (128, 0), (128, 0.6), (64, -2.5)])
@pytest.mark.parametrize('intrinsics, centre', [
    (VGA, (0., 0., 500.)), (VGA, (-260., 190., 520.)), (UNEQUAL, (35., 10., 333.)), (COARSE, (60., -50., 700.))])
def test_every_crop_pixel_shows_the_image_pixel_it_says(intrinsics, centre, size, roll):
    """Depth that tells its own column, then its own row; windows finer and coarser than the crop, and over the border."""
    for axis in (0, 1):
        own = np.indices((intrinsics.height, intrinsics.width))[1 - axis].astype(np.float32)
        crop = crop_hand(centre[2] + 0.1 * own - 30, intrinsics, centre, 280.0, size, roll)
        shown = (crop.depth * 140.0 + 30) / 0.1
        said = crop.uvd_from_uvdn(np.concatenate([cell_centres(size), np.zeros((size, size, 1))], -1))
        seen = crop.depth < 1
        assert seen.mean() > 0.1
        assert np.abs(said[..., axis] - shown)[seen].max() <= 0.51
        outside = ((said[..., :2] < -0.5) | (said[..., :2] >= [intrinsics.width - 0.5, intrinsics.height - 0.5])).any(-1)
        np.testing.assert_array_equal(seen, ~outside)


@pytest.mark.parametrize('intrinsics, u, v', [(VGA, 400, 200), (UNEQUAL, 240, 300)])
def test_a_bump_lands_where_its_uvdn_says(intrinsics, u, v):
    depth = blank(intrinsics)
    depth[v - 4:v + 5, u - 4:u + 5] = 470
    crop = crop_hand(depth, intrinsics, (10., -5., 500.), 280.0, 128)
    rows, cols = np.nonzero(crop.depth < 0.99)
    uvdn = crop.uvdn_from_uvd([u, v, 470.])
    assert abs((cols.mean() + 0.5) / 64 - 1 - uvdn[0]) < 1 / 64         # a pixel of the crop
    assert abs((rows.mean() + 0.5) / 64 - 1 - uvdn[1]) < 1 / 64
    np.testing.assert_allclose(crop.depth[rows, cols], uvdn[2], atol=1e-6)


def test_a_centre_far_outside_the_image_gives_an_empty_crop():
    crop = crop_hand(blank(VGA, 500), VGA, (3000., -2000., 500.), 280.0, 64)
    assert crop.foreground == 0 and (crop.depth == 1).all()


def test_faces_of_the_cube():
    depth = blank(VGA, 500)
    depth[:100], depth[100:200], depth[200:240], depth[240:280], depth[280:320] = 300, 400, 599, 600, 700
    crop = crop_hand(depth, VGA, (0., 0., 500.), (500., 500., 200.), 128)
    rows = {d: crop.depth[int(crop.uvdn_from_uvd([0, v, 0])[1] * 64 + 64)] for d, v in
            ((300, 50), (400, 150), (599, 220), (600, 260), (700, 300), (500, 400))}
    assert (rows[300] == -1).all()                      # nearer than the front face clamps to it
    np.testing.assert_allclose(rows[400], -1)
    np.testing.assert_allclose(rows[599], 0.99, atol=1e-6)
    assert (rows[600] == 1).all() and (rows[700] == 1).all()            # the back face and beyond is background
    np.testing.assert_allclose(rows[500], 0)


def test_uint16_and_float32_give_the_same_crop():
    depth = np.random.default_rng(1).integers(0, 900, (480, 640)).astype(np.uint16)
    one = crop_hand(depth, VGA, (0., 0., 500.), 280.0, 128).depth
    two = crop_hand(depth.astype(np.float32), VGA, (0., 0., 500.), 280.0, 128).depth
    assert one.dtype == two.dtype == np.float32 and one.min() == -1 and one.max() == 1
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('invalid', [0.0, np.nan, np.inf, -np.inf, -300.0])
def test_invalid_depth_is_background(invalid):
    crop = crop_hand(blank(VGA, invalid), VGA, (0., 0., 500.), 280.0, 32)
    assert (crop.depth == 1).all() and crop.foreground == 0


@pytest.mark.parametrize('change, expected, got', [
    ({'depth_mm': np.zeros((480, 639), np.float32)}, '(480, 640)', '(480, 639)'),
    ({'depth_mm': np.zeros((640, 480), np.float32)}, '(480, 640)', '(640, 480)'),
    ({'centre_xyz': (0., 0., 49.)}, 'z >= 50', '49.0'),
    ({'centre_xyz': (0., np.nan, 500.)}, 'centre_xyz', 'nan'),
    ({'centre_xyz': (0., 500.)}, 'centre_xyz', '500.0'),
    ({'cube': 0.0}, 'cube must be positive', '0.'),
    ({'cube': (280., 280., np.nan)}, 'cube must be positive', 'nan'),
])
def test_misuse_is_named(change, expected, got):
    right = {'depth_mm': blank(VGA, 500), 'intrinsics': VGA, 'centre_xyz': (0., 0., 500.), 'cube': 280.0, 'size': 32}
    with pytest.raises(ValueError) as error:
        crop_hand(**{**right, **change})
    assert expected in str(error.value) and got in str(error.value)


@pytest.mark.parametrize('intrinsics', [VGA, UNEQUAL])
@pytest.mark.parametrize('roll', [-3.0, -1.2, 0.4, 2.0])
def test_a_crop_turned_by_the_hands_roll_has_it_point_up(intrinsics, roll):
    joints = np.zeros((21, 3)) + [20., -30., 500.]
    joints[1:] += np.array([80 * np.sin(roll), -80 * np.cos(roll), 0.])       # clockwise from up, v is down
    np.testing.assert_allclose(hand_roll(joints), roll, atol=1e-9)
    np.testing.assert_allclose(hand_roll(torch.from_numpy(joints)), roll, atol=1e-9)
    crop = crop_hand(blank(intrinsics, 500), intrinsics, joints.mean(0), 280.0, 64, hand_roll(joints))
    wrist, fingers = crop.uvdn_from_uvd(intrinsics.xyz_to_uvd(joints))[:2]
    np.testing.assert_allclose(fingers - wrist, [0, -80 / 140, 0], atol=0.01)  # the window is cut at whole pixels
