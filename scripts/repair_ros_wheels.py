"""Make the CMake files of the ROS wheels fit the machine they were installed on.

The wheels were built in a container, and their CMake exports name that container's Python headers,
NumPy headers and system libraries. Run with the Python of the virtual environment; running it again
changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy


def repairs() -> list[tuple[re.Pattern, str]]:
    """Return (pattern of the build container, replacement for this machine), in the order to
    apply.
    """
    return [
        (
            re.compile(r'/opt/python/cp[\w-]+/lib/python[\d.]+/site-packages/numpy/_core/include'),
            numpy.get_include(),
        ),
        (
            re.compile(r'/opt/python/cp[\w-]+/include/python[\d.]+'),
            sysconfig.get_paths()['include'],
        ),
        # Both are linked into the wheels' own libraries already; naming them again only asks for
        # -dev packages.
        (re.compile(r'/usr/lib64/libtinyxml2\.so;'), ''),
        (re.compile(r'lttng-ust;'), ''),
    ]


def repair(share: Path) -> int:
    """Rewrite the CMake files under `share`; return how many changed."""
    changed = 0
    for path in sorted(share.glob('**/*.cmake')):
        text = fixed = path.read_text(encoding='utf-8')
        for pattern, replacement in repairs():
            fixed = pattern.sub(lambda _, replacement=replacement: replacement, fixed)
        if fixed != text:
            path.write_text(fixed, encoding='utf-8')
            changed += 1
    return changed


def main() -> int:
    """Repair the environment of this Python; return the exit status."""
    share = Path(sys.prefix) / 'share'
    headers = Path(sysconfig.get_paths()['include']) / 'Python.h'
    if not headers.exists():
        print(
            f'{headers} is missing: install the Python headers (Debian: python3-dev)',
            file=sys.stderr,
        )
        return 1
    print(f'{repair(share)} CMake files of the ROS wheels repaired')
    return 0


if __name__ == '__main__':
    sys.exit(main())
