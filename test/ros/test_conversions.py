"""Messages to millimetres and back, checked against values worked out by hand."""

import math
from array import array

import numpy as np
import pytest
from fakes import HEIGHT, WIDTH, hand, header, image, info, open_hand_xyz
from sensor_msgs.msg import Image

from awr_ros.messages.hands import clipped_roi, quaternion_from_rotation
from awr_ros.msg import Hand
from awr_ros.ros import conversions
from awr_ros.ros.conversions import BadInputError
from awr_ros.skeleton import JOINT_NAMES, wrist_rotation


def depth_image(pixels, encoding, padding=0, big=False):
    """An Image of (H,W) pixels with `padding` bytes of 0xff after each row."""
    pixels = pixels.astype(pixels.dtype.newbyteorder('>' if big else '<'))
    rows = b''.join(row.tobytes() + b'\xff' * padding for row in pixels)
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=pixels.shape[1] * pixels.itemsize + padding,
        data=array('B', rows),
    )


@pytest.mark.parametrize('big', [False, True], ids=['little', 'big'])
@pytest.mark.parametrize('padding', [0, 3, 8])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16', 'MONO16'])
def test_16_bit_depth(encoding, padding, big):
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 11111
    depth = conversions.depth_from_image(depth_image(pixels, encoding, padding, big))
    assert depth.dtype == np.uint16 and depth.dtype.isnative and depth.flags.c_contiguous
    np.testing.assert_array_equal(depth, pixels)


def test_16_bit_depth_is_not_copied():
    message = image()
    assert np.shares_memory(
        conversions.depth_from_image(message), np.frombuffer(message.data, np.uint8)
    )


@pytest.mark.parametrize('big', [False, True], ids=['little', 'big'])
@pytest.mark.parametrize('padding', [0, 4])
def test_float_depth_is_metres_and_invalid_is_zero(padding, big):
    pixels = np.array([[0.5, 1.25, math.nan, math.inf], [-math.inf, -1.0, 0.0, 1e37]], np.float32)
    depth = conversions.depth_from_image(depth_image(pixels, '32FC1', padding, big))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, [[500, 1250, 0, 0], [0, 0, 0, 0]])


def test_info_gives_k_and_not_p():
    message = info()
    message.p = [99.0] * 12
    got = conversions.intrinsics_from_info(message)
    assert (got.fx, got.fy, got.cx, got.cy, got.width, got.height) == (
        30,
        30,
        15.5,
        11.5,
        WIDTH,
        HEIGHT,
    )


def test_info_with_roi_and_binning_sees_the_same_rays():
    full = conversions.intrinsics_from_info(info())
    message = info(binning_x=2, binning_y=4)
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = 8, 4, 16, 16
    got = conversions.intrinsics_from_info(message)
    assert (got.width, got.height) == (8, 4)
    # The binned pixel (3, 2) covers columns 8 + 6..7 and rows 4 + 8..11 of the full image.
    centre_full = full.uvd_to_xyz(np.array([8 + 6.5, 4 + 9.5, 1000.0]))
    np.testing.assert_allclose(got.uvd_to_xyz(np.array([3.0, 2.0, 1000.0])), centre_full)


def test_intrinsics_go_both_ways():
    intrinsics = conversions.intrinsics_from_info(info())
    assert (
        conversions.intrinsics_from_info(conversions.info_from_intrinsics(intrinsics, header()))
        == intrinsics
    )


@pytest.mark.parametrize(
    'k, words',
    [
        ([0.0] * 9, 'fx=0'),
        ([-30.0, 0, 1, 0, 30, 1, 0, 0, 1], 'fx=-30'),
        ([30.0, 0, math.inf, 0, 30, 1, 0, 0, 1], 'cx=inf'),
    ],
)
def test_impossible_k_is_named(k, words):
    with pytest.raises(BadInputError, match=words):
        conversions.intrinsics_from_info(info(k=[float(v) for v in k]))


def test_joint_constants_are_the_skeletons():
    assert [getattr(Hand, name.upper()) for name in JOINT_NAMES] == list(range(21))
    assert Hand.NUM_JOINTS == 21


def test_hand_message():
    joints = open_hand_xyz()
    joints[3] = np.nan  # a joint this model does not have
    message = conversions.hand_message(
        hand(
            side='left',
            state='coasting',
            side_score=math.nan,
            joints_xyz=joints,
            roi=(-4, 10, 12, 100),
        ),
        WIDTH,
        HEIGHT,
    )
    assert message.side == Hand.SIDE_LEFT and message.tracking_state == Hand.TRACKING_COASTING
    assert math.isnan(message.side_score) and message.score == pytest.approx(0.8)
    assert math.isnan(message.joints[3].x) and message.joints[0].z == pytest.approx(0.5)
    np.testing.assert_allclose(message.joint_scores, np.linspace(0, 1, 21), atol=1e-6)
    roi = message.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (0, 10, 8, 14)
    np.testing.assert_allclose(conversions.joints_from_hand(message), joints, atol=1e-3)


def test_roi_outside_the_image_is_empty_and_not_negative():
    assert clipped_roi((40, -30, 10, 10), WIDTH, HEIGHT) == (WIDTH, 0, 0, 0)


def test_wrist_pose_has_the_axes_of_the_message():
    """Fingers up, palm to the camera: x points up the image (-y), z away from the palm's side, into
    the scene (+z).
    """
    pose = conversions.hand_message(hand(), WIDTH, HEIGHT).wrist_pose
    np.testing.assert_allclose([pose.position.x, pose.position.y, pose.position.z], [0, 0, 0.5])
    q = pose.orientation
    np.testing.assert_allclose(rotate(q, [0, 0, 1]), [0, 0, 1], atol=1e-6)
    x = rotate(q, [1, 0, 0])
    middle_mcp = open_hand_xyz()[9] - open_hand_xyz()[0]
    np.testing.assert_allclose(x, middle_mcp / np.linalg.norm(middle_mcp), atol=1e-6)


def test_wrist_pose_is_nan_when_not_computable():
    joints = open_hand_xyz()
    joints[9] = np.nan
    q = conversions.hand_message(hand(joints_xyz=joints), WIDTH, HEIGHT).wrist_pose.orientation
    assert all(math.isnan(v) for v in (q.x, q.y, q.z, q.w))


@pytest.mark.parametrize('seed', range(8))
def test_quaternion_turns_like_the_matrix(seed):
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(21, 3))
    rotation = wrist_rotation(joints, 'left' if seed % 2 else 'right')
    from geometry_msgs.msg import Quaternion

    q = Quaternion(**dict(zip('xyzw', quaternion_from_rotation(rotation), strict=True)))
    vector = rng.normal(size=3)
    np.testing.assert_allclose(rotate(q, vector), rotation @ vector, atol=1e-9)


@pytest.mark.parametrize('axis', range(3))
def test_quaternion_of_half_turns(axis):
    rotation = -np.eye(3)
    rotation[axis, axis] = 1
    expected = np.zeros(4)
    expected[axis] = 1
    np.testing.assert_allclose(np.abs(quaternion_from_rotation(rotation)), expected, atol=1e-12)


def rotate(q, vector):
    """Hamilton: v + 2 w (u x v) + 2 u x (u x v)."""
    u, vector = np.array([q.x, q.y, q.z]), np.asarray(vector, float)
    return vector + 2 * q.w * np.cross(u, vector) + 2 * np.cross(u, np.cross(u, vector))


def test_pose_array_has_21_poses_a_hand():
    hands = conversions.hand_array(
        [hand(id='a'), hand(id='b', side='left')], header(), WIDTH, HEIGHT
    )
    poses = conversions.pose_array(hands)
    assert poses.header == hands.header and len(poses.poses) == 42
    assert poses.poses[0] == hands.hands[0].wrist_pose
    assert poses.poses[21 + 8].position == hands.hands[1].joints[8]
    assert poses.poses[8].orientation.w == 1
