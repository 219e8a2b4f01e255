"""A system whose own NumPy or OpenCV is too old gets one line, by modules that take their place."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from awr_ros import dependencies
from awr_ros.__main__ import main

REQUIREMENTS = Path(__file__).parents[1] / 'requirements' / 'run.txt'


@pytest.fixture
def installed(monkeypatch):
    """installed(numpy='1.21.5', cv2=None): these versions, None for one that is not there."""

    def install(**versions):
        for name, version in versions.items():
            module = None if version is None else SimpleNamespace(__version__=version)
            monkeypatch.setitem(sys.modules, name, module)

    return install


def test_what_is_installed_here_will_do():
    assert dependencies.unmet() == ''


@pytest.mark.parametrize(
    'versions, words',
    [
        (dict(numpy='1.21.5', cv2='4.8.0'), 'NumPy 1.21.5 is too old, needed is 1.23 or newer: '),
        (dict(numpy='1.26.4', cv2='4.5.4'), 'OpenCV 4.5.4 is too old, needed is 4.7 or newer: '),
        (dict(numpy='1.26.4', cv2=None), 'OpenCV is missing, needed is 4.7 or newer: '),
        (
            dict(numpy='1.21.5', cv2='4.5.4-dev'),
            'NumPy 1.21.5 is too old, needed is 1.23 or newer; '
            'OpenCV 4.5.4-dev is too old, needed is 4.7 or newer: ',
        ),
    ],
)
def test_what_is_too_old_is_named_with_the_version_needed(installed, versions, words):
    installed(**versions)
    assert dependencies.unmet() == f'{words}{dependencies.REMEDY}'


@pytest.mark.parametrize('numpy', ['1.23.0', '1.100.1', '2.0.0rc1', '2.5.dev0+git20260101'])
def test_newer_versions_will_do_however_they_are_written(installed, numpy):
    installed(numpy=numpy, cv2='4.10.0.84')
    assert dependencies.unmet() == ''


def test_a_library_that_was_built_against_another_numpy_is_named(tmp_path, monkeypatch):
    (tmp_path / 'cv2.py').write_text(
        'raise ImportError("numpy.core.multiarray failed\\nto import")'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'cv2')
    assert dependencies.unmet().startswith(
        'OpenCV cannot be imported (numpy.core.multiarray failed to import): pip install'
    )


def test_the_command_line_ends_in_one_line(installed, capsys):
    installed(cv2='4.5.4')
    assert main(['track', 'recording']) == 1
    assert capsys.readouterr().err.splitlines() == [f'awr track: {dependencies.unmet()}']


def test_the_versions_are_those_of_the_requirements():
    oldest = dict(re.findall(r'^(\S+?)>=([\d.]+)', REQUIREMENTS.read_text(), re.M))
    named = {'numpy': 'numpy', 'cv2': 'opencv-python-headless'}
    for module, (_, version) in dependencies.OLDEST.items():
        assert oldest[named[module]] == '.'.join(map(str, version))
