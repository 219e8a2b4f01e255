"""An archive of many recordings: the outputs of each, and which are done.

Every recording has a record, a small JSON file: size and time of its files, a digest of settings
and weights, its outputs. A recording is done when its record exists and all of that is unchanged. A
process that tracks a recording holds the lock of its record, so that no other one does.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from awr_ros.files import printable, write_text
from awr_ros.offline.bag_files import SUFFIXES, is_bag
from awr_ros.offline.track import LEROBOT, Outputs, Recording
from awr_ros.runtime.select import Device, EngineName
from awr_ros.tracker_config import TrackerConfig
from awr_ros.weight_files import DEFAULT_WEIGHTS, checksum

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

NAME = '{name}'  # placeholder in an output for the name of the recording
FOLDER = '.awr_track'  # folder of the records, beside the outputs


@dataclass(frozen=True)
class TrackerSettings:
    """Arguments of HandTracker.from_pretrained, serialisable."""

    weights: str | None = None
    device: Device = 'auto'
    engine: EngineName = 'auto'
    num_threads: int | None = None
    config: TrackerConfig = TrackerConfig()


@dataclass(frozen=True)
class Job:
    """One recording of an archive. Plain values, so that any process on any machine can do it."""

    name: str  # unique in the archive
    recording: Recording
    outputs: Outputs
    record: Path  # JSON file
    digest: str  # digest of all settings and weights
    tracker: TrackerSettings


@dataclass(frozen=True)
class Result:
    """Result of a Job."""

    name: str
    state: str  # 'tracked', 'done before', 'busy' (another process tracks it) or 'failed'
    frames: int = 0
    with_hands: int = 0
    refused: int = 0
    seconds: float = 0.0  # [s] duration of tracking
    error: str = ''  # reason of the failure


# ---- recordings ---------------------------------------------------------------------------------


def find_recordings(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return (name, path) of the recordings at or below paths, in natural order of the names.

    A folder is a recording when it is a bag, parts of one bag (x_0.mcap, x_1.mcap) or has PNGs;
    otherwise its subfolders and files are searched. Names are relative to a single folder of
    recordings, or to the common part of all paths, without suffix where that is unique.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f'there is no {printable(path)}')
    found = list(dict.fromkeys(p for path in paths for p in _below(path.resolve(), path.is_file())))
    if not found:
        raise ValueError(f'no recordings in {", ".join(printable(path) for path in paths)}')
    single = paths[0].resolve() if len(paths) == 1 and paths[0].is_dir() else None
    if single is not None and single not in found:
        base = single
    else:
        base = Path(os.path.commonpath([path.parent for path in found]))
    full = [path.relative_to(base).as_posix() for path in found]
    short = [_stem(name) for name in full]
    names = [s if short.count(s) == 1 else f for s, f in zip(short, full)]
    return sorted(zip(names, found), key=lambda pair: _natural(pair[0]))


def _below(path: Path, named: bool) -> Iterator[Path]:
    """Return the recordings at or below a path; a named file is one, whatever it is."""
    if path.is_file():
        if named or path.name.endswith(SUFFIXES):
            yield path
        return
    if not path.is_dir():
        return
    if any(path.glob('*.png')) or is_bag(path) and _one_bag(path):
        yield path
        return
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith('.'):
            yield from _below(entry, named=False)


def _one_bag(folder: Path) -> bool:
    """Whether the files in a folder are of one bag: listed by metadata.yaml, or numbered parts."""
    if (folder / 'metadata.yaml').is_file():
        return True
    subfolders = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.')]
    if any(True for subfolder in subfolders for _ in _below(subfolder, named=False)):
        return False
    stems = {_stem(entry.name) for entry in folder.iterdir() if entry.name.endswith(SUFFIXES)}
    return len(stems) == 1 or len({re.sub(r'_\d+$', '', stem) for stem in stems}) == 1


def _stem(name: str) -> str:
    return re.sub(r'\.(mcap|db3)(\.zstd)?$|\.png$', '', name)


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(p), '') if p.isdigit() else (-1, p) for p in re.split(r'(\d+)', text.lower())]


# ---- jobs --------------------------------------------------------------------------------------


def make_jobs(
    found: Iterable[tuple[str, Path]],
    recording: Recording,
    outputs: Outputs,
    tracker: TrackerSettings,
) -> list[Job]:
    """Return a Job for each recording.

    recording, outputs: from the command line; {name} in an output becomes the recording's name,
    ValueError if it is missing. Recordings that are outputs of the archive are left out.
    """
    templates = [text for text in (outputs.records, outputs.overlay, outputs.bag) if text]
    for text in templates:
        if text == '-' or NAME not in text:
            raise ValueError(
                f'{text} would be the output of every recording: put {NAME} into it, as in '
                f"'hands/{NAME}.jsonl'"
            )
    before = _plain(templates[0]).split(NAME)[0]
    folder = Path(before if before.endswith('/') else os.path.dirname(before)).resolve() / FOLDER
    made = _outputs_of_records(folder)
    digest = _digest(recording, outputs, tracker)
    jobs = []
    for name, path in found:
        if path in made:
            continue
        filled = {
            key: _absolute(text.replace(NAME, name)) if text else text
            for key, text in (
                ('records', outputs.records),
                ('overlay', outputs.overlay),
                ('bag', outputs.bag),
            )
        }
        lerobot = outputs.lerobot and replace(outputs.lerobot, recording=path)
        jobs.append(
            Job(
                name,
                replace(recording, path=path),
                replace(outputs, lerobot=lerobot, **filled),
                folder / f'{name}.json',
                digest,
                tracker,
            )
        )
    _check_apart(jobs)
    return jobs


def _check_apart(jobs: Sequence[Job]) -> None:
    """Raise ValueError when an output is a recording, or belongs to two recordings."""
    taken = {job.recording.path for job in jobs}
    for job in jobs:
        for path in output_paths(job.outputs):
            if path in taken:
                raise ValueError(
                    f'{printable(path)} is a recording, or the output of two: give the outputs '
                    'other names'
                )
            taken.add(path)


def _absolute(output: str) -> str:
    """Make an output independent of the working folder."""
    prefix = LEROBOT if output.startswith(LEROBOT) else ''
    return prefix + os.path.abspath(_plain(output))


def _plain(output: str) -> str:
    """Return the path of an output."""
    return output.removeprefix(LEROBOT)


def output_paths(outputs: Outputs) -> list[Path]:
    """Return the files and folders of outputs."""
    texts = (outputs.records, outputs.overlay, outputs.bag)
    return [Path(_plain(text)).resolve() for text in texts if text]


def _outputs_of_records(folder: Path) -> set[Path]:
    records = [_read(path) for path in folder.rglob('*.json')] if folder.is_dir() else []
    return {Path(path) for record in records for path in record.get('outputs', {})}


def _digest(recording: Recording, outputs: Outputs, tracker: TrackerSettings) -> str:
    """Return the digest of everything that determines the outputs; files by their contents."""
    finder = tracker.config.finder_weights or DEFAULT_WEIGHTS.with_name('finder.onnx')
    files: list[str | Path | None] = [tracker.weights or DEFAULT_WEIGHTS, finder]
    files += [recording.intrinsics, recording.timestamps]
    contents = [checksum(file) if file and Path(file).is_file() else '' for file in files]
    lerobot = outputs.lerobot and asdict(replace(outputs.lerobot, recording=Path()))
    settings: list[Any] = [
        asdict(replace(recording, path=Path())),
        asdict(tracker.config),
        lerobot,
        contents,
    ]
    settings += [tracker.engine, tracker.device]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


# ---- records -----------------------------------------------------------------------------------


def done_before(job: Job) -> Result | None:
    """Return the result of a job that is done and unchanged since, else None."""
    record = _read(job.record)
    if not record.get('done') or record.get('digest') != job.digest:
        return None
    if record.get('inputs') != _state([job.recording.path]):
        return None
    if record.get('outputs') != _state(output_paths(job.outputs)):
        return None
    summary = record.get('summary', {})
    return Result(job.name, 'done before', **summary)


def begin(job: Job) -> None:
    """Record that the outputs of a job are about to be written.

    Outputs of an interrupted try or of other settings are removed. ValueError for files that
    existed before the archive, or were changed since.
    """
    record = _read(job.record)
    known = record.get('outputs', {})
    paths = output_paths(job.outputs)
    for path in paths:
        if not path.exists():
            continue
        if str(path) not in known:
            raise ValueError(f'{printable(path)} is there already, and not of this archive')
        if record.get('done') and _state([path])[str(path)] != known[str(path)]:
            raise ValueError(f'{printable(path)} was changed since it was written: move it away')
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
    begun = {'begun': record.get('begun', 0) + 1, 'host': socket.gethostname(), 'pid': os.getpid()}
    outputs = {str(path): None for path in paths}
    _write(job.record, {'done': False, **begun, 'outputs': outputs})


def note_done(job: Job, inputs: dict, result: Result) -> None:
    """Record a finished job. inputs: the state of its files before it began."""
    summary = asdict(result)
    for key in ('name', 'state', 'error'):
        del summary[key]
    record = _read(job.record)  # made by `begin`
    record.update(done=True, digest=job.digest, inputs=inputs, summary=summary)
    record['outputs'] = _state(output_paths(job.outputs))
    record['finished'] = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    _write(job.record, record)


def input_state(job: Job) -> dict:
    """Return size and time of the files of a job's recording."""
    return _state([job.recording.path])


def _state(paths: Iterable[Path]) -> dict[str, list[list] | None]:
    """Return size and time of files, and of the files in folders; None for missing ones."""
    state: dict[str, list[list] | None] = {}
    for path in paths:
        files = sorted(p for p in path.rglob('*') if p.is_file()) if path.is_dir() else [path]
        try:
            state[str(path)] = [
                [str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns] for p in files
            ]
        except FileNotFoundError:
            state[str(path)] = None
    return state


def _read(path: Path) -> dict:
    """Read a record; empty if it is missing or unreadable."""
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write(path: Path, record: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(record, indent=1) + '\n')


@contextmanager
def locked(job: Job) -> Iterator[bool]:
    """Hold the lock of a job; yields False if another process holds it.

    The system releases it however the process ends. A file system without locks has none: then only
    one command may run at a time.
    """
    job.record.parent.mkdir(parents=True, exist_ok=True)
    with job.record.with_name(job.record.name + '.lock').open('w') as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
