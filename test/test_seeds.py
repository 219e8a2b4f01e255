"""Seeds of rendered data: none is used for two things, and what runs add to them keeps them apart."""

import ast
from itertools import pairwise
from pathlib import Path

import awr_ros
from awr_ros.synthetic import seeds

ROOT = Path(awr_ros.__file__).parent


def test_seeds_are_far_apart():
    values = sorted(value for name, value in vars(seeds).items() if name.endswith('_SEED'))
    assert len(values) >= 10
    assert min(after - before for before, after in pairwise(values)) > 50_000_000


def test_no_other_module_has_a_seed_of_its_own():
    own = [
        f'{path.relative_to(ROOT)}:{node.lineno}'
        for path in ROOT.rglob('*.py')
        if path.name != 'seeds.py'
        for node in ast.parse(path.read_text(encoding='utf-8')).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and any(isinstance(t, ast.Name) and t.id.endswith('SEED') for t in node.targets)
    ]
    assert not own
