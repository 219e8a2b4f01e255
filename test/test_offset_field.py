"""The dense field: against a reference written as loops from the paper, and what it promises."""

import math

import numpy as np
import pytest
import torch

from awr_ros.offset_field import decode, encode, remove_isolated
from awr_ros.synthetic.hand import forward_kinematics, mean_shapes, procedural_skin
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import splat_crops, xyz_to_uvdn

KERNEL = 0.8


def slow_point(depth, row, col, size):
    """Field pixel (row, col): the crop pixel that plain nearest picks, at the centre of the field
    pixel, over F.
    """
    step = depth.shape[0] // size
    return (
        2 * (col + 0.5) / size - 1,
        2 * (row + 0.5) / size - 1,
        float(depth[row * step, col * step]),
    )


def slow_encode(joints, depth, kernel, size):
    """One hand. joints (J,3), depth (S,S). Returns (4J,F,F)."""
    count = len(joints)
    field = np.zeros((4 * count, size, size))
    for row in range(size):
        for col in range(size):
            point = slow_point(depth, row, col, size)
            if point[2] >= 0.99:
                continue
            for j in range(count):
                offset = [float(joints[j][axis]) - point[axis] for axis in range(3)]
                distance = math.sqrt(sum(o * o for o in offset) + 1e-8)
                closeness = (kernel - distance) / kernel
                if closeness >= 0:
                    for axis in range(3):
                        field[3 * j + axis, row, col] = offset[axis] / distance
                    field[3 * count + j, row, col] = closeness
    return field


def slow_decode(field, depth, kernel):
    """One hand. field (4J,F,F), depth (S,S). Returns joints (J,3) and confidence (J)."""
    count, size = len(field) // 4, field.shape[-1]
    joints, confidence = np.zeros((count, 3)), np.zeros(count)
    for j in range(count):
        total, summed, best = 0.0, [0.0] * 3, 0.0
        for row in range(size):
            for col in range(size):
                point = slow_point(depth, row, col, size)
                votes = point[2] < 0.99
                closeness = float(field[3 * count + j, row, col]) if votes else 0.0
                weight = math.exp(30 * closeness)  # the background takes part, with closeness 0
                distance = kernel - kernel * closeness
                for axis in range(3):
                    direction = float(field[3 * j + axis, row, col]) if votes else 0.0
                    summed[axis] += weight * (direction * distance + point[axis])
                total += weight
                best = max(best, closeness)
        joints[j], confidence[j] = np.array(summed) / total, min(best, 1.0)
    return joints, confidence


def older_decode(field, depth, kernel):
    """Read-out on the grid of older public code: over F-1. One hand, numpy."""
    count, size = len(field) // 4, field.shape[-1]
    axis = 2 * (np.arange(size) + 0.5) / (size - 1) - 1
    step = depth.shape[0] // size
    points = np.stack([*np.meshgrid(axis, axis), depth[::step, ::step]]).reshape(3, -1)
    votes = points[2] < 0.99
    field = field.reshape(4 * count, -1) * votes
    joints = []
    for j in range(count):
        closeness = field[3 * count + j]
        weight = np.exp(30 * closeness)
        joints.append(
            ((field[3 * j : 3 * j + 3] * kernel * (1 - closeness) + points) * weight).sum(1)
            / weight.sum()
        )
    return np.array(joints)


@pytest.fixture(scope='module')
def hands():
    """Four rendered hands in a 280 mm cube: depth (4,1,128,128) and joints_uvdn (4,21,3)."""
    generator = torch.Generator().manual_seed(3)
    shapes = mean_shapes(4)
    frames, joints = forward_kinematics(shapes, random_poses(4, generator))
    pose = torch.eye(4).repeat(4, 1, 1)
    pose[:, :3, :3] = random_rotations(4, generator, 'cpu')
    pose[:, :3, 3] = torch.tensor([30.0, -20.0, 500.0])
    joints = joints @ pose[:, :3, :3].transpose(1, 2) + pose[:, None, :3, 3]
    centre, cube = joints.mean(1), torch.full((4,), 280.0)
    depth = splat_crops(procedural_skin(2.5).posed(shapes, frames, pose), centre, cube, 128)
    return depth, xyz_to_uvdn(joints, centre, cube)


def some_field(batch, joints, size, seed=0):
    """A field no encoder would write, so that every mask and factor shows."""
    generator = torch.Generator().manual_seed(seed)
    field = 0.4 * torch.randn(batch, 4 * joints, size, size, generator=generator)
    field[:, 3 * joints :: 2] *= 0.05  # nobody is near these: the background's weight shows
    return field


@pytest.mark.parametrize('kernel', [0.4, 0.8])
def test_encode_equals_the_loops(hands, kernel):
    depth, joints = hands
    field = encode(joints[:2], depth[:2], kernel, 16)
    for b in range(2):
        np.testing.assert_allclose(
            field[b], slow_encode(joints[b], depth[b, 0].numpy(), kernel, 16), atol=1e-5
        )


@pytest.mark.parametrize('size', [16, 32])
def test_decode_equals_the_loops_on_any_field(hands, size):
    depth, _ = hands
    field = some_field(2, 5, size)
    joints, confidence = decode(field, depth[:2], KERNEL)
    for b in range(2):
        joints_slow, confidence_slow = slow_decode(field[b].numpy(), depth[b, 0].numpy(), KERNEL)
        np.testing.assert_allclose(joints[b], joints_slow, atol=1e-5)
        np.testing.assert_allclose(confidence[b], confidence_slow, atol=1e-5)


def test_decode_shares_its_weight_with_the_background(hands):
    """Softmax runs over all F x F pixels: without closeness, the answer is the mean of all
    points.
    """
    depth, _ = hands
    joints, _ = decode(torch.zeros(1, 4, 32, 32), depth[:1], KERNEL)
    np.testing.assert_allclose(joints[0, 0], [0, 0, depth[0, 0, ::4, ::4].mean()], atol=1e-5)


# 32 is the field of the package's networks and the coarsest in use; 64 is the paper's.
@pytest.mark.parametrize('size', [32, 64])
def test_encode_then_decode_recovers_joints_below_a_millimetre(hands, size):
    depth, joints = hands
    pred, confidence = decode(encode(joints, depth, KERNEL, size), depth, KERNEL)
    error_mm = (pred - joints).norm(dim=-1) * 140
    visible = confidence > 0.8  # some skin within 22 mm of the joint
    assert visible.sum() > 0.6 * visible.numel()
    assert error_mm[visible].mean() < 0.1
    assert error_mm[visible].max() < 1


def test_older_grid_is_off_by_2_4_mm_at_the_centre_and_4_8_mm_at_the_edge():
    depth = torch.full((1, 1, 128, 128), 0.02)
    joints = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, 0.0]]])
    field = encode(joints, depth, KERNEL, 64)
    older = older_decode(field[0].numpy().astype(float), depth[0, 0].numpy(), KERNEL)
    off_mm = (older - joints[0].numpy()) * 150  # 300 mm cube; the last pixel is half one inside
    np.testing.assert_allclose(off_mm[0, :2], [2.4, 2.4], atol=0.1)  # centre
    np.testing.assert_allclose(off_mm[1, :2], [4.8, 2.4], atol=0.15)  # right edge
    np.testing.assert_allclose(off_mm[2, :2], [2.4, 4.8], atol=0.15)  # bottom edge
    np.testing.assert_allclose(off_mm[3, :2], [0.0, 0.0], atol=0.1)  # top left corner
    ours = decode(field, depth, KERNEL)[0]
    assert (ours - joints).abs().max() * 150 < 0.05


def test_gradients_are_right():
    generator = torch.Generator().manual_seed(5)
    depth = torch.rand(2, 1, 6, 6, generator=generator, dtype=torch.float64) - 0.5
    depth[:, :, :2] = 1.0
    field = 0.2 + 0.3 * torch.rand(2, 8, 3, 3, generator=generator, dtype=torch.float64)
    joints = torch.rand(2, 2, 3, generator=generator, dtype=torch.float64) - 0.5
    assert torch.autograd.gradcheck(lambda f: decode(f, depth, KERNEL), field.requires_grad_())
    assert torch.autograd.gradcheck(lambda j: encode(j, depth, KERNEL, 3), joints.requires_grad_())


def test_background_does_not_vote(hands):
    depth, _ = hands
    field = some_field(4, 21, 32)
    background = depth[:, :, ::4, ::4] >= 0.99
    other = torch.where(background, some_field(4, 21, 32, seed=1) * 5, field)
    for before, after in zip(decode(field, depth, KERNEL), decode(other, depth, KERNEL)):
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_encode_is_zero_on_the_background_and_beyond_the_radius(hands):
    depth, joints = hands
    field = encode(joints, depth, 0.3, 32)
    directions, closeness = field[:, :63].unflatten(1, (21, 3)), field[:, 63:]
    background = (depth[:, :, ::4, ::4] >= 0.99).expand_as(closeness)
    assert field.shape == (4, 84, 32, 32)
    assert not closeness[background].any() and closeness.min() >= 0 and closeness.max() <= 1
    length = directions.norm(dim=2)
    assert not length[closeness == 0].any()
    torch.testing.assert_close(
        length[closeness > 0], torch.ones(int((closeness > 0).sum())), atol=1e-3, rtol=0
    )


def test_confidence_is_the_highest_closeness_on_the_foreground():
    depth = torch.ones(1, 1, 8, 8)
    depth[..., 2:4, 2:4] = 0.0  # field pixel (1, 1) alone is foreground
    field = torch.zeros(1, 16, 4, 4)
    field[0, 12, 1, 1], field[0, 12, 3, 3] = 0.4, 0.9  # the higher claim is on the background
    field[0, 13, 1, 1], field[0, 14, 1, 1] = 1.7, -0.6  # out of range
    np.testing.assert_allclose(decode(field, depth, KERNEL)[1][0], [0.4, 1, 0, 0])


def test_a_joint_nobody_sees_has_no_confidence(hands):
    depth, joints = hands
    far = joints.clone()
    far[:, 7] += 3.0
    _, confidence = decode(encode(far, depth, KERNEL, 32), depth, KERNEL)
    assert not confidence[:, 7].any() and (confidence[:, :7] > 0).all()
    _, confidence = decode(torch.rand(4, 84, 32, 32), torch.ones_like(depth), KERNEL)
    assert not confidence.any()


def test_hands_of_a_batch_do_not_mix(hands):
    depth, joints = hands
    field = encode(joints, depth, KERNEL, 32)
    together = decode(field, depth, KERNEL)
    for b in range(4):
        alone = slice(b, b + 1)
        torch.testing.assert_close(encode(joints[alone], depth[alone], KERNEL, 32), field[alone])
        for one, all_ in zip(decode(field[alone], depth[alone], KERNEL), together):
            torch.testing.assert_close(one, all_[alone], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    'call, expected, got',
    [
        (
            lambda: encode(torch.zeros(21, 3), torch.ones(1, 1, 8, 8)),
            'joints_uvdn must be (B,J,3)',
            '(21, 3)',
        ),
        (
            lambda: encode(torch.zeros(1, 21, 2), torch.ones(1, 1, 8, 8)),
            'joints_uvdn must be (B,J,3)',
            '(1, 21, 2)',
        ),
        (
            lambda: encode(torch.zeros(1, 21, 3), torch.ones(1, 8, 8)),
            'depth must be (B,1,S,S)',
            '(1, 8, 8)',
        ),
        (
            lambda: decode(torch.zeros(1, 7, 4, 4), torch.ones(1, 1, 8, 8)),
            'field must be (B,4J,F,F)',
            '(1, 7, 4, 4)',
        ),
        (
            lambda: decode(torch.zeros(1, 8, 4, 5), torch.ones(1, 1, 8, 8)),
            'field must be (B,4J,F,F)',
            '(1, 8, 4, 5)',
        ),
        (
            lambda: decode(torch.zeros(1, 8, 4, 4), torch.ones(2, 1, 8, 8)),
            'depth must be (B,1,S,S)',
            '(2, 1, 8, 8)',
        ),
    ],
)
def test_wrong_shapes_are_named(call, expected, got):
    with pytest.raises(ValueError) as error:
        call()
    assert expected in str(error.value) and got in str(error.value)


def test_strays_become_background_and_thin_fingers_stay():
    depth = torch.ones(1, 1, 64, 64)
    depth[:, :, 10:50, 20:23] = 0.1  # a finger three pixels wide
    depth[:, :, :, 62:] = 0.1  # cut off by the border
    isolated = depth.clone()
    for v, u in ((60, 4), (60, 7), (57, 5), (40, 40)):
        isolated[:, :, v, u] = 0.5
    assert torch.equal(remove_isolated(isolated), depth)
