"""Check of a serialised CameraInfo before the middleware decodes it: it prints a line for each
message that it cannot decode, and some end the process.
"""

import struct

PLAIN_CDR = {b'\0\0': '>', b'\0\1': '<'}  # representations of the encapsulation, byte order
FIXED_DOUBLES = 9 + 9 + 12  # k, r, p
AFTER_DOUBLES = 2 * 4 + 4 * 4 + 1  # binning, region of interest


def is_camera_info(data: bytes) -> bool:
    """Whether the lengths in a serialised sensor_msgs/CameraInfo lie within its bytes.

    Representations other than plain CDR (OMG DDS-XTypes 7.4.1) pass: they are left to the
    middleware.
    """
    if len(data) < 4:
        return False
    order = PLAIN_CDR.get(bytes(data[:2]))
    if order is None:
        return True
    body = memoryview(data)[4:]
    position = 8  # behind the stamp
    try:
        position = _behind_string(body, position, order)  # frame_id
        position = _aligned(position, 4) + 8  # height, width
        position = _behind_string(body, position, order)  # distortion_model
        count, position = _number(body, position, order)  # of d
    except (struct.error, ValueError):
        return False
    doubles = count + FIXED_DOUBLES
    return _aligned(position, 8) + 8 * doubles + AFTER_DOUBLES <= len(body)


def _number(body: memoryview, position: int, order: str) -> tuple[int, int]:
    """Return the uint32 at the next multiple of 4, and the position behind it."""
    position = _aligned(position, 4)
    return struct.unpack_from(f'{order}I', body, position)[0], position + 4


def _behind_string(body: memoryview, position: int, order: str) -> int:
    """Return the position behind a string. Raise ValueError unless it is UTF-8 that ends in a
    zero.
    """
    length, position = _number(body, position, order)
    text = bytes(body[position : position + length])
    if len(text) != length or text[-1:] not in (b'', b'\0'):
        raise ValueError('a string that is cut short')
    text.decode('utf-8')
    return position + length


def _aligned(position: int, size: int) -> int:
    return -(-position // size) * size
