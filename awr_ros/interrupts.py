"""Orderly end of a program after a signal or with closed standard streams: one line, nothing half
written.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)
)
# [s] for which further signals are ignored, while the program cleans up
PATIENCE_S = 10.0

REPEAT_S = 0.05  # until a signal that fell into code without a caller is sent again


class Stopped(KeyboardInterrupt):
    """A signal that ends the program, raised in the main thread."""

    def __init__(self, number: int) -> None:
        super().__init__(f'stopped by {signal.Signals(number).name}')
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGHUP raise Stopped, unless they are ignored (nohup). Only in the
    main thread; no effect in others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process, raised_s = os.getpid(), -PATIENCE_S

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal raised_s
        # a worker process: its parent gets the signal too, and ends it by a second one
        if os.getpid() != process:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
            return
        if time.monotonic() - raised_s >= PATIENCE_S:
            raised_s = time.monotonic()
            raise Stopped(number)

    def repeat(ignored: 'sys.UnraisableHookArgs') -> None:
        """Send a signal again whose exception Python dropped, as in a `__del__`."""
        nonlocal raised_s
        if not isinstance(ignored.exc_value, Stopped):
            return report(ignored)
        raised_s = -PATIENCE_S
        again = threading.Timer(REPEAT_S, os.kill, (process, ignored.exc_value.number))
        again.daemon = True
        again.start()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stop)
    report, sys.unraisablehook = sys.unraisablehook, repeat
    try:
        yield
    finally:
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def open_standard_streams() -> None:
    """Open the descriptors 0 to 2: otherwise a file with one of these numbers would receive what
    libraries print.

    Names with bytes that are not text are printed with escapes.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    if sys.stderr is None:  # print(file=None) writes to the standard output
        sys.stderr = open(os.devnull, 'w', encoding='utf-8')
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')


def end(status: int) -> None:
    """End the process: flush buffers, and after a signal end by that signal, as shells expect.

    status: 128 + its number after a signal, else the exit status.
    """
    for number in SIGNALS:  # nothing is left to clean up
        signal.signal(number, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            if stream is sys.stdout and not status:
                print(
                    f'awr: the standard output cannot be written: {error.strerror}', file=sys.stderr
                )
            status = status or 1
            # otherwise the interpreter flushes again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if status - 128 in SIGNALS:
        from multiprocessing import active_children

        for child in active_children():
            child.terminate()
        os.kill(os.getpid(), status - 128)
    sys.exit(status)
