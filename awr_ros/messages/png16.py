"""Decoding of PNGs of one channel of 16 bits: damaged ones cost neither memory nor a line in the
log for each.
"""

import zlib
from collections.abc import Iterator

import cv2
import numpy as np

NEEDED = (b'IHDR', b'IDAT', b'IEND')  # chunks that the pixels are decoded from
INTERLACED_AT = 28  # byte of a PNG that says whether it is
FILTERS = 5  # types that a row may have (ISO/IEC 15948, 9.2)

_careful = False  # the last PNG could not be decoded


def decode_png16(data: memoryview, width: int, height: int) -> np.ndarray | None:
    """Return the pixels (H,W) uint16 of a PNG; None if it cannot be decoded.

    data: a PNG of this size [px] whose chunks are complete. The others are left out: profiles and
    texts can unpack to gigabytes. After a PNG that could not be decoded the next ones are unpacked
    here first, for libpng prints a line for each that it cannot decode.
    """
    global _careful
    data = needed_chunks(data)
    if _careful and not _rows_are_whole(data, width, height):
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    _careful = pixels is None or pixels.shape != (height, width) or pixels.dtype != np.uint16
    return None if _careful else pixels


def needed_chunks(data: memoryview) -> memoryview:
    """Return a PNG without the chunks that its pixels do not need."""
    chunks = list(_chunks(data))
    if all(kind in NEEDED for kind, _ in chunks):
        return data
    return memoryview(b''.join([data[:8], *(chunk for kind, chunk in chunks if kind in NEEDED)]))


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and bytes of each chunk, length and checksum included, up to the end."""
    position, kind = 8, b''
    while kind != b'IEND' and position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], 'big')
        kind = bytes(data[position + 4 : position + 8])
        yield kind, data[position:end]
        position = end


def _rows_are_whole(data: memoryview, width: int, height: int) -> bool:
    """Whether the rows of a PNG unpack to as many bytes as its size needs, with known filters."""
    if data[INTERLACED_AT]:
        return True  # rare: left to libpng
    row = 1 + 2 * width
    packed = b''.join(chunk[8:-4] for kind, chunk in _chunks(data) if kind == b'IDAT')
    try:
        rows = zlib.decompressobj().decompress(packed, row * height + 1)
    except zlib.error:
        return False
    return len(rows) == row * height and max(rows[::row]) < FILTERS
