"""What depth sensors do to a perfect depth map: structured light, stereo and time of flight, on crops.

Every crop draws its own sensor: lateral jitter of the outline, lost edges, flying pixels, fattened outlines, lost thin
fingers, blobs of missing depth, axial noise that grows with z^2 (about 1 mm at 0.5 m), quantisation.
"""
import torch
import torch.nn.functional as nn_f

from awr_ros.synthetic.render import spread


DRAWS = 20                  # uniform numbers that describe one sensor


class NoiseBank:
    """Noise images by the thousand, drawn again now and then: drawing and smoothing anew would cost as much as rendering.

    white: independent pixels; fine: blocks of 2x2; coarse: smooth over 8 pixels; all about standard normal.
    """

    def __init__(self, size, generator, device='cpu', images=384, lasts=240):
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
        self.bank = {'white': normal(self.size), 'aside': normal(self.size),
                     'fine': nn_f.interpolate(normal(self.size // 2), size=self.size, mode='nearest'),
                     'coarse': nn_f.interpolate(normal(self.size // 8), size=self.size, mode='bilinear')}
        self.used = 0


def spoil(depth, depth_mm, cube_mm, draws, white, aside, fine, coarse):
    """Spoil a batch of crops, each by a sensor of its own.

    depth: (B,1,S,S) float uvdn, background +1; depth_mm: (B,) distance of the crop's centre, or (B,1,S,S) of every pixel;
    cube_mm: (B,);
    draws: (DRAWS,B,1,1,1) uniform in [0,1), which decide what each sensor does; the rest: noise images (B,1,S,S), see
    NoiseBank. Returns (B,1,S,S) uvdn. Pure arithmetic on its arguments, so that torch.compile can fuse it.
    """
    height, width = depth.shape[-2:]
    draw = iter(draws.unbind(0))
    half = (cube_mm / 2).view(-1, 1, 1, 1)
    metres = depth_mm / 1000 if depth_mm.dim() == 4 else (depth_mm / 1000).view(-1, 1, 1, 1)

    def chance(p):
        return next(draw) < p
    # Outline jitter: every pixel looks up a neighbour.
    reach = torch.where(chance(0.7), next(draw) * 0.9, 0.0)
    cells = torch.arange(height * width, device=depth.device, dtype=torch.float32)
    source = ((white * reach).round() * width + (aside * reach).round()).flatten(1) + cells
    depth = depth.flatten(1).gather(1, source.clamp(0, height * width - 1).long()).view_as(depth)

    nearest, farthest = spread(depth, torch.minimum), spread(depth, torch.maximum)
    step = (farthest - nearest) * half                                      # [mm] jump around the pixel
    edge = step > 12
    solid = box_mean(box_mean((depth < 0.99).float()))                      # share of foreground around the pixel

    # Stereo: outlines grow and corners blur. Time of flight: pixels fly between near and far.
    kind = next(draw)
    stereo, flight = kind < 0.25, kind > 0.75
    depth = torch.where(stereo & chance(0.6), nearest, depth)
    depth = torch.where(stereo & (depth < 0.99) & ~edge, box_mean(depth), depth)
    mixed = torch.lerp(nearest, farthest.clamp(max=0.98), (0.5 + 0.35 * aside).clamp(0, 1))
    depth = torch.where(flight & edge & (fine > 0.6 + next(draw)), mixed, depth)

    # Axial noise, half of it correlated over a few pixels.
    sigma = (0.3 + 1.2 * next(draw)) * (0.35 + 2.6 * metres ** 2) * (1 + (step / 40).clamp(max=1.5))
    depth = torch.where(depth < 0.99, depth + sigma / half * (0.75 * white + 0.5 * coarse), depth)
    grain = torch.where(chance(0.3), 0.125, torch.where(chance(0.6), 1.0, 1.0 + 5 * metres ** 2)) / half
    depth = torch.where(depth < 0.99, (depth / grain).round() * grain, depth)

    # Lost depth: edges, thin parts, blobs, single pixels.
    lost = edge & (aside > 2.6 - 3.0 * next(draw) * chance(0.6))
    lost = lost | ((solid < 0.25 + 0.35 * next(draw)) & chance(0.25))
    lost = lost | ((coarse > 1.4 + 1.2 * next(draw)) & chance(0.2))
    lost = lost | ((fine > 2.2 + 1.5 * next(draw)) & chance(0.4))
    # Structured light casts a shadow: near outlines lose the farther pixels on one side.
    left, right = nn_f.pad(depth, (3, 0))[..., :-3], nn_f.pad(depth, (0, 3))[..., 3:]
    beside = torch.where(chance(0.5), left, right)
    lost = lost | ((depth - beside > 25 / half) & (kind > 0.25) & (kind < 0.75) & chance(0.7))
    return torch.where(lost | (depth >= 0.99), 1.0, depth.clamp_min(-1))


def random_sensor(depth, depth_mm, cube_mm, generator, noise, spoil=spoil):
    """Draw a sensor for every crop and apply it. generator: torch.Generator; noise: NoiseBank; the rest as `spoil`."""
    batch = depth.shape[0]
    draws = torch.rand(DRAWS, batch, 1, 1, 1, generator=generator, device=depth.device)
    return spoil(depth, depth_mm, cube_mm, draws, *(noise.draw(kind, batch) for kind in ('white', 'aside', 'fine', 'coarse')))


def box_mean(image):
    """3x3 mean by shifted views; zero beyond the border. image: (B,1,H,W)."""
    padded = nn_f.pad(image, (1, 1, 1, 1))
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9
