"""The rendered hand: exact joints, plausible poses and skin."""

import numpy as np
import pytest
import torch

from awr_ros.skeleton import BONES, TIPS
from awr_ros.synthetic.hand import (
    FOREARM,
    KNUCKLES,
    HandPose,
    forward_kinematics,
    gloved,
    mean_shapes,
    procedural_skin,
    random_shapes,
)
from awr_ros.synthetic.poses import (
    LOWER,
    POSTURES,
    UPPER,
    random_poses,
    random_rotations,
    thumb_roll,
)


def postures():
    """Every named posture: a HandPose of P poses."""
    angles = torch.tensor(list(POSTURES.values()), dtype=torch.float32)
    return HandPose(
        torch.deg2rad(angles),
        torch.deg2rad(thumb_roll(angles[:, 0, 1])),
        torch.zeros(len(angles), 2),
    )


def distance_to_bones(points, joints):
    """(N,20) of points (N,3) to the segments between joints (21,3)."""
    columns = []
    for a, b in BONES:
        axis = joints[b] - joints[a]
        t = np.clip((points - joints[a]) @ axis / (axis @ axis), 0, 1)
        columns.append(np.linalg.norm(points - joints[a] - t[:, None] * axis, axis=1))
    return np.stack(columns, 1)


# The hand


def test_joints_lie_a_segments_length_apart():
    generator = torch.Generator().manual_seed(0)
    shapes = random_shapes(32, generator)
    frames, joints = forward_kinematics(shapes, random_poses(32, generator))
    for finger, knuckle in enumerate(KNUCKLES):
        torch.testing.assert_close(joints[:, knuckle], shapes.knuckles[:, finger])
        for segment in range(3):
            length = (joints[:, knuckle + segment + 1] - joints[:, knuckle + segment]).norm(dim=-1)
            torch.testing.assert_close(length, shapes.segments[:, finger, segment])
    assert not joints[:, 0].any()


def test_bone_frames_are_rotations_along_their_bones():
    generator = torch.Generator().manual_seed(1)
    frames, joints = forward_kinematics(random_shapes(8, generator), random_poses(8, generator))
    rotation = frames[..., :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0
    )
    assert (torch.linalg.det(rotation) > 0.99).all()
    for parent, child in BONES:
        along = torch.nn.functional.normalize(joints[:, child] - joints[:, parent], dim=-1)
        torch.testing.assert_close(frames[:, child, :3, 0], along, atol=1e-5, rtol=0)
        torch.testing.assert_close(frames[:, child, :3, 3], joints[:, parent])
    assert (frames[:, FOREARM, 0, 0] < 0).all()  # the forearm leaves the hand backwards


@pytest.mark.parametrize('angle', [0, 2, 3])  # MCP, PIP, DIP
def test_flexion_bends_every_finger_to_the_palm_side(angle):
    straight, bent = torch.zeros(2, 1, 5, 4)
    bent[:, 1:, angle] = 0.5
    still = torch.zeros(1), torch.zeros(1, 2)
    _, before = forward_kinematics(mean_shapes(1), HandPose(straight, *still))
    _, after = forward_kinematics(mean_shapes(1), HandPose(bent, *still))
    assert (
        after[0, TIPS[1:], 2] < before[0, TIPS[1:], 2] - 5
    ).all()  # z leaves the back of the hand


def test_abduction_moves_a_fingertip_towards_the_thumb():
    straight, aside = torch.zeros(2, 1, 5, 4)
    aside[:, 1:, 1] = 0.2
    still = torch.zeros(1), torch.zeros(1, 2)
    _, before = forward_kinematics(mean_shapes(1), HandPose(straight, *still))
    _, after = forward_kinematics(mean_shapes(1), HandPose(aside, *still))
    assert (after[0, TIPS[1:], 1] > before[0, TIPS[1:], 1] + 5).all()


def test_straight_fingers_fan_out():
    _, joints = forward_kinematics(
        mean_shapes(1), HandPose(torch.zeros(1, 5, 4), torch.zeros(1), torch.zeros(1, 2))
    )
    aside = (joints[0, TIPS[1:], 1] - joints[0, KNUCKLES[1:], 1]).tolist()  # towards the thumb
    assert aside == sorted(aside, reverse=True) and aside[0] > 0 > aside[-1]


def test_poses_stay_within_joint_limits():
    lower, upper = (
        torch.tensor(limit) - torch.tensor([1e-3]) * sign
        for limit, sign in ((LOWER, 1), (UPPER, -1))
    )
    named = torch.rad2deg(postures().fingers)
    drawn = random_poses(500, torch.Generator().manual_seed(0))
    for angles in (named, torch.rad2deg(drawn.fingers)):
        assert (angles >= lower).all() and (angles <= upper).all()
    wrist = torch.rad2deg(drawn.wrist).abs()
    assert wrist[:, 0].max() < 70.01 and wrist[:, 1].max() < 30.01
    assert (torch.rad2deg(drawn.fingers).std(0) > 3).all()  # and they use them


def test_further_candidates_make_fingers_meet_less():
    """Distance of the nearest two joints of different fingers, the thumb's tip against the palm
    side's for one.
    """

    def closest(candidates):
        poses = random_poses(2000, torch.Generator().manual_seed(0), candidates=candidates)
        _, joints = forward_kinematics(mean_shapes(2000), poses)
        # 12 joints of the four fingers
        beyond = joints[:, 5:].unflatten(1, (4, 4))[:, :, 1:].flatten(1, 2)
        thumb = joints[:, 3:5]
        return torch.cdist(thumb, beyond).amin((1, 2))

    # [mm] less than the two are thick
    one, three = ((closest(candidates) < 9).float().mean() for candidates in (1, 3))
    assert one > 0.02 and three < 0.5 * one


def test_random_rotations_are_proper_and_favour_no_direction():
    rotations = random_rotations(4000, torch.Generator().manual_seed(0), 'cpu')
    torch.testing.assert_close(
        rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-5, rtol=0
    )
    assert (torch.linalg.det(rotations) > 0.99).all()
    assert rotations.mean(0).abs().max() < 0.05
    torch.testing.assert_close(
        rotations.square().mean(0), torch.full((3, 3), 1 / 3), atol=0.03, rtol=0
    )


def test_skin_stays_near_the_bones_and_covers_them():
    generator = torch.Generator().manual_seed(0)
    skin, shapes = procedural_skin(2.5), random_shapes(16, generator)
    frames, joints = forward_kinematics(shapes, random_poses(16, generator))
    points = skin.posed(shapes, frames, torch.eye(4).repeat(16, 1, 1)).transpose(1, 2).numpy()
    joints = joints.numpy()
    flesh = (skin.weights[:, FOREARM] < 1e-6).numpy()
    for b in range(16):
        # hypothenar of a large hand
        assert distance_to_bones(points[b, flesh], joints[b]).min(1).max() < 38
        for parent, child in BONES:  # no bone is bare: a palm is 20 mm from its middle to the skin
            middle = (joints[b, parent] + joints[b, child]) / 2
            assert np.linalg.norm(points[b] - middle, axis=1).min() < 24
        for tip in TIPS:  # tips lie inside their finger's end
            along = joints[b, tip] - joints[b, tip - 1]
            along /= np.linalg.norm(along)
            own = points[b, skin.weights[:, tip].numpy() > 0.5]
            assert 2 < ((own - joints[b, tip]) @ along).max() < 12


def test_gloves_thicken_the_skin_and_leave_the_joints():
    generator = torch.Generator().manual_seed(2)
    skin, bare = procedural_skin(2.5), random_shapes(8, generator)
    worn = gloved(bare, torch.full((8,), 3.0))
    poses, still = random_poses(8, generator), torch.eye(4).repeat(8, 1, 1)
    (frames, joints), (same_frames, same_joints) = (
        forward_kinematics(shape, poses) for shape in (bare, worn)
    )
    assert torch.equal(joints, same_joints) and torch.equal(frames, same_frames)
    moved = (skin.posed(worn, frames, still) - skin.posed(bare, frames, still)).norm(dim=1)
    fingers = skin.weights[:, [7, 11, 15, 19]].sum(1) > 0.9
    assert 2.0 < moved[:, fingers].median() < 4.0
    none = gloved(bare, torch.zeros(8))
    assert torch.equal(none.thickness, bare.thickness)


def test_every_posture_has_a_finite_skin():
    poses = postures()
    count = len(poses.fingers)
    frames, joints = forward_kinematics(mean_shapes(count), poses)
    points = procedural_skin(2.5).posed(
        mean_shapes(count), frames, torch.eye(4).repeat(count, 1, 1)
    )
    assert torch.isfinite(points).all() and torch.isfinite(joints).all()
    assert points.abs().max() < 250


def test_the_rest_skin_is_the_template():
    """A template hand in the pose it was baked in is not deformed."""
    from awr_ros.synthetic.hand import rest_pose

    skin = procedural_skin(2.5)
    frames, _ = forward_kinematics(mean_shapes(1), rest_pose())
    torch.testing.assert_close(
        skin.posed(mean_shapes(1), frames, torch.eye(4)[None])[0].T, skin.points, atol=1e-3, rtol=0
    )
    torch.testing.assert_close(skin.weights.sum(1), torch.ones(len(skin.points)))
    assert (skin.weights >= 0).all()


# The renderer
