"""The libraries that every program of this package needs, and the oldest versions that will do.

It imports none of them at its top: programs ask here first, so that a system whose own libraries
are too old (Humble's NumPy and OpenCV) gets one line instead of a traceback.
"""

import importlib
import re
import sys

CONFIGURATION_REFUSED = 78  # exit status EX_CONFIG of sysexits.h: starting again would not help
# Module: its name for people, oldest version; as in requirements/run.txt.
OLDEST = {'numpy': ('NumPy', (1, 23)), 'cv2': ('OpenCV', (4, 7))}
# cv_bridge of ROS from apt is built against NumPy 1, and OpenCV from 4.12 on wants NumPy 2.
REMEDY = "pip install 'numpy>=1.23,<2' 'opencv-python-headless>=4.7,<4.12'"


def unmet() -> str:
    """Return what is missing or too old and how to get it, in one line; '' if nothing is."""
    found = []
    for module, (name, oldest) in OLDEST.items():
        needed = f'{".".join(map(str, oldest))} or newer'
        try:
            version = importlib.import_module(module).__version__
        except ModuleNotFoundError:
            found.append(f'{name} is missing, needed is {needed}')
            continue
        except ImportError as error:  # built against another NumPy
            found.append(f'{name} cannot be imported ({" ".join(str(error).split())})')
            continue
        if tuple(map(int, re.findall(r'\d+', version)[:2])) < oldest:
            found.append(f'{name} {version} is too old, needed is {needed}')
    return f'{"; ".join(found)}: {REMEDY}' if found else ''


def require() -> None:
    """Raise ValueError, in one line, where something is missing or too old."""
    if text := unmet():
        raise ValueError(text)


def exit_if_unmet() -> None:
    """End the process, in one line, where something is missing or too old."""
    if text := unmet():
        print(f'cannot start: {text}', file=sys.stderr)
        sys.exit(CONFIGURATION_REFUSED)
