"""Rendered depth frames of whole scenes, still or moving: any camera, bodies, arms, hands, objects,
walls.

Apart from the hand's skin and postures nothing is shared with the training crops: frames are
rendered in perspective at the camera's resolution with noise in the frame, arms lead from elbows to
bodies or out of the image, many of them without a visible hand, and the tracker cuts its own crops.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from awr_ros.camera import Intrinsics
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import TrueHand
from awr_ros.synthetic.draws import Draws
from awr_ros.synthetic.frame_sensor import FrameSensor
from awr_ros.synthetic.furniture import random_piece, random_thing
from awr_ros.synthetic.hand import (
    ARM_SPACING,
    FOREARM,
    forward_kinematics,
    procedural_skin,
    random_shapes,
)
from awr_ros.synthetic.people import (
    FOREARM_MM,
    HAND_MM,
    TORSO,
    UPPER_ARM_MM,
    Arm,
    LostHead,
    Person,
    Sleeve,
)
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import splat_image
from awr_ros.synthetic.solids import Box, Ellipsoid, Plane, Rays

RESOLUTIONS = ((320, 240), (424, 240), (512, 424), (640, 360), (640, 480), (848, 480), (1280, 720))
SKIN_MM = 1.5  # spacing of the points of the skin
NEAREST_MM, FARTHEST_MM = 200.0, 1800.0  # distance of palms
# least length of a hand in the image, and in the image at 160x128
SMALLEST_PX, SMALLEST_COARSE_PX = (16, 7)
COARSE = (160, 128)  # [px]
FAR_MM = 2450.0  # range of the camera
APART_MM = 170.0  # least distance of two palms
OVER_MM = 30.0  # least distance of a palm from tables and walls
CLEAR_MM = 110.0  # objects added later keep this distance from the line of sight to a palm
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


@dataclass(frozen=True)
class _PosedHand:
    side: str
    skin: torch.Tensor  # (3,N) [mm] up to the wrist
    forearm: torch.Tensor  # (3,M) [mm]
    joints: torch.Tensor  # (21,3) [mm]

    @property
    def palm(self):
        return palm_centre(self.joints)

    def moved(self, rotation, shift):
        return _PosedHand(
            self.side,
            rotation @ self.skin + shift[:, None],
            rotation @ self.forearm + shift[:, None],
            self.joints @ rotation.t() + shift,
        )


@dataclass
class _Group:
    """A rigidly moving group: solids, limbs, at most one hand."""

    solids: list = field(default_factory=list)  # rendered in this order
    limbs: list = field(default_factory=list)  # of (n,3) tensors [mm]
    hand: _PosedHand | None = None
    pivot: torch.Tensor | None = None  # (3,) [mm] centre of its rotation; None: it does not move
    stump: torch.Tensor | None = None  # (3,) [mm] a wrist without a hand, which must not be visible

    def add_arm(self, arm, draws, forearm=True):
        self.solids += arm.solids(draws, forearm)
        self.limbs.append(arm.axis())

    def moved(self, rotation, shift):
        return _Group(
            [solid.moved(rotation, shift) for solid in self.solids],
            [limb @ rotation.t() + shift for limb in self.limbs],
            self.hand and self.hand.moved(rotation, shift),
            self.pivot,
            None if self.stump is None else rotation @ self.stump + shift,
        )


@dataclass
class _Layout:
    """A scene before it is rendered: groups in the order of rendering; the first one does not
    move.
    """

    intrinsics: Intrinsics
    upright: torch.Tensor  # (3,3) axes of the room in the camera's frame, y down
    groups: list
    objects: bool = False

    @property
    def palms(self):
        return [group.hand.palm for group in self.groups if group.hand]

    def project(self, points):
        """Return the pixels (n,2) of points (n,3) [mm], inf if not in front of the camera."""
        k, z = self.intrinsics, points[:, 2]
        uv = torch.stack([points[:, 0] / z * k.fx + k.cx, points[:, 1] / z * k.fy + k.cy], 1)
        return torch.where((z > 50)[:, None], uv, torch.inf)

    def sees(self, points, margin=0.0):
        """Return (n,) bool: points in the image, or no farther from it than `margin` of its sides.
        points: (n,3) [mm].
        """
        uv, size = (
            self.project(points),
            torch.tensor([float(self.intrinsics.width), float(self.intrinsics.height)]),
        )
        return ((uv >= -margin * size) & (uv < (1 + margin) * size)).all(1)

    def at(self, u, v, z):
        """Return the point (3,) [mm] at shares of the image's width and height, at a depth [mm]."""
        k = self.intrinsics
        return torch.tensor([(u * k.width - k.cx) / k.fx * z, (v * k.height - k.cy) / k.fy * z, z])

    def hides_palms(self, points, radius):
        """Whether balls of a radius [mm] around points (n,3) hide or touch a palm."""
        for palm in self.palms:
            scale = palm[2] / points[:, 2].clamp_min(50)
            aside = (points[:, :2] * scale[:, None] - palm[:2]).norm(dim=1)
            if (
                (points[:, 2] - radius < palm[2] + 40) & (aside < radius * scale + CLEAR_MM / 2)
            ).any():
                return True
        return False


class SceneSource:
    """An endless source of random scenes; a seed determines them all."""

    def __init__(self, seed: int, resolutions: Sequence = RESOLUTIONS) -> None:
        self.generator, self.resolutions = torch.Generator().manual_seed(seed), resolutions
        self.draws = Draws(self.generator)
        self.skin = procedural_skin(SKIN_MM, FOREARM_MM)
        self._of_arm = self.skin.weights[:, FOREARM] > 0.5
        # for all frames but the first, so that their number does not change the scene
        self._later = torch.Generator().manual_seed(seed + 1)

    @torch.no_grad()
    def draw(self, num_hands: int | None = None, frames: int = 1, arms: int | None = None) -> Scene:
        """Return one scene.

        num_hands: 0, 1 or 2; frames: number of frames; arms: number without a visible hand, beside
        those of bodies. None: random.
        """
        layout = self._layout(num_hands, arms)
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
        layout = self._layout(num_hands, arms)
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
        draws = self.draws
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

    # ---- parts of a scene

    def _layout(self, num_hands, arms):
        draws = self.draws
        if num_hands is None:
            num_hands = int(draws.uniform(0, 3))
        layout = _Layout(self._camera(), self._upright(), [])
        person = self._person(layout) if draws.chance(0.6) else None
        room = _Group(list(person.parts) if person else [])
        planes = self._planes(layout, person)
        room.solids += planes
        if person and draws.chance(0.5):
            room.solids.append(LostHead.random(person.parts[0], draws))
        if person:
            room.solids += person.clothes(draws)
        layout.groups.append(room)
        self._add_hands(layout, num_hands, person, planes)
        if draws.chance(0.25):
            self._add_cut_person(layout)
        if arms is None:
            arms = int(draws.uniform(1, 3)) if draws.chance(0.3 if layout.palms else 0.55) else 0
        for _ in range(arms):
            self._add_arm_without_hand(layout)
        if draws.chance(0.65):
            for _ in range(int(draws.uniform(1, 4))):
                self._add_if_clear(
                    layout, random_piece(self._anywhere(layout, 450, 1900), layout.upright, draws)
                )
        layout.objects = draws.chance(0.5)
        for _ in range(int(draws.uniform(1, 4)) if layout.objects else 0):
            self._add_thing(layout)
        return layout

    def _camera(self):
        draws = self.draws
        width, height = draws.choice(self.resolutions)
        kind = draws.uniform()
        # Depth aligned to a colour image; stereo and most others; wide time of flight.
        degrees = (
            draws.uniform(50, 58)
            if kind < 0.3
            else draws.uniform(58, 92)
            if kind < 0.85
            else draws.uniform(92, 120)
        )
        fx = min(width / 2 / math.tan(math.radians(degrees) / 2), 950.0)
        return Intrinsics(
            fx=fx,
            fy=fx * draws.uniform(0.99, 1.01),
            cx=width / 2 + draws.uniform(-9, 9),
            cy=height / 2 + draws.uniform(-9, 9),
            width=width,
            height=height,
        )

    def _upright(self):
        """Draw the axes (3,3) of the room: most cameras are about level, some look down or up, some
        are mounted sideways.
        """
        draws = self.draws
        turn = 0.15 * draws.normal(3)
        if draws.chance(0.25):
            turn[0] += draws.uniform(-0.8, 0.4)
        if draws.chance(0.1):
            turn[2] += draws.choice((-1, 1, 2)) * math.pi / 2
        return _small_rotation(turn)

    def _anywhere(self, layout, near, far):
        draws = self.draws
        return layout.at(
            draws.uniform(-0.1, 1.1), draws.uniform(-0.1, 1.1), draws.log_uniform(near, far)
        )

    def _person(self, layout):
        draws = self.draws
        z = draws.log_uniform(600, 2300)
        if draws.chance(0.7):
            head = torch.tensor([draws.uniform(-220, 220), draws.uniform(-420, 40), z])
        else:
            head = layout.at(draws.uniform(-0.1, 1.1), draws.uniform(-0.3, 0.6), z)
        turn = _small_rotation(torch.tensor([0.0, 0.4 * float(draws.normal(1)), 0.0]))
        return Person.random(head, layout.upright @ turn, draws)

    def _planes(self, layout, person):
        """Add walls, tables and floors."""
        draws, upright = self.draws, layout.upright

        def facing(lean):
            return upright @ torch.nn.functional.normalize(
                torch.tensor([draws.uniform(-lean, lean), draws.uniform(-lean, lean), 1.0]), dim=0
            )

        planes = []
        if person is None and draws.chance(0.4):  # a desk from above, a wall behind a gesture
            planes.append(Plane(facing(1.0), draws.uniform(350, 1500)))
        elif draws.chance(0.8 if person else 0.6):  # a wall, upright
            normal = upright @ torch.nn.functional.normalize(
                torch.tensor([draws.uniform(-0.6, 0.6), 0.0, 1.0]), dim=0
            )
            behind = (
                float(normal @ person.head) + draws.uniform(150, 1200)
                if person
                else draws.uniform(800, 2400)
            )
            planes.append(Plane(normal, behind))
        if draws.chance(0.25):  # a table, or the floor
            planes.append(
                Plane(
                    upright[:, 1],
                    draws.uniform(180, 450) if draws.chance(0.7) else draws.uniform(450, 1500),
                )
            )
        return planes

    # ---- hands and their arms

    def _add_hands(self, layout, count, person, planes):
        draws = self.draws
        sides = ['left', 'right'] if draws.chance(0.5) else ['right', 'left']
        used = []
        for side in sides[:count]:
            palm = self._palm(side, layout, person, planes)
            if palm is None:
                continue
            if person is not None:
                towards = person.arm(side, palm, draws).elbow - palm
            elif draws.chance(0.5):
                towards = torch.nn.functional.normalize(
                    palm * torch.tensor([1.0, 1.0, 0.0]) + 60 * draws.normal(3), dim=0
                ) + torch.tensor([0.0, 0.5, draws.uniform(-0.2, 1.0)])
            else:
                towards = draws.normal(3) * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor(
                    [0.0, 0.0, draws.uniform(-0.5, 1.2)]
                )
            towards = torch.nn.functional.normalize(towards, dim=0)
            hand, thickness = self._posed(side, palm, towards)
            wrist = hand.joints[0]
            elbow = wrist + FOREARM_MM * towards
            shoulder = (
                person.shoulder(side)
                if person
                else self._shoulder(layout, side, elbow, wrist, hand.palm)
            )
            sleeve = person.sleeve if person else Sleeve.random(draws)
            group = _Group(hand=hand, pivot=shoulder)
            group.add_arm(Arm(shoulder, elbow, wrist, sleeve, thickness), draws, forearm=False)
            layout.groups.append(group)
            used.append(side)
        if person is not None:
            for side in ('left', 'right'):
                if side not in used:
                    self._add_free_arm(layout, person, side)

    def _palm(self, side, layout, person, planes):
        """Draw a free point (3,) [mm] in view for the centre of a palm, or None."""
        draws, k = self.draws, layout.intrinsics
        coarse = max(k.width / COARSE[0], k.height / COARSE[1])
        far = min(
            FARTHEST_MM, HAND_MM * k.fx / SMALLEST_PX, HAND_MM * k.fx / coarse / SMALLEST_COARSE_PX
        )
        shoulder = person.shoulder(side) if person else None
        for _ in range(40):
            if person is not None and draws.chance(0.6):
                palm = shoulder + draws.uniform(
                    220, UPPER_ARM_MM + FOREARM_MM
                ) * draws.direction() * torch.tensor([1.0, 1.0, -1.0])
                u, v = layout.project(palm[None])[0].tolist()
                if not (
                    0.06 < u / k.width < 0.94
                    and 0.06 < v / k.height < 0.94
                    and NEAREST_MM < palm[2] < far
                ):
                    continue
            else:
                palm = layout.at(
                    draws.uniform(0.09, 0.91),
                    draws.uniform(0.09, 0.91),
                    draws.log_uniform(NEAREST_MM, far),
                )
            if any((other - palm).norm() < APART_MM for other in layout.palms):
                continue
            if any(plane.normal @ palm > plane.distance - OVER_MM for plane in planes):
                continue
            if person is not None and not (
                200 < (palm - shoulder).norm() < UPPER_ARM_MM + FOREARM_MM
                and palm[2] < shoulder[2] - 130
            ):
                continue
            return palm
        return None

    def _posed(self, side, palm, towards):
        """Draw a hand (_PosedHand) around a palm (3,) with the elbow in the direction `towards`,
        and its forearm's thickness.
        """
        draws = self.draws
        shape = random_shapes(1, self.generator)
        frames, joints = forward_kinematics(shape, random_poses(1, self.generator))
        mirror = torch.tensor([1.0, 1.0, 1.0] if side == 'right' else [-1.0, 1.0, 1.0])
        rotation = self._turned(frames[0, FOREARM, :3, 0], towards * mirror)
        placed = torch.eye(4)[None]
        placed[0, :3, :3] = rotation
        placed[0, :3, 3] = palm * mirror - rotation @ palm_centre(joints[0])
        points = self.skin.posed(shape, frames, placed)[0] * mirror[:, None]
        joints = (joints[0] @ rotation.t() + placed[0, :3, 3]) * mirror
        return (
            _PosedHand(side, points[:, ~self._of_arm], points[:, self._of_arm], joints),
            float(shape.thickness[0, FOREARM]) * draws.uniform(0.95, 1.1),
        )

    def _turned(self, axis, towards):
        """Draw a rotation (3,3) from one unit vector to another, with palm or back rather than edge
        towards the camera.
        """
        best = None
        for rotation in random_rotations(4, self.generator, 'cpu'):
            # Two frames with these vectors as first axes, by Gram-Schmidt.
            a = torch.stack(_frame(axis, torch.tensor([0.0, 0.0, 1.0])), 1)
            b = torch.stack(_frame(towards, rotation[:, 0]), 1)
            candidate = b @ a.t()
            if best is None or candidate[2, 2].abs() > best[2, 2].abs():
                best = candidate
            if self.draws.chance(0.4):
                break
        return best

    def _shoulder(self, layout, side, elbow, wrist, palm=None):
        """Draw a shoulder (3,) [mm] for an elbow: out of the image, or in it, and then add its
        person.
        """
        draws = self.draws
        for _ in range(8):
            outwards = torch.nn.functional.normalize(elbow * torch.tensor([1.0, 1.0, 0.0]), dim=0)
            towards = torch.nn.functional.normalize(
                outwards
                + 0.7 * draws.normal(3)
                + torch.tensor([0.0, 0.0, draws.uniform(-0.3, 0.8)]),
                dim=0,
            )
            shoulder = elbow + UPPER_ARM_MM * towards
            if towards @ (wrist - elbow) > 0.75 * FOREARM_MM:  # limit of the elbow
                continue
            if not layout.sees(shoulder[None], 0.08)[0]:
                return shoulder
            person = Person.random(shoulder, layout.upright, draws)
            head = shoulder - (person.shoulder(side) - person.head)
            if (
                head[2] > 350
                and (palm is None or palm[2] < shoulder[2] - 150)
                and not layout.hides_palms(
                    torch.stack([head, head + 560 * layout.upright[:, 1]]), 130
                )
            ):
                person = Person.random(head, layout.upright, draws, person.size)
                layout.groups[0].solids += [*person.parts, *person.clothes(draws)]
                self._add_free_arm(layout, person, 'left' if side == 'right' else 'right')
                return shoulder
        return elbow + 2.5 * UPPER_ARM_MM * outwards

    def _add_free_arm(self, layout, person, side):
        """Add an arm of a person with the hand out of the image, in a pocket, behind the back or
        tucked in.
        """
        draws = self.draws
        shoulder = person.shoulder(side)
        down = torch.nn.functional.normalize(person.upright[:, 1] + 0.15 * draws.normal(3), dim=0)
        elbow = shoulder + UPPER_ARM_MM * down
        wrist = elbow + FOREARM_MM * torch.nn.functional.normalize(
            down - 0.3 * draws.uniform() * person.upright[:, 2], dim=0
        )
        arm, stump = Arm(shoulder, elbow, wrist, person.sleeve, person.size), wrist
        if draws.chance(0.6) or layout.sees(wrist[None], 0.02)[0]:
            x, y, z = ((TORSO[1][i] + draws.uniform(-0.6, 0.6) * TORSO[0][i]) for i in range(3))
            wrist = (
                person.at((x, y + 60, z))
                if draws.chance(0.75)
                else person.at((170.0, 420.0, 20.0), side == 'left')
            )
            arm, stump = person.arm(side, wrist, draws), None  # a tucked-in arm does not move
        if not layout.hides_palms(arm.axis(), 50):
            group = _Group(stump=stump)
            group.add_arm(arm, draws)
            layout.groups.append(group)

    def _add_arm_without_hand(self, layout):
        """Add an arm with the hand out of the image, or hidden: cut by a border at forearm, elbow
        or upper arm.
        """
        draws = self.draws
        for _ in range(12):
            elbow = layout.at(
                draws.uniform(-0.25, 1.25), draws.uniform(-0.25, 1.25), draws.log_uniform(250, 1900)
            )
            towards = torch.nn.functional.normalize(
                draws.normal(3) * torch.tensor([1.0, 1.0, 0.7]), dim=0
            )
            wrist, fingers = elbow + FOREARM_MM * towards, elbow + (FOREARM_MM + HAND_MM) * towards
            hidden = draws.chance(0.12)
            if min(wrist[2], fingers[2]) < 150 or (
                not hidden and layout.sees(torch.stack([wrist, fingers])).any()
            ):
                continue
            arm = Arm(
                elbow + UPPER_ARM_MM * draws.direction(),
                elbow,
                wrist,
                Sleeve.random(draws),
                1 + 0.1 * float(draws.normal(1)),
            )
            if not layout.sees(arm.axis()[3:]).any() or layout.hides_palms(arm.axis(), 50):
                continue
            group = _Group(stump=None if hidden else wrist)
            if hidden:
                extent = torch.tensor([draws.uniform(75, 200) for _ in range(3)])
                cover = (Box if draws.chance(0.7) else Ellipsoid)(
                    wrist + 60 * towards, extent, random_rotations(1, self.generator, 'cpu')[0]
                )
                if layout.hides_palms(cover.centre[None], float(extent.max())):
                    continue
                group.solids.append(cover)
            shoulder = self._shoulder(layout, draws.choice(('left', 'right')), elbow, wrist)
            group.pivot = shoulder
            group.add_arm(Arm(shoulder, elbow, wrist, arm.sleeve, arm.thickness), draws)
            if not layout.hides_palms(group.limbs[0], 60):
                layout.groups.append(group)
                return

    def _add_cut_person(self, layout):
        """Add a person near a border of the image: a strip of torso, a shoulder, legs."""
        draws = self.draws
        along, beyond = draws.uniform(-0.2, 1.2), draws.uniform(-0.1, 0.25)
        u, v = draws.choice(
            ((-beyond, along), (1 + beyond, along), (along, -beyond), (along, 1 + beyond))
        )
        middle = layout.at(u, v, draws.log_uniform(380, 1600))
        person = Person.random(
            torch.zeros(3), layout.upright @ _small_rotation(0.4 * draws.normal(3)), draws
        )
        at = draws.choice(
            (
                (0.0, 560.0, 55.0),
                (0.0, 560.0, 55.0),
                (170.0, 320.0, 45.0),
                (-170.0, 320.0, 45.0),
                (0.0, 1000.0, 50.0),
            )
        )
        person = Person.random(middle - person.at(at), person.upright, draws, person.size)
        solids = [*person.parts, *person.clothes(draws)]
        if layout.hides_palms(
            torch.stack(
                [person.at((0.0, y, 55.0)) for y in (0.0, 350.0, 500.0, 700.0, 1000.0, 1300.0)]
            ),
            150,
        ):
            return
        layout.groups[0].solids += solids
        layout.groups[0].limbs.append(
            torch.stack(
                [
                    person.at(place)
                    for place in (
                        (150.0, 260.0, 45.0),
                        (-150.0, 260.0, 45.0),
                        (100.0, 1000.0, 50.0),
                        (-100.0, 1000.0, 50.0),
                        (160.0, 560.0, 55.0),
                        (-160.0, 560.0, 55.0),
                    )
                ]
            )
        )
        for side in ('left', 'right'):
            self._add_free_arm(layout, person, side)

    # ---- objects

    def _add_if_clear(self, layout, solids):
        centres = [
            solid.centre if isinstance(solid, Ellipsoid) else (solid.start + solid.end) / 2
            for solid in solids
        ]
        if not layout.hides_palms(torch.stack(centres), 60):
            layout.groups[0].solids += solids

    def _add_thing(self, layout):
        draws, palms = self.draws, layout.palms
        if palms and draws.chance(0.4):  # held, or beside the hand
            group = next(group for group in layout.groups if group.hand)
            group.solids += random_thing(palms[0] + 45 * draws.normal(3), draws, smaller=True)
        else:
            layout.groups[0].solids += random_thing(self._anywhere(layout, 450, 1500), draws)

    # ---- the sensor

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
        rotation = _small_rotation(amount * self.turn)
        return group.moved(rotation, pivot - rotation @ pivot + amount * self.shift)


def _small_rotation(turn):
    return torch.linalg.matrix_exp(
        torch.tensor([[0.0, -turn[2], turn[1]], [turn[2], 0.0, -turn[0]], [-turn[1], turn[0], 0.0]])
    )


def _frame(first, other):
    """Return orthonormal vectors (3,): `first`, `other` made orthogonal to it, and their cross
    product.
    """
    second = torch.nn.functional.normalize(other - (other @ first) * first, dim=0)
    return first, second, torch.linalg.cross(first, second)
