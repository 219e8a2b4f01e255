"""Sensor models for crops: structured light, stereo and time of flight.

Every crop has its own random sensor: lateral jitter of the outline, lost edges, flying pixels,
fattened outlines, lost thin fingers, blobs of missing depth, axial noise that grows with z^2 (about
1 mm at 0.5 m), quantisation.
"""

import torch
import torch.nn.functional as nn_f

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.synthetic.render import chunk_size, fused, pad_by_one, window3

DRAWS = 20  # random numbers per sensor
KIND_DRAW = 2  # index of the number that selects the kind, and the limits between kinds
KINDS = {'any': (0.0, 1.0), 'structured light': (0.25, 0.75), 'time of flight': (0.75, 1.0)}
EDGE_MM = 12.0  # a larger jump around a pixel makes it an edge pixel


class NoiseBank:
    """Bank of noise images, renewed now and then: drawing and smoothing new ones each time would
    cost as much as rendering.

    white: independent pixels; fine: blocks of 2x2; coarse: smooth over 8 pixels; all about standard
    normal.
    """

    def __init__(
        self,
        size: int,
        generator: torch.Generator,
        device: str | torch.device = 'cpu',
        images: int = 384,
        reuse_count: int = 1600,
    ) -> None:
        self.size, self.generator, self.device, self.images, self.reuse_count = (
            size,
            generator,
            device,
            images,
            reuse_count,
        )
        self.used = reuse_count

    def draw(self, kind: str, batch: int) -> torch.Tensor:
        """Return (B,1,S,S) float16: B consecutive images of the bank."""
        if batch > self.images:
            raise ValueError(f'batch must be at most {self.images}, got {batch}')
        if self.used >= self.reuse_count:
            self._refill()
        self.used += 1
        start = int(
            torch.randint(
                self.images - batch + 1, (1,), generator=self.generator, device=self.device
            )
        )
        return self.bank[kind][start : start + batch]

    def _refill(self):
        def normal(size):
            return torch.randn(
                self.images, 1, size, size, generator=self.generator, device=self.device
            )

        self.bank = {
            'white': normal(self.size),
            'aside': normal(self.size),
            'fine': nn_f.interpolate(normal(self.size // 2), size=self.size, mode='nearest'),
            'coarse': nn_f.interpolate(normal(self.size // 8), size=self.size, mode='bilinear'),
        }
        # float16: half the memory traffic
        self.bank = {kind: images.half() for kind, images in self.bank.items()}
        self.used = 0


def random_sensor(
    depth: torch.Tensor,
    depth_mm: torch.Tensor,
    cube_mm: torch.Tensor,
    generator: torch.Generator,
    noise: NoiseBank,
    compiled: bool = False,
    bridges: bool = False,
    kind: str = 'any',
) -> torch.Tensor:
    """Draw a sensor for every crop and apply it. generator: torch.Generator; noise: NoiseBank;
    kind: of KINDS; the rest as `apply_sensor`.
    """
    noisy = []
    for chunk in zip(*(values.split(chunk_size(depth)) for values in (depth, depth_mm, cube_mm))):
        batch = len(chunk[0])
        draws = of_kind(
            torch.rand(DRAWS, batch, 1, 1, 1, generator=generator, device=depth.device), kind
        )
        noisy.append(
            apply_sensor(  # type: ignore[call-arg]  # three and four arguments
                *chunk,
                draws,
                *(noise.draw(kind, batch) for kind in ('white', 'aside', 'fine', 'coarse')),
                compiled,
                bridges,
            )
        )
    return torch.cat(noisy)


def of_kind(draws: torch.Tensor, kind: str) -> torch.Tensor:
    """Set the kind of sensors. draws: (DRAWS,...) uniform in [0,1), changed in place and returned;
    kind: of KINDS.
    """
    low, high = KINDS[kind]
    draws[KIND_DRAW] = low + (high - low) * draws[KIND_DRAW]
    return draws


def apply_sensor(
    depth: torch.Tensor,
    depth_mm: torch.Tensor,
    cube_mm: torch.Tensor,
    draws: torch.Tensor,
    white: torch.Tensor,
    aside: torch.Tensor,
    fine: torch.Tensor,
    coarse: torch.Tensor,
    compiled: bool = False,
    bridges: bool = False,
) -> torch.Tensor:
    """Apply random sensor artefacts to a batch of crops.

    depth: (B,1,S,S) float uvdn, background +1; depth_mm: (B,) distance of the crop's centre, or
    (B,1,S,S) of every pixel; cube_mm: (B,); draws: (DRAWS,B,1,1,1) uniform in [0,1), which
    determine the sensors; the rest: noise images (B,1,S,S), see NoiseBank. compiled: compile
    operations on all crops with torch.compile; bridges: time of flight fills the gaps between
    neighbouring fingers. Return (B,1,S,S) uvdn.
    """
    draw = iter(draws.unbind(0))
    half = (cube_mm / 2).view(-1, 1, 1, 1)
    metres = depth_mm / 1000 if depth_mm.dim() == 4 else (depth_mm / 1000).view(-1, 1, 1, 1)

    def chance(p):
        """Draw a bool for each crop, True with probability p."""
        return next(draw) < p

    def below(threshold, p):
        """Return `threshold` with probability p, else infinity."""
        return torch.where(chance(p), threshold, torch.inf)

    reach = torch.where(chance(0.7), next(draw) * 0.9, 0.0)
    kind = next(draw)  # < 0.25 stereo, > 0.75 time of flight
    swells, flying = chance(0.6), 0.6 + next(draw)
    axial = 0.3 + 1.2 * next(draw)
    grain = (
        torch.where(chance(0.3), 0.125, torch.where(chance(0.6), 1.0, 1.0 + 5 * metres**2)) / half
    )
    ragged = 2.6 - 3.0 * next(draw) * chance(0.6)
    thin = (0.25 + 0.35 * next(draw)) * chance(0.25)
    blobs, specks = below(1.4 + 1.2 * next(draw), 0.2), below(2.2 + 1.5 * next(draw), 0.4)
    left, shadow = chance(0.5), (kind > 0.25) & (kind < 0.75) & chance(0.7)
    filled = next(draw)  # > 0.4: gaps are filled, the more the higher

    # Artefacts of some sensors are computed for their crops only.
    depth = fused(_jitter, compiled)(depth, white, aside, reach)
    padded = pad_by_one(depth)
    lacking, stereo, flight, shaded = (
        _chosen(some) for some in (thin > 0, kind < 0.25, kind > 0.75, shadow)
    )
    frail = _foreground_around(depth[lacking]) < 81 * thin[lacking]
    if len(stereo):
        grown, edge = fused(_grow, compiled, dynamic=True)(
            depth[stereo], padded[stereo], half[stereo], swells[stereo]
        )
        depth[stereo] = fused(_blur, compiled, dynamic=True)(
            grown, nn_f.pad(grown, (1, 1, 1, 1)), edge
        )
    if len(flight) and bridges:
        depth[flight] = _bridge(depth[flight], half[flight], coarse[flight], filled[flight])
        padded[flight] = pad_by_one(depth[flight])
    if len(flight):
        depth[flight] = fused(_flight, compiled, dynamic=True)(
            depth[flight], padded[flight], half[flight], aside[flight], fine[flight], flying[flight]
        )
    depth, noisy = fused(_measure, compiled)(
        depth, padded, half, metres, axial, grain, ragged, blobs, specks, white, aside, fine, coarse
    )
    if len(lacking):
        noisy[lacking] = noisy[lacking].masked_fill_(frail, 1.0)
    if len(shaded):
        noisy[shaded] = fused(_shade, compiled, dynamic=True)(
            noisy[shaded], depth[shaded], half[shaded], left[shaded]
        )
    return noisy


def _chosen(some):
    """Return the indices (n,) of the crops for which some (B,1,1,1) bool is set."""
    return some.flatten().nonzero()[:, 0]


def _jitter(depth, white, aside, reach):
    """Outline jitter: every pixel looks up a neighbour, up to `reach` (B,1,1,1) [px] away, or often
    so. Returns (B,1,H,W).
    """
    height, width = depth.shape[-2:]
    cells = torch.arange(height * width, device=depth.device, dtype=torch.float32)
    source = ((white.float() * reach).round() * width + (aside.float() * reach).round()).flatten(
        1
    ) + cells
    return depth.flatten(1).gather(1, source.clamp(0, height * width - 1).long()).view_as(depth)


def _foreground_around(depth):
    """Return (B,1,H,W) uint8: amount of foreground around each pixel, the 3x3 sum of 3x3 sums, at
    most 81.
    """
    near = window3(nn_f.pad((depth < BACKGROUND_FROM).to(torch.uint8), (1, 1, 1, 1)), torch.add)
    return window3(nn_f.pad(near, (1, 1, 1, 1)), torch.add)


def _grow(depth, padded, half, swells):
    """Grow outlines as stereo does, where `swells` is set. Return (depth, edges), both
    (B,1,H,W).
    """
    nearest = window3(padded, torch.minimum)
    edge = (window3(padded, torch.maximum) - nearest) * half > EDGE_MM
    return torch.where(swells, nearest, depth), edge


def _blur(depth, padded, edge):
    """Blur corners as stereo does. padded: (B,1,H+2,W+2) the same with zeros around."""
    return torch.where((depth < BACKGROUND_FROM) & ~edge, window3(padded, torch.add) / 9, depth)


def _flight(depth, padded, half, aside, fine, flying):
    """Add flying pixels between near and far at edges, where `fine` exceeds `flying`."""
    nearest, farthest = window3(padded, torch.minimum), window3(padded, torch.maximum)
    mixed = torch.lerp(nearest, farthest.clamp(max=0.98), (0.5 + 0.35 * aside.float()).clamp(0, 1))
    return torch.where(((farthest - nearest) * half > EDGE_MM) & (fine > flying), mixed, depth)


def _bridge(depth, half, coarse, filled):
    """Fill gaps of up to five pixels between near surfaces with a mixture of near and far, where
    `filled` > 0.4.
    """
    near = depth
    for _ in range(2):
        near = window3(pad_by_one(near), torch.minimum)
    for _ in range(2):
        near = window3(pad_by_one(near), torch.maximum)
    # share of the near surface in the mixture
    share = ((filled - 0.4) / 0.6 + 0.35 * coarse.float()).clamp(0, 0.95)
    gap = ((depth - near) * half > EDGE_MM) & (near < 0.9) & (filled > 0.4) & (share > 0.15)
    return torch.where(
        gap, torch.lerp(depth.clamp(max=0.98).minimum(near + 60 / half), near, share), depth
    )


def _measure(
    depth, padded, half, metres, axial, grain, ragged, blobs, specks, white, aside, fine, coarse
):
    """Add axial noise, quantise, and lose depth. Return (depth before pixels were lost, depth),
    both (B,1,H,W).
    """
    step = (
        window3(padded, torch.maximum) - window3(padded, torch.minimum)
    ) * half  # [mm] jump around the pixel
    # Half of the axial noise is correlated over a few pixels.
    sigma = axial * (0.35 + 2.6 * metres**2) / half * (1 + (step / 40).clamp(max=1.5))
    noisy = depth + sigma * (0.75 * white.float() + 0.5 * coarse.float())
    noisy = torch.where(depth < BACKGROUND_FROM, noisy, depth)  # background has no noise
    measured = torch.where(noisy < BACKGROUND_FROM, (noisy / grain).round() * grain, noisy)
    lost = ((step > EDGE_MM) & (aside > ragged)) | (coarse > blobs) | (fine > specks)
    return measured, torch.where(lost | (measured >= BACKGROUND_FROM), 1.0, measured.clamp_min(-1))


def _shade(noisy, depth, half, left):
    """Add the shadow of structured light: at near outlines the farther pixels on one side are
    lost.
    """
    before, after = nn_f.pad(depth, (3, 0))[..., :-3], nn_f.pad(depth, (0, 3))[..., 3:]
    return torch.where(depth - torch.where(left, before, after) > 25 / half, 1.0, noisy)
