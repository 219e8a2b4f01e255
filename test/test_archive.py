"""Archives: which recordings there are, done once, failures that stop nothing,
processes that die.
"""

import json
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from recordings import PlainTracker, png, usual

from awr_ros.__main__ import main
from awr_ros.estimator import HandPoseEstimator
from awr_ros.offline import workers
from awr_ros.offline.archive import (
    Result,
    TrackerSettings,
    begin,
    done_before,
    find_recordings,
    locked,
    make_jobs,
)
from awr_ros.offline.bag_writer import record_synthetic
from awr_ros.offline.track import Outputs, Recording


@pytest.fixture
def plain(monkeypatch):
    """A tracker that takes no time, in this process; returns the list of recordings' frames."""
    made = []

    def tracker(*_):
        made.append(PlainTracker())
        return made[-1]

    monkeypatch.setattr(HandPoseEstimator, 'from_pretrained', classmethod(lambda *_, **__: None))
    monkeypatch.setattr('awr_ros.tracker.HandTracker', tracker)
    workers._estimator.cache_clear()
    yield made
    workers._estimator.cache_clear()


def jobs_of(folder, output, **settings):
    return make_jobs(
        find_recordings([folder]),
        Recording(folder, **settings),
        Outputs(str(output)),
        TrackerSettings(),
    )


# ---- which recordings --------------------------------------------------------------------------


def test_recordings_of_a_tree_have_names(tmp_path):
    usual(tmp_path / 'a' / 'bag_10')
    usual(tmp_path / 'a' / 'bag_9')
    png(tmp_path / 'frames' / '1.png')
    (tmp_path / 'flat').mkdir()
    (tmp_path / 'parts').mkdir()
    (tmp_path / '.hidden').mkdir()
    for name in ('flat/one.mcap', 'flat/two.mcap', 'flat/two.db3', 'parts/x_0.mcap'):
        (tmp_path / name).touch()
    for name in ('parts/x_1.mcap', '.hidden/x.mcap', 'flat/notes.txt'):
        (tmp_path / name).touch()
    found = find_recordings([tmp_path])
    assert [name for name, _ in found] == [
        *('a/bag_9', 'a/bag_10', 'flat/one', 'flat/two.db3', 'flat/two.mcap', 'frames', 'parts')
    ]
    assert dict(found)['parts'] == tmp_path / 'parts'
    some = find_recordings([tmp_path / 'a', tmp_path / 'flat' / 'one.mcap'])
    assert [name for name, _ in some] == ['a/bag_9', 'a/bag_10', 'flat/one']
    assert [name for name, _ in find_recordings([tmp_path / 'a' / 'bag_9'])] == ['bag_9']
    (tmp_path / 'empty').mkdir()
    for path, words in (('empty', 'no recordings in'), ('nowhere', 'there is no')):
        with pytest.raises((ValueError, OSError), match=words):
            find_recordings([tmp_path / path])


def test_outputs_have_the_name_and_are_nobody_elses(tmp_path):
    usual(tmp_path / 'a' / 'b')
    usual(tmp_path / 'a' / 'c')
    with pytest.raises(ValueError, match="put {name} into it, as in 'hands/{name}.jsonl'"):
        jobs_of(tmp_path / 'a', 'o.jsonl')
    with pytest.raises(ValueError, match='b is a recording, or the output of two'):
        jobs_of(tmp_path / 'a', tmp_path / 'a' / '{name}')
    with pytest.raises(ValueError, match='b.jsonl is a recording, or the output of two'):
        make_jobs(
            find_recordings([tmp_path / 'a']),
            Recording(tmp_path),
            Outputs(f'{tmp_path}/o/{{name}}.jsonl', bag=f'{tmp_path}/o/{{name}}.jsonl'),
            TrackerSettings(),
        )


# ---- once --------------------------------------------------------------------------------------


def test_a_recording_is_tracked_once_and_again_when_something_changed(tmp_path, plain):
    usual(tmp_path / 'in' / 'b')
    out = tmp_path / 'out' / '{name}.jsonl'

    def state(**settings):
        (job,) = jobs_of(tmp_path / 'in', out, **settings)
        return workers.do(job).state

    assert [state(), state()] == ['tracked', 'done before'] and len(plain) == 1
    assert state(depth_scale=2.0) == 'tracked' and state(depth_scale=2.0) == 'done before'
    file = next((tmp_path / 'in' / 'b').glob('*.mcap'))
    os.utime(file, ns=(1, 1))
    assert state(depth_scale=2.0) == 'tracked'
    (tmp_path / 'out' / 'b.jsonl').unlink()
    assert state(depth_scale=2.0) == 'tracked' and len(plain) == 4
    record = json.loads((tmp_path / 'out' / '.awr_track' / 'b.json').read_text())
    assert record['done'] and record['begun'] == 4 and record['summary']['frames'] == 3


def test_what_others_wrote_is_not_overwritten(tmp_path, plain):
    usual(tmp_path / 'in' / 'b')
    output = tmp_path / 'out' / 'b.jsonl'
    (job,) = jobs_of(tmp_path / 'in', tmp_path / 'out' / '{name}.jsonl')
    output.parent.mkdir()
    output.write_text('mine')
    assert 'is there already, and not of this archive' in workers.do(job).error
    assert output.read_text() == 'mine'
    output.unlink()
    assert workers.do(job).state == 'tracked'
    output.write_text('mine')
    result = workers.do(job)
    assert result.state == 'failed' and 'was changed since' in result.error
    assert output.read_text() == 'mine'


def test_a_folder_that_an_interrupted_try_left_is_made_anew(tmp_path, plain):
    usual(tmp_path / 'in' / 'b')
    (job,) = make_jobs(
        find_recordings([tmp_path / 'in']),
        Recording(tmp_path),
        Outputs(bag=f'{tmp_path}/out/{{name}}'),
        TrackerSettings(),
    )
    begin(job)
    (tmp_path / 'out' / 'b').mkdir()  # renamed, but the process was killed before it was noted
    assert done_before(job) is None
    assert workers.do(job).state == 'tracked' and list((tmp_path / 'out' / 'b').iterdir())
    assert workers.do(job).state == 'done before'


def test_bags_that_the_archive_wrote_are_no_recordings(tmp_path, plain):
    usual(tmp_path / 'b')
    for _ in range(2):
        jobs = make_jobs(
            find_recordings([tmp_path]),
            Recording(tmp_path),
            Outputs(bag=f'{tmp_path}/{{name}}_hands'),
            TrackerSettings(),
        )
        assert [job.name for job in jobs] == ['b']
        assert workers.do(jobs[0]).state in ('tracked', 'done before')
    assert (tmp_path / 'b_hands').is_dir()


def test_two_commands_do_not_track_the_same_recording(tmp_path, plain):
    usual(tmp_path / 'in' / 'b')
    (job,) = jobs_of(tmp_path / 'in', tmp_path / 'out' / '{name}.jsonl')
    with locked(job) as mine:
        assert mine and workers.do(job) == Result('b', 'busy')
    assert workers.do(job).state == 'tracked'


def test_an_error_of_a_library_is_a_failure_of_one_recording(tmp_path, plain, monkeypatch):
    usual(tmp_path / 'in' / 'b')
    (job,) = jobs_of(tmp_path / 'in', tmp_path / 'out' / '{name}.jsonl')
    monkeypatch.setattr(PlainTracker, 'update', lambda *_: 1 / 0)
    assert workers.do(job).error == 'ZeroDivisionError: division by zero'
    assert not (tmp_path / 'out' / 'b.jsonl').exists() and done_before(job) is None


# ---- the command -------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_processes_track_an_archive_and_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        record_synthetic(tmp_path / 'in' / f'b{number}', 2, seed=number)
    (tmp_path / 'in' / 'broken.mcap').write_text('no bag')
    assert main(['track', 'in/b0', '-o', 'one.jsonl', '--num-threads', '1']) == 0
    command = ['track', 'in', '-o', 'out/{name}.jsonl', '--jobs', '2']
    assert main(command) == 1
    captured = capsys.readouterr()
    assert '4 recordings: 3 tracked (6 images,' in captured.out and ' 1 failed' in captured.out
    assert "broken.mcap is text that begins 'no bag'" in captured.out
    assert (tmp_path / 'out' / 'b0.jsonl').read_text() == (tmp_path / 'one.jsonl').read_text()
    (tmp_path / 'in' / 'broken.mcap').unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*.json*')}
    assert main(command) == 0
    assert '0 tracked (0 images, 0.0 s of work), 3 done before' in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*.json*')}


@pytest.mark.timeout(400)
def test_a_process_that_is_killed_is_replaced(tmp_path):
    record_synthetic(tmp_path / 'in' / 'long', 40)
    record_synthetic(tmp_path / 'in' / 'short', 2)
    jobs = jobs_of(tmp_path / 'in', tmp_path / 'out' / '{name}.jsonl')
    record, killed = tmp_path / 'out' / '.awr_track' / 'long.json', []

    def kill():
        while not killed:
            if record.is_file() and not json.loads(record.read_text())['done']:
                killed.append(json.loads(record.read_text())['pid'])
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    results = {result.name: result for result in workers.on_processes(jobs, 2)}
    assert killed and results.keys() == {'long', 'short'}
    assert {result.error for result in results.values()} == {''}
    assert json.loads(record.read_text())['begun'] == 2
    assert len((tmp_path / 'out' / 'long.jsonl').read_text().splitlines()) == 40


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['b', '-o', 'o.csv', '--jobs', '2'], '--ray and --jobs are for many recordings'),
        (['b', 'c', '-o', 'o.csv'], 'would be the output of every recording'),
        (['b', '-o', '{name}.csv', '--jobs', '0'], '--jobs must be at least 1'),
        (['b', '-o', '{name}.csv', '--jobs', '1', '--ray', 'local'], 'exclude each other'),
    ],
)
def test_the_command_line_names_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    usual(tmp_path / 'b')
    usual(tmp_path / 'c')
    assert main(['track', *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_missing_ray_is_named_with_the_command(tmp_path, monkeypatch, capsys):
    usual(tmp_path / 'b')
    monkeypatch.setitem(__import__('sys').modules, 'ray', None)
    command = ['track', str(tmp_path / 'b'), '-o', f'{tmp_path}/{{name}}.csv', '--ray', 'local']
    assert main(command) == 1
    assert "pip install '.[cluster]'" in capsys.readouterr().err


def test_ray_is_imported_without_its_statistics(monkeypatch):
    """Its environment is read when it starts a cluster; who set it otherwise is obeyed."""
    told = []
    monkeypatch.delenv('RAY_USAGE_STATS_ENABLED', raising=False)
    monkeypatch.setitem(sys.modules, 'ray', SimpleNamespace())

    def init(**_):
        told.append(os.environ['RAY_USAGE_STATS_ENABLED'])
        raise RuntimeError

    sys.modules['ray'].is_initialized, sys.modules['ray'].init = lambda: False, init
    for value in (None, '1'):
        if value:
            monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', value)
        with pytest.raises(RuntimeError):
            next(workers.on_ray([], 'local'))
    assert told == ['0', '1']
