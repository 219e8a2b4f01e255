"""The log of OpenCV and its libraries."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Suppress the lines that OpenCV prints for what it cannot read or write, often one a frame.

    Their reasons are in the errors that it raises, or are found by reading the result back.
    """
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    logging = getattr(cv2.utils, 'logging', None)
    if logging is None:  # OpenCV built without it
        yield
        return
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
