"""Training samples: crops of random hands, poses, views, objects and sensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from awr_ros.skeleton import PALM, in_plane_rotation, palm_centre
from awr_ros.synthetic.clutter import held_things, random_clutter, random_heads, random_objects
from awr_ros.synthetic.crop_batch import CropBatch
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.hand import (
    FOREARM,
    HandPose,
    HandSkin,
    forward_kinematics,
    gloved,
    procedural_skin,
    random_shapes,
    rotation,
)
from awr_ros.synthetic.lost_parts import lose_fingers, lose_spots
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import looking_at, splat_crops, xyz_to_uvdn
from awr_ros.synthetic.sensor import NoiseBank, random_sensor
from awr_ros.synthetic.stereo_crop import stereo_view, turned_cut

POSE_POOL_SIZE = 512  # poses in a pool
# draws from a large noise bank until it is replaced; a draw of crops takes four
REUSE_COUNT_LARGE = 160
NEAREST_MM = 130.0  # minimum distance of a joint from the camera, as of real cameras
BEHIND_ARM = -0.85  # z of the unit vector to the elbow below which a forearm hides its hand
# Stereo is matched in a window wider than the crop, from which the crop is cut after rotation.
STEREO_WINDOW = 1.5
# Side of the cube in the matched image [px], its share, and the hand's distance [mm], for focal
# lengths of 380 to 750 px.
STEREO_PX = (240, 176, 128, 96, 72)
STEREO_SHARE = (0.3, 0.25, 0.2, 0.15, 0.1)
STEREO_MM = ((270.0, 860.0), (520.0, 1180.0), (830.0, 1600.0), (1100.0, 2000.0), (1470.0, 2000.0))
GLOVE_MM = (1.0, 4.0)  # thickness of gloves
ARM_CLOSING = 0.03  # as a share of the cube's side: an arm's points are farther apart than a hand's


class CropSource:
    """An endless source of random training crops; a seed determines them all.

    skins: hand skins to draw from (default: the procedural one). negatives: (N,1,S,S) hard
    negatives (training/negatives.py), which replace a share of the crops without a hand. compiled:
    fuse operations on pixels with torch.compile, which needs a C++ compiler and pays from some
    thousand crops on. largest: most crops rendered at once on a GPU, 0: a few hundred.
    """

    def __init__(
        self,
        seed: int,
        config: CropConfig = CropConfig(),
        skins: Sequence[HandSkin] | None = None,
        negatives: torch.Tensor | None = None,
        device: str | torch.device = 'cpu',
        compiled: bool = False,
        largest: int = 0,
    ) -> None:
        self.config, self.device = config, device
        self.negatives = None if negatives is None else negatives.to(device)
        self.compiled = compiled
        self.generator = torch.Generator(device).manual_seed(seed)
        sizes = {'images': 2 * largest, 'reuse_count': REUSE_COUNT_LARGE} if largest else {}
        self.noise = NoiseBank(config.size, self.generator, device, **sizes)
        self._pose_pool, self._used = random_poses(POSE_POOL_SIZE, self.generator, device), 0
        self.skins = [skin.to(device) for skin in (skins or [procedural_skin(2.5)])]

    def _uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def _normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, device=self.device)

    @torch.no_grad()
    def draw(self, batch: int) -> CropBatch:
        """Return a CropBatch of B samples."""
        stereo = round(self.config.stereo * batch)  # a fixed number: each shape is compiled once
        if not stereo:
            return self._draw_modelled(batch)
        parts = [self._draw_stereo(stereo)] + (
            [self._draw_modelled(batch - stereo)] if stereo < batch else []
        )
        order = torch.randperm(batch, generator=self.generator, device=self.device)
        return CropBatch.join(parts)[order]

    def _draw_modelled(self, batch):
        """Draw B samples with modelled sensors."""
        config, generator, device = self.config, self.generator, self.device
        views = self._views_of_hands(batch, config.near_mm, config.far_mm)
        # Cameras of low resolution have fewer pixels on the hand than the crop.
        sizes = (
            config.size,
            config.size,
            config.size * 13 // 16,
            config.size * 5 // 8,
            config.size // 2,
        )
        size = sizes[int(torch.randint(len(sizes), (1,), generator=generator, device=device))]
        depth = splat_crops(views.points, views.centre, views.cube, size, self.compiled)
        if size != config.size:
            depth = torch.nn.functional.interpolate(depth, size=config.size, mode='nearest')
        joints = xyz_to_uvdn(views.joints, views.centre, views.cube)
        depth = self._surround(depth, views, joints)
        depth = random_sensor(
            depth,
            views.centre[:, 2],
            views.cube,
            generator,
            self.noise,
            self.compiled,
            config.bridges,
            config.sensor,
        )
        if config.cut:
            depth = torch.where(self._beyond_border(joints, views.hand), 1.0, depth)
        return self._finished(depth, joints, views)

    def _draw_stereo(self, batch):
        """Draw B samples with depth from simulated block matching."""
        config, generator, device = self.config, self.generator, self.device
        rng = np.random.default_rng(
            int(torch.randint(2**31, (1,), generator=generator, device=device))
        )
        kind = int(rng.choice(len(STEREO_PX), p=STEREO_SHARE))
        side = STEREO_PX[kind]
        views = self._views_of_hands(batch, *STEREO_MM[kind])
        wide = views.facing_centre()
        # Matching runs along the rows of the camera: rotate the hand, match, rotate the crop back.
        angle = 2 * torch.pi * self._uniform(batch)
        wide.points[:] = (
            rotation('z', angle) @ (wide.points - wide.centre[:, :, None]) + wide.centre[:, :, None]
        )
        window, wide_cube = round(side * STEREO_WINDOW), STEREO_WINDOW * wide.cube
        depth = self._splat_wide(wide.points, wide.centre, wide_cube, window)
        joints = xyz_to_uvdn(wide.joints, wide.centre, wide.cube)
        in_window = joints @ rotation('z', angle).mT / STEREO_WINDOW
        depth = self._surround(depth, views, in_window.to(depth.device), compiled=False)
        beyond = self._beyond_border(joints, views.hand) if config.cut else None
        crops = torch.empty(batch, 1, config.size, config.size)
        for i in range(batch):
            z, half = float(wide.centre[i, 2]), float(wide.cube[i]) / 2
            measured = stereo_view(
                depth[i, 0].cpu().numpy(), z, STEREO_WINDOW * half, rng, config.overexposed
            )
            cut = turned_cut(measured, side, float(angle[i]), config.size)
            uvdn = (cut - z) / half
            crops[i, 0] = torch.from_numpy(
                np.where((cut > 0) & (uvdn < 1), np.maximum(uvdn, -1), 1).astype(np.float32)
            )
        crops = crops.to(device)
        if beyond is not None:
            crops = torch.where(beyond, 1.0, crops)
        return self._finished(crops, joints, views)

    def _splat_wide(self, points, centre, cube, size):
        """Splat crops and, with a wider closing, arms, whose points are farther apart. Return
        (B,1,size,size) on the CPU.
        """
        arm = self._arm
        depth = splat_crops(points[..., ~arm], centre, cube, size)
        arms = splat_crops(points[..., arm], centre, cube, size).cpu().numpy()
        closing = 2 * round(ARM_CLOSING * size / STEREO_WINDOW / 2) + 1
        for image in arms[:, 0]:
            cv2.morphologyEx(
                image,
                cv2.MORPH_OPEN,
                np.ones((closing,) * 2, np.uint8),
                dst=image,
                borderType=cv2.BORDER_REPLICATE,
            )
        return torch.minimum(depth.cpu(), torch.from_numpy(arms))

    def _views_of_hands(self, batch, near_mm, far_mm):
        """Draw B hands before the camera, and the centres of their crops."""
        config, generator, device = self.config, self.generator, self.device
        skin = self.skins[
            int(torch.randint(len(self.skins), (1,), generator=generator, device=device))
        ]
        self._arm = skin.weights[:, FOREARM] > 0.5
        shape = random_shapes(batch, generator, device)
        if config.gloves:
            worn = self._uniform(batch) < config.gloves
            low, high = GLOVE_MM
            shape = gloved(shape, worn * (low + (high - low) * self._uniform(batch)))
        sleeve = torch.where(self._uniform(batch) < 0.3, 1.1 + 0.4 * self._uniform(batch), 1.0)
        shape.thickness[:, FOREARM] *= sleeve
        frames, joints = forward_kinematics(shape, self._poses(batch))
        camera_from_hand = self._align(self._views(batch, frames, near_mm, far_mm), joints)
        joints = (
            joints @ camera_from_hand[:, :3, :3].transpose(1, 2) + camera_from_hand[:, None, :3, 3]
        )
        too_near = (NEAREST_MM - joints[..., 2].amin(1)).clamp_min(0)
        camera_from_hand[:, 2, 3] += too_near
        joints[..., 2] += too_near[:, None]
        points = skin.posed(shape, frames, camera_from_hand)  # (B,3,N)

        off = torch.where(
            self._uniform(batch, 1) < 1 - config.coarse_share,
            config.fine_std_mm,
            config.coarse_std_mm,
        )
        jitter = self._normal(batch, 3) * off
        jitter *= (60 / jitter.norm(dim=-1, keepdim=True)).clamp(max=1)
        hand = self._uniform(batch) >= config.negative_share
        away = torch.nn.functional.normalize(self._normal(batch, 3), dim=-1) * (
            110 + 90 * self._uniform(batch, 1)
        )
        # unit vector towards the elbow
        elbow = camera_from_hand[:, :3, :3] @ frames[:, FOREARM, :3, :1]
        along = elbow[..., 0] * (130 + config.arm_mm * self._uniform(batch, 1))
        away = torch.where(self._uniform(batch, 1) < config.arms, along, away)
        centre = palm_centre(joints) + torch.where(hand[:, None], jitter, away)
        centre[:, 2].clamp_min_(150)
        cube = config.cube_mm * (1 + config.cube_jitter * self._normal(batch)).clamp(0.82, 1.18)
        views = _Views(points, joints, centre, cube, hand)
        return (
            views.stretched(1 + config.stretch * self._normal(batch, 1))
            if config.stretch
            else views
        )

    def _surround(self, depth, views, joints_uvdn, compiled=None):
        """Add what hands hold, objects and heads beside the hands or instead of them. depth:
        (B,1,S,S); joints_uvdn: (B,21,3) in its coordinates.
        """
        generator, device, (batch, _, size, _) = self.generator, depth.device, depth.shape
        compiled = self.compiled if compiled is None else compiled
        instead = self._uniform(batch)
        objects, heads = (
            ((~views.hand) & chosen).nonzero()[:, 0]
            for chosen in (instead < self.config.objects, instead > 1 - self.config.heads)
        )
        if len(objects):
            depth[objects] = random_objects(len(objects), size, generator, device, compiled)
        if len(heads):
            depth[heads] = random_heads(views.cube[heads], size, generator, compiled)
        if self.config.held:
            depth = held_things(depth, joints_uvdn, generator, self.config.held, compiled)
        if not self.config.clutter:
            return depth
        return random_clutter(depth, generator, self.config.hidden, compiled)

    def _beyond_border(self, joints_uvdn, hand):
        """Return (B,1,S,S) bool: pixels of the crops beyond the image border. For many crops of
        arms the border is before their hands.
        """
        batch, (wrist, knuckle) = len(joints_uvdn), (joints_uvdn[:, i, :2] for i in (0, 9))
        outwards = knuckle - wrist
        towards_hand = torch.atan2(outwards[:, 1], outwards[:, 0]) + 1.2 * (
            self._uniform(batch) - 0.5
        )
        angle = torch.where(hand, 2 * torch.pi * self._uniform(batch), towards_hand)
        normal = torch.stack([angle.cos(), angle.sin()], -1)
        at = torch.where(
            hand,
            0.2 + 0.8 * self._uniform(batch),
            ((wrist * normal).sum(-1) - 0.05 - 0.6 * self._uniform(batch)).clamp_min(-0.6),
        )
        share = torch.where(hand, self.config.cut, 0.55)
        at = torch.where(self._uniform(batch) < share, at, 9.0)
        axis = 2 * (torch.arange(self.config.size, device=self.device) + 0.5) / self.config.size - 1
        along = normal[:, 0, None, None] * axis + normal[:, 1, None, None] * axis[:, None]
        return (along > at[:, None, None])[:, None]

    def _finished(self, depth, joints_uvdn, views):
        """Return the CropBatch. Some hands lose fingers, and some crops what light hides; hard
        negatives replace some of the crops without a hand.
        """
        if self.config.lost:
            share = self.config.lost * views.hand
            depth = lose_fingers(depth, joints_uvdn, self.generator, share)
        if self.config.spots:
            share = torch.full_like(views.cube, self.config.spots)
            anywhere = 2 * self._uniform(*joints_uvdn.shape) - 1
            places = torch.where(views.hand[:, None, None], joints_uvdn, anywhere)
            depth = lose_spots(depth, places, self.generator, share)
        if self.negatives is not None:
            chosen = self._uniform(len(depth)) < self.config.negatives
            given = ((~views.hand) & chosen).nonzero()[:, 0]
            chosen = torch.randint(
                len(self.negatives), (len(given),), generator=self.generator, device=self.device
            )
            depth[given] = self.negatives[chosen].to(depth)
        return CropBatch(depth, joints_uvdn, views.hand, views.centre, views.cube)

    def _poses(self, batch):
        """Return B poses of a pool that is drawn again when used up: some hundred poses cost little
        more than a few.
        """
        if self._used + batch > len(self._pose_pool.fingers):
            self._pose_pool, self._used = (
                random_poses(max(POSE_POOL_SIZE, batch), self.generator, self.device),
                0,
            )
        chosen = slice(self._used, self._used + batch)
        self._used += batch
        return HandPose(
            self._pose_pool.fingers[chosen],
            self._pose_pool.thumb_roll[chosen],
            self._pose_pool.wrist[chosen],
        )

    def _views(self, batch, frames, near_mm, far_mm):
        """Return random camera_from_hand (B,4,4): any direction, but mostly palm or back rather
        than edge towards the camera, as people show their hands, rarely with the elbow between
        camera and hand, and never right before it.
        """
        rotation = random_rotations(2 * batch, self.generator, self.device).view(2, batch, 3, 3)
        towards = (rotation @ frames[:, FOREARM, :3, :1])[..., 2, 0]  # < 0: elbow nearer than hand
        facing = rotation[..., 2, 2].abs()  # 1: palm or back to the camera
        second = torch.where(
            self._uniform(batch) < 0.5,
            facing[1] > facing[0],
            (towards[0] < -0.35) & (self._uniform(batch) < 0.8),
        )
        pose = torch.eye(4, device=self.device).repeat(batch, 1, 1)
        chosen = torch.where(second[:, None, None], rotation[1], rotation[0])
        hidden = (chosen @ frames[:, FOREARM, :3, :1])[
            :, 2, 0
        ] < BEHIND_ARM  # these turn front to back
        turn = torch.where(
            hidden[:, None], torch.tensor([1.0, -1.0, -1.0], device=self.device), 1.0
        )
        pose[:, :3, :3] = turn[:, :, None] * chosen
        near, far = (torch.tensor(v).log() for v in (near_mm, far_mm))
        z = (near + (far - near) * self._uniform(batch)).exp()
        aside = (self._uniform(batch, 2) - 0.5) * torch.tensor([1.2, 0.9], device=self.device)
        pose[:, :3, 3] = torch.cat([aside * z[:, None], z[:, None]], -1)
        return pose

    def _align(self, camera_from_hand, joints):
        """Rotate some of the views about the optical axis, and so their crops, until the fingers
        point about up.

        camera_from_hand: (B,4,4); joints: (B,21,3) [mm] hand frame. Return (B,4,4).
        """
        batch = len(joints)
        seen = (
            joints @ camera_from_hand[:, :3, :3].transpose(1, 2) + camera_from_hand[:, None, :3, 3]
        )
        turned_from_camera, _ = looking_at(palm_centre(seen))
        seen = seen @ turned_from_camera.mT  # in the frame of the crop's virtual camera
        seen[:, PALM[0], :2] += self.config.rotation_error_mm * self._normal(batch, 2)
        roll = torch.where(self._uniform(batch) < self.config.upright, in_plane_rotation(seen), 0.0)
        turned = camera_from_hand.clone()
        turned[:, :3] = rotation('z', -roll) @ camera_from_hand[:, :3]
        return turned


@dataclass(frozen=True)
class _Views:
    """Hands before a camera, in its optical frame [mm], and their crops."""

    points: torch.Tensor  # (B,3,N)
    joints: torch.Tensor  # (B,21,3)
    centre: torch.Tensor  # (B,3)
    cube: torch.Tensor  # (B,)
    hand: torch.Tensor  # (B,) bool: whether the crop is centred on the hand

    def facing_centre(self) -> '_Views':
        """Return the same in the frame of a camera turned to the crops' centres."""
        turn, distance = looking_at(self.centre)
        centre = torch.nn.functional.pad(distance[:, None], (2, 0))
        return _Views(turn @ self.points, self.joints @ turn.mT, centre, self.cube, self.hand)

    def stretched(self, factor: torch.Tensor) -> '_Views':
        """Return the same for a camera with a focal length that is wrong by a factor (B,1): x and y
        grow, z stays.
        """
        scale = torch.cat([factor, factor, torch.ones_like(factor)], -1)
        return _Views(
            self.points * scale[:, :, None],
            self.joints * scale[:, None],
            self.centre * scale,
            self.cube,
            self.hand,
        )
