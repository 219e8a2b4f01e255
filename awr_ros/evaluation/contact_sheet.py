"""Contact sheets of crops and of whole scenes, with true and predicted joints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from awr_ros.crop import BACKGROUND_FROM
from awr_ros.draw import TRUTH_COLOUR, grey, skeleton, write_picture
from awr_ros.synthetic.crop_batch import CropBatch

TILE = 192  # [px]
SCENE_TILE = 320, 240


def crop_sheet(
    path: str | Path,
    batch: CropBatch,
    joints_pred: torch.Tensor | None = None,
    notes: Sequence[str] | None = None,
    columns: int = 8,
) -> None:
    """Write a PNG of crops. batch: CropBatch; joints_pred: (B,21,3) uvdn, drawn in colour over the
    truth in white; without it the truth is in colour. notes: a word for each tile.
    """
    tiles = []
    for i in range(len(batch.depth)):
        depth = batch.depth[i, 0].numpy()
        # nearest -1 .. background +1 as millimetres behind an arbitrary camera, with background
        # invalid
        image = grey(np.where(depth < BACKGROUND_FROM, 1000 + 500 * depth, 0), (500, 1500))
        image = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
        if batch.hand[i]:
            if joints_pred is None:
                skeleton(image, _pixels(batch.joints_uvdn[i]), thickness=1)
            else:
                skeleton(image, _pixels(batch.joints_uvdn[i]), (TRUTH_COLOUR,) * 5, 1)
                skeleton(image, _pixels(joints_pred[i]), thickness=1)
        if notes:
            cv2.putText(
                image,
                notes[i],
                (4, 14),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.42,
                (80, 255, 255),
                1,
                cv2.LINE_AA,
            )
        tiles.append(image)
    _write(path, tiles, columns)


def scene_sheet(
    path: str | Path, count: int, seed: int, tracker: Any, looks: int = 6, columns: int = 4
) -> None:
    """Write a picture of rendered scenes with hands: tracked hands after some frames in colour, the
    truth in white.

    tracker: awr_ros.tracker.HandTracker, reset before every scene.
    """
    from awr_ros.synthetic.scenes import SceneSource  # imported here: not needed for crops

    source = SceneSource(seed)
    tiles: list[np.ndarray] = []
    while len(tiles) < count:
        scene = source.draw(frames=looks)
        if not scene.hands:
            continue
        tracker.reset()
        for look, depth_mm in enumerate(scene.frames):
            hands = tracker.update(depth_mm, scene.intrinsics, look / 30)
        image = grey(scene.depth_mm.astype(np.float32), (200, 2400))
        scale = SCENE_TILE[0] / image.shape[1]
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for truth in scene.hands:
            skeleton(image, truth.joints_uvd[:, :2] * scale, (TRUTH_COLOUR,) * 5, 1)
        for hand in hands:
            skeleton(image, hand.joints_uvd[:, :2] * scale, thickness=1)
        tile = np.zeros((SCENE_TILE[1], SCENE_TILE[0], 3), np.uint8)
        image = image[: SCENE_TILE[1]]
        tile[: len(image)] = image
        tiles.append(tile)
    _write(path, tiles, columns)


def _write(path, tiles, columns):
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    write_picture(path, sheet)


def _pixels(uvdn):
    return (np.asarray(uvdn) + 1) / 2 * TILE - 0.5
