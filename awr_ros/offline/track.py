"""The hand tracker over a recording: every frame in order, none dropped."""

import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from awr_ros.files import describe_file, printable
from awr_ros.messages.depth_image import BadInputError
from awr_ros.offline.camera_file import given_camera_info
from awr_ros.offline.frames import DepthImages, check_scale, even_stamps, image_paths, read_stamps
from awr_ros.offline.outputs import Tracked, csv_rows, json_lines
from awr_ros.offline.pictures import overlays
from awr_ros.stamps import LATE, StampOrder

if TYPE_CHECKING:
    from awr_ros.offline.lerobot_writer import LeRobotOptions

LEROBOT = 'lerobot:'  # an output that begins so is the folder of a LeRobotDataset
SHOWN_REFUSALS = 5  # so many refused frames are named
DEFAULT_RATE_HZ = 30.0


@dataclass(frozen=True)
class Recording:
    """What to track, as the command line says it."""

    path: Path
    topic: str | None = None  # of depth images in a bag; None: the only one
    info_topic: str | None = None  # of their camera info; None: the one beside them
    intrinsics: str | None = None  # 'fx,fy,cx,cy' [px] or a file; needed where the input has none
    distortion: str = 'undistort'  # see awr_ros.messages.depth_camera.DepthCamera
    rate_hz: float | None = None  # [Hz] of images in files; None: DEFAULT_RATE_HZ
    timestamps: Path | None = None  # file with the time of each image
    depth_scale: float = 1.0  # what depths are multiplied by: [mm] of one unit in an image file


@dataclass(frozen=True)
class Outputs:
    """What to write; None is not written."""

    # .jsonl, .csv or lerobot:FOLDER; '-': JSON lines on the standard output
    records: str | None = None
    overlay: str | None = None  # .mp4, folder, or .png
    bag: str | None = None  # new bag of the hands
    lerobot: 'LeRobotOptions | None' = None  # of lerobot:FOLDER


@dataclass(frozen=True)
class Summary:
    """How it went."""

    frames: int  # tracked
    with_hands: int  # of these
    refused: int  # frames that could not be used
    seconds: float  # [s] for all


@contextmanager
def opened(recording):
    """The input of a Recording: it has a length, frames and a rate. ValueError or OSError say why
    there is none.
    """
    path = recording.path
    if not path.exists():
        raise FileNotFoundError(f'there is no {printable(path)}')
    kind = describe_file(path)
    if path.suffix == '.bag' or kind == 'a bag of ROS 1':
        raise ValueError(
            f'{printable(path)} is a bag of ROS 1: convert it first, rosbags-convert --src '
            f'{printable(path)} --dst NEW'
        )
    camera_info = given_camera_info(recording.intrinsics) if recording.intrinsics else None
    from awr_ros.offline.bag_files import is_bag

    if is_bag(path):
        for option in ('rate_hz', 'timestamps'):
            if getattr(recording, option) is not None:
                raise ValueError(
                    f'{printable(path)} is a bag, which has its own stamps: --rate and '
                    f'--timestamps are for images in '
                    'files'
                )
        check_scale(recording.depth_scale)
        from awr_ros.offline.bag_reader import BagImages

        with BagImages(
            path,
            recording.topic,
            recording.info_topic,
            camera_info,
            recording.distortion,
            recording.depth_scale,
        ) as images:
            yield images
        return
    if path.is_file() and kind and kind != 'a PNG image':
        raise ValueError(f'{printable(path)} is no depth image: it is {kind}')
    paths = image_paths(path)
    if camera_info is None:
        raise ValueError(
            f'{printable(path)} tells nothing of its camera: give --intrinsics fx,fy,cx,cy or a '
            f'file with its camera info'
        )
    if recording.topic or recording.info_topic:
        raise ValueError(f'{printable(path)} is no bag and has no topics')
    if recording.timestamps and recording.rate_hz is not None:
        raise ValueError('--rate and --timestamps exclude each other')
    stamps_ns = (
        read_stamps(recording.timestamps)
        if recording.timestamps
        else even_stamps(
            len(paths), DEFAULT_RATE_HZ if recording.rate_hz is None else recording.rate_hz
        )
    )
    yield DepthImages(paths, camera_info, stamps_ns, recording.distortion, recording.depth_scale)


def track(images, tracker, outputs, progress=iter):
    """Track through an input and write the outputs; returns a Summary.

    tracker: HandTracker; progress: passes on what it iterates over, with a len. As in the node, a
    frame that cannot be used is left out and named on the standard error; ValueError when all of
    them are.
    """
    start_s = time.perf_counter()
    frames = with_hands = refused = 0
    order = StampOrder()
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _writers(outputs, images)]
        for index, frame in enumerate(progress(images)):
            try:
                depth_mm, intrinsics = frame.load()
                if order.add(frame.time_s) == LATE:
                    raise BadInputError(
                        f'its stamp is {order.behind_s:.3f} s older than that of an image before it'
                    )
            except BadInputError as error:
                refused += 1
                if refused <= SHOWN_REFUSALS:
                    print(f'left out: {frame.name}: {error}', file=sys.stderr)
                tracked = Tracked(index, frame, None, None, (), str(error))
            else:
                hands = tuple(tracker.update(depth_mm, intrinsics, frame.time_s))
                frames, with_hands = frames + 1, with_hands + bool(hands)
                tracked = Tracked(index, frame, depth_mm, intrinsics, hands)
            for write in writers:
                write(tracked)
        if not frames:
            raise ValueError(f'none of the {refused} images could be used')
    return Summary(frames, with_hands, refused, time.perf_counter() - start_s)


def _writers(outputs, images):
    """The contexts of the outputs that are wanted."""
    if outputs.records == '-' or Path(outputs.records or '').suffix == '.jsonl':
        yield json_lines(outputs.records)
    elif (outputs.records or '').startswith(LEROBOT):
        from awr_ros.offline.lerobot_writer import lerobot_dataset

        yield lerobot_dataset(outputs.records.removeprefix(LEROBOT), outputs.lerobot)
    elif outputs.records:
        if Path(outputs.records).suffix != '.csv':
            raise ValueError(
                f'cannot write {outputs.records}: expected a name that ends in .jsonl or .csv, '
                f'lerobot:FOLDER, or - '
                'for JSON lines on the standard output'
            )
        yield csv_rows(outputs.records)
    if outputs.overlay:
        yield overlays(outputs.overlay, len(images), images.rate_hz)
    if outputs.bag:
        from awr_ros.offline.bag_writer import hands_bag

        yield hands_bag(outputs.bag)
