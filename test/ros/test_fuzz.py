"""Messages from hell: bursts of mutated messages into a node, and after each burst good images,
which must be tracked.

By the fields and by the bytes, as hypothesis thinks them up: the same ones in every run. More of
them, by hand:

    FUZZ_EXAMPLES=16000 pytest test/ros/test_fuzz.py -k burst -s            # 100,000 messages and
    more
"""

import gc
import itertools
import math
import os
import resource
import struct
import zlib
from array import array
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from fakes import HEIGHT, WIDTH, FakeTracker, header, image, info
from geometry_msgs.msg import Point, PointStamped
from hypothesis import HealthCheck, given, seed, settings, strategies as st
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from awr_ros.messages.depth_image import BadInputError, info_from_intrinsics
from awr_ros.ros.node import TrackerNode, load_tracker
from awr_ros.synthetic.camera import DEFAULT_INTRINSICS, SyntheticCamera

EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', 500))
ROUND = 500  # examples that hypothesis keeps in memory at a time
MAX_GROWTH_MB = 20  # of resident memory over the later half of many rounds
RATE_HZ = 30
# it takes seconds, but on a machine that trains networks minutes
pytestmark = pytest.mark.timeout(600 + EXAMPLES // 5)
ASIDE = (
    11.5,
    0.5,
    # nothing is farther off the axis than 85 degrees, a hand at the border of the image by a hand
    # [m]
)
LONGEST = 3000  # characters of a status of the diagnostics
# ---- what may stand in a field

floats = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -1.0, 1e-30, 1e6, 1e300, -1e300, math.nan, math.inf, 1.7e308]),
)
float32s = st.floats(width=32)
uint32s = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1])
)
small = st.integers(0, 80)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(['', '/', 'x' * 5000, 'line\nline', '\0', '16UC1', '%s%n', '\x1b[2J']),
)
encodings = st.one_of(
    st.sampled_from(['16UC1', 'mono16', '32FC1', '8UC1', 'rgb8', '32SC1', '64FC1']), texts
)
stamps = st.builds(
    Time, sec=st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(999, 1010)), nanosec=uint32s
)
blobs = st.binary(max_size=200).map(lambda data: array('B', data))


@st.composite
def changed(draw, make, **fields):
    """make() with some of its fields drawn anew."""
    message = make()
    for name in draw(
        st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True)
    ):
        *parents, last = name.split('__')
        owner = message
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, last, draw(fields[name]))
    return message


@st.composite
def garbled(draw, make):
    """The bytes of make(), cut, flipped, or with others put in."""
    data = bytearray(make)
    for _ in range(draw(st.integers(1, 4))):
        at, kind = (
            draw(st.integers(0, min(len(data), 400))),
            draw(st.sampled_from(['cut', 'flip', 'put', 'word'])),
        )
        if kind == 'cut':
            del data[at:]
        elif kind == 'put':
            data[at:at] = draw(st.binary(max_size=8))
        elif kind == 'word':
            data[at : at + 4] = struct.pack('<I', draw(uint32s))
        elif at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


pixels = st.lists(float32s, min_size=1, max_size=20).map(
    lambda values: array('B', np.resize(np.array(values, '<f4'), HEIGHT * WIDTH).tobytes())
)
HEADER = {'header__stamp': stamps, 'header__frame_id': texts}
sides = st.one_of(uint32s, small)
# Of each message every field, a test below compares them with the messages' definitions.
FIELDS = {
    Image: HEADER
    | {
        'width': sides,
        'height': sides,
        'step': sides,
        'encoding': encodings,
        'is_bigendian': st.integers(0, 255),
        'data': blobs,
    },
    CameraInfo: HEADER
    | {
        'width': sides,
        'height': sides,
        'distortion_model': st.one_of(
            st.sampled_from(['plumb_bob', 'rational_polynomial', 'equidistant']), texts
        ),
        'd': st.lists(floats, max_size=20).map(lambda d: array('d', d)),
        'binning_x': uint32s,
        'binning_y': uint32s,
        'k': st.lists(floats, min_size=9, max_size=9),
        'r': st.lists(floats, min_size=9, max_size=9),
        'p': st.lists(floats, min_size=12, max_size=12),
        **{f'roi__{name}': uint32s for name in ('x_offset', 'y_offset', 'width', 'height')},
        'roi__do_rectify': st.booleans(),
    },
    PointStamped: HEADER | {f'point__{axis}': floats for axis in 'xyz'},
}
images = changed(image, **FIELDS[Image])
float_images = changed(
    lambda: image(encoding='32FC1'),
    data=pixels,
    header__stamp=stamps,
    is_bigendian=st.integers(0, 255),
)
infos = changed(info, **FIELDS[CameraInfo])


def png(depth, claimed=None):
    """A CompressedImage; claimed: (width, height) that its header claims, with the checksum in
    order.
    """
    data = bytearray(cv2.imencode('.png', depth)[1].tobytes())
    if claimed:
        data[16:24] = struct.pack('>II', *claimed)
        data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    return CompressedImage(
        header=header(),
        format='16UC1; compressedDepth png',
        data=array('B', struct.pack('<iff', 0, 0.0, 0.0) + data),
    )


WALL = np.full((HEIGHT, WIDTH), 600, np.uint16)
PNG = bytes(png(WALL).data)
FIELDS[CompressedImage] = HEADER | {
    'format': st.one_of(encodings, texts.map(lambda text: f'16UC1; compressedDepth {text}')),
    'data': st.one_of(blobs, garbled(PNG).map(lambda data: array('B', data))),
}
compressed = st.one_of(
    changed(lambda: png(WALL), **FIELDS[CompressedImage]),
    st.builds(lambda *claimed: png(WALL, claimed), uint32s, uint32s),
    st.builds(
        lambda a, b: CompressedImage(
            header=header(),
            format='32FC1; compressedDepth png',
            data=array('B', struct.pack('<iff', 0, a, b) + PNG[12:]),
        ),
        float32s,
        float32s,
    ),
)
points = changed(lambda: PointStamped(header=header(), point=Point(z=0.5)), **FIELDS[PointStamped])


def detection(frame_id, stamp, text, u, v, theta, width, height, score):
    """A vision_msgs/Detection2D, which is not installed everywhere, by its fields."""
    pose = SimpleNamespace(pose=SimpleNamespace(position=Point(x=u, y=v, z=score)))
    hypothesis = SimpleNamespace(class_id=text, score=score)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame_id, stamp=stamp),
        id=text,
        results=[SimpleNamespace(hypothesis=hypothesis, pose=pose)],
        bbox=SimpleNamespace(
            center=SimpleNamespace(position=SimpleNamespace(x=u, y=v), theta=theta),
            size_x=width,
            size_y=height,
        ),
    )


frames = st.one_of(st.just(header().frame_id), texts)
numbers = st.one_of(st.tuples(*6 * [floats]), floats.map(lambda value: (value,) * 6))
boxes = st.builds(
    lambda frame_id, stamp, detections: SimpleNamespace(
        header=SimpleNamespace(frame_id=frame_id, stamp=stamp), detections=detections
    ),
    frames,
    stamps,
    st.lists(
        st.builds(
            lambda *named, values: detection(*named, *values), frames, stamps, texts, values=numbers
        ),
        max_size=12,
    ),
)
clocks = st.builds(lambda time: Clock(clock=time), stamps)
messages = st.one_of(
    images,
    float_images,
    infos,
    compressed,
    points,
    boxes,
    clocks,
    garbled(bytes(serialize_message(info()))).map(lambda data: (CameraInfo, data)),
    *(
        garbled(bytes(serialize_message(good))).map(lambda data, kind=type(good): (kind, data))
        for good in (image(), png(WALL), PointStamped(header=header()), Clock())
    ),
)


# ---- what they are sent to


class Victim:
    """An active node, whose callbacks are called as its executor would, and which works in the
    test's own thread.
    """

    def __init__(self, node, good_image, good_info):
        self.node, self.good_image, self.good_info_message = node, good_image, good_info
        self.good_info = bytes(serialize_message(good_info))
        self.count, self.stamp_s, self.published, self.unforeseen, self.memory_mb = (
            Counter(),
            1000.0,
            [],
            [],
            [],
        )
        node._worker.stop()
        node._worker = SimpleNamespace(put=lambda frame: node._process(frame, 0), stop=lambda: None)
        track, publish = node._track, node._outputs.hands_pub.publish

        def watched(frame, dropped):
            try:
                track(frame, dropped)
            except BadInputError:
                self.count['refused'] += 1
                raise
            except Exception as error:
                self.unforeseen.append(repr(error))
                raise

        node._track = watched
        node._outputs.hands_pub.publish = lambda message: (
            self.published.append(message),
            publish(message),
        )

    def send(self, message):
        """One message; bytes as the middleware would: what it cannot decode it drops, but for
        infos, which come as bytes.
        """
        self.count['messages'] += 1
        if isinstance(message, tuple) and message[0] is not CameraInfo:
            try:
                if (
                    len(message[1]) <= 4
                    # nothing but the encapsulation: deserialize_message, not the middleware, may
                    # die of
                    # it
                ):
                    raise ValueError
                message = deserialize_message(message[1], message[0])
            except Exception:
                self.count['dropped by the middleware'] += 1
                return
        self.published.clear()
        if isinstance(message, tuple):
            self.node._input._on_info(message[1])
        elif isinstance(message, CameraInfo):
            self.node._input._on_info(bytes(serialize_message(message)))
        elif isinstance(message, Image | CompressedImage):
            self.node._on_image(message)
        elif isinstance(message, PointStamped):
            self.node._external._on_point(message)
        elif isinstance(message, Clock):
            clock = message.clock
            if clock.sec >= 0:  # of earlier times rclpy takes none, see test_process
                self.node.get_clock().set_ros_time_override(rclpy_time(clock))
        else:
            self.node._external._on_boxes(message)
        self.check()

    def check(self):
        assert not self.unforeseen, self.unforeseen
        for hands in self.published:
            for hand in hands.hands:
                self.count['hands'] += 1
                joints = np.array([(p.x, p.y, p.z) for p in hand.joints])
                joints = joints[~np.isnan(joints).all(axis=1)]
                assert joints.size and (joints[:, 2] > 0).all(), joints
                assert (
                    np.abs(joints[:, :2]) <= ASIDE[0] * joints[:, 2:] + ASIDE[1]
                ).all() and joints[:, 2].max() < 6, joints

    def recover(self):
        """Good images at their rate: the first that is tracked must come within a second."""
        for _ in range(RATE_HZ):
            self.stamp_s += 1 / RATE_HZ
            self.good_image.header = header(self.stamp_s)
            self.node._input._on_info(self.good_info)
            self.published.clear()
            self.node._on_image(self.good_image)
            self.check()
            if self.published:
                assert self.published[-1].header == self.good_image.header
                return
        pytest.fail(f'no good image was tracked for a second: {self.node._health._refusal}')

    def forget(self):
        """Drop what the fake tracker and garbage keep, so that memory is that of the node."""
        for kept in (getattr(self.node._tracker, name, []) for name in ('calls', 'centres')):
            kept.clear()
        gc.collect()

    def report(self):
        """What the node says of it all is some lines, not a flood, and is not longer for longer
        texts in messages.
        """
        said = []
        self.node._diagnostics_pub.publish, publish = (
            said.append,
            self.node._diagnostics_pub.publish,
        )
        self.node._report()
        self.node._diagnostics_pub.publish = publish
        for status in said[0].status:
            assert len(status.message) < LONGEST and '\n' not in status.message, status.message


def rclpy_time(stamp):
    from rclpy.time import Time as RclpyTime

    return RclpyTime.from_msg(stamp)


@pytest.fixture
def victim(request, bench, monkeypatch):
    """A Victim with a fake tracker, or with the real one where the test's parameter says so."""
    real = getattr(request, 'param', 'fake') == 'real'
    node = bench.add(
        TrackerNode(
            tracker_factory=load_tracker if real else lambda values: FakeTracker(),
            parameter_overrides=[
                Parameter('use_sim_time', value=True),
                Parameter('finder', value='external'),
                Parameter('max_depth', value=5.0),
                Parameter('min_depth', value=0.05),
                Parameter('num_threads', value=1),
            ],
        )
    )
    quiet = SimpleNamespace(
        **{level: lambda *_, **__: None for level in ('debug', 'info', 'warning', 'error')}
    )
    node.autostart()
    # it is throttled, but what is logged is not looked at here
    monkeypatch.setattr(node, 'get_logger', lambda: quiet)
    good_image, good_info = image(), info()
    if real:
        depth, _ = SyntheticCamera(DEFAULT_INTRINSICS, num_hands=1, seed=0).frame(0.0)
        good_image = Image(
            width=640,
            height=480,
            encoding='16UC1',
            step=1280,
            data=array('B', depth.astype('<u2').tobytes()),
        )
        good_info = info_from_intrinsics(DEFAULT_INTRINSICS, header(), CameraInfo)
    victim = Victim(node, good_image, good_info)
    yield victim
    print(f'\n{dict(victim.count)}; resident {victim.memory_mb}, at the end {resident_mb():.0f} MB')


def resident_mb():
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize() / 1e6


# ---- the tests


def leaves(kind, start=''):
    """The names of all fields of a message, of the messages in it as parent__field."""
    for name, described in kind.get_fields_and_field_types().items():
        inner = {
            'std_msgs/Header': Header,
            'geometry_msgs/Point': Point,
            'sensor_msgs/RegionOfInterest': RegionOfInterest,
        }.get(described)
        yield from leaves(inner, f'{start}{name}__') if inner else [start + name]


@pytest.mark.parametrize('kind', FIELDS)
def test_every_field_is_drawn(kind):
    assert sorted(leaves(kind)) == sorted(FIELDS[kind])


def in_rounds(victim, bursts, check, examples):
    """Give check() that many bursts, the same ones in every run; memory must not grow with them.

    Hypothesis remembers all examples of a round, so memory is measured between the rounds.
    """
    for number in range(-(-examples // ROUND)):
        options = settings(
            max_examples=min(ROUND, examples - ROUND * number),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(options(given(bursts)(check)))()
        victim.forget()
        victim.memory_mb.append(round(resident_mb()))
    later = victim.memory_mb[len(victim.memory_mb) // 2 :]
    assert later[-1] - later[0] <= MAX_GROWTH_MB, victim.memory_mb


def test_after_any_burst_a_good_image_is_tracked_within_a_second(victim):
    def check(burst):
        for message in burst:
            victim.send(message)
        victim.recover()
        victim.report()

    in_rounds(victim, st.lists(messages, min_size=4, max_size=12), check, EXAMPLES)


def camera_of(fx, fy, cx, cy, d=0.0):
    return info(
        width=640,
        height=480,
        distortion_model='plumb_bob',
        d=[d, 0.0, 0.0, 0.0, 0.0],
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
    )


# Cameras that are just believable, so that hands are looked for and found through them, and absurd
# ones.
believable = st.builds(
    lambda scale, fx, fy, cx, cy, d: camera_of(
        475 * scale * fx, 475 * scale * fy, 320 + cx, 240 + cy, d
    ),
    st.sampled_from([0.05, 0.1, 0.3, 1.0, 3.0, 30.0, 100.0]),
    st.floats(0.2, 5),
    st.floats(0.2, 5),
    st.floats(-5000, 5000),
    st.floats(-5000, 5000),
    st.sampled_from([0.0, 0.0, -0.3, 0.1, 5.0]),
)
absurd = st.builds(
    lambda focal, aspect, cx, cy: camera_of(focal, focal * aspect, cx, cy),
    st.sampled_from([1e-30, 1.0, 10.0, 475.0, 3e4, 1e30]),
    st.sampled_from([1.0, 1e-9]),
    st.sampled_from([320.0, -1e4, 1e4, 1e6, -(2.0**31)]),
    st.sampled_from([240.0, 1e4]),
)
points = st.builds(
    lambda x, y, z: PointStamped(header=header(), point=Point(x=x, y=y, z=z)),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(0.0, 2.0),
)
scenes = st.tuples(
    st.one_of(st.none(), believable, absurd, absurd),
    points,
    st.one_of(st.floats(0.1, 0.4), st.floats(0.1, 4)),
    st.sampled_from(['external', 'learned']),
)


@pytest.mark.parametrize('victim', ['real'], indirect=True)
def test_hands_of_the_real_tracker_are_in_front_of_the_camera(victim):
    """With the thresholds at their lowest, so that whatever the network makes of it is
    published.
    """
    victim.node.set_parameters(
        [
            Parameter('score_threshold', value=0.0),
            Parameter('beside_threshold', value=0.0),
            Parameter('lose_threshold', value=0.0),
        ]
    )
    depth = np.frombuffer(victim.good_image.data, '<u2').reshape(480, 640)

    def check(burst):
        for message in burst:
            # a camera, a candidate, the scene nearer or farther than it was
            if isinstance(message, tuple) and len(message) == 4:
                camera, point, scale, finder = message
                victim.send(camera or victim.good_info_message)
                near = (depth * scale).clip(0, 65535).astype('<u2')
                message = Image(
                    width=640,
                    height=480,
                    encoding='16UC1',
                    step=1280,
                    data=array('B', near.tobytes()),
                )
                victim.stamp_s += 1 / RATE_HZ
                message.header = header(victim.stamp_s)
                victim.node.set_parameters([Parameter('finder', value=finder)])
                victim.send(point)
                victim.send(
                    PointStamped(
                        header=header(),
                        point=Point(z=float(np.percentile(near[near > 0], 2)) / 1000),
                    )
                )
            victim.send(message)
        victim.recover()

    # Each of those that hands would be found through without the bounds on cameras.
    point = PointStamped(header=header(), point=Point(z=0.5))
    for focal, cx in itertools.product((1.0, 10.0, 475.0, 3e4), (320.0, -1e4, 1e4)):
        if (focal, cx) != (475.0, 320.0):
            check([(camera_of(focal, focal, cx, 240.0), point, 1.0, 'learned')])
    in_rounds(
        victim,
        st.lists(st.one_of(scenes, scenes, messages), min_size=2, max_size=8),
        check,
        max(EXAMPLES // 5, 1),
    )
