"""Depth images as compressed_depth_image_transport sends them (topics that end in /compressedDepth).

The data are a header of 12 bytes, little endian: an int32 that is always 0 and two float32, A and B. A PNG of 16 bits
follows. For 16UC1 its pixels are millimetres. For 32FC1 they are quantised inverse depth q: depth = A / (q - B) [m], and
q = 0 means no measurement.
Source: github.com/ros-perception/image_transport_plugins, compressed_depth_image_transport/src/codec.cpp.
"""
import struct

import cv2
import numpy as np

from awr_ros.camera_messages import MM_PER_M, BadInput

TRANSPORT = 'compressedDepth'           # how topics and formats name it
HEADER = struct.Struct('<iff')          # ConfigHeader: compression format, A, B
ENCODINGS = ('16UC1', 'mono16', '32FC1')


def depth_from_compressed(msg):
    """The depth of a sensor_msgs/CompressedImage, or of anything with its fields: (H,W) uint16 or float32 [mm], 0 = no
    measurement. What cannot be read raises BadInput."""
    encoding = _encoding(msg.format)
    if len(msg.data) <= HEADER.size:
        raise BadInput(f'compressed image has {len(msg.data)} bytes, expected a header of {HEADER.size} and a PNG')
    _, a, b = HEADER.unpack_from(msg.data)
    try:
        pixels = cv2.imdecode(np.frombuffer(msg.data, np.uint8, offset=HEADER.size), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadInput(f'compressed image is no PNG that can be read: {error.err}') from None
    if pixels is None:
        raise BadInput('compressed image is no PNG that can be read')
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise BadInput(f'compressed image is a PNG of {pixels.dtype} {pixels.shape}, expected one channel of 16 bits')
    if encoding != '32FC1':
        return pixels
    if not (np.isfinite([a, b]).all() and a > 0):
        raise BadInput(f'compressed image of 32FC1 has the quantisation A = {a:g}, B = {b:g}, expected A > 0')
    with np.errstate(divide='ignore', over='ignore'):
        depth = np.float32(a * MM_PER_M) / (pixels - np.float32(b))
    depth[(pixels == 0) | ~((depth > 0) & (depth < np.inf))] = 0
    return depth


def _encoding(text):
    """The encoding of the original image from a format such as '16UC1; compressedDepth png'."""
    encoding, _, transport = (part.strip() for part in text.partition(';'))
    if encoding not in ENCODINGS or not (transport == '' or transport.startswith(TRANSPORT)):
        raise BadInput(f"compressed image format is '{text}', expected one of {', '.join(ENCODINGS)} followed by "
                       f"'; {TRANSPORT} png'")
    codec = transport.removeprefix(TRANSPORT).strip()
    # RVL: the decoders for Python read beyond the end of damaged data, and messages come from anywhere.
    if codec not in ('', 'png'):        # old publishers name no codec and mean PNG
        raise BadInput(f"compressed image format is '{text}': codec '{codec}' is not supported, set the publisher's "
                       f"parameter <topic>.{TRANSPORT}.format to png")
    return encoding
