"""OpenXR hands: 26 joint poses with radii from the 21 joints, and the wrist frames that other
stacks use.

Joints, order and axes are those of XR_EXT_hand_tracking (OpenXR 1.1, "Conventions of hand joints").
Seen along a straight finger of a hand that lies palm down: +z points back from the fingertip to the
wrist, +y out of the back of the hand, +x = y cross z to the right, for both hands. A joint's frame
belongs to the bone that starts there; a tip has the axes of the bone that ends there. The spec
calls MCP "proximal", PIP "intermediate", DIP "distal".

Twenty-one of the joints are measured. The palm is the middle of the middle metacarpal, as the spec
defines it, and the four metacarpal bases lie at fixed shares of the palm: these five are inferred
and have no TRACKED flag.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from awr_ros.skeleton import MIDDLE_MCP, WRIST, Side, wrist_rotation

_FINGERS = ('index', 'middle', 'ring', 'little')
_BONES = ('metacarpal', 'proximal', 'intermediate', 'distal', 'tip')
OPENXR_JOINT_NAMES = (
    'palm',
    'wrist',
    *(f'thumb_{bone}' for bone in ('metacarpal', 'proximal', 'distal', 'tip')),
    *(f'{finger}_{bone}' for finger in _FINGERS for bone in _BONES),
)
NUM_OPENXR_JOINTS = len(OPENXR_JOINT_NAMES)
PALM, OPENXR_WRIST = 0, 1
METACARPALS = (6, 11, 16, 21)  # the four bases that are inferred
# OPENXR_FROM_MEDIAPIPE[i] is our joint for OpenXR joint i; -1: inferred.
OPENXR_FROM_MEDIAPIPE = (
    -1,
    *(0, 1, 2, 3, 4),
    *(joint for knuckle in (5, 9, 13, 17) for joint in (-1, *range(knuckle, knuckle + 4))),
)
# XrSpaceLocationFlagBits.
ORIENTATION_VALID, POSITION_VALID, ORIENTATION_TRACKED, POSITION_TRACKED = 1, 2, 4, 8

# Bases of the index, middle, ring and little metacarpal, in lengths from wrist to middle MCP:
# towards the middle MCP, towards the thumb. Close to the rest pose of WebXR's generic hand, with
# the middle one on the line to its MCP, so that wrist, palm and middle metacarpal have one z axis.
_BASES = np.array([(0.32, 0.09), (0.32, 0.0), (0.30, -0.11), (0.33, -0.22)])
_ROLL = np.deg2rad([-3.0, 1.0, 6.0, 14.0])  # of the fingers' backs about the hand's x axis
# Distance from each joint to the skin [mm] of a hand with 90 mm from wrist to middle MCP, as
# rendered hands have it.
_RADII_MM = np.array(
    [13.0, 18.5, 14.0, 11.5, 9.8, 7.6]
    + [13.0, 10.8, 9.0, 7.7, 6.2]
    + [13.0, 11.0, 9.2, 7.9, 6.4]
    + [13.0, 10.4, 8.7, 7.4, 6.0]
    + [13.0, 9.2, 7.6, 6.6, 5.4]
)
_RADII_OF_MM = 90.0
_MIRROR = np.array([-1.0, 1.0, 1.0])

Reference = Literal['camera', 'view', 'mano', 'operator']
REFERENCES: tuple[Reference, ...] = get_args(Reference)
# Axes of an OpenXR VIEW space (x right, y up, z backward) in the optical frame (x right, y down, z
# forward).
CAMERA_FROM_VIEW = np.diag([1.0, -1.0, -1.0])
# The columns are MANO's axes in the operator frame, from dex_retargeting/constants.py.
OPERATOR_FROM_MANO = {
    'right': np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]], float),
    'left': np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float),
}


@dataclass(frozen=True)
class OpenXRJoints:
    """The 26 joints of one hand in the frame and the unit of the 21 joints."""

    positions: np.ndarray  # (26,3) float64, NaN where unknown
    rotations: np.ndarray  # (26,3,3) float64 frame_from_joint, NaN where unknown
    radii: np.ndarray  # (26,) float64 distance to the skin, nominal, scaled with the palm
    flags: np.ndarray  # (26,) uint8, XrSpaceLocationFlagBits


def openxr_joints(joints_xyz: np.ndarray, side: Side, tracked: bool = True) -> OpenXRJoints:
    """Convert 21 joints to OpenXR's 26.

    joints_xyz: (21,3) float [any unit] right-handed frame, NaN where unknown. side: 'left' or
    'right'. tracked: False for a hand that repeats its last pose; its joints are valid but not
    tracked.
    """
    joints = np.asarray(joints_xyz, np.float64)
    if joints.shape != (21, 3):
        raise ValueError(f'joints_xyz must be (21,3), got {joints.shape}')
    if side not in OPERATOR_FROM_MANO:
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    if side == 'left':  # the mirror image of a right hand; x = y cross z changes its sign once more
        positions, rotations = _right_hand(joints * _MIRROR)
        positions, rotations = positions * _MIRROR, _MIRROR[:, None] * rotations * _MIRROR
    else:
        positions, rotations = _right_hand(joints)
    size = np.linalg.norm(joints[MIDDLE_MCP] - joints[WRIST])
    known, turned = np.isfinite(positions).all(-1), np.isfinite(rotations).all((-2, -1))
    flags = known * POSITION_VALID + turned * ORIENTATION_VALID
    if tracked:
        measured = np.array(OPENXR_FROM_MEDIAPIPE) >= 0
        flags = (
            flags
            + (known & measured) * POSITION_TRACKED
            + (turned & measured) * ORIENTATION_TRACKED
        )
    return OpenXRJoints(
        positions, rotations, _RADII_MM * (size / _RADII_OF_MM), flags.astype(np.uint8)
    )


def _right_hand(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (26,3) and rotations (26,3,3) of a right hand."""
    # columns: towards the middle MCP, towards the thumb, out of the back
    hand = wrist_rotation(joints, 'right')
    forward, radial, dorsal = hand.T
    size = np.linalg.norm(joints[MIDDLE_MCP] - joints[WRIST])
    positions = np.full((NUM_OPENXR_JOINTS, 3), np.nan)
    measured = np.array(OPENXR_FROM_MEDIAPIPE)
    positions[measured >= 0] = joints[measured[measured >= 0]]
    positions[list(METACARPALS)] = joints[WRIST] + size * (_BASES @ np.stack([forward, radial]))
    positions[PALM] = (positions[METACARPALS[1]] + joints[MIDDLE_MCP]) / 2
    rotations = np.full((NUM_OPENXR_JOINTS, 3, 3), np.nan)
    rotations[PALM] = rotations[OPENXR_WRIST] = np.stack([-radial, dorsal, -forward], -1)
    cos, sin = np.cos(_ROLL)[:, None], np.sin(_ROLL)[:, None]
    back, side = cos * dorsal - sin * radial, cos * radial + sin * dorsal  # (4,3) of each finger
    bones = _directions(positions[METACARPALS[0] :].reshape(4, 5, 3))  # (4,4,3)
    # Flexion turns a finger about one axis, which lies across it in the palm's plane; where the
    # first bone points out of that plane (a fist), the axis is the hand's own.
    share = np.clip((bones[:, 1] @ forward - 0.2) / 0.3, 0, 1)[:, None]
    axis = share * _unit(np.cross(back, bones[:, 1])) + (1 - share) * side
    axes = np.stack([side, axis, axis, axis, axis], 1)  # (4,5,3)
    rotations[METACARPALS[0] :] = _frames(bones[:, [0, 1, 2, 3, 3]], axes).reshape(20, 3, 3)
    thumb = _directions(positions[2:6])
    rotations[2:6] = _frames(thumb[[0, 1, 2, 2]], _thumb_axis(thumb[0], dorsal))
    return positions, rotations


def _thumb_axis(bone: np.ndarray, dorsal: np.ndarray) -> np.ndarray:
    """Return the unit vector across the thumb nail: the pad turns to the fingers as the thumb
    leaves the palm.
    """
    across = _unit(np.cross(dorsal, bone))
    up = np.cross(bone, across)
    elevation = np.arcsin(np.clip(-bone @ dorsal, -1, 1))
    roll = -np.deg2rad(52) - 0.55 * elevation
    return np.cos(roll) * across + np.sin(roll) * up


def _directions(points: np.ndarray) -> np.ndarray:
    """Return unit vectors (...,N-1,3) from each point to the next; NaN where one is unknown or two
    coincide.
    """
    return _unit(np.diff(points, axis=-2))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, np.nan)


def _frames(bones: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return rotations (...,3,3) with z against each bone (...,3) and x as near to -axis (...,3) as
    possible.
    """
    z = -bones
    x = _unit((z * axes).sum(-1, keepdims=True) * z - axes)
    return np.stack([x, np.cross(z, x), z], -1)


def operator_rotation(joints_xyz: np.ndarray) -> np.ndarray:
    """Return the rotation camera_from_operator (3,3) of the operator frame of dex-retargeting.

    x from the middle MCP to the wrist, z towards the index finger in the plane of wrist, index and
    middle MCP, y = z cross x: out of the back of a right hand, out of the palm of a left one.
    joints_xyz: (21,3) float [any unit] right-handed frame. NaN when these joints are NaN or on one
    line.
    """
    wrist, index, middle = np.asarray(joints_xyz, np.float64)[[0, 5, 9]]
    x = wrist - middle
    with np.errstate(invalid='ignore', divide='ignore'):
        z = (index - middle) - x * ((index - middle) @ x) / (x @ x)
    norms = np.linalg.norm(x), np.linalg.norm(z)
    if not np.all(np.isfinite(norms)) or min(norms) < 1e-6:
        return np.full((3, 3), np.nan)
    x, z = x / norms[0], z / norms[1]
    return np.stack([x, np.cross(z, x), z], axis=1)


def mano_rotation(joints_xyz: np.ndarray, side: Side) -> np.ndarray:
    """Return the rotation camera_from_mano (3,3) of MANO's wrist frame as in dex-retargeting.

    z along the fingers, x out of the palm, y = z cross x: towards the thumb of a right hand, away
    from that of a left one. Arguments as openxr_joints; NaN as operator_rotation.
    """
    return operator_rotation(joints_xyz) @ OPERATOR_FROM_MANO[side]


def reference_frame(
    joints_xyz: np.ndarray, side: Side, reference: Reference
) -> tuple[np.ndarray, np.ndarray]:
    """Return origin (3,) and rotation camera_from_reference (3,3) of one of REFERENCES for a hand.

    'camera': the optical frame itself; 'view': the same origin with OpenXR's axes; 'mano',
    'operator': at the wrist.
    """
    if reference == 'camera':
        return np.zeros(3), np.eye(3)
    if reference == 'view':
        return np.zeros(3), CAMERA_FROM_VIEW
    wrist = np.asarray(joints_xyz, np.float64)[WRIST]
    if reference == 'mano':
        return wrist, mano_rotation(joints_xyz, side)
    if reference == 'operator':
        return wrist, operator_rotation(joints_xyz)
    raise ValueError(f'reference must be one of {REFERENCES}, got {reference!r}')


def in_reference(joints: OpenXRJoints, origin: np.ndarray, rotation: np.ndarray) -> OpenXRJoints:
    """Express joints in a frame given by its origin (3,) and camera_from_frame (3,3). With a NaN
    frame nothing is valid.
    """
    flags = (
        joints.flags
        if np.isfinite(rotation).all() and np.isfinite(origin).all()
        else np.zeros_like(joints.flags)
    )
    return OpenXRJoints(
        (joints.positions - origin) @ rotation, rotation.T @ joints.rotations, joints.radii, flags
    )
