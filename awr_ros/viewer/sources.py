"""Sources of images and hands for the view: objects with the attributes of `Source`."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.tracker_config import TrackerConfig

RATE_HZ = 30.0
NO_JOINT = 'off'  # value for no field


@dataclass(frozen=True)
class Shown:
    """One image and its tracked hands."""

    depth_mm: np.ndarray  # (H,W) [mm]
    intrinsics: Intrinsics
    hands: tuple[Any, ...]  # TrackedHands
    track_ms: float  # [ms] duration of tracking
    index: int  # of the image
    taken_s: float  # time.time() at which the image was taken, or arrived


class Source(Protocol):
    """Interface of what the view plays."""

    length: int | None  # images of a recording, None: endless
    index: int  # of the last image, -1 before the first
    rate_hz: float  # rate of playing

    @property
    def config(self) -> TrackerConfig:
        """Settings of the tracker."""

    def configure(self, config: TrackerConfig) -> None:
        """Use other settings from the next image on."""

    def step(self) -> Shown | None:
        """Return the next image, None while there is no new one."""

    def show(self, index: int) -> Shown:
        """Return an image of a recording by its index."""

    def close(self) -> None:
        """Release everything."""


class Player:
    """Track images one by one, forwards, and store the hands for going back.

    load(index) returns (depth_mm, intrinsics, stamp_s); length: of a recording, None: endless.
    """

    def __init__(
        self,
        load: Callable[[int], tuple[np.ndarray, Intrinsics, float]],
        tracker: Any,
        length: int | None = None,
        rate_hz: float = RATE_HZ,
    ):
        self._load, self.tracker, self.length, self.rate_hz = load, tracker, length, rate_hz
        self._hands: dict[int, tuple[tuple[Any, ...], float]] = {}  # of a recording
        self.index = -1

    @property
    def config(self) -> TrackerConfig:
        """Settings of the tracker."""
        return self.tracker.config

    def configure(self, config: TrackerConfig) -> None:
        """Track with other settings from the next image on."""
        self.tracker.config = config

    def step(self) -> Shown:
        """Return the next image; after the last one of a recording the first, with the tracker
        reset.
        """
        if self.length is not None and self.index + 1 >= self.length:
            self.index = -1
        return self.show(self.index + 1)

    def show(self, index: int) -> Shown:
        """Return an image; with its stored hands if it was tracked before."""
        depth_mm, intrinsics, stamp_s = self._load(index)
        taken_s = time.time()
        if index in self._hands and index != self.index + 1:
            hands, track_ms = self._hands[index]
        else:
            start_s = time.perf_counter()
            hands = tuple(self.tracker.update(depth_mm, intrinsics, stamp_s))
            track_ms = 1e3 * (time.perf_counter() - start_s)
        if self.length is not None:
            self._hands[index] = hands, track_ms
        self.index = index
        return Shown(depth_mm, intrinsics, hands, track_ms, index, taken_s)

    def close(self) -> None:
        """Do nothing: nothing was started."""


def synthetic_player(tracker: Any, num_hands: int) -> Player:
    """Play the synthetic camera, endlessly."""
    from awr_ros.synthetic.camera import SyntheticCamera

    camera = SyntheticCamera(num_hands=num_hands)

    def load(index: int) -> tuple[np.ndarray, Intrinsics, float]:
        return camera.frame(index / RATE_HZ)[0], camera.intrinsics, index / RATE_HZ

    return Player(load, tracker)


def recording_player(
    tracker: Any, path: Path, topic: str | None, intrinsics: str | None, images: int
) -> Player:
    """Play the first images of a bag, a folder of PNGs or a PNG, kept in memory.

    Images that cannot be used are left out. Raises OSError or ValueError that say why there is
    none.
    """
    from awr_ros.messages.depth_image import BadInputError
    from awr_ros.offline.track import Recording, opened

    frames, refused = [], ''
    with opened(Recording(path, topic, intrinsics=intrinsics)) as opened_images:
        for frame in itertools.islice(opened_images, images):
            try:
                frames.append((*frame.load(), frame.time_s))
            except BadInputError as error:
                refused = str(error)
        rate_hz = opened_images.rate_hz
    if not frames:
        raise ValueError(f'{path} has no images that can be used{refused and ": "}{refused}')
    return Player(frames.__getitem__, tracker, len(frames), rate_hz)
