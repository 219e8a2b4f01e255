"""From frames to identified hands, by an estimator that knows a scene."""

import math
from dataclasses import replace

import numpy as np
import pytest

import awr_ros.tracker
from awr_ros.camera import Intrinsics
from awr_ros.derived.hand_size import bone_lengths
from awr_ros.detector import DEFAULT_DETECTION_WEIGHTS, detection_score
from awr_ros.estimator import HandPose, Request
from awr_ros.finders.palm_detector import Candidate
from awr_ros.networks.checkpoint import load_checkpoint
from awr_ros.runtime.readout import EngineConfig
from awr_ros.skeleton import JOINT_NAMES, palm_centre
from awr_ros.tracker import HandTracker, TrackerConfig

K = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)
SHAPE = np.zeros((21, 3))
SHAPE[:, :2] = np.random.default_rng(0).uniform(-60, 60, (21, 2))
SHAPE -= palm_centre(SHAPE)


def palm(hand):
    return palm_centre(hand.joints_xyz.astype(float))


class Scene:
    """Hands as palms (3,) with the side they look like; found by requests within 100 mm, scored as
    given. For the other side, their joint scores are lower by `lead`.
    """

    def __init__(self, monkeypatch, *palms):
        self.palms = [np.array(p, float) for p in palms]
        self.sides, self.scores, self.hidden, self.requests = (
            ['right'] * len(palms),
            [0.99] * len(palms),
            set(),
            [],
        )
        self.lead, self.joint_score, self.candidates = 0.03, 0.8, None
        self.surer = None  # mean joint score of what several starts lead to; None: nothing
        self.description, self.config = 'a scene', EngineConfig(JOINT_NAMES, 128, 280.0)
        monkeypatch.setattr(awr_ros.tracker, 'PalmDetector', lambda path='': self)

    def find(self, depth_mm, intrinsics, min_depth_mm, max_depth_mm, min_score):
        centres = self.candidates
        if centres is None:
            centres = [p + 20 for i, p in enumerate(self.palms) if i not in self.hidden]
        return [Candidate(np.array(centre, float), 0.9) for centre in centres]

    def estimate_batch(self, depth_mm, intrinsics, requests):
        self.requests.append(requests)
        return [self.look(r) for r in requests]

    def estimate(self, depth_mm, intrinsics, centre_xyz, side):
        self.requests.append(['several starts'])
        return self.surer and replace(
            self.look(Request(centre_xyz, side)), joint_scores=np.full(21, self.surer, np.float32)
        )

    def look(self, request):
        near = [
            (np.linalg.norm(p - request.centre_xyz), i)
            for i, p in enumerate(self.palms)
            if i not in self.hidden
        ]
        distance, i = min(near, default=(1e9, None))
        if distance > 100:
            return None
        joints = SHAPE + self.palms[i]
        sure = np.full(
            21, self.joint_score - self.lead * (request.side != self.sides[i]), np.float32
        )
        return HandPose(
            joints.astype(np.float32),
            K.xyz_to_uvd(joints).astype(np.float32),
            sure,
            self.scores[i],
            request.side,
            (0, 0, 10, 10),
        )


def run(tracker, steps, start=0.0, each=lambda i: None):
    """Frames at 30 Hz; `each` changes the scene before frame i. Returns the hands of
    every frame.
    """
    frames = []
    for i in range(steps):
        each(i)
        frames.append(tracker.update(None, K, start + i / 30))
    return frames


def ids(frames):
    return [[hand.id for hand in hands] for hands in frames]


def test_hands_keep_their_ids_while_they_move(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    tracker = HandTracker(scene)

    def move(i):
        scene.palms[0] += [6, 1, 2]  # 0.2 m/s
        scene.palms[1] += [0, -8, 3]

    frames = run(tracker, 20, each=move)
    assert ids(frames) == [['0', '1']] * 20
    assert [hand.state for hand in frames[0]] == ['new', 'new'] and all(
        hand.state == 'ok' for hand in frames[1]
    )
    for hand, expected in zip(frames[-1], scene.palms):
        np.testing.assert_allclose(palm(hand), expected, atol=0.01)
    assert len({hand.id for hand in frames[-1]}) == 2 and frames[-1][0].score == pytest.approx(
        0.99 * 0.8
    )


def test_a_fast_hand_is_looked_for_where_it_is_going(monkeypatch):
    scene = Scene(monkeypatch, (-300, 0, 600))
    tracker = HandTracker(scene)

    def move(i):
        scene.palms[0] += [min(i, 4) * 20.0, 0, 0]  # up to 80 mm a frame: 2.4 m/s

    frames = run(tracker, 10, each=move)
    assert ids(frames) == [['0']] * 10
    followed = [r[0].centre_xyz for r in scene.requests if len(r) == 1][-1]
    np.testing.assert_allclose(followed, scene.palms[0], atol=1)


def test_a_hidden_hand_coasts_and_then_is_lost(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene, TrackerConfig(coast_s=0.2))
    frames = run(tracker, 15, each=lambda i: scene.hidden.add(0) if i == 5 else None)
    states = [[hand.state for hand in hands] for hands in frames]
    assert states[:5] == [['new'], *[['ok']] * 4]
    assert states[5:10] == [['coasting']] * 5  # last seen at 4/30 s
    np.testing.assert_array_equal(frames[9][0].joints_xyz, frames[4][0].joints_xyz)
    assert states[11:] == [[]] * 4


def test_a_hand_that_comes_back_in_time_keeps_its_id_and_later_gets_a_new_one(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)

    def blink(i):
        scene.hidden = {0} if i in (5, 6, 7) or 12 <= i < 25 else set()

    frames = run(tracker, 30, each=blink)
    assert ids(frames[:12]) == [['0']] * 12 and frames[8][0].state == 'ok'
    assert ids(frames[26:]) == [['1']] * 4


@pytest.mark.parametrize('jump, missed, max_hands', [(150, 0, 1), (150, 0, 2), (250, 1, 1)])
def test_a_hand_that_was_too_fast_is_found_again_as_the_same(monkeypatch, jump, missed, max_hands):
    """It may have moved at 3 m/s meanwhile; the first jump takes one frame at that, the second
    two.
    """
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene, TrackerConfig(max_hands=max_hands))

    def leap(i):
        scene.palms[0][0] += jump * (i == 5)

    frames = run(tracker, 12, each=leap)
    assert ids(frames) == [['0']] * 12
    states = [hand.state for (hand,) in frames[5:]]
    assert states == ['coasting'] * missed + ['ok'] * (7 - missed)
    np.testing.assert_allclose(palm(frames[-1][0]), scene.palms[0], atol=0.01)


def test_a_lost_hand_is_not_found_in_one_of_the_other_side_elsewhere(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500), (250, 0, 500))
    scene.sides, scene.lead, scene.hidden = ['right', 'left'], 0.2, {1}
    tracker = HandTracker(scene)
    run(tracker, 10)
    scene.hidden = {0}
    frames = run(tracker, 12, start=10 / 30)
    assert [hand.id for hand in frames[-1]] == ['1'] and frames[-1][0].side == 'left'
    assert any([hand.state for hand in hands][0] == 'coasting' for hands in frames[:4])


def test_a_lost_hand_is_not_found_in_what_is_hardly_one(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500), (150, 0, 500))
    scene.hidden = {1}
    tracker = HandTracker(scene, TrackerConfig(max_hands=1))
    run(tracker, 5)
    scene.hidden, scene.joint_score = {0}, 0.5
    frames = run(tracker, 12, start=5 / 30)
    assert [hand.state for hand in frames[2]] == ['coasting'] and frames[-1] == []


def test_a_low_hand_score_counts_as_not_seen(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    assert run(tracker, 1, start=1.0)[0][0].state == 'new'
    scene.scores[0] = 0.4  # above the 0.3 that ends it
    assert run(tracker, 1, start=1.1)[0][0].state == 'ok'
    scene.scores[0] = 0.2
    assert run(tracker, 1, start=1.2)[0][0].state == 'coasting'


def test_beside_a_hand_a_second_one_must_score_higher(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    scene.scores = [0.99, 0.4]
    config = TrackerConfig(
        score_threshold=0.5,
        beside_threshold=float(
            detection_score(DEFAULT_DETECTION_WEIGHTS, 0.9, 0.7, scene.joint_score)
        ),
    )
    tracker = HandTracker(scene, config)
    assert ids(run(tracker, 12))[-1] == ['0']
    scene.hidden = {0}
    assert ids(run(tracker, 12, start=1.0))[-1] == ['1']  # alone it will do
    scene.hidden = set()
    assert ids(run(HandTracker(scene, TrackerConfig(beside_threshold=0.5)), 12))[-1] == ['0', '1']


BY_HAND_SCORE = (0.0, 1.0, 0.0, 0.0)  # weights with which the detection score is the hand score


@pytest.mark.parametrize(
    'scores, started',
    [
        ((0.97,), 0),  # sure at once
        ((0.92, 0.92), 1),
        ((0.87, 0.87, 0.87), 2),
        ((0.8, 0.9, 0.93), 2),
        ((0.95, 0.5, 0.5, 0.5, 0.5), None),  # one look that errs
        ((0.95, 0.1, 0.95, 0.1, 0.95, 0.1), None),
        ((0.84,) * 6, None),
        ((0.5, 0.6, 0.9, 0.9, 0.9), 4),  # the mean is that of the last three looks
    ],
)
def test_a_doubtful_hand_is_looked_at_again_before_it_is_reported(monkeypatch, scores, started):
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.config = replace(scene.config, detection_weights=BY_HAND_SCORE)

    def look(i):
        scene.scores[0] = scores[i]
        scene.palms[0] += [20, 0, 0]

    frames = run(HandTracker(scene, TrackerConfig(score_threshold=0.85)), len(scores), each=look)
    assert [bool(hands) for hands in frames] == [
        started is not None and i >= started for i in range(len(scores))
    ]


def test_scores_of_two_places_are_not_of_one_hand(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.config = replace(scene.config, detection_weights=BY_HAND_SCORE)
    scene.scores = [0.87]

    def jump(i):
        scene.palms[0] = np.array([300.0 * (i % 2), 0, 500])

    assert not any(run(HandTracker(scene), 8, each=jump))


def test_what_was_seen_before_the_searches_stopped_does_not_count(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    scene.config = replace(scene.config, detection_weights=BY_HAND_SCORE)
    scene.scores, scene.hidden = [0.99, 0.93], {1}
    two = TrackerConfig(max_hands=2, search_every=5, beside_threshold=0.9)
    tracker = HandTracker(scene, two)

    def change(i):
        if i == 6:
            scene.hidden.clear()  # searched, and seen, in frame 9
        elif i in (10, 20):
            tracker.config = replace(two, max_hands=1) if i == 10 else two

    counts = [len(hands) for hands in run(tracker, 30, each=change)]
    assert counts == [1] * 26 + [2] * 4  # searched in frames 24, 25 and 26


def test_a_doubtful_second_hand_is_not_kept_waiting_for_the_next_search(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    scene.config = replace(scene.config, detection_weights=BY_HAND_SCORE)
    scene.scores, scene.hidden = [0.99, 0.93], {1}
    config = TrackerConfig(search_every=5, beside_threshold=0.9)

    def appear(i):
        if i == 6:
            scene.hidden.clear()

    counts = [len(hands) for hands in run(HandTracker(scene, config), 15, each=appear)]
    assert counts == [1] * 11 + [2] * 4  # searched in frame 9, then in 10 and 11


def test_two_tracks_on_one_hand_become_the_older_one(monkeypatch):
    scene = Scene(monkeypatch, (-100, 0, 500), (100, 0, 500))
    tracker = HandTracker(scene)
    assert ids(run(tracker, 2)) == [['0', '1']] * 2

    def meet(i):
        scene.palms[1] = scene.palms[0] + [max(200 - 25 * i, 20.0), 0, 0]

    assert ids(run(tracker, 18, start=0.1, each=meet))[-1] == ['0']


def test_a_hand_that_passes_before_a_hidden_one_keeps_its_id(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500), (-210, 0, 460))
    tracker = HandTracker(scene, TrackerConfig(coast_s=0.5))
    assert ids(run(tracker, 2)) == [['0', '1']] * 2

    def pass_by(i):
        scene.palms[1] = np.array([-210 + 14.0 * i, 0, 460])
        scene.hidden = {0} if abs(scene.palms[1][0]) < 70 else set()

    frames = run(tracker, 30, start=0.1, each=pass_by)
    moving = [
        min(hands, key=lambda hand: np.linalg.norm(palm(hand) - [-210 + 14 * i, 0, 460])).id
        for i, hands in enumerate(frames)
    ]
    assert moving == ['1'] * 30


def test_candidates_on_a_known_hand_start_no_second_track(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    # the last is seen as the same hand
    scene.candidates = [(0, 0, 500), (30, 0, 500), (0, -45, 510), (95, 0, 500)]
    tracker = HandTracker(scene, TrackerConfig(search_every=1))
    assert ids(run(tracker, 10)) == [['0']] * 10


def test_no_more_hands_than_asked_for_and_the_likeliest_first(monkeypatch):
    palms = [(-300, 0, 600), (0, 0, 500), (300, 0, 600)]
    scene = Scene(monkeypatch, *palms)
    scene.scores = [0.985, 0.995, 0.99]
    hands = run(HandTracker(scene), 12)[-1]
    # times the mean joint score
    assert [round(hand.score / 0.8, 3) for hand in hands] == [0.995, 0.99]
    hands = run(HandTracker(scene, TrackerConfig(max_hands=1)), 12)[-1]
    assert [round(hand.score / 0.8, 3) for hand in hands] == [0.995]
    assert len(scene.requests[-1]) == 1  # nor are more followed in secret
    tracker = HandTracker(scene, TrackerConfig(max_hands=5))
    assert len(run(tracker, 12)[-1]) == 3
    tracker.config = TrackerConfig(max_hands=1)  # the parameter is live
    assert len(run(tracker, 12, start=12 / 30)[-1]) == 1 and len(scene.requests[-1]) == 1


def test_a_second_hand_is_found_within_search_every_frames(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    scene.hidden = {1}
    tracker = HandTracker(scene, TrackerConfig(search_every=5))
    run(tracker, 7)
    scene.hidden = set()
    frames = run(tracker, 5, start=7 / 30)
    assert [hand.id for hand in frames[-1]] == ['0', '1'] and len(frames[0]) == 1


def test_what_the_network_calls_a_hand_without_finding_its_joints_starts_no_track(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.joint_score = 0.4
    assert ids(run(HandTracker(scene), 5))[-1] == []
    assert ids(run(HandTracker(scene, TrackerConfig(score_threshold=0.1)), 5))[-1] == ['0']
    scene.joint_score = 0.8
    tracker = HandTracker(scene)
    run(tracker, 2)
    scene.joint_score = 0.5  # once known, a hand may be hard to read
    assert ids(run(tracker, 5, start=0.1))[-1] == ['0']


@pytest.mark.parametrize(
    'own, surer, taken',
    [(0.5, 0.7, True), (0.5, 0.52, False), (0.5, None, False), (0.7, 0.9, None)],
)
def test_a_new_hand_that_is_read_poorly_is_estimated_from_several_starts(
    monkeypatch, own, surer, taken
):
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.joint_score, scene.surer = own, surer
    tracker = HandTracker(scene, TrackerConfig(score_threshold=0.1))
    ((hand,),) = run(tracker, 1)
    assert scene.requests.count(['several starts']) == (taken is not None)
    assert hand.joint_scores[0] == pytest.approx(surer if taken else own)
    run(tracker, 3, start=0.1)  # once known, it is followed
    assert scene.requests.count(['several starts']) == (taken is not None)


@pytest.mark.parametrize('known', [False, True])
def test_a_surer_pose_of_another_hand_is_not_taken(monkeypatch, known):
    """Another one: 70 mm off, or where a known hand is."""
    scene = Scene(monkeypatch, *[(-100, 0, 500)] * known, (0, 0, 500))
    scene.hidden = {len(scene.palms) - 1}
    tracker = HandTracker(scene, TrackerConfig(score_threshold=0.1, beside_threshold=0.1))
    run(tracker, 3)
    scene.hidden, scene.joint_score = set(), 0.5

    def beside(depth_mm, intrinsics, centre_xyz, side):
        pose = scene.look(Request(np.zeros(3) + (0, 0, 500), side))
        return replace(
            pose,
            joints_xyz=pose.joints_xyz + np.float32([-55 if known else 70, 0, 0]),
            joint_scores=np.full(21, 0.9, np.float32),
        )

    scene.estimate = beside
    hands = run(tracker, 10, start=0.1)[-1]
    assert len(hands) == 1 + known and abs(palm(hands[-1])[0]) < 1


def test_a_track_ends_that_stops_looking_like_a_hand(monkeypatch):
    """An arm with a high hand score, whose joints explain nothing."""
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    assert ids(run(tracker, 5))[-1] == ['0']
    scene.joint_score = 0.3
    frames = ids(run(tracker, 30, start=0.2))
    assert frames[2] == ['0'] and frames[-1] == []  # a few bad frames are forgiven
    scene.joint_score = 0.8
    assert ids(run(tracker, 5, start=1.3))[-1] == ['1']


def test_each_side_looks_from_where_it_saw_the_hand(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    # close calls: both sides are read all the time
    scene.lead, off, look = (0.001, np.array([20.0, 0, 0]), scene.look)

    def beside(request):
        pose = look(request)
        return pose and replace(
            pose, joints_xyz=pose.joints_xyz + (off * (request.side == 'left')).astype(np.float32)
        )

    scene.look = beside
    tracker = HandTracker(scene)
    run(tracker, 1)
    # the search's last look
    once_more = {request.side: request.centre_xyz for request in scene.requests[-1]}
    np.testing.assert_allclose(once_more['left'] - once_more['right'], off, atol=1e-3)
    run(tracker, 1, start=0.1)
    followed = {request.side: request.centre_xyz for request in scene.requests[-1]}
    np.testing.assert_allclose(followed['left'] - followed['right'], off, atol=1e-3)
    off *= 5  # no longer the same hand
    run(tracker, 1, start=0.2)
    run(tracker, 1, start=0.3)
    followed = {request.side: request.centre_xyz for request in scene.requests[-1]}
    np.testing.assert_allclose(followed['left'], followed['right'], atol=1e-3)


def test_finder_hand_and_joints_all_have_a_say_in_what_starts_a_track():
    scores = np.array([0.1, 0.5, 0.9])
    for weights in (DEFAULT_DETECTION_WEIGHTS, load_checkpoint()[0].config.detection_weights):

        def start(*scores):
            return detection_score(weights, *scores)

        for rising in (start(scores, 0.5, 0.65), start(0.5, scores, 0.65), start(0.5, 0.5, scores)):
            assert (np.diff(rising) > 0.01).all() and ((0 < rising) & (rising < 1)).all()
        assert (
            start(0.9, 1.0, 0.8) > 0.95
            and start(0.1, 0.1, 0.3) < 0.3
            and start(0.1, 0.1, 0.1) < 0.1
        )
        assert np.isfinite(start(0.0, 0.0, 0.0)) and np.isfinite(start(1.0, 1.0, 1.0))


def test_a_network_brings_its_own_weights_of_the_start_score(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    assert ids(run(HandTracker(scene), 2))[-1] == ['0']
    scene.config = replace(scene.config, detection_weights=(0.0, 0.0, 0.0, -5.0))
    assert ids(run(HandTracker(scene), 2))[-1] == []


def test_the_side_is_the_one_the_network_is_surer_of(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    scene.sides = ['left', 'right']
    hands = run(HandTracker(scene), 10)[-1]
    assert {hand.side: round(float(palm(hand)[0])) for hand in hands} == {
        'left': -150,
        'right': 150,
    }
    assert all(hand.side_score > 0.95 for hand in hands)


def test_a_side_flips_only_after_evidence(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    run(tracker, 20)

    def doubt(i):  # one frame in three looks wrong
        scene.sides = ['left' if i % 3 == 2 else 'right']

    frames = run(tracker, 30, start=20 / 30, each=doubt)
    assert all(hands[0].side == 'right' for hands in frames)
    scene.sides = ['left']
    sides = [hands[0].side for hands in run(tracker, 60, start=50 / 30)]
    assert sides[0] == 'right' and sides[-1] == 'left'
    assert sum(a != b for a, b in zip(sides, sides[1:])) == 1  # and stays
    assert ids(run(tracker, 1, start=110 / 30)) == [['0']]


def test_the_side_is_not_updated_while_the_hand_is_not_seen(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene, TrackerConfig(coast_s=1.0))
    before = run(tracker, 10)[-1][0].side_score
    scene.sides, scene.scores = ['left'], [0.1]  # what is there now is no hand
    (coasting,) = run(tracker, 20, start=10 / 30)[-1]
    assert (coasting.state, coasting.side, coasting.side_score) == ('coasting', 'right', before)


def test_a_side_fixed_while_tracking_holds_from_the_next_frame(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    assert run(tracker, 10)[-1][0].side == 'right'
    tracker.config = TrackerConfig(side='left')
    hand = run(tracker, 1, start=10 / 30)[-1][0]
    assert hand.side == 'left' and math.isnan(hand.side_score) and hand.id == '0'


def test_nearer_things_do_not_keep_a_second_hand_from_being_found(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500), (300, 0, 700))
    scene.candidates = (
        [(0, 0, 500)] + [(-300 + 20 * i, 200, 400) for i in range(6)] + [(300, 0, 700)]
    )
    tracker = HandTracker(scene, TrackerConfig(search_every=2))
    assert ids(run(tracker, 12))[-1] == ['0', '1']


def test_a_sure_side_is_checked_now_and_then_only(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene, TrackerConfig(max_hands=1))
    run(tracker, 10)
    scene.requests = []
    run(tracker, 40, start=10 / 30)
    assert sum(map(len, scene.requests)) == 44


def test_a_fixed_side_is_kept_and_has_no_score(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    for side in ('left', 'right'):
        scene.requests = []
        hand = run(HandTracker(scene, TrackerConfig(side=side)), 20)[-1][0]
        assert hand.side == side and math.isnan(hand.side_score)
        assert {r.side for requests in scene.requests for r in requests} == {side}


@pytest.mark.parametrize('stamp', [0.05, 5.0, float('nan')])
def test_a_jump_back_or_a_long_gap_in_time_starts_afresh(monkeypatch, stamp):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    assert ids(run(tracker, 3, start=1.0))[-1] == ['0']
    hands = tracker.update(None, K, stamp)
    assert [(hand.id, hand.state) for hand in hands] == [('1', 'new')]


def test_equal_stamps_are_one_moment(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    for i in range(4):
        scene.palms[0][0] = 10.0 * i
        hands = tracker.update(None, K, 1.0)
        assert [hand.id for hand in hands] == ['0'] and np.isfinite(hands[0].joints_xyz).all()


@pytest.mark.parametrize(
    'stamps', [(0.0, 1 / 30, 3 / 30, 2 / 30, 4 / 30), (0.0, 1 / 30, 2 / 30, 2 / 30 - 1e-3, 3 / 30)]
)
def test_a_late_image_ends_nothing_and_is_counted(monkeypatch, stamps):
    """One that was overtaken, and one whose stamp is 1 ms early."""
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    frames = [tracker.update(None, K, stamp) for stamp in stamps]
    assert ids(frames) == [['0']] * 5 and tracker.late == 1
    assert [hands[0].state for hands in frames] == ['new', 'ok', 'ok', 'coasting', 'ok']


def test_reset_forgets_hands_but_goes_on_counting(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    run(tracker, 3)
    tracker.reset()
    assert [(hand.id, hand.state) for hand in tracker.update(None, K, 0.2)] == [('1', 'new')]


@pytest.mark.parametrize(
    'change',
    [
        {'max_hands': 0},
        {'side': 'both'},
        {'finder': 'magic'},
        {'score_threshold': 1.2},
        {'lose_threshold': -0.1},
        {'beside_threshold': 1.1},
        {'min_depth_mm': 0.0},
        {'max_depth_mm': 100.0},
        {'coast_s': -0.1},
        {'search_every': 0},
        {'score_threshold': math.nan},
    ],
)
def test_impossible_configurations_are_refused_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrackerConfig(**change)


def blob(*palms, value=0.0):
    """A depth frame of discs of hand size, facing the camera."""
    depth = np.full((480, 640), value, np.float32)
    rows, cols = np.indices(depth.shape)
    for x, y, z in palms:
        u, v, _ = K.xyz_to_uvd(np.array([x, y, z], float))
        depth[np.hypot(cols - u, rows - v) < 50 * K.fx / z] = z
    return depth


def test_the_tracker_searches_between_its_depths_only(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (200, 0, 1600))
    depth = blob((-150, 0, 500), (200, 0, 1600))
    for limits, expected in (
        ((150, 1500), [-150]),
        ((150, 2000), [-150, 200]),
        ((600, 2000), [200]),
        ((510, 1500), []),
    ):
        tracker = HandTracker(
            scene, TrackerConfig(finder='nearest', min_depth_mm=limits[0], max_depth_mm=limits[1])
        )
        hands = [tracker.update(depth, K, i / 30) for i in range(6)][-1]
        assert sorted(round(float(palm(hand)[0])) for hand in hands) == expected


def test_two_people_far_apart_in_depth_do_not_mix(monkeypatch):
    """A candidate far from every known hand is verified, one near a known hand is not evaluated
    again.
    """
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.candidates = [(0, 0, 520), (0, 0, 900)]
    tracker = HandTracker(scene, TrackerConfig(search_every=1))
    run(tracker, 1)
    scene.requests = []
    run(tracker, 1, start=1 / 30)
    assert [[tuple(r.centre_xyz) for r in requests] for requests in scene.requests[1:]] == [
        [(0, 0, 900)]
    ]


def test_known_bone_lengths_steady_what_is_reported_and_not_what_is_followed(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 600))
    tracker = HandTracker(scene)
    plain = run(tracker, 3)[-1][0]
    assert tracker.hand_sizes == {} and np.allclose(
        plain.joints_xyz, SHAPE + (0, 0, 600), atol=1e-3
    )
    longer = np.clip(1.1 * bone_lengths(SHAPE), 5, 150)
    tracker.config = replace(tracker.config, hand_size=','.join(map(str, longer / 1000)))
    steadied = run(tracker, 3, start=0.2)[-1][0]
    off = [np.abs(bone_lengths(h.joints_xyz) - longer).mean() for h in (plain, steadied)]
    assert off[1] < 0.5 * off[0] and tracker.hand_sizes[steadied.id].given
    assert np.allclose(K.xyz_to_uvd(steadied.joints_xyz), steadied.joints_uvd, atol=1e-2)
    requested = scene.requests[-1][0].centre_xyz
    assert np.allclose(requested, palm_centre(SHAPE) + (0, 0, 600), atol=1e-3)
    tracker.config = replace(tracker.config, hand_size='auto')
    again = run(tracker, 3, start=0.4)[-1][0]
    assert np.allclose(again.joints_xyz, plain.joints_xyz, atol=1e-3)  # nothing is known yet
    assert not tracker.hand_sizes[again.id].given
