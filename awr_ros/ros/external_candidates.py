"""Hand candidates from external detectors: points on ~/centre and, if vision_msgs is installed,
boxes on ~/boxes.

They are used with `finder: external`. No transform is looked up: candidates must be in the frame of
the depth image.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.node import Node

from awr_ros.camera import Intrinsics

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:  # optional
    Detection2DArray = None

from awr_ros.crop import MIN_CENTRE_MM
from awr_ros.messages.depth_image import shown
from awr_ros.ros.adaptive_subscription import AdaptiveSubscription
from awr_ros.ros.conversions import MM_PER_M

# [s] lifetime of a candidate after its arrival; stamps are not compared, clocks may differ
KEEP_S = 0.5
SAME_CANDIDATE_MM = 100.0  # a newer point nearer than this to an older one replaces it
MAX_CANDIDATES = 8
PALM_DEPTH_MM = 10.0  # depth of the palm's centre behind its surface
FARTHEST_MM = 20_000.0  # limit of a candidate on each axis, beyond the range of depth cameras
HAND_THICKNESS_MM = 100.0  # depth range of a hand behind the nearest part of a box


@dataclass(frozen=True)
class ExternalCandidate:
    """A point, or a box in the image, with its frame."""

    frame_id: str
    arrived_s: float  # monotonic clock
    point_mm: tuple[float, float, float] | None = None  # [mm]
    # (u, v, width, height) [px, undistorted], u and v of its centre
    box_px: tuple[float, float, float, float] | None = None


class ExternalCandidates:
    """Subscriptions to candidates, and those that are recent. Callbacks and queries may come from
    different threads.
    """

    def __init__(self, node: Node) -> None:
        self._started_s = self._last_s = time.monotonic()
        self._points, self._boxes = (), ()
        # one point per hand
        self._inputs = [AdaptiveSubscription(node, PointStamped, '~/centre', depth=MAX_CANDIDATES)]
        self._inputs[0].registerCallback(self._on_point)
        if Detection2DArray is not None:
            self._inputs.append(AdaptiveSubscription(node, Detection2DArray, '~/boxes'))
            self._inputs[1].registerCallback(self._on_boxes)

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._inputs:
            subscription.destroy()

    def _on_point(self, msg):
        self._last_s = time.monotonic()
        if not np.isfinite(
            (msg.point.x, msg.point.y, msg.point.z)
        ).all():  # a detector without a detection
            return
        point = ExternalCandidate(
            msg.header.frame_id,
            self._last_s,
            point_mm=tuple(MM_PER_M * v for v in (msg.point.x, msg.point.y, msg.point.z)),
        )
        distinct = [
            p for p in self._points if math.dist(p.point_mm, point.point_mm) > SAME_CANDIDATE_MM
        ]
        self._points = (point, *distinct[: MAX_CANDIDATES - 1])

    def _on_boxes(self, msg):
        self._last_s = time.monotonic()
        self._boxes = tuple(
            ExternalCandidate(
                msg.header.frame_id,
                self._last_s,
                box_px=(
                    d.bbox.center.position.x,
                    d.bbox.center.position.y,
                    d.bbox.size_x,
                    d.bbox.size_y,
                ),
            )
            for d in msg.detections[:MAX_CANDIDATES]
        )

    def note(self, frame_id: str, now: float) -> str:
        """Return what is wrong with the candidates for images of frame_id, or ''."""
        fresh = self._fresh(now)
        foreign = sorted({candidate.frame_id for candidate in fresh} - {frame_id})
        if foreign:
            return (
                f'finder is external, but candidates are in frame {shown(foreign[0])} and the '
                f'image is in {shown(frame_id)}: '
                'they are left out, transform them before'
            )
        out_of_sight = [
            candidate.point_mm
            for candidate in fresh
            if candidate.point_mm and not in_sight(candidate.point_mm)
        ]
        if out_of_sight:
            x, y, z = (v / MM_PER_M for v in out_of_sight[0])
            return (
                f'finder is external, but a candidate is at ({x:.3g}, {y:.3g}, {z:.3g}) m, where '
                f'the camera sees no hand: it is '
                'left out; expected are metres in the optical frame, z forward'
            )
        if not fresh and now - self._last_s > KEEP_S:
            topics = ' and '.join(f'{s.topic} ({s.describe_publishers()})' for s in self._inputs)
            silent_s = now - self._last_s
            return f'finder is external, but no candidate came for {silent_s:.0f} s on {topics}'
        return ''

    def centres(
        self, frame_id: str, depth_mm: np.ndarray, intrinsics: Intrinsics, now: float
    ) -> np.ndarray:
        """Return the recent candidates in frame_id: (n,3) float64 [mm] camera optical frame.

        depth_mm: (H,W) [mm], 0 invalid: for the depth of boxes.
        """
        candidates = [candidate for candidate in self._fresh(now) if candidate.frame_id == frame_id]
        found: list = [
            candidate.point_mm
            if candidate.point_mm
            else centre_of_box(candidate.box_px, depth_mm, intrinsics)
            for candidate in candidates
        ]
        found = [centre for centre in found if centre is not None and in_sight(centre)]
        return np.array(found, np.float64).reshape(-1, 3)

    def _fresh(self, now):
        return [
            candidate
            for candidate in (*self._points, *self._boxes)
            if now - candidate.arrived_s <= KEEP_S
        ]


def in_sight(point_mm: Sequence[float]) -> bool:
    """Whether a camera could see a hand at (x, y, z) [mm], camera optical frame; False for NaN."""
    return bool(np.all(np.abs(point_mm) <= FARTHEST_MM)) and point_mm[2] >= MIN_CENTRE_MM


def centre_of_box(
    box_px: Sequence[float], depth_mm: np.ndarray, intrinsics: Intrinsics
) -> np.ndarray | None:
    """Return the approximate palm centre of the hand in a box, None without depth in its inner
    half.

    box_px: (u, v, width, height) [px], u and v of its centre; depth_mm: (H,W) [mm], 0 invalid.
    Return (3,) float64 [mm] camera optical frame.
    """
    u, v, width, height = box_px
    if not np.isfinite(box_px).all():
        return None
    inner = depth_mm[
        _pixels(v, height / 4, len(depth_mm)), _pixels(u, width / 4, depth_mm.shape[1])
    ]
    inner = inner[inner > 0].astype(np.float64)
    if not inner.size:
        return None
    near = np.percentile(inner, 5)
    depth = np.median(inner[inner <= near + HAND_THICKNESS_MM]) + PALM_DEPTH_MM
    return intrinsics.uvd_to_xyz(np.array([u, v, depth]))


def _pixels(middle, half, size):
    """Return the slice of the pixels of an axis of `size` pixels within `half` of `middle` [px]."""
    first, last = np.clip([middle - half, middle + half], -1.0, size)
    return slice(max(round(first), 0), max(round(last) + 1, 0))
