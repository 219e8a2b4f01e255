"""Palm detector: a small network that finds palms in the whole depth frame, run by OpenCV.

Its input is the frame at 160x128 pixels, so it costs about as much as one crop. For every cell of
4x4 pixels it predicts whether a palm's centre is there, its offset from the cell's centre and its
depth. Handedness is not predicted here (at this resolution accuracy was 50 %); the pose network
does that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.file_kinds import ONNX, describe_file
from awr_ros.opencv_log import silent_opencv
from awr_ros.weight_files import check_onnx, check_whole

DEFAULT_FINDER = Path(__file__).parents[1] / 'weights' / 'finder.onnx'
MIN_PALM_MM = 100.0  # minimum depth of a palm
COLUMNS, ROWS, CELL = 160, 128, 4  # [px] of the coarse frame, and of a cell
FAR_MM = 2450.0  # deeper counts as invalid
OUTPUTS = 4  # per cell: logit of a palm, u and v offset [cells], depth [m]
MAX_CANDIDATES = 8
MIN_SCORE = 0.05  # [0,1] minimum score of a candidate
NEIGHBOURS_MM = 90.0  # non-maximum suppression: least distance between candidates
PALM_RADIUS_MM = 32.0  # radius around a detection in which the palm's depth is measured
BELOW_SKIN_MM = 23.0  # depth of the palm's centre behind its surface
SAMPLES = 17  # most rows and columns of pixels sampled within that radius
MIN_SHARE = 0.2  # minimum share of these samples on one surface
# minimum gap between surfaces, absolute and as a share of their depth, since noise grows with depth
GAP_MM, GAP_SHARE = 25.0, 0.02
# tolerance between a surface and the network's depth, absolute and as a share; the larger counts
AGREES_MM, AGREES_SHARE = 60.0, 0.08


@dataclass(frozen=True)
class Candidate:
    """A possible hand position."""

    centre_xyz: np.ndarray  # (3,) float64 [mm] camera optical frame, about the palm's centre
    score: float  # [0,1] probability of a hand


def coarse_frame(depth_mm: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, float]:
    """Sample a frame to the input of the network.

    depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid. Return (3,128,160) float32: depth [m],
    0 invalid; validity; size of a pixel at that depth [cm]; and the step [px] of the sampling in
    the frame. The frame fills the upper left corner; the rest is invalid.
    """
    height, width = depth_mm.shape
    step = max(width / COLUMNS, height / ROWS)
    rows, columns = (
        np.arange(min(int(side / step + 1e-6), most))
        for side, most in ((height, ROWS), (width, COLUMNS))
    )
    seen = depth_mm[
        ((rows + 0.5) * step).astype(int)[:, None], ((columns + 0.5) * step).astype(int)
    ].astype(np.float32)
    seen = np.where((seen > 0) & (seen <= FAR_MM), seen, 0)  # and NaN to 0
    frame = np.zeros((3, ROWS, COLUMNS), np.float32)
    shown = frame[:, : len(rows), : len(columns)]
    shown[0] = seen / 1000
    shown[1] = seen > 0
    shown[2] = seen * (step / intrinsics.fx / 10)
    return frame, step


class PalmDetector:
    """Palm detector of the package, or one trained with training/palm_detector.py."""

    def __init__(self, path: str | Path = '') -> None:
        """path: ONNX file, '' for the package's. Raise FileNotFoundError or ValueError that names
        it.
        """
        path = Path(path or DEFAULT_FINDER)
        if not path.is_file():
            raise FileNotFoundError(f'no finder at {path}')
        check_whole(path)
        model = path.read_bytes()
        check_onnx(model, path, vouched=path.with_suffix('.sha256').is_file())
        self._network = _loaded(model, path)

    def find(
        self,
        depth_mm: np.ndarray,
        intrinsics: Intrinsics,
        min_depth_mm: float,
        max_depth_mm: float,
        min_score: float = MIN_SCORE,
    ) -> list[Candidate]:
        """Find candidates between two depths, the likeliest first, at most 8.

        depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid; min_score: [0,1] minimum score.
        """
        if depth_mm.shape != (intrinsics.height, intrinsics.width):
            raise ValueError(
                f'depth must be {(intrinsics.height, intrinsics.width)} as the intrinsics say, '
                f'got {depth_mm.shape}'
            )
        frame, step = coarse_frame(depth_mm, intrinsics)
        self._network.setInput(frame[None])
        output = self._network.forward()[0]  # (4,32,40)
        if output.shape != (OUTPUTS, ROWS // CELL, COLUMNS // CELL):
            raise ValueError(
                f'a finder must return {(OUTPUTS, ROWS // CELL, COLUMNS // CELL)} values a frame, '
                f'got {output.shape}'
            )
        candidates: list[Candidate] = []
        for score, row, column in _peaks(1 / (1 + np.exp(-output[0])), min_score):
            _, du, dv, z = output[:, row, column]
            u, v = ((np.array([column + du, row + dv]) + 0.5) * CELL * step) - 0.5
            z = palm_depth(depth_mm, intrinsics, u, v, 1000 * float(z))
            if not min_depth_mm <= z <= max_depth_mm:
                continue
            centre = intrinsics.uvd_to_xyz(np.array([u, v, z], np.float64))
            if all(
                np.linalg.norm(centre - other.centre_xyz) > NEIGHBOURS_MM for other in candidates
            ):
                candidates.append(Candidate(centre, float(score)))
        return candidates[:MAX_CANDIDATES]


def palm_depth(
    depth_mm: np.ndarray, intrinsics: Intrinsics, u: float, v: float, regressed_mm: float
) -> float:
    """Measure the depth [mm] of the centre of a palm that was detected at a pixel (u, v).

    The depth predicted by the network, regressed_mm, is unreliable where training had few hands or
    other noise. It only selects between surfaces around the pixel if it is near one of them;
    otherwise the nearest surface is the palm. Without any surface, as in a hole, regressed_mm is
    returned. depth_mm: (H,W) float32 or uint16 [mm], 0 or NaN invalid.
    """
    depth = max(regressed_mm, MIN_PALM_MM)
    for _ in range(2):  # the second time with the radius at the depth of the first
        surfaces = _surfaces(
            depth_mm,
            u,
            v,
            PALM_RADIUS_MM * intrinsics.fx / depth,
            PALM_RADIUS_MM * intrinsics.fy / depth,
        )
        if not surfaces:
            return regressed_mm
        middles = [surface + BELOW_SKIN_MM for surface in surfaces]
        likeliest = min(middles, key=lambda z: abs(z - regressed_mm))
        agrees = abs(likeliest - regressed_mm) <= max(AGREES_MM, AGREES_SHARE * regressed_mm)
        found = likeliest if agrees else middles[0]
        if abs(found - depth) < 0.15 * depth:
            break
        depth = found
    return found


def _surfaces(
    depth_mm: np.ndarray, u: float, v: float, radius_u: float, radius_v: float
) -> list[float]:
    """Return the depths [mm] of the surfaces around a pixel (medians of clusters), the nearest
    first.
    """
    height, width = depth_mm.shape
    rows, columns = (
        np.unique(np.linspace(middle - radius, middle + radius, SAMPLES).round().astype(int))
        for middle, radius in ((v, radius_v), (u, radius_u))
    )
    rows, columns = rows[(rows >= 0) & (rows < height)], columns[(columns >= 0) & (columns < width)]
    within = ((rows - v) / max(radius_v, 1))[:, None] ** 2 + (
        (columns - u) / max(radius_u, 1)
    ) ** 2 <= 1.1
    depths = depth_mm[rows[:, None], columns][within].astype(np.float32)
    min_score = max(3, MIN_SHARE * len(depths))
    depths = np.sort(depths[(depths > 0) & (depths <= FAR_MM)])  # NaN compares false
    if len(depths) < min_score:
        return []
    parts = np.split(
        depths, np.flatnonzero(np.diff(depths) > np.maximum(GAP_MM, GAP_SHARE * depths[:-1])) + 1
    )
    return [float(np.median(part)) for part in parts if len(part) >= min_score]


def _loaded(model: bytes, path: Path) -> cv2.dnn.Net:
    """Load the network from an ONNX file. Raise ValueError that names the path unless its output is
    that of a palm detector.
    """
    kind = describe_file(path)
    if kind not in ('', ONNX):  # OpenCV would print to the terminal
        raise ValueError(f'finder {path} cannot be read: it is {kind}')
    try:
        with silent_opencv():
            network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    except (cv2.error, SystemError) as error:
        raise ValueError(f'finder {path} cannot be read: {_reason(error)}') from error
    try:
        network.setInput(np.zeros((1, 3, ROWS, COLUMNS), np.float32))
        with silent_opencv():
            answer = network.forward()
    except cv2.error as error:
        raise ValueError(f'finder {path} is another network: {_reason(error)}') from error
    expected = 1, OUTPUTS, ROWS // CELL, COLUMNS // CELL
    if np.shape(answer) != expected:
        raise ValueError(
            f'finder {path} is another network: it must return {expected[1:]} values a frame, got '
            f'{np.shape(answer)[1:]}'
        )
    if not np.isfinite(answer).all():
        raise ValueError(
            f'finder {path} returns values that are not finite: its weights are damaged'
        )
    return network


def _reason(error: Exception) -> str:
    """Extract the line with the cause from a message of OpenCV."""
    text = ' '.join(str(getattr(error, 'err', '') or error).split())
    return text[:200] or type(error).__name__


def _peaks(scores: np.ndarray, min_score: float) -> Iterator[tuple[float, int, int]]:
    """Find local maxima (score, row, column), the highest first. scores: (R,C)."""
    highest = cv2.dilate(scores, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((scores >= highest) & (scores >= min_score))
    order = np.argsort(-scores[rows, columns], kind='stable')
    return zip(scores[rows, columns][order], rows[order], columns[order])
