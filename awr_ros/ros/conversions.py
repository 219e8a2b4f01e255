"""Between ROS messages and the core: images, camera info, hands. The one place where millimetres become metres.

Inside: millimetres, NumPy. Outside: SI units, messages. What cannot be used raises BadInput, which names the value.
"""
import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from awr_ros.camera import Intrinsics
from awr_ros.msg import Hand, HandArray
from awr_ros.skeleton import JOINT_CONVENTION, WRIST, wrist_rotation

MM_PER_M = 1000.0
# Encodings of depth: one pixel as a NumPy type, in what unit.
DEPTH_ENCODINGS = {'16UC1': ('u2', 'mm'), 'mono16': ('u2', 'mm'), '32FC1': ('f4', 'm')}
SIDES = {'left': Hand.SIDE_LEFT, 'right': Hand.SIDE_RIGHT}
STATES = {'new': Hand.TRACKING_NEW, 'ok': Hand.TRACKING_OK, 'coasting': Hand.TRACKING_COASTING}


class BadInput(ValueError):
    """A message that cannot be used; the text names the field, its value and what was expected."""


def stamp_seconds(stamp):
    """builtin_interfaces/Time as float seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def depth_from_image(msg: Image):
    """The depth of a sensor_msgs/Image: (H,W) uint16 or float32 [mm], 0 = no measurement.

    16UC1 and mono16 in native byte order without row padding are a view of msg.data, not a copy. Not by cv_bridge: it
    takes no big-endian images beside NumPy 2, and its errors do not name what is wrong with an image.
    """
    if msg.encoding not in DEPTH_ENCODINGS:
        raise BadInput(f"image encoding is '{msg.encoding}', expected one of {', '.join(DEPTH_ENCODINGS)}")
    code, unit = DEPTH_ENCODINGS[msg.encoding]
    dtype = np.dtype(('>' if msg.is_bigendian else '<') + code)
    if msg.width == 0 or msg.height == 0:
        raise BadInput(f'image is empty: {msg.width} x {msg.height}')
    if msg.step < msg.width * dtype.itemsize:
        raise BadInput(f'image step is {msg.step} bytes, but a row of {msg.width} pixels of {msg.encoding} '
                       f'has {msg.width * dtype.itemsize}')
    if len(msg.data) != msg.step * msg.height:
        raise BadInput(f'image data has {len(msg.data)} bytes, but step {msg.step} x height {msg.height} '
                       f'= {msg.step * msg.height}')
    pixels = np.ndarray((msg.height, msg.width), dtype, buffer=msg.data, strides=(msg.step, dtype.itemsize))
    if unit == 'm':
        with np.errstate(over='ignore'):    # absurd lengths become Inf, which is no measurement either
            depth = np.multiply(pixels, np.float32(MM_PER_M), dtype=np.float32)
        depth[~((depth > 0) & (depth < np.inf))] = 0
        return depth
    return np.ascontiguousarray(pixels, dtype=np.uint16)


def intrinsics_from_info(msg: CameraInfo):
    """The pinhole model of the images that come with this CameraInfo: K, moved by its ROI and divided by its binning.

    K and not P: depth cameras fill P for a rectified stereo pair or not at all.
    """
    fx, fy, cx, cy = msg.k[0], msg.k[4], msg.k[2], msg.k[5]
    if not (np.all(np.isfinite([fx, fy, cx, cy])) and fx > 0 and fy > 0):
        raise BadInput(f'camera_info K has fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g}: the camera is not calibrated')
    # 0 means "no binning" and, for the ROI's size, "the whole image".
    binning_x, binning_y = msg.binning_x or 1, msg.binning_y or 1
    width, height = msg.roi.width or msg.width, msg.roi.height or msg.height
    if width < binning_x or height < binning_y:
        raise BadInput(f'camera_info is for an image of {width} x {height}, binning {binning_x} x {binning_y}')
    # Pixel centres lie on whole numbers, so binning moves them by half a pixel.
    return Intrinsics(fx=fx / binning_x, fy=fy / binning_y,
                      cx=(cx - msg.roi.x_offset + 0.5) / binning_x - 0.5,
                      cy=(cy - msg.roi.y_offset + 0.5) / binning_y - 0.5,
                      width=width // binning_x, height=height // binning_y)


def info_from_intrinsics(intrinsics: Intrinsics, header):
    """The CameraInfo of an ideal pinhole camera."""
    k = [intrinsics.fx, 0.0, intrinsics.cx, 0.0, intrinsics.fy, intrinsics.cy, 0.0, 0.0, 1.0]
    return CameraInfo(header=header, width=intrinsics.width, height=intrinsics.height,
                      distortion_model='plumb_bob', d=[0.0] * 5, k=k, r=np.eye(3).ravel(),
                      p=k[:3] + [0.0] + k[3:6] + [0.0] + k[6:] + [0.0])


def distortion_note(msg: CameraInfo):
    """What to tell the user about the lens distortion in a CameraInfo, or None."""
    if not any(msg.d):
        return None
    return (f"camera_info has distortion '{msg.distortion_model}' with D = {[round(float(d), 4) for d in msg.d]}; "
            'it is ignored (K only), so joints near the image border are off: publish an undistorted depth image')


def quaternion_from_rotation(rotation):
    """(x, y, z, w) of a (3,3) rotation matrix; NaN in, NaN out. After Shepperd (1978): divide by the largest part."""
    r = np.asarray(rotation, np.float64)
    if not np.all(np.isfinite(r)):
        return (np.nan,) * 4
    # 4 q q^T, from the sums and differences of the matrix entries; its largest row, normalised, is the quaternion.
    m = np.array([
        [1 + r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
        [r[0, 1] + r[1, 0], 1 - r[0, 0] + r[1, 1] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 1 - r[0, 0] - r[1, 1] + r[2, 2], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1 + r[0, 0] + r[1, 1] + r[2, 2]],
    ])
    q = m[np.argmax(np.diag(m))]
    return tuple(float(part) for part in q / np.linalg.norm(q))


def points_from_joints(joints_xyz):
    """(21,3) [mm] as a list of geometry_msgs/Point [m]."""
    return [Point(x=x, y=y, z=z) for x, y, z in (np.asarray(joints_xyz, np.float64) / MM_PER_M).tolist()]


def joints_from_hand(msg: Hand):
    """(21,3) float32 [mm] of an awr_ros/Hand."""
    return np.array([(p.x, p.y, p.z) for p in msg.joints], np.float32) * np.float32(MM_PER_M)


def wrist_pose(joints_xyz, side, points):
    """geometry_msgs/Pose of the wrist frame (see Hand.msg); `points` are the same joints in metres."""
    pose = Pose(position=points[WRIST])
    o = pose.orientation
    o.x, o.y, o.z, o.w = quaternion_from_rotation(wrist_rotation(joints_xyz, side))
    return pose


def roi_message(roi, width, height):
    """(x, y, width, height) [px], possibly partly outside the image, clipped to it."""
    x, y, w, h = roi
    left, top = min(max(x, 0), width), min(max(y, 0), height)
    right, bottom = min(max(x + w, left), width), min(max(y + h, top), height)
    return RegionOfInterest(x_offset=int(left), y_offset=int(top), width=int(right - left), height=int(bottom - top))


def hand_message(hand, width, height):
    """One awr_ros.tracker.TrackedHand in an image of width x height as awr_ros/Hand."""
    points = points_from_joints(hand.joints_xyz)
    return Hand(id=hand.id, side=SIDES[hand.side], side_score=float(hand.side_score),
                tracking_state=STATES[hand.state], score=float(hand.score), joints=points,
                joint_scores=np.asarray(hand.joint_scores, np.float32),
                wrist_pose=wrist_pose(hand.joints_xyz, hand.side, points), roi=roi_message(hand.roi, width, height))


def hand_array(hands, header, width, height):
    """TrackedHands as awr_ros/HandArray; `header` is that of the depth image."""
    return HandArray(header=header, joint_convention=JOINT_CONVENTION,
                     hands=[hand_message(hand, width, height) for hand in hands])


def true_hand_array(true_hands, header):
    """awr_ros.synthetic.camera.TrueHands as awr_ros/HandArray: known, so every score is 1."""
    hands = []
    for true_hand in true_hands:
        points = points_from_joints(true_hand.joints_xyz)
        hands.append(Hand(id=f'true_{true_hand.side}', side=SIDES[true_hand.side], side_score=1.0,
                          tracking_state=Hand.TRACKING_OK, score=1.0, joints=points,
                          joint_scores=np.ones(Hand.NUM_JOINTS, np.float32),
                          wrist_pose=wrist_pose(true_hand.joints_xyz, true_hand.side, points)))
    return HandArray(header=header, joint_convention=JOINT_CONVENTION, hands=hands)


def pose_array(hands: HandArray):
    """The same hands for users without our messages: 21 poses a hand, in the order of HandArray.

    The first of each 21 is the wrist with its orientation; a joint has a position only (orientation 0, 0, 0, 1).
    """
    message = PoseArray(header=hands.header)
    for hand in hands.hands:
        message.poses.append(hand.wrist_pose)
        message.poses.extend(Pose(position=point) for point in hand.joints[WRIST + 1:])
    return message
