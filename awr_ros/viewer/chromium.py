"""Headless Chromium by its DevTools protocol: for tests, measurements and screenshots of the
view.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome')
PATIENCE_S = 60.0
OPTIONS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-dev-shm-usage',
    '--use-gl=angle',  # WebGL without a graphics card
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--hide-scrollbars',
    '--remote-debugging-port=0',
    '--no-first-run',
    '--disable-background-networking',
)


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, None without one (Debian: apt install chromium)."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Chromium:
    """One page of a new browser process, a context manager."""

    def __init__(self, width: int = 1280, height: int = 800):
        """Raise FileNotFoundError if no Chromium is installed."""
        program = find_chromium()
        if program is None:
            raise FileNotFoundError('no chromium is installed (Debian: apt install chromium)')
        self._folder = tempfile.mkdtemp(prefix='awr_chromium_')
        self._process = subprocess.Popen(
            [
                program,
                *OPTIONS,
                f'--user-data-dir={self._folder}',
                f'--window-size={width},{height}',
                'about:blank',
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._count = 0
        try:
            self._socket = self._connect()
            size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
            self.call('Emulation.setDeviceMetricsOverride', **size)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> 'Chromium':
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> Any:
        from websockets.sync.client import connect

        file = Path(self._folder, 'DevToolsActivePort')
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s and self._process.poll() is None:
            if file.exists() and file.read_text().strip():
                port = file.read_text().splitlines()[0]
                with urllib.request.urlopen(f'http://127.0.0.1:{port}/json') as answer:
                    pages = [page for page in json.load(answer) if page['type'] == 'page']
                if pages:
                    return connect(pages[0]['webSocketDebuggerUrl'], max_size=None)
            time.sleep(0.1)
        raise RuntimeError('chromium did not start')

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raise RuntimeError with the error of the browser."""
        self._count += 1
        self._socket.send(json.dumps({'id': self._count, 'method': method, 'params': parameters}))
        while True:  # events come in between
            answer = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if answer.get('id') == self._count:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]["message"]}')
                return answer['result']

    def open(self, url: str) -> None:
        """Load a page."""
        self.call('Page.navigate', url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited."""
        answer = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        if 'exceptionDetails' in answer:
            details = answer['exceptionDetails']
            raise RuntimeError(details.get('exception', {}).get('description', details['text']))
        return answer['result'].get('value')

    def text(self) -> str:
        """Return the visible text of the page."""
        return self.evaluate('document.body ? document.body.innerText : ""')

    def wait_for(self, text: str, seconds: float = PATIENCE_S) -> str:
        """Wait until the page shows a text; return all of it. Raise TimeoutError."""
        end_s = time.monotonic() + seconds
        while text not in (shown := self.text()):
            if time.monotonic() > end_s:
                raise TimeoutError(f'no {text!r} on the page in {seconds:g} s, but {shown!r}')
            time.sleep(0.1)
        return shown

    def screenshot(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])
