"""Overlay pictures: depth in grey, hands as coloured skeletons, the truth in white."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from awr_ros.files import write_bytes
from awr_ros.skeleton import BONES

# BGR colours of thumb, index, middle, ring, pinky.
FINGER_COLOURS = ((60, 60, 255), (40, 170, 255), (80, 230, 80), (255, 170, 60), (255, 90, 230))
TRUTH_COLOUR = (255, 255, 255)


def grey(depth_mm: npt.ArrayLike, span_mm: tuple[float, float] | None = None) -> np.ndarray:
    """Render depth as a picture, near bright, invalid black. depth_mm: (H,W). Return (H,W,3) uint8.

    span_mm: (near, far) of the grey scale; default: the range in the image.
    """
    depth = np.nan_to_num(np.asarray(depth_mm, np.float32), posinf=0, neginf=0)
    valid = depth > 0
    if valid.any():
        low, high = np.percentile(depth[valid], (1, 99)) if span_mm is None else span_mm
        shade = 230 - 190 * np.clip((depth - low) / max(high - low, 1), 0, 1)
        depth = np.where(valid, shade, 0)
    return cv2.cvtColor(depth.astype(np.uint8), cv2.COLOR_GRAY2BGR)


def skeleton(
    image: np.ndarray,
    joints_uvd: npt.ArrayLike,
    colours: Sequence[tuple[int, int, int]] = FINGER_COLOURS,
    thickness: int = 2,
) -> None:
    """Draw one hand's bones into image (H,W,3) uint8. joints_uvd: (21,3) [px]; NaN joints are left
    out.
    """
    points = np.asarray(joints_uvd, float)[:, :2]
    for parent, child in BONES:
        if np.isfinite(points[[parent, child]]).all():
            a, b = (tuple(int(round(c * 8)) for c in points[j]) for j in (parent, child))
            cv2.line(image, a, b, colours[(child - 1) // 4], thickness, cv2.LINE_AA, shift=3)
    for j, point in enumerate(points):
        if np.isfinite(point).all():
            cv2.circle(
                image,
                tuple(int(round(c * 8)) for c in point),
                8 * (thickness + 1),
                colours[max(j - 1, 0) // 4],
                -1,
                cv2.LINE_AA,
                shift=3,
            )


def overlay(depth_mm: npt.ArrayLike, hands: Iterable[Any], truth: Iterable[Any] = ()) -> np.ndarray:
    """Draw hands on a frame. depth_mm: (H,W) [mm]; hands, truth: objects with joints_uvd (21,3),
    hands also with id, side and score. Return (H,W,3) uint8 BGR.
    """
    image = grey(depth_mm)
    for hand in truth:
        skeleton(image, hand.joints_uvd, (TRUTH_COLOUR,) * 5, 1)
    for hand in hands:
        skeleton(image, hand.joints_uvd)
        wrist = hand.joints_uvd[0, :2]
        if np.isfinite(wrist).all():
            cv2.putText(
                image,
                f'{hand.id} {hand.side} {hand.score:.2f}',
                (int(wrist[0]) - 30, int(wrist[1]) + 18),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                (80, 255, 255),
                1,
                cv2.LINE_AA,
            )
    return image


def write_picture(path: str | Path, image: np.ndarray) -> None:
    """Write a picture atomically. image: (H,W,3) uint8, BGR. Raise ValueError for a suffix that is
    not of a picture.

    cv2.imwrite is not used because it does not report a full disk.
    """
    try:
        data = cv2.imencode(Path(path).suffix, image)[1]
    except cv2.error as error:
        raise ValueError(
            f'cannot draw {path}: expected a name that ends in .png or .jpg'
        ) from error
    write_bytes(path, data.tobytes())
