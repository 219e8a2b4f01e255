"""Minimal replacements for message_filters and cv_bridge where neither is installed (ROS from
wheels).

With ROS from apt the real ones are imported instead; names and behaviour are theirs.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

# NumPy type and channels of the published encodings.
ENCODINGS = {'16UC1': ('uint16', 1), 'bgr8': ('uint8', 3)}


class SimpleFilter:
    """Replacement for message_filters.SimpleFilter: pass messages to registered callbacks."""

    def __init__(self):
        self.callbacks = {}

    def registerCallback(self, callback: Callable, *args: Any) -> int:
        """Register a callback."""
        connection = len(self.callbacks)
        self.callbacks[connection] = callback, args
        return connection

    def signalMessage(self, *messages: Any) -> None:
        """Call all callbacks."""
        for callback, args in self.callbacks.values():
            callback(*messages, *args)


class CvBridge:
    """Replacement for cv_bridge.CvBridge, from arrays to messages."""

    def cv2_to_imgmsg(
        self, cvim: np.ndarray, encoding: str = 'passthrough', header: Any = None
    ) -> Image:
        """Convert an array to a sensor_msgs/Image."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError('Your input type is not a numpy array')
        dtype, channels = ENCODINGS[encoding]
        if cvim.dtype != dtype or (cvim.shape[2] if cvim.ndim == 3 else 1) != channels:
            raise ValueError(
                f'encoding {encoding} wants {dtype} with {channels} channels, got {cvim.dtype} '
                f'{cvim.shape}'
            )
        message = Image(
            height=cvim.shape[0],
            width=cvim.shape[1],
            encoding=encoding,
            is_bigendian=int(sys.byteorder == 'big'),
            step=cvim.shape[1] * channels * cvim.itemsize,
        )
        if header is not None:
            message.header = header
        # assigning anything but an array('B') is up to 1000 times slower
        message.data.frombytes(cvim.tobytes())
        return message
