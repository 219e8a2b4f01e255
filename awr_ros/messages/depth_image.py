"""Conversion of images and camera infos for the core, from metres to millimetres here and in
compressed_depth.py.

Messages are objects with the fields of sensor_msgs, from rclpy or from a bag, so ROS is not needed.
Unusable messages raise BadInputError, which names the value.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from awr_ros.camera import Intrinsics

MM_PER_M = 1000.0
MAX_SHOWN = 100  # characters of a message's text in an error
# What no depth camera has, so that a message that claims it is refused before memory is taken for
# it, and before hands come
# out where none can be. The largest depth images are those aligned to a colour camera of 12 million
# pixels.
MAX_SIDE, MAX_PIXELS = 16384, 2**25  # [px]; OpenCV's warpAffine and remap end at a side of 32767
MAX_OFF_AXIS = 11.43  # tangent of 85 degrees: every pixel of a pinhole camera looks less far aside
MIN_VIEW = 0.0174  # tangent of 1 degree, width / focal length: in less no hand fits
# Encodings of depth: one pixel as a NumPy type, in what unit.
DEPTH_ENCODINGS = {
    '16UC1': ('u2', 'mm'),
    'mono16': ('u2', 'mm'),
    'MONO16': ('u2', 'mm'),
    '32FC1': ('f4', 'm'),
}


class BadInputError(ValueError):
    """A message cannot be used; the text names the field, its value and what was expected."""


def shown(text: str) -> str:
    """Quote a text of a message for an error: one line of at most MAX_SHOWN characters."""
    return repr(text if len(text) <= MAX_SHOWN else f'{text[:MAX_SHOWN]}...')


def stamp_seconds(stamp: Any) -> float:
    """Convert builtin_interfaces/Time to seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


def depth_from_image(msg: Any) -> np.ndarray:
    """Convert a sensor_msgs/Image to (H,W) uint16 or float32 [mm], 0 = no measurement.

    16UC1 and mono16 in native byte order without row padding are a view of msg.data, not a copy.
    cv_bridge is not used: it fails for big-endian images with NumPy 2, and its errors do not name
    what is wrong with an image.
    """
    if msg.encoding not in DEPTH_ENCODINGS:
        raise BadInputError(
            f'image encoding is {shown(msg.encoding)}, expected one of {", ".join(DEPTH_ENCODINGS)}'
        )
    code, unit = DEPTH_ENCODINGS[msg.encoding]
    dtype = np.dtype(('>' if msg.is_bigendian else '<') + code)
    if msg.width == 0 or msg.height == 0:
        raise BadInputError(f'image is empty: {msg.width} x {msg.height}')
    if msg.step < msg.width * dtype.itemsize:
        raise BadInputError(
            f'image step is {msg.step} bytes, but a row of {msg.width} pixels of {msg.encoding} '
            f'has {msg.width * dtype.itemsize}'
        )
    if len(msg.data) != msg.step * msg.height:
        raise BadInputError(
            f'image data has {len(msg.data)} bytes, but step {msg.step} x height {msg.height} '
            f'= {msg.step * msg.height}'
        )
    pixels = np.ndarray(
        (msg.height, msg.width), dtype, buffer=msg.data, strides=(msg.step, dtype.itemsize)
    )
    if unit == 'm':
        # overflow becomes Inf, which is no measurement either
        with np.errstate(over='ignore', invalid='ignore'):
            depth = np.multiply(pixels, np.float32(MM_PER_M), dtype=np.float32)
        depth[~((depth > 0) & (depth < np.inf))] = 0
        return depth
    return np.ascontiguousarray(pixels, dtype=np.uint16)


def check_size(width: int, height: int, of: str) -> None:
    """Raise BadInputError for a size [px] that no depth image has; of: the source of the size, for
    the message.
    """
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadInputError(
            f'{of} is for {width} x {height} pixels, expected sides up to {MAX_SIDE} and '
            f'{MAX_PIXELS} in all'
        )


def intrinsics_from_info(msg: Any, rectified: bool = False) -> Intrinsics:
    """Return the pinhole model of the images of a CameraInfo: K, shifted by its ROI and divided by
    its binning.

    K and not P: depth cameras fill P for a rectified stereo pair or not at all. rectified: return
    the model of rectified images, P, if there is one.
    """
    fx, fy, cx, cy = msg.k[0], msg.k[4], msg.k[2], msg.k[5]
    if rectified and msg.p[0] > 0 and msg.p[5] > 0:
        fx, fy, cx, cy = msg.p[0], msg.p[5], msg.p[2], msg.p[6]
    fx, fy, cx, cy = map(float, (fx, fy, cx, cy))
    if not (np.all(np.isfinite([fx, fy, cx, cy])) and fx > 0 and fy > 0):
        raise BadInputError(
            f'camera_info K has fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g}: the camera is not '
            f'calibrated'
        )
    # 0 means "no binning" and, for the ROI's size, "the whole image".
    binning_x, binning_y = msg.binning_x or 1, msg.binning_y or 1
    width, height = msg.roi.width or msg.width, msg.roi.height or msg.height
    if width < binning_x or height < binning_y:
        raise BadInputError(
            f'camera_info is for an image of {width} x {height}, binning {binning_x} x {binning_y}'
        )
    check_size(width, height, 'camera_info')
    # Pixel centres lie on whole numbers, so binning moves them by half a pixel.
    intrinsics = Intrinsics(
        fx=fx / binning_x,
        fy=fy / binning_y,
        cx=(cx - msg.roi.x_offset + 0.5) / binning_x - 0.5,
        cy=(cy - msg.roi.y_offset + 0.5) / binning_y - 0.5,
        width=width // binning_x,
        height=height // binning_y,
    )
    _check_view(intrinsics)
    return intrinsics


def _check_view(k: Intrinsics) -> None:
    """Raise BadInputError for a view that no camera of hands has, as with K of another image."""
    for axis, focal, middle, size in (('x', k.fx, k.cx, k.width), ('y', k.fy, k.cy, k.height)):
        aside = max(middle, size - 1 - middle) / focal
        if aside > MAX_OFF_AXIS or size / focal < MIN_VIEW:
            raise BadInputError(
                f'camera_info is for {k.width} x {k.height} with f{axis}={focal:g} '
                f'c{axis}={middle:g} (after ROI and '
                'binning), expected a view of 1 degree or more and no pixel over 85 degrees aside '
                'of the optical axis: '
                'K may be that of another image'
            )


def info_from_intrinsics(intrinsics: Intrinsics, header: Any, info_type: Callable[..., Any]) -> Any:
    """Return the CameraInfo of an ideal pinhole camera, of the class info_type."""
    k = [intrinsics.fx, 0.0, intrinsics.cx, 0.0, intrinsics.fy, intrinsics.cy, 0.0, 0.0, 1.0]
    return info_type(
        header=header,
        width=intrinsics.width,
        height=intrinsics.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=k,
        r=np.eye(3).ravel(),
        p=k[:3] + [0.0] + k[3:6] + [0.0] + k[6:] + [0.0],
    )
