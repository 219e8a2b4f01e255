"""What people install: by colcon, plain and with symlinks, and by pip without ROS."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import awr_ros

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = (
    'awr_ros',
    'config',
    'examples',
    'launch',
    'msg',
    'scripts',
    'test',
    'requirements',
    'CMakeLists.txt',
    'package.xml',
    'pyproject.toml',
    'setup.py',
    'MANIFEST.in',
    'README.md',
    'CHANGELOG.md',
    'LICENSE',
)


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=280, **options
    )
    assert done.returncode == 0, f'{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
    return done.stdout


@pytest.fixture
def sources(tmp_path):
    """A copy, so that builds leave nothing in the repository."""
    target = tmp_path / 'awr_ros'
    target.mkdir()
    for name in SOURCES:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(
                path, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc')
            )
        else:
            shutil.copy2(path, target / name)
    return target


def data_files(root):
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob('*')
        if path.suffix in ('.npz', '.pt', '.sha256', '.xml', '.yaml') and '.venv' not in path.parts
    }


@pytest.mark.parametrize('distribution, suffix', [('kilted', ''), ('jazzy', '-jazzy')])
def test_make_keeps_the_distributions_apart(distribution, suffix):
    environment = {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}
    steps = run('make', '-n', 'build', f'ROS={distribution}', cwd=REPOSITORY, env=environment)
    assert f'--install-base install{suffix} ' in steps and f'/.venv{suffix}/bin/python' in steps
    assert all(
        (REPOSITORY / 'requirements' / f'ros-{name}.txt').is_file() for name in ('kilted', 'jazzy')
    )
    refused = subprocess.run(
        ['make', '-n', 'build', 'ROS=foxy'],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode and "ROS is 'foxy', expected kilted or jazzy" in refused.stderr


def test_installed_programs_and_files():
    from ament_index_python.packages import get_package_prefix

    prefix = Path(get_package_prefix('awr_ros'))
    for name in (
        'tracker',
        'trackers',
        'synthetic_camera',
        'demo',
        'retarget.py',
        'servo_teleop.py',
        'stop_on_palm.py',
    ):
        assert os.access(prefix / 'lib' / 'awr_ros' / name, os.X_OK)
    for name in (
        'config/tracker.yaml',
        'config/fastdds_shm.xml',
        'launch/tracker.launch.py',
        'launch/cameras/zed_camera.launch.py',
        'config/awr.rviz',
        'config/diagnostics_aggregator.yaml',
        'examples/cpp/package.xml',
        'examples/docker/Dockerfile',
        'msg/Hand.msg',
    ):
        assert (prefix / 'share' / 'awr_ros' / name).is_file()
    missing = data_files(REPOSITORY / 'awr_ros') - data_files(Path(awr_ros.__file__).parent)
    assert not missing


@pytest.mark.timeout(300)
def test_colcon_with_symlinks(sources, tmp_path):
    install = tmp_path / 'install'
    run(
        sys.executable,
        '-m',
        'colcon',
        '--log-base',
        tmp_path / 'log',
        'build',
        '--symlink-install',
        '--base-paths',
        sources,
        '--build-base',
        tmp_path / 'build',
        '--install-base',
        install,
        '--cmake-args',
        f'-DPython3_EXECUTABLE={sys.executable}',
        '-DBUILD_TESTING=OFF',
        cwd=tmp_path,
    )
    program = (
        'import awr_ros.msg, awr_ros.camera, awr_ros.ros.node; '
        'print(awr_ros.msg.HandArray.__module__); '
        'print(awr_ros.camera.__file__)'
    )
    script = f'source {install}/local_setup.bash && exec {sys.executable} -c "{program}"'
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    message_module, camera = run('bash', '-c', script, cwd=tmp_path, env=environment).split()
    assert message_module == 'awr_ros.msg._hand_array'
    assert camera.startswith(str(install)) and Path(camera).is_symlink()


@pytest.mark.timeout(300)
def test_pip_without_ros(sources, tmp_path):
    """--no-deps: what the package depends on is in this environment already, and is pinned by the
    requirements.
    """
    target = tmp_path / 'site'
    run(
        sys.executable,
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-deps',
        '--no-build-isolation',
        '--target',
        target,
        sources,
    )
    assert data_files(sources / 'awr_ros') == data_files(target / 'awr_ros')
    assert (target / 'awr_ros' / 'message_definitions' / 'Hand.msg').is_file()
    environment = {**os.environ, 'PYTHONPATH': str(target)}
    assert 'usage: awr' in run(
        sys.executable, '-m', 'awr_ros', '--help', cwd=tmp_path, env=environment
    )
    assert 'usage: awr' in run(
        sys.executable, target / 'bin' / 'awr', '--help', cwd=tmp_path, env=environment
    )
    program = (
        'import awr_ros.tracker, importlib.util as u; assert u.find_spec("awr_ros.msg") is None'
    )
    run(sys.executable, '-c', program, cwd=tmp_path, env=environment)


@pytest.mark.timeout(300)
def test_an_sdist_has_what_it_is_built_from(sources, tmp_path):
    """As `python -m build` does, but with the setuptools that is here."""
    build = f'import setuptools.build_meta as b; print(b.build_sdist({str(tmp_path)!r}))'
    name = run(sys.executable, '-c', build, cwd=sources).splitlines()[-1]
    version = ElementTree.parse(REPOSITORY / 'package.xml').getroot().findtext('version')
    assert name == f'awr_ros-{version}.tar.gz'  # package.xml has the version
    target = tmp_path / 'site'
    run(
        sys.executable,
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-deps',
        '--no-build-isolation',
        '--target',
        target,
        tmp_path / name,
    )
    assert data_files(sources / 'awr_ros') == data_files(target / 'awr_ros')
    assert (target / 'awr_ros' / 'message_definitions' / 'Hand.msg').is_file()
    (metadata,) = target.glob('*.dist-info/METADATA')
    text = metadata.read_text()
    assert (
        f'Version: {version}' in text
        and 'License: Apache-2.0' in text
        and 'Requires-Dist: numpy' in text
        and 'Provides-Extra: offline' in text
    )
