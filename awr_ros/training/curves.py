"""The two plots of hand pose papers: share of frames within a maximum error, and mean error of each joint."""
from pathlib import Path

import numpy as np

LIMITS_MM = np.arange(0, 80.5, 0.5)


def draw_curves(folder, name, methods, joint_names):
    """Write both plots as PNG. methods: {label: (N,J) errors [mm]}. Returns their paths."""
    from matplotlib.figure import Figure        # of the training extras; without pyplot, so no window and no global state

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frames = Figure(figsize=(7, 5), layout='constrained')
    axes = frames.subplots()
    for label, errors in methods.items():
        worst = np.sort(errors.max(1))
        axes.plot(LIMITS_MM, 100 * np.searchsorted(worst, LIMITS_MM, side='right') / len(worst), label=label)
    axes.set(xlim=(0, 80), ylim=(0, 100), xlabel='error threshold D [mm]', ylabel='frames with max error <= D [%]', title=name)
    bars = Figure(figsize=(max(7, 0.6 * len(joint_names)), 5), layout='constrained')
    bar_axes = bars.subplots()
    width = 0.8 / len(methods)
    places = np.arange(len(joint_names) + 1)
    for i, (label, errors) in enumerate(methods.items()):
        bar_axes.bar(places + (i - (len(methods) - 1) / 2) * width, [*errors.mean(0), errors.mean()], width,
                     label=f'{label} ({errors.mean():.2f} mm)')
    bar_axes.set(ylabel='mean error [mm]', title=name)
    bar_axes.set_xticks(places, [*joint_names, 'mean'], rotation=60, ha='right')
    paths = [folder / f'{name}_frames.png', folder / f'{name}_joints.png']
    for path, figure, drawn in zip(paths, (frames, bars), (axes, bar_axes)):
        drawn.grid(alpha=0.3)
        drawn.legend()
        figure.savefig(path, dpi=120)
    return paths
