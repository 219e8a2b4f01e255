"""Overlay pictures of tracked frames: a video, a folder of PNGs, or one PNG."""

import errno
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

from awr_ros.draw import overlay
from awr_ros.files import ascii_path, completed, printable
from awr_ros.opencv_log import silent_opencv


@contextmanager
def overlays(path: str | Path, count: int, rate_hz: float) -> Any:
    """Yield a function that draws a Tracked; refused frames are left out.

    path: NAME.mp4 is a video at rate_hz, NAME.png the picture of one frame (count must be 1), a
    name without suffix a folder with one PNG per frame, named by its number.
    """
    path = Path(path)
    shown = printable(path)
    kind = {'.mp4': _video, '.png': _picture, '': _folder}.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f'cannot draw into {shown}: expected a name that ends in .mp4, a folder, or .png for '
            f'a single image'
        )
    if kind is _picture and count != 1:
        raise ValueError(
            f'{shown} is one picture, but there are {count} images: name a .mp4 or a folder'
        )
    # What MPEG-4 takes: stamps that are all the same, or a nanosecond apart, are no rate of a
    # video.
    rate_hz = round(min(max(rate_hz, 1.0), 240.0), 2)
    with completed(path) as part, kind(part, rate_hz) as add:
        yield (
            lambda tracked: (
                None
                if tracked.refused
                else add(tracked.index, overlay(tracked.depth_mm, tracked.hands))
            )
        )


@contextmanager
def _video(path, rate_hz):
    """Write a video; it is read again at the end, because OpenCV does not report frames that it
    could not write.
    """
    writer, size, frames = None, None, 0

    def add(index, image):
        nonlocal writer, size, frames
        if writer is None:
            size = image.shape
            writer = cv2.VideoWriter(
                name, cv2.VideoWriter_fourcc(*'mp4v'), rate_hz, (size[1], size[0])
            )
            if not writer.isOpened():
                raise ValueError(
                    f'this OpenCV ({cv2.__version__}) cannot write mp4 videos here: name a folder '
                    f'for PNGs instead'
                )
        if image.shape != size:  # OpenCV would silently drop it
            raise ValueError(
                f'image {index} is {image.shape[1]} x {image.shape[0]}, the ones before were '
                f'{size[1]} x '
                f'{size[0]}: a video has one size, name a folder for PNGs instead'
            )
        writer.write(image)
        frames += 1

    with ascii_path(path) as name, silent_opencv():
        try:
            yield add
        finally:
            if writer is not None:
                writer.release()
        if _frames_in(name) != frames:
            raise OSError(
                errno.EIO,
                'the video could not be written to its end: is the disk full, or the size of '
                'files limited?',
            )


def _frames_in(name):
    video, count = cv2.VideoCapture(name), 0
    try:
        while video.grab():
            count += 1
    finally:
        video.release()
    return count


@contextmanager
def _folder(path, _rate_hz):
    path.mkdir()
    yield lambda index, image: _write(path / f'{index:06d}.png', image)


@contextmanager
def _picture(path, _rate_hz):
    yield lambda _index, image: _write(path, image)


def _write(path, image):
    # reports the reason, unlike cv2.imwrite
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
