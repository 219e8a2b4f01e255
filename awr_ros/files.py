"""Atomic writing of files."""

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

# Errors of writing without space.
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)


def printable(text: str | Path) -> str:
    r"""Return a name as text that any encoding of Unicode can write: bytes that are not UTF-8
    become \udcNN.
    """
    return str(text).encode('utf-8', 'backslashreplace').decode()


@contextmanager
def work_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make an empty folder in `parent`, removed at the end. Folders of this prefix left by killed
    processes are removed.

    A process holds a lock on its folder, which the system releases however the process ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(parent, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = _locked(folder)
        except OSError:  # a file system without locks
            lock = -1
        # otherwise another process removed it before it was locked
        if lock is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _remove_left_over(parent: Path, prefix: str) -> None:
    for folder in [entry for entry in parent.iterdir() if entry.name.startswith(prefix)]:
        try:
            lock = _locked(folder)
        except OSError:
            continue
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder; None if another process has it, or
    removed the folder.

    Raise OSError if the file system has no locks.
    """
    if fcntl is None:
        raise OSError('no locks on this system')
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(folder)):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


@contextmanager
def completed(path: str | Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; it is renamed to `path` if all goes well and
    removed otherwise.

    An existing file is replaced; ValueError for anything else. The name of the path to write to is
    that of `path` or, if this is not plain ASCII, one with the same suffix: not every library
    accepts any byte.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f'{printable(path)} is there already: choose another name, or remove it')
    if path.exists() and not path.is_file():
        raise ValueError(f'{printable(path)} is no regular file')
    plain = re.fullmatch(r'[\w.+ -]{1,200}', path.name, re.A)
    name = path.name if plain else hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    prefix = f'.{name}.part-'
    try:
        with work_folder(path.parent, prefix) as folder:
            part = folder / (
                name if plain else 'part' + re.sub(r'[^\w.]', '', path.suffix[:20], flags=re.A)
            )
            yield part
            for written in (part, *part.rglob('*')):
                sync(written)  # a full disk may only be reported here
            part.replace(path)
    except OSError as error:  # an error with the requested name
        if prefix in str(error.filename) or error.filename is None and error.errno in FULL:
            error.filename = printable(path)
            del error.filename2  # None would be printed
        raise
    sync(path.parent)


def check_output(path: str | Path | None) -> None:
    """Raise at once what `completed` would raise at the end of long work; None is no output."""
    if path is not None:
        with suppress(FileNotFoundError), completed(path):
            raise FileNotFoundError  # nothing was written, and nothing is replaced


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file atomically."""
    with completed(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode('utf-8'))


def sync(path: Path) -> None:
    """Flush a file's contents, or the list of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every file system supports it for folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def ascii_path(path: Path) -> Iterator[str]:
    """Yield a path to the same file with a plain ASCII name, for libraries that accept no
    others.
    """
    if re.fullmatch(r'[\w./+ -]+', str(path), re.A):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / 'link'
        link.symlink_to(path.parent.resolve(), target_is_directory=True)
        yield str(link / path.name)
