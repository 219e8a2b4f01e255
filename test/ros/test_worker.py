"""One slot, the newest wins."""

import threading

from awr_ros.ros.worker import NewestWorker


def test_newest_wins_and_the_rest_is_counted():
    started, gate, done = threading.Event(), threading.Event(), threading.Event()
    handled = []

    def handle(item, dropped):
        handled.append((item, dropped))
        started.set()
        assert gate.wait(10)
        if item == 4:
            done.set()

    worker = NewestWorker(handle, 'test')
    worker.put(1)
    assert started.wait(10)
    for item in (2, 3, 4):
        worker.put(item)
    gate.set()
    assert done.wait(10)
    worker.stop()
    assert handled == [(1, 0), (4, 2)]


def test_stop_finishes_the_work_and_forgets_what_waits():
    started, gate = threading.Event(), threading.Event()
    handled = []

    def handle(item, dropped):
        started.set()
        assert gate.wait(10)
        handled.append(item)

    worker = NewestWorker(handle, 'test')
    worker.put(1)
    assert started.wait(10)
    worker.put(2)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    gate.set()
    stopper.join(10)
    assert not stopper.is_alive() and handled == [1]
