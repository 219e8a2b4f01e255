"""Signals that fall into odd moments, and processes that must not outlive their parents."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A signal while Python runs code that nobody called: its exceptions are printed and dropped.
DROPPED = """
import gc, os, signal, sys, time
from awr_ros.interrupts import Stopped, stoppable

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.01)

signal.signal(signal.{name}, signal.SIG_DFL)  # tests may run where it is ignored, as by nohup
try:
    with stoppable():
        print(sys.unraisablehook is sys.__unraisablehook__)
        Finalized()
        print('goes on', flush=True)
        time.sleep(30)
        print('never')
except Stopped as stopped:
    print(stopped, sys.unraisablehook is sys.__unraisablehook__)
"""


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP'])
def test_a_signal_that_falls_into_a_finalizer_is_not_lost(name):
    done = subprocess.run(
        [sys.executable, '-c', DROPPED.format(name=name)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ['False', 'goes on', f'stopped by {name} True'], done
    assert done.stderr == ''


def test_other_exceptions_without_a_caller_are_reported(capsys):
    from awr_ros.interrupts import stoppable

    class Fails:
        def __del__(self):
            raise LookupError('of a finalizer')

    with stoppable():
        reported = []
        sys.unraisablehook, before = reported.append, sys.unraisablehook
        Fails()
        sys.unraisablehook = before
    assert len(reported) == 1


PARENT = """
import sys
sys.path[:] = {path!r}
from awr_ros.runtime.child import run_apart
run_apart('slow_child', {file!r})
"""
CHILD = """
import os, time
def main(file):
    with open(file + '.part', 'w') as written:
        written.write(str(os.getpid()))
    os.rename(file + '.part', file)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems do not tell a child')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_process_for_conversions_ends_with_its_parent(number, tmp_path):
    (tmp_path / 'slow_child.py').write_text(CHILD)
    file = tmp_path / 'pid'
    program = PARENT.format(path=[str(tmp_path), *sys.path], file=str(file))
    parent = subprocess.Popen([sys.executable, '-c', program])
    until(file.exists)
    child = int(file.read_text())
    parent.send_signal(number)
    parent.wait(60)
    until(lambda: not running(child))


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_where_no_process_can_be_started_the_conversion_is_done_here(tmp_path, monkeypatch):
    from fuzz_files import TINY

    from awr_ros.networks.checkpoint import CompactNetwork, save_checkpoint
    from awr_ros.runtime.convert import convert_apart

    save_checkpoint(tmp_path / 'a.pt', CompactNetwork(TINY).eval(), 1, {})
    monkeypatch.setattr(sys, 'executable', os.devnull)
    assert set(convert_apart(tmp_path / 'a.pt', '.xml')) == {'.xml', '.bin'}
