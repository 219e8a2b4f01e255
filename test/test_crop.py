"""The crop and the way back: both must agree to the pixel, and bad depth must become background."""

import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics, looking_at
from awr_ros.crop import crop_along_axes, crop_hand
from awr_ros.skeleton import in_plane_rotation

VGA = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)
UNEQUAL = Intrinsics(fx=500.0, fy=380.0, cx=301.2, cy=252.7, width=640, height=480)
COARSE = Intrinsics(fx=120.0, fy=121.0, cx=79.3, cy=60.1, width=160, height=120)
# 63 degrees to each side
WIDE = Intrinsics(fx=250.0, fy=262.0, cx=503.0, cy=498.0, width=1000, height=1000)


def blank(intrinsics, value=0.0):
    return np.full((intrinsics.height, intrinsics.width), value, np.float32)


def cell_centres(size):
    """Uvdn (u, v) of all crop pixels (S,S,2)."""
    axis = 2 * (np.arange(size) + 0.5) / size - 1
    return np.stack(np.meshgrid(axis, axis), -1)


def at(degrees, way=0.7, distance=450.0):
    """A point [mm] so many degrees off the optical axis."""
    angle = np.radians(degrees)
    return distance * np.array(
        [np.sin(angle) * np.cos(way), np.sin(angle) * np.sin(way), np.cos(angle)]
    )


@pytest.mark.parametrize('cut', [crop_hand, crop_along_axes])
@pytest.mark.parametrize('intrinsics', [VGA, UNEQUAL, COARSE])
@pytest.mark.parametrize('cube', [280.0, (300.0, 250.0, 200.0)])
@pytest.mark.parametrize('roll', [0.0, 2.1])
@pytest.mark.parametrize('degrees', [0, 4, 30, 60])
def test_round_trips_are_exact(cut, intrinsics, cube, roll, degrees):
    crop = cut(blank(intrinsics, 500), intrinsics, at(degrees), cube, 32, roll)
    uvdn = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 21, 3))
    np.testing.assert_allclose(crop.uvdn_from_uvd(crop.uvd_from_uvdn(uvdn)), uvdn, atol=1e-9)
    uvd = crop.uvd_from_uvdn(uvdn)
    np.testing.assert_allclose(crop.uvd_from_uvdn(crop.uvdn_from_uvd(uvd)), uvd, rtol=1e-9)


@pytest.mark.parametrize(
    'point',
    [
        (0.0, 0.0, 500.0),
        (1e-9, 0.0, 500.0),
        (-90.0, 40.0, 300.0),
        (0.0, 700.0, 400.0),
        (800.0, -300.0, 60.0),
    ],
)
def test_the_camera_looks_at_a_point_by_the_least_turn(point):
    rotation, distance = looking_at(point), np.linalg.norm(point)
    np.testing.assert_allclose(rotation @ point, [0, 0, distance], atol=1e-9 * distance)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    # of a turn by the angle off the axis
    assert np.trace(rotation) == pytest.approx(1 + 2 * point[2] / distance)


@pytest.mark.parametrize('roll', [0.0, 0.6])
@pytest.mark.parametrize('degrees', [0, 20, 45, 60])
def test_uvdn_is_metric_in_the_frame_of_the_camera_that_looks_at_the_centre(degrees, roll):
    centre, cube = at(degrees), np.array([300.0, 250.0, 200.0])
    crop = crop_hand(blank(WIDE, 500), WIDE, centre, cube, 32, roll)
    uvdn = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    x, y, z = looking_at(centre) @ WIDE.uvd_to_xyz(crop.uvd_from_uvdn(uvdn)).T
    c, s = np.cos(roll), np.sin(roll)
    np.testing.assert_allclose(z, 450 + 100 * uvdn[:, 2])
    np.testing.assert_allclose(x / z * 450, 150 * (c * uvdn[:, 0] - s * uvdn[:, 1]))
    np.testing.assert_allclose(y / z * 450, 125 * (s * uvdn[:, 0] + c * uvdn[:, 1]))


def test_uvdn_corners_along_the_axes_are_the_window_and_the_cube():
    crop = crop_along_axes(
        blank(UNEQUAL, 500), UNEQUAL, (20.0, -30.0, 400.0), (300.0, 250.0, 200.0), 64
    )
    u0, v0, u1, v1 = crop.window
    np.testing.assert_allclose(
        crop.uvd_from_uvdn([[-1, -1, -1], [1, 1, 1]]),
        [[u0 - 0.5, v0 - 0.5, 300], [u1 - 0.5, v1 - 0.5, 500]],
    )


@pytest.mark.parametrize(
    'cut, off_px', [(crop_hand, 1e-9), (crop_along_axes, 1)]
)  # the latter's windows are whole pixels
@pytest.mark.parametrize('intrinsics', [VGA, UNEQUAL])
@pytest.mark.parametrize('centre', [(0.0, 0.0, 500.0), (40.0, -25.0, 500.0)])
def test_window_is_the_cube_seen_at_its_centre(cut, off_px, intrinsics, centre):
    crop = cut(blank(intrinsics, 500), intrinsics, centre, 280.0, 128)
    u0, v0, u1, v1 = crop.window
    # [px] a tilted outline is a little larger
    slant = 1 if centre[0] == 0 or cut is crop_along_axes else 7
    assert (
        abs(u1 - u0 - 280 * intrinsics.fx / 500) <= slant
        and abs(v1 - v0 - 280 * intrinsics.fy / 500) <= slant
    )
    centre = np.array(centre)
    assert (
        np.abs(crop.uvd_from_uvdn([0.0, 0.0, 0.0]) - intrinsics.xyz_to_uvd(centre)).max() <= off_px
    )


@pytest.mark.parametrize('degrees, roll', [(0, 0.8), (35, 0.0), (50, -2.0)])
def test_window_is_around_the_outline(degrees, roll):
    crop = crop_hand(blank(WIDE, 500), WIDE, at(degrees), 280.0, 32, roll)
    edge = np.linspace(-1, 1, 50)
    outline = np.concatenate(
        [
            np.stack(np.broadcast_arrays(*sides, 0.0), -1)
            for sides in ((edge, -1), (edge, 1), (-1, edge), (1, edge))
        ]
    )
    uvd = crop.uvd_from_uvdn(outline)
    u0, v0, u1, v1 = crop.window
    np.testing.assert_allclose(
        [u0, v0, u1, v1], [*uvd[:, :2].min(0) + 0.5, *uvd[:, :2].max(0) + 0.5], atol=0.51
    )


@pytest.mark.parametrize('size, roll', [(32, 0), (128, 0), (128, 0.6), (64, -2.5)])
@pytest.mark.parametrize('cut', [crop_hand, crop_along_axes])
@pytest.mark.parametrize(
    'intrinsics, centre',
    [
        (VGA, (0.0, 0.0, 500.0)),
        (VGA, (-260.0, 190.0, 520.0)),
        (UNEQUAL, (35.0, 10.0, 333.0)),
        (COARSE, (60.0, -50.0, 700.0)),
        (WIDE, (-700.0, 400.0, 480.0)),
    ],
)
def test_every_crop_pixel_shows_the_image_pixel_it_says(cut, intrinsics, centre, size, roll):
    """Depth that tells its own column, then its own row; windows finer and coarser than the crop,
    and over the border.
    """
    for axis in (0, 1):
        own = np.indices((intrinsics.height, intrinsics.width))[1 - axis].astype(np.float32)
        # A cube so deep that nothing is before or behind it.
        crop = cut(
            centre[2] + 0.1 * own - 30, intrinsics, centre, (280.0, 280.0, 4000.0), size, roll
        )
        uvd = crop.uvd_from_uvdn(np.concatenate([cell_centres(size), crop.depth[..., None]], -1))
        shown = (uvd[..., 2] + 30 - centre[2]) / 0.1
        seen = crop.depth < 1
        assert seen.mean() > 0.1
        assert np.abs(uvd[..., axis] - shown)[seen].max() <= 0.51
        outside = (
            (uvd[..., :2] < -0.5)
            | (uvd[..., :2] >= [intrinsics.width - 0.5, intrinsics.height - 0.5])
        ).any(-1)
        np.testing.assert_array_equal(seen, ~outside)


@pytest.mark.parametrize('intrinsics, u, v', [(VGA, 400, 200), (UNEQUAL, 240, 300)])
def test_a_bump_lands_where_its_uvdn_says(intrinsics, u, v):
    depth = blank(intrinsics)
    depth[v - 4 : v + 5, u - 4 : u + 5] = 470
    crop = crop_hand(depth, intrinsics, (10.0, -5.0, 500.0), 280.0, 128)
    rows, cols = np.nonzero(crop.depth < 0.99)
    uvdn = crop.uvdn_from_uvd([u, v, 470.0])
    assert abs((cols.mean() + 0.5) / 64 - 1 - uvdn[0]) < 1 / 64  # a pixel of the crop
    assert abs((rows.mean() + 0.5) / 64 - 1 - uvdn[1]) < 1 / 64
    # level in the image, not quite in the crop
    np.testing.assert_allclose(crop.depth[rows, cols], uvdn[2], atol=0.01)


@pytest.mark.parametrize('degrees', [15, 35, 55])
@pytest.mark.parametrize('roll', [0.0, 1.1])
def test_a_crop_off_the_axis_is_the_one_on_the_axis_of_the_camera_turned_to_it(degrees, roll):
    """A wavy surface, seen by two cameras at one place that look in different directions."""
    centre = at(degrees)
    turned_from_camera = looking_at(centre)

    def crop(centre_xyz, first_from_camera):
        """The crop around a point, from a camera that is turned against the first one and looks
        past the point by as much.
        """
        u, v = 350 * centre_xyz[:2] / centre_xyz[2]
        camera = Intrinsics(fx=350.0, fy=350.0, cx=449.5 - u, cy=449.5 - v, width=900, height=900)
        rays = camera.uvd_to_xyz(np.stack([*np.indices((900, 900))[::-1], np.ones((900, 900))], -1))
        distance = np.linalg.norm(rays, axis=-1)
        x, y, _ = np.moveaxis(
            rays @ (turned_from_camera @ first_from_camera).T / distance[..., None], -1, 0
        )
        surface = 450 + 30 * np.sin(12 * x) * np.cos(15 * y + 1)  # [mm] from the cameras' centre
        return crop_hand(
            (surface / distance).astype(np.float32), camera, centre_xyz, 280.0, 128, roll
        )

    aside, ahead = crop(centre, np.eye(3)), crop(turned_from_camera @ centre, turned_from_camera.T)
    assert ahead.centre_xyz[:2] == pytest.approx(0, abs=1e-9)
    shown = (aside.depth < 1) & (ahead.depth < 1)
    off_mm = 140 * np.abs(aside.depth - ahead.depth)[shown]
    # from the pixels nearest to the crop's
    assert shown.mean() > 0.9 and off_mm.mean() < 0.5 and off_mm.max() < 2.5


def test_rays_that_look_back_show_nothing():
    """Near and far off the axis a cube reaches behind the camera."""
    centre = np.array([200.0, 0.0, 60.0])
    crop = crop_hand(blank(WIDE, 60), WIDE, centre, 280.0, 64)
    u = crop.uvdn_from_uvd([WIDE.width - 0.5, WIDE.cy, 60.0])[0]
    seen = crop.depth < 1
    assert seen[:, :2].any() and not seen[:, int((u + 1) * 32) + 2 :].any()
    assert all(abs(side) < 1e7 for side in crop.window)


def test_a_centre_far_outside_the_image_gives_an_empty_crop():
    crop = crop_hand(blank(VGA, 500), VGA, (3000.0, -2000.0, 500.0), 280.0, 64)
    assert crop.foreground == 0 and (crop.depth == 1).all()


def test_faces_of_the_cube():
    depth = blank(VGA, 500)
    depth[:100], depth[100:200], depth[200:240], depth[240:280], depth[280:320] = (
        300,
        400,
        599,
        600,
        700,
    )
    crop = crop_hand(depth, VGA, (0.0, 0.0, 500.0), (500.0, 500.0, 200.0), 128)
    rows = {
        d: crop.depth[int(crop.uvdn_from_uvd([0, v, 0])[1] * 64 + 64)]
        for d, v in ((300, 50), (400, 150), (599, 220), (600, 260), (700, 300), (500, 400))
    }
    assert (rows[300] == -1).all()  # nearer than the front face clamps to it
    np.testing.assert_allclose(rows[400], -1)
    np.testing.assert_allclose(rows[599], 0.99, atol=1e-6)
    assert (rows[600] == 1).all() and (
        rows[700] == 1
    ).all()  # the back face and beyond is background
    np.testing.assert_allclose(rows[500], 0)


def test_uint16_and_float32_give_the_same_crop():
    depth = np.random.default_rng(1).integers(0, 900, (480, 640)).astype(np.uint16)
    one = crop_hand(depth, VGA, (0.0, 0.0, 500.0), 280.0, 128).depth
    two = crop_hand(depth.astype(np.float32), VGA, (0.0, 0.0, 500.0), 280.0, 128).depth
    assert one.dtype == two.dtype == np.float32 and one.min() == -1 and one.max() == 1
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('invalid', [0.0, np.nan, np.inf, -np.inf, -300.0])
def test_invalid_depth_is_background(invalid):
    crop = crop_hand(blank(VGA, invalid), VGA, (0.0, 0.0, 500.0), 280.0, 32)
    assert (crop.depth == 1).all() and crop.foreground == 0


@pytest.mark.parametrize(
    'change, expected, got',
    [
        ({'depth_mm': np.zeros((480, 639), np.float32)}, '(480, 640)', '(480, 639)'),
        ({'depth_mm': np.zeros((640, 480), np.float32)}, '(480, 640)', '(640, 480)'),
        ({'centre_xyz': (0.0, 0.0, 49.0)}, 'z >= 50', '49.0'),
        ({'centre_xyz': (0.0, np.nan, 500.0)}, 'centre_xyz', 'nan'),
        ({'centre_xyz': (0.0, 500.0)}, 'centre_xyz', '500.0'),
        ({'cube': 0.0}, 'cube must be positive', '0.'),
        ({'cube': (280.0, 280.0, np.nan)}, 'cube must be positive', 'nan'),
    ],
)
def test_misuse_is_named(change, expected, got):
    right = {
        'depth_mm': blank(VGA, 500),
        'intrinsics': VGA,
        'centre_xyz': (0.0, 0.0, 500.0),
        'cube': 280.0,
        'size': 32,
    }
    with pytest.raises(ValueError) as error:
        crop_hand(**{**right, **change})
    assert expected in str(error.value) and got in str(error.value)


@pytest.mark.parametrize('intrinsics', [VGA, UNEQUAL])
@pytest.mark.parametrize('roll', [-3.0, -1.2, 0.4, 2.0])
@pytest.mark.parametrize('degrees', [0, 30, 55])
def test_a_crop_turned_by_the_hands_roll_has_it_point_up(intrinsics, roll, degrees):
    centre = at(degrees)
    turned_from_camera = looking_at(centre)
    joints = np.zeros((21, 3)) + [20.0, -30.0, 450.0]
    # clockwise from up, v is down
    joints[1:] += np.array([80 * np.sin(roll), -80 * np.cos(roll), 0.0])
    np.testing.assert_allclose(in_plane_rotation(joints), roll, atol=1e-9)
    np.testing.assert_allclose(in_plane_rotation(torch.from_numpy(joints)), roll, atol=1e-9)
    joints = joints @ turned_from_camera  # as the camera sees it that is not turned
    crop = crop_hand(
        blank(intrinsics, 500),
        intrinsics,
        centre,
        280.0,
        64,
        in_plane_rotation(joints @ turned_from_camera.T),
    )
    wrist, fingers = crop.uvdn_from_uvd(intrinsics.xyz_to_uvd(joints))[:2]
    np.testing.assert_allclose(fingers - wrist, [0, -80 / 140, 0], atol=1e-9)
