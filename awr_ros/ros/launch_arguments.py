"""Conversion and checks of launch arguments, which are texts."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from awr_ros.dependencies import CONFIGURATION_REFUSED

# The same texts as for launch conditions.
BOOLEANS = {'true': True, '1': True, 'false': False, '0': False}
OWN_FILES = ('tracker.launch.py', 'synthetic.launch.py')


def boolean(name: str, text: str, expected: str = 'true or false') -> bool:
    """Return the boolean of an argument. Raise RuntimeError, which `ros2 launch` prints as one
    line.
    """
    if text.lower() not in BOOLEANS:
        raise RuntimeError(f"{name} is '{text}', expected {expected}")
    return BOOLEANS[text.lower()]


def number(name: str, text: str, kind: type) -> int | float:
    """Return the number of an argument, of `kind` int or float. Raise RuntimeError."""
    try:
        return kind(text)
    except ValueError:
        expected = 'a whole number' if kind is int else 'a number'
        raise RuntimeError(f"{name} is '{text}', expected {expected}") from None


def existing_file(name: str, text: str) -> str:
    """Return the path of an existing file. Raise RuntimeError."""
    path = Path(text).expanduser()
    if not path.is_file():
        raise RuntimeError(f"{name} is '{text}': no such file")
    return str(path)


def unknown_arguments(
    command: Sequence[str],
    known: Iterable[str],
    others_go_to: str = '',
    files: Collection[str] = OWN_FILES,
) -> list[str]:
    """Return a line for each argument on the command line that has no effect.

    command: sys.argv of `ros2 launch`; without a launch file of `files` it belongs to another
    launch file. known: names with an effect. others_go_to: receiver of all other arguments; then
    only names that resemble a known one get a line.
    """
    if not any(Path(word).name in files for word in command):
        return []
    lines, known = [], sorted(known)
    for word in command:
        name, assigned, _ = word.partition(':=')
        if not assigned or name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8 if others_go_to else 0.6)
        hint = f', did you mean {near[0]}?' if near else ''
        if not others_go_to:
            hint = hint or '; --show-args lists them'
            lines.append(f'{word} has no effect: there is no argument {name}{hint}')
        elif near:
            lines.append(f'{word} goes to {others_go_to}{hint}')
    return lines


def end_if_refused(event: Any, _context: Any) -> Any:
    """End the whole launch when a node can never start (an on_exit of launch).

    Its parameters are refused, or the libraries that it needs are missing or too old.
    """
    from launch.actions import Shutdown

    if event.returncode == CONFIGURATION_REFUSED:
        return [Shutdown(reason=f'{event.process_name} cannot start')]
    return []
