#!/usr/bin/env python3
"""Measure the browser view in headless Chromium: images shown a second, and how late they are.

Serves the view, opens its page, and notes at each frame that the browser draws which image the page
shows. The latency is that from an image (rendered, or taken from the recording) to the frame in the
browser that shows its hands; both clocks are this machine's. `--screenshot FILE` writes a picture.
"""

import argparse
import threading
import time
from pathlib import Path

import numpy as np
import viser

from awr_ros.skeleton import JOINT_NAMES
from awr_ros.tracker import HandTracker
from awr_ros.viewer.chromium import Chromium
from awr_ros.viewer.command import run
from awr_ros.viewer.page import Page
from awr_ros.viewer.sources import NO_JOINT, Shown, recording_player, synthetic_player

WATCH = r"""
window.seen = []; window.frames = 0;
(() => { let last = ''; const tick = () => {
  window.frames += 1;
  const found = document.body.innerText.match(/image (\d+),/);
  if (found && found[1] !== last) { last = found[1]; window.seen.push([+last, Date.now() / 1000]); }
  requestAnimationFrame(tick); }; tick(); })(); 0
"""
CLOSE_NOTES = (
    "document.querySelectorAll('.mantine-Notification-closeButton').forEach(b => b.click())"
)


class TimedPage(Page):
    """A page that records the time of each image, and the duration of drawing."""

    taken_s: dict[int, float]
    draw_ms: list[float]

    def draw(self, shown: Shown) -> None:
        """Draw and record the times."""
        self.taken_s[shown.index] = shown.taken_s
        start_s = time.perf_counter()
        super().draw(shown)
        self.draw_ms.append(1e3 * (time.perf_counter() - start_s))


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', type=Path, nargs='?', help='recording (default: synthetic camera)')
    parser.add_argument('--intrinsics', help='for PNGs, as for the view')
    parser.add_argument(
        '--joint', default=NO_JOINT, choices=(NO_JOINT, *JOINT_NAMES), metavar='NAME'
    )
    parser.add_argument('--no-cloud', action='store_true', help='the point cloud is not shown')
    parser.add_argument('--seconds', type=float, default=20.0, help='default: %(default)s')
    parser.add_argument('--screenshot', type=Path, help='PNG or JPEG to write at the end')
    parser.add_argument('--size', default='1280x800', metavar='WxH', help='default: %(default)s')
    arguments = parser.parse_args()
    tracker = HandTracker.from_pretrained(num_threads=1)
    if arguments.input:
        source = recording_player(tracker, arguments.input, None, arguments.intrinsics, 300)
    else:
        source = synthetic_player(tracker, 2)
    server = viser.ViserServer('127.0.0.1', 0, label='awr_ros', verbose=False)
    page = TimedPage(server, source.config, source.length, joint=arguments.joint)
    page.taken_s, page.draw_ms = {}, []
    page.show['cloud'].value = not arguments.no_cloud
    ended = threading.Event()

    def play() -> None:
        while not ended.is_set():
            run(source, page, images=1)

    player = threading.Thread(target=play, daemon=True)
    player.start()
    with Chromium(*map(int, arguments.size.split('x'))) as browser:
        browser.open(f'http://127.0.0.1:{server.get_port()}')
        browser.wait_for('after the image')
        time.sleep(3)  # shaders are compiled
        browser.evaluate(CLOSE_NOTES)
        browser.evaluate(WATCH)
        drawn, start_s = len(page.draw_ms), time.monotonic()
        time.sleep(arguments.seconds)
        seen, frames = browser.evaluate('[window.seen, window.frames]')
        seconds, drawn = time.monotonic() - start_s, len(page.draw_ms) - drawn
        if arguments.screenshot:
            write(arguments.screenshot, browser.screenshot())
    late_ms = np.array(
        [1e3 * (s - page.taken_s[int(i)]) for i, s in seen if int(i) in page.taken_s]
    )
    draw_ms = np.array(page.draw_ms[-drawn:])
    print(
        f'served    {drawn / seconds:.1f} images a second, drawn in {np.median(draw_ms):.1f} ms '
        f'(median)'
    )
    print(f'browser   {frames / seconds:.1f} frames, {len(seen) / seconds:.1f} images a second')
    print(f'latency   p50 {np.median(late_ms):.0f} ms, p95 {np.percentile(late_ms, 95):.0f} ms')
    ended.set()
    player.join()
    server.stop()


def write(path: Path, png: bytes) -> None:
    """Write a screenshot; a JPEG is smaller."""
    if path.suffix == '.png':
        path.write_bytes(png)
        return
    import cv2

    from awr_ros.draw import write_picture

    write_picture(path, cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))


if __name__ == '__main__':
    main()
