"""Layers point one way, and nothing but awr_ros.ros needs ROS."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import awr_ros

ROOT = Path(awr_ros.__file__).parent
# A module imports its own layer and those before it.
LAYERS = (
    (
        'camera',
        'dependencies',
        'file_kinds',
        'files',
        'interrupts',
        'opencv_log',
        'settings',
        'skeleton',
        'stamps',
        'weight_files',
    ),
    ('crop', 'offset_field', 'draw', 'smoothing', 'derived'),
    ('messages', 'finders'),
    ('networks', 'runtime'),
    ('estimator', 'hypotheses', 'views'),
    ('tracker_config', 'detector', 'sightings', 'tracks', 'tracker'),
    ('synthetic',),
    ('training', 'evaluation', 'datasets', 'bench', 'offline', 'viewer'),
    ('ros', '__main__'),
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ROS = (
    'rclpy',
    'rcl_interfaces',
    'builtin_interfaces',
    'cv_bridge',
    'message_filters',
    'launch',
    'launch_ros',
    'tf2_ros',
)


def modules():
    """(dotted name below awr_ros, path) of our own modules; what the message generator installs is
    not ours.
    """
    for path in sorted(ROOT.rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts[0] != 'msg' and parts != ('__init__',):
            yield '.'.join(parts).removesuffix('.__init__'), path


MODULES = dict(modules())


def imports(path):
    """Dotted names that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute here'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def needs_ros(name):
    root = name.split('.')[0]
    return root in ROS or root.endswith(('_msgs', '_srvs')) or name.startswith('awr_ros.msg')


def test_the_modules_were_found():
    assert {'camera', 'tracker', 'ros.node', 'synthetic.camera'} <= set(MODULES)


@pytest.mark.parametrize('name', MODULES)
def test_layers_point_one_way(name):
    assert name.split('.')[0] in RANKS, f'awr_ros.{name} is in none of LAYERS'
    rank = RANKS[name.split('.')[0]]
    for imported in imports(MODULES[name]):
        parts = imported.split('.')
        if parts[0] == 'awr_ros' and len(parts) > 1 and parts[1] in RANKS:
            assert RANKS[parts[1]] <= rank, f'awr_ros.{name} imports {imported}'


@pytest.mark.parametrize('name', [name for name in MODULES if name.split('.')[0] != 'ros'])
def test_only_the_ros_layer_names_ros(name):
    assert not [imported for imported in imports(MODULES[name]) if needs_ros(imported)]


def test_everything_else_imports_without_ros():
    names = [
        f'awr_ros.{name}' for name in MODULES if name.split('.')[0] != 'ros' and name != '__main__'
    ]
    program = f"""
import importlib, sys
class NoRos:
    def find_spec(self, name, path=None, target=None):
        root = name.split('.')[0]
        if root in {ROS} or root.endswith(('_msgs', '_srvs')) or name == 'awr_ros.msg':
            raise ModuleNotFoundError(f'{{name}} is blocked in this test', name=name)
sys.meta_path.insert(0, NoRos())
for name in {names}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
