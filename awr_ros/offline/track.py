"""Tracking of a recording: every frame in order, none dropped."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awr_ros.file_kinds import describe_file
from awr_ros.files import printable
from awr_ros.messages.depth_camera import Distortion
from awr_ros.messages.depth_image import BadInputError
from awr_ros.offline.camera_file import given_camera_info
from awr_ros.offline.frames import DepthImages, check_scale, even_stamps, image_paths, read_stamps
from awr_ros.offline.outputs import Tracked, csv_rows, json_lines
from awr_ros.offline.pictures import overlays
from awr_ros.stamps import LATE, StampOrder

if TYPE_CHECKING:
    from awr_ros.offline.lerobot_writer import LeRobotOptions

LEROBOT = 'lerobot:'  # prefix of an output that is the folder of a LeRobotDataset
SHOWN_REFUSALS = 5  # number of refused frames that are named
DEFAULT_RATE_HZ = 30.0


@dataclass(frozen=True)
class Recording:
    """Input of tracking, as given on the command line."""

    path: Path
    topic: str | None = None  # topic of depth images in a bag; None: the only one
    info_topic: str | None = None  # topic of their camera info; None: the one beside them
    intrinsics: str | None = None  # 'fx,fy,cx,cy' [px] or a file; needed if the input has none
    distortion: Distortion = 'undistort'  # see awr_ros.messages.depth_camera.DepthCamera
    rate_hz: float | None = None  # [Hz] rate of images in files; None: DEFAULT_RATE_HZ
    timestamps: Path | None = None  # file with the time of each image
    depth_scale: float = 1.0  # factor on depths: [mm] per unit in an image file


@dataclass(frozen=True)
class Outputs:
    """Outputs of tracking; None is not written."""

    # .jsonl, .csv or lerobot:FOLDER; '-': JSON lines on the standard output
    records: str | None = None
    overlay: str | None = None  # .mp4, folder, or .png
    bag: str | None = None  # new bag with the hands
    lerobot: 'LeRobotOptions | None' = None  # options for lerobot:FOLDER


@dataclass(frozen=True)
class Summary:
    """Summary of a tracked recording."""

    frames: int  # number of tracked frames
    with_hands: int  # number of these with hands
    refused: int  # number of unusable frames
    seconds: float  # [s] total duration


@contextmanager
def opened(recording: Recording) -> Any:
    """Open the input of a Recording: it has a length, frames and a rate. Raise ValueError or
    OSError with the reason if there is none.
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


def track(images: Any, tracker: Any, outputs: Outputs, progress: Callable = iter) -> Summary:
    """Track an input and write the outputs; return a Summary.

    tracker: HandTracker; progress: wraps an iterable with a len, as tqdm does. As in the node, an
    unusable frame is left out and named on standard error; ValueError when all of them are.
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
    """Return the context managers of the requested outputs."""
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
