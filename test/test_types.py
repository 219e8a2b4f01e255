"""Types for users' checkers: every function of the core has them, and the package is marked."""

import ast
from pathlib import Path

import pytest

import awr_ros

ROOT = Path(awr_ros.__file__).parent
CORE = (
    'camera',
    'crop',
    'derived',
    'draw',
    'estimator',
    'files',
    'finders',
    'interrupts',
    'messages',
    'offset_field',
    'runtime/readout',
    'runtime/select',
    'runtime/shared_engine',
    'settings',
    'skeleton',
    'smoothing',
    'stamps',
    'tracker',
    'tracker_config',
    'weight_files',
)
FILES = [
    path
    for name in CORE
    for path in sorted(
        (ROOT / name).glob('*.py') if (ROOT / name).is_dir() else [ROOT / f'{name}.py']
    )
]


def untyped(path):
    """Names and lines of functions with an argument or a result without a type."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            about = node.args
            arguments = [*about.posonlyargs, *about.args, *about.kwonlyargs]
            arguments += [each for each in (about.vararg, about.kwarg) if each]
            if node.returns is None or any(
                each.annotation is None and each.arg not in ('self', 'cls') for each in arguments
            ):
                yield f'{path.name}:{node.lineno} {node.name}'


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_function_of_the_core_has_types(path):
    assert not list(untyped(path))


def test_a_function_without_types_would_be_found(tmp_path):
    path = tmp_path / 'module.py'
    path.write_text(
        'def f(a: int): ...\ndef g(a) -> int: ...\ndef h(a: int, *b: int) -> int: ...\n'
    )
    assert list(untyped(path)) == ['module.py:1 f', 'module.py:2 g']


def test_the_installed_package_is_marked_as_typed():
    assert (ROOT / 'py.typed').is_file()
