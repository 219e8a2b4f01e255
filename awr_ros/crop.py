"""Crop of a hand: the metric cube around a centre, rendered from the depth image, and the exact way
back.

The crop is the image of a virtual camera: the real one, rotated about its own centre by the
smallest angle that makes its optical axis pass through the crop's centre, and then about that axis
by the roll. A hand therefore looks the same everywhere in the image; cut along the axes of the real
camera, hands away from the optical axis are stretched. A rotation maps pixels by a homography, and
depth along the new axis is z' = z / s, where s is the z component, in the frame of the real camera,
of the pixel's ray (x, y, 1) in that of the virtual one. s is linear in the crop's pixels, and 1 on
the real axis.

uvdn: crop coordinates, each axis in [-1,1]: u and v across the crop, d along the virtual camera's
axis from the cube's front to its back face. Crop pixel i of S covers [2i/S - 1, 2(i+1)/S - 1],
which is the grid that `offset_field` votes from.

Networks for the public data sets were trained on crops cut along the axes of the real camera:
`crop_along_axes`, `crop_as_authors`.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from awr_ros.camera import Intrinsics, looking_at
from awr_ros.skeleton import JOINT_NAMES, SIDES

BACKGROUND = 1.0
BACKGROUND_FROM = 0.99  # pixels at least this deep (uvdn) are background and do not vote
MIN_CENTRE_MM = 50.0  # below it the window exceeds any image
MIN_RAY_Z = 1e-3  # rays with a smaller z lie outside the image
# uvdn (u, v, 1)
CORNERS = np.array([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])


@dataclass(frozen=True)
class CropSpec:
    """The crops that a network was trained on, and the joints that it finds in them."""

    joint_names: tuple[str, ...] = JOINT_NAMES  # of the J joints, in order
    crop_size: int = 128  # S, side of the input [px]
    cube_mm: float = 280.0  # side of the cropped cube [mm]
    side: str = 'right'  # side of the hands in training; the others are mirrored
    authors_crop: bool = False  # crops as the authors' code cuts them (crop_as_authors)
    virtual_crop: bool = False  # crops by crop_hand, else crop_along_axes
    upright: bool = False  # trained on crops rotated so that the fingers point up

    @property
    def uses_roll(self) -> bool:
        """Whether `cut` rotates crops by the roll."""
        return self.upright and not self.authors_crop

    def check(self, step: int = 1) -> None:
        """Raise ValueError for crops that cannot be cut. step: divisor of crop_size."""
        if not self.joint_names:
            raise ValueError('joint_names must name at least one joint')
        if self.crop_size <= 0 or self.crop_size % step:
            raise ValueError(
                f'crop_size must be a positive multiple of {step}, got {self.crop_size}'
            )
        if not self.cube_mm > 0:
            raise ValueError(f'cube_mm must be positive, got {self.cube_mm}')
        if self.side not in SIDES:
            raise ValueError(f"side must be 'left' or 'right', got {self.side!r}")

    def cut(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        centre_xyz: npt.ArrayLike,
        roll: float = 0.0,
    ) -> 'Crop':
        """Cut a crop as the network expects it. Arguments and errors as `crop_hand`; only networks
        of upright crops use the roll.
        """
        if self.authors_crop:
            return crop_as_authors(depth_mm, intrinsics, centre_xyz, self.cube_mm, self.crop_size)
        cut = crop_hand if self.virtual_crop else crop_along_axes
        roll = roll if self.uses_roll else 0.0
        return cut(depth_mm, intrinsics, centre_xyz, self.cube_mm, self.crop_size, roll)


@dataclass(frozen=True)
class Crop:
    """Crop of a hand with its mapping to the full image."""

    depth: np.ndarray  # (S,S) float32 uvdn: background +1, nearest -1
    centre_xyz: np.ndarray  # (3,) float64 [mm] camera optical frame
    cube: np.ndarray  # (3,) float64 [mm]
    # (u0, v0, u1, v1) [px] half open: bounds of the crop in the full image, may reach beyond it
    window: tuple[int, int, int, int]
    intrinsics: Intrinsics
    image_from_crop: np.ndarray  # (3,3) float64 homography from uvdn (u, v, 1) to s (u, v, 1) [px]
    distance: float  # [mm] of the centre along the crop's axis, where d of uvdn is 0

    @property
    def foreground(self) -> float:
        """Share of pixels that are not background."""
        return float(np.count_nonzero(self.depth < BACKGROUND_FROM)) / self.depth.size

    def uvd_from_uvdn(self, uvdn: npt.ArrayLike) -> np.ndarray:
        """Map from crop to full image. uvdn: (..., 3). Return (..., 3) float64 [px, px, mm]."""
        uvdn = np.asarray(uvdn, np.float64)
        by_u, by_v, constant = self.image_from_crop.T
        uvd = uvdn[..., :1] * by_u + uvdn[..., 1:2] * by_v + constant  # s (u, v, 1)
        uvd[..., :2] /= uvd[..., 2:]
        uvd[..., 2:] *= uvdn[..., 2:] * (self.cube[2] / 2) + self.distance
        return uvd

    def uvdn_from_uvd(self, uvd: npt.ArrayLike) -> np.ndarray:
        """Map from full image to crop, inverse of `uvd_from_uvdn`. uvd: (..., 3) [px, px, mm]."""
        uvd, crop_from_image = np.asarray(uvd, np.float64), np.linalg.inv(self.image_from_crop)
        crop = uvd[..., :2] @ crop_from_image[:, :2].T + crop_from_image[:, 2]
        inverse_s = crop[..., 2:]
        depth = (uvd[..., 2:] * inverse_s - self.distance) / (self.cube[2] / 2)
        return np.concatenate([crop[..., :2] / inverse_s, depth], axis=-1)


def crop_hand(
    depth_mm: np.ndarray,
    intrinsics: Intrinsics,
    centre_xyz: npt.ArrayLike,
    cube: npt.ArrayLike,
    size: int,
    roll: float = 0.0,
) -> Crop:
    """Cut the cube around a centre, as seen by a virtual camera turned towards that centre.

    depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN = invalid; centre_xyz: (3,) [mm], z >= 50;
    cube: side or (3,) [mm]; size: S [px]; roll: [rad] in-plane rotation about the crop's centre:
    the direction at this angle, clockwise from up, in the image of the camera turned to the centre
    (camera.looking_at), points up in the crop. Depth nearer than the front face is clamped to it;
    beyond the back face and outside the image is background.
    """
    centre, cube = _checked(depth_mm, intrinsics, centre_xyz, cube)
    distance = math.hypot(*centre.tolist())
    width, height, _ = cube.tolist()
    half_u, half_v = width / 2 / distance, height / 2 / distance  # tangents
    c, s = math.cos(roll), math.sin(roll)
    ray_from_crop = np.array([[c * half_u, -s * half_u, 0], [s * half_v, c * half_v, 0], [0, 0, 1]])
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    image_from_ray = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]) @ looking_at(centre).T
    image_from_crop = image_from_ray @ ray_from_crop
    step, first = 2 / size, 1 / size - 1  # uvdn of pixel indices, OpenCV's coordinates
    crop_from_pixel = np.array([[step, 0, first], [0, step, first], [0, 0, 1]])
    image_from_pixel = image_from_crop @ crop_from_pixel
    cut = cv2.warpPerspective(
        depth_mm,
        image_from_pixel,
        (size, size),
        borderValue=0,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    s_by_column, s_by_row, s_first = image_from_pixel[2].tolist()
    pixels = np.arange(size, dtype=np.float32)
    s = (pixels * s_by_row)[:, None] + (pixels * s_by_column + s_first)
    if s_first + (size - 1) * (min(s_by_column, 0) + min(s_by_row, 0)) < MIN_RAY_Z:
        cut[s < MIN_RAY_Z] = 0  # rays that never enter the image
        np.maximum(s, MIN_RAY_Z, out=s)
    return Crop(
        _normalised(cut / s, distance, cube),
        centre,
        cube,
        _bounds(image_from_crop),
        intrinsics,
        image_from_crop,
        distance,
    )


def _normalised(depth_mm: np.ndarray, distance: float, cube: np.ndarray) -> np.ndarray:
    """Convert depth (S,S) float32 [mm] along the axis of the crop to uvdn; invalid pixels become
    background.
    """
    normal = depth_mm - np.float32(distance)
    normal /= np.float32(cube[2] / 2)
    np.minimum(np.maximum(normal, -1, out=normal), 1, out=normal)
    # NaN compares false; depth beyond the cube is clamped to 1, the background.
    return np.where(depth_mm > 0, normal, np.float32(BACKGROUND))


def _bounds(image_from_crop: np.ndarray) -> tuple[int, int, int, int]:
    """Return the window [px] around the corners of the crop, to the nearest pixel edges, at least
    one pixel.
    """
    u, v, s = image_from_crop @ CORNERS
    s = np.maximum(s, MIN_RAY_Z)
    u, v = (u / s).tolist(), (v / s).tolist()
    (u0, u1), (v0, v1) = ((math.floor(min(x) + 1), math.floor(max(x) + 1)) for x in (u, v))
    return u0, v0, max(u1, u0 + 1), max(v1, v0 + 1)


def crop_along_axes(
    depth_mm: np.ndarray,
    intrinsics: Intrinsics,
    centre_xyz: npt.ArrayLike,
    cube: npt.ArrayLike,
    size: int,
    roll: float = 0.0,
) -> Crop:
    """Cut the cube along the axes of the real camera, for networks trained on such crops.

    Arguments as `crop_hand`, except that the roll is in the image of the real camera. The window is
    the cube's section at the depth of its centre, rounded to whole pixels.
    """
    centre, cube = _checked(depth_mm, intrinsics, centre_xyz, cube)
    # The pixel edges nearest to c -+ (cube/2)/z f. The authors' code, int(c -+ (cube/2)/z f + 0.5),
    # counts pixel corners as centres and is half a pixel off.
    (x, y, z), (width, height, _) = centre.tolist(), cube.tolist()
    u0, u1 = _pixels(x / z * intrinsics.fx + intrinsics.cx, width / 2 / z * intrinsics.fx)
    v0, v1 = _pixels(y / z * intrinsics.fy + intrinsics.cy, height / 2 / z * intrinsics.fy)
    c, s = math.cos(roll), math.sin(roll)
    half_u, half_v = (u1 - u0) / 2, (v1 - v0) / 2
    image_from_crop = np.array(
        [
            [c * half_u, -s * half_u, (u0 + u1 - 1) / 2],
            [s * half_v, c * half_v, (v0 + v1 - 1) / 2],
            [0, 0, 1],
        ]
    )
    # Both centres coincide; in pixel indices, OpenCV's coordinates, the crop's is (S-1)/2.
    image_from_pixel = image_from_crop[:2] * [2 / size, 2 / size, 1]
    image_from_pixel[:, 2] -= image_from_pixel[:, :2].sum(1) * (size - 1) / 2
    cut = cv2.warpAffine(
        depth_mm,
        image_from_pixel,
        (size, size),
        borderValue=0,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    return Crop(
        _normalised(cut.astype(np.float32, copy=False), z, cube),
        centre,
        cube,
        (u0, v0, u1, v1),
        intrinsics,
        image_from_crop,
        z,
    )


def _pixels(middle: float, half: float) -> tuple[int, int]:
    """Return the first and one past the last pixel [px] of a window on one axis, at least one
    pixel.
    """
    first = math.floor(middle - half + 1)
    return first, max(math.floor(middle + half + 1), first + 1)


def crop_as_authors(
    depth_mm: np.ndarray,
    intrinsics: Intrinsics,
    centre_xyz: npt.ArrayLike,
    cube: npt.ArrayLike,
    size: int,
) -> Crop:
    """Cut the cube as the authors' code does, for networks trained on such crops. Arguments as
    `crop_hand`.

    Four things differ from `crop_along_axes`; a network trained with them is off by one or two
    pixels on other crops: the window is int(c -+ (cube/2)/z f + 0.5), and uvdn -1 is the centre of
    its corner pixel, not its edge; the cut is resized relative to its first pixels, not its centre;
    it keeps its aspect ratio and is padded; and its farthest pixels become background, which opens
    a hole where the whole window is within the cube.
    """
    centre, cube = _checked(depth_mm, intrinsics, centre_xyz, cube)
    middle = intrinsics.xyz_to_uvd(centre)[:2]
    half = cube[:2] / 2 / centre[2] * [intrinsics.fx, intrinsics.fy]
    # towards 0, as int()
    (u0, v0), (u1, v1) = ((middle - half + 0.5).astype(int), (middle + half + 0.5).astype(int))
    u1, v1 = max(u1, u0 + 1), max(v1, v0 + 1)
    cut = np.zeros((v1 - v0, u1 - u0), np.float32)
    left, top, right, bottom = (
        max(u0, 0),
        max(v0, 0),
        min(u1, intrinsics.width),
        min(v1, intrinsics.height),
    )
    if left < right and top < bottom:
        cut[top - v0 : bottom - v0, left - u0 : right - u0] = np.nan_to_num(
            depth_mm[top:bottom, left:right], posinf=0, neginf=0
        )
    near, far = centre[2] - cube[2] / 2, centre[2] + cube[2] / 2
    cut[(cut > 0) & (cut < near)] = near
    cut[cut > far] = 0
    scale = min(size / (u1 - u0), size / (v1 - v0))
    width, height = max(1, int((u1 - u0) * scale)), max(1, int((v1 - v0) * scale))
    x, y = (size - width) // 2, (size - height) // 2
    depth = np.zeros((size, size), np.float32)
    depth[y : y + height, x : x + width] = cv2.resize(
        cut, (width, height), interpolation=cv2.INTER_NEAREST
    )
    depth[(depth == depth.max()) | (depth <= 0)] = far
    depth = ((np.clip(depth, near, far) - centre[2]) / (cube[2] / 2)).astype(np.float32)
    half = size / scale / 2  # [px] of the image; uvdn is -1 at the corner pixel's centre
    image_from_crop = np.array(
        [[half, 0, u0 - x / scale + half], [0, half, v0 - y / scale + half], [0, 0, 1]]
    )
    return Crop(
        depth,
        centre,
        cube,
        (int(u0), int(v0), int(u1), int(v1)),
        intrinsics,
        image_from_crop,
        float(centre[2]),
    )


def _checked(
    depth_mm: np.ndarray, intrinsics: Intrinsics, centre_xyz: npt.ArrayLike, cube: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Convert centre_xyz and cube to (3,) float64 [mm]; raise ValueError for unusable ones."""
    if depth_mm.shape != (intrinsics.height, intrinsics.width):
        raise ValueError(
            f'depth must be {(intrinsics.height, intrinsics.width)} as the intrinsics say, got '
            f'{depth_mm.shape}'
        )
    cube = (
        np.full(3, cube)
        if isinstance(cube, float)
        else np.broadcast_to(np.asarray(cube, np.float64), 3)
    )
    if not all(side > 0 for side in cube.tolist()):
        raise ValueError(f'cube must be positive, got {cube}')
    return checked_centre(centre_xyz), cube


def checked_centre(centre_xyz: npt.ArrayLike) -> np.ndarray:
    """Convert centre_xyz to (3,) float64 [mm]; raise ValueError unless it is finite and in front of
    a camera.
    """
    centre = np.asarray(centre_xyz, np.float64)
    if (
        centre.shape != (3,)
        or not all(map(math.isfinite, centre.tolist()))
        or centre[2] < MIN_CENTRE_MM
    ):
        raise ValueError(
            f'centre_xyz must be (x, y, z) in mm with z >= {MIN_CENTRE_MM:.0f}, got {centre_xyz!s}'
        )
    return centre
