"""One engine for several callers: who is read with whom, who waits for whom, and whose error is
whose.
"""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.runtime.readout import EngineConfig, Predictions
from awr_ros.runtime.select import load_engine
from awr_ros.runtime.shared_engine import BatchedEngine, SharedEngines, fair_shares
from awr_ros.skeleton import JOINT_NAMES, palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker

SIZE, PATIENCE_S = 4, 20
BAD = -9.0  # a crop of these makes the engine raise


class GatedEngine:
    """Says of a crop what its first pixel is, and raises over BAD. `gate` holds passes up while it
    is cleared; `passes` are the first pixels of each pass.
    """

    description, max_batch = 'gated', 8
    config = EngineConfig(JOINT_NAMES, SIZE, 280.0)

    def __init__(self):
        self.passes, self.gate, self.began = [], threading.Event(), threading.Semaphore(0)
        self.inside, self.max_inside = 0, 0
        self.gate.set()

    def predict(self, crops):
        self.inside += 1
        self.max_inside = max(self.max_inside, self.inside)
        values = crops[:, 0, 0, 0]
        self.passes.append(values.tolist())
        self.began.release()
        assert self.gate.wait(PATIENCE_S)
        self.inside -= 1
        if BAD in values:
            raise RuntimeError('bad crop')
        joints = np.broadcast_to(values[:, None, None], (len(values), 21, 3))
        return Predictions(joints, joints[..., 0], values, values)


def crops(*values):
    return np.broadcast_to(
        np.float32(values)[:, None, None, None], (len(values), 1, SIZE, SIZE)
    ).copy()


class Callers:
    """Threads that read from one engine while its first pass is held up, one after the other."""

    def __init__(self):
        self.engine = GatedEngine()
        self.batched = BatchedEngine(self.engine)
        self.threads = ThreadPoolExecutor(16)
        self.answers = []

    def read(self, *values):
        """Start a read and return its future, once it waits for the pass that is running."""
        queued = len(self.batched._waiting)
        future = self.threads.submit(self.batched.predict, crops(*values))
        self.answers.append(future)
        deadline = threading.Event()
        while len(self.batched._waiting) == queued and not future.done():
            assert not deadline.wait(0.001)
        return future

    def hold(self, *values):
        self.engine.gate.clear()
        future = self.read(*values)
        assert self.engine.began.acquire(timeout=PATIENCE_S)
        return future

    def go_on(self):
        self.engine.gate.set()
        for future in self.answers:
            future.exception(PATIENCE_S)


@pytest.fixture
def callers():
    callers = Callers()
    yield callers
    callers.engine.gate.set()
    callers.threads.shutdown()


def numbers(future):
    return future.result(PATIENCE_S).hand_scores.tolist()


@pytest.mark.parametrize(
    'wanted, most, shares',
    [
        ([3], 8, [3]),
        ([16], 8, [8]),
        ([1, 1, 1], 8, [1, 1, 1]),
        ([16, 1, 2], 8, [5, 1, 2]),
        ([5, 5], 8, [4, 4]),
        ([5, 5, 5], 8, [3, 3, 2]),
        ([1] * 10, 8, [1] * 8 + [0, 0]),
        ([], 8, []),
    ],
)
def test_shares_are_fair(wanted, most, shares):
    assert fair_shares(wanted, most) == shares


def test_one_alone_is_read_at_once_and_in_one_pass(callers):
    assert callers.batched.predict(crops(1, 2, 3)).hand_scores.tolist() == [1, 2, 3]
    assert callers.engine.passes == [[1, 2, 3]] and callers.batched._waiting == []
    assert callers.batched.description == 'gated, shared by the cameras of this process'


def test_who_waits_is_read_together_and_gets_their_own(callers):
    first = callers.hold(1)
    others = [callers.read(2, 3), callers.read(4), callers.read(5, 6)]
    callers.go_on()
    assert callers.engine.passes == [[1], [2, 3, 4, 5, 6]]
    assert [numbers(future) for future in (first, *others)] == [[1], [2, 3], [4], [5, 6]]
    assert others[0].result().joints_uvdn.shape == (2, 21, 3)
    assert callers.engine.max_inside == 1


def test_a_long_search_does_not_delay_a_single_hand(callers):
    callers.hold(1)
    search, single = callers.read(*range(10, 26)), callers.read(2)
    callers.go_on()
    # the next pass has it, the rest of the search follows
    assert callers.engine.passes[1] == [10, 11, 12, 13, 14, 15, 16, 2]
    assert callers.engine.passes[2:] == [[17, 18, 19, 20, 21, 22, 23, 24], [25]]
    assert numbers(search) == list(range(10, 26)) and numbers(single) == [2]


def test_of_more_callers_than_a_pass_holds_none_is_forgotten(callers):
    callers.hold(0)
    waiting = [callers.read(10 * i, 10 * i + 1) for i in range(1, 11)]
    callers.go_on()
    assert callers.engine.passes[1] == [10 * i for i in range(1, 9)]
    assert [numbers(future) for future in waiting] == [[10 * i, 10 * i + 1] for i in range(1, 11)]
    assert sum(map(len, callers.engine.passes)) == 21


def test_an_error_reaches_only_the_caller_whose_crops_raise_it(callers):
    callers.hold(1)
    good, bad, other = callers.read(2), callers.read(3, BAD), callers.read(4)
    callers.go_on()
    assert numbers(good) == [2] and numbers(other) == [4]
    with pytest.raises(RuntimeError, match='bad crop'):
        bad.result(PATIENCE_S)
    # and nothing is left over of it
    assert callers.batched.predict(crops(5)).hand_scores.tolist() == [5]


def test_wrong_crops_are_refused_before_they_wait(callers):
    callers.hold(1)
    for wrong in (crops(2)[0], crops(2).astype(np.float64), crops(2)[:0]):
        with pytest.raises(ValueError, match='crops must be'):
            callers.batched.predict(wrong)
    callers.go_on()
    assert callers.engine.passes == [[1]]


def test_a_caller_that_is_interrupted_leaves_the_others_to_the_next(callers):
    class Interrupted(BaseException):
        pass

    usual, begun = callers.engine.predict, callers.hold(1)
    waiting = [callers.read(2), callers.read(3)]

    def interrupted(read):
        callers.engine.predict = usual
        raise Interrupted

    callers.engine.predict = interrupted  # of the pass after the one that runs
    callers.go_on()
    assert numbers(begun) == [1]
    ended = [future.exception(PATIENCE_S) for future in waiting]
    assert sorted(type(error).__name__ for error in ended) == ['Interrupted', 'NoneType']
    assert callers.batched._waiting == [] and callers.batched.predict(
        crops(7)
    ).hand_scores.tolist() == [7]


def test_many_threads_get_what_they_asked_for():
    engine = GatedEngine()
    batched, rng = BatchedEngine(engine), np.random.default_rng(0)
    wanted = [[rng.integers(1, 1000, rng.integers(1, 13)) for _ in range(40)] for _ in range(6)]

    def camera(reads):
        return all(
            batched.predict(crops(*values)).hand_scores.tolist() == values.tolist()
            for values in reads
        )

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(camera, wanted))
    assert engine.max_inside == 1 and max(map(len, engine.passes)) <= 8
    assert sum(map(len, engine.passes)) == sum(len(values) for reads in wanted for values in reads)


def test_trackers_that_share_an_engine_track_as_alone():
    engine = load_engine(engine='torch', device='cpu', num_threads=1)
    cameras = [SyntheticCamera(num_hands=1, seed=seed) for seed in (1, 2)]
    frames = [[camera.frame(i / 30)[0] for i in range(4)] for camera in cameras]

    def track(used, camera, depths):
        tracker = HandTracker(HandPoseEstimator(used))
        return [tracker.update(depth, camera.intrinsics, i / 30) for i, depth in enumerate(depths)]

    alone = [track(engine, camera, depths) for camera, depths in zip(cameras, frames)]
    shared = BatchedEngine(engine)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(track, (shared, shared), cameras, frames))
    assert all(hands for hands in alone[0][1:] + alone[1][1:])
    for one, other in zip(alone, together):
        for hands, same in zip(one, other):
            assert [hand.id for hand in hands] == [hand.id for hand in same]
            for hand, it in zip(hands, same):
                np.testing.assert_allclose(hand.joints_xyz, it.joints_xyz, atol=0.05)


def test_a_crop_without_a_number_spoils_nobody_elses():
    batched = BatchedEngine(load_engine(engine='torch', device='cpu', num_threads=1))
    estimator, camera = HandPoseEstimator(batched), SyntheticCamera(num_hands=1)
    depth, (hand,) = camera.frame(0.0)
    request = Request(palm_centre(hand.joints_xyz), hand.side)
    (expected,) = estimator.estimate_batch(depth, camera.intrinsics, [request])
    nan = np.full((1, 1, 128, 128), np.nan, np.float32)
    usual, mixed = batched._engine.predict, []

    def with_nan(crops):
        mixed.append(len(crops))
        return usual(np.concatenate([nan, crops]))[1:]

    batched._engine.predict = with_nan
    (got,) = estimator.estimate_batch(depth, camera.intrinsics, [request])
    assert mixed == [1]
    np.testing.assert_allclose(got.joints_xyz, expected.joints_xyz, atol=0.05)


def test_an_engine_is_shared_by_those_that_want_the_same_and_freed_with_the_last(tmp_path):
    loaded = []

    def load(*wanted):
        loaded.append(wanted)
        return GatedEngine()

    engines, weights = SharedEngines(load), tmp_path / 'weights.pt'
    weights.write_bytes(b'old')
    one, same = engines.load(weights, device='cpu'), engines.load(str(weights), device='cpu')
    other = engines.load(None, device='cpu')
    assert (
        one is same
        and one is not other
        and loaded == [(weights, 'auto', 'cpu', None), (None, 'auto', 'cpu', None)]
    )
    weights.write_bytes(b'newer')
    assert engines.load(weights, device='cpu') is not one  # the file is another one
    gone = weakref.ref(one._engine)
    del one
    assert gone() is not None
    del same
    gc.collect()
    assert gone() is None
    engines.load(None, device='cpu')
    assert len(loaded) == 3


def test_a_load_that_fails_is_tried_again_by_the_next(tmp_path):
    def load(*_):
        raise FileNotFoundError('no weights at')

    engines = SharedEngines(load)
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match='no weights'):
            engines.load(tmp_path / 'gone.pt')
    engines._load = lambda *_: GatedEngine()
    assert engines.load(tmp_path / 'gone.pt').description.startswith('gated')


def test_a_slow_load_delays_nobody_who_wants_another_engine():
    gate, begun = threading.Event(), threading.Event()

    def load(weights, *_):
        if weights == 'slow':
            begun.set()
            assert gate.wait(PATIENCE_S)
        return GatedEngine()

    engines = SharedEngines(load)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(engines.load, 'slow')
        assert begun.wait(PATIENCE_S)
        engines.load('quick')
        assert not slow.done()
        gate.set()
