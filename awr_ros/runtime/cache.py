"""Converted networks in the user's cache folder, so that only the first start converts.

The name of an entry is the checksum of everything that it was made from: the weights, the modules of this package that
define the graph, the converter and, of OpenVINO, its version. A changed one is another entry; nothing is ever overwritten.
"""
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import awr_ros

NAME = 'network'            # of the files of an entry, without their endings


def cache_folder():
    """Where converted networks lie: XDG's cache folder, as its specification names it."""
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(root) / 'awr_ros'


def entry_key(weights, converter):
    """Checksum (hexadecimal) of a weights file, a converter's name and version, and this package's sources."""
    package = Path(awr_ros.__file__).parent
    digest = hashlib.sha256(converter.encode())
    # All modules of the core rather than a list of those that matter, which nobody would keep up to date.
    for path in [Path(weights), *sorted(package.glob('*.py')), *sorted((package / 'runtime').glob('*.py'))]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def converted(weights, converter, convert):
    """The folder of a cache entry; made by convert(folder) when it is not there yet.

    weights: path of the checkpoint; converter: name and version in words; convert(folder): writes the files. Two
    processes may do this at once: each writes a folder of its own, and the first to finish gives it its name.
    Raises OSError when nothing can be written there.
    """
    entry = cache_folder() / entry_key(weights, converter)
    if entry.is_dir():
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix='unfinished-', dir=entry.parent))
    try:
        convert(unfinished)
        for path in unfinished.iterdir():       # a robot may be switched off: no entry without its contents
            with path.open('rb') as file:
                os.fsync(file.fileno())
        try:
            unfinished.rename(entry)
        except OSError:
            if not entry.is_dir():          # somebody else was faster is fine, anything else is not
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return entry
