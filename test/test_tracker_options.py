"""What the tracker can be asked to do differently: take places of hands from others, smooth what it
reports.
"""

import numpy as np
import pytest
from test_tracker import K, Scene, ids, palm

import awr_ros.tracker
from awr_ros.tracker import HandTracker, TrackerConfig

EXTERNAL = TrackerConfig(finder='external')


def test_hands_are_looked_for_only_where_others_say(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    tracker = HandTracker(scene, EXTERNAL)
    assert tracker.update(None, K, 0.0) == [] and scene.requests == []
    assert tracker.update(None, K, 0.1, [(0, 300, 900)]) == []  # there is none
    assert ids([tracker.update(None, K, 0.2, [(140, 20, 510)])]) == [['0']]
    # followed without further help
    frames = [tracker.update(None, K, 0.3 + i / 30) for i in range(5)]
    assert ids(frames) == [['0']] * 5
    frames = [
        tracker.update(None, K, 0.5 + i / 30, np.array([[150.0, 0, 500], [-160.0, 0, 490]]))
        for i in range(5)
    ]
    assert ids(frames)[-1] == ['0', '1']
    np.testing.assert_allclose(palm(frames[-1][1]), scene.palms[1 - 1], atol=0.01)


def test_others_are_not_listened_to_when_the_finder_is_ours(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.candidates = []
    assert HandTracker(scene).update(None, K, 0.0, [(0, 0, 500)]) == []


def test_a_finder_of_ones_own_is_read_at_the_start_and_asked(monkeypatch, tmp_path):
    scene, read = Scene(monkeypatch, (0, 0, 500)), []
    monkeypatch.setattr(awr_ros.tracker, 'PalmDetector', lambda *path: read.append(path) or scene)
    tracker = HandTracker(scene, TrackerConfig(finder_weights='mine.onnx'))
    assert read == [('mine.onnx',)]
    assert ids([tracker.update(None, K, 0.0)]) == [['0']] and len(read) == 1
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match='no finder at .*absent.onnx'):
        HandTracker(scene, TrackerConfig(finder_weights=str(tmp_path / 'absent.onnx')))
    monkeypatch.setattr(awr_ros.finders.palm_detector, 'DEFAULT_FINDER', tmp_path / 'lost.onnx')
    with pytest.raises(FileNotFoundError, match='no finder at .*lost.onnx'):
        HandTracker(scene)
    HandTracker(scene, TrackerConfig(finder='nearest'))  # needs none


def test_a_finder_is_handed_in_and_other_finder_weights_are_loaded_or_refused(monkeypatch):
    scene, read = Scene(monkeypatch, (0, 0, 500)), []
    monkeypatch.setattr(awr_ros.tracker, 'PalmDetector', lambda *path: read.append(path) or scene)
    tracker = HandTracker(scene, finder=scene)
    assert ids([tracker.update(None, K, 0.0)]) == [['0']] and read == []
    with pytest.raises(ValueError, match="finder_weights is 'mine.onnx', but .* finder of its own"):
        tracker.config = TrackerConfig(finder_weights='mine.onnx')
    assert tracker.config.finder_weights == ''
    tracker = HandTracker(scene, TrackerConfig(finder='nearest'))
    tracker.config = TrackerConfig(finder_weights='mine.onnx')
    tracker.config = TrackerConfig(finder_weights='mine.onnx', max_hands=1)
    assert read == [('mine.onnx',)]
    tracker.config = TrackerConfig(finder='nearest', finder_weights='others.onnx')
    tracker.config = TrackerConfig(finder_weights='others.onnx')
    assert ids([tracker.update(None, K, 0.0)]) == [['0']] and read[1:] == [('others.onnx',)]


def noisy(scene, tracker, frames, still=(0, 0, 500), noise_mm=2.0, speed_mm_s=0.0):
    """Measured and reported joints (frames,21,3) of one hand whose palm trembles, and what was
    asked for.
    """
    rng = np.random.default_rng(0)
    measured, reported = [], []
    for i in range(frames):
        scene.palms[0] = np.array(still) + [speed_mm_s * i / 30, 0, 0] + rng.normal(0, noise_mm, 3)
        (hand,) = tracker.update(None, K, i / 30)
        measured.append(scene.look(scene.requests[-1][0]).joints_xyz)
        reported.append(hand.joints_xyz)
        np.testing.assert_allclose(hand.joints_uvd, K.xyz_to_uvd(hand.joints_xyz), atol=1e-2)
    return np.array(measured), np.array(reported)


def tremble(joints):
    return np.diff(joints[20:], axis=0).std()


def test_smoothing_steadies_what_is_reported_and_not_what_is_followed(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    measured, reported = noisy(scene, HandTracker(scene, TrackerConfig(smoothing=True)), 90)
    assert tremble(reported) < 0.5 * tremble(measured)
    plain = Scene(monkeypatch, (0, 0, 500))
    measured, reported = noisy(plain, HandTracker(plain), 90)
    np.testing.assert_array_equal(reported, measured)
    asked, asked_plain = (
        [request.centre_xyz for requests in s.requests for request in requests]
        for s in (scene, plain)
    )
    np.testing.assert_array_equal(asked, asked_plain)


def test_a_moving_hand_is_reported_less_than_a_frame_late(monkeypatch):
    scene = Scene(monkeypatch, (-300, 0, 500))
    measured, reported = noisy(
        scene, HandTracker(scene, TrackerConfig(smoothing=True)), 60, (-300, 0, 500), 0.0, 300.0
    )
    late_s = (measured - reported)[30:, :, 0].mean() / 300
    assert 0 < late_s < 1 / 30


def test_a_coasting_hand_stays_where_it_was_shown_and_a_changed_side_starts_afresh(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene, TrackerConfig(smoothing=True, coast_s=0.5))
    _, reported = noisy(scene, tracker, 30, noise_mm=4.0)
    scene.hidden.add(0)
    for i in range(3):
        (hand,) = tracker.update(None, K, 1.0 + i / 30)
        assert hand.state == 'coasting'
        np.testing.assert_array_equal(hand.joints_xyz, reported[-1])
    scene.hidden.clear()
    scene.sides[0], scene.lead = 'left', 0.2
    scene.palms[0] = np.array([20.0, 0, 500])
    for i in range(30):
        (hand,) = tracker.update(None, K, 1.1 + i / 30)
        if hand.side == 'left':
            break
        scene.palms[0] += [3.0, 0, 0]
    assert hand.side == 'left'
    np.testing.assert_allclose(palm(hand), scene.palms[0], atol=0.01)


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(finder='magic'), "'magic'"),
        (dict(smoothing_min_cutoff_hz=0.0), 'got 0.0'),
        (dict(smoothing_beta=-1.0), '-1.0'),
    ],
)
def test_impossible_options_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        TrackerConfig(**changes)
