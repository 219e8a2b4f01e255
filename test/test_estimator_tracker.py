"""From a frame to identified hands. Networks and estimators here are made by hand, so that the right answer is known."""
import math

import numpy as np
import pytest
import torch

import awr_ros.tracker
from awr_ros.camera import Intrinsics
from awr_ros.crop import crop_hand
from awr_ros.estimator import HandPose, HandPoseEstimator, Request
from awr_ros.finder import find_candidates
from awr_ros.network import ModelConfig
from awr_ros.offset_field import encode
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker, TrackerConfig

K = Intrinsics(fx=475.0, fy=475.0, cx=319.5, cy=239.5, width=640, height=480)


@pytest.fixture(scope='module')
def camera():
    return SyntheticCamera(num_hands=2, seed=1)


# The estimator, on a network that answers with the encoded truth

class KnowingNetwork(torch.nn.Module):
    """Answers call after call with the field of joints it was told (B,21,3) uvdn, and with the logit it was told."""

    def __init__(self, *answers, logit=3.0, config=ModelConfig()):
        super().__init__()
        self.config, self.answers, self.logit, self.asked = config, list(answers), logit, []

    def forward(self, depth):
        self.asked.append(depth.clone())
        joints = torch.tensor(np.stack(self.answers.pop(0)), dtype=torch.float32)
        assert len(joints) == len(depth)
        return (encode(joints, depth, self.config.kernel_size, self.config.field_size),
                torch.full((len(depth),), self.logit))


def uvdn(depth, joints_xyz, centre, mirror=False):
    joints = crop_hand(depth, K, centre, 280.0, 128).uvdn_from_uvd(K.xyz_to_uvd(joints_xyz.astype(float)))
    return joints * [-1, 1, 1] if mirror else joints


def palm(hand):
    return palm_centre(hand.joints_xyz.astype(float))


@pytest.mark.parametrize('index, side', [(0, 'right'), (1, 'left')])
def test_the_truth_comes_back_in_camera_and_image(camera, index, side):
    depth, hands = camera.frame(0.4)
    hand, centre = hands[index], palm(hands[index]) + [10, -8, 5]
    network = KnowingNetwork([uvdn(depth, hand.joints_xyz, centre, mirror=side == 'left')])
    pose = HandPoseEstimator(TorchEngine(network)).estimate(depth, K, centre, side, passes=1)
    np.testing.assert_allclose(pose.joints_xyz, hand.joints_xyz, atol=0.1)
    np.testing.assert_allclose(pose.joints_uvd, hand.joints_uvd, atol=0.1)
    assert pose.joints_xyz.dtype == pose.joints_uvd.dtype == np.float32 and pose.side == side
    assert pose.hand_score == pytest.approx(1 / (1 + math.exp(-3)))
    assert (pose.joint_scores > 0.5).all() and pose.joint_scores.shape == (21,)
    crop = crop_hand(depth, K, centre, 280.0, 128)
    u0, v0, u1, v1 = crop.window
    assert pose.roi == (u0, v0, u1 - u0, v1 - v0)


def test_the_network_sees_left_hands_mirrored(camera):
    depth, hands = camera.frame(0.4)
    centre = palm(hands[1])
    network = KnowingNetwork([uvdn(depth, hands[1].joints_xyz, centre)] * 2)
    HandPoseEstimator(TorchEngine(network)).estimate_batch(depth, K, [Request(centre, 'left'), Request(centre, 'right')])
    seen = network.asked[0][:, 0].numpy()
    np.testing.assert_array_equal(seen[1], crop_hand(depth, K, centre, 280.0, 128).depth)
    np.testing.assert_array_equal(seen[0], seen[1][:, ::-1])


def test_a_batch_keeps_its_order_and_leaves_none_where_nothing_is(camera):
    depth, hands = camera.frame(0.4)
    right, left = hands
    answers = [uvdn(depth, left.joints_xyz, palm(left), mirror=True), uvdn(depth, right.joints_xyz, palm(right))]
    requests = [Request(np.array([0., 0., 200.]), 'right'), Request(palm(left), 'left'),
                Request(np.array([0., 0., 40.]), 'left'),
                Request(palm(right), 'right'), Request(np.array([5000., 0., 500.]), 'right')]
    poses = HandPoseEstimator(TorchEngine(KnowingNetwork(answers))).estimate_batch(depth, K, requests)
    assert [pose is None for pose in poses] == [True, False, True, False, True]
    np.testing.assert_allclose(poses[1].joints_xyz, left.joints_xyz, atol=0.1)
    np.testing.assert_allclose(poses[3].joints_xyz, right.joints_xyz, atol=0.1)


def test_nothing_to_look_at_gives_none_without_the_network(camera):
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    empty = np.zeros((480, 640), np.float32)
    assert estimator.estimate(empty, K, (0., 0., 500.)) is None
    assert estimator.estimate_batch(empty, K, []) == []


def test_the_second_pass_looks_at_the_palm_the_first_one_found(camera):
    depth, hands = camera.frame(0.4)
    hand = hands[0]
    off, found = palm(hand) + [30, 20, -15], palm(hand)
    network = KnowingNetwork([uvdn(depth, hand.joints_xyz, off)], [uvdn(depth, hand.joints_xyz, found)])
    pose = HandPoseEstimator(TorchEngine(network)).estimate(depth, K, off)
    np.testing.assert_allclose(pose.joints_xyz, hand.joints_xyz, atol=0.1)
    assert len(network.asked) == 2
    expected = crop_hand(depth, K, found, 280.0, 128).depth
    assert (network.asked[1][0, 0].numpy() == expected).mean() > 0.9 > (network.asked[0][0, 0].numpy() == expected).mean()


def test_misuse_of_the_estimator_is_named(camera):
    estimator = HandPoseEstimator(TorchEngine(KnowingNetwork()))
    depth = np.zeros((480, 640), np.float32)
    with pytest.raises(ValueError, match="got 'up'"):
        estimator.estimate(depth, K, (0., 0., 500.), side='up')
    with pytest.raises(ValueError, match='480, 640'):
        estimator.estimate(depth[:100], K, (0., 0., 500.))
    with pytest.raises(ValueError, match="got 'tpu'"):
        HandPoseEstimator.from_pretrained('none.pt', device='tpu')
    with pytest.raises(FileNotFoundError, match='none.pt'):
        HandPoseEstimator.from_pretrained('none.pt', device='cpu')


# The tracker, on an estimator that knows a scene

SHAPE = np.zeros((21, 3))
SHAPE[:, :2] = np.random.default_rng(0).uniform(-60, 60, (21, 2))
SHAPE -= palm_centre(SHAPE)


class Scene:
    """Hands as palms (3,) with the side they look like; found by requests within 100 mm, scored as told. Read as the other
    side, their joints are less sure by `lead`."""

    def __init__(self, monkeypatch, *palms):
        self.palms = [np.array(p, float) for p in palms]
        self.sides, self.scores, self.hidden, self.requests = ['right'] * len(palms), [0.99] * len(palms), set(), []
        self.lead, self.joint_score, self.candidates = 0.03, 0.8, None
        self.description = 'a scene'
        monkeypatch.setattr(awr_ros.tracker, 'find_candidates', self.find)

    def find(self, depth_mm, intrinsics, min_depth_mm, max_depth_mm):
        if self.candidates is not None:
            return np.array(self.candidates, float).reshape(-1, 3)
        return np.array([p + 20 for i, p in enumerate(self.palms) if i not in self.hidden]).reshape(-1, 3)

    def estimate_batch(self, depth_mm, intrinsics, requests):
        self.requests.append(requests)
        return [self.look(r) for r in requests]

    def look(self, request):
        near = [(np.linalg.norm(p - request.centre_xyz), i) for i, p in enumerate(self.palms) if i not in self.hidden]
        distance, i = min(near, default=(1e9, None))
        if distance > 100:
            return None
        joints = SHAPE + self.palms[i]
        sure = np.full(21, self.joint_score - self.lead * (request.side != self.sides[i]), np.float32)
        return HandPose(joints.astype(np.float32), K.xyz_to_uvd(joints).astype(np.float32), sure, self.scores[i],
                        request.side, (0, 0, 10, 10))


def run(tracker, steps, start=0.0, each=lambda i: None):
    """Frames at 30 Hz; `each` changes the scene before frame i. Returns the hands of every frame."""
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
        scene.palms[0] += [6, 1, 2]                         # 0.2 m/s
        scene.palms[1] += [0, -8, 3]
    frames = run(tracker, 20, each=move)
    assert ids(frames) == [['0', '1']] * 20
    assert [hand.state for hand in frames[0]] == ['new', 'new'] and all(hand.state == 'ok' for hand in frames[1])
    for hand, expected in zip(frames[-1], scene.palms):
        np.testing.assert_allclose(palm(hand), expected, atol=0.01)
    assert len({hand.id for hand in frames[-1]}) == 2 and frames[-1][0].score == pytest.approx(0.99)


def test_a_fast_hand_is_looked_for_where_it_is_going(monkeypatch):
    scene = Scene(monkeypatch, (-300, 0, 600))
    tracker = HandTracker(scene)

    def move(i):
        scene.palms[0] += [min(i, 4) * 20., 0, 0]           # up to 80 mm a frame: 2.4 m/s
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
    assert states[5:10] == [['coasting']] * 5               # last seen at 4/30 s
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


def test_a_low_hand_score_counts_as_not_seen(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    scene.scores[0] = 0.9                                   # below the 0.98 that starts a track
    assert run(tracker, 6) == [[]] * 6
    scene.scores[0] = 0.985
    assert run(tracker, 1, start=1.0)[0][0].state == 'new'
    scene.scores[0] = 0.4                                   # above the 0.3 that ends it
    assert run(tracker, 1, start=1.1)[0][0].state == 'ok'
    scene.scores[0] = 0.2
    assert run(tracker, 1, start=1.2)[0][0].state == 'coasting'


def test_two_tracks_on_one_hand_become_the_older_one(monkeypatch):
    scene = Scene(monkeypatch, (-100, 0, 500), (100, 0, 500))
    tracker = HandTracker(scene)
    assert ids(run(tracker, 2)) == [['0', '1']] * 2

    def meet(i):
        scene.palms[1] = scene.palms[0] + [max(200 - 25 * i, 20.), 0, 0]
    assert ids(run(tracker, 18, start=0.1, each=meet))[-1] == ['0']


def test_a_hand_that_passes_before_a_hidden_one_keeps_its_id(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500), (-210, 0, 460))
    tracker = HandTracker(scene, TrackerConfig(coast_s=0.5))
    assert ids(run(tracker, 2)) == [['0', '1']] * 2

    def pass_by(i):
        scene.palms[1] = np.array([-210 + 14. * i, 0, 460])
        scene.hidden = {0} if abs(scene.palms[1][0]) < 70 else set()
    frames = run(tracker, 30, start=0.1, each=pass_by)
    moving = [min(hands, key=lambda hand: np.linalg.norm(palm(hand) - [-210 + 14 * i, 0, 460])).id
              for i, hands in enumerate(frames)]
    assert moving == ['1'] * 30


def test_candidates_on_a_known_hand_start_no_second_track(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.candidates = [(0, 0, 500), (30, 0, 500), (0, -45, 510), (95, 0, 500)]     # the last is seen as the same hand
    tracker = HandTracker(scene, TrackerConfig(search_every=1))
    assert ids(run(tracker, 10)) == [['0']] * 10


def test_no_more_hands_than_asked_for_and_the_likeliest_first(monkeypatch):
    palms = [(-300, 0, 600), (0, 0, 500), (300, 0, 600)]
    scene = Scene(monkeypatch, *palms)
    scene.scores = [0.985, 0.995, 0.99]
    hands = run(HandTracker(scene), 12)[-1]
    assert [round(hand.score, 3) for hand in hands] == [0.995, 0.99]
    hands = run(HandTracker(scene, TrackerConfig(max_hands=1)), 12)[-1]
    assert [round(hand.score, 3) for hand in hands] == [0.995]
    assert len(scene.requests[-1]) == 1                     # nor are more followed in secret
    hands = run(HandTracker(scene, TrackerConfig(max_hands=5)), 12)[-1]
    assert len(hands) == 3


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
    scene.joint_score = 0.65
    assert ids(run(HandTracker(scene), 5))[-1] == []
    assert ids(run(HandTracker(scene, TrackerConfig(joint_threshold=0.6)), 5))[-1] == ['0']
    scene.joint_score = 0.8
    tracker = HandTracker(scene)
    run(tracker, 2)
    scene.joint_score = 0.5                                 # once known, a hand may be hard to read
    assert ids(run(tracker, 5, start=0.1))[-1] == ['0']


def test_the_side_is_the_one_the_network_is_surer_of(monkeypatch):
    scene = Scene(monkeypatch, (-150, 0, 500), (150, 0, 500))
    scene.sides = ['left', 'right']
    hands = run(HandTracker(scene), 10)[-1]
    assert {hand.side: round(float(palm(hand)[0])) for hand in hands} == {'left': -150, 'right': 150}
    assert all(hand.side_score > 0.95 for hand in hands)


def test_a_side_flips_only_after_evidence(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    run(tracker, 20)

    def doubt(i):                                           # one frame in three looks wrong
        scene.sides = ['left' if i % 3 == 2 else 'right']
    frames = run(tracker, 30, start=20 / 30, each=doubt)
    assert all(hands[0].side == 'right' for hands in frames)
    scene.sides = ['left']
    sides = [hands[0].side for hands in run(tracker, 60, start=50 / 30)]
    assert sides[0] == 'right' and sides[-1] == 'left'
    assert sum(a != b for a, b in zip(sides, sides[1:])) == 1           # and stays
    assert ids(run(tracker, 1, start=110 / 30)) == [['0']]


def test_the_side_is_not_judged_while_the_hand_is_not_seen(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene, TrackerConfig(coast_s=1.0))
    before = run(tracker, 10)[-1][0].side_score
    scene.sides, scene.scores = ['left'], [0.1]             # what is there now is no hand
    coasting = run(tracker, 20, start=10 / 30)[-1][0]
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
    scene.candidates = [(0, 0, 500)] + [(-300 + 20 * i, 200, 400) for i in range(6)] + [(300, 0, 700)]
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


@pytest.mark.parametrize('stamp', [0.1, 5.0, float('nan')])
def test_a_step_back_or_a_long_gap_in_time_starts_afresh(monkeypatch, stamp):
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


def test_reset_forgets_hands_but_goes_on_counting(monkeypatch):
    scene = Scene(monkeypatch, (0, 0, 500))
    tracker = HandTracker(scene)
    run(tracker, 3)
    tracker.reset()
    assert [(hand.id, hand.state) for hand in tracker.update(None, K, 0.2)] == [('1', 'new')]


@pytest.mark.parametrize('change', [
    {'max_hands': 0}, {'side': 'both'}, {'finder': 'magic'}, {'score_threshold': 1.2}, {'lose_threshold': 0.99},
    {'min_depth_mm': 0.0}, {'max_depth_mm': 100.0}, {'coast_s': -0.1}, {'search_every': 0}, {'score_threshold': math.nan}])
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
    find = find_candidates
    scene = Scene(monkeypatch, (-150, 0, 500), (200, 0, 1600))
    monkeypatch.setattr(awr_ros.tracker, 'find_candidates', find)       # the real finder, on discs
    depth = blob((-150, 0, 500), (200, 0, 1600))
    for limits, expected in ((150, 1500), [-150]), ((150, 2000), [-150, 200]), ((600, 2000), [200]), ((510, 1500), []):
        tracker = HandTracker(scene, TrackerConfig(min_depth_mm=limits[0], max_depth_mm=limits[1]))
        hands = [tracker.update(depth, K, i / 30) for i in range(6)][-1]
        assert sorted(round(float(palm(hand)[0])) for hand in hands) == expected


def test_two_people_far_apart_in_depth_do_not_mix(monkeypatch):
    """A candidate far from every known hand is verified, one near a known hand is not asked about again."""
    scene = Scene(monkeypatch, (0, 0, 500))
    scene.candidates = [(0, 0, 520), (0, 0, 900)]
    tracker = HandTracker(scene, TrackerConfig(search_every=1))
    run(tracker, 1)
    scene.requests = []
    run(tracker, 1, start=1 / 30)
    assert [[tuple(r.centre_xyz) for r in requests] for requests in scene.requests[1:]] == [[(0, 0, 900)]]


# The finder

def test_nothing_in_range_gives_no_candidates():
    for depth in (np.zeros((480, 640), np.float32), np.full((480, 640), np.nan, np.float32), np.zeros((480, 640), np.uint16),
                  np.full((480, 640), np.inf, np.float32), blob((0, 0, 2000))):
        found = find_candidates(depth, K, 150, 1500)
        assert found.shape == (0, 3)


def test_specks_are_no_candidates():
    depth = np.zeros((480, 640), np.float32)
    depth[100:116, 100:116] = 500                           # 17 mm square
    assert len(find_candidates(depth, K, 150, 1500)) == 0


def test_the_nearest_piece_comes_first_and_in_millimetres():
    found = find_candidates(blob((150, 30, 700), (-150, -40, 500)), K, 150, 1500)
    assert np.linalg.norm(found[0] - [-150, -40, 500]) < 15
    assert min(np.linalg.norm(found - [150, 30, 700], axis=1)) < 15
    assert len(found) <= 8


def test_uint16_frames_and_any_size_work():
    depth = blob((100, 20, 600))
    expected = find_candidates(depth, K, 150, 1500)
    np.testing.assert_allclose(find_candidates(depth.astype(np.uint16), K, 150, 1500), expected)
    half = Intrinsics(K.fx / 2, K.fy / 2, (K.cx - 0.5) / 2, (K.cy - 0.5) / 2, 320, 240)
    assert np.linalg.norm(find_candidates(depth[::2, ::2], half, 150, 1500)[0] - [100, 20, 600]) < 15


@pytest.fixture(scope='module')
def moments():
    """Thirty frames of twenty seconds: (depth, true palm centre)."""
    camera = SyntheticCamera(seed=3)
    frames = [camera.frame(t) for t in np.linspace(0, 20, 30)]
    return [(depth, palm(hand)) for depth, (hand,) in frames]


def with_body(depth, centre):
    """The frame with a chest 500 mm wide, 250 mm behind the palm."""
    z = centre[2] + 250
    chest, half = np.zeros(depth.shape, bool), int(250 * K.fx / z)
    chest[120:, max(320 - half, 0):320 + half] = True
    return np.where(chest & ((depth == 0) | (depth > z)), z, depth).astype(np.uint16)


@pytest.mark.parametrize('body', [False, True])
def test_the_finder_finds_the_hand_with_and_without_a_body_behind(moments, body):
    """A candidate within 60 mm of the true palm centre, from where the network can go on by itself."""
    hits = 0
    for depth, centre in moments:
        found = find_candidates(with_body(depth, centre) if body else depth, K, 150, 1300)
        hits += len(found) > 0 and np.linalg.norm(found - centre, axis=1).min() < 60
    assert hits >= 0.9 * len(moments)


@pytest.mark.parametrize('body', [False, True])
def test_the_finder_always_sees_something_of_the_hand(moments, body):
    for depth, centre in moments:
        found = find_candidates(with_body(depth, centre) if body else depth, K, 150, 1300)
        assert np.linalg.norm(found - centre, axis=1).min() < 110
