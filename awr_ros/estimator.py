"""One crop in, one hand pose out: crop, network, read-out and back to the camera, batched over hands."""
from dataclasses import dataclass

import numpy as np
import torch

from awr_ros.crop import MIN_CENTRE_MM, crop_hand
from awr_ros.network import load_checkpoint
from awr_ros.offset_field import decode
from awr_ros.skeleton import JOINT_NAMES, SIDES, palm_centre


@dataclass(frozen=True)
class HandPose:
    """What the network says of one crop."""
    joints_xyz: np.ndarray      # (21,3) float32 [mm] camera optical frame
    joints_uvd: np.ndarray      # (21,3) float32 [px, px, mm] full image
    joint_scores: np.ndarray    # (21,) float32 [0,1], highest closeness claimed for the joint
    hand_score: float           # [0,1] that a hand is centred in the crop
    side: str                   # the side it was taken for
    roi: tuple                  # (x, y, width, height) [px] of the crop in the full image, may reach beyond it


@dataclass(frozen=True)
class Request:
    """Where to look for a hand, and for which."""
    centre_xyz: np.ndarray      # (3,) [mm] near the palm's centre
    side: str                   # 'left' or 'right'


class HandPoseEstimator:
    """AWR on crops. The network knows right hands; left ones are mirrored in and out."""

    def __init__(self, network, device='cpu', description=''):
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.config, self.device, self.description = network.config, torch.device(device), description
        if self.config.joint_names != JOINT_NAMES:
            raise ValueError(f'weights must predict the 21 joints of awr_ros.skeleton, got {self.config.joint_names}')

    @classmethod
    def from_pretrained(cls, weights=None, device='auto', num_threads=None):
        """Load weights (None: the ones that come with the package).

        device: 'auto' (CUDA when there is any), 'cpu' or 'cuda'; num_threads: of torch on the CPU, None leaves it.
        Raises FileNotFoundError or ValueError naming the path, and ValueError for a device that is not there.
        """
        if device not in ('auto', 'cpu', 'cuda'):
            raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}")
        if device == 'cuda' and not torch.cuda.is_available():
            raise ValueError("device is 'cuda', but torch finds no CUDA device")
        if device == 'auto':
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        network, about = load_checkpoint(weights)
        name = 'default weights' if weights is None else str(weights)
        where = torch.cuda.get_device_name() if device == 'cuda' else 'CPU'
        return cls(network, device, f"torch on {where}, {name}, {about['step']} training samples")

    def estimate(self, depth_mm, intrinsics, centre_xyz, side='right', passes=2):
        """Pose of the hand at a given centre (the benchmarks' protocol).

        depth_mm: (H,W) float32 or uint16 [mm], 0 invalid; centre_xyz: (3,) [mm] near the palm's centre; passes: crops
        after the first are centred on the palm that the one before found. Returns HandPose, or None when the cube around
        the centre is empty.
        """
        pose = None
        for _ in range(passes):
            centre = np.asarray(centre_xyz, np.float64) if pose is None else palm_centre(pose.joints_xyz.astype(np.float64))
            better = self.estimate_batch(depth_mm, intrinsics, [Request(centre, side)])[0]
            if better is None:
                break
            pose = better
        return pose

    @torch.inference_mode()
    def estimate_batch(self, depth_mm, intrinsics, requests):
        """Poses of several hands of one frame in one pass of the network.

        requests: list of Request. Returns a list as long of HandPose, None where the cube is empty or too near.
        """
        for request in requests:
            if request.side not in SIDES:
                raise ValueError(f"side must be 'left' or 'right', got {request.side!r}")
        crops = [crop_hand(depth_mm, intrinsics, r.centre_xyz, self.config.cube_mm, self.config.crop_size)
                 if r.centre_xyz[2] >= MIN_CENTRE_MM else None for r in requests]
        full = [i for i, crop in enumerate(crops) if crop is not None and crop.foreground > 0]
        poses = [None] * len(requests)
        if not full:
            return poses
        images = np.stack([crops[i].depth if requests[i].side == 'right' else crops[i].depth[:, ::-1] for i in full])
        depth = torch.from_numpy(images)[:, None].to(self.device)                               # (B,1,S,S)
        field, hand_logit = self.network(depth)
        joints, scores = decode(field.float(), depth, self.config.kernel_size)
        joints, scores, hand_scores = joints.cpu().numpy(), scores.cpu().numpy(), hand_logit.float().sigmoid().cpu().numpy()
        for i, uvdn, joint_scores, hand_score in zip(full, joints, scores, hand_scores):
            crop = crops[i]
            if requests[i].side == 'left':
                uvdn = uvdn * np.float32([-1, 1, 1])
            uvd = crop.uvd_from_uvdn(uvdn)
            u0, v0, u1, v1 = crop.window
            poses[i] = HandPose(intrinsics.uvd_to_xyz(uvd).astype(np.float32), uvd.astype(np.float32), joint_scores,
                                float(hand_score), requests[i].side,
                                (u0, v0, u1 - u0, v1 - v0))
        return poses
