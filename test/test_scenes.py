"""Rendered scenes: what they call true must be seen in them; and the evaluation that counts on
them.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import awr_ros.evaluation.scenes as evaluation
import awr_ros.training.negatives as negatives_module
from awr_ros.camera import Intrinsics
from awr_ros.estimator import HandPose
from awr_ros.evaluation.contact_sheet import scene_sheet
from awr_ros.evaluation.curves import draw_reliability
from awr_ros.evaluation.scenes import SceneFigures, reliability
from awr_ros.finders.palm_detector import BELOW_SKIN_MM
from awr_ros.runtime.readout import EngineConfig
from awr_ros.skeleton import JOINT_NAMES, palm_centre
from awr_ros.synthetic.camera import TrueHand
from awr_ros.synthetic.frame_sensor import KIND_SHARES
from awr_ros.synthetic.people import LostHead
from awr_ros.synthetic.scenes import Scene, SceneSource
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.negatives import (
    CLEAR_MM,
    LIMB_CLEAR_MM,
    cached_negatives,
    limb_centres,
    render_negatives,
)

COARSE = ((320, 240),)


@pytest.fixture(scope='module')
def scenes():
    source = SceneSource(5, COARSE)
    return [source.draw(2) for _ in range(12)]


def test_a_seed_fixes_a_scene(scenes):
    again = SceneSource(5, COARSE).draw(2)
    np.testing.assert_array_equal(again.depth_mm, scenes[0].depth_mm)
    np.testing.assert_array_equal(again.hands[0].joints_xyz, scenes[0].hands[0].joints_xyz)


def test_frames_are_what_a_camera_gives(scenes):
    for scene in scenes:
        assert scene.depth_mm.dtype == np.uint16 and scene.depth_mm.shape == (
            scene.intrinsics.height,
            scene.intrinsics.width,
        )
        assert len(scene.visible) == len(scene.hands) and all(
            0 <= share <= 1 for share in scene.visible
        )


def test_visible_hands_are_where_the_truth_says(scenes):
    """Depth at a joint's pixel is the skin's: up to a hand's thickness nearer than the joint, or
    than what lies before it.
    """
    before = []
    for scene in scenes:
        for hand, visible in zip(scene.hands, scene.visible):
            if visible < 0.9:
                continue
            for u, v, d in hand.joints_uvd:
                col, row = round(u), round(v)
                if (
                    0 <= col < scene.intrinsics.width
                    and 0 <= row < scene.intrinsics.height
                    and scene.depth_mm[row, col]
                ):
                    before.append(d - scene.depth_mm[row, col])
    assert len(before) > 100
    assert (
        np.mean((np.array(before) > -6) & (np.array(before) < 100)) > 0.9
        and 3 < np.median(before) < 25
    )


def measured(layout, rendered, depth):
    """The Scene of a rendered image of which a camera measured a depth (H,W) [mm]."""
    frame = np.nan_to_num(depth.numpy(), posinf=0).astype(np.uint16)
    camera = type('', (), {'kind': 'any', 'nearest_mm': 0.0})
    return rendered.scene(layout, layout.groups, (frame,), camera)


def test_hidden_hands_do_not_count_as_visible_by_their_arms():
    """Where hardly a joint of a hand lies close behind what the camera sees, something hides the
    hand. (One that points at the camera hides its own.)
    """
    source, hidden = SceneSource(6, COARSE), []
    for layout in (source.layouts.draw(2, None) for _ in range(60)):
        rendered = source._render(layout, layout.groups)
        depth = np.nan_to_num(rendered.depth.numpy(), posinf=0)  # as no camera spoils it
        hands, shares = rendered.hands, measured(layout, rendered, rendered.depth).visible
        width, height = layout.intrinsics.width - 2, layout.intrinsics.height - 2
        for hand, visible in zip(hands, shares):
            u, v, d = hand.joints_uvd[
                ((hand.joints_uvd[:, :2] > 1) & (hand.joints_uvd[:, :2] < (width, height))).all(1)
            ].T
            seen = depth[np.rint(v).astype(int), np.rint(u).astype(int)]
            if (
                (seen > 0).sum() > 15
                and np.ptp(d) < 90
                and np.mean(d[seen > 0] - seen[seen > 0] < 45) < 0.2
            ):
                hidden.append(visible)
    assert hidden and max(hidden) < 0.5


def test_heads_lose_hair_and_patches_and_bodies_nothing(monkeypatch):
    lost, draw = [], LostHead.draw

    def watched(self, depth, rays):
        before = depth.clone()
        draw(self, depth, rays)
        gone = depth != before
        assert (depth[gone] == torch.inf).all() and torch.isfinite(before[gone]).all()
        points = torch.stack(
            [rays.x.expand_as(before), rays.y.expand_as(before), torch.ones_like(before)], -1
        )[gone]
        points = points * before[gone][:, None]
        assert ((points - self.head.centre).norm(dim=-1) < 1.7 * self.head.extent.max()).all()
        lost.append(int(gone.sum()))

    monkeypatch.setattr(LostHead, 'draw', watched)
    source = SceneSource(8, COARSE)
    for _ in range(40):
        source.draw(0)
    assert len(lost) > 4 and sum(count > 10 for count in lost) > len(lost) / 2


def test_arms_without_hands_enter_from_all_borders_at_all_distances():
    source, borders, distances = SceneSource(3, COARSE), set(), []
    for _ in range(40):
        layout = source.layouts.draw(0, 2)
        for arm in (group.limbs[0] for group in layout.groups[1:] if group.limbs):
            seen, uv = layout.sees(arm), layout.project(arm)
            if seen.any() and not seen.all():
                distances.append(float(arm[seen, 2].min()))
                for name, past in (
                    ('left', uv[:, 0] < 0),
                    ('right', uv[:, 0] >= 320),
                    ('top', uv[:, 1] < 0),
                    ('bottom', uv[:, 1] >= 240),
                ):
                    borders |= {name} if past.any() else set()
    assert borders == {'left', 'right', 'top', 'bottom'}
    assert len(distances) > 25 and min(distances) < 500 and max(distances) > 1200


def test_what_the_camera_sees_of_an_arm_lies_where_its_axis_is():
    source, before = SceneSource(4, COARSE), []
    for scene in (source.draw(0, arms=2) for _ in range(25)):
        for limb in scene.limbs:
            uvd = scene.intrinsics.xyz_to_uvd(limb.astype(np.float64))
            inside = (
                ((uvd[:, :2] > 1) & (uvd[:, :2] < (318, 238))).all(1)
                & (uvd[:, 2] > 200)
                & (uvd[:, 2] < 2000)
            )
            u, v = np.rint(uvd[inside, :2]).astype(int).T
            seen = scene.depth_mm[v, u].astype(float)
            before += list((uvd[inside, 2] - seen)[seen > 0])
    assert len(before) > 100
    before = np.array(before)[np.array(before) < 150]  # nothing stands before it
    assert np.mean(before > 5) > 0.8 and 20 < np.median(before) < 90


def test_hands_reach_from_near_to_far_and_cameras_from_narrow_to_wide():
    source = SceneSource(9, COARSE)
    scenes = [source.draw(1) for _ in range(80)]
    z = [palm_centre(hand.joints_xyz)[2] for scene in scenes for hand in scene.hands]
    assert len(z) > 60 and 195 < min(z) < 300 and 1400 < max(z) < 1805
    focal = [scene.intrinsics.fx / scene.intrinsics.width for scene in scenes]
    assert min(focal) < 0.4 and max(focal) > 0.9  # up to about 60 degrees off the axis
    assert {scene.kind for scene in scenes} == set(KIND_SHARES)


def test_a_forearm_leads_from_the_hand_into_its_arm():
    """Between wrist and elbow, where nothing hides it, depth is never that of what is behind."""
    source, gaps = SceneSource(10, COARSE), []
    for scene in (source.draw(1, arms=0) for _ in range(40)):
        for hand, visible in zip(scene.hands, scene.visible):
            arm = min(scene.limbs, key=lambda limb: np.linalg.norm(limb[-1] - hand.joints_xyz[0]))[
                6:
            ]
            uvd = scene.intrinsics.xyz_to_uvd(arm.astype(np.float64))
            inside = ((uvd[:, :2] > 1) & (uvd[:, :2] < (318, 238))).all(1) & (uvd[:, 2] > 200)
            u, v = np.rint(uvd[inside, :2]).astype(int).T
            seen = scene.depth_mm[v, u].astype(float)
            gaps += list((seen - uvd[inside, 2])[seen > 0])
    assert len(gaps) > 80 and np.mean(np.array(gaps) < 8) > 0.95


def test_further_frames_change_the_noise_and_no_scene():
    once, often = SceneSource(7, COARSE), SceneSource(7, COARSE)
    first, second = (source.draw(1, frames) for source, frames in ((once, 1), (often, 3)))
    np.testing.assert_array_equal(first.depth_mm, second.depth_mm)
    assert len(second.frames) == 3
    np.testing.assert_array_equal(once.draw(2).depth_mm, often.draw(2).depth_mm)
    for later in second.frames[1:]:
        both = (later > 0) & (second.depth_mm > 0)
        apart = np.abs(later[both].astype(int) - second.depth_mm[both])
        assert apart.any() and np.median(apart) < 15


def test_a_sequence_moves_a_scene_a_little_from_frame_to_frame():
    source, moved = SceneSource(12, COARSE), []
    for _ in range(6):
        sequence = source.sequence(1, frames=6)
        assert len(sequence) == 6 and all(len(scene.frames) == 1 for scene in sequence)
        assert (
            len({scene.kind for scene in sequence})
            == len({scene.intrinsics for scene in sequence})
            == 1
        )
        if sequence[0].hands:
            palms = np.array([palm_centre(scene.hands[0].joints_xyz) for scene in sequence])
            moved.append(np.linalg.norm(np.diff(palms, axis=0), axis=1))
            bones = [
                np.linalg.norm(np.diff(scene.hands[0].joints_xyz, axis=0), axis=1)
                for scene in sequence
            ]
            np.testing.assert_allclose(bones, np.tile(bones[0], (6, 1)), rtol=1e-3)  # rigidly
    moved = np.concatenate(moved)
    assert moved.max() < 80 and np.median(moved) > 0.5


def test_truth_follows_a_sequence():
    """The palms of visible hands lie under what the camera sees in every frame, as the arm and the
    camera move.
    """
    source, before = SceneSource(13, COARSE), []
    for sequence in (source.sequence(1, frames=5) for _ in range(8)):
        for scene in sequence[1:]:
            for hand, visible in zip(scene.hands, scene.visible):
                u, v, z = scene.intrinsics.xyz_to_uvd(
                    palm_centre(hand.joints_xyz).astype(np.float64)
                )
                if visible > 0.8 and (seen := scene.depth_mm[int(round(v)), int(round(u))]):
                    before.append(z - seen)
    assert len(before) > 12 and np.mean((np.array(before) > -15) & (np.array(before) < 90)) > 0.85


def test_wrists_whose_hands_are_out_of_the_image_stay_out_of_it():
    class Watched(SceneSource):
        def _render(self, layout, groups):
            stumps = [group.stump for group in groups if group.stump is not None]
            seen.extend(layout.sees(torch.stack(stumps)).tolist() if stumps else [])
            return super()._render(layout, groups)

    seen, source = [], Watched(14, COARSE)
    assert not any(scene.hands for _ in range(8) for scene in source.sequence(0, frames=4, arms=2))
    assert len(seen) > 40 and not any(seen)


def test_hands_that_leave_the_image_stay_true_but_are_not_visible():
    source = SceneSource(15, COARSE)
    layout = source.layouts.draw(1, 0)
    away = [group.moved(torch.eye(3), torch.tensor([9000.0, 0.0, 0.0])) for group in layout.groups]
    rendered = source._render(layout, away)
    (hand,), scene = rendered.hands, measured(layout, rendered, rendered.depth)
    assert hand.joints_xyz[:, 0].min() > 5000 and scene.visible == scene.measured == (0,)


def test_what_a_camera_measured_of_a_hand_is_counted_without_what_hides_it():
    source = SceneSource(16, COARSE)
    layout = source.layouts.draw(1, 0)
    rendered = source._render(layout, layout.groups)
    (skin,) = rendered.skins
    seen = measured(layout, rendered, rendered.depth)
    assert seen.measured[0] > 0.99 and seen.visible[0] > 0.5
    half = rendered.depth.clone()
    rows = (skin < torch.inf).nonzero()[:, 0].float()
    half[: int(rows.median())] = 0
    assert measured(layout, rendered, half).visible == seen.visible
    assert 0.35 < measured(layout, rendered, half).measured[0] < 0.65
    assert measured(layout, rendered, rendered.depth + 60).measured == (0,)


def test_left_hands_are_mirrored_right_ones(scenes):
    """The thumb's side, seen along the fingers from the back of the hand, by the order of the
    palm's joints.
    """
    for hand in (hand for scene in scenes for hand in scene.hands):
        wrist, thumb, index, pinky = (hand.joints_xyz[i].astype(np.float64) for i in (0, 1, 5, 17))
        # out of a palm
        palm = np.cross(index - wrist, pinky - wrist) * (1 if hand.side == 'right' else -1)
        assert (thumb - wrist) @ palm > -12  # the thumb's root lies before the palm


def test_scenes_without_hands_have_none():
    source = SceneSource(6, COARSE)
    assert not any(source.draw(0).hands for _ in range(3))


def test_negatives_are_crops_that_the_finder_offers_away_from_hands(tmp_path):
    negatives = render_negatives(12, 32, 280.0)
    assert negatives.shape == (12, 1, 32, 32) and negatives.dtype == torch.float16
    assert negatives.min() >= -1 and negatives.max() <= 1 and CLEAR_MM > 100
    assert ((negatives < 0.99).float().mean((1, 2, 3)) > 0.01).all()
    path, shape = tmp_path / 'n.pt', (3, 1, 32, 32)
    first = cached_negatives(path, shape, lambda: negatives[:3])
    assert torch.equal(cached_negatives(path, shape, None), first)  # not rendered again
    assert len(cached_negatives(path, (4, 1, 32, 32), lambda: negatives[:4])) == 4


def test_limb_centres_lie_under_seen_surfaces_away_from_hands_and_often_at_borders():
    source, rng, near_border, total = SceneSource(16, COARSE), np.random.default_rng(0), 0, 0
    for scene in (source.draw(1, arms=1) for _ in range(25)):
        centres = limb_centres(scene, rng, jitter_mm=0.0)
        assert centres.shape[0] <= 4 and centres.shape[1:] == (3,)
        for centre in centres:
            u, v, z = scene.intrinsics.xyz_to_uvd(centre)
            assert z - scene.depth_mm[round(v), round(u)] == pytest.approx(BELOW_SKIN_MM, abs=0.51)
            assert all(
                np.linalg.norm(palm_centre(hand.joints_xyz) - centre) > LIMB_CLEAR_MM
                for hand in scene.hands
            )
            near_border += min(u, 319 - u, v, 239 - v) < 24
        total += len(centres)
    assert total > 25 and 0.15 < near_border / total < 0.9


def test_negatives_are_of_limbs_as_often_as_wanted(monkeypatch):
    def counted(scene, rng):
        centres = limb_centres(scene, rng)
        of_limbs.append(len(centres))
        return centres

    monkeypatch.setattr(negatives_module, 'limb_centres', counted)
    for limbs, low, high in ((0.0, 0, 0), (1.0, 24, 30)):
        of_limbs = []
        assert render_negatives(24, 16, 280.0, limbs=limbs).shape == (24, 1, 16, 16)
        assert low <= sum(of_limbs) <= high


class Oracle:
    """Says the truth of the scene at hand where a hand is near, and nothing elsewhere."""

    description, config = 'oracle', EngineConfig(JOINT_NAMES, 128, 280.0)

    def __init__(self, sources, wrong_side=False, ghost=False):
        self.sources, self.wrong_side, self.ghost = sources, wrong_side, ghost

    def estimate_batch(self, depth, _intrinsics, requests):
        for scene in getattr(self.sources[-1], 'frames', ()):  # of a sequence
            if scene.depth_mm is depth:
                self.sources[-1].scene = scene
        return [self._pose(request) for request in requests]

    def estimate(self, _depth, _intrinsics, centre_xyz, side):
        return self.estimate_batch(
            None, None, [type('', (), {'centre_xyz': centre_xyz, 'side': side})]
        )[0]

    def _pose(self, request):
        scene = self.sources[-1].scene
        near = [
            hand
            for hand in scene.hands
            if np.linalg.norm(palm_centre(hand.joints_xyz) - request.centre_xyz) < 100
        ]
        if near:
            like = (near[0].side == request.side) != self.wrong_side
            return HandPose(
                near[0].joints_xyz,
                near[0].joints_uvd,
                np.full(21, 0.95 if like else 0.8),
                1.0,
                request.side,
                (0, 0, 1, 1),
            )
        if self.ghost:
            joints = (request.centre_xyz + 0.1 * np.arange(63).reshape(21, 3)).astype(np.float32)
            return HandPose(joints, joints, np.full(21, 0.9), 0.99, request.side, (0, 0, 1, 1))
        return None


@pytest.fixture
def sources(monkeypatch):
    made = []

    class Recorded(SceneSource):
        def __init__(self, seed):
            super().__init__(seed, COARSE)
            made.append(self)

        def draw(self, frames):
            self.scene = super().draw(frames=frames)
            return self.scene

        def sequence(self, num_hands, frames, arms=None):
            self.frames = super().sequence(num_hands, 7, arms)
            return self.frames

    monkeypatch.setattr(evaluation, 'SceneSource', Recorded)
    return made


def test_who_knows_the_truth_has_no_errors_and_raises_no_false_alarm(sources, capsys):
    figures = evaluation.scene_figures(
        Oracle(sources), 20, seed=3, config=TrackerConfig(max_depth_mm=2000)
    )
    assert len(figures.errors) > 5 and np.max(figures.errors) == 0
    # as far as the finder finds them
    assert np.mean(figures.found) > 0.6 and all(figures.side_right)
    assert (
        figures.false_in_empty and not any(figures.false_in_empty) and not any(figures.false_beside)
    )
    evaluation.print_scenes(figures)
    assert 'joints mean  0.00 mm' in capsys.readouterr().out


def test_scenes_without_hands_that_count_have_a_table_too(capsys):
    evaluation.print_scenes(SceneFigures(false_in_empty=[False]))
    assert '0.0% of 1' in capsys.readouterr().out


def test_wrong_sides_and_false_hands_are_counted(sources):
    figures = evaluation.scene_figures(Oracle(sources, wrong_side=True, ghost=True), 8, seed=3)
    assert not any(figures.side_right) and any(figures.false_in_empty)


def test_hands_are_asked_for_where_the_tracker_looks_and_enough_of_them_shows():
    camera = Intrinsics(fx=300.0, fy=300.0, cx=160.0, cy=120.0, width=320, height=240)
    joints = np.tile(np.float32([0, 0, 1600]), (21, 1))
    hand = TrueHand('left', joints, camera.xyz_to_uvd(joints))
    scene = Scene((), camera, (), (), False)
    near, far = TrackerConfig(max_depth_mm=1500), TrackerConfig(max_depth_mm=2000)
    assert evaluation.is_target(hand, 0.9, scene, far)
    assert not evaluation.is_target(hand, 0.9, scene, near)
    assert not evaluation.is_target(hand, 0.5, scene, far)
    assert evaluation.is_target(hand, 0.9, replace(scene, nearest_mm=1500.0), far)
    assert not evaluation.is_target(hand, 0.9, replace(scene, nearest_mm=1700.0), far)
    aside = TrueHand('left', joints, hand.joints_uvd + np.float32([200, 0, 0]))
    assert not evaluation.is_target(aside, 0.9, scene, far)


def test_sequences_are_counted_by_camera_and_distance(sources, capsys):
    figures = evaluation.sequence_figures(
        Oracle(sources), 10, seed=4, config=TrackerConfig(max_depth_mm=2000)
    )
    assert figures.sequences == 10 and figures.empty_sequences >= 5
    assert len(figures.empty) + len(figures.beside) == 70 and not any(
        false for _, false in figures.empty + figures.beside
    )
    assert (
        all(right for *_, found, right in figures.targets if found)
        and sum(found for *_, found, _ in figures.targets) > 5
    )
    evaluation.print_sequences(figures)
    printed = capsys.readouterr().out.splitlines()
    assert 'evaluated to 2 m' in printed[0] and len(printed) >= 4
    tables = [line for line in printed if 'joints mean' not in line]
    assert '0.0% of' in tables[-1] and printed[-1].startswith('all')
    assert 'joints mean 0.00 mm' in printed[-1] and f'{len(figures.errors)} hands' in printed[-1]


def test_false_hands_of_sequences_are_counted_and_wrong_sides(sources, capsys):
    figures = evaluation.sequence_figures(Oracle(sources, wrong_side=True, ghost=True), 6, seed=4)
    assert any(false for _, false in figures.empty) and not any(
        right for *_, right in figures.targets
    )
    assert not figures.errors
    evaluation.print_sequences(evaluation.SequenceFigures())
    assert capsys.readouterr().out.splitlines()[-2].split() == ['all', *'-----']


def test_a_sheet_shows_as_many_scenes_as_asked_for(tmp_path):
    tracker = HandTracker(Oracle([type('', (), {'scene': type('', (), {'hands': ()})})]))
    scene_sheet(tmp_path / 'scenes.png', 3, 5, tracker, looks=1, columns=2)
    assert cv2.imread(str(tmp_path / 'scenes.png')).shape == (480, 640, 3)


def test_reliability_is_drawn_of_what_there_is(tmp_path):
    random = np.random.default_rng(0)
    score = random.uniform(size=500)
    draw_reliability(
        tmp_path / 'new' / 'scores.png',
        {
            'chances': (score, random.uniform(size=500) < score),
            'too few': (score[:9], score[:9] > 0.5),
        },
    )
    assert (tmp_path / 'new' / 'scores.png').read_bytes()[:4] == b'\x89PNG'
    assert reliability(SceneFigures()) == {}
    ((label, (scores, true)),) = reliability(
        SceneFigures(scores=[(np.full(21, 0.7), np.linspace(0, 20, 21))])
    ).items()
    assert '10 mm' in label and scores.shape == true.shape == (21,) and true.sum() == 11
