"""A thousand bad messages of one kind are a few lines on the terminal, whoever prints them: the
node's own log, the middleware, and the libraries that decode images.
"""

import struct
import time
import zlib
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import HEIGHT, WIDTH, FakeTracker, header, image, info
from geometry_msgs.msg import Point, PointStamped
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage

from awr_ros.ros.node import TrackerNode

MESSAGES, RATE_HZ = 1000, 30
MOST_LINES = 30  # of which a traceback takes up to 20
GOOD_INFO = bytes(serialize_message(info()))
D_AT = GOOD_INFO.index(b'plumb_bob') + 12  # of the number of distortion coefficients


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def compressed(rows, extra=b'', name='16UC1; compressedDepth png'):
    head = struct.pack('>IIBBBBB', WIDTH, HEIGHT, 16, 0, 0, 0, 0)
    parts = [chunk(b'IHDR', head), extra, chunk(b'IDAT', zlib.compress(rows)), chunk(b'IEND', b'')]
    data = struct.pack('<iff', 0, 0.0, 0.0) + b'\x89PNG\r\n\x1a\n' + b''.join(parts)
    return CompressedImage(header=header(), format=name, data=array('B', data))


def stamped(message, number, stamp_s=None):
    """The message, 1/30 s after the last one unless told otherwise."""
    message.header = header(1000 + number / RATE_HZ if stamp_s is None else stamp_s)
    return message


def cut_info(number):
    """The bytes of a CameraInfo, cut short and different each time."""
    data = bytearray(GOOD_INFO[: 60 + number % 200])
    data[20:24] = struct.pack('<I', number)
    return bytes(data)


def place(x, y, z, frame_id=None):
    about = header() if frame_id is None else header(frame_id=frame_id)
    return PointStamped(header=about, point=Point(x=x, y=y, z=z))


def deep_failure(*_, depth=100, **__):
    """Fail as a library does that calls itself, and with another text each time."""
    if depth:
        return deep_failure(depth=depth - 1)
    raise RuntimeError(f'of the network, at {time.monotonic_ns()}')


ROWS = (b'\0' + bytes(2 * WIDTH)) * HEIGHT
KINDS = {
    'encoding': lambda n: stamped(image(encoding=f'rgb{n}'), n),
    'step': lambda n: stamped(image(step=n % 60), n),
    'length': lambda n: stamped(image(data=array('B', bytes(n))), n),
    'other size': lambda n: stamped(image(width=1 + n % 20, step=64), n),
    'other frame': lambda n: image(header=header(1000 + n / RATE_HZ, frame_id=f'frame {n}')),
    'no frame': lambda n: image(header=header(1000 + n / RATE_HZ, frame_id='')),
    'line breaks': lambda n: stamped(image(encoding=f'{n}\n' * 50), n),
    'stamp zero': lambda n: stamped(image(), n, 0.0),
    'same stamp': lambda n: stamped(image(), n, 1000.0),
    'late': lambda n: stamped(image(), n, 1000 + n / RATE_HZ - 0.5 * (n % 2)),
    'two clocks': lambda n: stamped(image(), n, 1000 + n / RATE_HZ + 3600 * (n % 2)),
    'backwards': lambda n: stamped(image(), n, 9000.0 - 2 * n),
    'future': lambda n: stamped(image(), n, 2.0**31 - 2 - (MESSAGES - n) / RATE_HZ),
    'nothing in reach': lambda n: stamped(image(data=array('B', bytes(2 * WIDTH * HEIGHT))), n),
    'png rows': lambda n: stamped(compressed(b'\x09' + ROWS[1:]), n),
    'png short': lambda n: stamped(compressed(ROWS[:-9]), n),
    'png empty': lambda n: stamped(compressed(b''), n),
    'png profile': lambda n: stamped(compressed(ROWS, chunk(b'iCCP', b'k\0\0damaged')), n),
    'png format': lambda n: stamped(compressed(ROWS, name=f'jpeg {n}'), n),
    'info cut': cut_info,
    'info garbled': lambda n: GOOD_INFO[:12] + struct.pack('<I', 2**30 + n) + GOOD_INFO[16:],
    'info sequence': lambda n: GOOD_INFO[:D_AT] + struct.pack('<I', 2**24 + n) + GOOD_INFO[D_AT:],
    'info of other order': lambda n: GOOD_INFO[:20] + bytes([n % 256]) + b'\0\0' + GOOD_INFO[1:],
    'info empty': lambda n: b'',
    'info absurd': lambda n: info(k=[1e-30, 0.0, float(n), 0.0, 1e-30, 9.0, 0.0, 0.0, 1.0]),
    'info of others': lambda n: info(width=64 + n),
    'info distorted': lambda n: info(distortion_model=f'lens {n}', d=[0.1] * 5),
    'info changing': lambda n: info(k=[30.0 + n / 1000, 0.0, 15.5, 0.0, 31.0, 11.5, 0, 0, 1.0]),
    'place behind': lambda n: place(0.0, 0.0, -1.0 - n),
    'place not finite': lambda n: place(np.nan, np.inf, 0.5),
    'place elsewhere': lambda n: place(0.0, 0.0, 0.5, f'frame {n}'),
    'tracker fails': lambda n: stamped(image(), n),
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_thousand_bad_messages_are_a_few_lines(kind, bench, capfd):
    tracker = FakeTracker()
    node = bench.add(
        TrackerNode(
            tracker_factory=lambda values: tracker,
            parameter_overrides=[Parameter('finder', value='external')],
        )
    )
    node.autostart()
    node._worker.stop()  # what the callbacks pass on is done at once, nothing is dropped
    node._worker = SimpleNamespace(put=lambda frame: node._process(frame, 0), stop=lambda: None)
    reported = []
    node._diagnostics_pub.publish = reported.append
    if kind == 'tracker fails':
        tracker.update = deep_failure
    node._input._on_info(GOOD_INFO)
    capfd.readouterr()
    for number in range(MESSAGES):
        message = KINDS[kind](number)
        if isinstance(message, (bytes, CameraInfo)):
            data = message if isinstance(message, bytes) else bytes(serialize_message(message))
            node._input._on_info(data)
            message = stamped(image(), number)
        if isinstance(message, PointStamped):
            node._external._on_point(message)
            message = stamped(image(), number)
        node._on_image(message)
        if number % RATE_HZ == 0:  # as its timer does once a second
            node._report()
    time.sleep(0.05)  # for what is printed by other threads
    written = capfd.readouterr()
    lines = (written.out + written.err).splitlines()
    assert len(lines) <= MOST_LINES, lines[:60]
    assert len(reported) == -(-MESSAGES // RATE_HZ)
    for status in reported[-1].status:
        assert '\n' not in status.message and len(status.message) < 3000
    print(f'{kind}: {len(lines)} lines', *lines[:3], sep='\n    ')
