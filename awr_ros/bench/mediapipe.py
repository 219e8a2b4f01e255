"""Comparison with MediaPipe's hand tracker, frame by frame in turns.

MediaPipe needs colour, so it gets the same frames as grey images, near is bright, on which it finds
the hand. It runs in another Python environment, because its dependencies conflict with ours; each
waits while the other works.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from awr_ros.bench.report import Report
from awr_ros.estimator import HandPoseEstimator
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker, TrackerConfig

FRAMES, WARM_UPS = 150, 15
FADE_MM = 280.0  # depth behind the nearest pixel at which grey becomes black
PROGRAM = """
import sys, time
import numpy as np
import mediapipe
hands = mediapipe.solutions.hands.Hands(
    max_num_hands=1, model_complexity=0, min_detection_confidence=0.1, min_tracking_confidence=0.1
)
frames = np.load(sys.argv[1])
print('version', mediapipe.__version__, flush=True)
for line in sys.stdin:
    cpu, wall = time.process_time(), time.perf_counter()
    found = hands.process(frames[int(line)]).multi_hand_landmarks
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print('took', 1e3 * cpu, 1e3 * wall, int(bool(found)), flush=True)
"""


def bench_mediapipe(report: Report, weights: str | Path | None, python: str = '') -> None:
    """Measure CPU and wall time of a frame with one hand. python: interpreter with MediaPipe, '':
    this one.
    """
    report.section(
        'Beside MediaPipe',
        f'One hand, 640 x 480, the whole call (`HandTracker.update`; `Hands.process`, '
        f'model_complexity=0) on {FRAMES} frames '
        'in turns, in two new processes that wait for one another; MediaPipe gets the frames as '
        'grey images. Medians.',
    )
    try:
        # In a process of its own, as MediaPipe is: here the engines that were measured before have
        # left their threads and memory.
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as alone:
            version, ours, theirs = alone.submit(
                _in_turns, weights, python or sys.executable
            ).result()
    except OSError as error:
        report.remark(
            f'MediaPipe is not here ({error}): nothing was measured. `make mediapipe` gets it.'
        )
        return
    row = report.table(('frame with one hand', 'CPU [ms]', 'wall [ms]', 'found'))
    for name, figures in (('awr_ros', ours), (f'MediaPipe {version}, lite', theirs)):
        cpu, wall, found = zip(*figures)
        row(name, statistics.median(cpu), statistics.median(wall), f'{sum(found) / len(found):.0%}')
    ratio = statistics.median(one[0] for one in ours) / statistics.median(one[0] for one in theirs)
    report.remark(f"CPU time of awr_ros: {ratio:.2f} times MediaPipe's.")


def grey(depth_mm: np.ndarray) -> np.ndarray:
    """Convert a depth frame (H,W) [mm] to grey (H,W,3) uint8: the nearest pixel white; FADE_MM
    behind it and invalid black.
    """
    depth_mm = depth_mm.astype(np.float32)
    valid = depth_mm > 0
    nearest = depth_mm[valid].min() if valid.any() else 0
    shade = np.where(valid, np.clip(1 - (depth_mm - nearest) / FADE_MM, 0, 1), 0)
    return np.repeat((255 * shade).astype(np.uint8)[..., None], 3, -1)


def _in_turns(weights, python):
    """Return the version, and (CPU ms, wall ms, found) of each frame after the warm-up, ours and
    theirs. Raise OSError if MediaPipe is missing.
    """
    camera = SyntheticCamera(num_hands=1)
    frames = [camera.frame(i / 30)[0] for i in range(FRAMES)]
    tracker = HandTracker(HandPoseEstimator.from_pretrained(weights), TrackerConfig(max_hands=1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'frames.npy'
        np.save(path, np.stack([grey(frame) for frame in frames]))
        with subprocess.Popen(
            [python, '-c', PROGRAM, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                version = _answer(process, 'version')[0]
                ours, theirs = [], []
                for i, frame in enumerate(frames):
                    cpu, wall = time.process_time(), time.perf_counter()
                    found = bool(tracker.update(frame, camera.intrinsics, i / 30))
                    ours.append(
                        (
                            1e3 * (time.process_time() - cpu),
                            1e3 * (time.perf_counter() - wall),
                            found,
                        )
                    )
                    print(i, file=process.stdin, flush=True)
                    theirs.append(tuple(map(float, _answer(process, 'took'))))
            finally:
                process.kill()
    return version, ours[WARM_UPS:], theirs[WARM_UPS:]


def _answer(process, word):
    """Return the words after a keyword in the output of MediaPipe's process, whose libraries print
    other lines too. Raise OSError if it ended.
    """
    for line in process.stdout:
        if line.startswith(word + ' '):
            return line.split()[1:]
    raise OSError(f'{process.args[0]} has no mediapipe that runs')
