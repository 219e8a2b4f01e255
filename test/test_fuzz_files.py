"""Damaged files of every kind are read or refused in a line; test/fuzz_files.py reads more of them
by hand.
"""

import pytest
from fuzz_files import fuzz, too_much
from memory import Memory, growth, memory


@pytest.mark.timeout(300)
def test_damaged_files_are_read_or_refused(tmp_path):
    """150 of them; nothing that is damaged is taken for whole where there is a checksum."""
    before = memory()
    refused, read, longest_s = fuzz(150, 0, tmp_path)
    assert sum(refused.values()) + sum(read.values()) == 150
    assert not {'weights', 'onnx', 'openvino bin'} & set(read)
    assert not {kind for kind in refused if kind.startswith('cached')}  # converted anew
    assert longest_s < 30 and memory().anonymous - before.anonymous < 500


def test_a_leak_is_told_from_a_jump():
    """By hand 1000 files are ten readings."""
    jumps = [
        Memory(500 + 5 * (i > 7), 287 + 2 * (i % 2), 154.8 + 0.05 * (i % 3)) for i in range(20)
    ]
    assert too_much(jumps) == []
    leaks = [Memory(500, 287, allocated=154 + 0.15 * i) for i in range(20)]  # 1.5 kB a file
    assert too_much(leaks) == ['allocated +1.35 MB']
    outside_malloc = [Memory(500, 287 + 0.4 * i, 154) for i in range(20)]
    assert too_much(outside_malloc) == ['anonymous +3.60 MB']
    assert growth([1.0]) == 0.0


def test_what_is_kept_is_measured():
    before = memory()
    kept = bytearray(b'1' * 64_000_000)
    assert memory().allocated - before.allocated > 63
    assert memory().anonymous - before.anonymous > 40  # less where a hole in the heap was filled
    del kept
    assert memory().allocated - before.allocated < 1
