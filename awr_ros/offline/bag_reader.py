"""ROS 2 bags as an input, mcap or db3, without ROS."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from awr_ros.files import printable
from awr_ros.messages.compressed_depth import HEADER, png_size
from awr_ros.messages.depth_camera import DepthCamera, Distortion
from awr_ros.messages.depth_image import DEPTH_ENCODINGS
from awr_ros.offline.bag_files import BagFiles
from awr_ros.offline.bag_types import typestore
from awr_ros.offline.frames import NS_PER_S, Frame

IMAGE, COMPRESSED, INFO = (
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/CompressedImage',
    'sensor_msgs/msg/CameraInfo',
)
TRANSPORT = '/compressedDepth'


class BagImages:
    """The depth images of one topic of a bag: a context manager with a length, frames in the order
    of recording, and a rate.

    topic, info_topic: None for the only depth topic and the camera_info beside it. camera_info:
    (width, height) -> CameraInfo to use instead of any in the bag. distortion: see DepthCamera.
    scale: factor on depths. Unusable bags raise ValueError; topics of other types, and defects
    elsewhere in the bag, do not matter.

    An image belongs to the last camera info recorded before it, as in the node, which uses the last
    one received. Images before the first camera info, which the node must refuse, belong to that
    one.
    """

    def __init__(
        self,
        path: Path,
        topic: str | None = None,
        info_topic: str | None = None,
        camera_info: Callable | None = None,
        distortion: Distortion = 'undistort',
        scale: float = 1.0,
    ) -> None:
        self._path, self._wanted, self._wanted_info = path, topic, info_topic
        self._camera_info, self._distortion, self._scale = camera_info, distortion, scale

    def __enter__(self) -> 'BagImages':
        self._files = BagFiles(self._path)
        try:
            self._files.__enter__()
        except (
            Exception
        ) as error:  # the libraries let through whatever they raise over damaged files
            raise self._unreadable(error) from error
        try:
            self.topic = self._wanted or self._only_depth_topic()
            self._images = self._channels(self.topic, (IMAGE, COMPRESSED))
            self.info_topic = None
            if self._camera_info is None:
                self.info_topic = self._wanted_info or self._info_topic_of(self.topic)
                self._infos = self._channels(self.info_topic, (INFO,))
        except BaseException:
            self._files.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._files.__exit__()

    def __len__(self) -> int:
        return sum(channel.count for channel in self._images)

    @property
    def rate_hz(self) -> float:
        """Images per second, for a video of them."""
        # the end is behind the last message
        duration_ns = self._files.end_ns - self._files.start_ns - 1
        return (
            (len(self) - 1) * NS_PER_S / duration_ns if len(self) > 1 and duration_ns > 0 else 30.0
        )

    def __iter__(self) -> Iterator[Frame]:
        info, infos = None, []
        if self._camera_info is None:
            infos = self._infos
            info = self._first_of(infos)
        for channel, logged_ns, message in self._messages([*self._images, *infos]):
            if channel.type == INFO:
                info = message
                continue
            stamp = message.header.stamp
            yield Frame(
                f'{self.topic} at {logged_ns / NS_PER_S:.3f} s',
                stamp.sec * NS_PER_S + stamp.nanosec,
                logged_ns,
                message.header.frame_id,
                lambda message=message, info=info: self._load(message, info),
            )

    def _load(self, message, info):
        if info is None:
            info = self._camera_info(*_size(message))
        camera = DepthCamera(info, self._distortion)
        depth = camera.depth_from(message)
        return depth if self._scale == 1 else depth * np.float32(self._scale), camera.intrinsics

    def _messages(self, channels):
        """Yield (channel, time of recording [ns], message) in the order of recording."""
        messages = self._files.messages(channels)
        while True:
            try:
                channel, logged_ns, data = next(messages)
                message = typestore().deserialize_cdr(data, channel.type)
            except StopIteration:
                return
            except Exception as error:  # as in __enter__
                if self._files.changed():
                    raise ValueError(
                        f'{printable(self._path)} changed while it was read: wait until it is '
                        'recorded or copied'
                    ) from error
                raise self._unreadable(error) from error
            yield channel, logged_ns, message

    def _unreadable(self, error):
        reason = ' '.join(str(error).split())[:300] or type(error).__name__
        return ValueError(
            f'{printable(self._path)} is not a ROS 2 bag that can be read, or damaged: {reason}'
        )

    # ---- topics

    def _topics(self, message_type):
        return sorted({c.topic for c in self._files.channels if c.type == message_type and c.count})

    def _channels(self, topic, types):
        channels = [c for c in self._files.channels if c.topic == topic]
        if not channels:
            raise ValueError(f'{printable(self._path)} has no topic {topic}; {self._choices()}')
        fitting = [c for c in channels if c.type in types]
        if not fitting:
            raise ValueError(
                f'topic {topic} is {channels[0].type}, expected {" or ".join(types)}; '
                f'{self._choices()}'
            )
        if not any(c.count for c in fitting):
            raise ValueError(f'topic {topic} has no messages; {self._choices()}')
        return fitting

    def _only_depth_topic(self):
        raw = [
            topic for topic in self._topics(IMAGE) if self._format(topic, IMAGE) in DEPTH_ENCODINGS
        ]
        compressed = [
            topic
            for topic in self._topics(COMPRESSED)
            if 'compressedDepth' in self._format(topic, COMPRESSED)
            and topic.removesuffix(TRANSPORT) not in raw
        ]
        depth = raw + compressed
        if len(depth) != 1:
            raise ValueError(
                f'{printable(self._path)} has {len(depth) or "no"} topics with depth '
                f'images{_listed(depth)}; '
                f'choose one with --topic; {self._choices()}'
            )
        return depth[0]

    def _info_topic_of(self, topic):
        """Return the camera_info topic beside an image topic, by the convention of
        image_transport.
        """
        beside = f'{topic.removesuffix(TRANSPORT).rpartition("/")[0]}/camera_info'
        if beside not in self._topics(INFO):
            raise ValueError(
                f'{printable(self._path)} has no {beside} to {topic}; choose one with '
                f'--info-topic, or give '
                f'--intrinsics; {self._choices()}'
            )
        return beside

    def _format(self, topic, message_type):
        """Return the encoding of a topic's first image, the format of a compressed one, or
        'damaged'.
        """
        channels = [c for c in self._files.channels if c.topic == topic and c.type == message_type]
        try:
            first = self._first_of(channels)
        except ValueError:
            return 'damaged'
        return first.encoding if message_type == IMAGE else first.format

    def _first_of(self, channels):
        for _, _, message in self._messages(channels):
            return message
        raise self._unreadable(
            f'{channels[0].topic} should have {channels[0].count} messages, but has none'
        )

    def _choices(self):
        images = [
            f'{topic} ({self._format(topic, kind)[:60]})'
            for kind in (IMAGE, COMPRESSED)
            for topic in self._topics(kind)
        ]
        return (
            f'images in the bag{_listed(images) or ": none"}; camera '
            f'infos{_listed(self._topics(INFO)) or ": none"}'
        )


def _listed(names):
    return f': {", ".join(names)}' if names else ''


def _size(message):
    """Return (width, height) of an Image or CompressedImage."""
    if hasattr(message, 'encoding'):
        return message.width, message.height
    return png_size(memoryview(message.data).cast('B')[HEADER.size :])
