"""Depth rendering by splatting: points to a z-buffer, batched torch, any device."""
import torch


def splat_crops(points, centre_xyz, cube_mm, size):
    """Depth crops as `crop.crop_hand` would cut them from an ideal camera.

    points: (B,3,N) float [mm] camera optical frame; centre_xyz: (B,3) [mm]; cube_mm: (B,) side of the crop.
    Returns (B,1,size,size) float uvdn: background +1, nearest -1; points in front of the cube clamp to -1.

    The crop's window is the cube's middle section: u - u_c = f (x/z - x_c/z_c) and half a window is (cube/2) f / z_c
    pixels, so the focal length cancels.
    """
    batch, _, count = points.shape
    x, y, z = points.unbind(1)                                              # (B,N)
    half, (xc, yc, zc) = (cube_mm / 2)[:, None], centre_xyz.t()[:, :, None]
    per_tangent = size / 2 * zc / half                                      # [px]
    inverse = per_tangent / z
    u = torch.addcmul(size / 2 - xc / zc * per_tangent, x, inverse)
    v = torch.addcmul(size / 2 - yc / zc * per_tangent, y, inverse)
    d = ((z - zc) / half).clamp_min(-1)
    inside = (torch.minimum(u, v) >= 0) & (torch.maximum(u, v) < size) & (d < 1) & (z > 1)
    index = v.floor().mul_(size).add_(u.floor_()).masked_fill_(~inside, size * size)       # misses share a spare cell
    depth = points.new_ones(batch, size * size + 1)
    depth.scatter_reduce_(1, index.long(), d, 'amin')
    return close_pinholes(depth[:, :-1].reshape(batch, 1, size, size))


def xyz_to_uvdn(xyz, centre_xyz, cube_mm):
    """Crop coordinates of joints. xyz: (B,J,3) [mm]; centre_xyz: (B,3) [mm]; cube_mm: (B,). Returns (B,J,3) uvdn."""
    half, centre = (cube_mm / 2)[:, None, None], centre_xyz[:, None]
    tangent = (xyz[..., :2] / xyz[..., 2:] - centre[..., :2] / centre[..., 2:]) * centre[..., 2:]
    return torch.cat([tangent, xyz[..., 2:] - centre[..., 2:]], -1) / half


def close_pinholes(depth):
    """Fill holes of a pixel or two between splats: a morphological closing of the nearer surface. depth: (B,1,H,W)."""
    return spread(spread(depth, torch.minimum), torch.maximum)


def spread(image, combine):
    """3x3 window minimum or maximum (combine: torch.minimum or torch.maximum) by shifted views, as poolings are slow here.

    image: (B,1,H,W). At the border the window is cut.
    """
    rows = image.clone()
    rows[..., 1:, :] = combine(image[..., 1:, :], image[..., :-1, :])
    rows[..., :-1, :] = combine(rows[..., :-1, :], image[..., 1:, :])
    both = rows.clone()
    both[..., 1:] = combine(rows[..., 1:], rows[..., :-1])
    both[..., :-1] = combine(both[..., :-1], rows[..., 1:])
    return both


def splat_image(points, intrinsics):
    """Depth image of points. points: (3,N) float [mm] camera optical frame. Returns (H,W) float [mm], +inf where nothing.

    Closed surfaces need points at most about 3 pixels apart.
    """
    width, height = intrinsics.width, intrinsics.height
    x, y, z = points
    col, row = (x / z * intrinsics.fx + intrinsics.cx).floor(), (y / z * intrinsics.fy + intrinsics.cy).floor()
    inside = (z > 1) & (col >= 0) & (col < width - 1) & (row >= 0) & (row < height - 1)
    index, z = (row * width + col)[inside].long(), z[inside]
    depth = points.new_full((height * width,), torch.inf)
    for step in (0, 1, width, width + 1):               # each point covers 2x2 pixels: splats are sparser than pixels
        depth.scatter_reduce_(0, index + step, z, 'amin')
    return close_pinholes(depth.view(1, 1, height, width))[0, 0]
