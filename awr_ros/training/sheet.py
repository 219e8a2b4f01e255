"""Contact sheets: crops as the network sees them, with true and predicted joints."""
from pathlib import Path

import cv2
import numpy as np

from awr_ros.draw import TRUTH_COLOUR, grey, skeleton

TILE = 192          # [px]


def crop_sheet(path, batch, joints_pred=None, notes=None, columns=8):
    """Write a PNG of crops. batch: CropBatch; joints_pred: (B,21,3) uvdn, drawn in colour over the truth in white; without
    it the truth is in colour. notes: a word for each tile."""
    tiles = []
    for i in range(len(batch.depth)):
        depth = batch.depth[i, 0].numpy()
        # nearest -1 .. background +1 as millimetres behind an arbitrary camera, with background invalid
        image = grey(np.where(depth < 0.99, 1000 + 500 * depth, 0), (500, 1500))
        image = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
        if batch.hand[i]:
            if joints_pred is None:
                skeleton(image, _pixels(batch.joints_uvdn[i]), thickness=1)
            else:
                skeleton(image, _pixels(batch.joints_uvdn[i]), (TRUTH_COLOUR,) * 5, 1)
                skeleton(image, _pixels(joints_pred[i]), thickness=1)
        if notes:
            cv2.putText(image, notes[i], (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (80, 255, 255), 1, cv2.LINE_AA)
        tiles.append(image)
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    sheet = np.vstack([np.hstack(tiles[i:i + columns]) for i in range(0, len(tiles), columns)])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet):
        raise ValueError(f'cannot write a picture to {path}')


def _pixels(uvdn):
    return (np.asarray(uvdn) + 1) / 2 * TILE - 0.5
