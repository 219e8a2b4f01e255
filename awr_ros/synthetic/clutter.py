"""What stands around a hand in its crop: planes behind it, boxes, cylinders, heads, the other hand.

All in uvdn and along parallel rays: within one crop perspective changes a box by a few millimetres only.
"""
import torch

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
    axis = 2 * (torch.arange(size, device=device) + 0.5) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing='ij')
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
        rotation = random_rotations(n, generator, device)
        extent = 0.08 + 0.35 * uniform(n, 3) ** 2
        extent[:, 0] *= torch.where(uniform(n) < 0.4, 4.0, 1.0)             # bars, bottles, limbs
        centre = torch.randn(n, 3, generator=generator, device=device) * torch.tensor([0.5, 0.5, 0.4], device=device)
        round_ = uniform(n) < 0.5
        shape = torch.where(round_[:, None, None], _ellipsoid(x, y, centre, extent * 1.3, rotation),
                            _box(x, y, centre, extent, rotation))
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
    """(B,1,size,size) uvdn: heads, boxes and bars with no hand among them."""
    axis = 2 * (torch.arange(size, device=device) + 0.5) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    depth = torch.ones(batch, size, size, device=device)
    for _ in range(3):
        extent = 0.08 + 0.6 * torch.rand(batch, 3, generator=generator, device=device) ** 2
        extent[:, 0] *= torch.where(torch.rand(batch, generator=generator, device=device) < 0.4, 4.0, 1.0)
        centre = torch.randn(batch, 3, generator=generator, device=device) * 0.4
        rotation = random_rotations(batch, generator, device)
        round_ = torch.rand(batch, 1, 1, generator=generator, device=device) < 0.6
        thing = torch.where(round_, _ellipsoid(x, y, centre, extent, rotation), _box(x, y, centre, extent, rotation))
        depth = torch.minimum(depth, thing)
    return depth.clamp(-1, 1)[:, None]


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
