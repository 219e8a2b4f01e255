"""Cache of converted networks in the user's cache folder, so that only the first start converts.

The name of an entry is the checksum of everything it depends on: the weights, the modules of this
package that define the graph, the converter and, for OpenVINO, its version. Changed inputs give
another entry. An entry holds the sealed files of an exported network; a damaged one is made again.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import awr_ros
from awr_ros.files import sync, work_folder

NAME = 'network'  # stem of the files of an entry


def cache_folder() -> Path:
    """Return the folder of converted networks, by the XDG base directory specification.

    Without XDG_CACHE_HOME and a home, both absolute paths, it is in the folder for temporary files,
    with the user id in its name.
    """
    caches = Path(os.environ.get('XDG_CACHE_HOME', ''))
    if not caches.is_absolute() and os.environ.get('HOME') != '':  # home() would be /
        with suppress(RuntimeError):  # neither HOME nor an entry in passwd: a container's user
            caches = Path.home() / '.cache'
    if caches.is_absolute():
        return caches / 'awr_ros'
    return Path(tempfile.gettempdir()) / f'awr_ros-{os.getuid()}'


def own_cache_folder() -> Path:
    """Create `cache_folder` if needed, readable and writable by this user alone. Raise OSError if
    that fails or the folder belongs to another user.

    Whoever can write there chooses the network that runs.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, 'getuid'):
        about = folder.stat()
        if (
            folder.is_symlink()
            and folder.lstat().st_uid != os.getuid()
            or about.st_uid != os.getuid()
        ):
            raise PermissionError(
                13, f'it belongs to user {about.st_uid}, this is user {os.getuid()}', str(folder)
            )
        if about.st_mode & 0o022:
            folder.chmod(about.st_mode & 0o755)
    return folder


def entry_key(weights: str | Path, converter: str) -> str:
    """Return a checksum (hexadecimal) of a weights file, a converter's name and version, and this
    package's sources.
    """
    package = Path(awr_ros.__file__).parent
    digest = hashlib.sha256(converter.encode())
    # All modules of the core: a list of the relevant ones would go out of date.
    for path in [
        Path(weights),
        *sorted(package.glob('*.py')),
        *sorted((package / 'networks').glob('*.py')),
        *sorted((package / 'runtime').glob('*.py')),
    ]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def converted(
    weights: str | Path,
    converter: str,
    convert: Callable[[], dict[str, bytes]],
    check: Callable[[dict[str, bytes]], None],
) -> tuple[dict[str, bytes], str]:
    """Return the files of a cache entry, {suffix: contents}, converted if missing or damaged.

    weights: path of the checkpoint; converter: name and version; convert: makes the files;
    check(files): raises ValueError for damaged ones. Also return the reason why the files could not
    be stored, '' if they were. Two processes may do this at once: each writes a folder of its own,
    and the first to finish renames it.
    """
    try:
        folder = own_cache_folder()
    except OSError as error:  # a robot's file system may be read only
        return convert(), error.strerror or str(error)
    entry = folder / entry_key(weights, converter)
    files = _read(entry, check)
    if files is not None:
        return files, ''
    files = convert()
    try:
        _write(entry, files)
    except OSError as error:
        return files, error.strerror or str(error)
    return files, ''


def _read(entry, check):
    """Read the files of an entry; None where it is missing or damaged."""
    try:
        files = {path.suffix: path.read_bytes() for path in entry.iterdir() if path.stem == NAME}
        check(files)
    except (OSError, KeyError, ValueError):
        return None
    return files


def _write(entry, files):
    with work_folder(entry.parent, 'unfinished-') as folder:
        new = folder / 'entry'
        new.mkdir()
        for suffix, contents in files.items():
            (new / (NAME + suffix)).write_bytes(contents)
            # after a power cut no entry without its contents may exist
            sync(new / (NAME + suffix))
        try:
            new.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise
            # unless another process was faster, with the same contents
            entry.rename(folder / 'damaged')
            new.rename(entry)
        sync(entry.parent)
