"""Objects around a hand in its crop: planes behind it, boxes, cylinders, heads, another hand.

All in uvdn and with parallel rays: within one crop perspective changes a box by only a few
millimetres.
"""

import functools

import torch
import torch.nn.functional as nn_f

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.skeleton import TIPS
from awr_ros.synthetic.hand import rotation
from awr_ros.synthetic.poses import random_rotations
from awr_ros.synthetic.render import chunk_size, fused


def random_clutter(
    depth: torch.Tensor, generator: torch.Generator, hidden: float = 0.25, compiled: bool = False
) -> torch.Tensor:
    """Add objects to some of the crops.

    depth: (B,1,S,S) float uvdn of a hand alone. Return (B,1,S,S): the nearer of hand and objects
    per pixel. Objects that would cover more than the share `hidden` of the hand's pixels are left
    out.
    """
    batch, _, size, _ = depth.shape
    device = depth.device

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    result = depth.clone()
    what = uniform(batch)
    surface = (what < 0.25).nonzero()[:, 0]  # wall, table, torso
    if len(surface):
        n = len(surface)
        slope = (uniform(n, 2, 1, 1) - 0.5) * torch.where(uniform(n, 1, 1, 1) < 0.7, 0.6, 3.0)
        start = uniform(n, 1) * 1.1 + 0.1
        plane = torch.cat([start, slope[:, :, 0, 0]], 1) @ _monomials(size, device)[:3]
        result[surface] = torch.minimum(result[surface], plane.view(n, 1, size, size))
    solid = ((what > 0.2) & (what < 0.55)).nonzero()[:, 0]
    if len(solid):
        n = len(solid)
        turn = random_rotations(n, generator, device)
        extent = 0.08 + 0.35 * uniform(n, 3) ** 2
        extent[:, 0] *= torch.where(uniform(n) < 0.4, 4.0, 1.0)  # elongated: bars, bottles, limbs
        centre = torch.randn(n, 3, generator=generator, device=device) * torch.tensor(
            [0.5, 0.5, 0.4], device=device
        )
        round_ = uniform(n) < 0.5
        shape = solids(
            size, round_, centre, extent * torch.where(round_, 1.3, 1.0)[:, None], turn, compiled
        )
        result[solid] = torch.minimum(result[solid], shape[:, None])
    # another hand: that of the next crop, shifted
    other = ((what > 0.5) & (what < 0.62)).nonzero()[:, 0]
    if len(other):
        n = len(other)
        angle = uniform(n) * 2 * torch.pi
        reach = (0.55 + 0.6 * uniform(n)) * size / 2
        dx, dy = (angle.cos() * reach).long(), (angle.sin() * reach).long()
        cols = torch.arange(size, device=device)
        source = depth[(other + 1) % batch, 0]
        rows_at, cols_at = cols[None] - dy[:, None], cols[None] - dx[:, None]
        ok = ((rows_at >= 0) & (rows_at < size))[:, :, None] & ((cols_at >= 0) & (cols_at < size))[
            :, None
        ]
        moved = source[
            torch.arange(n, device=device)[:, None, None],
            rows_at.clamp(0, size - 1)[:, :, None],
            cols_at.clamp(0, size - 1)[:, None],
        ]
        lift = (uniform(n, 1, 1) - 0.4) * 0.8
        moved = torch.where(ok & (moved < BACKGROUND_FROM), moved + lift, torch.ones_like(moved))
        result[other, 0] = torch.minimum(result[other, 0], moved)
    chunks = zip(*(crops.split(chunk_size(crops)) for crops in (depth, result)))
    return torch.cat([fused(_spare_hands, compiled)(*chunk, hidden) for chunk in chunks])


HELD_HIDDEN = 0.45  # largest share of a hand that what it holds covers


def held_things(
    depth: torch.Tensor,
    joints_uvdn: torch.Tensor,
    generator: torch.Generator,
    share: float,
    compiled: bool = False,
) -> torch.Tensor:
    """Put boxes and round things into some of the hands.

    depth: (B,1,S,S) float uvdn of right hands; joints_uvdn: (B,21,3) in its coordinates; share: of
    the hands that hold something. A pinched thing is between the tips of thumb and index, a grasped
    one between fingers and palm, or before the palm of a flat hand. Return (B,1,S,S).
    """
    batch, device = len(depth), depth.device

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    chosen = (uniform(batch) < share).nonzero()[:, 0]
    n = len(chosen)
    if not n:
        return depth
    joints = joints_uvdn[chosen]
    knuckles, tips = joints[:, [5, 9, 13, 17]].mean(1), joints[:, list(TIPS[1:])].mean(1)
    along, across = joints[:, 9] - joints[:, 0], joints[:, 5] - joints[:, 17]
    size = along.norm(dim=1, keepdim=True)  # about 90 mm
    before_palm = nn_f.normalize(torch.linalg.cross(across, along), dim=1)
    straight = ((tips - knuckles).norm(dim=1, keepdim=True) / (0.85 * size)).clamp(max=1)
    between = (4 * knuckles + 4 * tips + joints[:, TIPS[:1]].mean(1)) / 9
    grasped_half = (0.6 * (between - joints[:, 9]).norm(dim=1, keepdim=True) / size).clamp(0.1, 0.4)
    grasped = between + (grasped_half + 0.1) * size * straight**2 * before_palm
    gap = joints[:, TIPS[0]] - joints[:, TIPS[1]]
    pinched = (joints[:, TIPS[0]] + joints[:, TIPS[1]]) / 2
    pinched_half = (0.5 * gap.norm(dim=1, keepdim=True) / size - 0.07).clamp(0.04, 0.3)
    pinch = uniform(n, 1) < 0.4
    half = torch.where(pinch, pinched_half, grasped_half) * size
    half = half * (0.6 + 0.6 * uniform(n, 3))
    half[:, :1] *= 6 ** uniform(n, 1)
    # its long side: across the palm, or any direction
    any_turn = random_rotations(n, generator, device)
    first = nn_f.normalize(across + 0.4 * size * any_turn[:, 0], dim=1)
    second = nn_f.normalize(torch.linalg.cross(first, any_turn[:, 1]), dim=1)
    turn = torch.stack([first, second, torch.linalg.cross(first, second)], 2)
    turn = torch.where((uniform(n, 1) < 0.3)[..., None], any_turn, turn)
    centre = torch.where(pinch, pinched, grasped)
    things = solids(depth.shape[-1], uniform(n) < 0.5, centre, half, turn, compiled)
    result = depth.clone()
    held = torch.minimum(depth[chosen], things[:, None])
    result[chosen] = _spare_hands(depth[chosen], held, HELD_HIDDEN)
    return result


def _spare_hands(depth, result, hidden):
    """Return result where it hides no more of the hand in depth than the share `hidden`, else
    depth. All (B,1,S,S).
    """
    hand = depth < BACKGROUND_FROM
    covered = ((result < depth - 0.01) & hand).sum((1, 2, 3)) > hidden * hand.sum((1, 2, 3))
    return torch.where(covered[:, None, None, None], depth, result).clamp(-1, 1)


def random_objects(
    batch: int,
    size: int,
    generator: torch.Generator,
    device: str | torch.device = 'cpu',
    compiled: bool = False,
) -> torch.Tensor:
    """Draw (B,1,size,size) uvdn without a hand: mostly objects assembled of bars and boards
    (monitors on their arms, stands, chairs), else three round objects, boxes or bars.
    """
    count = 3 * batch

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    extent = 0.08 + 0.6 * uniform(count, 3) ** 2
    extent[:, 0] *= torch.where(uniform(count) < 0.4, 4.0, 1.0)
    centre = torch.randn(count, 3, generator=generator, device=device) * 0.4
    turn = random_rotations(count, generator, device)
    apart = solids(size, uniform(count) < 0.6, centre, extent, turn, compiled).view(
        batch, 3, size, size
    )
    joined = _assemblies(batch, size, generator, device, compiled)
    chosen = uniform(batch, 1, 1, 1) < 0.7
    objects = torch.where(chosen, joined, apart.amin(1, keepdim=True))
    return objects.clamp_(-1, 1)


ASSEMBLY_PARTS = 4  # a long bar, and what is joined to it


def _assemblies(batch, size, generator, device, compiled):
    """Draw (B,1,size,size) uvdn: a bar and one to three bars, boards or knobs that begin on it."""

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    parts = ASSEMBLY_PARTS
    # Columns are a part's axes: along, across, thickness. Most meet at right angles.
    frames = random_rotations(batch, generator, device)[:, None].expand(-1, parts, -1, -1)
    quarter = torch.tensor(
        [[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, -1], [0, 1, 0], [1, 0, 0]]], device=device
    )
    chosen = (uniform(batch, parts) < 0.3).long()
    upright = frames @ quarter[chosen]
    tilted = random_rotations(batch * parts, generator, device).view(batch, parts, 3, 3)
    turn = torch.where(uniform(batch, parts, 1, 1) < 0.75, upright, tilted)
    turn = torch.cat([frames[:, :1], turn[:, 1:]], 1)
    thick = 0.04 + 0.14 * uniform(batch, parts, 1) ** 1.5
    half = torch.cat(
        [0.2 + 0.6 * uniform(batch, parts, 1), thick, thick * uniform(batch, parts, 1)], 2
    )
    half[:, 0, 0] += 0.8 * uniform(batch)
    board = uniform(batch, parts) < 0.35
    board[:, 0] = False
    half[..., 1] = torch.where(board, 0.15 + 0.5 * uniform(batch, parts), half[..., 1])
    half[..., 2].clamp_min_(0.02)
    half[:, -1] *= torch.where(uniform(batch, 1) < 0.5, 0.35, 1.0)  # a knob, a clamp
    start = 0.15 * normal(batch, 1, 3)
    at = torch.where(uniform(batch, parts, 1) < 0.5, uniform(batch, parts, 1) * 2 - 1, 1.0)
    joint = start + at * half[:, :1, :1] * frames[:, :1, :, 0]
    side = torch.where(uniform(batch, parts, 1) < 0.5, 1.0, uniform(batch, parts, 1) * 2 - 1)
    centre = joint + side * half[..., :1] * turn[..., 0]
    centre[:, 0] = start[:, 0]
    missing = uniform(batch, parts) < 0.3
    missing[:, :2] = False
    centre[..., 2] = torch.where(missing, 9.0, centre[..., 2])
    drawn = solids(
        size,
        (uniform(batch, parts) < 0.3).flatten(),
        centre.flatten(0, 1),
        half.flatten(0, 1),
        turn.flatten(0, 1),
        compiled,
    ).unflatten(0, (batch, parts))
    return drawn.amin(1, keepdim=True)


# A person from the neck up [mm], upright in the camera's frame: semi-axes and centre of each part;
# the first three turn.
HEAD = (
    ((75, 106, 98), (0, 0, 0)),
    ((58, 55, 72), (0, 66, -14)),
    ((11, 24, 16), (0, 18, -98)),
    ((56, 170, 58), (0, 140, 28)),
    ((215, 130, 105), (0, 300, 45)),
)


def random_heads(
    cube_mm: torch.Tensor, size: int, generator: torch.Generator, compiled: bool = False
) -> torch.Tensor:
    """Draw (B,1,size,size) uvdn: heads on shoulders, which in depth alone resemble fists on arms.
    cube_mm: (B,).
    """
    device, batch = cube_mm.device, len(cube_mm)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    half = cube_mm[:, None] / 2
    scale = (1 + 0.09 * normal(batch, 3)) / half
    yaw, pitch, roll = 0.7 * normal(batch), 0.25 * normal(batch), 0.35 * normal(batch)
    # in turned crops
    roll = torch.where(
        torch.rand(batch, generator=generator, device=device) < 0.5, roll, 3 * normal(batch)
    )
    upright = rotation('z', roll)
    turned = upright @ rotation('y', yaw) @ rotation('x', pitch)
    middle = normal(batch, 3) * 45 / half + torch.tensor([0, 0, 0.3], device=device)
    # (5,3) each
    extent, centre = (
        torch.tensor(values, dtype=torch.float32, device=device) for values in zip(*HEAD)
    )
    extent, centre = extent * scale[:, None], centre * scale[:, None]  # (B,5,3)
    frames = torch.cat(
        [turned[:, None].expand(-1, 3, -1, -1), upright[:, None].expand(-1, len(HEAD) - 3, -1, -1)],
        1,
    )
    parts = ellipsoids(
        size,
        (middle[:, None] + (frames @ centre[..., None])[..., 0]).flatten(0, 1),
        extent.flatten(0, 1),
        frames.flatten(0, 1),
        compiled,
    ).unflatten(0, (batch, -1))
    depth = functools.reduce(torch.minimum, parts.unbind(1))

    # Hair, beards and glasses: uneven by some millimetres, with patches without depth, often all
    # but the face.
    def patches(cells):
        spread = _bicubic(cells, size, device)
        return spread @ normal(batch, cells, cells) @ spread.t()

    amount = torch.rand(3, batch, 1, 1, generator=generator, device=device)
    depth = depth + (0.06 * amount[0] * patches(size // 8) + 0.05 * amount[0] * patches(size // 16))
    swallowed = patches(size // 12) + patches(size // 32) > 0.2 + 3.5 * amount[1]
    rows = _axis(size, device)[:, None]
    swallowed |= (rows < middle[:, 1, None, None] + 0.8 * amount[2] - 1.1) & (
        patches(size // 12) > -0.5
    )
    return torch.where(swallowed, 1.0, depth.clamp(-1, 1))[:, None]


def solids(
    size: int,
    round_: torch.Tensor,
    centre: torch.Tensor,
    extent: torch.Tensor,
    turn: torch.Tensor,
    compiled: bool,
) -> torch.Tensor:
    """Return the nearest depth (n,S,S) of ellipsoids where round_ (n,) is set and boxes elsewhere.
    centre, extent: (n,3); turn: (n,3,3).
    """
    depth = centre.new_empty(len(centre), size, size)
    for shape, chosen in ((ellipsoids, round_), (boxes, ~round_)):
        chosen = chosen.nonzero()[:, 0]
        if len(chosen):
            depth[chosen] = shape(size, centre[chosen], extent[chosen], turn[chosen], compiled)
    return depth


def ellipsoids(
    size: int,
    centre: torch.Tensor,
    extent: torch.Tensor,
    rotation: torch.Tensor,
    compiled: bool = False,
) -> torch.Tensor:
    """Return the nearest depth (n,S,S) of ellipsoids with semi-axes extent (n,3); +inf where a ray
    misses.

    a dz^2 + 2 b dz + c = 0 along a ray, with b linear and c quadratic in x and y: dz = -b/a -
    sqrt((b/a)^2 - c/a).
    """
    form = rotation @ torch.diag_embed(extent**-2) @ rotation.transpose(1, 2)  # (n,3,3)
    (xx, xy, xz), (_, yy, yz), (_, _, a) = (row.unbind(1) for row in form.unbind(1))
    x, y, z = centre.unbind(1)
    bx, by = xz / a, yz / a  # the root's polynomial about the centre, without a constant
    p, q, r = bx * bx - xx / a, by * by - yy / a, 2 * (bx * by - xy / a)
    root = torch.stack(
        [
            p * x * x + q * y * y + r * x * y + 1 / a,
            -2 * p * x - r * y,
            -2 * q * y - r * x,
            p,
            q,
            r,
        ],
        1,
    )
    nearest = torch.stack([z + bx * x + by * y, -bx, -by], 1)
    monomials = _monomials(size, centre.device)
    hit = fused(_ellipsoid_hit, compiled, dynamic=True)(nearest @ monomials[:3], root @ monomials)
    return hit.view(-1, size, size)


def _ellipsoid_hit(middle, root):
    return torch.where(root > 0, middle - root.clamp_min(0).sqrt(), torch.inf)


def boxes(
    size: int,
    centre: torch.Tensor,
    extent: torch.Tensor,
    rotation: torch.Tensor,
    compiled: bool = False,
) -> torch.Tensor:
    """Return the nearest depth (n,S,S) of boxes with half sides extent (n,3), by the slab method;
    +inf where a ray misses.
    """
    r = rotation.transpose(1, 2)  # (n,3,3): rows are the box's axes
    slope = torch.where(r[..., 2].abs() < 1e-4, 1e-4, r[..., 2])
    # A ray enters and leaves each slab at depths that are linear in x and y.
    sx, sy = -r[..., 0] / slope, -r[..., 1] / slope
    x, y, z = centre[:, :, None].unbind(1)
    middle = (
        torch.stack([z - sx * x - sy * y, sx, sy], -1).flatten(0, 1)
        @ _monomials(size, centre.device)[:3]
    )
    hit = fused(_box_hit, compiled, dynamic=True)(
        middle.unflatten(0, (-1, 3)), (extent / slope).abs()[..., None]
    )
    return hit.view(-1, size, size)


def _box_hit(middle, half):
    """(n,P) where rays are within all three slabs, whose middles (n,3,P) lie `half` (n,3,1) behind
    their beginnings.
    """
    enter = functools.reduce(torch.maximum, (middle - half).unbind(1))
    leave = functools.reduce(torch.minimum, (middle + half).unbind(1))
    return torch.where(enter < leave, enter, torch.inf)


def _axis(size, device):
    """Return the coordinates (size,) of pixel centres in [-1,1]."""
    return 2 * (torch.arange(size, device=device) + 0.5) / size - 1


@functools.lru_cache(maxsize=8)
def _monomials(size, device):
    """Return (6,size*size): 1, x, y, x^2, y^2, xy at pixel centres, so that polynomials over images
    are matrix products.
    """
    y, x = (
        values.flatten()
        for values in torch.meshgrid(_axis(size, device), _axis(size, device), indexing='ij')
    )
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y])


@functools.lru_cache(maxsize=16)
def _bicubic(cells, size, device):
    """Return the matrix (size,cells) of bicubic interpolation along one axis."""
    unit = torch.eye(cells, device=device)[None, None]
    return torch.nn.functional.interpolate(unit, size=(size, cells), mode='bicubic')[0, 0]
