"""Files of a ROS 2 bag, mcap or db3, in any state that recorders and tools leave them in: channels
and serialised messages, without their types.

mcap is read by rosbags, below its layer that requires metadata.yaml and all definitions: only
images and camera infos are needed, whose definitions are the same in every ROS 2.
"""

import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from lz4.frame import LZ4FrameDecompressor
from rosbags.rosbag2 import storage_mcap
from rosbags.rosbag2.errors import ReaderError

from awr_ros.file_kinds import describe_file
from awr_ros.files import printable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
MCAP_MAGIC, SQLITE_MAGIC, ZSTD_MAGIC = b'\x89MCAP0\r\n', b'SQLite format 3\0', b'\x28\xb5\x2f\xfd'
LARGEST_CHUNK = (
    2**30
    # [bytes] of messages in a chunk of an mcap, or in a compressed message: recorders write one of
    # them
)


@dataclass(frozen=True)
class Channel:
    """A topic with messages of one type in one file."""

    file: int  # index of the file
    id: int  # of the channel in the file
    topic: str
    type: str
    count: int  # number of messages


def is_bag(path: Path) -> bool:
    """Whether a path is a file of a bag or a folder of such, by name or contents. Files of a bag
    among PNGs do not count.
    """
    if path.is_dir():
        return (
            (path / 'metadata.yaml').is_file()
            or bool(_in_folder(path))
            and not any(path.glob('*.png'))
        )
    return (
        path.name.endswith(SUFFIXES)
        or _begins_with(path, MCAP_MAGIC)
        or _begins_with(path, SQLITE_MAGIC)
    )


def bag_files(path: Path) -> list[Path]:
    """Return the files of a bag: a folder or one file. metadata.yaml may be missing, but files that
    it lists may not.

    Raise ValueError that says what is missing, and what to do.
    """
    if path.is_file():
        return [path]
    found, listed = _in_folder(path), _listed(path / 'metadata.yaml')
    there = [path / name for name in listed if (path / name).is_file()]
    if there and len(there) < len(listed):
        missing = ', '.join(name for name in listed if not (path / name).is_file())
        raise ValueError(
            f'{printable(path)} lacks {missing}, which its metadata.yaml lists: copy it there, or '
            f'remove metadata.yaml '
            'to use the files that are there'
        )
    if there:
        return there
    if not found:  # renamed files are found without the list
        raise ValueError(f'{printable(path)} has a metadata.yaml, but no .mcap or .db3 files')
    return found


class BagFiles:
    """Context manager for bag files: `channels` (list of Channel), `start_ns` and `end_ns` of all
    messages, and `messages`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> 'BagFiles':
        with ExitStack() as stack:
            stack.enter_context(_lenient_rosbags())
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._files = []
            paths = bag_files(self._path)
            self._states = {path: _state(path) for path in paths}
            for number, path in enumerate(paths):
                storage = _opened(_unpacked(path, temporary / str(number)))
                stack.callback(storage.close)
                self._files.append(storage)
            self.channels = [
                Channel(number, *channel)
                for number, storage in enumerate(self._files)
                for channel in storage.channels
            ]
            self.start_ns = min(storage.span_ns[0] for storage in self._files)
            self.end_ns = max(storage.span_ns[1] for storage in self._files)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def changed(self) -> bool:
        """Whether a file was written, removed or replaced since it was opened."""
        return any(_state(path) != state for path, state in self._states.items())

    def messages(self, channels: Collection[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield (channel, time of recording [ns], serialised message) in the order of recording,
        file by file.
        """
        order = sorted(range(len(self._files)), key=lambda number: self._files[number].span_ns[0])
        for number in order:
            wanted = {channel.id: channel for channel in channels if channel.file == number}
            if wanted:
                for channel_id, logged_ns, data in self._files[number].messages(wanted):
                    if data[:4] == ZSTD_MAGIC:  # a compressed message; CDR begins with a zero
                        data = _limited(zstd.ZstdDecompressor(), data, LARGEST_CHUNK)
                    yield wanted[channel_id], logged_ns, data


class _Mcap:
    """An mcap file, read by rosbags."""

    def __init__(self, path):
        self._reader = storage_mcap.McapReader(path)
        self._reader.open()
        metadata = self._reader.metadata
        self.span_ns = metadata.start_time, metadata.end_time
        self.channels = [
            (c.id, c.topic, c.msgtype, c.msgcount)
            for c in self._reader.connections
            if c.ext.serialization_format == 'cdr'
        ]
        self.close = self._reader.close

    def messages(self, ids):
        connections = [c for c in self._reader.connections if c.id in ids]
        for connection, logged_ns, data in self._reader.messages(connections):
            yield connection.id, logged_ns, data


class _Db3:
    """A db3 file: a database of two tables, the same in every version but for unused columns."""

    def __init__(self, path):
        # What a killed recorder left in the -wal beside it belongs to it; without one nothing is to
        # be written beside it.
        wal = path.with_name(path.name + '-wal')
        how = 'mode=ro' if wal.is_file() and wal.stat().st_size else 'immutable=1'
        self._database = sqlite3.connect(f'{path.resolve().as_uri()}?{how}', uri=True)
        self._database.text_factory = lambda text: text.decode(errors='replace')
        self.close = self._database.close
        try:
            columns = {row[1] for row in self._database.execute('PRAGMA table_info(topics)')}
            cdr = (
                "WHERE serialization_format IN ('cdr', '')"
                if 'serialization_format' in columns
                else ''
            )
            self.channels = self._database.execute(
                'SELECT topics.id, topics.name, topics.type, count(messages.id) FROM topics LEFT '
                'JOIN messages '
                f'ON topics.id = messages.topic_id {cdr} GROUP BY topics.id'
            ).fetchall()
            first, last = self._database.execute(
                'SELECT min(timestamp), max(timestamp) FROM messages'
            ).fetchone()
        except BaseException:
            self.close()
            raise
        self.span_ns = (2**63 - 1, 0) if first is None else (first, last + 1)

    def messages(self, ids):
        marks = ','.join('?' * len(ids))
        rows = self._database.execute(
            f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) '
            'ORDER BY timestamp, id',
            tuple(ids),
        )
        # Not `yield from`: left in the middle, that closes the rows after the database, an error.
        for row in rows:  # noqa: UP028
            yield row


def _opened(path):
    if _begins_with(path, SQLITE_MAGIC):
        return _Db3(path)
    if not _begins_with(path, MCAP_MAGIC):
        kind = describe_file(path)
        raise ValueError(
            f'{printable(path.name)} is {kind}'
            if kind
            else f'{printable(path.name)} is neither mcap nor db3'
        )
    try:
        return _Mcap(path)
    except ReaderError as error:
        if 'end magic' in str(error):
            raise ValueError(
                f'{printable(path.name)} was not written to its end, as when a recorder '
                f'still runs or was killed: mcap recover '
                f'{printable(path.name)} -o NEW.mcap'
            ) from error
        raise


def _unpacked(path, target):
    """Return the file itself, or `target` with its decompressed contents."""
    if not _begins_with(path, ZSTD_MAGIC):
        return path
    with zstd.open(path, 'rb') as packed, target.open('wb') as file:
        shutil.copyfileobj(packed, file)
    return target


@contextmanager
def _lenient_rosbags():
    """Make rosbags ignore unknown definitions and QoS, and limit the size of decompressed
    chunks.
    """

    def msgdef(_):
        return original['get_msgdef'](None)

    def decompressors(make):
        return lambda data, size: _limited(make(), data, size)

    replaced = {
        'get_msgdef': msgdef,
        'get_qos': lambda _: [],
        'DECOMPRESSORS': {
            '': lambda data, size: data,
            'zstd': decompressors(zstd.ZstdDecompressor),
            'lz4': decompressors(LZ4FrameDecompressor),
        },
    }
    original = {name: getattr(storage_mcap, name) for name in replaced}
    for name, value in replaced.items():
        setattr(storage_mcap, name, value)
    try:
        yield
    finally:
        for name, value in original.items():
            setattr(storage_mcap, name, value)


def _limited(decompressor, data, size):
    """Decompress at most `size` bytes and at most LARGEST_CHUNK, otherwise ValueError."""
    if size > LARGEST_CHUNK:
        raise ValueError(
            f'a chunk claims {size} bytes of messages, expected {LARGEST_CHUNK} at most'
        )
    unpacked = decompressor.decompress(bytes(data), max_length=size + 1)
    if len(unpacked) > size:
        raise ValueError(f'a chunk holds more than the {size} bytes that it claims')
    return unpacked


def _in_folder(path):
    """Return the files of a bag in a folder, in natural order."""
    names = [
        entry.name for entry in path.iterdir() if entry.name.endswith(SUFFIXES) and entry.is_file()
    ]
    return [
        path / name
        for name in sorted(
            names,
            key=lambda name: [
                int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)
            ],
        )
    ]


def _listed(metadata):
    """Return the files listed by a metadata.yaml; none if it is missing, truncated or of an unknown
    form.
    """
    try:
        names = yaml.safe_load(metadata.read_text(encoding='utf-8'))['rosbag2_bagfile_information'][
            'relative_file_paths'
        ]
        return [Path(name).name for name in names]
    except (OSError, LookupError, TypeError, ValueError, RecursionError, yaml.YAMLError):
        return []


def _state(path):
    """Return what changes when a file is written or replaced; None for a missing one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _begins_with(path, magic):
    try:
        with path.open('rb') as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False
