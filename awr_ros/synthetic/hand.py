"""A procedural right hand: kinematics with exact joints, and a skin of points attached to the
bones.

Hand frame [mm]: origin at the wrist, x towards the fingers, y towards the thumb, z out of the back
of the hand (the wrist frame of `skeleton.wrist_rotation`). Flexion is a positive rotation about a
bone's y axis.

22 bones: 0 the carpus (the hand frame itself), 1..20 the bone that ends in that joint, 21 the
forearm. A bone's frame is at its first joint, x along the bone. Proportions follow Buchholz et al.
(J. Biomechanics 1992), rescaled to a hand of 190 mm; thicknesses follow sphere-mesh fits of real
hands.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from awr_ros.skeleton import NUM_JOINTS, TIPS

NUM_BONES = 22
FOREARM = 21
# Joints at the ends of the carpus and the metacarpals: thumb CMC, index, middle, ring, pinky MCP.
KNUCKLES = (1, 5, 9, 13, 17)
KNUCKLE_XYZ = (
    (27.0, 25.0, -12.0),
    (88.0, 24.0, -4.0),
    (90.0, 3.0, -2.0),
    (84.0, -17.0, -5.0),
    (74.0, -34.0, -11.0),
)
# [mm] of the three segments beyond each knuckle, the last one up to the centre of the fingertip.
SEGMENTS = (
    (41.0, 33.0, 23.0),
    (44.0, 25.0, 18.0),
    (48.0, 28.0, 19.0),
    (44.0, 27.0, 19.0),
    (34.0, 20.0, 17.0),
)
# Direction of each finger at rest: fan about z (positive towards the thumb) and roll about the bone
# [deg].
FAN = (0.0, 3.0, -4.0, -11.0, -18.0)
ROLL = (0.0, -3.0, 1.0, 6.0, 14.0)
# Skin radius [mm] at the knuckle, the two joints beyond and the tip.
RADII = (
    (14.0, 11.5, 9.8, 7.6),
    (10.8, 9.0, 7.7, 6.2),
    (11.0, 9.2, 7.9, 6.4),
    (10.4, 8.7, 7.4, 6.0),
    (9.2, 7.6, 6.6, 5.4),
)
# [mm] Skin radius of each bone: of the carpus, then from the thumb to the little finger the
# metacarpal and the three segments, of the forearm.
BONE_RADII = (
    16.0,
    *(
        radius
        for metacarpal, radii in zip((12.0, 13.0, 13.0, 13.0, 12.0), RADII)
        for radius in (metacarpal, *((a + b) / 2 for a, b in zip(radii, radii[1:])))
    ),
    24.0,
)
ARM_SPACING = 1.5  # spacing of the forearm's points relative to the hand's


@dataclass(frozen=True)
class HandShape:
    """A batch of B hands of different people."""

    knuckles: torch.Tensor  # (B,5,3) [mm] hand frame: thumb CMC and the four MCPs
    segments: torch.Tensor  # (B,5,3) [mm]
    thickness: torch.Tensor  # (B,22) radial scale of each bone, 1 = template


@dataclass(frozen=True)
class HandPose:
    """A batch of B poses [rad]."""

    # (B,5,4): MCP flexion, MCP abduction (+ towards the thumb), PIP, DIP flexion;
    fingers: torch.Tensor
    # row 0, the thumb: azimuth towards the thumb side, palmar elevation, MCP, IP flexion
    thumb_roll: torch.Tensor  # (B,) roll of the thumb about its metacarpal
    # (B,2): flexion, deviation towards the thumb, of the hand against the forearm
    wrist: torch.Tensor


def mean_shapes(batch: int, device: str | torch.device = 'cpu') -> HandShape:
    """Return the proportions of the template, B times."""
    return HandShape(
        torch.tensor([KNUCKLE_XYZ], device=device).expand(batch, 5, 3),
        torch.tensor([SEGMENTS], device=device).expand(batch, 5, 3),
        torch.ones(batch, NUM_BONES, device=device),
    )


def random_shapes(
    batch: int, generator: torch.Generator, device: str | torch.device = 'cpu'
) -> HandShape:
    """Draw B hands: men and women, large and small, thick and thin (British 5th to 95th percentile
    and a margin).
    """

    def normal(*shape, sigma):
        return (1 + sigma * torch.randn(*shape, generator=generator, device=device)).clamp(
            1 - 2.5 * sigma, 1 + 2.5 * sigma
        )

    size = normal(batch, 1, 1, sigma=0.08)
    breadth = torch.cat(
        [
            normal(batch, 1, 1, sigma=0.03),
            normal(batch, 1, 1, sigma=0.07),
            normal(batch, 1, 1, sigma=0.10),
        ],
        -1,
    )
    mean = mean_shapes(1, device)
    knuckles = mean.knuckles * size * breadth * normal(batch, 5, 1, sigma=0.03)
    segments = (
        mean.segments
        * size
        * normal(batch, 1, 1, sigma=0.04)
        * normal(batch, 5, 1, sigma=0.03)
        * normal(batch, 5, 3, sigma=0.04)
    )
    thickness = size[:, 0] * normal(batch, 1, sigma=0.10) * normal(batch, NUM_BONES, sigma=0.04)
    return HandShape(knuckles, segments, thickness)


def gloved(shape: HandShape, glove_mm: torch.Tensor) -> HandShape:
    """Return hands in gloves, which leave the joints where they are. glove_mm: (B,) [mm] thickness
    of each glove, 0: none.
    """
    radii = torch.tensor(BONE_RADII, device=glove_mm.device)
    thickness = shape.thickness + glove_mm[:, None] / radii
    return HandShape(shape.knuckles, shape.segments, thickness)


def forward_kinematics(shape: HandShape, pose: HandPose) -> tuple[torch.Tensor, torch.Tensor]:
    """Return bone frames hand_from_bone (B,22,4,4) float [mm] and joints (B,21,3) float [mm], both
    in the hand frame.
    """
    chain, joints = finger_chains(shape, pose)
    frames = torch.eye(4, device=joints.device).repeat(len(joints), NUM_BONES, 1, 1)
    roll = torch.deg2rad(torch.tensor(ROLL, device=joints.device))
    along = torch.cat([_along(shape.knuckles, roll)[:, :, None], chain], 2)  # (B,5,4,3,3)
    frames[:, 1:FOREARM, :3, :3] = along.flatten(1, 2)
    # Metacarpals begin at the wrist, the origin; every other bone at the end of the one before it.
    frames[:, 1:FOREARM, :3, 3].unflatten(1, (5, 4))[:, :, 1:] = joints[:, 1:].unflatten(1, (5, 4))[
        :, :, :3
    ]
    frames[:, FOREARM, :3, :3] = rotation('z', pose.wrist[:, 1] + torch.pi) @ rotation(
        'y', pose.wrist[:, 0]
    )
    return frames, joints


def finger_chains(shape: HandShape, pose: HandPose) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rotations hand_from_bone (B,5,3,3,3) of the three segments of every finger, and joints
    (B,21,3) float [mm].
    """
    first, second, middle, distal = pose.fingers.unbind(-1)  # (B,5) each
    fan, roll = (
        torch.deg2rad(torch.tensor(angles[1:], device=first.device)) for angles in (FAN, ROLL)
    )
    thumb = (
        rotation('z', first[:, 0]) @ rotation('y', second[:, 0]) @ rotation('x', pose.thumb_roll)
    )
    fingers = (rotation('z', fan) @ rotation('x', roll)) @ (
        rotation('z', second[:, 1:]) @ rotation('y', first[:, 1:])
    )
    proximal = torch.cat([thumb[:, None], fingers], 1)  # (B,5,3,3)
    intermediate = proximal @ rotation('y', middle)
    # (B,5,3,3,3)
    chain = torch.stack([proximal, intermediate, intermediate @ rotation('y', distal)], 2)
    steps = torch.cat([shape.knuckles[:, :, None], chain[..., 0] * shape.segments[..., None]], 2)
    joints = steps.cumsum(2).flatten(1, 2)  # (B,20,3), without the wrist
    return chain, torch.cat([torch.zeros_like(joints[:, :1]), joints], 1)


def bone_lengths(shape: HandShape) -> torch.Tensor:
    """Return the lengths (B,22) [mm]; the forearm's is nominal, since its skin is not stretched
    along it.
    """
    lengths = torch.full((shape.knuckles.shape[0], NUM_BONES), 90.0, device=shape.knuckles.device)
    metacarpals = shape.knuckles.norm(dim=-1, keepdim=True)  # (B,5,1)
    lengths[:, 0] = metacarpals[:, 2, 0]
    lengths[:, 1:FOREARM] = torch.cat([metacarpals, shape.segments], -1).flatten(1)
    return lengths


@dataclass(frozen=True)
class HandSkin:
    """Points on a hand at rest and their weights to the bones (linear blend skinning)."""

    points: torch.Tensor  # (N,3) [mm] hand frame at rest
    weights: torch.Tensor  # (N,22) non-negative, rows sum to 1
    rest_frames: torch.Tensor  # (22,4,4) hand_from_bone at rest
    rest_lengths: torch.Tensor  # (22,) [mm]

    @functools.cached_property
    def features(self) -> torch.Tensor:
        """Weights x homogeneous points (88,N): skinning is one matrix product with the bones'
        transforms.
        """
        homogeneous = torch.cat([self.points, torch.ones_like(self.points[:, :1])], -1)
        return (self.weights[:, :, None] * homogeneous[:, None]).flatten(1).t().contiguous()

    @functools.cached_property
    def bones_from_rest(self) -> torch.Tensor:
        """Inverse of rest_frames (22,4,4)."""
        return torch.linalg.inv(self.rest_frames)

    def to(self, device: str | torch.device) -> 'HandSkin':
        """Return the skin on a device."""
        return HandSkin(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def posed(
        self, shape: HandShape, frames: torch.Tensor, camera_from_hand: torch.Tensor
    ) -> torch.Tensor:
        """Return the skin points (B,3,N) [mm] in the camera frame. frames: (B,22,4,4);
        camera_from_hand: (B,4,4).
        """
        # (B,22,4)
        scale = torch.stack(
            [
                bone_lengths(shape) / self.rest_lengths,
                shape.thickness,
                shape.thickness,
                torch.ones_like(shape.thickness),
            ],
            -1,
        )
        moves = camera_from_hand[:, None] @ frames @ (scale[..., None] * self.bones_from_rest)
        table = moves[:, :, :3].permute(0, 2, 1, 3).flatten(0, 1).flatten(1)  # (3B,88)
        return (table @ self.features).unflatten(0, (-1, 3))


def rest_pose() -> HandPose:
    """Return the relaxed open hand in which the skin is baked: fingers apart so that they do not
    fuse.
    """
    fingers = torch.zeros(1, 5, 4)
    fingers[0, :, 1] = torch.deg2rad(torch.tensor([28.0, 6.0, 1.0, -3.0, -8.0]))
    fingers[0, 0, 0] = torch.deg2rad(torch.tensor(38.0))
    return HandPose(fingers, torch.deg2rad(torch.tensor([-62.0])), torch.zeros(1, 2))


@functools.lru_cache(maxsize=4)
def procedural_skin(spacing_mm: float = 2.0, forearm_mm: float = 150.0) -> HandSkin:
    """Bake the skin: the zero surface of a smooth union of tapered capsules, sampled about every
    `spacing_mm`; and a forearm.
    """
    shape = mean_shapes(1)
    frames, joints = forward_kinematics(shape, rest_pose())
    capsules = _capsules(joints[0].numpy().astype(np.float64), frames[0].numpy().astype(np.float64))
    points = _surface_points(capsules, spacing_mm)
    bones = np.array([c[4] for c in capsules])
    distances = np.stack([_capsule_distance(points, *c[:4]) for c in capsules], 1)  # (N,C)
    # weights blend over about 3 mm
    votes = np.exp(-(distances - distances.min(1, keepdims=True)) / 3.0)
    weights = np.stack([votes[:, bones == bone].sum(1) for bone in range(NUM_BONES)], 1)
    # Linear blending collapses in bent joints: a ball around each joint keeps the knuckle's volume.
    bent = [j for j in range(2, NUM_JOINTS) if j not in TIPS]
    balls = [
        _ball(joints[0, j].numpy(), RADII[(j - 1) // 4][(j - 1) % 4] * 0.95, spacing_mm)
        for j in bent
    ]
    arm = forearm_points(spacing_mm * ARM_SPACING, forearm_mm)
    points = np.concatenate([points, *balls, arm])
    weights = np.concatenate(
        [
            weights,
            *(np.eye(NUM_BONES)[[j + 1] * len(ball)] for j, ball in zip(bent, balls)),
            forearm_weights(arm),
        ]
    )
    return HandSkin(
        torch.tensor(points, dtype=torch.float32),
        torch.tensor(weights / weights.sum(1, keepdims=True), dtype=torch.float32),
        frames[0],
        bone_lengths(shape)[0],
    )


def forearm_points(spacing_mm: float, length_mm: float) -> np.ndarray:
    """Return surface points (N,3) [mm] of a forearm from the wrist along -x, elliptic, thicker
    towards the elbow.
    """
    rng = np.random.default_rng(0)
    rows = []
    for x in np.arange(-6, length_mm, spacing_mm):
        t = np.clip(x / 200, 0, 1)
        half_width, half_height = 26 + 16 * t, 18.5 + 19 * t
        angle = np.arange(
            0, 2 * np.pi, spacing_mm / ((half_width + half_height) / 2)
        ) + rng.uniform(0, 1)
        rows.append(
            np.stack(
                [np.full_like(angle, -x), half_width * np.cos(angle), half_height * np.sin(angle)],
                1,
            )
        )
    return np.concatenate(rows)


def forearm_weights(points: np.ndarray) -> np.ndarray:
    """Return the weights (N,22) of the forearm's skin, which blends to the carpus within 20 mm of
    the wrist.
    """
    weights = np.zeros((len(points), NUM_BONES))
    weights[:, FOREARM] = np.clip((10 - points[:, 0]) / 20, 0, 1)
    weights[:, 0] = 1 - weights[:, FOREARM]
    return weights


def _capsules(joints, frames):
    """Return the tapered capsules (a, b, radius_a, radius_b, bone) whose smooth union is the
    hand.
    """
    shrink = 1.3  # [mm] the smooth union swells overlaps by about this much
    capsules = []
    for finger, knuckle in enumerate(KNUCKLES):
        for segment in range(3):
            bone = knuckle + 1 + segment
            capsules.append(
                (
                    joints[bone - 1],
                    joints[bone],
                    RADII[finger][segment] - shrink,
                    RADII[finger][segment + 1] - (shrink if segment < 2 else 0.4),
                    bone,
                )
            )
    wrist = joints[0]
    # metacarpals, from a carpus of some breadth
    for knuckle, base_y in ((5, 9.0), (9, 3.0), (13, -4.0), (17, -11.0)):
        capsules.append(
            (wrist + [12, base_y, -3], joints[knuckle] + [0, 0, -2], 14.5, 11.0, knuckle)
        )
    capsules.append((wrist + [-4, 9, -1], wrist + [14, 10, -3], 16.0, 16.0, 0))
    capsules.append((wrist + [-4, -9, -1], wrist + [14, -9, -3], 16.0, 16.0, 0))
    # Thenar and hypothenar eminences and the web between thumb and index.
    capsules.append(
        (
            joints[1] + [2, -7, -3],
            joints[1] + 0.6 * (joints[2] - joints[1]) + [0, -6, 0],
            13.5,
            11.5,
            2,
        )
    )
    capsules.append((joints[1] + [-6, -8, -2], joints[1] + [14, -14, -4], 12.0, 10.0, 1))
    capsules.append((wrist + [14, -18, -8], joints[17] + [-14, 1, -8], 11.5, 9.5, 17))
    web = joints[1] + 0.72 * (joints[2] - joints[1])
    capsules.append((web, joints[5] + [-22, 2, -6], 7.0, 8.0, 2))
    capsules.append(
        (joints[1] + 0.4 * (joints[2] - joints[1]), joints[5] + [-38, 0, -6], 8.0, 9.0, 1)
    )
    for a, b in ((5, 9), (9, 13), (13, 17)):  # the pad below the knuckles
        capsules.append(
            (joints[a] + [-4, 0, -4], joints[b] + [-4, 0, -4], 8.5, 8.5, a if a != 9 else 13)
        )
    return capsules


def _capsule_distance(points, a, b, radius_a, radius_b):
    """Return the distance [mm] to a capsule with a radius that changes linearly along its axis;
    negative inside.
    """
    axis = b - a
    t = np.clip((points - a) @ axis / max(axis @ axis, 1e-9), 0, 1)
    return np.linalg.norm(points - a - t[:, None] * axis, axis=1) - (
        radius_a + t * (radius_b - radius_a)
    )


def _surface_points(capsules, spacing_mm):
    def field(points):
        distances = np.stack([_capsule_distance(points, *c[:4]) for c in capsules], 1)
        low = distances.min(1)
        return low - 2.5 * np.log(np.exp(-(distances - low[:, None]) / 2.5).sum(1))

    lows = np.min([np.minimum(c[0], c[1]) - max(c[2:4]) for c in capsules], 0) - 4
    highs = np.max([np.maximum(c[0], c[1]) + max(c[2:4]) for c in capsules], 0) + 4
    coarse = 3 * spacing_mm
    axes = [np.arange(low, high, coarse) for low, high in zip(lows, highs)]
    points = np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 3)
    points = points[np.abs(field(points)) < 2.0 * coarse]
    # refine only near the surface: 3x3x3 points for each coarse one
    cell = np.arange(-1, 2) * spacing_mm
    points = (
        points[:, None] + np.stack(np.meshgrid(cell, cell, cell, indexing='ij'), -1).reshape(-1, 3)
    ).reshape(-1, 3)
    points = points[np.abs(field(points)) < 0.75 * spacing_mm]
    for _ in range(4):  # Newton steps onto the zero surface
        value = field(points)
        gradient = np.stack([(field(points + d) - value) / 0.1 for d in 0.1 * np.eye(3)], 1)
        points = points - (value / np.maximum((gradient**2).sum(1), 0.1))[:, None] * gradient
    _, keep = np.unique(
        np.round(points / (0.8 * spacing_mm)).astype(int), axis=0, return_index=True
    )
    return points[np.sort(keep)]


def _ball(centre, radius, spacing_mm):
    """Return Fibonacci points on a sphere."""
    n = max(16, int(4 * np.pi * radius**2 / spacing_mm**2))
    k = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    return centre + radius * np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], 1
    )


def _along(direction, roll):
    """Return frames (...,3,3) with x along direction (...,3) and z as near as possible to the back
    of the hand, then rolled.
    """
    x = torch.nn.functional.normalize(direction, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], device=x.device).expand_as(x)
    y = torch.nn.functional.normalize(torch.linalg.cross(up, x), dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1) @ rotation('x', roll)


def rotation(axis: str, angle: torch.Tensor) -> torch.Tensor:
    """Return rotation matrices (...,3,3) about a coordinate axis; angle: (...) [rad]."""
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        'x': (i, o, o, o, c, -s, o, s, c),
        'y': (c, o, s, o, i, o, -s, o, c),
        'z': (c, -s, o, s, c, o, o, o, i),
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
