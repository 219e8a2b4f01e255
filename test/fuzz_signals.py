"""Runs of `track` stopped at random moments: one line, no leftovers, no traceback. By hand: python
test/fuzz_signals.py 60
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AWR = (sys.executable, '-m', 'awr_ros')
OUTPUTS = ['b', 'h.jsonl', 'v.mp4']


def stopped(bag: Path, out: Path, number: int, after_s: float) -> str:
    """Stop a run with three outputs by a signal. Returns what was wrong, '' where nothing was."""
    run = subprocess.Popen(
        [
            *AWR,
            'track',
            str(bag),
            '-o',
            str(out / 'h.jsonl'),
            '--overlay',
            str(out / 'v.mp4'),
            '--bag',
            str(out / 'b'),
        ],
        stderr=subprocess.PIPE,
    )
    time.sleep(after_s)
    run.send_signal(number)
    text = run.communicate(timeout=600)[1].decode()
    left = sorted(os.listdir(out))
    whole = run.returncode == 0 and left == OUTPUTS  # it was faster than the signal
    if 'Traceback' not in text and (whole or run.returncode == -number and not left):
        return ''
    return (
        f'{signal.Signals(number).name} after {after_s:.2f} s: status {run.returncode}, left '
        f'{left}: {text[-500:]}'
    )


if __name__ == '__main__':
    rng, count = random.Random(0), int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(
            [*AWR, 'render', f'{name}/bag', '--bag', '60'], check=True, stdout=subprocess.DEVNULL
        )
        wrong = 0
        for i in range(count):
            folder = Path(name, str(i))
            folder.mkdir()
            said = stopped(
                Path(name, 'bag'),
                folder,
                rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
                rng.uniform(0.15, 2.6),
            )
            wrong += bool(said)
            print(said, end='\n' if said else '', flush=True)
    print(f'{count} runs stopped, {wrong} wrong')
