"""Rendered depth frames of whole scenes, still or moving: any camera, bodies, arms, hands, objects,
walls.

Apart from the hand's skin and postures nothing is shared with the training crops: frames are
rendered in perspective at the camera's resolution with noise in the frame, arms lead from elbows to
bodies or out of the image, many of them without a visible hand, and the tracker cuts its own crops.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from awr_ros.camera import Intrinsics
from awr_ros.synthetic.camera import TrueHand
from awr_ros.synthetic.frame_sensor import FrameSensor
from awr_ros.synthetic.hand import ARM_SPACING
from awr_ros.synthetic.render import splat_image
from awr_ros.synthetic.scene_layout import SKIN_MM, LayoutSource, small_rotation
from awr_ros.synthetic.solids import Rays

RESOLUTIONS = ((320, 240), (424, 240), (512, 424), (640, 360), (640, 480), (848, 480), (1280, 720))
FAR_MM = 2450.0  # range of the camera
RATE_HZ = 30.0  # frame rate of sequences
MEASURED_MM = 40.0  # largest error of a pixel that shows a hand
ANY_KIND = 'any'  # of camera


@dataclass(frozen=True)
class Scene:
    """A rendered static scene with ground truth."""

    frames: tuple  # (H,W) uint16 [mm], 0 invalid: frames of one sensor, which differ in noise only
    intrinsics: Intrinsics
    hands: tuple  # TrueHand with palms in the image; in sequences also those that have left it
    # for each of them the visible share of its surface towards the camera, up to the wrist
    visible: tuple
    objects: bool  # whether there are objects, held or not
    kind: str = ANY_KIND  # of camera
    # (n,3) float32 [mm] each: points on the axes of arms and legs, visible or not, without hands
    limbs: tuple = ()
    nearest_mm: float = 0.0  # least depth that the camera measures
    # for each hand the share of its visible pixels that the camera measured in the first frame
    measured: tuple = ()

    @property
    def depth_mm(self) -> np.ndarray:
        """The first frame."""
        return self.frames[0]


class SceneSource:
    """An endless source of random scenes; a seed determines them all."""

    def __init__(self, seed: int, resolutions: Sequence = RESOLUTIONS) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.layouts = LayoutSource(self.generator, resolutions)
        # for all frames but the first, so that their number does not change the scene
        self._later = torch.Generator().manual_seed(seed + 1)

    @torch.no_grad()
    def draw(self, num_hands: int | None = None, frames: int = 1, arms: int | None = None) -> Scene:
        """Return one scene.

        num_hands: 0, 1 or 2; frames: number of frames; arms: number without a visible hand, beside
        those of bodies. None: random.
        """
        layout = self.layouts.draw(num_hands, arms)
        rendered = self._render(layout, layout.groups)
        seen, sensor = self._sense([rendered.depth] * frames, layout.intrinsics.fx)
        return rendered.scene(layout, layout.groups, tuple(seen), sensor)

    @torch.no_grad()
    def sequence(
        self, num_hands: int | None = None, frames: int = 15, arms: int | None = None
    ) -> tuple[Scene, ...]:
        """Return one scene as a sequence at 30 Hz, a list of Scene with one frame each: the camera
        or the arms move, the noise is new.

        Arguments as `draw`. Hands keep their postures. All are listed in every frame; one whose
        palm has left the image is not visible.
        """
        layout = self.layouts.draw(num_hands, arms)
        for most in (1.0, 0.5, 0.25, 0.1):
            moments = self._moments(layout, frames, most)
            if not any(
                layout.sees(group.stump[None])[0]
                for groups in moments
                for group in groups
                if group.stump is not None
            ):
                break
        rendered = [self._render(layout, groups) for groups in moments]
        seen, sensor = self._sense([one.depth for one in rendered], layout.intrinsics.fx)
        return tuple(
            one.scene(layout, groups, (frame,), sensor)
            for groups, frame, one in zip(moments, seen, rendered)
        )

    def _moments(self, layout, frames, most):
        """Return the groups of every frame, moved by `most` of the motion of cameras and arms."""
        draws = self.layouts.draws
        camera = _Motion.random(draws, most * 40, most * 0.10) if draws.chance(0.6) else None
        own = [
            _Motion.random(draws, most * 60, most * 0.25)
            if group.pivot is not None and (camera is None or draws.chance(0.5))
            else None
            for group in layout.groups
        ]
        moments = []
        for i in range(frames):
            groups = [
                motion.of(group, i, group.pivot) if motion else group
                for group, motion in zip(layout.groups, own)
            ]
            moments.append(
                [camera.of(group, i, torch.zeros(3)) for group in groups] if camera else groups
            )
        return moments

    def _render(self, layout, groups):
        rays = Rays(layout.intrinsics)
        depth = rays.empty()
        for group in groups:
            for solid in group.solids:
                solid.draw(depth, rays)
        skins, hands = [], []
        for hand in (group.hand for group in groups if group.hand):
            skin = splat_image(hand.skin, layout.intrinsics, SKIN_MM)
            depth = torch.minimum(depth, skin)
            arm = splat_image(hand.forearm, layout.intrinsics, SKIN_MM * ARM_SPACING)
            depth = torch.minimum(depth, arm)
            joints = hand.joints.numpy()
            uvd = layout.intrinsics.xyz_to_uvd(joints).astype(np.float32)
            skins.append(skin if layout.sees(hand.palm[None])[0] else None)
            hands.append(TrueHand(hand.side, joints, uvd))
        return _Rendered(depth, tuple(hands), tuple(skins))

    def _sense(self, depths: Sequence[torch.Tensor], focal_px: float) -> tuple[list, FrameSensor]:
        """Return measured depths, a list of (H,W) uint16 [mm], and the camera that measured them.

        depths: (H,W) [mm] each, inf where nothing is; focal_px: of the camera.
        """
        height, width = depths[0].shape
        sensor = FrameSensor((height, width), focal_px, FAR_MM, self.generator, self._later)
        return [sensor.measure(depth) for depth in depths], sensor


@dataclass(frozen=True)
class _Rendered:
    """A perfect depth image."""

    depth: torch.Tensor  # (H,W) [mm], inf where nothing is
    hands: tuple  # of TrueHand
    skins: tuple  # (H,W) [mm] of each hand alone, inf elsewhere; None where its palm is not seen

    def scene(self, layout, groups, frames, sensor):
        """Return the Scene with the frames that a sensor measured."""
        first, visible, measured = torch.from_numpy(frames[0].astype(np.float32)), [], []
        for skin in self.skins:
            if skin is None:
                visible.append(0.0)
                measured.append(0.0)
                continue
            own = skin < torch.inf
            unhidden = self.depth[own] == skin[own]
            right = (first[own] - skin[own]).abs()[unhidden] < MEASURED_MM
            visible.append(float(unhidden.float().mean()))
            measured.append(float(right.float().mean()) if len(right) else 0.0)
        limbs = tuple(limb.numpy() for group in groups for limb in group.limbs)
        return Scene(
            frames,
            layout.intrinsics,
            self.hands,
            tuple(visible),
            layout.objects,
            sensor.kind,
            limbs,
            sensor.nearest_mm,
            tuple(measured),
        )


@dataclass(frozen=True)
class _Motion:
    """A rigid swinging motion, with a pose for each frame of a sequence."""

    turn: torch.Tensor  # (3,) [rad] rotation vector at its amplitude
    shift: torch.Tensor  # (3,) [mm] amplitude
    rate: float  # [rad] phase per frame
    phase: float  # [rad]

    @classmethod
    def random(cls, draws, shift_mm, turn_rad):
        return cls(
            turn_rad * draws.uniform() * draws.direction(),
            shift_mm * draws.uniform() * draws.direction(),
            2 * math.pi * draws.log_uniform(0.2, 1.5) / RATE_HZ,
            draws.uniform(0, 2 * math.pi),
        )

    def of(self, group, frame, pivot):
        """Return a group at a frame: its layout at the first one, rotated about a pivot (3,) and
        shifted.
        """
        amount = math.sin(self.phase + self.rate * frame) - math.sin(self.phase)
        rotation = small_rotation(amount * self.turn)
        return group.moved(rotation, pivot - rotation @ pivot + amount * self.shift)
