"""Recordings to test with, and a tracker that says what it was shown."""

import math

import cv2
import numpy as np

from awr_ros.offline.bag_reader import BagImages
from awr_ros.offline.bag_types import bag_types
from awr_ros.offline.bag_writer import bag
from awr_ros.tracker import TrackedHand

WIDTH, HEIGHT, SECOND = 32, 24, 10**9
K = '30,31,15.5,11.5'
TYPES = bag_types()


class PlainTracker:
    """A hand whose joints all lie where the depth of the image is; none in an image of 999 mm."""

    def __init__(self):
        self.calls = []

    def update(self, depth_mm, intrinsics, stamp_s):
        self.calls.append((depth_mm.copy(), intrinsics, stamp_s))
        depth = float(depth_mm[0, 0])
        if depth == 999:
            return []
        joints = np.float32([[j, 2 * j, depth] for j in range(21)])
        joints[3] = np.nan  # a joint that the network does not know
        return [
            TrackedHand(
                '7',
                'left',
                math.nan,
                'ok',
                0.75,
                joints,
                joints,
                np.linspace(0, 1, 21, dtype=np.float32),
                (-4, 10, 12, 100),
            )
        ]


def header(stamp_ns):
    return TYPES.Header(
        stamp=TYPES.Time(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND), frame_id='camera'
    )


def depth_image(stamp_ns, depth=500, encoding='16UC1', dtype='<u2', width=WIDTH):
    pixels = np.full((HEIGHT, width), depth, dtype)
    return TYPES.Image(
        header=header(stamp_ns),
        height=HEIGHT,
        width=width,
        encoding=encoding,
        step=width * pixels.itemsize,
        data=pixels.view('u1').ravel(),
    )


def camera_info(stamp_ns, fx=30.0, width=WIDTH):
    return TYPES.CameraInfo(
        header=header(stamp_ns),
        width=width,
        height=HEIGHT,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[fx, 0.0, 15.5, 0.0, fx, 11.5, 0.0, 0.0, 1.0],
    )


def recorded(path, messages, storage='mcap'):
    """A bag of (topic, message) pairs, one a millisecond."""
    with bag(path, storage) as write:
        for index, (topic, message) in enumerate(messages):
            write(
                topic,
                getattr(TYPES, message.__msgtype__.split('/')[-1]),
                SECOND + index * 10**6,
                message,
            )
    return path


def usual(path, depths=(500, 600, 700), storage='mcap'):
    """A good bag."""
    return recorded(
        path,
        [
            ('/cam/depth/camera_info', camera_info(SECOND)),
            *(
                ('/cam/depth/image', depth_image((2 + index) * SECOND, depth))
                for index, depth in enumerate(depths)
            ),
        ],
        storage,
    )


def loaded(path, **options):
    with BagImages(path, **options) as images:
        return [(frame, *frame.load()) for frame in images]


def png(path, depth=500, dtype=np.uint16, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(exist_ok=True)
    # cv2.imwrite crashes over some names
    path.write_bytes(cv2.imencode('.png', np.full(size, depth, dtype))[1].tobytes())
    return path
