"""Synthetic data in the file formats of NYU and MSRA, to test training without the data sets."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from awr_ros.camera import Intrinsics
from awr_ros.datasets.metrics import NYU_IDS
from awr_ros.datasets.msra import FROM_FILE
from awr_ros.datasets.nyu import Y_DOWN
from awr_ros.datasets.specs import DATASETS
from awr_ros.skeleton import JOINT_NAMES, MSRA_21
from awr_ros.synthetic.hand import forward_kinematics, procedural_skin, random_shapes
from awr_ros.synthetic.poses import random_poses
from awr_ros.synthetic.render import splat_image

SKIN_MM = 1.5  # spacing of the points of the skin
NOISE_MM = 1.5  # standard deviation of the depth
TURN_DEG = 45.0  # hands face the camera up to about this


class HandFrames:
    """Random right hands before one camera, arm down. seed determines them."""

    def __init__(self, intrinsics: Intrinsics, seed: int) -> None:
        self.intrinsics, self.skin = intrinsics, procedural_skin(SKIN_MM)
        self.generator = torch.Generator().manual_seed(seed)
        self.random = np.random.default_rng(seed)

    @torch.no_grad()
    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Return depth (H,W) uint16 [mm], 0 where nothing is, and the joints (21,3) float64 [mm]
        camera optical frame.
        """
        shape = random_shapes(1, self.generator, 'cpu')
        frames, joints = forward_kinematics(shape, random_poses(1, self.generator))
        pose = torch.eye(4)[None].clone()
        pose[0, :3, :3] = torch.from_numpy(self._facing()).float()
        pose[0, :3, 3] = torch.from_numpy(
            self.random.uniform((-80, -60, 450), (80, 60, 750))
        ).float()
        points = self.skin.posed(shape, frames, pose)[0]  # (3,N)
        joints = joints[0] @ pose[0, :3, :3].T + pose[0, :3, 3]
        depth = splat_image(points, self.intrinsics, SKIN_MM).numpy()
        depth = np.where(
            np.isfinite(depth), depth + self.random.normal(0, NOISE_MM, depth.shape), 0
        )
        return np.round(depth).astype(np.uint16), joints.numpy().astype(np.float64)

    def _facing(self):
        """camera_from_hand (3,3): fingers up, palm to the camera, then turned a little about a
        random axis.
        """
        # of the hand's x: fingers, y: thumb, z: back
        upright = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        turn, _ = cv2.Rodrigues(np.radians(self.random.uniform(-TURN_DEG, TURN_DEG, 3)))
        return turn @ upright


def write_nyu(root: str | Path, train: int, test: int, seed: int = 0) -> None:
    """Write a folder in NYU's format. train, test: numbers of frames; makes root/train and
    root/test.
    """
    import scipy.io

    for split, count, offset in (('train', train, 0), ('test', test, 1)):
        folder = Path(root) / split
        folder.mkdir(parents=True, exist_ok=True)
        source = HandFrames(DATASETS['nyu'].intrinsics, 2 * seed + offset)
        xyz, uvd, centres = np.zeros((1, count, 36, 3)), np.zeros((1, count, 36, 3)), []
        for i in range(count):
            depth, joints = source.draw()
            fourteen = as_nyu_14(joints)
            xyz[0, i, NYU_IDS] = fourteen * Y_DOWN
            uvd[0, i, NYU_IDS] = source.intrinsics.xyz_to_uvd(fourteen)
            centres.append(fourteen.mean(0) * Y_DOWN)
            image = np.stack([depth & 255, depth >> 8, np.zeros_like(depth)], -1).astype(np.uint8)
            (folder / f'depth_1_{i + 1:07d}.png').write_bytes(
                cv2.imencode('.png', image)[1].tobytes()
            )
        scipy.io.savemat(folder / 'joint_data.mat', {'joint_xyz': xyz, 'joint_uvd': uvd})
        np.savetxt(Path(root) / f'center_{split}_refined.txt', centres, fmt='%.6f')


def as_nyu_14(joints_xyz: np.ndarray) -> np.ndarray:
    """Return NYU's 14 evaluated joints (14,3) of a rendered hand. joints_xyz: (21,3)."""
    at = dict(zip(JOINT_NAMES, joints_xyz))
    across = at['index_mcp'] - at['pinky_mcp']
    # NYU's two are 30 to 35 mm apart
    wrist, side = (at['wrist'], across / np.linalg.norm(across) * 16)
    palm = (at['wrist'] + at['index_mcp'] + at['middle_mcp'] + at['ring_mcp'] + at['pinky_mcp']) / 5
    at |= {'wrist_pinky_side': wrist - side, 'wrist_thumb_side': wrist + side, 'palm': palm}
    return np.stack([at[name] for name in DATASETS['nyu'].joint_names])


def write_msra(
    root: str | Path,
    frames: int,
    subjects: Sequence[int] = (0, 1),
    gestures: Sequence[str] = ('1', '2'),
    seed: int = 0,
) -> None:
    """Write a folder in MSRA's format. frames: per gesture and subject."""
    order = [JOINT_NAMES.index(name) for name in MSRA_21]
    for subject in subjects:
        for number, gesture in enumerate(gestures):
            folder = Path(root) / f'P{subject}' / gesture
            folder.mkdir(parents=True, exist_ok=True)
            source = HandFrames(DATASETS['msra'].intrinsics, (seed * 9 + subject) * 17 + number)
            lines = [str(frames)]
            for i in range(frames):
                depth, joints = source.draw()
                write_bin(folder / f'{i:06d}_depth.bin', depth)
                lines.append(
                    ' '.join(f'{value:.4f}' for value in (joints[order] * FROM_FILE).ravel())
                )
            (folder / 'joint.txt').write_text('\n'.join(lines) + '\n')


def write_bin(path: str | Path, depth: np.ndarray) -> None:
    """Write one frame as MSRA's .bin: only the box around the valid pixels. depth: (H,W) [mm]."""
    rows, cols = np.nonzero(depth)
    top, bottom, left, right = (
        (rows.min(), rows.max() + 1, cols.min(), cols.max() + 1) if len(rows) else (0, 1, 0, 1)
    )
    header = np.array([depth.shape[1], depth.shape[0], left, top, right, bottom], '<i4')
    Path(path).write_bytes(header.tobytes() + depth[top:bottom, left:right].astype('<f4').tobytes())
