"""Files that are whole or not there, and what a file is that was taken for another."""

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

# How files begin that are often taken for others, and what they are.
BEGINNINGS = (
    (
        b'version https://git-lfs.github.com/',
        'a Git LFS pointer, not the file itself: git lfs pull',
    ),
    (b'<!doctype html', 'a web page, not the file itself: download it again'),
    (b'<html', 'a web page, not the file itself: download it again'),
    (b'#ROSBAG', 'a bag of ROS 1'),
    (b'\x89MCAP0', 'a bag (mcap)'),
    (b'SQLite format 3', 'a database or bag (SQLite)'),
    (b'\x89PNG', 'a PNG image'),
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'II*\0', 'a TIFF image'),
    (b'MM\0*', 'a TIFF image'),
    (b'\x76\x2f\x31\x01', 'an OpenEXR image'),
    (b'%PDF', 'a PDF'),
    (b'\x1f\x8b', 'a gzip archive: unpack it first'),
    (b'\x28\xb5\x2f\xfd', 'compressed by zstd: unzstd'),
    (b'\xfd7zXZ', 'an xz archive: unpack it first'),
    (b'7z\xbc\xaf', 'a 7z archive: unpack it first'),
    (b'\x89HDF', 'an HDF5 file'),
    (b'glTF', 'a GLB model'),
    (b'Rar!', 'a RAR archive: unpack it first'),
)
# What writing fails with where there is no room.
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)


def describe_file(path: str | Path) -> str:
    """Say what a file seems to be by its first bytes; '' for a kind that is not known, or a file
    that cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(512)
    except OSError:
        return ''
    if not head:
        return 'empty'
    if not head.strip(b'\0'):
        return 'all zeros, as a file is after a power cut'
    start = head.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
    for beginning, kind in BEGINNINGS:
        if head.startswith(beginning) or start.startswith(beginning.lower()):
            return kind
    text = head.decode('ascii', 'replace')
    return (
        f'text that begins {text[:40]!r}'
        if all(c.isprintable() or c.isspace() for c in text)
        else ''
    )


def printable(text: str | Path) -> str:
    r"""Return a name as text that any encoding of Unicode can write: bytes that are no UTF-8 become
    \udcNN.
    """
    return str(text).encode('utf-8', 'backslashreplace').decode()


@contextmanager
def work_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make an empty folder in `parent`, removed at the end. Folders of this prefix that killed
    processes left are removed.

    A process holds a lock on its own folder, which the system releases however the process ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(parent, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = _locked(folder)
        except OSError:  # a file system without locks
            lock = -1
        # else another process took it for a left-over one, before it was locked
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
    """A descriptor that holds the lock of a folder; None where another process has it, or removed
    the folder.

    Raises OSError where there are no locks.
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
    """Yield a path to write a file or a folder to; it becomes `path` if all goes well and is
    removed otherwise.

    A file of that name is replaced; ValueError where it is anything else. The name of the path to
    write to is that of `path`, or where this is no plain ASCII one with the same ending: not every
    library takes any byte.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f'{printable(path)} is there already: choose another name, or remove it')
    if path.exists() and not path.is_file():
        raise ValueError(f'{printable(path)} is no regular file')
    plain = re.fullmatch(r'[\w.+ -]{1,200}', path.name, re.A)
    name = path.name if plain else hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    with work_folder(path.parent, f'.{name}.part-') as folder:
        part = folder / (
            name if plain else 'part' + re.sub(r'[^\w.]', '', path.suffix[:20], flags=re.A)
        )
        try:
            yield part
            for written in (part, *part.rglob('*')):
                sync(written)  # a full disk may be noticed only here
            part.replace(path)
        except OSError as error:  # of the name that was wanted
            if str(folder) in str(error.filename) or error.filename is None and error.errno in FULL:
                error.filename = printable(path)
                del error.filename2  # None would be shown
            raise
        sync(path.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file that is there whole, or as it was before."""
    with completed(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode('utf-8'))


def sync(path: Path) -> None:
    """Have a file's contents, or a folder's list of them, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every file system does it for folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def ascii_path(path: Path) -> Iterator[str]:
    """Yield a path to the same file, of a plain name, for libraries that take no other folders than
    plain ASCII ones.
    """
    if re.fullmatch(r'[\w./+ -]+', str(path), re.A):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / 'link'
        link.symlink_to(path.parent.resolve(), target_is_directory=True)
        yield str(link / path.name)
