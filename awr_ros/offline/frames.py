"""Interface of all inputs of tracking, and depth images in files as an input."""

import math
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from awr_ros.file_kinds import describe_file
from awr_ros.files import printable
from awr_ros.messages.depth_camera import DepthCamera, Distortion
from awr_ros.messages.depth_image import BadInputError, stamp_seconds
from awr_ros.messages.png16 import decode_png16

NS_PER_S = 10**9
LATEST_S = 2**31 - 1  # [s] last stamp of ROS, in 2038
LONGEST_GAP_S = 5.0  # [s] usual gap between images above which no hand can be tracked
UNITS = {'milliseconds': 10**3, 'microseconds': 10**6, 'nanoseconds': 10**9}  # per second
SIGNATURE = b'\x89PNG\r\n\x1a\n'
GREY = 0  # colour type of a PNG (ISO/IEC 15948, 11.2.1)
CHANNELS = {GREY: 1, 2: 3, 3: 1, 4: 2, 6: 4}
MAX_SIDE, MAX_PIXELS = 16384, 2**25  # [px] of a depth image; no camera has more


@dataclass(frozen=True)
class Frame:
    """One depth image of an input, not yet read."""

    name: str  # for messages
    stamp_ns: int  # [ns] stamp of its header; 0: unknown
    logged_ns: int  # [ns] time of recording
    frame_id: str  # name of the optical frame; '' when the input has none
    # () -> (depth (H,W) [mm] of a pinhole camera, its Intrinsics); raises BadInputError
    load: Callable = field(repr=False)

    @property
    def time_s(self) -> float:
        """Time for the tracker [s]: as in the node the stamp or, without one, the time of
        recording.
        """
        sec, nanosec = divmod(self.stamp_ns or self.logged_ns, NS_PER_S)
        return stamp_seconds(SimpleNamespace(sec=sec, nanosec=nanosec))


class DepthImages:
    """16-bit PNGs, one depth image each, as an input: length, frames in order, and rate.

    camera_info: (width, height) -> sensor_msgs/CameraInfo; stamps_ns: one for each path [ns];
    distortion: see DepthCamera; scale: millimetres per unit of the pixels.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        camera_info: Callable,
        stamps_ns: Sequence[int],
        distortion: Distortion = 'undistort',
        scale: float = 1.0,
    ) -> None:
        if len(paths) != len(stamps_ns):
            raise ValueError(f'{len(paths)} images, but {len(stamps_ns)} timestamps')
        check_scale(scale)
        self._paths, self._stamps_ns, self._scale = paths, stamps_ns, scale
        self._camera_info, self._distortion = camera_info, distortion

    @property
    def rate_hz(self) -> float:
        """Images per second, for a video of them."""
        span_ns = self._stamps_ns[-1] - self._stamps_ns[0]
        return (len(self) - 1) * NS_PER_S / span_ns if span_ns > 0 else 30.0

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        for path, stamp_ns in zip(self._paths, self._stamps_ns, strict=True):
            yield Frame(
                printable(path.name), stamp_ns, stamp_ns, '', lambda path=path: self._load(path)
            )

    def _load(self, path):
        pixels = _decoded(path)
        height, width = pixels.shape
        camera = DepthCamera(self._camera_info(width, height), self._distortion)
        depth = camera.depth_from(
            SimpleNamespace(
                width=width,
                height=height,
                encoding='16UC1',
                step=2 * width,
                is_bigendian=sys.byteorder == 'big',
                data=pixels.view(np.uint8).ravel(),
            )
        )
        return depth if self._scale == 1 else depth * np.float32(self._scale), camera.intrinsics


def _decoded(path):
    """Return the pixels (H,W) uint16 of a PNG. Raise BadInputError for others: its header is read
    before memory is allocated.
    """
    if not path.is_file():
        raise BadInputError(
            'it is a folder'
            if path.is_dir()
            else 'it is no regular file'
            if path.exists()
            else 'it is not there any more'
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f'cannot be read: {error.strerror}') from error
    if data[:8] != SIGNATURE or data[12:16] != b'IHDR' or len(data) < 33:
        kind = describe_file(path)
        raise BadInputError(f'not an image that can be read: it is {kind or "no PNG"}')
    width, height, bits, colour = struct.unpack('>IIBB', data[16:26])
    if (bits, colour) != (16, GREY):
        raise BadInputError(
            f'the image has {CHANNELS.get(colour, "?")} channel(s) of '
            f'{f"uint{bits}" if bits >= 8 else f"{bits} bits"}, '
            'expected 1 of uint16: depth'
        )
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE or width * height > MAX_PIXELS:
        raise BadInputError(
            f'the image claims {width} x {height} pixels, expected sides from 1 to {MAX_SIDE} and '
            f'{MAX_PIXELS} in all'
        )
    if not _chunks_are_whole(data):  # OpenCV's libraries would print a line
        raise BadInputError('not an image that can be read: it is cut short or damaged')
    pixels = decode_png16(memoryview(data), width, height)
    if pixels is None:
        raise BadInputError('not an image that OpenCV can read: it is cut short or damaged')
    return pixels


def _chunks_are_whole(data):
    """Whether all chunks of a PNG are complete and have correct checksums."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], 'big')
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(
            data[end - 4 : end], 'big'
        ):
            return False
        if data[position + 4 : position + 8] == b'IEND':
            return True
        position = end
    return False


def image_paths(path: Path) -> list[Path]:
    """Return the PNGs of a folder in natural order (2 before 10), or the single image `path`."""
    if path.is_file():
        return [path]
    paths = sorted((p for p in path.iterdir() if p.suffix.lower() == '.png'), key=_natural)
    if not paths:
        raise ValueError(
            f'{printable(path)} has neither PNGs nor the files of a bag: expected a folder of '
            f'16-bit PNGs, or a ROS 2 bag'
        )
    return paths


def check_scale(scale: float) -> None:
    """Raise ValueError for an impossible depth scale."""
    if not 0 < scale < math.inf:
        raise ValueError(f'the depth scale must be positive, got {scale:g}')


def even_stamps(count: int, rate_hz: float) -> list[int]:
    """Return stamps [ns] of `count` images at this rate, the first at 1 s, because 0 means no
    stamp.
    """
    if not 0 < rate_hz < math.inf:
        raise ValueError(f'the rate must be positive, got {rate_hz:g} Hz')
    if 1 + count / rate_hz > LATEST_S:
        raise ValueError(
            f'at {rate_hz:g} Hz the stamps of {count} images do not end before {LATEST_S} s: give '
            f'a higher rate'
        )
    return [NS_PER_S + round(index * NS_PER_S / rate_hz) for index in range(count)]


def read_stamps(path: str | Path) -> list[int]:
    """Read stamps [ns] from a text file: seconds at the start of each line, the rest is ignored, as
    are lines with #.

    ValueError names a line that is not, or cannot be, a number of seconds, with its likely unit.
    """
    stamps_ns, numbers = [], []
    try:
        content = Path(path).read_text(encoding='utf-8-sig')  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is no text in UTF-8: {error.reason}') from error
    for number, line in enumerate(content.splitlines(), 1):
        text = line.split('#')[0].replace(',', ' ').split()
        if not text:
            continue
        match = re.fullmatch(r'([0-9]{1,30})(?:\.([0-9]{1,9})[0-9]*)?', text[0])
        if not match:
            raise ValueError(
                f'{path}, line {number}: expected seconds like 1700000000.033333333, got '
                f"'{text[0][:60]}'"
            )
        # Not by float: a double cannot represent nanoseconds at today's times.
        if int(match[1]) > LATEST_S:
            unit = next(
                (
                    unit
                    for unit, in_a_second in UNITS.items()
                    if int(match[1]) / in_a_second <= LATEST_S
                ),
                '',
            )
            raise ValueError(
                f'{path}, line {number}: expected seconds up to {LATEST_S}, got '
                f'{text[0]}{_guess(unit)}'
            )
        stamps_ns.append(int(match[1]) * NS_PER_S + int((match[2] or '').ljust(9, '0')))
        numbers.append(number)
    _check_gaps(path, numbers, stamps_ns)
    return stamps_ns


def _check_gaps(path, numbers, stamps_ns):
    """Check the unit of stamps that begin at 0 by their gaps: no camera takes a picture every
    33 s.
    """
    gaps_s = np.abs(np.diff(np.array(stamps_ns, np.float64))) / NS_PER_S
    usual_s = float(np.median(gaps_s)) if gaps_s.size else 0.0
    if gaps_s.size and not gaps_s.any():
        raise ValueError(
            f'{path}, line {numbers[1]}: all images have the same stamp; is there a comma where a '
            'decimal point belongs?'
        )
    if usual_s > LONGEST_GAP_S:
        unit = next((unit for unit, in_a_second in UNITS.items() if usual_s / in_a_second <= 1), '')
        raise ValueError(
            f'{path}, line {numbers[1]}: expected seconds, but images are usually {usual_s:g} '
            f'apart{_guess(unit)}; '
            'a hand is followed over 1 s at most: leave --timestamps out if they are seconds'
        )


def _guess(unit):
    return f', which looks like {unit}' if unit else ''


def _natural(path):
    return [
        (int(part), '') if part.isdigit() else (-1, part)
        for part in re.split(r'(\d+)', path.name.lower())
    ]
