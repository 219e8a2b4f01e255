"""What the ROS tests need instead of a camera and a network."""

import threading
from array import array
from dataclasses import dataclass, field, replace

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from awr_ros.tracker import TrackerConfig

WIDTH, HEIGHT, FRAME_ID = 32, 24, 'camera_depth_optical_frame'
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def open_hand_xyz():
    """(21,3) float32 [mm]: a flat right hand half a metre away, palm to the camera, fingers up,
    thumb at the right.
    """
    joints = np.zeros((21, 3), np.float32)
    for finger in range(5):
        for bone in range(4):
            joints[1 + 4 * finger + bone] = (
                50 - 22 * finger,
                -30 - 25 * bone - 20 * (finger > 0),
                0,
            )
    return joints + np.float32([0, 0, 500])


@dataclass(frozen=True)
class FakeHand:
    """The fields of awr_ros.tracker.TrackedHand."""

    id: str = 'hand_1'
    side: str = 'right'
    side_score: float = 0.9
    state: str = 'ok'
    score: float = 0.8
    joints_xyz: np.ndarray = field(default_factory=open_hand_xyz)
    joints_uvd: np.ndarray = field(default_factory=lambda: np.full((21, 3), 10, np.float32))
    joint_scores: np.ndarray = field(
        default_factory=lambda: np.linspace(0, 1, 21, dtype=np.float32)
    )
    roi: tuple = (4, 4, 10, 10)


@dataclass(frozen=True)
class FakeTimings:
    find_ms: float = 1.0
    inference_ms: float = 2.0
    postprocess_ms: float = 3.0


class FakeTracker:
    """Returns the hands it is told to; `gate` holds update() up while it is cleared."""

    description = 'fake tracker'
    timings = FakeTimings()

    def __init__(self, hands=(FakeHand(),), config=TrackerConfig()):
        self.hands, self.config = list(hands), config
        self.calls, self.centres, self.resets, self.failure = [], [], 0, None
        self.gate = threading.Event()
        self.gate.set()

    def update(self, depth_mm, intrinsics, stamp_s, centres_xyz=()):
        self.calls.append((np.array(depth_mm), intrinsics, stamp_s))
        self.centres.append(np.array(centres_xyz))
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        return list(self.hands)

    def reset(self):
        self.resets += 1


def header(stamp_s=100.0, frame_id=FRAME_ID):
    return Header(frame_id=frame_id, stamp=Time(sec=int(stamp_s), nanosec=round(stamp_s % 1 * 1e9)))


def image(stamp_s=100.0, encoding='16UC1', depth_mm=500, **changes):
    """A good depth image, less what is changed."""
    dtype = {'32FC1': '<f4'}.get(encoding, '<u2')
    value = depth_mm / 1000 if encoding == '32FC1' else depth_mm
    pixels = np.full((HEIGHT, WIDTH), value, dtype)
    message = Image(
        header=header(stamp_s),
        width=WIDTH,
        height=HEIGHT,
        encoding=encoding,
        step=WIDTH * pixels.itemsize,
        data=array('B', pixels.tobytes()),
    )
    for name, changed in changes.items():
        setattr(message, name, changed)
    return message


def info(**changes):
    """A good CameraInfo, less what is changed."""
    message = CameraInfo(
        header=header(),
        width=WIDTH,
        height=HEIGHT,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[30.0, 0.0, 15.5, 0.0, 30.0, 11.5, 0.0, 0.0, 1.0],
    )
    for name, changed in changes.items():
        setattr(message, name, changed)
    return message


class Camera:
    """Publishes what it is given, as which quality of service is asked for."""

    def __init__(self, node, image_qos=RELIABLE, info_qos=RELIABLE, image_topic='depth/image'):
        self._images = node.create_publisher(Image, image_topic, image_qos)
        self._infos = node.create_publisher(CameraInfo, 'depth/camera_info', info_qos)
        self._stamp_s = 100.0
        self._node = node

    def connected(self):
        return self._heard(self._images) and self.infos_connected()

    def infos_connected(self):
        return self._heard(self._infos)

    def _heard(self, publisher):
        """Whether somebody listens who has seen what is offered: before, the subscription is about
        to start anew.
        """
        offered = publisher.qos_profile
        asked = [
            s.qos_profile for s in self._node.get_subscriptions_info_by_topic(publisher.topic_name)
        ]
        return publisher.get_subscription_count() > 0 and any(
            (qos.reliability, qos.durability) == (offered.reliability, offered.durability)
            for qos in asked
        )

    def info(self, **changes):
        self._infos.publish(info(**changes))

    def image(self, message=None, **changes):
        """Publish an image; without a message a good one with the next stamp [30 Hz].
        Returns it.
        """
        if message is None:
            self._stamp_s += 1 / 30
            message = image(self._stamp_s, **changes)
        self._images.publish(message)
        return message


def hand(**changes):
    return replace(FakeHand(), **changes)
