"""People of rendered scenes, apart from their hands: heads, bodies, legs, and bare or
sleeved arms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from awr_ros.synthetic.clutter import HEAD
from awr_ros.synthetic.draws import Draws
from awr_ros.synthetic.solids import Cone, Ellipsoid, Rays

# [mm] upright and facing the camera, from the middle of the head.
TORSO = ((185, 300, 115), (0, 560, 55))  # semi-axes and centre, added to clutter.HEAD
SHOULDER = (180.0, 250.0, 45.0)  # of the person's left arm, at the image's right
HIP, KNEE, ANKLE = (92.0, 800.0, 60.0), (100.0, 1230.0, 40.0), (100.0, 1640.0, 70.0)
UPPER_ARM_MM, FOREARM_MM = 290.0, 260.0  # shoulder to elbow, elbow to wrist
HAND_MM = 190.0  # wrist to fingertips
SHOULDER_RADIUS, UPPER_RADIUS, ELBOW_RADIUS = 64.0, 56.0, 42.0
WRIST_RADIUS, WRIST_FLAT = 27.0, 0.72  # a wrist is flatter than broad


@dataclass(frozen=True)
class Sleeve:
    """What covers an arm from the shoulder on."""

    reach: float  # 0: nothing; 1: to the elbow; 2: to the wrist
    ease_mm: float  # between arm and cloth
    fold_mm: float  # height of its folds
    cuff_mm: float  # by how much its last part stands off farther
    slant: float  # see Cone.fold_slant

    @classmethod
    def random(cls, draws: Draws) -> 'Sleeve':
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
    """The axis of an arm and what covers it."""

    shoulder: torch.Tensor  # (3,) [mm]
    elbow: torch.Tensor  # (3,) [mm]
    wrist: torch.Tensor  # (3,) [mm]
    sleeve: Sleeve
    thickness: float = 1.0  # times the template's

    def solids(self, draws: Draws, forearm: bool = True) -> list:
        """Return what it is made of. forearm: with the bare one, which belongs to the skin where
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
    """Cloth around the first share of a limb; ends: with its cuff."""
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
    """Somebody who faces the camera, about."""

    head: torch.Tensor  # (3,) [mm] the middle of the head
    # (3,3): to the image's right, down and away from the camera as this person stands
    upright: torch.Tensor
    size: float  # 1: the template's
    sleeve: Sleeve
    parts: tuple  # of Ellipsoid; the head is the first

    @classmethod
    def random(
        cls, head: torch.Tensor, upright: torch.Tensor, draws: Draws, size: float = 0
    ) -> 'Person':
        """Draw one around a head's place. size: 0 for a random one."""
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
        """Return where (3,) [mm] a place of the upright template is; mirrored: on the person's
        right.
        """
        x, y, z = place
        return self.head + self.upright @ (self.size * torch.tensor([-x if mirrored else x, y, z]))

    def shoulder(self, side: str) -> torch.Tensor:
        """Return the middle (3,) [mm] of a shoulder. side: 'left' or 'right', the person's own."""
        return self.at(SHOULDER, side == 'right')

    def arm(self, side: str, wrist: torch.Tensor, draws: Draws) -> Arm:
        """Return the arm whose wrist is there, or as near as it reaches."""
        shoulder = self.shoulder(side)
        elbow = reach_elbow(shoulder, wrist, self.upright[:, 1] + 0.4 * draws.normal(3))
        return Arm(shoulder, elbow, wrist, self.sleeve, self.size)

    def clothes(self, draws: Draws) -> list:
        """Return legs, and a collar, a hood or a scarf, or not."""
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
    """Return an elbow (3,) that both reach, as far `down` (3,) as can be. All [mm]."""
    line = wrist - shoulder
    distance = line.norm()
    line = line / distance
    along = (UPPER_ARM_MM**2 - FOREARM_MM**2 + distance**2) / (2 * distance)
    radius = (UPPER_ARM_MM**2 - along**2).clamp_min(0).sqrt()
    down = torch.nn.functional.normalize(down - (down @ line) * line, dim=0)
    return shoulder + along * line + radius * down


@dataclass(frozen=True)
class LostHead:
    """Hair, eyes, beards and shaded necks give many sensors nothing back: of some heads a face is
    left, or shreds of one.

    Drawn after the head and what is behind it, before all else.
    """

    head: Ellipsoid
    # (3,) unit, of the head: what lies farther this way than the hairline is lost
    parting: torch.Tensor
    hairline: float  # in semi-axes of the head
    noise: torch.Tensor  # (1,2,12,12): of the hairline, of the shreds
    shreds: float  # where the noise is higher all is lost; inf: no shreds

    @classmethod
    def random(cls, head: Ellipsoid, draws: Draws) -> 'LostHead':
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
        """Take what is lost out of depth (H,W) [mm]."""
        window = rays.window(self.head.centre, self.head.extent * 1.8)
        z = depth[window]
        if not z.numel():  # out of the image
            return
        seen = torch.stack([rays.x[window[1]] * z, rays.y[window[0]] * z, z], -1)
        # (h,w,3), the head's surface at a norm of 1
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
