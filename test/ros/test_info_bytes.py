"""Serialised camera infos are told from bytes that only the middleware's errors would tell."""

import struct

import pytest
from fakes import header, info
from hypothesis import HealthCheck, given, settings
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from test_fuzz import garbled, infos

from awr_ros.ros.info_bytes import is_camera_info

GOOD = bytes(serialize_message(info()))
OPTIONS = settings(
    max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@OPTIONS
@given(infos)
def test_every_camera_info_passes(message):
    assert is_camera_info(bytes(serialize_message(message)))


@pytest.mark.parametrize('size', [0, 1, 2, 3, 4, 5, 9, 14])
@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'abcd', 'händ', 'x' * 300])
def test_any_alignment_passes_and_one_byte_less_does_not(size, frame_id):
    data = bytes(
        serialize_message(
            info(d=[0.1] * size, header=header(frame_id=frame_id), distortion_model='')
        )
    )
    needed = max(n for n in range(len(data) + 1) if not is_camera_info(data[:n])) + 1
    assert is_camera_info(data) and len(data) - needed < 4  # padding at the end
    assert not is_camera_info(data[: len(data) - 8])


def test_the_other_byte_order_and_other_representations_pass():
    """An info without strings and coefficients, in the byte order of few machines."""
    body = struct.pack('>iIIB3xII', 1, 2, 1, 0, 24, 32) + struct.pack('>IB3xI', 1, 0, 0)
    body += bytes(-len(body) % 8) + bytes(8 * 30) + bytes(4 * 6 + 1)
    assert is_camera_info(b'\0\0\0\0' + body) and not is_camera_info(b'\0\1\0\0' + body)
    assert is_camera_info(b'\0\7\0\0' + GOOD[4:])


@OPTIONS
@given(garbled(GOOD))
def test_what_passes_can_be_decoded(capfd, data):
    """All but texts and booleans that the middleware finds fault with; it prints nothing then."""
    capfd.readouterr()
    if len(data) >= 240 and data[:2] == b'\0\1' and is_camera_info(data):
        try:
            deserialize_message(data, CameraInfo)
        except UnicodeDecodeError:
            pass
        assert capfd.readouterr().err == ''
