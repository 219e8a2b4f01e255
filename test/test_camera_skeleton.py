"""Cameras, the skeleton's conventions, and which hand is the right one."""

import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics
from awr_ros.skeleton import (
    BONES,
    JOINT_NAMES,
    NUM_JOINTS,
    PALM,
    PARENTS,
    TIPS,
    palm_centre,
    wrist_rotation,
)
from awr_ros.synthetic.hand import HandPose, forward_kinematics, mean_shapes
from awr_ros.synthetic.poses import POSTURES, thumb_roll

CAMERA = Intrinsics(fx=500.0, fy=380.0, cx=301.2, cy=252.7, width=640, height=480)


def test_projection_is_a_pinhole_with_x_right_and_y_down():
    np.testing.assert_allclose(
        CAMERA.xyz_to_uvd(np.array([100.0, -50.0, 400.0])), [301.2 + 125, 252.7 - 47.5, 400]
    )
    np.testing.assert_allclose(
        CAMERA.uvd_to_xyz(np.array([301.2, 252.7, 777.0])), [0, 0, 777], atol=1e-9
    )


def test_projection_and_back_is_exact_for_any_leading_shape():
    xyz = np.random.default_rng(0).uniform([-300, -200, 200], [300, 200, 1500], (4, 21, 3))
    np.testing.assert_allclose(
        CAMERA.uvd_to_xyz(CAMERA.xyz_to_uvd(xyz)), xyz, rtol=1e-12, atol=1e-9
    )
    np.testing.assert_allclose(CAMERA.xyz_to_uvd(xyz[1, 2]), CAMERA.xyz_to_uvd(xyz)[1, 2])


@pytest.mark.parametrize(
    'name, value',
    [
        ('fx', 0.0),
        ('fy', -475.0),
        ('fx', np.nan),
        ('cx', np.inf),
        ('cy', np.nan),
        ('width', 0),
        ('height', -1),
    ],
)
def test_impossible_cameras_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f'{name} must be .*{value}'):
        Intrinsics(
            **{
                'fx': 475.0,
                'fy': 475.0,
                'cx': 320.0,
                'cy': 240.0,
                'width': 640,
                'height': 480,
                name: value,
            }
        )


def test_names_bones_and_groups_agree():
    assert len(JOINT_NAMES) == len(PARENTS) == NUM_JOINTS == 21 and len(set(JOINT_NAMES)) == 21
    assert len(BONES) == 20 and sorted(child for _, child in BONES) == list(range(1, 21))
    assert all(parent < child for parent, child in BONES)
    for parent, child in BONES:  # a bone stays in its finger, or starts at the wrist
        assert parent == 0 or JOINT_NAMES[parent].split('_')[0] == JOINT_NAMES[child].split('_')[0]
    assert [JOINT_NAMES[j] for j in TIPS] == [
        f'{f}_tip' for f in ('thumb', 'index', 'middle', 'ring', 'pinky')
    ]
    assert not {parent for parent, _ in BONES} & set(TIPS)
    assert [JOINT_NAMES[j] for j in PALM] == [
        'wrist',
        'index_mcp',
        'middle_mcp',
        'ring_mcp',
        'pinky_mcp',
    ]


def test_order_is_mediapipes():
    assert [JOINT_NAMES[j] for j in (0, 1, 2, 3, 5, 6, 7, 12, 13, 20)] == [
        'wrist',
        'thumb_cmc',
        'thumb_mcp',
        'thumb_ip',
        'index_mcp',
        'index_pip',
        'index_dip',
        'middle_tip',
        'ring_mcp',
        'pinky_tip',
    ]


def test_palm_centre_takes_arrays_and_tensors():
    joints = np.random.default_rng(0).normal(size=(3, 21, 3))
    expected = (joints[:, 0] + joints[:, 5] + joints[:, 9] + joints[:, 13] + joints[:, 17]) / 5
    np.testing.assert_allclose(palm_centre(joints), expected)
    torch.testing.assert_close(palm_centre(torch.tensor(joints)), torch.tensor(expected))


def upright_right_hand(posture='spread'):
    """Joints (21,3) of a right hand, palm to the camera, fingers up, from the pose alone: the
    hand's x goes up the image and its back away from the camera; a rotation has no other choice for
    the third axis.
    """
    angles = torch.tensor([POSTURES[posture]], dtype=torch.float32)
    pose = HandPose(
        torch.deg2rad(angles), torch.deg2rad(thumb_roll(angles[:, 0, 1])), torch.zeros(1, 2)
    )
    joints = forward_kinematics(mean_shapes(1), pose)[1][0].double().numpy()
    up, away = np.array([0.0, -1, 0]), np.array([0.0, 0, 1])
    camera_from_hand = np.stack([up, np.cross(away, up), away], 1)
    assert np.linalg.det(camera_from_hand) == pytest.approx(1)
    return joints @ camera_from_hand.T + [0, 0, 500]


def test_chirality_a_right_hand_has_its_thumb_at_the_right_of_the_image():
    flat = CAMERA.xyz_to_uvd(upright_right_hand('spread'))
    u, v = flat[:, 0], flat[:, 1]
    assert (v[list(TIPS[1:])] < v[[5, 9, 13, 17]]).all() and (
        v[[5, 9, 13, 17]] < v[0]
    ).all()  # fingers up
    assert u[4] > u[2] > u[5] > u[9] > u[13] > u[17]
    assert u[4] > u[8] > u[12] > u[16] > u[20]
    # And it is the palm that we see: fingers and thumb bend towards the camera.
    fist = upright_right_hand('fist')
    assert (fist[[6, 10, 14, 18], 2] < fist[[5, 9, 13, 17], 2] - 20).all()
    assert fist[4, 2] < fist[1, 2] - 20


def mirrored(joints):
    return joints * [-1, 1, 1]


@pytest.mark.parametrize(
    'side, joints', [('right', upright_right_hand()), ('left', mirrored(upright_right_hand()))]
)
def test_wrist_axes_are_forward_and_out_of_the_back(side, joints):
    rotation = wrist_rotation(joints, side)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    x, y, z = rotation.T
    np.testing.assert_allclose(x, (joints[9] - joints[0]) / np.linalg.norm(joints[9] - joints[0]))
    assert x @ [0, -1, 0] > 0.95 and z @ [0, 0, 1] > 0.95  # fingers up, back away from the camera
    thumb = joints[2] - joints[17]
    assert (y @ thumb > 0) == (side == 'right')


def test_wrist_rotation_turns_with_the_hand_and_ignores_its_size():
    joints = upright_right_hand()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    expected = turn @ wrist_rotation(joints, 'right')
    np.testing.assert_allclose(
        wrist_rotation(joints @ turn.T / 1000 + 3, 'right'), expected, atol=1e-9
    )


@pytest.mark.parametrize('joint', [0, 5, 9, 17])
def test_wrist_rotation_is_nan_where_a_joint_it_needs_is_missing(joint):
    joints = upright_right_hand()
    joints[joint, 1] = np.nan
    assert np.isnan(wrist_rotation(joints, 'right')).all()


def test_wrist_rotation_needs_no_other_joint():
    joints = upright_right_hand()
    lost = joints.copy()
    lost[[j for j in range(21) if j not in (0, 5, 9, 17)]] = np.nan
    np.testing.assert_array_equal(wrist_rotation(lost, 'right'), wrist_rotation(joints, 'right'))


def test_wrist_rotation_is_nan_for_degenerate_hands_and_refuses_other_sides():
    assert np.isnan(wrist_rotation(np.zeros((21, 3)), 'left')).all()
    line = np.arange(21.0)[:, None] * [1.0, 2.0, 3.0]
    assert np.isnan(wrist_rotation(line, 'right')).all()
    with pytest.raises(ValueError, match="'left' or 'right', got 'Right'"):
        wrist_rotation(line, 'Right')
