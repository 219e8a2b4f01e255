"""Random hand poses: named postures, blends of them, curls and free random angles, all within joint
limits.
"""

import functools

import torch

from awr_ros.skeleton import NUM_JOINTS, PARENTS
from awr_ros.synthetic.hand import RADII, HandPose, finger_chains, mean_shapes

# Joint limits [deg]: MCP flexion, abduction, PIP, DIP for the fingers; azimuth, elevation, MCP, IP
# for the thumb.
LOWER = (
    (-18.0, -5.0, -12.0, -20.0),
    (-15.0, -14.0, -4.0, -4.0),
    (-15.0, -14.0, -4.0, -4.0),
    (-15.0, -16.0, -4.0, -4.0),
    (-18.0, -26.0, -4.0, -4.0),
)
UPPER = (
    (68.0, 72.0, 62.0, 82.0),
    (92.0, 22.0, 108.0, 78.0),
    (95.0, 14.0, 108.0, 78.0),
    (95.0, 12.0, 108.0, 78.0),
    (98.0, 12.0, 108.0, 78.0),
)

# Thumb: azimuth, elevation, MCP, IP.
OPEN, BESIDE, OVER, ACROSS, OPPOSED, PINCHING, UP = (
    (48, 22, 5, 2),
    (22, 12, 8, 8),
    (37, 51, 52, 34),
    (6, 46, 44, 48),
    (22, 50, 20, 28),
    (23, 42, 16, 20),
    (62, 4, -4, -10),
)
# Finger: MCP flexion, abduction, PIP, DIP.
STRAIGHT, LOOSE, HALF, HOOK, FIST, BENT, PINCH, GRASP = (
    (2, 0, 4, 3),
    (18, 0, 22, 12),
    (48, 0, 48, 28),
    (8, 0, 95, 58),
    (82, 0, 102, 64),
    (78, 0, 12, 6),
    (48, 0, 62, 34),
    (38, 0, 38, 22),
)


def _wide(finger, degrees):
    return finger[0], degrees, finger[2], finger[3]


# Adduction for straight fingers side by side, which otherwise fan out as at rest.
CLOSED = _wide(STRAIGHT, -4), STRAIGHT, _wide(STRAIGHT, 6), _wide(STRAIGHT, 11)

POSTURES = {
    'flat': (BESIDE, STRAIGHT, STRAIGHT, STRAIGHT, STRAIGHT),
    'flat closed': (BESIDE, *CLOSED),
    'flat closed, thumb out': (OPEN, *CLOSED),
    'flat closed, thumb across': (ACROSS, *CLOSED),
    'spread': (
        OPEN,
        _wide(STRAIGHT, 12),
        _wide(STRAIGHT, 2),
        _wide(STRAIGHT, -8),
        _wide(STRAIGHT, -18),
    ),
    'relaxed': ((36, 32, 12, 14), LOOSE, (26, 0, 28, 16), (32, 0, 32, 18), (36, 0, 32, 18)),
    'fist': (OVER, FIST, FIST, FIST, FIST),
    'fist, thumb beside': ((46, 4, 46, 50), FIST, FIST, FIST, FIST),
    'fist over index': ((50, 52, 46, 52), FIST, FIST, FIST, FIST),
    'loose fist': (OPPOSED, (60, 0, 70, 40), (66, 0, 74, 40), (68, 0, 76, 42), (70, 0, 74, 42)),
    'thumb up': (UP, FIST, FIST, FIST, FIST),
    'point': (OVER, STRAIGHT, FIST, FIST, FIST),
    'gun': (UP, STRAIGHT, FIST, FIST, FIST),
    'two': (OVER, _wide(STRAIGHT, 10), _wide(STRAIGHT, -8), FIST, FIST),
    'two closed': (OVER, STRAIGHT, STRAIGHT, FIST, FIST),
    'three': (OVER, _wide(STRAIGHT, 8), STRAIGHT, _wide(STRAIGHT, -8), FIST),
    'three with thumb': (OPEN, _wide(STRAIGHT, 8), _wide(STRAIGHT, -4), FIST, FIST),
    'four': (
        ACROSS,
        _wide(STRAIGHT, 10),
        _wide(STRAIGHT, 2),
        _wide(STRAIGHT, -6),
        _wide(STRAIGHT, -14),
    ),
    'pinky': (OVER, FIST, FIST, FIST, STRAIGHT),
    'horns, thumb out': (OPEN, STRAIGHT, FIST, FIST, _wide(STRAIGHT, -12)),
    'horns': (OVER, STRAIGHT, FIST, FIST, STRAIGHT),
    'shaka': (OPEN, FIST, FIST, FIST, _wide(STRAIGHT, -15)),
    'middle': (OVER, FIST, STRAIGHT, FIST, FIST),
    'ok': (PINCHING, PINCH, _wide(LOOSE, 2), _wide((10, 0, 14, 8), -4), _wide(STRAIGHT, -10)),
    'pinch': (PINCHING, PINCH, (46, 0, 52, 30), (52, 0, 56, 34), (56, 0, 56, 34)),
    'pinch middle': (OPPOSED, STRAIGHT, (58, 0, 62, 34), LOOSE, STRAIGHT),
    'pinch pinky': ((0, 50, 32, 32), STRAIGHT, STRAIGHT, LOOSE, (72, 0, 48, 26)),
    'pinch two': (
        (28, 46, 22, 20),
        (40, 0, 63, 35),
        (66, 0, 55, 30),
        (66, 0, 64, 38),
        (70, 0, 68, 40),
    ),
    'tips together': (
        OPPOSED,
        (50, -4, 42, 22),
        (54, -2, 44, 24),
        (56, 2, 44, 24),
        (54, 8, 44, 24),
    ),
    'claw': ((40, 42, 20, 40), HOOK, HOOK, HOOK, HOOK),
    'hook': (BESIDE, HOOK, HOOK, HOOK, HOOK),
    'duck': (OPPOSED, BENT, BENT, BENT, BENT),
    'cylinder': ((30, 56, 18, 22), GRASP, GRASP, GRASP, GRASP),
    'power': ((22, 58, 30, 30), (52, 0, 62, 36), (56, 0, 64, 38), (58, 0, 64, 38), (60, 0, 62, 36)),
    'sphere': (
        (42, 50, 15, 20),
        _wide(GRASP, 12),
        _wide(GRASP, 2),
        _wide(GRASP, -6),
        _wide(GRASP, -16),
    ),
    'tripod': (
        (24, 54, 20, 28),
        (50, 0, 44, 24),
        (56, -2, 50, 28),
        (66, 0, 64, 38),
        (70, 0, 68, 40),
    ),
    'key': ((12, 22, 18, 20), (46, 0, 66, 36), (54, 0, 74, 42), (60, 0, 78, 44), (64, 0, 78, 44)),
}


def random_poses(
    batch: int, generator: torch.Generator, device: str | torch.device = 'cpu', candidates: int = 3
) -> HandPose:
    """Draw B poses; if fingers intersect, draw a few candidates and keep the best one."""
    kept = _draw(batch, generator, device)
    depth = _penetration(kept)
    for _ in range(candidates - 1):
        again = depth.nonzero()[:, 0]
        if not len(again):
            break
        drawn = _draw(len(again), generator, device)
        other = _penetration(drawn)
        better = other < depth[again]
        again = again[better]
        depth[again] = other[better]
        for field in ('fingers', 'thumb_roll', 'wrist'):
            getattr(kept, field)[again] = getattr(drawn, field)[better]
    return kept


def random_rotations(
    batch: int, generator: torch.Generator, device: str | torch.device
) -> torch.Tensor:
    """Draw (B,3,3) uniform on SO(3), from normalised Gaussian quaternions."""
    w, x, y, z = torch.nn.functional.normalize(
        torch.randn(batch, 4, generator=generator, device=device), dim=-1
    ).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))


def _draw(total, generator, device):
    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    lower, upper = torch.tensor(LOWER, device=device), torch.tensor(UPPER, device=device)
    library = torch.tensor(list(POSTURES.values()), dtype=torch.float32, device=device)  # (P,5,4)

    def posture():
        return library[torch.randint(len(library), (total,), generator=generator, device=device)]

    # Named postures and points between two of them, finger by finger or as a whole.
    share = uniform(total, 1, 1) * (uniform(total, 1, 1) < 0.6)
    share = torch.where(uniform(total, 1, 1) < 0.3, uniform(total, 5, 1), share.expand(total, 5, 1))
    named = torch.lerp(posture(), posture(), share) + normal(total, 5, 4) * torch.tensor(
        [7.0, 4.0, 8.0, 6.0], device=device
    )
    # Curls: one number per finger, similar for neighbours.
    curl = (uniform(total, 1) * 1.3 - 0.15 + 0.25 * normal(total, 5)).clamp(0, 1)
    spread = normal(total, 1) * torch.tensor(
        [[0.0, 7.0, 1.0, -5.0, -11.0]], device=device
    ) + 3 * normal(total, 5)
    curled = torch.stack(
        [
            85 * curl + 12 * normal(total, 5),
            spread,
            102 * curl + 12 * normal(total, 5),
            62 * curl + 10 * normal(total, 5),
        ],
        -1,
    )
    curled[:, 0] = (lower + (upper - lower) * uniform(total, 5, 4))[:, 0]
    # Free angles, DIP about two thirds of PIP.
    free = lower + (upper - lower) * uniform(total, 5, 4)
    free[:, 1:, 3] = 0.66 * free[:, 1:, 2] + 8 * normal(total, 4)
    kind = uniform(total, 1, 1)
    angles = torch.where(kind < 0.55, named, torch.where(kind < 0.8, curled, free))
    # bent fingers cannot be spread
    angles[:, 1:, 1] *= 1 - 0.7 * (angles[:, 1:, 0] / 90).clamp(0, 1)
    angles = torch.maximum(torch.minimum(angles, upper), lower)
    roll = thumb_roll(angles[:, 0, 1]) + 9 * normal(total)
    wrist = normal(total, 2) * torch.tensor([24.0, 10.0], device=device)
    wrist = wrist.clamp(
        torch.tensor([-70.0, -30.0], device=device), torch.tensor([70.0, 30.0], device=device)
    )
    return HandPose(*(torch.deg2rad(a) for a in (angles, roll, wrist)))


def thumb_roll(elevation: torch.Tensor) -> torch.Tensor:
    """Return the roll of the thumb [deg]: its pad faces the fingers as it rises in front of the
    palm.
    """
    return -52 - 0.55 * elevation


def _penetration(pose):
    """Return the depth (B,) [mm] by which fingers of the mean hand intersect one another and the
    palm, summed.
    """
    apart, reach = (constant.to(pose.fingers.device) for constant in _sphere_pairs())
    _, joints = finger_chains(mean_shapes(len(pose.fingers), pose.fingers.device), pose)
    between = apart @ joints.permute(1, 2, 0).flatten(1)  # (Q,3B) [mm] from sphere to sphere
    distance = between.square_().unflatten(1, (3, -1)).sum(1).sqrt_()  # (Q,B)
    return (reach - distance).clamp_min_(0).sum(0)


@functools.lru_cache(maxsize=1)
def _sphere_pairs():
    """Return pairs of spheres along the bones that must not intersect: (Q,21) weights of the joints
    that give the vector from one to the other, and (Q,1) the distance [mm] at which they touch,
    less a tolerance for soft tissue.
    """
    spheres, radii, finger = [], [], []
    unit = torch.eye(NUM_JOINTS)
    for j in range(2, NUM_JOINTS):
        if PARENTS[j] == 0:  # the palm is thinner than the fingers' chain
            for t in (0.35, 0.7, 1.0):
                spheres.append(t * unit[j]), radii.append(10.0), finger.append(5)
            continue
        f, segment = (j - 1) // 4, (j - 1) % 4
        for t in (1 / 3, 2 / 3, 1.0):
            spheres.append(torch.lerp(unit[j - 1], unit[j], t))
            (
                radii.append(
                    RADII[f][segment - 1] + t * (RADII[f][segment] - RADII[f][segment - 1])
                ),
                finger.append(f),
            )
    spheres, radii, finger = torch.stack(spheres), torch.tensor(radii), torch.tensor(finger)
    apart = finger[:, None] != finger
    # First segments overlap the palm, and that of the thumb its ball.
    rooted = torch.zeros(len(radii), dtype=torch.bool)
    for f in range(5):
        rooted[(finger == f).nonzero()[: 3 if f else 4, 0]] = True
    palm = finger == 5
    apart &= ~((rooted[:, None] & palm) | (palm[:, None] & rooted))
    one, two = apart.triu().nonzero().unbind(1)
    return spheres[one] - spheres[two], 0.82 * (radii[one] + radii[two])[:, None]
