"""Plots of hand pose papers, share of frames within a maximum error and mean error of each joint;
and reliability.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from awr_ros.files import completed

LIMITS_MM = np.arange(0, 80.5, 0.5)
BINS = 10


def draw_curves(
    folder: str | Path, name: str, methods: Mapping[str, np.ndarray], joint_names: Sequence[str]
) -> list[Path]:
    """Write both plots as PNG. methods: {label: (N,J) errors [mm]}. Return their paths."""
    # from the training extras; without pyplot there is no window and no global state
    from matplotlib.figure import (
        Figure,
    )

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frames = Figure(figsize=(7, 5), layout='constrained')
    axes = frames.subplots()
    for label, errors in methods.items():
        worst = np.sort(errors.max(1))
        axes.plot(
            LIMITS_MM,
            100 * np.searchsorted(worst, LIMITS_MM, side='right') / len(worst),
            label=label,
        )
    axes.set(
        xlim=(0, 80),
        ylim=(0, 100),
        xlabel='error threshold D [mm]',
        ylabel='frames with max error <= D [%]',
        title=name,
    )
    bars = Figure(figsize=(max(7, 0.6 * len(joint_names)), 5), layout='constrained')
    bar_axes = bars.subplots()
    width = 0.8 / len(methods)
    positions = np.arange(len(joint_names) + 1)
    for i, (label, errors) in enumerate(methods.items()):
        bar_axes.bar(
            positions + (i - (len(methods) - 1) / 2) * width,
            [*errors.mean(0), errors.mean()],
            width,
            label=f'{label} ({errors.mean():.2f} mm)',
        )
    bar_axes.set(ylabel='mean error [mm]', title=name)
    bar_axes.set_xticks(positions, [*joint_names, 'mean'], rotation=60, ha='right')
    paths = [folder / f'{name}_frames.png', folder / f'{name}_joints.png']
    for path, figure, drawn in zip(paths, (frames, bars), (axes, bar_axes)):
        drawn.grid(alpha=0.3)
        drawn.legend()
        _save(figure, path)
    return paths


def draw_reliability(path: str | Path, scores: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write a reliability diagram: frequency of true cases by score, on the diagonal for calibrated
    scores.

    path: PNG; scores: {label: (scores (N,) [0,1], true (N,) bool)}. Bins of less than 20 are left
    out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), layout='constrained')
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color='0.6', linestyle='--')
    for label, (score, true) in scores.items():
        of = np.clip((score * BINS).astype(int), 0, BINS - 1)
        full = [i for i in range(BINS) if (of == i).sum() >= 20]
        axes.plot(
            [score[of == i].mean() for i in full],
            [true[of == i].mean() for i in full],
            marker='o',
            label=label,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel='score', ylabel='share that is true')
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure, path):
    with completed(path) as part:
        figure.savefig(part, dpi=120)
