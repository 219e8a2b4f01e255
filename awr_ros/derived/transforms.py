"""Rigid transforms between named frames: the tree of /tf and /tf_static."""

import math
from collections.abc import Sequence

import numpy as np

MAX_DEPTH = 100  # frames from a leaf to the root; more mean a cycle


def rigid(translation: Sequence[float], quaternion: Sequence[float]) -> np.ndarray:
    """Return the transform (4,4) of a translation (3,) and a quaternion x, y, z, w of any length
    but 0.

    Raise ValueError for numbers that are not a transform.
    """
    shift, q = np.asarray(translation, np.float64), np.asarray(quaternion, np.float64)
    norm = float(np.linalg.norm(q))
    if (
        shift.shape != (3,)
        or q.shape != (4,)
        or not np.isfinite([*shift, norm]).all()
        or norm < 1e-6
    ):
        raise ValueError(f'no rigid transform: translation {shift.tolist()}, rotation {q.tolist()}')
    x, y, z, w = q / norm
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = shift
    return matrix


def inverse(transform: np.ndarray) -> np.ndarray:
    """Invert a rigid transform (4,4)."""
    result = np.eye(4)
    result[:3, :3] = transform[:3, :3].T
    result[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return result


class TransformTree:
    """The newest transform of every frame to its parent."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, np.ndarray]] = {}

    def set(self, parent: str, child: str, parent_from_child: np.ndarray) -> None:
        """Set the pose of a frame in its parent, (4,4)."""
        if child != parent:
            self._parents[child] = parent, parent_from_child

    def lookup(self, target: str, source: str) -> np.ndarray | None:
        """Return target_from_source (4,4), None when nothing connects the two."""
        if target == source:
            return np.eye(4)
        below = dict(self._up(source))  # frame: frame_from_source
        for frame, frame_from_target in self._up(target):
            if frame in below:
                return inverse(frame_from_target) @ below[frame]
        return None

    def _up(self, frame: str) -> list[tuple[str, np.ndarray]]:
        """(ancestor, ancestor_from_frame) of a frame and all its ancestors."""
        path, transform = [(frame, np.eye(4))], np.eye(4)
        while frame in self._parents and len(path) < MAX_DEPTH:
            frame, parent_from_child = self._parents[frame]
            transform = parent_from_child @ transform
            path.append((frame, transform))
        return path


def parse_extrinsics(text: str) -> dict[str, np.ndarray]:
    """Parse extrinsics: `FRAME x y z qx qy qz qw`, several separated by `;`.

    x, y, z [m] and the quaternion are the pose of FRAME in the common frame, in the order of
    `static_transform_publisher`. Return {frame: common_from_frame (4,4) [m]}. Raise ValueError that
    names the part that cannot be read.
    """
    transforms = {}
    for part in filter(None, (part.split() for part in text.split(';'))):
        try:
            numbers = [float(number) for number in part[1:]]
            if len(numbers) != 7 or not all(map(math.isfinite, numbers)):
                raise ValueError
            transforms[part[0]] = rigid(numbers[:3], numbers[3:])
        except ValueError as error:
            raise ValueError(
                f"extrinsics '{' '.join(part)}': expected FRAME x y z qx qy qz qw [m]"
            ) from error
    return transforms
