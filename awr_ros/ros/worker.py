"""A worker thread with one slot: the newest item wins, older ones are dropped and counted, nothing
queues.
"""

import threading
from collections.abc import Callable
from typing import Any


class NewestWorker:
    """Call handle(item, dropped) in a thread for the newest item.

    `dropped` is the number of items replaced by newer ones so far. `handle` must not raise.
    """

    def __init__(self, handle: Callable, name: str) -> None:
        self._handle = handle
        self._changed = threading.Condition()
        self._waiting = None
        self._stopping = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """Replace the waiting item. Never blocks."""
        with self._changed:
            self._dropped += self._waiting is not None
            self._waiting = item
            self._changed.notify()

    def stop(self) -> None:
        """Finish the current item, discard the waiting one, end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting is not None)
                if self._stopping:
                    return
                item, self._waiting = self._waiting, None
                dropped = self._dropped
            self._handle(item, dropped)
