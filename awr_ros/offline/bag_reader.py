"""ROS 2 bags as an input, mcap or db3, read by rosbags without ROS."""
from rosbags.highlevel import AnyReader

from awr_ros.camera_messages import DEPTH_ENCODINGS
from awr_ros.compressed_depth import HEADER, png_size
from awr_ros.depth_camera import DepthCamera
from awr_ros.offline.bag_types import typestore
from awr_ros.offline.frames import NS_PER_S, Frame

IMAGE, COMPRESSED, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/CameraInfo'
TRANSPORT = '/compressedDepth'


class BagImages:
    """The depth images of one topic of a bag: a context with a length, frames in the order of recording, and a rate.

    topic, info_topic: None takes the only depth topic and the camera_info beside it. camera_info: (width, height) ->
    CameraInfo to use instead of any in the bag. distortion: see DepthCamera. A bag that cannot be used raises ValueError.

    An image belongs to the camera info that was last recorded before it, as in the node, which uses the last it received.
    The images before the first camera info, which the node must refuse, belong to that one.
    """

    def __init__(self, path, topic=None, info_topic=None, camera_info=None, distortion='undistort'):
        self._path, self._wanted, self._wanted_info = path, topic, info_topic
        self._camera_info, self._distortion = camera_info, distortion

    def __enter__(self):
        try:
            self._reader = AnyReader([self._path], default_typestore=typestore())
            self._reader.open()
        except Exception as error:      # rosbags lets through whatever the libraries below it raise over damaged files
            raise self._unreadable(error) from error
        try:
            self.topic = self._wanted or self._only_depth_topic()
            self._images = self._connections(self.topic, (IMAGE, COMPRESSED))
            self.info_topic = None
            if self._camera_info is None:
                self.info_topic = self._wanted_info or self._info_topic_of(self.topic)
                self._infos = self._connections(self.info_topic, (INFO,))
        except BaseException:
            self._reader.close()
            raise
        return self

    def __exit__(self, *_):
        self._reader.close()

    def __len__(self):
        return sum(connection.msgcount for connection in self._images)

    @property
    def rate_hz(self):
        """Images a second, for a video of them."""
        duration_ns = self._reader.duration - 1         # rosbags counts from the first message to behind the last
        return (len(self) - 1) * NS_PER_S / duration_ns if len(self) > 1 and duration_ns > 0 else 30.0

    def __iter__(self):
        info, infos = None, []
        if self._camera_info is None:
            infos = self._infos
            info = self._first_of(infos)
        for connection, logged_ns, message in self._messages([*self._images, *infos]):
            if connection.msgtype == INFO:
                info = message
                continue
            stamp = message.header.stamp
            yield Frame(f'{self.topic} at {logged_ns / NS_PER_S:.3f} s', stamp.sec * NS_PER_S + stamp.nanosec, logged_ns,
                        message.header.frame_id, lambda message=message, info=info: self._load(message, info))

    def _load(self, message, info):
        if info is None:
            info = self._camera_info(*_size(message))
        camera = DepthCamera(info, self._distortion)
        return camera.depth_from(message), camera.intrinsics

    def _messages(self, connections):
        """(connection, time of recording [ns], message) in the order of recording."""
        messages = self._reader.messages(connections)
        while True:
            try:
                connection, logged_ns, data = next(messages)
                message = self._reader.deserialize(data, connection.msgtype)
            except StopIteration:
                return
            except Exception as error:      # as in __enter__
                raise self._unreadable(error) from error
            yield connection, logged_ns, message

    def _unreadable(self, error):
        reason = str(error) or type(error).__name__
        return ValueError(f'{self._path} is not a ROS 2 bag that can be read, or damaged: {reason}')

    # ---- which topics --------------------------------------------------------------------------------------------------

    def _topics(self, message_type):
        return sorted({c.topic for c in self._reader.connections if c.msgtype == message_type and c.msgcount})

    def _connections(self, topic, types):
        connections = [c for c in self._reader.connections if c.topic == topic]
        if not connections:
            raise ValueError(f'{self._path} has no topic {topic}; {self._choices()}')
        if any(c.msgtype not in types for c in connections):
            raise ValueError(f"topic {topic} is {connections[0].msgtype}, expected {' or '.join(types)}; {self._choices()}")
        if not any(c.msgcount for c in connections):
            raise ValueError(f'topic {topic} has no messages; {self._choices()}')
        return connections

    def _only_depth_topic(self):
        raw = [topic for topic in self._topics(IMAGE) if self._first(topic).encoding in DEPTH_ENCODINGS]
        compressed = [topic for topic in self._topics(COMPRESSED) if 'compressedDepth' in self._first(topic).format
                      and topic.removesuffix(TRANSPORT) not in raw]
        depth = raw + compressed
        if len(depth) != 1:
            raise ValueError(f"{self._path} has {len(depth) or 'no'} topics with depth images{_listed(depth)}; "
                             f'choose one with --topic; {self._choices()}')
        return depth[0]

    def _info_topic_of(self, topic):
        """The camera_info beside an image, as image_transport names it."""
        beside = f'{topic.removesuffix(TRANSPORT).rpartition("/")[0]}/camera_info'
        if beside not in self._topics(INFO):
            raise ValueError(f'{self._path} has no {beside} to {topic}; choose one with --info-topic, or give --intrinsics; '
                             f'{self._choices()}')
        return beside

    def _first(self, topic):
        return self._first_of([c for c in self._reader.connections if c.topic == topic])

    def _first_of(self, connections):
        for _, _, message in self._messages(connections):
            return message
        raise self._unreadable(f'{connections[0].topic} should have {connections[0].msgcount} messages, but has none')

    def _choices(self):
        images = [f'{topic} ({self._first(topic).encoding})' for topic in self._topics(IMAGE)]
        images += [f'{topic} ({self._first(topic).format})' for topic in self._topics(COMPRESSED)]
        return f'images in the bag{_listed(images) or ": none"}; camera infos{_listed(self._topics(INFO)) or ": none"}'


def _listed(names):
    return f": {', '.join(names)}" if names else ''


def _size(message):
    """(width, height) of an Image or CompressedImage."""
    if hasattr(message, 'encoding'):
        return message.width, message.height
    return png_size(memoryview(message.data).cast('B')[HEADER.size:])
