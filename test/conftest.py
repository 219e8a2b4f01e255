"""All tests run against the installed package: the source folder has no messages and may differ
from what users get.
"""

from pathlib import Path

import pytest
import torch

import awr_ros

REPOSITORY = Path(__file__).resolve().parents[1]
if Path(awr_ros.__file__).parent == REPOSITORY / 'awr_ros':
    raise RuntimeError(
        f'awr_ros was imported from the source folder {REPOSITORY / "awr_ros"}: run "make test", '
        'or pytest in a shell with the installed package, not "python -m pytest"'
    )


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """The tests' tensors are small: a second thread waits more than it works, above all on a busy
    machine.
    """
    torch.set_num_threads(1)
