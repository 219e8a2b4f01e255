"""What rendered scenes are made of: cameras, people, hands, arms without hands, walls, objects, and
where they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from awr_ros.camera import Intrinsics
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.draws import Draws
from awr_ros.synthetic.furniture import random_piece, random_thing
from awr_ros.synthetic.hand import FOREARM, forward_kinematics, procedural_skin, random_shapes
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
from awr_ros.synthetic.solids import Box, Ellipsoid, Plane

SKIN_MM = 1.5  # spacing of the points of the skin
NEAREST_MM, FARTHEST_MM = 200.0, 1800.0  # distance of palms
# least length of a hand in the image, and in the image at 160x128
SMALLEST_PX, SMALLEST_COARSE_PX = (16, 7)
COARSE = (160, 128)  # [px]
APART_MM = 170.0  # least distance of two palms
OVER_MM = 30.0  # least distance of a palm from tables and walls
CLEAR_MM = 110.0  # objects added later keep this distance from the line of sight to a palm


@dataclass(frozen=True)
class PosedHand:
    """A hand in the camera's frame."""

    side: str
    skin: torch.Tensor  # (3,N) [mm] up to the wrist
    forearm: torch.Tensor  # (3,M) [mm]
    joints: torch.Tensor  # (21,3) [mm]

    @property
    def palm(self) -> torch.Tensor:
        """Centre of the palm (3,) [mm]."""
        return palm_centre(self.joints)

    def moved(self, rotation: torch.Tensor, shift: torch.Tensor) -> 'PosedHand':
        """Return the hand rotated (3,3) about the origin and shifted (3,) [mm]."""
        return PosedHand(
            self.side,
            rotation @ self.skin + shift[:, None],
            rotation @ self.forearm + shift[:, None],
            self.joints @ rotation.t() + shift,
        )


@dataclass
class Group:
    """A rigidly moving group: solids, limbs, at most one hand."""

    solids: list = field(default_factory=list)  # rendered in this order
    limbs: list = field(default_factory=list)  # of (n,3) tensors [mm]
    hand: PosedHand | None = None
    pivot: torch.Tensor | None = None  # (3,) [mm] centre of its rotation; None: it does not move
    stump: torch.Tensor | None = None  # (3,) [mm] a wrist without a hand, which must not be visible

    def add_arm(self, arm: Arm, draws: Draws, forearm: bool = True) -> None:
        """Add an arm, without its forearm where a hand has one."""
        self.solids += arm.solids(draws, forearm)
        self.limbs.append(arm.axis())

    def moved(self, rotation: torch.Tensor, shift: torch.Tensor) -> 'Group':
        """Return the group moved as `PosedHand.moved`."""
        return Group(
            [solid.moved(rotation, shift) for solid in self.solids],
            [limb @ rotation.t() + shift for limb in self.limbs],
            self.hand and self.hand.moved(rotation, shift),
            self.pivot,
            None if self.stump is None else rotation @ self.stump + shift,
        )


@dataclass
class Layout:
    """A scene before it is rendered: groups in the order of rendering; the first one does not
    move.
    """

    intrinsics: Intrinsics
    upright: torch.Tensor  # (3,3) axes of the room in the camera's frame, y down
    groups: list[Group]
    objects: bool = False

    @property
    def palms(self) -> list[torch.Tensor]:
        """Centres of all palms (3,) [mm]."""
        return [group.hand.palm for group in self.groups if group.hand]

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Return the pixels (n,2) of points (n,3) [mm], inf if not in front of the camera."""
        k, z = self.intrinsics, points[:, 2]
        uv = torch.stack([points[:, 0] / z * k.fx + k.cx, points[:, 1] / z * k.fy + k.cy], 1)
        return torch.where((z > 50)[:, None], uv, torch.inf)

    def sees(self, points: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
        """Return (n,) bool: points in the image, or no farther from it than `margin` of its sides.
        points: (n,3) [mm].
        """
        uv, size = (
            self.project(points),
            torch.tensor([float(self.intrinsics.width), float(self.intrinsics.height)]),
        )
        return ((uv >= -margin * size) & (uv < (1 + margin) * size)).all(1)

    def at(self, u: float, v: float, z: float) -> torch.Tensor:
        """Return the point (3,) [mm] at shares of the image's width and height, at a depth [mm]."""
        k = self.intrinsics
        return torch.tensor([(u * k.width - k.cx) / k.fx * z, (v * k.height - k.cy) / k.fy * z, z])

    def hides_palms(self, points: torch.Tensor, radius: float) -> bool:
        """Whether balls of a radius [mm] around points (n,3) hide or touch a palm."""
        for palm in self.palms:
            scale = palm[2] / points[:, 2].clamp_min(50)
            aside = (points[:, :2] * scale[:, None] - palm[:2]).norm(dim=1)
            if (
                (points[:, 2] - radius < palm[2] + 40) & (aside < radius * scale + CLEAR_MM / 2)
            ).any():
                return True
        return False


class LayoutSource:
    """An endless source of random layouts. generator: determines them all; resolutions: (W,H) of
    the cameras.
    """

    def __init__(self, generator: torch.Generator, resolutions: Sequence) -> None:
        self.generator, self.resolutions = generator, resolutions
        self.draws = Draws(generator)
        self.skin = procedural_skin(SKIN_MM, FOREARM_MM)
        self._of_arm = self.skin.weights[:, FOREARM] > 0.5

    def draw(self, num_hands: int | None = None, arms: int | None = None) -> Layout:
        """Return one layout; arguments as SceneSource.draw."""
        draws = self.draws
        if num_hands is None:
            num_hands = int(draws.uniform(0, 3))
        layout = Layout(self._camera(), self._upright(), [])
        person = self._person(layout) if draws.chance(0.6) else None
        room = Group(list(person.parts) if person else [])
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
        return small_rotation(turn)

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
        turn = small_rotation(torch.tensor([0.0, 0.4 * float(draws.normal(1)), 0.0]))
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
            group = Group(hand=hand, pivot=shoulder)
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
        """Draw a hand (PosedHand) around a palm (3,) with the elbow in the direction `towards`,
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
            PosedHand(side, points[:, ~self._of_arm], points[:, self._of_arm], joints),
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
            group = Group(stump=stump)
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
            group = Group(stump=None if hidden else wrist)
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
            torch.zeros(3), layout.upright @ small_rotation(0.4 * draws.normal(3)), draws
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


def small_rotation(turn: torch.Tensor) -> torch.Tensor:
    """Return the rotation (3,3) of a rotation vector (3,) [rad]."""
    return torch.linalg.matrix_exp(
        torch.tensor([[0.0, -turn[2], turn[1]], [turn[2], 0.0, -turn[0]], [-turn[1], turn[0], 0.0]])
    )


def _frame(first, other):
    """Return orthonormal vectors (3,): `first`, `other` made orthogonal to it, and their cross
    product.
    """
    second = torch.nn.functional.normalize(other - (other @ first) * first, dim=0)
    return first, second, torch.linalg.cross(first, second)
