"""What depth sensors do to a perfect depth map: structured light, stereo and time of flight, on crops.

Every crop draws its own sensor: lateral jitter of the outline, lost edges, flying pixels, fattened outlines, lost thin
fingers, blobs of missing depth, axial noise that grows with z^2 (about 1 mm at 0.5 m), quantisation.
"""
import torch
import torch.nn.functional as nn_f

from awr_ros.synthetic.render import spread


class NoiseBank:
    """Noise images by the thousand, drawn again now and then: drawing and smoothing anew would cost as much as rendering.

    white: independent pixels; fine: blocks of 2x2; coarse: smooth over 8 pixels; all about standard normal.
    """

    def __init__(self, size, generator, device='cpu', images=384, lasts=60):
        self.size, self.generator, self.device, self.images, self.lasts = size, generator, device, images, lasts
        self.used = lasts

    def draw(self, kind, batch):
        """(B,1,S,S) float: B neighbouring images of the bank."""
        if batch > self.images:
            raise ValueError(f'batch must be at most {self.images}, got {batch}')
        if self.used >= self.lasts:
            self._refill()
        self.used += 1
        start = int(torch.randint(self.images - batch + 1, (1,), generator=self.generator, device=self.device))
        return self.bank[kind][start:start + batch]

    def _refill(self):
        def normal(size):
            return torch.randn(self.images, 1, size, size, generator=self.generator, device=self.device)
        self.bank = {'white': normal(self.size), 'white too': normal(self.size),
                     'fine': nn_f.interpolate(normal(self.size // 2), size=self.size, mode='nearest'),
                     'coarse': nn_f.interpolate(normal(self.size // 8), size=self.size, mode='bilinear')}
        self.used = 0


def random_sensor(depth, depth_mm, cube_mm, generator, noise):
    """Spoil a batch of crops, each by a sensor of its own.

    depth: (B,1,S,S) float uvdn, background +1; depth_mm: (B,) distance of the crop's centre; cube_mm: (B,).
    noise: NoiseBank. Returns (B,1,S,S) uvdn.
    """
    batch, _, size, _ = depth.shape
    device = depth.device
    half = (cube_mm / 2).view(-1, 1, 1, 1)
    metres = (depth_mm / 1000).view(-1, 1, 1, 1)

    def uniform():
        return torch.rand(batch, 1, 1, 1, generator=generator, device=device)

    def chance(p):
        return uniform() < p
    # Outline jitter: every pixel looks up a neighbour.
    reach = torch.where(chance(0.7), uniform() * 0.9, 0.0)
    down, aside = ((noise.draw(kind, batch) * reach).round_() for kind in ('white', 'white too'))
    cells = torch.arange(size * size, device=device, dtype=torch.float32)
    source = down.mul_(size).add_(aside).flatten(1).add_(cells).clamp_(0, size * size - 1)
    depth = depth.flatten(1).gather(1, source.long()).view_as(depth)

    nearest, farthest = spread(depth, torch.minimum), spread(depth, torch.maximum)
    step = (farthest - nearest) * half                                      # [mm] jump around the pixel
    edge = step > 12
    solid = box_mean(box_mean((depth < 0.99).float()))                      # share of foreground around the pixel
    white, fine, coarse = (noise.draw(kind, batch) for kind in ('white', 'fine', 'coarse'))

    # Stereo: outlines grow and corners blur. Time of flight: pixels fly between near and far.
    kind = uniform()
    stereo, flight = kind < 0.25, kind > 0.75
    depth = torch.where(stereo & chance(0.6), nearest, depth)
    depth = torch.where(stereo & (depth < 0.99) & ~edge, box_mean(depth), depth)
    mixed = torch.lerp(nearest, farthest.clamp(max=0.98), (0.5 + 0.35 * white).clamp(0, 1))
    depth = torch.where(flight & edge & (fine > 0.6 + uniform()), mixed, depth)

    # Axial noise, half of it correlated over a few pixels.
    sigma = (0.3 + 1.2 * uniform()) * (0.35 + 2.6 * metres ** 2) * (1 + (step / 40).clamp(max=1.5))
    depth = torch.where(depth < 0.99, depth + sigma / half * (0.75 * white + 0.5 * coarse), depth)
    grain = torch.where(chance(0.3), 0.125, torch.where(chance(0.6), 1.0, 1.0 + 5 * metres ** 2)) / half
    depth = torch.where(depth < 0.99, (depth / grain).round() * grain, depth)

    # Lost depth: edges, thin parts, blobs, single pixels.
    lost = edge & (white > 2.6 - 3.0 * uniform() * chance(0.6))
    lost |= (solid < 0.25 + 0.35 * uniform()) & chance(0.25)
    lost |= (coarse > 1.4 + 1.2 * uniform()) & chance(0.2)
    lost |= (fine > 2.2 + 1.5 * uniform()) & chance(0.4)
    # Structured light casts a shadow: near outlines lose the farther pixels on one side.
    side = torch.where(chance(0.5), 1, 0)
    left, right = nn_f.pad(depth, (3, 0))[..., :-3], nn_f.pad(depth, (0, 3))[..., 3:]
    beside = torch.where(side == 1, left, right)
    lost |= (depth - beside > 25 / half) & (kind > 0.25) & (kind < 0.75) & chance(0.7)
    return torch.where(lost | (depth >= 0.99), 1.0, depth.clamp_min(-1))


def box_mean(image):
    """3x3 mean by shifted views; zero beyond the border. image: (B,1,H,W)."""
    padded = nn_f.pad(image, (1, 1, 1, 1))
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9
