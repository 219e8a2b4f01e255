"""Sensor model of one depth camera for whole frames: from perfect depth images to measured ones.

Blobs of missing depth and slow noise stay from frame to frame, all other noise is new.
"""

import cv2
import numpy as np
import torch

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.synthetic.sensor import DRAWS, apply_sensor, of_kind
from awr_ros.synthetic.stereo import colour_aligned_cracks, random_stereo_camera, stereo_depth

STEREO, STRUCTURED_LIGHT, TIME_OF_FLIGHT = 'stereo', 'structured light', 'time of flight'
KIND_SHARES = {STEREO: 0.45, STRUCTURED_LIGHT: 0.25, TIME_OF_FLIGHT: 0.3}
# [px] Stereo cameras match images of these focal lengths, whatever the size of the depth image: a
# small one is made of every second pixel, depth aligned to colour is enlarged.
MATCHED_FOCAL = (380.0, 650.0)
MATCHED_WIDTH = 1000  # [px] largest width of the matched images


class FrameSensor:
    """A randomly drawn camera of one kind."""

    def __init__(
        self,
        shape: tuple[int, int],
        focal_px: float,
        far_mm: float,
        generator: torch.Generator,
        later: torch.Generator,
        kind: str | None = None,
    ) -> None:
        """Draw a camera.

        shape: (H,W) of its images; focal_px: of these; far_mm: range; generator: for constant
        properties and the noise of the first frame; later: for the noise of later frames; kind: of
        KIND_SHARES, None: any.
        """
        kinds = list(KIND_SHARES)
        drawn = int(
            torch.multinomial(torch.tensor(list(KIND_SHARES.values())), 1, generator=generator)
        )
        self.kind, self.far_mm = kind or kinds[drawn], far_mm
        self._generator, self._later, self._frames = generator, later, 0
        self.nearest_mm = 0.0  # least depth that it measures
        if self.kind == STEREO:
            self._start_stereo(shape, focal_px)
        else:
            self._draws = of_kind(torch.rand(DRAWS, 1, 1, 1, 1, generator=generator), self.kind)
            self._noise = {
                name: noise_image(name, shape, generator)
                for name in ('white', 'aside', 'fine', 'coarse')
            }

    def measure(self, depth_mm: torch.Tensor) -> np.ndarray:
        """Return the measured depth (H,W) uint16 [mm], 0 invalid. depth_mm: (H,W) perfect depth,
        inf where nothing is.
        """
        measured = self._match(depth_mm.numpy()) if self.kind == STEREO else self._model(depth_mm)
        self._frames += 1
        return np.where((measured > 0) & (measured <= self.far_mm), np.rint(measured), 0).astype(
            np.uint16
        )

    def _model(self, depth_mm):
        half = self.far_mm / 0.98
        if self._frames:
            self._noise.update(
                {
                    name: noise_image(name, depth_mm.shape, self._later)
                    for name in ('white', 'aside', 'fine')
                }
            )
        image, distance = (
            (depth_mm / half).clamp(max=1)[None, None],
            depth_mm.clamp(max=self.far_mm)[None, None],
        )
        noisy = apply_sensor(
            image, distance, torch.tensor([2 * half]), self._draws, **self._noise, bridges=True
        )[0, 0]
        return torch.where(noisy < BACKGROUND_FROM, noisy * half, 0).numpy()

    def _start_stereo(self, shape, focal_px):
        self._rng = np.random.default_rng(self._seed())
        height, width = shape
        matched_px = float(np.exp(self._rng.uniform(*np.log(MATCHED_FOCAL))))
        scale = min(matched_px / focal_px, MATCHED_WIDTH / width)
        self._matched = round(width * scale), round(height * scale)
        self._camera, self._surface = (
            random_stereo_camera(self._rng, focal_px * scale),
            self._seed(),
        )
        self.nearest_mm = self._camera.nearest_mm
        self._align_mm_px = focal_px * float(self._rng.choice([0, 0, -15.0, 15.0, 30.0, 60.0]))

    def _seed(self):
        return int(torch.randint(2**31, (1,), generator=self._generator))

    def _match(self, depth_mm):
        small = cv2.resize(depth_mm, self._matched, interpolation=cv2.INTER_NEAREST)
        depth = stereo_depth(small, self._camera, np.random.default_rng(self._surface), self._rng)
        depth = cv2.resize(depth, depth_mm.shape[::-1], interpolation=cv2.INTER_NEAREST)
        if self._align_mm_px:
            depth[colour_aligned_cracks(depth, self._align_mm_px)] = 0
        return depth


def noise_image(kind: str, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Return (1,1,H,W) float, about standard normal: like NoiseBank for crops, for one frame of any
    size.
    """
    cells = {'fine': 2, 'coarse': 8}.get(kind, 1)
    image = torch.randn(1, 1, *(-(-side // cells) for side in shape), generator=generator)
    if cells > 1:
        image = torch.nn.functional.interpolate(
            image, scale_factor=cells, mode='nearest' if kind == 'fine' else 'bilinear'
        )
    return image[..., : shape[0], : shape[1]]
