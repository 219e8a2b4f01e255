"""Depth images of compressed_depth_image_transport (topics that end in /compressedDepth).

The data are a header of 12 bytes, little endian: an int32 that is always 0 and two float32, A and
B. A PNG of 16 bits follows. For 16UC1 its pixels are millimetres. For 32FC1 they are quantised
inverse depth q: depth = A / (q - B) [m], and q = 0 means no measurement. Source:
github.com/ros-perception/image_transport_plugins, compressed_depth_image_transport/src/codec.cpp.
"""

import struct
import zlib
from typing import Any

import numpy as np

from awr_ros.messages.depth_image import MM_PER_M, BadInputError, check_size, shown
from awr_ros.messages.png16 import decode_png16

TRANSPORT = 'compressedDepth'  # suffix of topics and name in formats
HEADER = struct.Struct('<iff')  # ConfigHeader: compression format, A, B
ENCODINGS = ('16UC1', 'mono16', '32FC1')
SIGNATURE = b'\x89PNG\r\n\x1a\n'
MAX_CHUNKS = 2**16  # limit for a PNG: more than the largest depth image in chunks of 8 kB
GREY = 0  # colour type of a PNG (ISO/IEC 15948, 11.2.1)


def depth_from_compressed(msg: Any, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a sensor_msgs/CompressedImage, or any object with its fields: (H,W) uint16 or float32
    [mm], 0 = no measurement. Raise BadInputError for unusable images.

    expected_size: (width, height) [px]; another size, or one of no depth camera, is refused before
    memory is allocated: a PNG of some thousand bytes can claim gigabytes of pixels.
    """
    encoding = _encoding(msg.format)
    if len(msg.data) <= HEADER.size:
        raise BadInputError(
            f'compressed image has {len(msg.data)} bytes, expected a header of {HEADER.size} and '
            f'a PNG'
        )
    _, a, b = HEADER.unpack_from(msg.data)
    png = memoryview(msg.data).cast('B')[HEADER.size :]
    width, height = png_size(png)
    if expected_size not in (None, (width, height)):
        raise BadInputError(
            f'image is {width} x {height}, but camera_info is for {expected_size[0]} x '
            f'{expected_size[1]}'
        )
    pixels = decode_png16(png, width, height)
    if pixels is None:
        raise BadInputError('compressed image is no PNG that can be read')
    if encoding != '32FC1':
        return pixels
    if not (np.isfinite([a, b]).all() and a > 0):
        raise BadInputError(
            f'compressed image of 32FC1 has the quantisation A = {a:g}, B = {b:g}, expected A > 0'
        )
    with np.errstate(divide='ignore', over='ignore'):
        depth = np.float32(a * MM_PER_M) / (pixels - np.float32(b))
    depth[(pixels == 0) | ~((depth > 0) & (depth < np.inf))] = 0
    return depth


def png_size(data: memoryview) -> tuple[int, int]:
    """Return (width, height) [px] of a PNG of one channel of 16 bits, without decoding it. Raise
    BadInputError for anything else.

    All chunks are parsed and their checksums compared: OpenCV also decodes other formats, and its
    libraries print a line for each damaged image.
    """
    if bytes(data[:8]) != SIGNATURE:
        raise BadInputError(
            f'compressed image is no PNG: it begins with {bytes(data[:8]).hex(" ")}'
        )
    position, size = 8, None
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(data[position : position + 4], 'big')
        chunk = data[position + 4 : position + 8 + length]  # its type and its data
        kind, position = bytes(chunk[:4]), position + 12 + length
        if position > len(data) or zlib.crc32(chunk) != int.from_bytes(
            data[position - 4 : position], 'big'
        ):
            raise BadInputError(
                f'compressed image is no PNG that can be read: it is cut short or damaged after '
                f'{position - 12 - length} bytes'
            )
        if size is None:
            if kind != b'IHDR' or length != 13:
                raise BadInputError('compressed image is no PNG that can be read: it has no header')
            width, height, bits, colour = struct.unpack('>IIBB', chunk[4:14])
            if (bits, colour) != (16, GREY):
                raise BadInputError(
                    f'compressed image is a PNG of {bits} bits and colour type {colour}, expected '
                    f'one channel of 16 bits'
                )
            check_size(width, height, 'compressed image')
            size = width, height
        if kind == b'IEND':
            return size
    raise BadInputError(
        f'compressed image is no PNG that can be read: it has more than {MAX_CHUNKS} chunks'
    )


def _encoding(text: str) -> str:
    """Return the encoding of the original image from a format such as '16UC1; compressedDepth
    png'.
    """
    encoding, _, transport = (part.strip() for part in text.partition(';'))
    if encoding not in ENCODINGS or not (transport == '' or transport.startswith(TRANSPORT)):
        raise BadInputError(
            f'compressed image format is {shown(text)}, expected one of {", ".join(ENCODINGS)} '
            f'followed by '
            f"'; {TRANSPORT} png'"
        )
    codec = transport.removeprefix(TRANSPORT).strip()
    # RVL: the decoders for Python read beyond the end of damaged data, and messages come from
    # anywhere.
    if codec not in ('', 'png'):  # old publishers name no codec: PNG
        raise BadInputError(
            f'compressed image format is {shown(text)}: codec {shown(codec)} is not supported, '
            f"set the publisher's "
            f'parameter <topic>.{TRANSPORT}.format to png'
        )
    return encoding
