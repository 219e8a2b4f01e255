"""A depth camera without hardware: moving, posing hands with forearms before a wall, and their true
joints.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from awr_ros.camera import Intrinsics
from awr_ros.skeleton import Side
from awr_ros.synthetic.hand import forward_kinematics, procedural_skin, random_shapes
from awr_ros.synthetic.poses import POSTURES, HandPose, thumb_roll
from awr_ros.synthetic.render import splat_image

DEFAULT_INTRINSICS = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)
FRAME_ID = 'synthetic_camera_depth_optical_frame'
POSTURE_S = 1.5  # [s] time from one posture to the next
WALL_MM = 1400.0
SKIN_MM = 1.5  # spacing of the points of the skin
# Palm to the camera, fingers up: the hand's x is up, its y to the right of the image, its z away
# from the camera.
CAMERA_FROM_UPRIGHT = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class TrueHand:
    """Ground truth of a rendered hand."""

    side: Side  # 'left' or 'right'
    joints_xyz: np.ndarray  # (21,3) float32 [mm] camera optical frame
    joints_uvd: np.ndarray  # (21,3) float32 [px, px, mm]


class SyntheticCamera:
    """Render the frame at any time. The same seed and time always give the same frame.

    num_hands: 1 (a right hand) or 2 (a left one too, side by side). postures: names of POSTURES to
    show in this order, repeatedly; empty: all, in random order.
    """

    def __init__(
        self,
        intrinsics: Intrinsics = DEFAULT_INTRINSICS,
        num_hands: int = 1,
        seed: int = 0,
        postures: Sequence[str] = (),
    ) -> None:
        if num_hands not in (1, 2):
            raise ValueError(f'num_hands must be 1 or 2, got {num_hands}')
        self.intrinsics, self.num_hands, self.seed = intrinsics, num_hands, seed
        generator = torch.Generator().manual_seed(seed)
        self._shapes = [random_shapes(1, generator) for _ in range(num_hands)]
        self._skin = procedural_skin(SKIN_MM, 260.0)
        rng = np.random.default_rng(seed)
        self._order: list = [rng.permutation(len(POSTURES)) for _ in range(num_hands)]
        if postures:
            self._order = [[list(POSTURES).index(name) for name in postures]] * num_hands
        self._phases = rng.uniform(0, 2 * np.pi, (num_hands, 6))
        self._noise = rng.standard_normal((intrinsics.height + 64, intrinsics.width + 64)).astype(
            np.float32
        )

    def frame(self, t_s: float) -> tuple[np.ndarray, list[TrueHand]]:
        """Return depth (H,W) uint16 [mm], 0 invalid, and the true hands at a time [s]."""
        clouds, hands = [], []
        for index in range(self.num_hands):
            points, joints = self._hand(index, t_s)
            clouds.append(points)
            hands.append(
                TrueHand(
                    'left' if index else 'right',
                    joints,
                    self.intrinsics.xyz_to_uvd(joints).astype(np.float32),
                )
            )
        depth = splat_image(torch.cat(clouds, 1), self.intrinsics, SKIN_MM).numpy()
        return self._sense(depth, t_s), hands

    def true_joints(self, t_s: float, index: int = 0) -> np.ndarray:
        """Return the true joints (21,3) float32 [mm] of a hand at a time [s], without rendering
        it.
        """
        return self._placed(index, t_s)[2]

    def _hand(self, index, t_s):
        """Return skin (3,N) tensor and joints (21,3) array [mm] in the camera frame."""
        frames, transform, joints = self._placed(index, t_s)
        points = self._skin.posed(self._shapes[index], frames, transform)[0]
        if index:  # the left hand is a mirrored right one
            points[0] = -points[0]
        return points, joints

    def _placed(self, index, t_s):
        """Return bone frames (1,22,4,4), camera_from_hand (1,4,4), both not mirrored, and joints
        (21,3) array [mm] in the camera frame.
        """
        frames, joints = forward_kinematics(self._shapes[index], self._pose(index, t_s))
        p = self._phases[index]
        turn = _euler(
            0.5 * math.sin(0.7 * t_s + p[0]),
            0.6 * math.sin(0.53 * t_s + p[1]),
            0.7 * math.sin(0.41 * t_s + p[2]),
        )
        aside, sway = (0, 60) if self.num_hands == 1 else (150, 30)  # keeps two hands apart
        place = np.array(
            [
                aside + sway * math.sin(0.9 * t_s + p[3]),
                60 + 40 * math.sin(1.1 * t_s + p[4]),
                520 + 80 * math.sin(0.6 * t_s + p[5]),
            ]
        )
        transform = torch.eye(4)[None]
        transform[0, :3, :3] = torch.tensor(turn @ CAMERA_FROM_UPRIGHT)
        transform[0, :3, 3] = torch.tensor(place)
        joints = (joints[0] @ transform[0, :3, :3].T + transform[0, :3, 3]).numpy()
        if index:
            joints[:, 0] = -joints[:, 0]
        return frames, transform, joints

    def _pose(self, index, t_s):
        postures = torch.tensor(list(POSTURES.values()), dtype=torch.float32)
        order, at = self._order[index], t_s / POSTURE_S
        share = np.clip((at % 1) * 1.5 - 0.25, 0, 1)  # hold, blend, hold
        share = share * share * (3 - 2 * share)
        first, second = (postures[order[(math.floor(at) + i) % len(order)]] for i in (0, 1))
        angles = torch.lerp(first, second, float(share))[None]
        wrist = torch.tensor(
            [[18 * math.sin(0.8 * t_s + index), 8 * math.sin(0.6 * t_s)]], dtype=torch.float32
        )
        return HandPose(
            torch.deg2rad(angles), torch.deg2rad(thumb_roll(angles[:, 0, 1])), torch.deg2rad(wrist)
        )

    def _sense(self, depth, t_s):
        """Simulate a structured-light sensor: wall, lost edges and shadow, z^2 noise, whole
        millimetres.
        """
        shift = np.random.default_rng(int(t_s * 1e4) % (2**32)).integers(0, 64, 2)
        noise = self._noise[
            shift[0] : shift[0] + depth.shape[0], shift[1] : shift[1] + depth.shape[1]
        ]
        # the projector is on the left: shadows are on the right
        shadow = np.zeros(depth.shape, bool)
        shadow[:, 6:] = (depth[:, :-6] < WALL_MM) & (depth[:, 6:] >= WALL_MM)
        hand = (depth < WALL_MM).astype(np.uint8)
        outline = cv2.dilate(hand, np.ones((3, 3), np.uint8)) - cv2.erode(
            hand, np.ones((3, 3), np.uint8)
        )
        depth = np.minimum(depth, WALL_MM)
        depth = depth + (0.4 + 2.5 * (depth / 1000) ** 2) * noise
        return np.where(shadow | ((outline > 0) & (noise > 0.2)), 0, np.rint(depth)).astype(
            np.uint16
        )


def _euler(x, y, z):
    """Return the rotation (3,3) about the camera's axes: x, then y, then z [rad]."""
    rx, ry, rz = (cv2.Rodrigues(np.eye(3)[i] * angle)[0] for i, angle in enumerate((x, y, z)))
    return rz @ ry @ rx
