"""Damaged files of every kind are read or refused in a line; test/fuzz_files.py reads more of them
by hand.
"""

import pytest
from fuzz_files import fuzz, memory_mb


@pytest.mark.timeout(300)
def test_damaged_files_are_read_or_refused(tmp_path):
    """150 of them; nothing that is damaged is taken for whole where there is a checksum."""
    before_mb = memory_mb()
    refused, read, longest_s = fuzz(150, 0, tmp_path)
    assert sum(refused.values()) + sum(read.values()) == 150
    assert not {'weights', 'onnx', 'openvino bin'} & set(read)
    assert not {kind for kind in refused if kind.startswith('cached')}  # converted anew
    assert longest_s < 30 and memory_mb() - before_mb < 500
