#!/usr/bin/env python3
"""Draws docs/joints.svg: the joints with their numbers and names, and the axes of the wrist frame;
and docs/wrist_frames.svg: the axes that OpenXR, MANO and the operator frame have at the wrist.

    python scripts/draw_joints.py [FILE [FILE]]
"""

import sys
from pathlib import Path

import numpy as np

from awr_ros.derived.openxr import mano_rotation, openxr_joints, operator_rotation
from awr_ros.draw import FINGER_COLOURS
from awr_ros.skeleton import BONES, JOINT_NAMES, SIDES, WRIST, wrist_rotation

WIDTH, HEIGHT, AXIS = 760, 470, 62  # [px]
NAME = {'right': (10, 'start'), 'left': (-10, 'end')}  # distance from the joint [px], anchor
# A right hand with its palm to the camera and its fingers up [px], as the camera sees it: wrist,
# then thumb to pinky.
ROOT = (150, 410)
FINGERS = (
    ((205, 372), (246, 335), (275, 298), (299, 262)),
    ((194, 258), (206, 196), (212, 155), (217, 120)),
    ((153, 248), (155, 178), (157, 132), (158, 94)),
    ((113, 256), (106, 192), (102, 148), (99, 112)),
    ((77, 276), (62, 228), (53, 194), (46, 163)),
)
RIGHT = np.array([ROOT, *(joint for finger in FINGERS for joint in finger)], float)


def hand(side):
    """Return the SVG elements of one hand."""
    joints = RIGHT if side == 'right' else [330, 0] + RIGHT * [-1, 1]
    joints = joints + ([400, 0] if side == 'right' else [0, 0])
    colours = ['#' + ''.join(f'{value:02x}' for value in reversed(bgr)) for bgr in FINGER_COLOURS]
    for a, b in BONES:
        (x1, y1), (x2, y2) = joints[[a, b]]
        yield (
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" '
            f'stroke="{colours[(b - 1) // 4]}" stroke-width="4"/>'
        )
    # the page is the image: x right, y down, z into it
    rotation = wrist_rotation(np.c_[joints, np.zeros(21)], side)
    for name, axis, colour in zip('xy', rotation.T, ('#c00', '#080')):
        x, y = joints[WRIST]
        (dx, dy), (u, v) = AXIS * axis[:2], axis[:2]
        yield (
            f'<path d="M{x:.0f} {y:.0f} l{dx:.0f} {dy:.0f} m{-8 * u - 5 * v:.0f} '
            f'{-8 * v + 5 * u:.0f} '
            f'l{8 * u + 5 * v:.0f} {8 * v - 5 * u:.0f} l{-8 * u + 5 * v:.0f} '
            f'{-8 * v - 5 * u:.0f}" stroke="{colour}" '
            'stroke-width="2.5" fill="none"/>'
        )
        yield (
            f'<text x="{x + dx + 8:.0f}" y="{y + dy + 16:.0f}" fill="{colour}" '
            f'font-weight="bold">{name}</text>'
        )
    shift, anchor = NAME[side]
    for j, (x, y) in enumerate(joints):
        yield (
            f'<circle cx="{x:g}" cy="{y:g}" r="4.5" '
            f'fill="{colours[max(j - 1, 0) // 4] if j else "#444"}"/>'
        )
        if j == WRIST:
            yield f'<text x="{x:g}" y="{y + 22:g}" text-anchor="middle">{j} {JOINT_NAMES[j]}</text>'
        else:
            yield f'<text x="{x + shift:g}" y="{y + 4:g}" text-anchor="{anchor}">{j}</text>'
    x, y = joints[WRIST]
    yield (
        f'<circle cx="{x:g}" cy="{y:g}" r="8" fill="none" stroke="#00c" stroke-width="2"/>'
        f'<text x="{x - 14:g}" y="{y + 5:g}" fill="#00c" font-weight="bold" '
        f'text-anchor="end">z</text>'
    )
    yield (
        f'<text x="{x:g}" y="{HEIGHT - 14}" text-anchor="middle" font-size="15">{side} hand</text>'
    )


def names():
    """Return the legend: number and name of each joint."""
    for finger in range(5):
        for k in range(4):
            j = 1 + 4 * finger + k
            yield f'<text x="{12 + 150 * finger}" y="{18 + 15 * k}">{j} {JOINT_NAMES[j]}</text>'


FRAMES = {
    'OpenXR': lambda joints, side: openxr_joints(joints, side).rotations[1],
    'MANO': mano_rotation,
    'operator': lambda joints, side: operator_rotation(joints),
}
AXIS_COLOURS = ('#c00', '#080', '#00c')


def frame_panel(name, rotation, side, x, y):
    """Return the SVG elements of a hand with the axes of one wrist frame; axes along the line of
    sight are circles.
    """
    joints = RIGHT if side == 'right' else [330, 0] + RIGHT * [-1, 1]
    joints = joints * 0.42 + [x, y]
    for a, b in BONES:
        (x1, y1), (x2, y2) = joints[[a, b]]
        yield (
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#bbb" '
            f'stroke-width="3"/>'
        )
    wx, wy = joints[WRIST]
    for axis_name, axis, colour in zip('xyz', rotation.T, AXIS_COLOURS):
        dx, dy = 48 * axis[:2]
        if abs(axis[2]) > 0.9:  # the page's z looks into it
            word = 'into the page' if axis[2] > 0 else 'out of the page'
            yield (
                f'<circle cx="{wx:.0f}" cy="{wy:.0f}" r="7" fill="white" stroke="{colour}" '
                f'stroke-width="2"/>'
            )
            yield (
                f'<text x="{wx:.0f}" y="{wy + 76:.0f}" fill="{colour}" '
                f'text-anchor="middle">{axis_name} {word}</text>'
            )
        else:
            yield (
                f'<line x1="{wx:.0f}" y1="{wy:.0f}" x2="{wx + dx:.0f}" y2="{wy + dy:.0f}" '
                f'stroke="{colour}" stroke-width="2.5"/>'
                f'<circle cx="{wx + dx:.0f}" cy="{wy + dy:.0f}" r="3.5" fill="{colour}"/>'
            )
            yield (
                f'<text x="{wx + 1.25 * dx - 3:.0f}" y="{wy + 1.25 * dy + 4:.0f}" fill="{colour}" '
                f'font-weight="bold">{axis_name}</text>'
            )
    yield (
        f'<text x="{wx:.0f}" y="{wy + 94:.0f}" text-anchor="middle" font-size="13">{name}, '
        f'{side}</text>'
    )


def frames_picture():
    """Return the lines of docs/wrist_frames.svg."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 305" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="305" fill="white"/>',
    ]
    for column, (name, rotation) in enumerate(FRAMES.items()):
        for k, side in enumerate(SIDES):
            joints = RIGHT if side == 'right' else [330, 0] + RIGHT * [-1, 1]
            x = 252 * column + 126 * k - 8
            lines += frame_panel(name, rotation(np.c_[joints, np.zeros(21)], side), side, x, 10)
    return [
        *lines,
        f'<text x="{WIDTH / 2}" y="298" text-anchor="middle">palms to the camera</text>',
        '</svg>',
    ]


def main(path, frames_path):
    """Write the drawings."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *names(),
        *(line for side in SIDES for line in hand(side)),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">palms to the camera; z '
        f'into the page</text>',
        '</svg>',
    ]
    path.write_text('\n'.join(lines) + '\n')
    frames_path.write_text('\n'.join(frames_picture()) + '\n')


if __name__ == '__main__':
    docs = Path(__file__).resolve().parents[1] / 'docs'
    given = [Path(argument) for argument in sys.argv[1:3]]
    main(*given, *(docs / name for name in ('joints.svg', 'wrist_frames.svg')[len(given) :]))
