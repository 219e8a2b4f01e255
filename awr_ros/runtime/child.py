"""Work in another Python process, which never outlives this one."""

import ctypes
import os
import signal
import subprocess
import sys
from typing import Any

PROGRAM = (
    'import sys; sys.path[:] = {path!r}; '
    'from awr_ros.runtime.child import begin; begin({parent}); '
    'from {module} import main; main({arguments!r})'
)
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run_apart(
    module: str, arguments: Any, timeout_s: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run main(arguments) of a module in another process and return what it wrote.

    arguments: plain values. Raises OSError where no process can be started and
    subprocess.TimeoutExpired. The process is killed when this one is.
    """
    if not sys.executable:
        raise FileNotFoundError('there is no Python to start')
    program = PROGRAM.format(path=sys.path, parent=os.getpid(), module=module, arguments=arguments)
    return subprocess.run(
        [sys.executable, '-c', program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )


def begin(parent: int) -> None:
    """Prepare the other process: it ends with its parent, which handles Ctrl-C for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)
