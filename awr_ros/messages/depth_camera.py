"""Camera model of a CameraInfo: from its image messages to depth [mm] of an ideal pinhole camera.

The node and the readers of bags share it, so that both get the same depth.
"""

from functools import lru_cache
from typing import Any, Literal, get_args

import cv2
import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.messages.compressed_depth import depth_from_compressed
from awr_ros.messages.depth_image import (
    BadInputError,
    depth_from_image,
    intrinsics_from_info,
    shown,
)
from awr_ros.settings import Setting

Distortion = Literal['undistort', 'ignore', 'refuse']
DISTORTION = Setting(
    'distortion',
    'undistort',
    'images whose camera_info has lens distortion: undistort them, ignore the distortion (for '
    'rectified images), or refuse them',
    choices=get_args(Distortion),
)
# Lens models of sensor_msgs/CameraInfo and how many coefficients each may have. OpenCV reads the
# first two alike.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
MAX_COEFFICIENTS = 14
MIN_VISIBLE = 0.05  # minimum share of the pinhole image within the distorted one


class DepthCamera:
    """Convert the images of one sensor_msgs/CameraInfo, of rclpy or of a bag.

    distortion: what to do when D is not zero: 'undistort' the depth, 'ignore' D (for drivers that
    publish the D of the raw image with a rectified one, whose pinhole model is P), or 'refuse' the
    image. scale: factor on all depths, for drivers with another unit than that of the encoding.
    """

    def __init__(self, info: Any, distortion: Distortion = 'undistort', scale: float = 1.0) -> None:
        if len(info.d) > MAX_COEFFICIENTS:
            raise BadInputError(
                f'camera_info has {len(info.d)} distortion coefficients, expected '
                f'{MAX_COEFFICIENTS} at most'
            )
        d = tuple(float(value) for value in info.d)
        self._scale = scale
        self.distorted = any(d)  # NaN counts, it is reported below
        self.intrinsics = intrinsics_from_info(
            info, rectified=self.distorted and distortion == 'ignore'
        )
        self.lens = (
            f'{info.distortion_model[:40]}, {distortion}' if self.distorted else 'no distortion'
        )
        self._maps_of = None
        if not self.distorted or distortion == 'ignore':
            return
        described = (
            f'camera_info has distortion {shown(info.distortion_model)} with D = '
            f'{[float(f"{value:.4g}") for value in d]}'
        )
        if distortion == 'refuse':
            raise BadInputError(
                f'{described}, which parameter distortion refuses: publish an undistorted depth '
                f'image, or set '
                'it to undistort'
            )
        if len(d) not in COEFFICIENTS.get(info.distortion_model, ()) or not np.isfinite(d).all():
            known = ', '.join(
                f'{model} ({" or ".join(map(str, counts))})'
                for model, counts in COEFFICIENTS.items()
            )
            raise BadInputError(
                f'{described}, expected finite coefficients of one of {known}; set parameter '
                f'distortion to ignore if '
                'the image is rectified already'
            )
        self._maps_of = info.distortion_model, d

    def depth_from(self, msg: Any) -> np.ndarray:
        """Convert a sensor_msgs/Image or CompressedImage to (H,W) uint16 or float32 [mm], 0 = no
        measurement.
        """
        expected = self.intrinsics
        depth = (
            depth_from_image(msg)
            if hasattr(msg, 'encoding')
            else depth_from_compressed(msg, (expected.width, expected.height))
        )
        if depth.shape != (expected.height, expected.width):
            raise BadInputError(
                f'image is {depth.shape[1]} x {depth.shape[0]}, but camera_info is for '
                f'{expected.width} x {expected.height}'
            )
        if self._scale != 1:
            depth = scaled(depth, self._scale)
        if self._maps_of is None:
            return depth
        # Nearest neighbour: a mean of near and far is a point where nothing is. Undistortion does
        # not change the depth along the axis.
        return cv2.remap(  # type: ignore[call-overload]  # None for its own array
            depth,
            _maps(expected, *self._maps_of),
            None,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )


def scaled(depth_mm: np.ndarray, scale: float) -> np.ndarray:
    """Multiply depths. depth_mm: (H,W) uint16 or float32 [mm], 0 = no measurement. Return (H,W)
    float32 [mm].
    """
    with np.errstate(over='ignore'):
        depth = np.multiply(depth_mm, np.float32(scale), dtype=np.float32)
    depth[depth == np.inf] = 0
    return depth


@lru_cache(maxsize=4)  # every image comes with its own CameraInfo, usually equal to the last one
def _maps(intrinsics: Intrinsics, model: str, d: tuple[float, ...]) -> np.ndarray:
    """Return (H,W,2) int16: the pixel of the distorted image for each pixel of the pinhole
    image.
    """
    k = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1]])
    size, coefficients = (intrinsics.width, intrinsics.height), np.array(d)
    make: Any = (
        cv2.fisheye.initUndistortRectifyMap
        if model == 'equidistant'
        else cv2.initUndistortRectifyMap
    )
    columns, rows = make(k, coefficients, np.eye(3), k, size, cv2.CV_32FC1)
    seen = np.mean((columns >= 0) & (columns < size[0]) & (rows >= 0) & (rows < size[1]))
    if not seen > MIN_VISIBLE:
        raise BadInputError(
            f'camera_info has a distortion with D = {list(d)} that leaves {seen:.0%} of the '
            f'image: no lens does that'
        )
    return cv2.convertMaps(columns, rows, cv2.CV_16SC2, nninterpolation=True)[0]
