"""An archive of 40 bags on a Ray cluster of two nodes, with a worker that is killed.

It needs the extra `cluster`: pip install '.[offline,engines,cluster]'; pytest -s
test/test_archive_ray.py
"""

import json
import os
import signal
import threading
import time

import pytest

ray = pytest.importorskip('ray')
from ray.cluster_utils import Cluster  # noqa: E402

from awr_ros.__main__ import main  # noqa: E402
from awr_ros.offline.bag_writer import record_synthetic  # noqa: E402

BAGS, FRAMES, LONG = 40, 2, 60
NODE = {'num_cpus': 1, 'object_store_memory': 100 * 2**20, 'include_dashboard': False}


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv('RAY_worker_niceness', '0')  # not the last on a busy machine
    nodes = Cluster(initialize_head=True, head_node_args=NODE)
    nodes.add_node(**{key: value for key, value in NODE.items() if key != 'include_dashboard'})
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def records(folder):
    """The records of an archive by name."""
    found = {}
    for path in (folder / '.awr_track').rglob('*.json'):
        name = path.relative_to(folder / '.awr_track').with_suffix('').as_posix()
        try:
            found[name] = json.loads(path.read_text())
        except FileNotFoundError:  # just replaced
            pass
    return found


def kill_one_at_work(folder, name, killed):
    """Kill the process that tracks a recording, in the middle of it."""
    while not killed:
        record = records(folder).get(name)
        if record and not record['done']:
            time.sleep(0.5)
            if not records(folder)[name]['done']:
                os.kill(record['pid'], signal.SIGKILL)
                killed.append(record['pid'])
                return
        time.sleep(0.05)


@pytest.mark.timeout(900)
def test_forty_bags_on_two_nodes_survive_a_killed_worker(tmp_path, cluster, capsys):
    archive, single, spread = tmp_path / 'archive', tmp_path / 'single', tmp_path / 'ray'
    names = [f'day_{number % 2}/bag_{number}' for number in range(BAGS)]
    for number, name in enumerate(names):
        record_synthetic(archive / name, LONG if number == 7 else FRAMES, seed=number)
    for name in names:
        (single / name).parent.mkdir(parents=True, exist_ok=True)
        one = ['track', archive / name, '-o', single / f'{name}.jsonl', '--num-threads', 1]
        assert main([str(word) for word in one]) == 0
    command = ['track', str(archive), '-o', f'{spread}/{{name}}.jsonl', '--ray', cluster.address]
    killed = []
    killer = threading.Thread(
        target=kill_one_at_work, args=(spread, 'day_1/bag_7', killed), daemon=True
    )
    killer.start()
    capsys.readouterr()
    assert main(command) == 0
    table = capsys.readouterr().out
    print(table)
    assert killed, 'the long recording was done before it could be killed'
    assert '40 recordings: 40 tracked' in table and ' 0 failed' in table
    for name in names:
        assert (spread / f'{name}.jsonl').read_text() == (single / f'{name}.jsonl').read_text()
    found = records(spread)
    assert sorted(found) == sorted(names)
    begun = {name: record['begun'] for name, record in found.items()}
    assert begun == {name: 2 if name == 'day_1/bag_7' else 1 for name in names}
    assert len({record['pid'] for record in found.values()}) >= 2

    def state():
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_ino)
            for path in spread.rglob('*.json*')
            if path.suffix != '.lock'
        }

    before = state()
    assert main(command) == 0
    again = capsys.readouterr().out
    print(again)
    assert '40 recordings: 0 tracked' in again and '40 done before' in again
    assert state() == before
