"""New ROS 2 bags, by rosbags without ROS: of tracked hands, and of the synthetic camera."""
from contextlib import contextmanager

from rosbags.rosbag2 import StoragePlugin, Writer

from awr_ros.camera_messages import info_from_intrinsics
from awr_ros.hand_markers import HandMarkers
from awr_ros.hand_messages import HandMessages
from awr_ros.offline.bag_types import bag_types, typestore
from awr_ros.offline.frames import NS_PER_S, even_stamps
from awr_ros.offline.outputs import completed
from awr_ros.synthetic.camera import DEFAULT_INTRINSICS, FRAME_ID, SyntheticCamera

STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
MARKER_LIFETIME_S = 0.5         # as the node's default


@contextmanager
def bag(path, storage='mcap'):
    """A function write(topic, message type, time [ns], message) into a new bag: a folder that must not exist yet."""
    with completed(path) as part, Writer(part, version=9, storage_plugin=STORAGES[storage]) as writer:
        connections = {}

        def write(topic, message_type, time_ns, message):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message_type.name, typestore=typestore())
            writer.write(connections[topic], time_ns, typestore().serialize_cdr(message, message_type.name))
        yield write


@contextmanager
def hands_bag(path):
    """A function that writes a Tracked as the node publishes it: /tracker/hands, /tracker/markers, /tracker/poses.

    The messages have the time at which their image was recorded. As in the node, a refused frame has none.
    """
    types = bag_types()
    messages, markers = HandMessages(types), HandMarkers(MARKER_LIFETIME_S, types)

    def add(tracked):
        if tracked.refused:
            return
        frame, intrinsics = tracked.frame, tracked.intrinsics
        header = _header(frame.stamp_ns, frame.frame_id)
        hands = messages.hand_array(tracked.hands, header, intrinsics.width, intrinsics.height)
        write('/tracker/hands', types.HandArray, frame.logged_ns, hands)
        write('/tracker/markers', types.MarkerArray, frame.logged_ns, markers.update(hands))
        write('/tracker/poses', types.PoseArray, frame.logged_ns, messages.pose_array(hands))
    with bag(path) as write:
        yield add


def record_synthetic(path, frames, rate_hz=30.0, num_hands=1, seed=0, storage='mcap', progress=iter):
    """Record the synthetic camera, as its node publishes: /depth/image, /depth/camera_info and /synthetic_camera/truth.

    The first image is taken at 1 s. The same seed gives the same images. progress: passes on what it iterates over.
    """
    types = bag_types()
    messages = HandMessages(types)
    camera = SyntheticCamera(DEFAULT_INTRINSICS, num_hands=num_hands, seed=seed)
    with bag(path, storage) as write:
        for index, stamp_ns in enumerate(progress(even_stamps(frames, rate_hz))):
            depth_mm, true_hands = camera.frame(index / rate_hz)
            header = _header(stamp_ns, FRAME_ID)
            height, width = depth_mm.shape
            image = types.Image(header=header, height=height, width=width, encoding='16UC1', step=2 * width,
                                data=depth_mm.astype('<u2').view('u1').ravel())
            write('/synthetic_camera/truth', types.HandArray, stamp_ns, messages.true_hand_array(true_hands, header))
            write('/depth/camera_info', types.CameraInfo, stamp_ns,
                  info_from_intrinsics(DEFAULT_INTRINSICS, header, types.CameraInfo))
            write('/depth/image', types.Image, stamp_ns, image)


def _header(stamp_ns, frame_id):
    types = bag_types()
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return types.Header(stamp=types.Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
