"""Whole depth frames of people before a camera, for evaluation: any camera, bodies, arms, hands, things, walls.

Apart from the hand's skin and postures nothing here is shared with the training crops: frames are rendered in perspective
at the camera's resolution and spoilt there, arms lead from elbows to bodies, and the tracker cuts its own crops.
"""
from dataclasses import dataclass

import numpy as np
import torch

from awr_ros.camera import Intrinsics
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import TrueHand
from awr_ros.synthetic.clutter import HEAD
from awr_ros.synthetic.hand import ARM_SPACING, FOREARM, forward_kinematics, procedural_skin, random_shapes
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import splat_image
from awr_ros.synthetic.sensor import DRAWS, spoil
from awr_ros.synthetic.solids import Rays, add_box, add_ellipsoid, add_plane

RESOLUTIONS = ((320, 240), (424, 240), (512, 424), (640, 360), (640, 480), (848, 480), (1280, 720))
TORSO = ((185, 300, 115), (0, 560, 55))             # [mm] semi-axes and centre, added to clutter.HEAD
SHOULDER = (180., 250., 45.)                        # [mm] of the person's left arm, from the head's middle
UPPER_ARM_MM, FOREARM_MM = 290., 260.
SKIN_MM = 1.5                                       # between points of the skin
FAR_MM = 2450.                                      # nothing beyond is measured
APART_MM = 170.                                     # two palms are farther apart than this
OVER_MM = 30.                                       # a palm is farther above tables than this, and before walls


@dataclass(frozen=True)
class Scene:
    """What a camera sees that stands still before a still scene, and what is true in it."""
    frames: tuple               # of (H,W) uint16 [mm], 0 invalid: one sensor's, nothing moves
    intrinsics: Intrinsics
    hands: tuple                # of TrueHand, all with their palms in the image
    visible: tuple              # for each of them the share of its surface towards the camera, up to the wrist, that nothing hides
    objects: bool               # things stand about or are held

    @property
    def depth_mm(self):
        """The first frame."""
        return self.frames[0]


class SceneSource:
    """An endless source of random scenes; a seed fixes all of them."""

    def __init__(self, seed, resolutions=RESOLUTIONS):
        self.generator, self.resolutions = torch.Generator().manual_seed(seed), resolutions
        self.skin = procedural_skin(SKIN_MM, FOREARM_MM)
        self._of_arm = self.skin.weights[:, FOREARM] > 0.5
        self._later = torch.Generator().manual_seed(seed + 1)       # of all frames but the first: they change no scene

    def _uniform(self, low=0.0, high=1.0):
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def _normal(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    @torch.no_grad()
    def draw(self, num_hands=None, frames=1):
        """One Scene. num_hands: 0, 1 or 2; None: any. frames: how often the camera looks."""
        if num_hands is None:
            num_hands = int(self._uniform(0, 3))
        intrinsics = self._camera()
        rays = Rays(intrinsics)
        depth = rays.empty()
        body = self._body() if self._uniform() < 0.65 else None
        tilt = _small_rotation(0.15 * self._normal(3))              # of the camera
        if body is not None:
            for extent, centre in body.parts:
                add_ellipsoid(depth, rays, tilt @ centre, extent, tilt)
        planes = self._planes(tilt, body)
        for normal, distance in planes:
            add_plane(depth, rays, normal, distance)
        if body is not None and self._uniform() < 0.5:
            self._lose_head(depth, rays, body, tilt)
        surfaces, hands, elbows = [], [], []
        sides = ['left', 'right'] if self._uniform() < 0.5 else ['right', 'left']
        for side in sides[:num_hands]:
            placed = self._hand(side, intrinsics, body, tilt, hands, planes)
            if placed is None:
                continue
            points, joints, elbow = placed
            hand = splat_image(points[:, ~self._of_arm], intrinsics, SKIN_MM)
            arm = splat_image(points[:, self._of_arm], intrinsics, SKIN_MM * ARM_SPACING)
            surfaces.append((hand, torch.minimum(hand, arm))), elbows.append((side, elbow))
            hands.append(TrueHand(side, joints, intrinsics.xyz_to_uvd(joints).astype(np.float32)))
        if body is not None:
            for side, shoulder in body.shoulders.items():
                elbow = dict(elbows).get(side)
                elbow = shoulder + torch.tensor([0., UPPER_ARM_MM, 0.]) if elbow is None else tilt.t() @ elbow
                for along in torch.linspace(0, 1, 6):
                    centre = tilt @ torch.lerp(shoulder, elbow, along)
                    add_ellipsoid(depth, rays, centre, torch.full((3,), 48.), tilt)
        objects = self._uniform() < 0.5
        for _ in range(int(self._uniform(1, 4)) if objects else 0):
            self._add_thing(depth, rays, hands)
        for _, with_arm in surfaces:
            depth = torch.minimum(depth, with_arm)
        visible = tuple(float((depth[hand < torch.inf] == hand[hand < torch.inf]).float().mean()) for hand, _ in surfaces)
        return Scene(self._sense(depth, frames), intrinsics, tuple(hands), visible, objects)

    def _camera(self):
        width, height = self.resolutions[int(self._uniform(0, len(self.resolutions)))]
        fx = width / 2 / np.tan(np.deg2rad(self._uniform(50, 88)) / 2)
        fx = float(np.clip(fx, 0.56 * width, 900))
        return Intrinsics(fx=fx, fy=fx * self._uniform(0.99, 1.01), cx=width / 2 + self._uniform(-9, 9),
                          cy=height / 2 + self._uniform(-9, 9), width=width, height=height)

    def _body(self):
        place = torch.tensor([self._uniform(-200, 200), self._uniform(-420, 40), self._uniform(650, 1400)])
        size = 1 + 0.06 * self._normal(1)
        parts = [(torch.tensor(extent) * size * (1 + 0.05 * self._normal(3)), place + size * torch.tensor(centre, dtype=torch.float32))
                 for extent, centre in (*HEAD, TORSO)]
        # A person who faces the camera has the left arm at the image's right.
        shoulders = {side: place + torch.tensor(SHOULDER) * torch.tensor([sign, 1., 1.]) for side, sign in (('left', 1), ('right', -1))}
        return _Body(parts, shoulders)

    def _lose_head(self, depth, rays, body, tilt):
        """Hair, eyes, beards and shaded necks give many sensors nothing back: of some heads a face is left, or shreds of one."""
        extent, middle = body.parts[0]
        window = rays.window(tilt @ middle, extent * 1.8)
        z = depth[window]
        if not z.numel():                                               # out of the image
            return
        seen = torch.stack([rays.x[window[1]] * z, rays.y[window[0]] * z, z], -1)
        place = (seen - tilt @ middle) @ tilt / extent                  # (h,w,3) upright, the head's surface at a norm of 1
        parting = torch.nn.functional.normalize(torch.tensor([0., -1., 0.5]) + 0.3 * self._normal(3), dim=0)
        hairline = self._uniform(-0.4, 0.5) + 0.1 * _noise('coarse', z.shape, self.generator)[0, 0]
        radius = place.norm(dim=-1)
        lost = (radius < 1.2) & (place @ parting > hairline)
        if self._uniform() < 0.6:
            shreds = torch.nn.functional.grid_sample(self._normal(1, 1, 12, 12), place[None, ..., :2] / 1.8, mode='bicubic',
                                                     padding_mode='border', align_corners=False)[0, 0]
            lost |= (radius < 1.7) & (shreds > self._uniform(-0.1, 1.5))
        depth[window] = torch.where(lost, torch.inf, z)

    def _hand(self, side, intrinsics, body, tilt, others, planes):
        """Points (3,N), joints (21,3) array and elbow (3,) [mm] of a hand in a free place in view, or None."""
        for _ in range(30):
            u, v = self._uniform(0.12, 0.88) * intrinsics.width, self._uniform(0.12, 0.88) * intrinsics.height
            z = float(np.exp(self._uniform(np.log(280), np.log(1000))))
            palm = torch.tensor(intrinsics.uvd_to_xyz(np.array([u, v, z])), dtype=torch.float32)
            if any(np.linalg.norm(palm_centre(other.joints_xyz) - palm.numpy()) < APART_MM for other in others):
                continue
            if any(normal @ palm > distance - OVER_MM for normal, distance in planes):
                continue
            if body is None:
                outwards = torch.nn.functional.normalize(palm * torch.tensor([1., 1., 0.]) + 60 * self._normal(3), dim=0)
                elbow = palm + FOREARM_MM * torch.nn.functional.normalize(
                    outwards + torch.tensor([0., 0.5, self._uniform(-0.2, 1.0)]), dim=0)
                break
            shoulder = tilt @ body.shoulders[side]
            if not 200 < (palm - shoulder).norm() < UPPER_ARM_MM + FOREARM_MM or palm[2] > shoulder[2] - 130:
                continue
            elbow = self._elbow(shoulder, palm)
            break
        else:
            return None
        shape = random_shapes(1, self.generator)
        frames, joints = forward_kinematics(shape, random_poses(1, self.generator))
        mirror = torch.tensor([1., 1., 1.] if side == 'right' else [-1., 1., 1.])
        towards = torch.nn.functional.normalize(elbow - palm, dim=0) * mirror
        rotation = self._turned(frames[0, FOREARM, :3, 0], towards)
        placed = torch.eye(4)[None]
        placed[0, :3, :3] = rotation
        placed[0, :3, 3] = palm * mirror - rotation @ palm_centre(joints[0])
        points = self.skin.posed(shape, frames, placed)[0] * mirror[:, None]
        joints = (joints[0] @ rotation.t() + placed[0, :3, 3]) * mirror
        return points, joints.numpy(), elbow

    def _elbow(self, shoulder, wrist):
        """An elbow (3,) that both reach, rather low than high."""
        line = wrist - shoulder
        distance = line.norm()
        line = line / distance
        along = (UPPER_ARM_MM ** 2 - FOREARM_MM ** 2 + distance ** 2) / (2 * distance)
        radius = (UPPER_ARM_MM ** 2 - along ** 2).clamp_min(0).sqrt()
        down = torch.tensor([0., 1., 0.]) + 0.4 * self._normal(3)
        down = torch.nn.functional.normalize(down - (down @ line) * line, dim=0)
        return shoulder + along * line + radius * down

    def _turned(self, axis, towards):
        """Rotation (3,3) that takes one unit vector to another, with any spin, rather palm or back to the camera than edge."""
        best = None
        for rotation in random_rotations(4, self.generator, 'cpu'):
            # Gram-Schmidt: two frames that share their first axis with the vectors.
            a = torch.stack(_frame(axis, torch.tensor([0., 0., 1.])), 1)
            b = torch.stack(_frame(towards, rotation[:, 0]), 1)
            candidate = b @ a.t()
            if best is None or candidate[2, 2].abs() > best[2, 2].abs():
                best = candidate
            if self._uniform() < 0.4:
                break
        return best

    def _planes(self, tilt, body):
        """Walls, tables and what a camera looks down on: (normal (3,), distance [mm]) each."""
        def facing(lean):
            return tilt @ torch.nn.functional.normalize(torch.tensor([self._uniform(-lean, lean), self._uniform(-lean, lean), 1.]), dim=0)
        planes = []
        if body is None and self._uniform() < 0.4:                  # a desk seen from above, a wall behind a gesture
            planes.append((facing(1.0), self._uniform(350, 1100)))
        elif self._uniform() < (0.8 if body else 0.6):              # a wall, upright
            planes.append((tilt @ torch.nn.functional.normalize(torch.tensor([self._uniform(-0.6, 0.6), 0., 1.]), dim=0),
                           self._uniform(800, 2400) + (600 if body else 0)))
        if self._uniform() < 0.25:                                  # a table
            planes.append((tilt @ torch.tensor([0., 1., 0.]), self._uniform(180, 450)))
        return planes

    def _add_thing(self, depth, rays, hands):
        extent = torch.tensor([self._uniform(12, 110) for _ in range(3)])
        if self._uniform() < 0.3:
            extent[0] *= 3
        if hands and self._uniform() < 0.4:                         # in or at the hand
            extent = extent.clamp(max=120) * 0.5
            centre = torch.tensor(palm_centre(hands[0].joints_xyz)) + 45 * self._normal(3)
        else:
            centre = torch.tensor([self._uniform(-0.5, 0.5), self._uniform(-0.4, 0.4), 1.]) * self._uniform(450, 1500)
        turn = random_rotations(1, self.generator, 'cpu')[0]
        (add_ellipsoid if self._uniform() < 0.5 else add_box)(depth, rays, centre, extent, turn)

    def _sense(self, depth, frames):
        """The sensor of the training crops, at the resolution of the camera. What it loses in blobs and its slow noise stay,
        all other noise is new in every frame. depth: (H,W) [mm], inf where nothing. Returns a tuple of `frames` images."""
        half = FAR_MM / 0.98
        image, distance = (depth / half).clamp(max=1)[None, None], depth.clamp(max=FAR_MM)[None, None]
        draws = torch.rand(DRAWS, 1, 1, 1, 1, generator=self.generator)
        noise = {kind: _noise(kind, depth.shape, self.generator) for kind in ('white', 'aside', 'fine', 'coarse')}
        seen = []
        for _ in range(frames):
            spoilt = spoil(image, distance, torch.tensor([2 * half]), draws, **noise)[0, 0]
            seen.append(np.where(spoilt.numpy() < 0.99, np.rint((spoilt * half).clamp_min(0).numpy()), 0).astype(np.uint16))
            if frames > 1:              # who looks once needs no more
                noise.update({kind: _noise(kind, depth.shape, self._later) for kind in ('white', 'aside', 'fine')})
        return tuple(seen)


@dataclass(frozen=True)
class _Body:
    parts: list             # of (semi-axes (3,), centre (3,)) [mm], upright frame
    shoulders: dict         # side: (3,) [mm]


def _noise(kind, shape, generator):
    """(1,1,H,W) float, about standard normal: what NoiseBank is to crops, for one frame of any size."""
    cells = {'fine': 2, 'coarse': 8}.get(kind, 1)
    image = torch.randn(1, 1, *(-(-side // cells) for side in shape), generator=generator)
    if cells > 1:
        image = torch.nn.functional.interpolate(image, scale_factor=cells, mode='nearest' if kind == 'fine' else 'bilinear')
    return image[..., :shape[0], :shape[1]]


def _small_rotation(turn):
    return torch.linalg.matrix_exp(torch.tensor([[0., -turn[2], turn[1]], [turn[2], 0., -turn[0]], [-turn[1], turn[0], 0.]]))


def _frame(first, other):
    """Orthonormal (3,) vectors: `first`, `other` made square to it, and their cross product."""
    second = torch.nn.functional.normalize(other - (other @ first) * first, dim=0)
    return first, second, torch.linalg.cross(first, second)
