"""Simulation of an active stereo camera: a dot pattern on the scene, two noisy images, block
matching.

The errors of such cameras come from matching blocks of pixels: fingers that are fat and webbed,
waves on smooth skin, holes where the pattern is too dim or too bright, islands of wrong matches,
shadows on one side, torn tips. Static noise models lack them; simulated matching has them
(ActiveZero, SimSense, arXiv 2201.11924).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

PATTERN_PX = 1024  # side of the dot pattern, which is tiled
HARSH_SHARE = 0.3  # share of difficult conditions
OVEREXPOSED_SHARE = 0.4  # share of cameras that overexpose what is near
OVEREXPOSED = 0.6  # largest share of the near surfaces that these saturate
LIGHT_PX = 80  # the light on a scene varies over this distance
MAX_DISPARITIES = 128  # [px] limits the nearest measured depth, as in real cameras
# [mm], their shares
BASELINES = {50.0: 0.6, 55.0: 0.15, 75.0: 0.15, 95.0: 0.1}
# [mm] Cameras with a wide baseline are run at a resolution that measures from about here.
NEAREST_MM = 320.0


@dataclass(frozen=True)
class StereoCamera:
    """Parameters of one active stereo camera and of its conditions."""

    focal_px: float  # of the matched images
    baseline_mm: float  # from the left camera to the right one
    projector: float  # position of the projector between them, 0 left to 1 right
    dot_px: float  # blur of the pattern's dots
    contrast: float  # of the pattern on bright skin at 0.5 m, share of full scale
    noise: float  # standard deviation of a pixel, share of full scale
    patchiness: float  # variation of the reflectance of surfaces
    overexposed: float  # share of the surfaces nearer than bright_mm that saturate
    bright_mm: float
    # weight of the angle: surfaces that face the camera saturate first, and outlines are left
    gloss: float
    # weight of the light: a lamp or the sun saturates a palm and an arm, and leaves the fingers
    lamp: float
    block_px: int  # side of the matched blocks, odd
    smoothness: float  # penalty of disparity steps, relative to OpenCV's recommendation
    uniqueness: int  # [%] by which the best match must beat the second
    speckle_px: int  # regions smaller than this are dropped; 0: none
    steps: int  # subpixel steps of the disparity in the depth image, up to 16
    dropout: float  # largest share of single pixels without depth, in drifting patches

    @property
    def nearest_mm(self) -> float:
        """Least depth that it measures."""
        return self.focal_px * self.baseline_mm / MAX_DISPARITIES


def random_stereo_camera(
    rng: np.random.Generator, focal_px: float, overexposed: float = OVEREXPOSED
) -> StereoCamera:
    """Draw a camera like those on robots. focal_px: of the matched images; overexposed: [0,1]
    largest share of the near surfaces that it saturates.
    """
    harsh = rng.random() < HARSH_SHARE  # dim, noisy, badly tuned
    shares = np.array(
        [
            share
            * (baseline == min(BASELINES) or focal_px * baseline <= MAX_DISPARITIES * NEAREST_MM)
            for baseline, share in BASELINES.items()
        ]
    )
    contrast, noise, smoothness = (
        float(np.exp(rng.uniform(*np.log(limits))))
        for limits in (
            ((0.12, 0.7), (0.003, 0.016), (0.4, 2.5))
            if harsh
            else ((0.3, 0.9), (0.002, 0.008), (0.1, 0.8))
        )
    )
    return StereoCamera(
        focal_px=focal_px,
        baseline_mm=float(rng.choice(list(BASELINES), p=shares / shares.sum())),
        projector=float(rng.uniform(0.2, 0.8)),
        dot_px=float(rng.uniform(0.6, 1.3 if harsh else 1.0)),
        contrast=contrast,
        noise=noise,
        patchiness=float(rng.uniform(0.1, 0.8 if harsh else 0.5)),
        overexposed=float(rng.uniform(0, overexposed) * (rng.random() < OVEREXPOSED_SHARE)),
        bright_mm=float(rng.uniform(500, 1400)),
        gloss=float(rng.uniform(0, 6)),
        lamp=float(rng.uniform(0, 3)),
        block_px=int(
            rng.choice([3, 5, 7, 9], p=[0.15, 0.4, 0.3, 0.15] if harsh else [0, 0.3, 0.35, 0.35])
        ),
        smoothness=smoothness,
        uniqueness=int(rng.integers(0, 16) if harsh else rng.integers(8, 24)),
        speckle_px=int(rng.choice([0, 30, 80, 200] if harsh else [30, 80, 200, 400])),
        steps=int(rng.choice([4, 8, 16, 16])),
        dropout=float(rng.uniform(0, 0.08) * (rng.random() < 0.6)),
    )


def stereo_depth(
    depth_mm: np.ndarray,
    camera: StereoCamera,
    surface: np.random.Generator,
    noise: np.random.Generator,
) -> np.ndarray:
    """Measure a scene by block matching.

    depth_mm: (H,W) float32 [mm] true depth in the left camera, inf where nothing is; surface:
    generator of reflectance, which stays from frame to frame; noise: generator of everything else.
    Return (H,W) float32 [mm], 0 where nothing was matched.
    """
    scale = camera.focal_px * camera.baseline_mm
    disparity = np.where(
        np.isfinite(depth_mm) & (depth_mm > 0), scale / np.maximum(depth_mm, 1), 0
    ).astype(np.float32)
    matched = disparity[disparity > 0]
    if not matched.size:
        return np.zeros_like(depth_mm)
    lowest = max(0, math.floor(float(matched.min())) - 2)
    highest = min(float(matched.max()) + 4, MAX_DISPARITIES)
    count = 16 * max(1, math.ceil((highest - lowest) / 16))  # in whole sixteens, as OpenCV has them
    pad = lowest + count  # the matcher has no result for the left columns: they are padding
    disparity = cv2.copyMakeBorder(  # type: ignore[assignment]
        disparity, 0, 0, pad, 0, cv2.BORDER_REPLICATE
    )
    left, right, saturated = _images(disparity, camera, surface, noise)
    block = camera.block_px
    smooth = camera.smoothness * block**2
    matcher = cv2.StereoSGBM.create(
        lowest,
        count,
        block,
        int(8 * smooth),
        int(32 * smooth),
        2,
        31,
        camera.uniqueness,
        camera.speckle_px,
        2,
        cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    found = matcher.compute(left, right)[:, pad:].astype(np.float32) / 16
    known = found > max(lowest, 0.5)
    # Blocks without texture are dropped; semi-global matching would bridge them.
    known &= cv2.erode(saturated.astype(np.uint8), np.ones((block // 2 + 1,) * 2))[:, pad:] == 0
    # Cameras drop most matches where nothing reflects; islands are left.
    nothing = disparity[:, pad:] <= 0
    if nothing.any():
        known &= ~nothing | (_smooth_noise(noise, depth_mm.shape, 12) > 1.8)
    if camera.dropout:
        density = camera.dropout * np.clip(0.3 + _smooth_noise(noise, depth_mm.shape, 16), 0, 1)
        known &= noise.random(depth_mm.shape, dtype=np.float32) >= density
    if camera.steps < 16:
        found = np.round(found * camera.steps) / camera.steps
    return np.where(known, scale / np.maximum(found, 0.25), 0).astype(np.float32)


def colour_aligned_cracks(depth_mm: np.ndarray, shift_mm_px: float) -> np.ndarray:
    """Return (H,W) bool: pixels that drivers lose when they align depth to the colour camera, lines
    along steps of depth.

    depth_mm: (H,W) float32 [mm], 0 invalid; shift_mm_px: focal length times distance of the cameras
    [px mm].
    """
    shift = np.where(depth_mm > 0, np.rint(shift_mm_px / np.maximum(depth_mm, 1)), 0)
    cracks = np.zeros(depth_mm.shape, bool)
    cracks[:, 1:] = (np.diff(shift, axis=1) > 0) & (depth_mm[:, 1:] > 0) & (depth_mm[:, :-1] > 0)
    return cracks


def _images(
    disparity: np.ndarray,
    camera: StereoCamera,
    surface: np.random.Generator,
    noise: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render the two cameras' images (H,W) uint8, and (H,W) bool where the left one is overexposed.
    disparity: (H,W) float32 [px] in the left one, 0 where nothing is.
    """
    height, width = disparity.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    seen_right = _in_right_view(disparity)
    # The pattern is sharp at all distances; its light falls off with distance, and reflectance
    # varies.
    pattern = _pattern(camera.dot_px)
    shift = surface.integers(0, PATTERN_PX, 2).astype(np.float32)
    patches = (
        _smooth_noise(surface, (height, width), 24) * 0.7
        + _smooth_noise(surface, (height, width), 9) * 0.5
    )
    reflect = np.exp(camera.patchiness * patches)
    reference = camera.focal_px * camera.baseline_mm / 500  # [px] disparity at 0.5 m
    saturated = _saturated(disparity, patches, camera, surface)
    reflect[saturated] = 0
    views = []
    for d, across in ((disparity, 0.0), (seen_right, 1.0)):
        source = x + (across - camera.projector) * d
        dots = cv2.remap(
            pattern,
            np.mod(source + shift[0], PATTERN_PX),
            np.mod(y + shift[1], PATTERN_PX),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        # Reflectance belongs to the surface: sampled at the pixel of the left camera.
        on_left = (
            cv2.remap(reflect, x + d * across, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            if across
            else reflect
        )
        light = camera.contrast * on_left * np.minimum(d / reference, 2)
        image = 0.35 + light * dots + 0.08 * on_left * (d > 0)
        image += camera.noise * noise.standard_normal((height, width), dtype=np.float32)
        views.append(np.clip(255 * image, 0, 255).astype(np.uint8))
    return views[0], views[1], saturated


def _saturated(
    disparity: np.ndarray,
    patches: np.ndarray,
    camera: StereoCamera,
    surface: np.random.Generator,
) -> np.ndarray:
    """(H,W) bool where a near surface reflects more than the camera can tell apart. patches: (H,W)
    how brightly it reflects, about standard normal.
    """
    near = disparity > camera.focal_px * camera.baseline_mm / camera.bright_mm
    if not camera.overexposed or not near.any():
        return np.zeros(disparity.shape, bool)
    bright = patches + camera.gloss * _facing(disparity, camera)
    bright += camera.lamp * _smooth_noise(surface, disparity.shape, LIGHT_PX)
    return near & (bright > np.quantile(bright[near][::8], 1 - camera.overexposed))


def _facing(disparity: np.ndarray, camera: StereoCamera) -> np.ndarray:
    """(H,W) float32 cosine between surfaces' normals and the optical axis, smoothed over the
    matched block. disparity: (H,W) float32 [px], 0 where nothing is.
    """
    depth = camera.focal_px * camera.baseline_mm / np.maximum(disparity, 0.5)
    depth = cv2.blur(depth, (5, 5))
    slopes = [
        cv2.Sobel(depth, cv2.CV_32F, *axes, scale=1 / 8) * (camera.focal_px / depth)
        for axes in ((1, 0), (0, 1))
    ]
    return 1 / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)


def _in_right_view(disparity: np.ndarray) -> np.ndarray:
    """Return the disparity (H,W) [px] in the view of the right camera: nearer surfaces hide farther
    ones.
    """
    height, width = disparity.shape
    column = np.arange(width, dtype=np.float32) - disparity
    column = np.rint(column).astype(np.int64)
    inside = column >= 0
    index = torch.from_numpy(
        np.where(inside, column, 0) + np.arange(height)[:, None] * width
    ).flatten()
    value = torch.from_numpy(np.where(inside, disparity, 0)).flatten()
    right = (
        torch.zeros(height * width)
        .scatter_reduce_(0, index, value, 'amax')
        .view(height, width)
        .numpy()
    )
    # stretched surfaces have cracks
    return np.where(right > 0, right, cv2.dilate(right, np.ones((1, 3), np.uint8)))


_PATTERNS: dict[float, np.ndarray] = {}


def _pattern(dot_px: float) -> np.ndarray:
    """Return (PATTERN_PX,PATTERN_PX) float32 in about [0,1]: random dots, blurred by dot_px,
    rounded to tenths.
    """
    key = round(dot_px, 1)
    if key not in _PATTERNS:
        dots = (np.random.default_rng(0).random((PATTERN_PX, PATTERN_PX)) < 0.12).astype(np.float32)
        blurred = cv2.GaussianBlur(dots, (0, 0), key, borderType=cv2.BORDER_REFLECT)
        _PATTERNS[key] = blurred / np.quantile(blurred, 0.98)
    return _PATTERNS[key]


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Return (H,W) float32, about standard normal, smooth over `cell` pixels."""
    small = rng.standard_normal((shape[0] // cell + 3, shape[1] // cell + 3), dtype=np.float32)
    return (
        1.3
        * cv2.resize(
            small, (shape[1] + 2 * cell, shape[0] + 2 * cell), interpolation=cv2.INTER_CUBIC
        )[cell:-cell, cell:-cell]
    )
