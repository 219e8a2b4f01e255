"""Text files of numbers, one frame per line: labels, predictions, centres. Errors name the file and
the line.
"""

import math
from pathlib import Path

import numpy as np

from awr_ros.files import completed


def read_table(
    path: str | Path, columns: int, names: str = 'none', skip: int = 0
) -> tuple[np.ndarray, list[str]]:
    """Read the numbers of a text file, separated by blanks, tabs or commas.

    columns: numbers per line; names: 'none', 'first' (each line begins with a file name) or
    'maybe'; skip: lines before the first frame. Empty lines are skipped. Return (N, columns)
    float64 and a list of the N names ('' without). Raise FileNotFoundError, or ValueError that
    names the file, the line, what was expected and what is there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}')
    rows, found = [], []
    with open(path, encoding='utf-8', errors='replace') as file:
        for number, line in enumerate(file, 1):
            words = line.replace(',', ' ').split()
            if number <= skip or not words:
                continue
            named = names == 'first' or (names == 'maybe' and len(words) == columns + 1)
            found.append(words.pop(0) if named else '')
            if len(words) != columns:
                raise ValueError(
                    f'{path}, line {number}: expected {columns} numbers{" after a name" * named}, '
                    f'got {len(words)}'
                )
            rows.append(_numbers(words, path, number))
    if not rows:
        raise ValueError(f'{path} has no frames: expected lines of {columns} numbers')
    return np.array(rows), found


def _numbers(words, path, line):
    """Parse finite floats (n,)."""
    try:
        values = np.array(words, np.float64)
    except ValueError:
        values = np.array([_float(word) for word in words])
    if not np.isfinite(values).all():
        raise ValueError(
            f'{path}, line {line}: expected finite numbers, got '
            f'{words[np.isfinite(values).argmin()]!r}'
        )
    return values


def _float(word):
    try:
        return float(word)
    except ValueError:
        return math.nan


def write_predictions(path: str | Path, joints_uvd: np.ndarray) -> None:
    """Write the standard result format, one line per frame. joints_uvd: (N,J,3) [px, px, mm] full
    image.
    """
    with completed(path) as part:
        np.savetxt(part, np.asarray(joints_uvd).reshape(len(joints_uvd), -1), fmt='%.3f')
