"""People of rendered scenes, without their hands: heads, bodies, legs, and bare or sleeved arms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from awr_ros.synthetic.clutter import HEAD
from awr_ros.synthetic.draws import Draws
from awr_ros.synthetic.solids import Cone, Ellipsoid, Rays

# [mm] upright and facing the camera, relative to the centre of the head.
TORSO = ((185, 300, 115), (0, 560, 55))  # semi-axes and centre, added to clutter.HEAD
SHOULDER = (180.0, 250.0, 45.0)  # of the person's left arm, on the right in the image
HIP, KNEE, ANKLE = (92.0, 800.0, 60.0), (100.0, 1230.0, 40.0), (100.0, 1640.0, 70.0)
UPPER_ARM_MM, FOREARM_MM = 290.0, 260.0  # shoulder to elbow, elbow to wrist
HAND_MM = 190.0  # wrist to fingertips
SHOULDER_RADIUS, UPPER_RADIUS, ELBOW_RADIUS = 64.0, 56.0, 42.0
WRIST_RADIUS, WRIST_FLAT = 27.0, 0.72  # radius [mm] and ratio of thickness to breadth of a wrist


@dataclass(frozen=True)
class Sleeve:
    """Cloth on an arm from the shoulder on."""

    reach: float  # 0: none; 1: to the elbow; 2: to the wrist
    ease_mm: float  # gap between arm and cloth
    fold_mm: float  # height of its folds
    cuff_mm: float  # additional gap at its end
    slant: float  # see Cone.fold_slant

    @classmethod
    def random(cls, draws: Draws) -> 'Sleeve':
        """Draw a sleeve, or none."""
        kind = draws.uniform()
        reach = (
            0.0
            if kind < 0.35
            else draws.uniform(0.3, 1.0)
            if kind < 0.62
            else min(2.0, draws.uniform(1.3, 2.15))
        )
        return cls(
            reach,
            draws.log_uniform(3, 22),
            draws.uniform(0, 5) * draws.chance(0.75),
            draws.uniform(2, 8) * draws.chance(0.4),
            draws.uniform(-0.6, 0.6),
        )


@dataclass(frozen=True)
class Arm:
    """Axis of an arm and its sleeve."""

    shoulder: torch.Tensor  # (3,) [mm]
    elbow: torch.Tensor  # (3,) [mm]
    wrist: torch.Tensor  # (3,) [mm]
    sleeve: Sleeve
    thickness: float = 1.0  # scale relative to the template

    def solids(self, draws: Draws, forearm: bool = True) -> list:
        """Return its solids. forearm: with the bare forearm, which is part of the hand skin if
        there is a hand.
        """
        scale, sleeve = self.thickness, self.sleeve
        upper = Cone(
            self.shoulder,
            self.elbow,
            (scale * UPPER_RADIUS, scale * ELBOW_RADIUS),
            draws.direction(),
            draws.uniform(0.85, 1),
        )
        lower = Cone(
            self.elbow,
            self.wrist,
            (scale * ELBOW_RADIUS, scale * WRIST_RADIUS),
            draws.direction(),
            draws.uniform(WRIST_FLAT, 0.95),
        )
        parts = [
            upper,
            Ellipsoid.ball(self.shoulder, scale * SHOULDER_RADIUS),
            Ellipsoid.ball(self.elbow, scale * ELBOW_RADIUS),
        ]
        parts += [lower] * forearm
        if sleeve.reach > 0:
            parts += _covered(upper, min(1.0, sleeve.reach), sleeve, sleeve.reach < 1)
        if sleeve.reach > 1:
            parts += _covered(lower, sleeve.reach - 1, sleeve, True)
            parts.append(Ellipsoid.ball(self.elbow, scale * ELBOW_RADIUS + sleeve.ease_mm))
        return parts

    def axis(self, points: int = 6) -> torch.Tensor:
        """Return points (2*points,3) [mm] along upper arm and forearm."""
        along = torch.linspace(0.05, 0.95, points)[:, None]
        return torch.cat(
            [
                torch.lerp(self.shoulder, self.elbow, along),
                torch.lerp(self.elbow, self.wrist, along),
            ]
        )


def _covered(bare: Cone, share: float, sleeve: Sleeve, ends: bool) -> list:
    """Return the cloth around the first share of a limb; ends: with its cuff."""
    end = torch.lerp(bare.start, bare.end, share)
    first, last = bare.radii
    last = first + share * (last - first)
    cloth = replace(
        bare,
        end=end,
        radii=(first + sleeve.ease_mm, last + sleeve.ease_mm),
        flat=max(bare.flat, 0.85),
        capped=ends,
        fold_mm=sleeve.fold_mm,
        fold_slant=sleeve.slant,
    )
    if not ends or not sleeve.cuff_mm:
        return [cloth]
    cuff_from = torch.lerp(bare.start, bare.end, max(0.0, share - 0.18))
    radius = last + sleeve.ease_mm + sleeve.cuff_mm
    return [cloth, replace(cloth, start=cuff_from, radii=(radius, radius), fold_mm=0.0)]


@dataclass(frozen=True)
class Person:
    """A person who roughly faces the camera."""

    head: torch.Tensor  # (3,) [mm] centre of the head
    # (3,3) columns: right in the image, down and away from the camera, for this person
    upright: torch.Tensor
    size: float  # scale, 1: the template's
    sleeve: Sleeve
    parts: tuple  # Ellipsoids, the first one is the head

    @classmethod
    def random(
        cls, head: torch.Tensor, upright: torch.Tensor, draws: Draws, size: float = 0
    ) -> 'Person':
        """Draw a person around a position of the head. size: 0 for a random one."""
        size = size or 1 + 0.06 * float(draws.normal(1))
        parts = tuple(
            Ellipsoid(
                head + upright @ (size * torch.tensor(centre, dtype=torch.float32)),
                torch.tensor(extent) * size * (1 + 0.05 * draws.normal(3)),
                upright,
            )
            for extent, centre in (*HEAD, TORSO)
        )
        return cls(head, upright, size, Sleeve.random(draws), parts)

    def at(self, place: Sequence[float], mirrored: bool = False) -> torch.Tensor:
        """Return the position (3,) [mm] of a point of the upright template; mirrored: on the
        person's right.
        """
        x, y, z = place
        return self.head + self.upright @ (self.size * torch.tensor([-x if mirrored else x, y, z]))

    def shoulder(self, side: str) -> torch.Tensor:
        """Return the centre (3,) [mm] of a shoulder. side: 'left' or 'right', the person's own."""
        return self.at(SHOULDER, side == 'right')

    def arm(self, side: str, wrist: torch.Tensor, draws: Draws) -> Arm:
        """Return the arm with its wrist at the given point, or as near as it reaches."""
        shoulder = self.shoulder(side)
        elbow = reach_elbow(shoulder, wrist, self.upright[:, 1] + 0.4 * draws.normal(3))
        return Arm(shoulder, elbow, wrist, self.sleeve, self.size)

    def clothes(self, draws: Draws) -> list:
        """Return legs, and possibly a collar, a hood or a scarf."""
        parts = []
        if draws.chance(0.6):
            loose, step = draws.uniform(0, 25), draws.uniform(-1, 1)
            for mirrored, forward in ((False, step), (True, -step)):
                hip, knee, ankle = (
                    self.at((x, y, z - 150 * forward * share), mirrored)
                    for (x, y, z), share in ((HIP, 0), (KNEE, 1), (ANKLE, 0.7))
                )
                parts += [
                    Cone(
                        hip,
                        knee,
                        (92 + loose, 60 + loose),
                        draws.direction(),
                        fold_mm=draws.uniform(0, 4),
                    ),
                    Cone(
                        knee,
                        ankle,
                        (60 + loose, 42 + loose),
                        draws.direction(),
                        fold_mm=draws.uniform(0, 4),
                    ),
                    Ellipsoid.ball(knee, 60 + loose),
                ]
        if draws.chance(0.35):
            radius, height = draws.uniform(62, 95), draws.uniform(25, 90)
            parts.append(
                Cone(
                    self.at((0, 175, 20)),
                    self.at((draws.uniform(-8, 8), 175 - height, 5)),
                    (radius + 15, radius),
                    self.upright[:, 0],
                    0.9,
                    fold_mm=draws.uniform(0, 4),
                )
            )
        return parts


def reach_elbow(shoulder: torch.Tensor, wrist: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return the elbow (3,) that both segments reach, as far as possible in the direction `down`
    (3,). All [mm].
    """
    line = wrist - shoulder
    distance = line.norm()
    line = line / distance
    along = (UPPER_ARM_MM**2 - FOREARM_MM**2 + distance**2) / (2 * distance)
    radius = (UPPER_ARM_MM**2 - along**2).clamp_min(0).sqrt()
    down = torch.nn.functional.normalize(down - (down @ line) * line, dim=0)
    return shoulder + along * line + radius * down


@dataclass(frozen=True)
class LostHead:
    """Missing depth on heads: hair, eyes, beards and shaded necks give many sensors no return, so
    that a face or shreds are left.

    Applied after the head and everything behind it, before all else.
    """

    head: Ellipsoid
    # (3,) unit, head frame: depth beyond the hairline in this direction is lost
    parting: torch.Tensor
    hairline: float  # in semi-axes of the head
    noise: torch.Tensor  # (1,2,12,12): of hairline and shreds
    shreds: float  # noise above this loses all depth; inf: no shreds

    @classmethod
    def random(cls, head: Ellipsoid, draws: Draws) -> 'LostHead':
        """Draw the loss of depth on a head."""
        parting = torch.nn.functional.normalize(
            torch.tensor([0.0, -1.0, 0.5]) + 0.3 * draws.normal(3), dim=0
        )
        return cls(
            head,
            parting,
            draws.uniform(-0.4, 0.5),
            draws.normal(1, 2, 12, 12),
            draws.uniform(-0.1, 1.5) if draws.chance(0.6) else torch.inf,
        )

    def draw(self, depth: torch.Tensor, rays: Rays) -> None:
        """Remove the lost depth from depth (H,W) [mm]."""
        window = rays.window(self.head.centre, self.head.extent * 1.8)
        z = depth[window]
        if not z.numel():  # outside the image
            return
        seen = torch.stack([rays.x[window[1]] * z, rays.y[window[0]] * z, z], -1)
        # (h,w,3), norm 1 on the surface of the head
        place = (seen - self.head.centre) @ self.head.rotation / self.head.extent
        hairline, shreds = torch.nn.functional.grid_sample(
            self.noise,
            place[None, ..., :2] / 1.8,
            mode='bicubic',
            padding_mode='border',
            align_corners=False,
        )[0]
        radius = place.norm(dim=-1)
        lost = (radius < 1.2) & (place @ self.parting > self.hairline + 0.1 * hairline)
        lost |= (radius < 1.7) & (shreds > self.shreds)
        depth[window] = torch.where(lost, torch.inf, z)

    def moved(self, rotation: torch.Tensor, shift: torch.Tensor) -> 'LostHead':
        """Return it turned by rotation (3,3), then shifted (3,) [mm]."""
        return replace(self, head=self.head.moved(rotation, shift))
