"""Types for users' checkers: all functions of the core and the public ones elsewhere have them."""

import ast
from pathlib import Path

import pytest

import awr_ros

ROOT = Path(awr_ros.__file__).parent
CORE = (
    'camera',
    'crop',
    'derived',
    'detector',
    'draw',
    'estimator',
    'files',
    'finders',
    'hypotheses',
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
    'tracks',
    'weight_files',
)
FILES = [
    path
    for name in CORE
    for path in sorted(
        (ROOT / name).glob('*.py') if (ROOT / name).is_dir() else [ROOT / f'{name}.py']
    )
]


MIN_SHARE = 0.95  # of the public functions outside the core


def typed(function):
    """Whether all arguments and the result have a type; __init__ needs none for its result."""
    about = function.args
    arguments = [*about.posonlyargs, *about.args, *about.kwonlyargs]
    arguments += [each for each in (about.vararg, about.kwarg) if each]
    return (function.returns is not None or function.name == '__init__') and all(
        each.annotation is not None or each.arg in ('self', 'cls') for each in arguments
    )


def untyped(path):
    """Names and lines of functions with an argument or a result without a type."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not typed(node):
            yield f'{path.name}:{node.lineno} {node.name}'


def public_functions(path):
    """Functions and methods of public classes without a leading underscore, and __init__ etc."""
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        inner = [node]
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            inner = node.body
        for each in inner:
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and (
                not each.name.startswith('_') or each.name.startswith('__')
            ):
                yield each


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_function_of_the_core_has_types(path):
    assert not list(untyped(path))


def test_a_function_without_types_would_be_found(tmp_path):
    path = tmp_path / 'module.py'
    path.write_text(
        'def f(a: int): ...\ndef g(a) -> int: ...\ndef h(a: int, *b: int) -> int: ...\n'
    )
    assert list(untyped(path)) == ['module.py:1 f', 'module.py:2 g']


def test_public_functions_elsewhere_have_types():
    missing, count = [], 0
    for path in sorted(set(ROOT.rglob('*.py')) - set(FILES) - set((ROOT / 'msg').rglob('*.py'))):
        for function in public_functions(path):
            count += 1
            if not typed(function):
                missing.append(f'{path.relative_to(ROOT)}:{function.lineno} {function.name}')
    assert count > 500
    assert len(missing) <= (1 - MIN_SHARE) * count, '\n'.join(missing)


def test_the_installed_package_is_marked_as_typed():
    assert (ROOT / 'py.typed').is_file()
