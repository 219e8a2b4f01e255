"""Gestures: named postures of many hands, hysteresis in time, the tracked script of the synthetic
camera.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from awr_ros.derived.gestures import (
    FIST,
    GESTURE_NAMES,
    NONE,
    OPEN,
    PINCH,
    POINT,
    THUMBS_UP,
    GestureConfig,
    GestureRecognizer,
    GestureRecognizers,
    hand_features,
    margins,
)
from awr_ros.synthetic.camera import CAMERA_FROM_UPRIGHT
from awr_ros.synthetic.hand import HandPose, forward_kinematics, random_shapes
from awr_ros.synthetic.poses import POSTURES, thumb_roll

# camera from hand: the thumb's side is up in the image
THUMB_SIDE_UP = np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]])


def posed(posture, people=8, camera_from_hand=CAMERA_FROM_UPRIGHT):
    """(people,21,3) [mm] camera frame: different hands in one posture."""
    angles = torch.tensor(POSTURES[posture], dtype=torch.float32)[None].expand(people, 5, 4)
    pose = HandPose(
        torch.deg2rad(angles), torch.deg2rad(thumb_roll(angles[:, 0, 1])), torch.zeros(people, 2)
    )
    _, joints = forward_kinematics(random_shapes(people, torch.Generator().manual_seed(1)), pose)
    return joints.numpy() @ camera_from_hand.T + (0, 0, 500)


def shown(joints):
    """The gesture of joints on their own."""
    margin = margins(hand_features(joints))
    return GESTURE_NAMES[int(margin.argmax())] if margin.max() > GestureConfig().enter else 'none'


@pytest.mark.parametrize(
    'posture, gesture',
    [
        ('flat', 'open'),
        ('flat closed', 'open'),
        ('spread', 'open'),
        ('fist', 'fist'),
        ('fist, thumb beside', 'fist'),
        ('fist over index', 'fist'),
        ('loose fist', 'fist'),
        ('point', 'point'),
        ('gun', 'point'),
        ('pinch', 'pinch'),
        ('ok', 'pinch'),
        ('flat closed, thumb across', 'none'),
        ('two', 'none'),
        ('three', 'none'),
        ('four', 'none'),
        ('pinky', 'none'),
        ('middle', 'none'),
        ('horns', 'none'),
        ('shaka', 'none'),
        ('pinch middle', 'none'),
        ('hook', 'none'),
        ('claw', 'none'),
        ('cylinder', 'none'),
        ('sphere', 'none'),
        ('relaxed', 'none'),
    ],
)
def test_named_postures_of_all_hands(posture, gesture):
    hands = posed(posture)
    # The same angles bring the tips of a few hands not together.
    least = 6 if gesture == 'pinch' else 8
    assert [shown(joints) for joints in hands].count(gesture) >= least
    mirrored = hands * (-1, 1, 1)  # left hands
    assert [shown(joints) for joints in mirrored].count(gesture) >= least


def test_thumbs_up_is_a_fist_when_held_otherwise():
    assert {shown(joints) for joints in posed('thumb up', camera_from_hand=THUMB_SIDE_UP)} == {
        'thumbs_up'
    }
    down = THUMB_SIDE_UP * [[1], [-1], [-1]]
    assert {shown(joints) for joints in posed('thumb up', camera_from_hand=down)} == {'fist'}


def test_strengths_do_not_depend_on_size_or_place():
    small = hand_features(posed('pinch')[0])
    large = hand_features(posed('pinch')[0] * 1.3 + (40, 0, 200))
    assert small.pinch == pytest.approx(large.pinch) and small.grasp == pytest.approx(large.grasp)
    assert small.pinch > 0.95 and hand_features(posed('flat')[0]).pinch == 0
    assert (
        hand_features(posed('fist')[0]).grasp > 0.95
        and hand_features(posed('flat')[0]).grasp < 0.05
    )


def test_unknown_joints_make_no_gesture():
    joints = posed('fist')[0].copy()
    joints[8] = np.nan
    features = hand_features(joints)
    assert (
        np.isnan(features.extension[1]) and np.isnan(features.pinch) and features.extension[2] < 0.1
    )
    assert shown(joints) == 'none' and np.isnan(hand_features(np.full((21, 3), np.nan)).grasp)


def test_a_change_is_reported_once_it_lasted_and_dated_to_its_beginning():
    recognize, fist, flat = (
        GestureRecognizer(GestureConfig(hold_s=0.1)),
        posed('fist')[0],
        posed('flat')[0],
    )
    stamps = np.arange(20) / 30
    results = [recognize(fist if i < 10 else flat, stamps[i]) for i in range(20)]
    gestures = [result.gesture for result in results]
    assert gestures == [NONE] * 3 + [FIST] * 10 + [OPEN] * 7
    assert results[12].held_s == pytest.approx(stamps[12]) and results[13].held_s == pytest.approx(
        stamps[13] - stamps[10]
    )


def test_one_odd_image_changes_nothing():
    recognize, fist, flat = GestureRecognizer(), posed('fist')[0], posed('flat')[0]
    gestures = [recognize(flat if i == 12 else fist, i / 30).gesture for i in range(20)]
    assert gestures[4:] == [FIST] * 16


def test_between_entering_and_leaving_the_gesture_stays():
    """Fingers that open slowly and close again around the threshold of a fist do not flicker."""
    fist, hook = posed('fist')[0], posed('hook')[0]
    ramp = np.linspace(0, 1, 100)
    values = np.array([margins(hand_features((1 - s) * fist + s * hook))[FIST] for s in ramp])
    at = ramp[np.abs(values).argmin()]  # the margin is 0 here: less than entering needs
    recognize = GestureRecognizer()
    shares = [at + 0.01 * (-1) ** i for i in range(60)]
    wobble = [(1 - s) * fist + s * hook for s in shares]
    assert {recognize(m, i / 30).gesture for i, m in enumerate(wobble)} == {NONE}
    recognize = GestureRecognizer()
    gestures = [recognize(m, i / 30).gesture for i, m in enumerate([fist] * 10 + wobble)]
    assert set(gestures[5:]) == {FIST}


def test_coasting_hands_keep_their_gesture_and_lost_ones_are_forgotten():
    recognizers, fist, flat = GestureRecognizers(), posed('fist')[0], posed('flat')[0]

    def hand(name, joints, state='ok'):
        return SimpleNamespace(id=name, joints_xyz=joints, state=state)

    for i in range(6):
        first, second = recognizers.update([hand('a', fist), hand('b', flat)], i / 30)
    assert (first.gesture, second.gesture) == (FIST, OPEN)
    for i in range(6, 12):
        (first,) = recognizers.update([hand('a', flat, 'coasting')], i / 30)
    assert first.gesture == FIST
    assert recognizers.update([hand('b', flat)], 0.5)[0].gesture == NONE  # new again
    assert recognizers.update([], 0.6) == []


def test_time_that_goes_back_starts_afresh():
    recognize, fist = GestureRecognizer(), posed('fist')[0]
    for i in range(10):
        recognize(fist, 100 + i / 30)
    result = recognize(fist, 5.0)
    assert result.gesture == NONE and result.held_s == 0


def test_misuse_is_named():
    with pytest.raises(ValueError, match='straight_deg must be less than curled_deg'):
        GestureConfig(straight_deg=200)
    with pytest.raises(ValueError, match=r'\(21,3\)'):
        hand_features(np.zeros((20, 3)))
    assert (PINCH, POINT, THUMBS_UP) == (4, 3, 5)
