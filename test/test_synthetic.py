"""Rendered crops and frames: the same picture in training as at run time, noisy as sensors do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awr_ros import camera as pinhole
from awr_ros.camera import Intrinsics
from awr_ros.crop import crop_hand
from awr_ros.skeleton import PALM, palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.synthetic.clutter import (
    boxes,
    ellipsoids,
    held_things,
    random_clutter,
    random_heads,
    random_objects,
)
from awr_ros.synthetic.crop_batch import CropBatch
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.crops import BEHIND_ARM, CropSource
from awr_ros.synthetic.hand import FOREARM, forward_kinematics, procedural_skin, random_shapes
from awr_ros.synthetic.lost_parts import lose_fingers, lose_spots
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import (
    _close_padded,
    close_pinholes,
    looking_at,
    pad_by_one,
    splat_crops,
    splat_image,
    uvdn_to_xyz,
    window3,
    xyz_to_uvdn,
)
from awr_ros.synthetic.sensor import NoiseBank, random_sensor

VGA = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)
WIDE = Intrinsics(fx=350.0, fy=350.0, cx=799.5, cy=599.5, width=1600, height=1200)


def placed(z, seed=0, aside=(50.0, -30.0)):
    """A random hand at a distance: skin (3,N) of the camera's dense cloud, joints (21,3), camera
    frame.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = random_shapes(1, generator)
    frames, joints = forward_kinematics(shapes, random_poses(1, generator))
    pose = torch.eye(4)[None]
    pose[0, :3, :3] = random_rotations(1, generator, 'cpu')[0]
    pose[0, :3, 3] = torch.tensor([*aside, z])
    return (
        procedural_skin(1.5, 260.0).posed(shapes, frames, pose)[0],
        joints[0] @ pose[0, :3, :3].T + pose[0, :3, 3],
    )


@pytest.mark.parametrize(
    'z, seed, aside, camera',
    [
        (450.0, 1, (50.0, -30.0), VGA),
        (520.0, 2, (50.0, -30.0), VGA),
        (600.0, 3, (50.0, -30.0), VGA),
        (600.0, 4, (50.0, -30.0), VGA),
        (400.0, 5, (340.0, 170.0), WIDE),
        (300.0, 7, (-330.0, 250.0), WIDE),
    ],
)  # 44 and 54 degrees off the axis
def test_training_crops_show_what_the_crop_of_an_image_shows(z, seed, aside, camera):
    """splat_crops against crop_hand of splat_image: the same points, so the same silhouette and
    depth.
    """
    points, joints = placed(z, seed, aside)
    centre = palm_centre(joints)
    trained = splat_crops(points[None], centre[None], torch.tensor([280.0]), 128)[0, 0].numpy()
    crop = crop_hand(splat_image(points, camera, 2.25).numpy(), camera, centre.numpy(), 280.0, 128)
    one, two = trained < 0.99, crop.depth < 0.99
    assert one.mean() > 0.1
    assert (one & two).sum() > 0.93 * (one | two).sum()
    off_mm = np.abs(trained - crop.depth)[one & two] * 140
    # the rest is at outlines between fingers
    assert np.median(off_mm) < 1 and (off_mm < 5).mean() > 0.93
    joints_uvdn = xyz_to_uvdn(joints[None], centre[None], torch.tensor([280.0]))[0].numpy()
    np.testing.assert_allclose(
        crop.uvdn_from_uvd(camera.xyz_to_uvd(joints.double().numpy())), joints_uvdn, atol=1e-5
    )


def test_xyz_to_uvdn_of_the_cube():
    centre, cube = torch.tensor([[0.0, 0.0, 400.0]]), torch.tensor([200.0])
    # At the centre's own depth the window is the cube; farther things shrink towards the optical
    # axis.
    xyz = torch.tensor(
        [
            [
                [0.0, 0.0, 400.0],
                [100.0, 0.0, 400.0],
                [0.0, -100.0, 400.0],
                [60.0, -40.0, 500.0],
                [-60.0, 40.0, 380.0],
            ]
        ]
    )
    expected = [[0, 0, 0], [1, 0, 0], [0, -1, 0], [0.48, -0.32, 1], [-0.6 / 0.95, 0.4 / 0.95, -0.2]]
    uvdn = xyz_to_uvdn(xyz, centre, cube)
    np.testing.assert_allclose(uvdn[0], expected, atol=1e-6)
    np.testing.assert_allclose(uvdn_to_xyz(uvdn, centre, cube), xyz, atol=1e-4)


def test_cameras_that_look_at_many_centres_are_those_that_look_at_each():
    centres = torch.tensor([[0.0, 0.0, 300.0], [200.0, -100.0, 500.0], [-700.0, 300.0, 250.0]])
    rotations, distances = looking_at(centres)
    for centre, rotation, distance in zip(centres.numpy(), rotations, distances):
        np.testing.assert_allclose(rotation, pinhole.looking_at(centre), atol=1e-6)
        assert distance == pytest.approx(np.linalg.norm(centre))
    xyz = centres[:, None] + 80 * torch.randn(3, 21, 3, generator=torch.Generator().manual_seed(0))
    cube = torch.tensor([280.0, 250.0, 310.0])
    np.testing.assert_allclose(
        uvdn_to_xyz(xyz_to_uvdn(xyz, centres, cube), centres, cube), xyz, atol=1e-3
    )


def test_splats_keep_the_nearest_point_clamp_in_front_and_drop_behind():
    centre, cube = torch.tensor([[0.0, 0.0, 500.0]]), torch.tensor([200.0])
    patch = torch.cartesian_prod(torch.arange(-9.0, 9.5, 1), torch.arange(-9.0, 9.5, 1)).T

    def sheet(x, z):
        return torch.cat([patch + torch.tensor([[x], [0.0]]), torch.full((1, patch.shape[1]), z)])

    points = torch.cat(
        [sheet(-60.0, 520.0), sheet(-60.0, 450.0), sheet(0.0, 390.0), sheet(60.0, 601.0)], 1
    )[None]
    depth = splat_crops(points, centre, cube, 64)[0, 0]
    middle = depth[30:34]
    # 450, at u = 32 - 60/100*32*500/450 = 10.7
    assert middle[:, 10].tolist() == pytest.approx([-0.5] * 4)
    assert middle[:, 32].tolist() == [-1] * 4
    assert (middle[:, 46:] == 1).all()


def test_pinholes_close_and_outlines_stay():
    depth = torch.ones(12, 12)
    depth[3:9, 3:9] = 0.2
    holed = depth.clone()
    holed[5, 5] = holed[6, 6:8] = 1.0
    padded = torch.nn.functional.pad(holed[None, None], (2, 2, 2, 2), value=torch.inf)
    torch.testing.assert_close(_close_padded(padded)[0, 0], depth)
    torch.testing.assert_close(close_pinholes(holed), depth)


def test_crops_and_images_are_closed_alike():
    image = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    image[image > 0.7] = torch.inf
    padded = torch.nn.functional.pad(image[None, None], (2, 2, 2, 2), value=torch.inf)
    torch.testing.assert_close(close_pinholes(image.clone()), _close_padded(padded)[0, 0])


@pytest.mark.parametrize('z, reach', [(300.0, 100), (900.0, 34)])
def test_surfaces_have_no_holes_however_near_they_are(z, reach):
    generator = torch.Generator().manual_seed(0)
    grid = torch.arange(-40, 40, 2.0)
    corners = torch.cartesian_prod(grid, grid) + 0.8 * torch.rand(1600, 2, generator=generator)
    sharp = Intrinsics(fx=900.0, fy=900.0, cx=319.5, cy=239.5, width=640, height=480)
    depth = splat_image(torch.cat([corners, torch.full((1600, 1), z)], 1).t(), sharp, 2.0)
    assert (depth[240 - reach : 240 + reach, 320 - reach : 320 + reach] == z).all()
    assert torch.isinf(depth[:, :180]).all()


def test_windows_are_poolings():
    image = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    padded = pad_by_one(image)
    torch.testing.assert_close(
        window3(padded, torch.maximum), torch.nn.functional.max_pool2d(image, 3, 1, 1)
    )
    torch.testing.assert_close(
        window3(padded, torch.minimum), -torch.nn.functional.max_pool2d(-image, 3, 1, 1)
    )


# Surroundings and sensors


def test_solids_lie_where_geometry_says():
    """A ball, and a box turned by 45 degrees about the vertical, which shows its edge."""
    size, still = 64, torch.eye(3)[None]
    axis = 2 * (torch.arange(size) + 0.5) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    ball = ellipsoids(size, torch.tensor([[0.1, -0.2, 0.3]]), torch.full((1, 3), 0.5), still)[0]
    height = 0.25 - (x - 0.1) ** 2 - (y + 0.2) ** 2
    hit = height > 1e-4
    torch.testing.assert_close(ball[hit], 0.3 - height[hit].sqrt(), atol=1e-4, rtol=0)
    assert ball[height < -1e-4].isinf().all()
    turn = torch.tensor([[[0.5**0.5, 0, 0.5**0.5], [0, 1, 0], [-(0.5**0.5), 0, 0.5**0.5]]])
    box = boxes(size, torch.tensor([[0.0, 0.0, 0.1]]), torch.tensor([[0.4, 0.3, 0.4]]), turn)[0]
    reach = 0.4 * 2**0.5
    inside = (y.abs() < 0.3) & (x.abs() < reach - 1e-3)
    torch.testing.assert_close(box[inside], (0.1 - reach + x.abs())[inside], atol=1e-5, rtol=0)
    assert box[(y.abs() > 0.3) | (x.abs() > reach)].isinf().all()


def test_heads_fill_crops_without_covering_all_of_them():
    depth = random_heads(torch.full((16,), 280.0), 64, torch.Generator().manual_seed(0))
    assert (
        depth.shape == (16, 1, 64, 64)
        and torch.isfinite(depth).all()
        and depth.min() >= -1
        and depth.max() <= 1
    )
    seen = (depth < 0.99).flatten(1).float().mean(1)
    assert seen.mean() > 0.15 and (seen < 0.99).all()


@pytest.fixture(scope='module')
def clean():
    """48 hands without surroundings: depth, distance, cube, joints."""
    generator = torch.Generator().manual_seed(7)
    shapes = random_shapes(48, generator)
    frames, joints = forward_kinematics(shapes, random_poses(48, generator))
    pose = torch.eye(4).repeat(48, 1, 1)
    pose[:, :3, :3] = random_rotations(48, generator, 'cpu')
    pose[:, 2, 3] = torch.linspace(300, 900, 48)
    joints = joints @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
    centre, cube = palm_centre(joints), torch.full((48,), 280.0)
    return (
        splat_crops(procedural_skin(2.5).posed(shapes, frames, pose), centre, cube, 128),
        centre[:, 2],
        cube,
        xyz_to_uvdn(joints, centre, cube),
    )


def test_sensor_noise_keeps_most_of_the_hand_and_its_depth(clean):
    depth, z, cube, _ = clean
    generator = torch.Generator().manual_seed(0)
    noisy = random_sensor(depth, z, cube, generator, NoiseBank(128, generator, images=64))
    assert (
        noisy.shape == depth.shape
        and torch.isfinite(noisy).all()
        and noisy.min() >= -1
        and noisy.max() <= 1
    )
    before, after = depth < 0.99, noisy < 0.99
    kept = (before & after).sum((1, 2, 3)) / before.sum((1, 2, 3))
    assert kept.mean() > 0.8 and kept.min() > 0.25
    grown = (after & ~before).sum((1, 2, 3)) / before.sum((1, 2, 3))
    assert grown.mean() < 0.2
    off_mm = (noisy - depth)[before & after] * 140
    assert off_mm.median().abs() < 1 and 0.3 < off_mm.abs().median() < 6
    assert not (after & ~before).all(-1).any()  # nothing appears where no hand is near
    assert (noisy != depth).flatten(1).any(1).all()


def test_clutter_hides_at_most_a_quarter_of_a_hand(clean):
    depth, *_ = clean
    seen = random_clutter(depth, torch.Generator().manual_seed(0), hidden=0.25)
    assert torch.isfinite(seen).all() and seen.min() >= -1 and seen.max() <= 1
    assert (seen <= depth).all()
    hand = depth < 0.99
    share = ((seen < depth - 0.01) & hand).sum((1, 2, 3)) / hand.sum((1, 2, 3))
    assert share.max() <= 0.25 and share.max() > 0
    changed = (seen != depth).flatten(1).any(1).float().mean()
    assert 0.2 < changed < 0.9  # some have surroundings, some have none


def test_held_things_are_in_the_hand_and_hide_less_than_half_of_it(clean):
    depth, _, _, joints = clean
    seen = held_things(depth, joints, torch.Generator().manual_seed(0), share=0.7)
    assert torch.isfinite(seen).all() and (seen <= depth).all()
    held = (seen < depth - 0.01)[:, 0]
    hand = (depth < 0.99)[:, 0]
    assert ((held & hand).sum((1, 2)) <= 0.45 * hand.sum((1, 2))).all()
    chosen = held.flatten(1).any(1)
    assert 0.4 < chosen.float().mean() < 0.75
    assert (held & ~hand).flatten(1).any(1)[chosen].float().mean() > 0.3  # reaches beyond the hand
    for mask, of_hand in zip(held[chosen], joints[chosen]):
        y, x = (2 * (i.float() + 0.5) / len(mask) - 1 for i in mask.nonzero().unbind(1))
        apart = torch.stack([x, y], 1)[:, None] - of_hand[None, :, :2]
        assert apart.norm(dim=2).min() < 0.25  # 35 mm


def test_a_lost_finger_is_gone_and_the_rest_of_the_hand_stays(clean):
    depth, _, _, joints = clean
    seen = lose_fingers(
        depth, joints, torch.Generator().manual_seed(0), torch.full((len(depth),), 0.8)
    )
    hand, gone = (depth < 0.99)[:, 0], (seen != depth)[:, 0]
    assert (seen[:, 0][gone] == 1).all()
    chosen = gone.flatten(1).any(1)
    assert 0.5 < chosen.float().mean() < 0.9
    assert (gone.sum((1, 2)) < 0.6 * hand.sum((1, 2))).all()
    fingers = joints[:, 1:].view(-1, 5, 4, 3)
    for mask, image, of_hand in zip(gone[chosen], depth[chosen], fingers[chosen]):
        y, x = mask.nonzero().unbind(1)
        uv = 2 * (torch.stack([x, y], 1).float() + 0.5) / len(mask) - 1
        points = torch.cat([uv, image[0][mask][:, None]], 1)
        # Each is near one or two fingers, along which there are points every few millimetres.
        along = torch.stack(
            [
                of_hand[:, i] + part * (of_hand[:, i + 1] - of_hand[:, i])
                for i in range(3)
                for part in torch.linspace(0, 1, 12)
            ],
            1,
        )  # (5,36,3)
        apart = (points[:, None, None] - along).norm(dim=-1).amin(2)  # (n,5)
        assert apart.amin(1).max() < 0.19  # 27 mm
        assert len(apart.argmin(1).unique()) <= 2


def test_no_finger_is_lost_without_a_share(clean):
    depth, _, _, joints = clean
    assert torch.equal(
        lose_fingers(depth, joints, torch.Generator(), torch.zeros(len(depth))), depth
    )


def test_one_finger_is_lost_or_two_whole_or_in_part(clean):
    depth, _, _, joints = (part.repeat_interleave(8, 0) for part in clean)
    share = torch.ones(len(depth))
    gone = (lose_fingers(depth, joints, torch.Generator().manual_seed(1), share) != depth)[:, 0]
    fingers = joints[:, 1:].view(-1, 5, 4, 3)
    middles = (fingers[:, :, :-1] + fingers[:, :, 1:]) / 2  # of the bones (B,5,3,3)
    counts, parts = [], []
    for mask, image, of_hand in zip(gone, depth, middles):
        y, x = mask.nonzero().unbind(1)
        uv = 2 * (torch.stack([x, y], 1).float() + 0.5) / len(mask) - 1
        points = torch.cat([uv, image[0][mask][:, None]], 1)
        apart = (points[:, None, None] - of_hand).norm(dim=-1)  # (n,5,3)
        bones = torch.bincount(apart.flatten(1).argmin(1), minlength=15).view(5, 3) > 12
        counts.append(int(bones.any(1).sum()))
        parts += bones[bones.any(1)].sum(1).tolist()
    # A point near a neighbour's bone may be taken for one of the neighbour.
    assert counts.count(1) > counts.count(2) > 20 and max(counts) <= 3 and counts.count(3) < 10
    assert {1, 2, 3} <= set(parts)


@pytest.mark.parametrize('stereo', [0.0, 1.0])
def test_training_hands_lose_fingers_and_nothing_else_does(stereo):
    config = CropConfig(size=64, stereo=stereo, negative_share=0.5, clutter=False)
    whole, lost = (CropSource(3, replace(config, lost=share)).draw(16) for share in (0.0, 1.0))
    whole, lost = (batch[batch.cube_mm.argsort()] for batch in (whole, lost))  # in one order
    assert torch.equal(whole.joints_uvdn, lost.joints_uvdn)
    gone = (whole.depth != lost.depth)[:, 0]
    assert not gone[~whole.hand].any() and (lost.depth[:, 0][gone] == 1).all()
    assert gone[whole.hand].flatten(1).any(1).float().mean() > 0.7
    for mask, joints in zip(gone[whole.hand], whole.joints_uvdn[whole.hand]):
        y, x = (2 * (i.float() + 0.5) / len(mask) - 1 for i in mask.nonzero().unbind(1))
        apart = torch.stack([x, y], 1)[:, None] - joints[None, 1:, :2]
        assert not len(x) or apart.norm(dim=2).amin(1).max() < 0.3  # near joints of fingers


def test_a_spot_of_light_hides_a_part_of_the_palm_and_leaves_enough(clean):
    depth, _, _, joints = (part.repeat_interleave(4, 0) for part in clean)
    share = torch.full((len(depth),), 0.7)
    seen = lose_spots(depth, joints, torch.Generator().manual_seed(0), share)
    gone = (seen != depth)[:, 0]
    assert (seen[:, 0][gone] == 1).all()
    chosen = gone.flatten(1).any(1)
    assert 0.3 < chosen.float().mean() <= 0.7
    for mask, of_hand in zip(gone[chosen], joints[chosen]):
        y, x = (2 * (i.float() + 0.5) / len(mask) - 1 for i in mask.nonzero().unbind(1))
        apart = (torch.stack([x, y], 1)[:, None] - of_hand[None, PALM, :2]).norm(dim=2)
        assert apart.min() < 0.35  # around a joint of the palm
    hidden = gone.sum((1, 2)) / (depth < 0.99)[:, 0].sum((1, 2))
    assert hidden.max() > 0.3 and hidden[chosen].mean() < 0.6


def test_a_hand_whose_joints_are_all_in_the_spot_is_left_whole(clean):
    depth, _, _, joints = clean
    share, generator = torch.ones(len(depth)), torch.Generator().manual_seed(2)
    assert not torch.equal(lose_spots(depth, joints, generator, share), depth)
    near = joints[:, :1] + 0.01 * joints  # all within a few millimetres
    assert torch.equal(lose_spots(depth, near, generator, share), depth)


def test_spots_are_on_hands_and_on_crops_without_one():
    config = CropConfig(size=64, negative_share=0.5, clutter=False)
    whole, lit = (CropSource(3, replace(config, spots=share)).draw(64) for share in (0.0, 1.0))
    assert torch.equal(whole.joints_uvdn, lit.joints_uvdn)
    gone = (whole.depth != lit.depth).flatten(1).any(1)
    assert gone[whole.hand].float().mean() > 0.3 and gone[~whole.hand].float().mean() > 0.2


def test_things_without_a_hand_are_finite_and_not_empty():
    depth = random_objects(32, 64, torch.Generator().manual_seed(0))
    assert (
        depth.shape == (32, 1, 64, 64)
        and torch.isfinite(depth).all()
        and depth.min() >= -1
        and depth.max() <= 1
    )
    assert ((depth < 0.99).flatten(1).any(1)).float().mean() > 0.8


def test_noise_bank_refuses_batches_larger_than_itself():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match='at most 4, got 5'):
        NoiseBank(16, generator, images=4).draw('white', 5)


# Training crops

SMALL = CropConfig(size=64)


def fields(batch):
    return [getattr(batch, name) for name in CropBatch.__dataclass_fields__]


def test_crop_source_repeats_for_a_seed_and_not_otherwise():
    one, two, other = (CropSource(seed, SMALL) for seed in (3, 3, 4))
    for _ in range(2):
        a, b, c = one.draw(8), two.draw(8), other.draw(8)
        assert all(torch.equal(x, y) for x, y in zip(fields(a), fields(b)))
        assert not torch.equal(a.depth, c.depth) and not torch.equal(a.joints_uvdn, c.joints_uvdn)


def test_no_joint_is_nearer_than_a_camera_sees_and_no_hand_right_behind_its_arm():
    source = CropSource(
        6, CropConfig(size=32, near_mm=140, far_mm=160, upright=0.0, negative_share=0.0)
    )
    batch = source.draw(256)
    joints = uvdn_to_xyz(batch.joints_uvdn, batch.centre_xyz, batch.cube_mm)
    nearest = joints[..., 2].amin(1)
    assert nearest.min() > 129.9 and (nearest < 130.1).float().mean() > 0.2  # some would have been
    frames, _ = forward_kinematics(
        random_shapes(512, source.generator), random_poses(512, source.generator)
    )
    elbow = source._views(512, frames, 200.0, 1200.0)[:, :3, :3] @ frames[:, FOREARM, :3, :1]
    assert elbow[:, 2].min() >= BEHIND_ARM and elbow[:, 2].max() > 0.95


def test_crop_source_gives_finite_crops_with_joints_on_the_hand():
    batch = CropSource(0, SMALL).draw(256)
    assert all(torch.isfinite(x).all() for x in fields(batch))
    assert batch.depth.min() >= -1 and batch.depth.max() <= 1
    assert 0.81 * 280 < batch.cube_mm.min() and batch.cube_mm.max() < 1.19 * 280
    assert 0.07 < 1 - batch.hand.float().mean() < 0.22
    posed = batch.hand
    assert palm_centre(batch.joints_uvdn)[posed].abs().max() < 0.8  # centred to within 60 mm
    # Under most joints' own pixel there is a surface, and it is not behind them.
    joints, depth = batch.joints_uvdn[posed], batch.depth[posed, 0]
    at = ((joints[..., :2] + 1) * 32).long()
    inside = ((at >= 0) & (at < 64)).all(-1)
    at = at.clamp(0, 63)
    surface = depth[torch.arange(len(depth))[:, None], at[..., 1], at[..., 0]]
    seen = inside & (surface < 0.99)
    assert seen[inside].float().mean() > 0.75
    assert (surface < joints[..., 2] + 0.05)[seen].float().mean() > 0.95


def test_crops_without_a_hand_are_as_many_as_asked_for():
    assert CropSource(0, CropConfig(size=64, negative_share=0.0)).draw(64).hand.all()
    none = CropSource(0, CropConfig(size=64, negative_share=1.0)).draw(64)
    assert not none.hand.any()
    off = (
        palm_centre(uvdn_to_xyz(none.joints_uvdn, none.centre_xyz, none.cube_mm)) - none.centre_xyz
    )
    assert off.norm(dim=-1).min() > 60  # whatever hand is near is not in the middle


# The camera


@pytest.fixture(scope='module')
def camera():
    return SyntheticCamera(num_hands=2, seed=1)


def test_camera_repeats_for_a_seed_and_time(camera):
    depth, hands = camera.frame(1.234)
    again, hands_again = SyntheticCamera(num_hands=2, seed=1).frame(1.234)
    np.testing.assert_array_equal(depth, again)
    assert all((a.joints_xyz == b.joints_xyz).all() for a, b in zip(hands, hands_again))
    assert (camera.frame(1.3)[0] != depth).any() and (
        SyntheticCamera(num_hands=2, seed=2).frame(1.234)[0] != depth
    ).any()


def test_camera_gives_millimetres_and_the_sides_it_says(camera):
    for t in (0.0, 2.0, 7.7):
        depth, hands = camera.frame(t)
        assert (
            depth.dtype == np.uint16
            and depth.shape == (480, 640)
            and 250 < depth[depth > 0].min() < 700
        )
        assert [hand.side for hand in hands] == ['right', 'left']
        assert (
            np.linalg.norm(palm_centre(hands[0].joints_xyz) - palm_centre(hands[1].joints_xyz))
            > 100
        )
    assert [hand.side for hand in SyntheticCamera(num_hands=1).frame(0.0)[1]] == ['right']
    with pytest.raises(ValueError, match='got 3'):
        SyntheticCamera(num_hands=3)


def test_camera_moves_without_jumps(camera):
    track = np.stack(
        [np.stack([hand.joints_xyz for hand in camera.frame(10 + i / 30)[1]]) for i in range(8)]
    )
    assert np.linalg.norm(np.diff(track, axis=0), axis=-1).max() < 60  # 1.8 m/s at a fingertip
    assert np.linalg.norm(track[-1] - track[0], axis=-1).max() > 2


def test_a_single_hand_stays_in_the_image():
    camera = SyntheticCamera(seed=2)
    joints = np.stack([camera.frame(t)[1][0].joints_uvd for t in np.arange(0, 40, 5.1)])
    assert joints[..., :2].min() > 0 and joints[..., 0].max() < 639 and joints[..., 1].max() < 479


def test_true_joints_lie_under_the_surface_the_camera_sees(camera):
    behind, seen = [], 0
    for t in np.arange(0, 12, 2.0):
        depth, hands = camera.frame(t)
        for hand in hands:
            np.testing.assert_allclose(
                hand.joints_uvd, camera.intrinsics.xyz_to_uvd(hand.joints_xyz), atol=1e-2
            )
            u, v = np.rint(hand.joints_uvd[:, :2]).astype(int).T
            # fingers of a second hand may leave the image
            inside = (u >= 0) & (u < 640) & (v >= 0) & (v < 480)
            surface = depth[v[inside], u[inside]].astype(float)
            hit = (surface > 0) & (surface < 1300)  # neither lost nor the wall
            behind.append((hand.joints_xyz[inside, 2] - surface)[hit])
            seen += hit.mean()
    behind = np.concatenate(behind)
    assert seen / 12 > 0.9
    assert (behind > -3).mean() > 0.99  # joints are in the flesh, not before it
    assert 4 < np.median(behind) < 25  # and not deep behind it, but where fingers hide one another
    assert (behind < 40).mean() > 0.75


def test_aligned_crops_have_the_hand_point_about_up():
    def rolls(upright):
        batch = CropSource(4, CropConfig(upright=upright, negative_share=0.0)).draw(64)
        towards = batch.joints_uvdn[:, [5, 9, 13, 17], :2].mean(1) - batch.joints_uvdn[:, 0, :2]
        return torch.atan2(towards[:, 0], -towards[:, 1]).abs()

    assert rolls(1.0).median() < 0.2 < 1.0 < rolls(0.0).median()
