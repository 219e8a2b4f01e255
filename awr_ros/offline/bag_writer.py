"""Writers of ROS 2 bags, by rosbags without ROS: of tracked hands, and of the synthetic camera."""

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import ReaderError
from rosbags.serde import SerdeError

from awr_ros.files import ascii_path, completed, printable
from awr_ros.messages.depth_image import info_from_intrinsics
from awr_ros.messages.hands import HandMessages
from awr_ros.messages.markers import HandMarkers
from awr_ros.offline.bag_files import BagFiles
from awr_ros.offline.bag_types import bag_types, typestore
from awr_ros.offline.frames import NS_PER_S, even_stamps
from awr_ros.synthetic.camera import DEFAULT_INTRINSICS, FRAME_ID, SyntheticCamera

Storage = Literal['mcap', 'sqlite3']
STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
MARKER_LIFETIME_S = 0.5  # default of the node


@contextmanager
def bag(path: str | Path, storage: Storage = 'mcap') -> Iterator[Callable]:
    """Yield a function write(topic, message type, time [ns], message) for a new bag: a folder that
    must not exist yet.

    Raise OSError if it cannot be written completely, which is checked by reading it, and ValueError
    for messages whose values exceed their types.
    """
    if Path(path).exists():  # a file would be replaced
        raise ValueError(f'{printable(path)} is there already: choose another name, or remove it')
    count = 0
    with completed(path) as part, ascii_path(part) as name:
        try:
            with Writer(name, version=9, storage_plugin=STORAGES[storage]) as writer:
                connections = {}

                def write(topic, message_type, time_ns, message):
                    nonlocal count
                    if topic not in connections:
                        connections[topic] = writer.add_connection(
                            topic, message_type.name, typestore=typestore()
                        )
                    try:
                        data = typestore().serialize_cdr(message, message_type.name)
                    except (SerdeError, struct.error, OverflowError, UnicodeError) as error:
                        raise ValueError(
                            f'a message of {topic} at {time_ns} ns has no room in '
                            f'{message_type.name}: {error}'
                        ) from error
                    writer.write(connections[topic], time_ns, data)
                    count += 1

                yield write
        except sqlite3.Error as error:
            raise OSError(f'{printable(path)} cannot be written: {error}') from error
        if count and _messages_in(part) != count:
            raise OSError(f'{printable(path)} could not be written to its end: is the disk full?')


def _messages_in(path):
    """Return the number of messages that can be read from a bag."""
    try:
        with BagFiles(path) as files:
            return sum(1 for _ in files.messages(files.channels))
    except (OSError, ReaderError, ValueError, struct.error):
        return -1


@contextmanager
def hands_bag(path: str | Path) -> Iterator[Callable]:
    """Yield a function that writes a Tracked to a bag as the node publishes it: /tracker/hands,
    /tracker/markers, /tracker/poses.

    The messages have the time at which their image was recorded. As in the node, a refused frame
    has none.
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


def record_synthetic(
    path: str | Path,
    frames: int,
    rate_hz: float = 30.0,
    num_hands: int = 1,
    seed: int = 0,
    storage: Storage = 'mcap',
    progress: Callable = iter,
) -> None:
    """Record the synthetic camera with the topics of its node: /depth/image, /depth/camera_info and
    /synthetic_camera/truth.

    The first image is at 1 s. The same seed gives the same images. progress: wraps an iterable, as
    tqdm does.
    """
    types = bag_types()
    messages = HandMessages(types)
    camera = SyntheticCamera(DEFAULT_INTRINSICS, num_hands=num_hands, seed=seed)
    with bag(path, storage) as write:
        for index, stamp_ns in enumerate(progress(even_stamps(frames, rate_hz))):
            depth_mm, true_hands = camera.frame(index / rate_hz)
            header = _header(stamp_ns, FRAME_ID)
            height, width = depth_mm.shape
            image = types.Image(
                header=header,
                height=height,
                width=width,
                encoding='16UC1',
                step=2 * width,
                data=depth_mm.astype('<u2').view('u1').ravel(),
            )
            write(
                '/synthetic_camera/truth',
                types.HandArray,
                stamp_ns,
                messages.true_hand_array(true_hands, header),
            )
            write(
                '/depth/camera_info',
                types.CameraInfo,
                stamp_ns,
                info_from_intrinsics(DEFAULT_INTRINSICS, header, types.CameraInfo),
            )
            write('/depth/image', types.Image, stamp_ns, image)


def _header(stamp_ns, frame_id):
    types = bag_types()
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return types.Header(stamp=types.Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
