"""Demo of the whole path in some seconds: synthetic camera and tracker as two processes over DDS,
measured by a third.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.ros.measure.monitor import nanoseconds
from awr_ros.ros.measure.session import Result, Session, exit_on_endings

PICTURE_S = 10.0  # [s] timeout
# Limits of a good result.
MIN_FOUND, MAX_ERROR_MM, MAX_ID_CHANGES, MAX_LATENCY_MS, MAX_LOST = 0.95, 9.0, 0, 60.0, 0


@dataclass(frozen=True)
class DrawnHand:
    """Hand for awr_ros.draw.overlay."""

    id: str
    side: str
    score: float
    joints_uvd: np.ndarray  # (21,3) [px, px, mm]


def drawn_hands(message: Any) -> list[DrawnHand]:
    """Return the hands of a HandArray of the synthetic camera."""
    from awr_ros.ros.conversions import SIDES, joints_from_hand
    from awr_ros.synthetic.camera import DEFAULT_INTRINSICS

    names = {number: name for name, number in SIDES.items()}
    return [
        DrawnHand(
            hand.id,
            names[hand.side],
            hand.score,
            DEFAULT_INTRINSICS.xyz_to_uvd(joints_from_hand(hand)),
        )
        for hand in message.hands
    ]


def report(result: Result) -> bool:
    """Print the result; return whether it is good enough."""
    latency = result.latencies_ms if result.latencies_ms.size else np.array([np.inf])
    error = result.errors_mm.mean() if result.errors_mm.size else np.inf
    p50, p99 = np.percentile(latency, [50, 99])
    print(
        f'images    published {result.published}, received {result.received}, processed '
        f'{result.processed}, '
        f'dropped {result.dropped}, lost {result.lost}'
    )
    print(f'rate      {result.processed / max(result.seconds, 1e-9):.1f} Hz')
    print(
        f'latency   p50 {p50:.1f} ms, p99 {p99:.1f} ms, from the stamp of the image to the '
        f'arrival of its hands'
    )
    print(f'found     {result.found:.1%} of the hands')
    print(f'error     {error:.1f} mm mean over joints and images')
    print(f'ids       changed {result.id_changes} times')
    checks = (
        (f'hands found in >= {MIN_FOUND:.0%}', result.found >= MIN_FOUND),
        (f'mean joint error <= {MAX_ERROR_MM:g} mm', error <= MAX_ERROR_MM),
        (f'id changes <= {MAX_ID_CHANGES}', result.id_changes <= MAX_ID_CHANGES),
        (f'latency p99 <= {MAX_LATENCY_MS:g} ms', p99 <= MAX_LATENCY_MS),
        (f'lost <= {MAX_LOST}', result.lost <= MAX_LOST),
    )
    for text, good in checks:
        print(f'{"ok    " if good else "FAILED"}    {text}')
    return all(good for _, good in checks)


def picture(session: Session, path: str | Path) -> bool:
    """Write one image with the tracked and the true skeleton; return whether there was one."""
    from sensor_msgs.msg import Image

    from awr_ros.draw import overlay, write_picture
    from awr_ros.ros.adaptive_subscription import AdaptiveSubscription
    from awr_ros.ros.conversions import depth_from_image

    monitor = session.monitor
    record = monitor.recording
    images = AdaptiveSubscription(monitor.node, Image, 'depth/image')
    images.registerCallback(lambda m: record.images.update({nanoseconds(m.header): m}))

    def complete():
        monitor.read()
        return [
            s
            for s in record.images
            if s in record.truth and s in record.hands and record.hands[s][0].hands
        ]

    if not monitor.spin_until(complete, PICTURE_S, session.processes):
        return False
    stamp = complete()[-1]
    drawn = overlay(
        depth_from_image(record.images[stamp]),
        drawn_hands(record.hands[stamp][0]),
        drawn_hands(record.truth[stamp]),
    )
    write_picture(path, drawn)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=10.0, help='how long to measure [s]')
    parser.add_argument('--num-hands', type=int, default=1, choices=(1, 2))
    parser.add_argument('--output', type=Path, default=Path('demo'), help='folder for overlay.png')
    options = parser.parse_args(arguments)
    exit_on_endings()
    with Session(
        (f'num_hands:={options.num_hands}', 'best_effort:=true'),
        (f'max_hands:={options.num_hands}',),
    ) as session:
        result, _ = session.measure(options.seconds, progress_bar)
        good = report(result)
        path = options.output / 'overlay.png'
        if picture(session, path):
            print(f'picture   {path.resolve()}')
        else:
            print('FAILED    no image with a hand to draw')
            good = False
        print('the demo worked' if good else 'the demo did NOT work')
        print("in a browser: pip install '.[view]', then python -m awr_ros view")
        return 0 if good else 1


def progress_bar(text: str, seconds: float) -> Callable:
    """Return a function that shows progress: a growing line on a terminal, one line in a log."""
    interactive = sys.stdout.isatty()
    last = [None]

    def show(left_s):
        done = int(seconds - left_s)
        if done == last[0]:
            return
        if interactive:
            print(
                f'\r{text} {done:3d}/{seconds:.0f} s',
                end='' if done + 1 < seconds else '\n',
                flush=True,
            )
        elif last[0] is None:
            print(f'{text} {seconds:.0f} s ...', flush=True)
        last[0] = done

    return show


if __name__ == '__main__':
    sys.exit(main())
