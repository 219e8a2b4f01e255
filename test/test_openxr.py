"""OpenXR hands: axes on hand-made poses that any wrong sign breaks, bones of rendered hands, other
wrist frames, checks.
"""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from awr_ros.derived import openxr
from awr_ros.derived.openxr import (
    CAMERA_FROM_VIEW,
    METACARPALS,
    OPENXR_FROM_MEDIAPIPE,
    OPENXR_JOINT_NAMES,
    ORIENTATION_TRACKED,
    ORIENTATION_VALID,
    PALM,
    POSITION_TRACKED,
    POSITION_VALID,
    in_reference,
    mano_rotation,
    openxr_joints,
    operator_rotation,
    reference_frame,
)
from awr_ros.evaluation.openxr_conformance import Frame, hand_of, run_checks
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.synthetic.hand import forward_kinematics, random_shapes
from awr_ros.synthetic.poses import random_poses

VALID, TRACKED = ORIENTATION_VALID | POSITION_VALID, ORIENTATION_TRACKED | POSITION_TRACKED


def palm_down(side='right'):
    """(21,3) [mm]: a flat hand as an OpenXR user sees it, x right, y up, z back: palm down,
    parallel fingers forward.
    """
    joints = np.zeros((21, 3))
    for finger, x in enumerate((-22, 0, 20, 38)):
        joints[5 + 4 * finger : 9 + 4 * finger] = [(x, 0, -90 - along) for along in (0, 45, 70, 90)]
    joints[1:5] = [(-25, 0, -30), (-50, 0, -55), (-70, 0, -75), (-85, 0, -90)]
    return joints if side == 'right' else joints * (-1, 1, 1)


def joint(name):
    return OPENXR_JOINT_NAMES.index(name)


def test_names_and_order_are_those_of_the_specification():
    assert len(OPENXR_JOINT_NAMES) == 26 and OPENXR_JOINT_NAMES[:3] == (
        'palm',
        'wrist',
        'thumb_metacarpal',
    )
    assert (joint('thumb_tip'), joint('index_metacarpal'), joint('little_tip')) == (5, 6, 25)
    words = {
        'mcp': 'proximal',
        'pip': 'intermediate',
        'dip': 'distal',
        'pinky': 'little',
        'cmc': 'metacarpal',
        'thumb_mcp': 'thumb_proximal',
        'ip': 'distal',
    }
    for name, ours in zip(OPENXR_JOINT_NAMES, OPENXR_FROM_MEDIAPIPE):
        if ours >= 0:
            old = JOINT_NAMES[ours]
            finger, _, part = old.partition('_')
            assert name == f'{words.get(finger, finger)}_{words.get(part, part)}'.rstrip('_')
    measured = sorted(index for index in OPENXR_FROM_MEDIAPIPE if index >= 0)
    assert measured == list(range(21))


@pytest.mark.parametrize('side', ['right', 'left'])
def test_a_flat_hand_that_lies_palm_down_has_the_axes_of_the_space(side):
    hand = openxr_joints(palm_down(side), side)
    for name in (
        'palm',
        'wrist',
        *(f'middle_{bone}' for bone in ('metacarpal', 'proximal', 'intermediate', 'distal', 'tip')),
    ):
        np.testing.assert_allclose(hand.rotations[joint(name)], np.eye(3), atol=0.03, err_msg=name)
    for finger in ('index', 'ring', 'little'):  # their backs lean to the sides by up to 14 degrees
        np.testing.assert_allclose(
            hand.rotations[joint(f'{finger}_proximal')], np.eye(3), atol=0.25
        )
    np.testing.assert_allclose(np.linalg.det(hand.rotations), 1)
    # The thumb nail of a flat hand looks to the thumb's side and up.
    outward = -1 if side == 'right' else 1
    nail = hand.rotations[joint('thumb_distal')][:, 1]
    assert nail[0] * outward > 0.4 and nail[1] > 0.4


@pytest.mark.parametrize('side', ['right', 'left'])
def test_a_bent_finger_turns_its_back_forward(side):
    joints = palm_down(side)
    # middle finger: straight, then down from the PIP
    joints[11:13] = joints[10] + [(0, -25, 0), (0, -45, 0)]
    hand = openxr_joints(joints, side)
    down = hand.rotations[joint('middle_intermediate')]
    np.testing.assert_allclose(down[:, 2], (0, 1, 0), atol=1e-6)  # z back along the bone: up
    np.testing.assert_allclose(down[:, 1], (0, 0, -1), atol=0.03)  # its back looks forward
    np.testing.assert_allclose(down[:, 0], (1, 0, 0), atol=0.03)
    np.testing.assert_array_equal(
        hand.rotations[joint('middle_tip')], hand.rotations[joint('middle_distal')]
    )


def test_palm_and_metacarpals_lie_on_the_palm_and_are_not_tracked():
    hand = openxr_joints(palm_down(), 'right')
    np.testing.assert_allclose(hand.positions[PALM], (0, 0, -59.4), atol=0.1)
    bases = hand.positions[list(METACARPALS)]
    assert (np.diff(bases[:, 0]) > 5).all() and (
        np.abs(bases[:, 2] + 28.5) < 2
    ).all()  # index to little, 3 cm from the wrist
    inferred = np.array(OPENXR_FROM_MEDIAPIPE) < 0
    assert (hand.flags[inferred] == VALID).all() and (
        hand.flags[~inferred] == VALID | TRACKED
    ).all()
    assert (openxr_joints(palm_down(), 'right', tracked=False).flags == VALID).all()
    assert 5 < hand.radii[joint('index_tip')] < 8 and 17 < hand.radii[joint('wrist')] < 20
    assert openxr_joints(palm_down() / 1000, 'right').radii[1] == pytest.approx(
        hand.radii[1] / 1000
    )


def test_a_turned_hand_has_turned_joints():
    rotation, shift = cv2.Rodrigues(np.array([0.4, -1.1, 0.8]))[0], np.array([30, 40, 500])
    hand, turned = (
        openxr_joints(palm_down(), 'right'),
        openxr_joints(palm_down() @ rotation.T + shift, 'right'),
    )
    np.testing.assert_allclose(turned.positions, hand.positions @ rotation.T + shift, atol=1e-9)
    np.testing.assert_allclose(turned.rotations, rotation @ hand.rotations, atol=1e-9)


@pytest.mark.parametrize('side', ['right', 'left'])
def test_orientations_are_those_of_rendered_bones(side):
    """Against the bone frames that the renderer poses its hands with: x along the bone, z out of
    its back.
    """
    generator = torch.Generator().manual_seed(0)
    frames, joints = (
        t.numpy()
        for t in forward_kinematics(random_shapes(40, generator), random_poses(40, generator))
    )
    truth = np.stack([-frames[:, :, :3, 1], frames[:, :, :3, 2], -frames[:, :, :3, 0]], -1)
    if side == 'left':
        joints, mirror = joints * (-1, 1, 1), np.diag([-1.0, 1, 1])
        truth = mirror @ truth @ mirror
    errors = {}
    for true, hand in zip(truth, [openxr_joints(j, side) for j in joints]):
        for index, ours in enumerate(OPENXR_FROM_MEDIAPIPE):
            if ours > 0:
                bone = ours + 1 if ours % 4 else ours
                cosine = (np.trace(true[bone, :3, :3].T @ hand.rotations[index]) - 1) / 2
                errors.setdefault(OPENXR_JOINT_NAMES[index], []).append(
                    np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
                )
    assert max(np.mean(values) for values in errors.values()) < 14
    assert np.mean(list(errors.values())) < 8


def test_unknown_joints_are_nan_and_not_valid():
    joints = palm_down()
    joints[8] = np.nan  # index tip
    hand = openxr_joints(joints, 'right')
    assert (
        np.isnan(hand.positions[joint('index_tip')]).all() and hand.flags[joint('index_tip')] == 0
    )
    # where it points is unknown
    assert hand.flags[joint('index_distal')] == POSITION_VALID | POSITION_TRACKED
    assert (
        np.delete(hand.flags, [joint('index_tip'), joint('index_distal')]) & VALID == VALID
    ).all()
    nothing = openxr_joints(np.full((21, 3), np.nan), 'left')
    assert (
        not nothing.flags.any()
        and np.isnan(nothing.positions).all()
        and np.isnan(nothing.rotations).all()
    )


@pytest.mark.parametrize('side, thumb', [('right', -1), ('left', 1)])
def test_mano_and_operator_frames(side, thumb):
    joints = palm_down(side)
    forward, up, to_thumb = (0, 0, -1), np.array([0, 1, 0]), np.array([thumb, 0, 0])
    back_of_right = up if side == 'right' else -up
    np.testing.assert_allclose(
        operator_rotation(joints), np.stack([(0, 0, 1), back_of_right, to_thumb], -1), atol=1e-9
    )
    towards = to_thumb if side == 'right' else -to_thumb
    np.testing.assert_allclose(
        mano_rotation(joints, side), np.stack([-up, towards, forward], -1), atol=1e-9
    )


@pytest.mark.parametrize('reference', ['mano', 'operator', 'view', 'camera'])
def test_a_reference_moves_all_joints_alike_and_back(reference):
    joints = palm_down() + (10, 20, 500)
    hand = openxr_joints(joints, 'right')
    origin, rotation = reference_frame(joints, 'right', reference)
    moved = in_reference(hand, origin, rotation)
    np.testing.assert_allclose(moved.positions @ rotation.T + origin, hand.positions, atol=1e-9)
    np.testing.assert_allclose(rotation @ moved.rotations, hand.rotations, atol=1e-9)
    if reference in ('mano', 'operator'):
        np.testing.assert_allclose(moved.positions[1], 0, atol=1e-9)
    line = np.zeros((21, 3))
    assert not in_reference(hand, *reference_frame(line, 'right', 'mano')).flags.any()


def test_view_is_the_camera_with_y_up_and_z_back():
    np.testing.assert_array_equal(CAMERA_FROM_VIEW.T @ (1, 2, 3), (1, -2, -3))


@pytest.mark.parametrize(
    'arguments, words',
    [((np.zeros((20, 3)), 'right'), r'\(21,3\)'), ((np.zeros((21, 3)), 'both'), 'left')],
)
def test_misuse_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        openxr_joints(*arguments)
    with pytest.raises(ValueError, match='reference'):
        reference_frame(np.zeros((21, 3)), 'right', 'wrist')


# ---- the conformance check


@functools.cache
def made_frames():
    frames = []
    for index in range(20):
        hands = tuple(
            hand_of(
                palm_down(side) + (shift, 0, -500),
                side,
                side,
                palm_down(side) + (shift + 3, 0, -500),
            )
            for side, shift in (('right', 150), ('left', -150))
        )
        frames.append(Frame(100 + index / 30, 5 + index / 31, 0.015, hands))
    return tuple(frames)


def good_frames():
    return list(made_frames())


def failed(frames):
    return [check.name for check in run_checks(frames) if not check.passed]


def test_a_good_stream_conforms():
    assert failed(good_frames()) == []


def changed(**changes):
    """Good frames, one hand of which is changed: each value is a function of the old one."""
    frames = good_frames()
    hand = frames[7].hands[0]
    hand = replace(
        hand, **{name: change(np.array(getattr(hand, name))) for name, change in changes.items()}
    )
    frames[7] = replace(frames[7], hands=(hand, frames[7].hands[1]))
    return frames


@pytest.mark.parametrize(
    'changes, check',
    [
        (dict(quaternions=lambda q: q * (-1, -1, -1, 1)), 'z against the bones'),
        (dict(quaternions=lambda q: q[:, [3, 0, 1, 2]]), 'z against the bones'),  # w first
        (dict(quaternions=lambda q: 1.01 * q), 'unit quaternions'),
        (
            dict(positions=lambda p: p * np.where(np.arange(26)[:, None] == 10, np.nan, 1)),
            'finite where valid, NaN elsewhere',
        ),
        (dict(positions=lambda p: p[:21]), '26 joints, radii and flags'),
        (
            dict(positions=lambda p: p + 0.01 * (np.arange(26)[:, None] == 0)),
            'palm in the middle of the metacarpal',
        ),
        (dict(radii=lambda r: 1000 * r), 'radii of a hand'),
        (dict(flags=lambda f: f | np.uint8(POSITION_TRACKED)), 'inferred joints are not tracked'),
    ],
)
def test_what_is_wrong_with_one_hand_is_found(changes, check):
    assert check in failed(changed(**changes))


def test_turned_about_the_bone_is_found():
    """Y and x turned by half a turn: z is right, the back is not."""
    half = np.array([0, 0, 1, 0])

    def turn(q):
        x, y, z, w = np.moveaxis(q, -1, 0)
        return np.stack([y, -x, w, -z], -1)  # q times a half turn about z

    assert half.any() and failed(changed(quaternions=turn)) == ['y out of the back of the hand']


@pytest.mark.parametrize(
    'change, check',
    [
        (lambda i: dict(stamp_s=100.0), 'stamps increase'),
        (lambda i: dict(done_s=i / 20), 'at least 30 Hz'),
        (lambda i: dict(latency_s=0.2), 'latency below two images'),
        (lambda i: dict(hands=()), 'hands'),
    ],
)
def test_what_is_wrong_with_the_stream_is_found(change, check):
    assert check in failed([replace(frame, **change(i)) for i, frame in enumerate(good_frames())])


def test_silence_does_not_conform():
    assert failed([]) and openxr.NUM_OPENXR_JOINTS == 26
