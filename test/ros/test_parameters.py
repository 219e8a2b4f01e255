"""The table, the YAML file and the README tell the same story."""
from pathlib import Path

import pytest
import rclpy
import yaml
from ament_index_python.packages import get_package_share_directory

from awr_ros.ros import parameters
from awr_ros.ros.parameters import TABLE, Parameters

DEFAULTS = {parameter.name: parameter.default for parameter in TABLE}


def test_table_and_dataclass_name_the_same():
    assert list(Parameters.__dataclass_fields__) == list(DEFAULTS)


def test_yaml_has_every_default():
    path = Path(get_package_share_directory('awr_ros')) / 'config' / 'tracker.yaml'
    assert yaml.safe_load(path.read_text())['/**/tracker']['ros__parameters'] == DEFAULTS


def test_readme_has_every_parameter_with_its_default():
    text = (Path(__file__).parents[2] / 'README.md').read_text()
    for name, default in DEFAULTS.items():
        shown = str(default).lower() if isinstance(default, bool) else f'"{default}"' if default == '' else default
        assert f'| `{name}` | `{shown}` |' in text


def test_descriptors_describe():
    for parameter in TABLE:
        descriptor = parameter.descriptor()
        assert descriptor.description and descriptor.name == parameter.name
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool):
            assert parameter.range and parameter.range[0] <= parameter.default <= parameter.range[1] or \
                parameter.name == 'num_threads'


def test_si_outside_and_millimetres_inside():
    config = Parameters(**{**DEFAULTS, 'min_depth': 0.25, 'max_depth': 2.0, 'side': 'left'}).tracker_config()
    assert (config.min_depth_mm, config.max_depth_mm, config.side) == (250, 2000, 'left')


@pytest.mark.parametrize('changes, words', [(dict(device='tpu'), "device is 'tpu', expected one of auto, cpu, cuda"),
                                            (dict(min_depth=2.0, max_depth=1.0), 'min_depth is 2'),
                                            (dict(side='both'), "side is 'both'")])
def test_impossible_values_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        Parameters(**{**DEFAULTS, **changes})


def test_declared_on_a_node_they_come_back_as_defaults():
    node = rclpy.create_node('parameters')
    try:
        parameters.declare(node)
        assert parameters.read(node) == Parameters(**DEFAULTS)
        assert node.describe_parameter('autostart').read_only
    finally:
        node.destroy_node()


@pytest.mark.parametrize('namespace', ['', 'left/wrist'])
def test_yaml_reaches_a_node_in_any_namespace(tmp_path, namespace):
    text = (Path(get_package_share_directory('awr_ros')) / 'config' / 'tracker.yaml').read_text()
    changed = tmp_path / 'changed.yaml'
    changed.write_text(text.replace('max_hands: 2', 'max_hands: 1'))
    node = rclpy.create_node('tracker', namespace=namespace, cli_args=['--ros-args', '--params-file', str(changed)])
    try:
        parameters.declare(node)
        assert parameters.read(node) == Parameters(**{**DEFAULTS, 'max_hands': 1})
    finally:
        node.destroy_node()
