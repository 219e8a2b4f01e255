"""Draw the moving picture of README.md: two tracked hands, seen by the camera and from the side.

python scripts/draw_tracking.py docs/tracking.webp
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from awr_ros.camera import Intrinsics
from awr_ros.draw import skeleton
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.synthetic.camera import DEFAULT_INTRINSICS, SyntheticCamera
from awr_ros.tracker import HandTracker, TrackedHand

POSTURES = ('spread', 'flat', 'point', 'pinch', 'ok', 'fist', 'thumb up', 'spread')
RATE_HZ, EVERY = 30.0, 2  # every second image is shown
SIZE = 360  # [px] height of both pictures, width of the side view
MAX_DEPTH_MM = 1000.0  # farther points are not drawn in the view from the side
PIVOT_MM = np.array([0.0, 60.0, 540.0])  # which the side view looks at
VIEW = Intrinsics(fx=300.0, fy=300.0, cx=SIZE / 2, cy=SIZE / 2, width=SIZE, height=SIZE)
VIEW_DISTANCE_MM = 560.0
BACKGROUND = (36, 30, 26)  # BGR
INDEX_TIP = JOINT_NAMES.index('index_tip')


def shaded(depth_mm: np.ndarray) -> np.ndarray:
    """Return a depth image (H,W) as a picture (H,W,3) uint8 BGR, near bright."""
    near = np.clip((1150 - depth_mm.astype(np.float32)) / 800, 0, 1)[..., None]
    colour = np.array(BACKGROUND) + near * (np.array([235, 215, 190]) - BACKGROUND)
    return np.where(depth_mm[..., None] > 0, colour, 16).astype(np.uint8)


def side_rotation(yaw_deg: float, pitch_deg: float = 18.0) -> np.ndarray:
    """Return the rotation (3,3) from the camera's frame to that of the side view."""
    yaw = cv2.Rodrigues(np.array([0, np.radians(yaw_deg), 0]))[0]
    return cv2.Rodrigues(np.array([np.radians(pitch_deg), 0, 0]))[0] @ yaw


def side_view(
    depth_mm: np.ndarray, hands: list[TrackedHand], intrinsics: Intrinsics, yaw_deg: float
) -> np.ndarray:
    """Return a picture (SIZE,SIZE,3) uint8 BGR of points and skeletons from another viewpoint."""
    rotation = side_rotation(yaw_deg)

    def project(xyz: np.ndarray) -> np.ndarray:
        return VIEW.xyz_to_uvd((np.asarray(xyz) - PIVOT_MM) @ rotation.T + [0, 0, VIEW_DISTANCE_MM])

    v, u = ((depth_mm > 0) & (depth_mm < MAX_DEPTH_MM)).nonzero()
    uvd = project(intrinsics.uvd_to_xyz(np.stack([u, v, depth_mm[v, u]], -1).astype(np.float32)))
    column, row = np.rint(uvd[:, :2]).astype(int).T
    inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
    order = np.flatnonzero(inside)[np.argsort(-uvd[inside, 2])]  # far ones first
    image = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    shade = np.clip((820 - uvd[order, 2]) / 560, 0.12, 1)[:, None]
    image[row[order], column[order]] = shade * np.array([170, 150, 130])
    for hand in hands:
        skeleton(image, project(hand.joints_xyz))
    return image


def text(image: np.ndarray, words: str, x: float, y: float, scale: float = 0.45) -> None:
    """Write one line into a picture."""
    cv2.putText(
        image,
        words,
        (int(x), int(y)),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (245, 235, 225),
        1,
        cv2.LINE_AA,
    )


def draw(seconds: float, seed: int) -> list[np.ndarray]:
    """Return the pictures (H,W,3) uint8 BGR of a tracked sequence."""
    camera = SyntheticCamera(num_hands=2, seed=seed, postures=POSTURES)
    tracker = HandTracker.from_pretrained(device='cpu')
    width = SIZE * DEFAULT_INTRINSICS.width // DEFAULT_INTRINSICS.height
    pictures = []
    for i in range(int(seconds * RATE_HZ)):
        stamp_s = i / RATE_HZ
        depth_mm, _ = camera.frame(stamp_s)
        hands = tracker.update(depth_mm, camera.intrinsics, stamp_s)
        if i % EVERY:
            continue
        image = shaded(depth_mm)
        for hand in hands:
            skeleton(image, hand.joints_uvd)
        image = cv2.resize(image, (width, SIZE), interpolation=cv2.INTER_AREA)
        picture = np.hstack(
            [image, side_view(depth_mm, hands, camera.intrinsics, 55 + 15 * np.sin(0.8 * stamp_s))]
        )
        for line, hand in enumerate(sorted(hands, key=lambda hand: hand.side)):
            x, y, z = hand.joints_xyz[INDEX_TIP] / 1000
            text(
                picture,
                f'{hand.side:5s} index tip  {x:+.2f} {y:+.2f} {z:+.2f} m',
                width + 12,
                22 + 20 * line,
            )
        text(picture, 'depth image', 12, 22)
        pictures.append(picture)
    return pictures


def main() -> None:
    """Write the picture named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('output', type=Path, help='.webp to write')
    parser.add_argument(
        '--seconds', type=float, default=6.0, help='length of the sequence (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=5, help='seed of the camera (default: %(default)s)'
    )
    parser.add_argument(
        '--quality', type=int, default=50, help='of the WebP (default: %(default)s)'
    )
    arguments = parser.parse_args()
    first, *others = (
        Image.fromarray(picture[..., ::-1]) for picture in draw(arguments.seconds, arguments.seed)
    )
    first.save(
        arguments.output,
        save_all=True,
        append_images=others,
        duration=round(1000 * EVERY / RATE_HZ),
        loop=0,
        quality=arguments.quality,
        method=4,
    )
    print(f'wrote {arguments.output}, {arguments.output.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
