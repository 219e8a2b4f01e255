"""What people install: by colcon, plain and with symlinks, and by pip without ROS."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import awr_ros

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ('awr_ros', 'config', 'examples', 'launch', 'msg', 'scripts', 'test', 'requirements', 'CMakeLists.txt', 'package.xml',
           'pyproject.toml', 'setup.py')


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, **options)
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
            shutil.copytree(path, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
        else:
            shutil.copy2(path, target / name)
    return target


def data_files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob('*')
            if path.suffix in ('.npz', '.pt', '.sha256', '.xml', '.yaml') and '.venv' not in path.parts}


def test_installed_programs_and_files():
    from ament_index_python.packages import get_package_prefix
    prefix = Path(get_package_prefix('awr_ros'))
    for name in ('tracker', 'synthetic_camera', 'demo', 'retarget.py', 'servo_teleop.py', 'stop_on_palm.py'):
        assert os.access(prefix / 'lib' / 'awr_ros' / name, os.X_OK)
    for name in ('config/tracker.yaml', 'config/fastdds_shm.xml', 'launch/tracker.launch.py', 'launch/cameras/zed_camera.launch.py',
                 'config/awr.rviz', 'examples/cpp/package.xml', 'msg/Hand.msg'):
        assert (prefix / 'share' / 'awr_ros' / name).is_file()
    missing = data_files(REPOSITORY / 'awr_ros') - data_files(Path(awr_ros.__file__).parent)
    assert not missing


@pytest.mark.timeout(300)
def test_colcon_with_symlinks(sources, tmp_path):
    install = tmp_path / 'install'
    run(sys.executable, '-m', 'colcon', '--log-base', tmp_path / 'log', 'build', '--symlink-install',
        '--base-paths', sources, '--build-base', tmp_path / 'build', '--install-base', install, '--cmake-args',
        f'-DPython3_EXECUTABLE={sys.executable}', '-DBUILD_TESTING=OFF', cwd=tmp_path)
    program = ('import awr_ros.msg, awr_ros.camera, awr_ros.ros.node; print(awr_ros.msg.HandArray.__module__); '
               'print(awr_ros.camera.__file__)')
    script = f'source {install}/local_setup.bash && exec {sys.executable} -c "{program}"'
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    message_module, camera = run('bash', '-c', script, cwd=tmp_path, env=environment).split()
    assert message_module == 'awr_ros.msg._hand_array'
    assert camera.startswith(str(install)) and Path(camera).is_symlink()


@pytest.mark.timeout(300)
def test_pip_without_ros(sources, tmp_path):
    """--no-deps: what the package depends on is in this environment already, and is pinned by the requirements."""
    target = tmp_path / 'site'
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-build-isolation', '--target', target,
        sources)
    assert data_files(sources / 'awr_ros') == data_files(target / 'awr_ros')
    assert (target / 'awr_ros' / 'message_definitions' / 'Hand.msg').is_file()
    environment = {**os.environ, 'PYTHONPATH': str(target)}
    assert 'usage: awr' in run(sys.executable, '-m', 'awr_ros', '--help', cwd=tmp_path, env=environment)
    assert 'usage: awr' in run(sys.executable, target / 'bin' / 'awr', '--help', cwd=tmp_path, env=environment)
    program = 'import awr_ros.tracker, importlib.util as u; assert u.find_spec("awr_ros.msg") is None'
    run(sys.executable, '-c', program, cwd=tmp_path, env=environment)
