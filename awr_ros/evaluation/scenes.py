"""Errors of the tracker on whole rendered frames: given and found hands, sides, false hands, jitter
over time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.estimator import HandPoseEstimator
from awr_ros.skeleton import PALM, TIPS, palm_centre
from awr_ros.synthetic.camera import SyntheticCamera, TrueHand
from awr_ros.synthetic.scenes import Scene, SceneSource
from awr_ros.synthetic.seeds import SCENES_SEED, SEQUENCES_SEED
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig

SEQUENCE_FRAMES = 15
# first frame in which hands count: the interval of searches beside a tracked hand
SETTLED = 5
DISTANCES_MM = ((0.0, 1000.0), (1000.0, 1800.0))
# frames of every scene: one more than that interval
FRAMES_PER_SCENE = 6
FOUND_MM = 60.0  # largest distance of a palm from the truth for a match
CENTRE_ERROR_MM = 8.0  # standard deviation per axis of given centres
VISIBLE = 0.6  # minimum visible share of a hand; hands below it are ignored
# Of an overexposed or far hand a camera may measure next to nothing: those of which it measures
# this share are also listed apart.
MEASURED = 0.5
RATE = 30.0  # [Hz]
RIGHT_MM = 10.0  # a joint's score is the probability of an error below this


@dataclass
class SceneFigures:
    """Counts over scenes."""

    errors: list = field(default_factory=list)  # (21,) [mm] errors of each hand with a given centre
    objects: list = field(default_factory=list)  # bool for each of these: scene with objects
    # bool for each hand to find: tracked in the last frame
    found: list = field(default_factory=list)
    side_right: list = field(default_factory=list)  # bool for each found hand: correct side
    # bool for each scene without hands: a hand was reported in some frame
    false_in_empty: list = field(default_factory=list)
    # bool for each scene with hands: another hand was reported in some frame
    false_beside: list = field(default_factory=list)
    # (joint scores (21,), errors (21,) [mm]) of each found hand
    scores: list = field(default_factory=list)


def scene_figures(
    estimator: Any,
    count: int,
    seed: int = SCENES_SEED,
    config: TrackerConfig = TrackerConfig(),
    progress: Callable = iter,
) -> SceneFigures:
    """Run the tracker on `count` scenes; return SceneFigures. config: of the tracker; progress:
    wraps their range, as tqdm does.
    """
    scenes, rng, figures = SceneSource(seed), np.random.default_rng(seed), SceneFigures()
    for _ in progress(range(count)):
        scene = scenes.draw(frames=FRAMES_PER_SCENE)
        tracker = HandTracker(estimator, config)
        false = False
        for look, depth_mm in enumerate(scene.frames):
            hands = tracker.update(depth_mm, scene.intrinsics, look / RATE)
            matched = match(hands, scene.hands)
            false |= len(hands) > sum(hand is not None for hand in matched)
        for truth, visible, hand in zip(scene.hands, scene.visible, matched):
            if not is_target(truth, visible, scene, config):
                continue
            figures.found.append(hand is not None)
            if hand is not None:
                figures.side_right.append(hand.side == truth.side)
                figures.scores.append(
                    (hand.joint_scores, np.linalg.norm(hand.joints_xyz - truth.joints_xyz, axis=1))
                )
            palm = palm_centre(truth.joints_xyz)
            pose = estimator.estimate(
                scene.depth_mm,
                scene.intrinsics,
                palm + rng.normal(0, CENTRE_ERROR_MM, 3),
                truth.side,
            )
            if pose is not None:
                figures.errors.append(np.linalg.norm(pose.joints_xyz - truth.joints_xyz, axis=1))
                figures.objects.append(scene.objects)
        (figures.false_beside if scene.hands else figures.false_in_empty).append(false)
    return figures


@dataclass
class SequenceFigures:
    """Counts over the frames of sequences."""

    # (kind of camera, false hands) of each frame without any hand
    empty: list = field(default_factory=list)
    # (kind of camera, false hands) of each frame with hands
    beside: list = field(default_factory=list)
    # (kind, distance [mm], share measured, found, side correct) of each visible hand in a frame
    targets: list = field(default_factory=list)
    # (kind, (21,) errors of the joints [mm]) of each target that was found with the right side
    errors: list = field(default_factory=list)
    empty_sequences: int = 0
    sequences: int = 0
    max_depth_mm: float = TrackerConfig.max_depth_mm  # hands beyond it are ignored


def sequence_figures(
    estimator: HandPoseEstimator,
    count: int,
    seed: int = SEQUENCES_SEED,
    config: TrackerConfig = TrackerConfig(),
    progress: Callable = iter,
) -> SequenceFigures:
    """Run a new tracker on each of `count` sequences of a moving camera or moving arms, with new
    noise in every frame.

    Every second one has arms, but no hand. config: of the tracker; progress: wraps the range of
    sequences, as tqdm does.
    """
    source, figures = SceneSource(seed), SequenceFigures(max_depth_mm=config.max_depth_mm)
    for i in progress(range(count)):
        tracker, without = HandTracker(estimator, config), i % 2 == 0
        sequence = (
            source.sequence(0, SEQUENCE_FRAMES, arms=1 + i // 2 % 2)
            if without
            else source.sequence(1 + i // 2 % 2, SEQUENCE_FRAMES)
        )
        empty = not any(scene.hands for scene in sequence)
        for number, scene in enumerate(sequence):
            hands = tracker.update(scene.depth_mm, scene.intrinsics, number / RATE)
            matched = match(hands, scene.hands)
            false = len(hands) - sum(hand is not None for hand in matched)
            (figures.empty if empty else figures.beside).append((scene.kind, false))
            for truth, visible, measured, hand in zip(
                scene.hands, scene.visible, scene.measured, matched
            ):
                if number >= SETTLED and is_target(truth, visible, scene, config):
                    figures.targets.append(
                        (
                            scene.kind,
                            float(palm_centre(truth.joints_xyz)[2]),
                            measured,
                            hand is not None,
                            hand is not None and hand.side == truth.side,
                        )
                    )
                    if hand is not None and hand.side == truth.side:
                        errors_mm = np.linalg.norm(hand.joints_xyz - truth.joints_xyz, axis=1)
                        figures.errors.append((scene.kind, errors_mm))
        figures.sequences, figures.empty_sequences = (
            figures.sequences + 1,
            figures.empty_sequences + empty,
        )
    return figures


def print_sequences(figures: SequenceFigures) -> None:
    """Print the tables of `sequence_figures`, by kind of camera: shares of frames, also by
    distance, and the errors of the joints where the side is right.
    """
    print(
        f'sequences of {SEQUENCE_FRAMES} frames: {figures.empty_sequences} of arms without a hand, '
        f'{figures.sequences - figures.empty_sequences} with hands, evaluated to '
        f'{figures.max_depth_mm / 1000:g} m; shares of frames'
    )
    spans = [f'found {low / 1000:g}-{high / 1000:g} m' for low, high in DISTANCES_MM]
    print(
        f'{"camera":18}'
        + ''.join(
            f'{name:>19}' for name in ('false, no hand', *spans, 'side right', 'false beside hands')
        )
    )
    kinds = sorted({kind for kind, *_ in (*figures.empty, *figures.beside)})
    for name, chosen, least in (
        *((kind, (kind,), 0.0) for kind in kinds),
        ('all', kinds, 0.0),
        (f'{MEASURED:.0%} measured', kinds, MEASURED),
    ):
        targets = [
            (distance, found, right)
            for kind, distance, measured, found, right in figures.targets
            if kind in chosen and measured >= least
        ]
        columns = [[false > 0 for kind, false in figures.empty if kind in chosen]]
        columns += [
            [found for distance, found, _ in targets if low <= distance < high]
            for low, high in DISTANCES_MM
        ]
        columns.append([right for _, found, right in targets if found])
        columns.append([false > 0 for kind, false in figures.beside if kind in chosen])
        print(
            f'{name:18}'
            + ''.join(
                f'{f"{np.mean(flags):.1%} of {len(flags)}" if flags else "-":>19}'
                for flags in columns
            )
        )
    for name, chosen in (*((kind, (kind,)) for kind in kinds), ('all', kinds)):
        errors_mm = np.array([each for kind, each in figures.errors if kind in chosen])
        if len(errors_mm):
            print(
                f'{name:18}joints mean {errors_mm.mean():.2f} mm, median '
                f'{np.median(errors_mm):.2f} mm, fingertips mean '
                f'{errors_mm[:, TIPS].mean():.2f} mm, {len(errors_mm)} hands'
            )


def is_target(truth: TrueHand, visible: float, scene: Scene, config: TrackerConfig) -> bool:
    """Whether a hand has to be found: enough of it is visible, its palm is in the image and within
    the tracker's range, and no joint is nearer than the camera measures.
    """
    return bool(
        visible >= VISIBLE
        and in_image(truth.joints_uvd[list(PALM)], scene.intrinsics)
        and config.min_depth_mm <= palm_centre(truth.joints_xyz)[2] <= config.max_depth_mm
        and truth.joints_uvd[:, 2].min() >= scene.nearest_mm
    )


def match(hands: Sequence, truths: Sequence) -> list:
    """Return for each TrueHand the matching TrackedHand, or None; none matches two."""
    left, matched = list(hands), []
    for truth in truths:
        palm = palm_centre(truth.joints_xyz)
        near = [
            hand for hand in left if np.linalg.norm(palm_centre(hand.joints_xyz) - palm) < FOUND_MM
        ]
        matched.append(near[0] if near else None)
        left = [hand for hand in left if hand is not matched[-1]]
    return matched


def in_image(uvd: np.ndarray, intrinsics: Intrinsics) -> bool:
    """Whether all points (n,3) [px, px, mm] are in the image."""
    return bool(
        (uvd[:, :2] >= 0).all()
        and (uvd[:, 0] < intrinsics.width).all()
        and (uvd[:, 1] < intrinsics.height).all()
    )


def print_scenes(figures: SceneFigures) -> None:
    """Print the table of `scene_figures`."""
    errors, objects = np.array(figures.errors), np.array(figures.objects, bool)
    print(
        f'scenes of {FRAMES_PER_SCENE} frames: {len(figures.false_in_empty)} without a hand, '
        f'{len(figures.false_beside)} with hands; '
        f'{len(figures.found)} hands at least {VISIBLE:.0%} visible'
    )
    for name, of in (
        ('centre given', errors),
        ('  without objects', errors[~objects]),
        ('  with objects', errors[objects]),
    ):
        if len(of):
            print(
                f'{name:18}joints mean {of.mean():5.2f} mm   median {np.median(of):5.2f} mm   '
                f'fingertips mean '
                f'{of[:, TIPS].mean():5.2f} mm   max <= 20 mm {np.mean(of.max(1) <= 20):6.1%}'
            )
    if figures.scores:
        tracked = np.array([errors_mm for _, errors_mm in figures.scores])
        print(
            f'{"by the tracker":18}joints mean {tracked.mean():5.2f} mm   fingertips mean '
            f'{tracked[:, TIPS].mean():5.2f} mm'
        )
    for name, flags in (
        ('hands found', figures.found),
        ('side right', figures.side_right),
        ('false hands, none there', figures.false_in_empty),
        ('false hands beside hands', figures.false_beside),
    ):
        print(f'{name:26}{np.mean(flags) if flags else np.nan:7.1%} of {len(flags)}')
    if figures.scores:
        scores, errors = _joints(figures)
        print('joint score        ' + '  '.join(f'{low:.1f}-{low + 0.1:.1f}' for low in _SCORES))
        within = [(scores >= low) & (scores < low + 0.1) for low in _SCORES]
        print(
            '  its error [mm]   '
            + '  '.join(f'{errors[w].mean():7.1f}' if w.any() else '      -' for w in within)
        )
        print(
            f'  within {RIGHT_MM:.0f} mm     '
            + '  '.join(
                f'{(errors[w] <= RIGHT_MM).mean():7.1%}' if w.any() else '      -' for w in within
            )
        )


def reliability(figures: SceneFigures) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {label: (scores (N,) [0,1], true (N,) bool)} of the joints of found hands."""
    if not figures.scores:
        return {}
    scores, errors = _joints(figures)
    return {f'joint score, within {RIGHT_MM:.0f} mm': (scores, errors <= RIGHT_MM)}


def _joints(figures):
    """Return scores and errors [mm] (N,) of all joints of found hands."""
    return tuple(np.concatenate(column) for column in zip(*figures.scores))


_SCORES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def print_sequence(estimator: Any, seconds: float, config: TrackerConfig = TrackerConfig()) -> None:
    """Track the synthetic camera's moving hand and print errors, jitter and losses."""
    camera, tracker = SyntheticCamera(), HandTracker(estimator, config)
    each_error: list[np.ndarray] = []
    ids: set[str] = set()
    seen = 0
    for i in range(max(3, round(seconds * RATE))):  # jitter takes three
        depth, (truth,) = camera.frame(i / RATE)
        hands = tracker.update(depth, camera.intrinsics, i / RATE)
        (hand,) = match(hands, (truth,))
        each_error.append(hand.joints_xyz - truth.joints_xyz if hand else np.full((21, 3), np.nan))
        seen += hand is not None
        ids.update(hand.id for hand in hands)
    errors = np.array(each_error)
    # Second differences of independent errors have six times their variance; slow drift cancels
    # out.
    jitter = np.sqrt(np.nanmean(np.sum(np.diff(errors, 2, axis=0) ** 2, -1)) / 6)
    distance = np.linalg.norm(errors, axis=-1)
    print(
        f'sequence of {seconds:g} s: seen in {seen / len(errors):.1%} of frames, identities '
        f'{len(ids)}, joints mean '
        f'{np.nanmean(distance):.2f} mm, fingertips mean {np.nanmean(distance[:, TIPS]):.2f} mm, '
        f'jitter {jitter:.2f} mm'
    )
