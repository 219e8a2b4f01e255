"""Self-test of the OpenXR output against the definitions of the message and of
XR_EXT_hand_tracking.

Hands come from scripted gestures of the synthetic camera through the tracker, or from a running
node (ros/measure/listen.py).
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.derived.openxr import (
    METACARPALS,
    NUM_OPENXR_JOINTS,
    OPENXR_WRIST,
    ORIENTATION_TRACKED,
    ORIENTATION_VALID,
    PALM,
    POSITION_TRACKED,
    POSITION_VALID,
    openxr_joints,
)
from awr_ros.files import check_output, write_text
from awr_ros.messages.depth_image import MM_PER_M
from awr_ros.messages.hands import quaternion_from_rotation
from awr_ros.settings import number_from
from awr_ros.skeleton import Side

# postures, 1.5 s each
SCRIPT = ('spread', 'fist', 'point', 'pinch', 'thumb up', 'flat', 'ok', 'hook')
RATE_HZ = 30.0  # rate of the camera, and minimum rate of the output
MAX_ERROR_MM = 15.0  # median over the measured joints
MAX_TURN_DEG = 25.0  # median over the orientations
BONE_M = (0.008, 0.12)
RADIUS_M = (0.003, 0.03)
# (base, end) of the bones, by index: each finger's chain, and the wrist to every base.
CHAINS = (tuple(range(2, 6)), *(tuple(range(base, base + 5)) for base in METACARPALS))
BONES = tuple(pair for chain in CHAINS for pair in zip(chain, chain[1:]))


@dataclass(frozen=True)
class Hand:
    """One published hand."""

    id: str
    side: Side  # 'left' or 'right'
    positions: np.ndarray  # (N,3) [m], N should be 26
    quaternions: np.ndarray  # (N,4) x, y, z, w
    radii: np.ndarray  # (N,) [m]
    flags: np.ndarray  # (N,) of XrSpaceLocationFlagBits
    # true positions (26,3) [m] and rotations (26,3,3)
    truth: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Frame:
    """Hands published for one depth image."""

    stamp_s: float
    done_s: float  # time of arrival, clock of this machine
    latency_s: float  # [s] from the image to its hands
    hands: tuple[Hand, ...]


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    found: str
    passed: bool


def run_checks(frames: Sequence[Frame]) -> list[Check]:
    """Run all checks. Without frames or hands only those that are possible, and these fail."""
    hands = [hand for frame in frames for hand in frame.hands]
    checks = [
        *_timing(frames),
        Check('hands', f'{len(hands)} in {len(frames)} images', bool(hands)),
    ]
    wrong = [
        hand
        for hand in hands
        if {len(hand.positions), len(hand.quaternions), len(hand.radii), len(hand.flags)}
        != {NUM_OPENXR_JOINTS}
    ]
    checks.append(Check('26 joints, radii and flags', f'{len(wrong)} hands differ', not wrong))
    if not hands or wrong:
        return checks
    return [*checks, *_numbers(hands), *_placement(hands), *_truth(hands)]


def _timing(frames: Sequence[Frame]) -> Iterable[Check]:
    stamps, done = (
        np.array([getattr(frame, name) for frame in frames]) for name in ('stamp_s', 'done_s')
    )
    if len(frames) < 2:
        yield Check('timing', f'{len(frames)} images', False)
        return
    back = int((np.diff(stamps) <= 0).sum())
    yield Check('stamps increase', f'{back} do not', back == 0)
    rate = (len(frames) - 1) / (done[-1] - done[0])
    yield Check(f'at least {RATE_HZ:g} Hz', f'{rate:.1f} Hz', rate >= 0.99 * RATE_HZ)
    latency = 1e3 * np.percentile([frame.latency_s for frame in frames], [50, 99])
    yield Check(
        'latency below two images',
        f'p50 {latency[0]:.1f} ms, p99 {latency[1]:.1f} ms',
        latency[1] < 2e3 / RATE_HZ,
    )


def _numbers(hands: Sequence[Hand]) -> Iterable[Check]:
    positions, quaternions, radii, flags = (
        np.stack([getattr(hand, name) for hand in hands])
        for name in ('positions', 'quaternions', 'radii', 'flags')
    )
    placed, turned = flags & POSITION_VALID > 0, flags & ORIENTATION_VALID > 0
    strange = (np.isfinite(positions).all(-1) != placed).sum() + (
        np.isfinite(quaternions).all(-1) != turned
    ).sum()
    yield Check('finite where valid, NaN elsewhere', f'{strange} joints are not', strange == 0)
    length = np.linalg.norm(quaternions[turned], axis=-1)
    off = float(np.abs(length - 1).max(initial=0))
    yield Check('unit quaternions', f'off by at most {off:.1e}', off < 1e-3)
    known = radii[np.isfinite(radii)]
    low, high = 1e3 * known.min(initial=np.inf), 1e3 * known.max(initial=0)
    good = RADIUS_M[0] * 1e3 < low and high < RADIUS_M[1] * 1e3
    yield Check('radii of a hand', f'{low:.1f} to {high:.1f} mm', good)
    tracked = flags & (POSITION_TRACKED | ORIENTATION_TRACKED) > 0
    inferred = int(tracked[:, [PALM, *METACARPALS]].sum()) + int(
        (tracked & ~(placed | turned)).sum()
    )
    yield Check('inferred joints are not tracked', f'{inferred} claim to be', inferred == 0)


def _placement(hands: Sequence[Hand]) -> Iterable[Check]:
    positions = np.stack([hand.positions for hand in hands])
    rotations = np.stack([_rotations(hand.quaternions) for hand in hands])
    starts, ends = np.array(BONES).T
    bones = positions[:, ends] - positions[:, starts]
    lengths = np.linalg.norm(bones, axis=-1)
    good = float(np.nanmean((lengths > BONE_M[0]) & (lengths < BONE_M[1])))
    yield Check(
        'bones of a hand',
        f'{good:.1%} are {1e3 * BONE_M[0]:g} to {1e3 * BONE_M[1]:g} mm',
        good > 0.99,
    )
    middle = (positions[:, 11] + positions[:, 12]) / 2
    off = 1e3 * float(np.nanmax(np.linalg.norm(positions[:, PALM] - middle, axis=-1)))
    yield Check('palm in the middle of the metacarpal', f'off by at most {off:.2f} mm', off < 0.5)
    cosines = (rotations[..., 2][:, starts] * bones).sum(-1) / lengths
    along, back = float(np.nanmin(cosines)), float(np.nanmax(cosines))
    yield Check('z against the bones', f'cosine {along:.4f} to {back:.4f}', back < -0.999)
    # The back of the hand, by the thumb: y of the palm is z cross the way to the thumb's side,
    # mirrored for the left.
    radial = positions[:, 7] - positions[:, 22]  # little to index MCP
    outward = np.cross(positions[:, 12] - positions[:, OPENXR_WRIST], radial)
    sign = np.array([1.0 if hand.side == 'right' else -1.0 for hand in hands])
    cosine = float(
        np.nanmin(
            (rotations[:, PALM, :, 1] * outward).sum(-1) * sign / np.linalg.norm(outward, axis=-1)
        )
    )
    yield Check('y out of the back of the hand', f'cosine at least {cosine:.3f}', cosine > 0.9)


def _truth(hands: Sequence[Hand]) -> Iterable[Check]:
    truths = [hand.truth for hand in hands if hand.truth is not None]
    known = [hand for hand in hands if hand.truth is not None]
    if not known:
        return
    positions, rotations = (np.stack([truth[i] for truth in truths]) for i in (0, 1))
    errors = 1e3 * np.linalg.norm(np.stack([hand.positions for hand in known]) - positions, axis=-1)
    cosine = (
        np.einsum(
            'hjab,hjab->hj', np.stack([_rotations(hand.quaternions) for hand in known]), rotations
        )
        - 1
    ) / 2
    turns = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    error, turn = float(np.nanmedian(errors)), float(np.nanmedian(turns))
    yield Check('joints where they truly are', f'median {error:.1f} mm', error < MAX_ERROR_MM)
    yield Check('turned as they truly are', f'median {turn:.1f} deg', turn < MAX_TURN_DEG)


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """Return the rotations (N,3,3) of quaternions (N,4) x, y, z, w."""
    x, y, z, w = np.moveaxis(quaternions, -1, 0)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return np.stack(rows, -1).reshape(*quaternions.shape[:-1], 3, 3)


def hand_of(
    joints_xyz: np.ndarray, side: Side, name: str = '', truth_xyz: np.ndarray | None = None
) -> Hand:
    """Convert (21,3) joints [mm], and true ones, as the node does."""
    joints = openxr_joints(joints_xyz, side)
    truth = None
    if truth_xyz is not None:
        true_joints = openxr_joints(truth_xyz, side)
        truth = true_joints.positions / MM_PER_M, true_joints.rotations
    quaternions = np.array([quaternion_from_rotation(rotation) for rotation in joints.rotations])
    return Hand(
        name,
        side,
        joints.positions / MM_PER_M,
        quaternions,
        joints.radii / MM_PER_M,
        joints.flags,
        truth,
    )


def track_script(
    tracker: Any, seconds: float, wrap: Callable[[Iterable], Iterable] = iter
) -> list[Frame]:
    """Track the scripted gestures of two hands in the synthetic camera; rendering is not timed."""
    from awr_ros.synthetic.camera import SyntheticCamera

    camera = SyntheticCamera(num_hands=2, postures=SCRIPT)
    frames, clock_s = [], 0.0
    for index in wrap(range(round(seconds * RATE_HZ))):
        stamp_s = index / RATE_HZ
        depth, true_hands = camera.frame(stamp_s)
        start_s = time.perf_counter()
        tracked = tracker.update(depth, camera.intrinsics, stamp_s)
        hands = tuple(
            hand_of(hand.joints_xyz, hand.side, hand.id, _nearest(hand, true_hands))
            for hand in tracked
        )
        latency_s = time.perf_counter() - start_s
        clock_s += latency_s
        frames.append(Frame(stamp_s, clock_s, latency_s, hands))
    return frames


def _nearest(hand: Any, true_hands: Iterable[Any]) -> np.ndarray | None:
    """Return the joints of the true hand of the same side [mm], None without one."""
    return next(
        (true_hand.joints_xyz for true_hand in true_hands if true_hand.side == hand.side), None
    )


def add_conformance(verbs: Any, listen: Callable[[str, float], list[Frame]]) -> None:
    """Add the verb to argparse's subparsers. listen(topic, seconds) collects the frames of a
    running node.
    """
    parser = verbs.add_parser(
        'conformance', help='test the OpenXR output, with scripted gestures or a running node'
    )
    parser.add_argument(
        '--seconds',
        type=number_from(1, float),
        default=12.0,
        help='duration (default: %(default)s)',
    )
    parser.add_argument(
        '--topic', help='check this OpenXRHandArray of a running node, for example tracker/openxr'
    )
    parser.add_argument('--output', type=Path, help='Markdown file for the report')
    parser.set_defaults(run=lambda arguments: conformance(arguments, listen))


def conformance(arguments: argparse.Namespace, listen: Callable[[str, float], list[Frame]]) -> int:
    """Run the verb; return the exit status, 1 when a check failed."""
    check_output(arguments.output)
    if arguments.topic:
        frames, source = (
            listen(arguments.topic, arguments.seconds),
            f'{arguments.topic} of a running node',
        )
    else:
        from tqdm import tqdm

        from awr_ros.tracker import HandTracker

        tracker = HandTracker.from_pretrained()
        frames = track_script(
            tracker, arguments.seconds, lambda images: tqdm(images, unit='image', disable=None)
        )
        source = f'scripted gestures of the synthetic camera, {tracker.description}'
    checks = run_checks(frames)
    lines = [
        f'{len(frames)} images: {source}',
        '',
        '| check | found | |',
        '|---|---|---|',
        *(
            f'| {check.name} | {check.found} | {"ok" if check.passed else "FAILED"} |'
            for check in checks
        ),
    ]
    print('\n'.join(lines))
    if arguments.output:
        write_text(arguments.output, '\n'.join(lines) + '\n')
    return 0 if all(check.passed for check in checks) else 1
