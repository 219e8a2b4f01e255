"""What we use of message_filters and cv_bridge, for machines that have ROS from wheels and so lack
both.

Where ROS comes from apt the real ones are imported instead; names and behaviour are theirs.
"""

import sys

import numpy as np
from sensor_msgs.msg import Image

# NumPy type and channels of the encodings that we publish.
ENCODINGS = {'16UC1': ('uint16', 1), 'bgr8': ('uint8', 3)}


class SimpleFilter:
    """message_filters.SimpleFilter: passes messages on to whoever registered."""

    def __init__(self):
        self.callbacks = {}

    def registerCallback(self, callback, *args):
        connection = len(self.callbacks)
        self.callbacks[connection] = callback, args
        return connection

    def signalMessage(self, *messages):
        for callback, args in self.callbacks.values():
            callback(*messages, *args)


class CvBridge:
    """cv_bridge.CvBridge, from arrays to messages."""

    def cv2_to_imgmsg(self, cvim, encoding='passthrough', header=None):
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
