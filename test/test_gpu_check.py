"""The script that measures a GPU keeps what it has, whatever fails, by a python3 that only pretends."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Fails in the bench, and in the weights after the network was trained.
PRETENDS = """#!/usr/bin/env bash
echo "python3 $*"
case "$*" in
  *" bench "*) echo "half of the bench"; exit 1 ;;
  *" make-weights "*)
    mkdir -p "$4/network"
    echo weights > "$4/network/weights.pt"
    echo seen,crops_per_s > "$4/network/log.csv"
    echo "$4" > "$WORK"
    test -f "$PYTHONPATH/awr_ros/__main__.py" || exit 2
    exit 124 ;;
esac
"""


def test_what_was_measured_is_kept_when_steps_fail(tmp_path):
    programs, folder = tmp_path / 'bin', tmp_path / 'out'
    programs.mkdir()
    (programs / 'python3').write_text(PRETENDS)
    (programs / 'python3').chmod(0o755)
    done = subprocess.run(
        [REPOSITORY / 'scripts' / 'gpu_check.sh', folder],
        env={
            **os.environ,
            'PATH': f'{programs}:{os.environ["PATH"]}',
            'WORK': str(tmp_path / 'work'),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and not done.stderr, done.stderr
    summary = (folder / 'summary.txt').read_text()
    assert summary == done.stdout
    steps = [line.partition(' after')[0] for line in summary.splitlines()]
    assert steps == [
        'machine: status 0',
        'parity: status 0',
        'bench: status 1',
        'weights: status 124',
        'weights.pt is network/weights.pt',
    ]
    assert 'half of the bench' in (folder / 'bench.txt').read_text()
    assert (folder / 'weights.pt').read_text() == 'weights\n'
    assert (folder / 'weights.txt').read_text().endswith('\nnetwork/log.csv\nseen,crops_per_s\n')
    assert not Path((tmp_path / 'work').read_text().strip()).parent.exists()


def test_its_steps_fit_into_ten_minutes():
    text = (REPOSITORY / 'scripts' / 'gpu_check.sh').read_text()
    limits = [int(line.split()[2]) for line in text.splitlines() if line.startswith('step ')]
    assert len(limits) == 4 and sum(limits) <= 560
    assert 'total=$((560 * patience))' in text and '--kill-after=5' in text
