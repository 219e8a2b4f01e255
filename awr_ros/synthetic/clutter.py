"""What stands around a hand in its crop: planes behind it, boxes, cylinders, heads, the other hand.

All in uvdn and along parallel rays: within one crop perspective changes a box by a few millimetres only.
"""
import torch

from awr_ros.synthetic.hand import rotation
from awr_ros.synthetic.poses import random_rotations


def random_clutter(depth, generator, hidden=0.25):
    """Add surroundings to some of the crops.

    depth: (B,1,S,S) float uvdn of a hand alone. Returns (B,1,S,S): the nearer of hand and surroundings per pixel. At most
    the share `hidden` of a hand's pixels is covered by nearer things; what would cover more is left away.
    """
    batch, _, size, _ = depth.shape
    device = depth.device

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device)
    y, x = _grid(size, device)
    result = depth.clone()
    what = uniform(batch)
    surface = (what < 0.25).nonzero()[:, 0]                 # a wall, a table, a torso
    if len(surface):
        n = len(surface)
        slope = (uniform(n, 2, 1, 1) - 0.5) * torch.where(uniform(n, 1, 1, 1) < 0.7, 0.6, 3.0)
        start = uniform(n, 1, 1) * 1.1 + 0.1
        plane = start + slope[:, 0] * x + slope[:, 1] * y
        result[surface, 0] = torch.minimum(result[surface, 0], plane)
    solid = ((what > 0.2) & (what < 0.55)).nonzero()[:, 0]
    if len(solid):
        n = len(solid)
        turn = random_rotations(n, generator, device)
        extent = 0.08 + 0.35 * uniform(n, 3) ** 2
        extent[:, 0] *= torch.where(uniform(n) < 0.4, 4.0, 1.0)             # bars, bottles, limbs
        centre = torch.randn(n, 3, generator=generator, device=device) * torch.tensor([0.5, 0.5, 0.4], device=device)
        round_ = uniform(n) < 0.5
        shape = torch.where(round_[:, None, None], _ellipsoid(x, y, centre, extent * 1.3, turn),
                            _box(x, y, centre, extent, turn))
        result[solid, 0] = torch.minimum(result[solid, 0], shape)
    other = ((what > 0.5) & (what < 0.62)).nonzero()[:, 0]                  # the neighbour's hand, moved aside
    if len(other):
        n = len(other)
        angle = uniform(n) * 2 * torch.pi
        reach = (0.55 + 0.6 * uniform(n)) * size / 2
        dx, dy = (angle.cos() * reach).long(), (angle.sin() * reach).long()
        cols = torch.arange(size, device=device)
        source = depth[(other + 1) % batch, 0]
        rows_at, cols_at = cols[None] - dy[:, None], cols[None] - dx[:, None]
        ok = ((rows_at >= 0) & (rows_at < size))[:, :, None] & ((cols_at >= 0) & (cols_at < size))[:, None]
        moved = source[torch.arange(n, device=device)[:, None, None], rows_at.clamp(0, size - 1)[:, :, None],
                       cols_at.clamp(0, size - 1)[:, None]]
        lift = (uniform(n, 1, 1) - 0.4) * 0.8
        moved = torch.where(ok & (moved < 0.99), moved + lift, torch.ones_like(moved))
        result[other, 0] = torch.minimum(result[other, 0], moved)
    hand = depth < 0.99
    covered = ((result < depth - 0.01) & hand).sum((1, 2, 3)) > hidden * hand.sum((1, 2, 3))
    result = torch.where(covered[:, None, None, None], depth, result)
    return result.clamp(-1, 1)


def random_things(batch, size, generator, device='cpu'):
    """(B,1,size,size) uvdn: round things, boxes and bars with no hand among them."""
    y, x = _grid(size, device)
    depth = torch.ones(batch, size, size, device=device)
    for _ in range(3):
        extent = 0.08 + 0.6 * torch.rand(batch, 3, generator=generator, device=device) ** 2
        extent[:, 0] *= torch.where(torch.rand(batch, generator=generator, device=device) < 0.4, 4.0, 1.0)
        centre = torch.randn(batch, 3, generator=generator, device=device) * 0.4
        turn = random_rotations(batch, generator, device)
        round_ = torch.rand(batch, 1, 1, generator=generator, device=device) < 0.6
        thing = torch.where(round_, _ellipsoid(x, y, centre, extent, turn), _box(x, y, centre, extent, turn))
        depth = torch.minimum(depth, thing)
    return depth.clamp(-1, 1)[:, None]


# A person from the neck up [mm], upright in the camera's frame: semi-axes and centre of each part; the first three turn.
HEAD = (((75, 106, 98), (0, 0, 0)), ((58, 55, 72), (0, 66, -14)), ((11, 24, 16), (0, 18, -98)),
        ((56, 170, 58), (0, 140, 28)), ((215, 130, 105), (0, 300, 45)))


def random_heads(cube_mm, size, generator):
    """(B,1,size,size) uvdn: heads on shoulders, which depth alone easily takes for fists on arms. cube_mm: (B,)."""
    device, batch = cube_mm.device, len(cube_mm)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)
    y, x = _grid(size, device)
    half = cube_mm[:, None] / 2
    scale = (1 + 0.09 * normal(batch, 3)) / half
    yaw, pitch, roll = 0.7 * normal(batch), 0.25 * normal(batch), 0.35 * normal(batch)
    roll = torch.where(torch.rand(batch, generator=generator, device=device) < 0.5, roll, 3 * normal(batch))    # in turned crops
    upright = rotation('z', roll)
    turned = upright @ rotation('y', yaw) @ rotation('x', pitch)
    middle = normal(batch, 3) * 45 / half + torch.tensor([0, 0, 0.3], device=device)
    depth = torch.full((batch, size, size), torch.inf, device=device)
    for part, (extent, centre) in enumerate(HEAD):
        frame = turned if part < 3 else upright
        extent, centre = (torch.tensor(v, dtype=torch.float32, device=device) * scale for v in (extent, centre))
        depth = torch.minimum(depth, _ellipsoid(x, y, middle + (frame @ centre[..., None])[..., 0], extent, frame))
    # Hair, beards and glasses: uneven by some millimetres, and swallowed in patches, often all but the face.
    def patches(cells):
        return torch.nn.functional.interpolate(normal(batch, 1, cells, cells), size=size, mode='bicubic')[:, 0]
    amount = torch.rand(3, batch, 1, 1, generator=generator, device=device)
    depth = depth + (0.06 * amount[0] * patches(size // 8) + 0.05 * amount[0] * patches(size // 16))
    swallowed = patches(size // 12) + patches(size // 32) > 0.2 + 3.5 * amount[1]
    swallowed |= (y < middle[:, 1, None, None] + 0.8 * amount[2] - 1.1) & (patches(size // 12) > -0.5)
    return torch.where(swallowed, 1.0, depth.clamp(-1, 1))[:, None]


def _grid(size, device):
    """(size,size) coordinates y and x of pixel centres in [-1,1]."""
    axis = 2 * (torch.arange(size, device=device) + 0.5) / size - 1
    return torch.meshgrid(axis, axis, indexing='ij')


def _ellipsoid(x, y, centre, extent, rotation):
    """Nearest depth (n,S,S) of ellipsoids with semi-axes extent (n,3); +inf where a ray misses."""
    form = rotation @ torch.diag_embed(extent ** -2) @ rotation.transpose(1, 2)             # (n,3,3)
    px, py = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    f = form[:, :, :, None, None]
    a, b = f[:, 2, 2], f[:, 0, 2] * px + f[:, 1, 2] * py
    c = f[:, 0, 0] * px ** 2 + 2 * f[:, 0, 1] * px * py + f[:, 1, 1] * py ** 2 - 1
    root = b ** 2 - a * c
    return torch.where(root > 0, centre[:, 2, None, None] - (b + root.clamp_min(0).sqrt()) / a, torch.inf)


def _box(x, y, centre, extent, rotation):
    """Nearest depth (n,S,S) of boxes with half sides extent (n,3), by the slab method; +inf where a ray misses."""
    px, py = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    enter, leave = None, None
    for i in range(3):
        r = rotation[:, :, i, None, None]
        start = r[:, 0] * px + r[:, 1] * py
        slope = torch.where(r[:, 2].abs() < 1e-4, 1e-4, r[:, 2])
        half = extent[:, i, None, None]
        one, two = (-half - start) / slope, (half - start) / slope
        low, high = torch.minimum(one, two), torch.maximum(one, two)
        enter = low if enter is None else torch.maximum(enter, low)
        leave = high if leave is None else torch.minimum(leave, high)
    return torch.where(enter < leave, centre[:, 2, None, None] + enter, torch.inf)
