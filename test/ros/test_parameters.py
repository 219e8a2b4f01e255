"""The table, the YAML file and the README tell the same story."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import rclpy
import yaml
from ament_index_python.packages import get_package_share_directory

from awr_ros.ros import parameter_files, parameters
from awr_ros.ros.parameters import TABLE, Parameters

REPOSITORY = Path(__file__).parents[2]
DEFAULTS = {parameter.name: parameter.default for parameter in TABLE}


def test_table_and_dataclass_name_the_same():
    assert list(Parameters.__dataclass_fields__) == list(DEFAULTS)


def test_yaml_has_every_default():
    path = Path(get_package_share_directory('awr_ros')) / 'config' / 'tracker.yaml'
    assert yaml.safe_load(path.read_text())['/**/tracker']['ros__parameters'] == DEFAULTS


def test_the_documents_have_the_settings_of_the_code():
    """`make docs` writes them."""
    script = runpy.run_path(str(REPOSITORY / 'scripts' / 'write_settings.py'))
    for path, text in script['written'](REPOSITORY).items():
        assert path.read_text() == text, f'{path.name} is out of date: run "make docs"'


def test_descriptors_describe():
    for setting in TABLE:
        descriptor = parameters.descriptor(setting)
        assert descriptor.description and descriptor.name == setting.name
        if isinstance(setting.default, (int, float)) and not isinstance(setting.default, bool):
            assert setting.range and setting.range[0] <= setting.default <= setting.range[1]


def test_si_outside_and_millimetres_inside():
    config = Parameters(
        **{**DEFAULTS, 'min_depth': 0.25, 'max_depth': 2.0, 'side': 'left'}
    ).tracker_config()
    assert (config.min_depth_mm, config.max_depth_mm, config.side) == (250, 2000, 'left')


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(device='tpu'), "device is 'tpu', expected one of auto, cpu, cuda"),
        (dict(min_depth=2.0, max_depth=1.0), 'min_depth is 2'),
        (dict(side='both'), "side is 'both'"),
    ],
)
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
    node = rclpy.create_node(
        'tracker', namespace=namespace, cli_args=['--ros-args', '--params-file', str(changed)]
    )
    try:
        parameters.declare(node)
        assert parameters.read(node) == Parameters(**{**DEFAULTS, 'max_hands': 1})
    finally:
        node.destroy_node()


# ---- what people write


@pytest.mark.parametrize(
    'text, words',
    [
        (
            'tracker:\n  max_hands: 1\n',
            "'max_hands' stands outside of ros__parameters: write 'ros__parameters:'",
        ),
        ('max_hands: 1\n', "'max_hands' stands outside of ros__parameters"),
        (
            'ros__parameters:\n  max_hands: 1\n',
            r"names no node above ros__parameters: write '/\*\*/tracker:'",
        ),
        ('tracker:\n\tros__parameters:\n', 'is not YAML: .*line 2'),
        ('', 'names no node'),
        ('- 1\n', 'names no node'),
        (b'\xff\xfe\x00', 'is not text'),
        (None, 'No such file'),
    ],
)
def test_a_file_that_ros_cannot_read_is_refused_with_what_to_write(tmp_path, text, words):
    path = tmp_path / 'mine.yaml'
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=words) as refusal:
        parameter_files.nodes_of_file(str(path))
    assert str(path) in str(refusal.value) and '\n' not in str(refusal.value)


@pytest.mark.parametrize(
    'pattern, meant',
    [
        ('/tracker', True),
        ('tracker', True),
        ('/**', True),
        ('/*', True),
        ('/**/tracker', True),
        ('/hand_tracker', False),
        ('/left/tracker', False),
        ('/*/tracker', False),
        ('/**/left/tracker', False),
    ],
)
def test_names_of_nodes_mean_what_they_mean_to_ros(tmp_path, pattern, meant):
    """Compared with what rclpy takes of the same file."""
    assert (
        parameter_files.is_for(pattern if pattern.startswith('/') else f'/{pattern}', '/tracker')
        is meant
    )
    path = tmp_path / 'mine.yaml'
    path.write_text(f'{pattern}:\n  ros__parameters:\n    max_hands: 1\n')
    arguments = ['--ros-args', '--params-file', str(path)]
    node = rclpy.create_node('tracker', cli_args=arguments)
    try:
        assert bool(parameters.given(node)) is meant
    finally:
        node.destroy_node()
    lines = parameter_files.unused_files(arguments, ['/tracker'])
    assert bool(lines) is not meant
    assert (
        meant
        or f'has nothing for this node: it is for /{pattern.strip("/")}, this is /tracker'
        in lines[0]
    )


@pytest.mark.parametrize(
    'given, words',
    [
        (
            'max_depth: 2',
            'max_depth is 2, expected a number with a decimal point, 0.05 to 5: write 2.0',
        ),
        ('max_depth: 9.0', 'max_depth is 9.0, expected a number with a decimal point, 0.05 to 5'),
        ('max_hands: two', "max_hands is 'two', expected a whole number, 1 to 4"),
        ('max_hands: true', 'max_hands is true, expected a whole number'),
        ('smoothing: "on"', "smoothing is 'on', expected true or false"),
        ('tf_prefix: 5', "tf_prefix is 5, expected text: write '5' in quotes"),
    ],
)
def test_values_of_the_wrong_type_or_range_are_refused_with_what_to_write(tmp_path, given, words):
    path = tmp_path / 'mine.yaml'
    path.write_text(f'/**:\n  ros__parameters:\n    {given}\n')
    node = rclpy.create_node('tracker', cli_args=['--ros-args', '--params-file', str(path)])
    try:
        with pytest.raises(ValueError, match=re.escape(words)):
            parameters.declare(node)
    finally:
        node.destroy_node()


def test_unknown_parameters_are_named_with_the_nearest_one(tmp_path, monkeypatch):
    path = tmp_path / 'mine.yaml'
    path.write_text(
        '/**:\n  ros__parameters:\n    max_hand: 1\n    max_hands: 1\n    nonsense: 3\n    '
        'use_sim_time: true\n'
    )
    node = rclpy.create_node('tracker', cli_args=['--ros-args', '--params-file', str(path)])
    said = []
    try:
        parameters.declare(node)
        monkeypatch.setattr(node, 'get_logger', lambda: SimpleNamespace(warning=said.append))
        parameters.warn_of_unknown(node)
    finally:
        node.destroy_node()
    assert said == [
        'parameter max_hand is unknown and has no effect, did you mean max_hands?',
        'parameter nonsense is unknown and has no effect',
    ]


def test_help_has_every_parameter_with_its_meaning():
    text = parameters.usage('tracker', 'Tracks hands.')
    assert (
        all(f'  {p.name}:=' in text and p.description in text for p in TABLE) and '1 to 4' in text
    )
