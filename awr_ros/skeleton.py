"""The 21 joints of a hand: order, names, bones and the wrist frame.

Order and names are MediaPipe's. One convention everywhere in the package; this is a right hand with
its palm to the camera and its fingers up, so the thumb is at the right of the image::

             12
         16  |   8            0 wrist: middle of the wrist crease, inside the arm
     20  |   11  |            4, 8, 12, 16, 20 tips: centre of the rounded finger end, about one
      |  15  |   7                tip radius (4 to 7 mm) inside the skin
     19  |   10  |   4        others: centres of rotation
      |  14  |   6   |
     18  |   |   |   3
      |  |   |   |   |
     17--13--9---5   2
       \\  \\  |  /   /
        \\  \\ | /  1
         `--- 0 ---'
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Side = Literal['left', 'right']
ArrayOrTensor = TypeVar('ArrayOrTensor', np.ndarray, 'torch.Tensor')

JOINT_CONVENTION = 'mediapipe_21'
JOINT_NAMES = (
    'wrist',
    'thumb_cmc',
    'thumb_mcp',
    'thumb_ip',
    'thumb_tip',
    'index_mcp',
    'index_pip',
    'index_dip',
    'index_tip',
    'middle_mcp',
    'middle_pip',
    'middle_dip',
    'middle_tip',
    'ring_mcp',
    'ring_pip',
    'ring_dip',
    'ring_tip',
    'pinky_mcp',
    'pinky_pip',
    'pinky_dip',
    'pinky_tip',
)
NUM_JOINTS = len(JOINT_NAMES)
WRIST, INDEX_MCP, MIDDLE_MCP, PINKY_MCP = 0, 5, 9, 17
TIPS = (4, 8, 12, 16, 20)
PALM = (0, 5, 9, 13, 17)
_OF_WRIST_FRAME = (WRIST, INDEX_MCP, MIDDLE_MCP, PINKY_MCP)

# PARENTS[j] is the joint that bone (PARENTS[j], j) starts from; the wrist has none.
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
BONES = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)

SIDES: tuple[Side, Side] = ('left', 'right')

# The joints of the public data sets, in the order of their files; equal names are equal joints.
_FINGERS = ('index', 'middle', 'ring', 'pinky')
# Ids 0, 3, 6, ... of 36. The joint in a finger's middle lies 43 to 57 mm from its tip, so it is the
# PIP.
NYU_14 = (
    'pinky_tip',
    'pinky_pip',
    'ring_tip',
    'ring_pip',
    'middle_tip',
    'middle_pip',
    'index_tip',
    'index_pip',
    'thumb_tip',
    'thumb_ip',
    'thumb_mcp',
    'wrist_pinky_side',
    'wrist_thumb_side',
    'palm',
)
# Centres of finger segments rather than joints (index: 57, 29, 19 mm apart): only the tips have a
# counterpart.
ICVL_16 = (
    'palm',
    *(
        f'{finger}_{part}'
        for finger in ('thumb', *_FINGERS)
        for part in ('proximal', 'intermediate', 'tip')
    ),
)
MSRA_21 = (
    'wrist',
    *(f'{finger}_{part}' for finger in _FINGERS for part in ('mcp', 'pip', 'dip', 'tip')),
    'thumb_cmc',
    'thumb_mcp',
    'thumb_ip',
    'thumb_tip',
)
HANDS17_21 = (
    'wrist',
    'thumb_cmc',
    *(f'{finger}_mcp' for finger in _FINGERS),
    'thumb_mcp',
    'thumb_ip',
    'thumb_tip',
    *(f'{finger}_{part}' for finger in _FINGERS for part in ('pip', 'dip', 'tip')),
)
# Substitutes for joints that a data set lacks: the mean of others, all of which it must have.
_SUBSTITUTES = {'wrist': ('wrist_pinky_side', 'wrist_thumb_side')}


def as_21_joints(values: npt.ArrayLike, joint_names: Sequence[str]) -> np.ndarray:
    """Arrange the joints of a network in the order of JOINT_NAMES; NaN for joints that it lacks.

    values: (..., J, C) float, of the joints `joint_names`. Return (..., 21, C).
    """
    values = np.asarray(values)
    if values.shape[-2] != len(joint_names):
        raise ValueError(f'values must be of {len(joint_names)} joints, got {values.shape}')
    if tuple(joint_names) == JOINT_NAMES:
        return values
    result = np.full((*values.shape[:-2], NUM_JOINTS, values.shape[-1]), np.nan, values.dtype)
    for j, name in enumerate(JOINT_NAMES):
        sources = (name,) if name in joint_names else _SUBSTITUTES.get(name, ())
        if sources and all(source in joint_names for source in sources):
            result[..., j, :] = values[
                ..., [joint_names.index(source) for source in sources], :
            ].mean(-2)
    return result


def palm_centre(joints_xyz: ArrayOrTensor) -> ArrayOrTensor:
    """Return the mean of the wrist and the four finger MCPs: the centre of crops.

    joints_xyz: (..., 21, 3) array or tensor, any unit and frame. Return (..., 3) of the same kind.
    """
    return joints_xyz[..., PALM, :].mean(-2)


def hand_centre(joints_xyz: npt.ArrayLike) -> np.ndarray:
    """Return the palm centre or, where palm joints are NaN, the mean of all joints that are not;
    tracks follow it.

    joints_xyz: (21,3) float, any unit and frame. Return (3,) float64, NaN when all joints are.
    """
    joints = np.asarray(joints_xyz, np.float64)
    numbers = joints.tolist()  # NumPy takes five times as long for so few
    centre = [sum(axis) / len(PALM) for axis in zip(*(numbers[j] for j in PALM))]
    if all(map(math.isfinite, centre)):
        return np.array(centre)
    known = joints[np.isfinite(joints).all(-1)]
    return known.mean(0) if len(known) else np.array(centre)


def in_plane_rotation(joints_xyz: ArrayOrTensor) -> ArrayOrTensor:
    """Return the angle from up, clockwise in the image, of the direction from the wrist to the mean
    of the four finger MCPs.

    joints_xyz: (..., 21, 3) array or tensor [mm] camera optical frame. Return (...) [rad] of the
    same kind. With this roll (`crop.crop_hand`) the fingers point up in the crop, if the frame is
    that of the camera turned to the crop's centre (`camera.looking_at`).
    """
    image = joints_xyz[..., PALM, :2] / joints_xyz[..., PALM, 2:]
    way = image[..., 1:, :].mean(-2) - image[..., 0, :]
    x, y = way[..., 0], way[..., 1]
    return np.arctan2(x, -y) if isinstance(joints_xyz, np.ndarray) else x.atan2(-y)


def wrist_rotation(joints_xyz: npt.ArrayLike, side: Side) -> np.ndarray:
    """Return the rotation camera_from_wrist (3,3) float64 of the wrist frame.

    The frame is REP-103's body frame of a hand that lies palm down: x from the wrist to the middle
    MCP, z out of the back of the hand, y = z cross x (towards the thumb of a right hand, away from
    the thumb of a left one).

    joints_xyz: (21,3) float [any unit] right-handed frame. side: 'left' or 'right'. All NaN when
    the wrist, index, middle or pinky MCP is NaN or the four are degenerate.
    """
    if side not in SIDES:
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    wrist, index, middle, pinky = np.asarray(joints_xyz, np.float64)[_OF_WRIST_FRAME, :].tolist()
    forward = [m - w for m, w in zip(middle, wrist)]
    # towards a right hand's thumb
    across = [i - p if side == 'right' else p - i for i, p in zip(index, pinky)]
    dorsal = _cross(forward, across)
    norms = math.hypot(*forward), math.hypot(*dorsal)
    if not all(map(math.isfinite, norms)) or min(norms) < 1e-9:
        return np.full((3, 3), np.nan)
    x, z = [part / norms[0] for part in forward], [part / norms[1] for part in dorsal]
    return np.array([x, _cross(z, x), z]).T


def _cross(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return the cross product of two lists of 3; for so few numbers np.cross takes 20 times as
    long.
    """
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
