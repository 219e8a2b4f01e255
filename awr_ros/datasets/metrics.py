"""The papers' metrics: predictions in the standard text format against the truth, in
millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from awr_ros.camera import Intrinsics
from awr_ros.datasets.specs import dataset_spec
from awr_ros.datasets.text_files import read_table

NYU_IDS = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)  # the 14 evaluated joints of 36
FRAME_LIMITS_MM = tuple(range(10, 81, 10))
AUC_LIMITS_MM = np.linspace(0, 50, 100)  # sampling of the curve in the authors' code


@dataclass(frozen=True)
class Report:
    """Figures of one method as in papers."""

    mean_mm: float  # over frames and joints
    median_mm: float  # over frames and joints
    joint_mm: np.ndarray  # (J,) mean of each joint
    subject_mm: dict  # {name: mean} of each subject of the test set
    auc: float  # [0,1] area under the share of joints within 0 to 50 mm
    frames_within: np.ndarray  # (8,) share of frames whose worst joint is within 10, 20, ... 80 mm


def joint_errors(
    joints_uvd: np.ndarray, truth_uvd: np.ndarray, intrinsics: Intrinsics
) -> np.ndarray:
    """Return the Euclidean distances (N,J) [mm]. joints_uvd, truth_uvd: (N,J,3) [px, px, mm]."""
    return np.linalg.norm(
        intrinsics.uvd_to_xyz(joints_uvd) - intrinsics.uvd_to_xyz(truth_uvd), axis=-1
    )


def report(errors_mm: np.ndarray, subjects: Sequence[tuple[str, int, int]] = ()) -> Report:
    """Compute the Report of one method. errors_mm: (N,J) [mm]; subjects: (name, first frame, frame
    after the last one), of which only those within the N frames are reported.
    """
    share = np.array([(errors_mm <= limit).mean() for limit in AUC_LIMITS_MM])
    worst = errors_mm.max(1)
    return Report(
        float(errors_mm.mean()),
        float(np.median(errors_mm)),
        errors_mm.mean(0),
        {
            name: float(errors_mm[first:last].mean())
            for name, first, last in subjects
            if last <= len(errors_mm)
        },
        float(((share[1:] + share[:-1]) / 2).mean()),
        np.array([(worst <= limit).mean() for limit in FRAME_LIMITS_MM]),
    )


def read_joints(path: str | Path, name: str, xyz: bool = False) -> np.ndarray:
    """Read the joints of every frame of a text file, or the 14 evaluated ones of view 1 of NYU's
    joint_data.mat.

    name: of the data set; xyz: the numbers are xyz [mm] in the camera's optical frame, not uvd. A
    file name before the numbers is skipped, as in the labels of ICVL and HANDS17. Return (N,J,3)
    [px, px, mm].
    """
    conventions = dataset_spec(name)
    count = len(conventions.joint_names)
    if Path(path).suffix == '.mat':
        if name != 'nyu':
            raise ValueError(f'{path}: only nyu has its labels in a .mat file')
        return read_joint_data(path, 'joint_uvd')[:, NYU_IDS]
    joints = read_table(path, 3 * count, names='maybe')[0].reshape(-1, count, 3)
    bad = np.flatnonzero((joints[..., 2] <= 0).any(1))
    if len(bad):
        raise ValueError(
            f'{path}, frame {bad[0]} (counted from 0): every depth must be positive, got '
            f'{joints[bad[0], :, 2].min():g} mm'
        )
    return conventions.intrinsics.xyz_to_uvd(joints) if xyz else joints


def read_joint_data(path: str | Path, key: str) -> np.ndarray:
    """Read view 1 of NYU's joint_data.mat. key: 'joint_uvd' or 'joint_xyz' (as in the file: y up).
    Return (N,36,3) float64.
    """
    import scipy.io  # from the training extras

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}')
    try:
        joints = np.asarray(scipy.io.loadmat(path)[key], np.float64)[0]
    except (KeyError, ValueError, TypeError, NotImplementedError, OSError, IndexError) as error:
        raise ValueError(
            f'{path} cannot be read as NYU labels with {key}: {type(error).__name__} {error}'
        ) from error
    if joints.ndim != 3 or joints.shape[1:] != (36, 3):
        raise ValueError(f'{path}: {key} of a view must be (N, 36, 3), got {joints.shape}')
    return joints


def compare(
    name: str,
    predictions: Sequence[str | Path],
    truth: str | Path,
    plots: str | Path = '.',
    xyz: bool = False,
) -> None:
    """Print the reports of several methods' files and draw the two customary plots with all of
    them.

    name: of the data set; predictions: paths of text files; truth: path of the labels; plots:
    folder; xyz: see `read_joints`. Raise FileNotFoundError and ValueError that name the file.
    """
    conventions = dataset_spec(name)
    truth_uvd = read_joints(truth, name, xyz)
    names = _labels([Path(path) for path in predictions])
    methods = {}
    for label, path in zip(names, predictions):
        joints_uvd = read_joints(path, name, xyz)
        if joints_uvd.shape != truth_uvd.shape:
            raise ValueError(
                f'{path} has {len(joints_uvd)} frames, but {truth} has {len(truth_uvd)}'
            )
        methods[label] = joint_errors(joints_uvd, truth_uvd, conventions.intrinsics)
    for label, errors in methods.items():
        print_report(
            label,
            report(errors, conventions.test_subjects),
            errors.shape[0],
            conventions.joint_names,
        )
    from awr_ros.evaluation.curves import draw_curves

    for path in draw_curves(plots, name, methods, conventions.joint_names):
        print(f'wrote {path}')


def print_report(label: str, figures: Report, frames: int, joint_names: Sequence[str]) -> None:
    """Print a Report."""
    print(f'{label}: {frames} frames')
    print(f'  mean error        {figures.mean_mm:8.4f} mm')
    print(f'  median error      {figures.median_mm:8.4f} mm')
    for name, mean in figures.subject_mm.items():
        print(f'  {name:<29} {mean:8.4f} mm')
    print(f'  AUC 0-50 mm       {figures.auc:8.4f}')
    for limit, share in zip(FRAME_LIMITS_MM, figures.frames_within):
        print(f'  max error <= {limit} mm  {share:7.2%} of frames')
    for name, mean in zip(joint_names, figures.joint_mm):
        print(f'  {name:<20} {mean:7.3f} mm')


def _labels(paths):
    """Return a distinct name for each file: its stem, or the path where stems repeat."""
    stems = [path.stem for path in paths]
    labels = [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths)]
    if len(set(labels)) < len(labels):
        raise ValueError(
            f'every file of predictions must be given once, got {", ".join(map(str, paths))}'
        )
    return labels
