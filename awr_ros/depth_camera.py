"""The camera that a CameraInfo describes: from its image messages to depth [mm] as an ideal pinhole camera would see it.

The node and whoever reads bags take images through here, so that both see the same depth.
"""
from functools import lru_cache

import cv2
import numpy as np

from awr_ros.camera_messages import BadInput, depth_from_image, intrinsics_from_info
from awr_ros.compressed_depth import depth_from_compressed

DISTORTION_CHOICES = ('undistort', 'ignore', 'refuse')
# Lens models of sensor_msgs/CameraInfo and how many coefficients each may have. OpenCV reads the first two alike.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}


class DepthCamera:
    """Reads the images that come with one sensor_msgs/CameraInfo, of rclpy or of a bag.

    distortion: what to do when D is not zero: 'undistort' the depth, 'ignore' D (for drivers that tell the D of the raw
    image beside a rectified one, whose pinhole model is P), or 'refuse' the image.
    """

    def __init__(self, info, distortion='undistort'):
        d = tuple(float(value) for value in info.d)
        self.distorted = any(d)             # NaN counts: it is named below
        self.intrinsics = intrinsics_from_info(info, rectified=self.distorted and distortion == 'ignore')
        self.lens = f'{info.distortion_model}, {distortion}' if self.distorted else 'no distortion'
        self._maps_of = None
        if not self.distorted or distortion == 'ignore':
            return
        told = f"camera_info has distortion '{info.distortion_model}' with D = {[round(value, 4) for value in d]}"
        if distortion == 'refuse':
            raise BadInput(f"{told}, which parameter distortion says to refuse: publish an undistorted depth image, or set "
                           'it to undistort')
        if len(d) not in COEFFICIENTS.get(info.distortion_model, ()) or not np.isfinite(d).all():
            known = ', '.join(f"{model} ({' or '.join(map(str, counts))})" for model, counts in COEFFICIENTS.items())
            raise BadInput(f'{told}, expected finite coefficients of one of {known}; set parameter distortion to ignore if '
                           'the image is rectified already')
        self._maps_of = info.distortion_model, d

    def depth_from(self, msg):
        """Depth of a sensor_msgs/Image or CompressedImage: (H,W) uint16 or float32 [mm], 0 = no measurement."""
        depth = depth_from_image(msg) if hasattr(msg, 'encoding') else depth_from_compressed(msg)
        expected = self.intrinsics
        if depth.shape != (expected.height, expected.width):
            raise BadInput(f'image is {depth.shape[1]} x {depth.shape[0]}, but camera_info is for '
                           f'{expected.width} x {expected.height}')
        if self._maps_of is None:
            return depth
        # Nearest: a mean of near and far is a point where nothing is. Depth along the axis is the same before and after.
        return cv2.remap(depth, _maps(expected, *self._maps_of), None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
                         borderValue=0)


@lru_cache(maxsize=4)           # every image comes with a CameraInfo of its own, the same as the last one
def _maps(intrinsics, model, d):
    """(H,W,2) int16: which pixel of the distorted image each pixel of the pinhole image shows."""
    k = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1]])
    size, d = (intrinsics.width, intrinsics.height), np.array(d)
    make = cv2.fisheye.initUndistortRectifyMap if model == 'equidistant' else cv2.initUndistortRectifyMap
    columns, rows = make(k, d, np.eye(3), k, size, cv2.CV_32FC1)
    return cv2.convertMaps(columns, rows, cv2.CV_16SC2, nninterpolation=True)[0]
