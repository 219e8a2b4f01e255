"""What the launch files would start, by running them with nodes that only write down what they were
given.

By the real launch and launch_ros where they are installed, else by fake_launch.
"""

import importlib
import importlib.util
import os
import re
from pathlib import Path
from types import SimpleNamespace

import fake_launch
import pytest
from ament_index_python.packages import get_package_share_directory

from awr_ros.dependencies import CONFIGURATION_REFUSED
from awr_ros.ros.camera_preset import load_preset, preset_file, preset_names
from awr_ros.ros.middleware import PROFILE_VARIABLES, profile_variable

SHARE = Path(get_package_share_directory('awr_ros'))
CAMERAS = SHARE / 'launch' / 'cameras'
SHM = str(SHARE / 'config' / 'fastdds_shm.xml')
# A driver's launch file: arguments that drivers have and that tracker.launch.py has too, with the
# driver's defaults.
DRIVER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
NAMES = {names}
def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value='of the driver', description=name) for name in NAMES),
        Node(package='{package}', executable='driver', parameters=[{{name: LaunchConfiguration(name) for name in NAMES}}])])
"""
SHARED_NAMES = ('namespace', 'device', 'log_level', 'use_sim_time')


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """install(package, {launch file: text}) puts a ROS package where ament finds it."""
    monkeypatch.setenv(
        'AMENT_PREFIX_PATH', f'{tmp_path}{os.pathsep}{os.environ["AMENT_PREFIX_PATH"]}'
    )

    def install(package, launch_files=()):
        marker = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages' / package
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        folder = tmp_path / 'share' / package / 'launch'
        folder.mkdir(parents=True)
        for name, text in dict(launch_files).items():
            (folder / name).write_text(text)

    return install


@pytest.fixture
def launch(monkeypatch):
    """launch(file, name=value, ...) runs a launch file and returns its nodes, as dicts of plain
    values; launch.notes is what it told the user.
    """
    if importlib.util.find_spec('launch') is None:
        fake_launch.install(monkeypatch)
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    import launch

    for name in PROFILE_VARIABLES:
        monkeypatch.setenv(name, '')  # so that monkeypatch puts back what the launch files set
        monkeypatch.delenv(name)
    nodes, notes = [], []

    def plain(value, context):
        if isinstance(value, dict):
            return {key: plain(item, context) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item, context) for item in value]
        if hasattr(value, 'evaluate'):
            return value.evaluate(context)
        return value.perform(context) if hasattr(value, 'perform') else value

    class Node(launch.Action):
        def __init__(self, **options):
            super().__init__()
            self.options = options

        def execute(self, context):
            node = plain(self.options, context)
            nodes.append(
                {
                    **node,
                    'profile': os.environ.get(profile_variable()),
                    'remappings': dict(node.get('remappings', ())),
                }
            )

    class LogInfo(launch.Action):
        def __init__(self, *, msg):
            super().__init__()
            self.text = msg

        def execute(self, context):
            notes.append(self.text)

    def run(file, **arguments):
        nodes.clear()
        notes.clear()
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)

        def visit(entity):
            for inner in entity.visit(context) or ():
                visit(inner)

        visit(IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / 'launch' / file))))
        return list(nodes)

    run.notes = notes
    monkeypatch.setattr(importlib.import_module('launch_ros.actions'), 'Node', Node)
    monkeypatch.setattr(importlib.import_module('launch.actions'), 'LogInfo', LogInfo)
    return run


def one(nodes, executable):
    found = [node for node in nodes if node['executable'] == executable]
    assert len(found) == 1, f'{len(found)} nodes of {executable} in {nodes}'
    return found[0]


def changed(tracker):
    """The parameters of a tracker node beside its file."""
    file, parameters = tracker['parameters']
    assert Path(file).is_file()
    return parameters


def test_without_arguments_only_the_tracker_starts(launch):
    (tracker,) = launch('tracker.launch.py')
    assert (tracker['package'], tracker['executable']) == ('awr_ros', 'tracker')
    assert (tracker['name'], tracker['namespace']) == ('tracker', '')
    assert tracker['remappings'] == {
        'depth/image': 'depth/image',
        'depth/camera_info': 'depth/camera_info',
    }
    assert tracker['parameters'][0] == str(SHARE / 'config' / 'tracker.yaml')
    assert changed(tracker) == {'use_sim_time': False}
    assert tracker['arguments'] == ['--ros-args', '--log-level', 'tracker:=info']
    assert tracker['profile'] == SHM


def test_arguments_reach_the_tracker(launch, tmp_path):
    weights, params = tmp_path / 'w.pt', tmp_path / 'p.yaml'
    weights.touch()
    params.touch()
    (tracker,) = launch(
        'tracker.launch.py',
        namespace='robot/left',
        depth_topic='/d/raw',
        info_topic='/i',
        device='cpu',
        weights=str(weights),
        max_hands='1',
        params_file=str(params),
        use_sim_time='true',
        log_level='debug',
    )
    assert tracker['namespace'] == 'robot/left'
    assert tracker['remappings'] == {'depth/image': '/d/raw', 'depth/camera_info': '/i'}
    assert tracker['parameters'][0] == str(params)
    assert changed(tracker) == {
        'use_sim_time': True,
        'device': 'cpu',
        'weights': str(weights),
        'max_hands': 1,
    }
    assert tracker['arguments'][-1] == 'robot.left.tracker:=debug'


@pytest.mark.parametrize(
    'depth, info',
    [
        ('/a/b/image_rect', '/a/b/camera_info'),
        ('/image', '/camera_info'),
        ('a/image', 'a/camera_info'),
        ('image', 'camera_info'),
    ],
)
def test_camera_info_is_beside_a_given_depth_topic(launch, depth, info):
    (tracker,) = launch('tracker.launch.py', depth_topic=depth)
    assert tracker['remappings'] == {'depth/image': depth, 'depth/camera_info': info}


def test_a_compressed_topic_is_taken_for_its_image(launch):
    (tracker,) = launch('tracker.launch.py', depth_topic='/a/image/compressedDepth')
    assert tracker['remappings'] == {
        'depth/image': '/a/image',
        'depth/camera_info': '/a/camera_info',
    }


@pytest.mark.parametrize(
    'name, value',
    [
        ('camera', 'kinect'),
        ('device', 'gpu0'),
        ('max_hands', '0'),
        ('max_hands', '5'),
        ('max_hands', 'two'),
        ('weights', '/nowhere.pt'),
        ('params_file', '/nowhere.yaml'),
        ('fastdds_profile', '/nowhere.xml'),
        ('rviz', 'yes'),
        ('use_sim_time', '2'),
        ('respawn', 'maybe'),
        ('autostart', 'no'),
        ('output', 'paper'),
        ('log_level', 'loud'),
    ],
)
def test_what_cannot_be_is_refused_with_the_name_and_the_value(launch, name, value):
    with pytest.raises(RuntimeError) as refusal:
        launch('tracker.launch.py', **{name: value})
    assert name in str(refusal.value) and value in str(refusal.value)


@pytest.mark.parametrize('name', PROFILE_VARIABLES)
def test_profile_of_the_user_is_kept_and_named_as_it_is_read(launch, monkeypatch, name):
    monkeypatch.setenv(name, '/mine.xml')
    assert launch('tracker.launch.py')[0]['profile'] == '/mine.xml'
    assert launch('tracker.launch.py', fastdds_profile=SHM)[0]['profile'] == SHM


def test_no_profile_on_request(launch):
    assert launch('tracker.launch.py', fastdds_profile='none')[0]['profile'] is None


@pytest.mark.parametrize(
    'text, value',
    [('true', True), ('True', True), ('1', True), ('false', False), ('False', False), ('0', False)],
)
def test_booleans_are_written_as_ros_takes_them(launch, text, value):
    camera, tracker = launch(
        'tracker.launch.py',
        camera='synthetic',
        best_effort=text,
        use_sim_time=text,
        respawn=text,
        autostart=text,
    )
    assert camera['parameters'][0]['best_effort'] is value
    assert (
        changed(tracker) == {'use_sim_time': value, 'autostart': value}
        and tracker['respawn'] is value
    )


def test_output_and_log_level_are_for_all_nodes_of_this_package(launch):
    camera, tracker = launch(
        'synthetic.launch.py', namespace='here', output='log', log_level='warn'
    )
    assert camera['output'] == tracker['output'] == 'log'
    assert camera['arguments'] == ['--ros-args', '--log-level', 'here.synthetic_camera:=warn']
    assert tracker['arguments'] == ['--ros-args', '--log-level', 'here.tracker:=warn']


def test_the_launch_ends_when_a_node_refuses_its_parameters_and_for_nothing_else(launch):
    from launch.actions import Shutdown

    for node in launch('synthetic.launch.py'):
        (ending,) = node['on_exit'](
            SimpleNamespace(returncode=CONFIGURATION_REFUSED, process_name='tracker-1'), None
        )
        assert isinstance(ending, Shutdown)
        for status in (0, 1, -11):
            assert not node['on_exit'](
                SimpleNamespace(returncode=status, process_name='tracker-1'), None
            )


@pytest.mark.parametrize(
    'name, value, words',
    [
        ('num_hands', 'two', "num_hands is 'two', expected a whole number"),
        ('rate', 'fast', "rate is 'fast', expected a number"),
        ('best_effort', 'no', "best_effort is 'no', expected true or false"),
    ],
)
def test_parameters_of_the_synthetic_camera_are_named_when_they_are_wrong(
    launch, name, value, words
):
    with pytest.raises(RuntimeError, match=words):
        launch('synthetic.launch.py', **{name: value})


def on_the_line(launch, monkeypatch, file, *arguments, named=None):
    """What is noted when a launch file is started with these arguments, as `ros2 launch awr_ros
    FILE NAME:=VALUE ...`.
    """
    monkeypatch.setattr(
        'sys.argv', ['/opt/ros/jazzy/bin/ros2', 'launch', 'awr_ros', named or file, *arguments]
    )
    launch(file, **dict(argument.split(':=') for argument in arguments))
    return [note for note in launch.notes if ':=' in note]


def test_arguments_that_nothing_takes_are_named_with_the_nearest_name(
    launch, packages, monkeypatch
):
    assert on_the_line(
        launch, monkeypatch, 'tracker.launch.py', 'max_hand:=1', 'depth_topic:=/d'
    ) == ['max_hand:=1 has no effect: there is no argument max_hand, did you mean max_hands?']
    assert on_the_line(
        launch, monkeypatch, 'synthetic.launch.py', 'nonsense:=3', 'num_hands:=2'
    ) == ['nonsense:=3 has no effect: there is no argument nonsense; --show-args lists them']
    assert on_the_line(launch, monkeypatch, 'tracker.launch.py', 'num_hands:=2'), (
        'without the synthetic camera'
    )
    # Another launch file that includes ours has arguments of its own.
    assert not on_the_line(
        launch, monkeypatch, 'tracker.launch.py', 'robot:=arm', named='bringup.launch.py'
    )
    packages(
        'orbbec_camera',
        {
            'gemini_330_series.launch.py': DRIVER.format(
                package='orbbec_camera', names=('serial_number',)
            )
        },
    )
    assert on_the_line(
        launch,
        monkeypatch,
        'tracker.launch.py',
        'camera:=orbbec',
        'serial_number:=1',
        'depth_topics:=/d',
        'orbbec_model:=gemini_330_series',
        'enable_color:=true',
    ) == ['depth_topics:=/d goes to the driver orbbec_camera, did you mean depth_topic?']


def test_arguments_of_two_cameras_that_nothing_takes_are_named(launch, monkeypatch):
    file = 'multi_camera.launch.py'
    assert on_the_line(launch, monkeypatch, file, 'left_depth:=/d', 'max_hands:=1', 'rate:=15') == [
        'left_depth:=/d has no effect: there is no argument left_depth, did you mean '
        'left_depth_topic?'
    ]
    assert on_the_line(
        launch, monkeypatch, file, 'one_process:=true', 'max_hands:=1', 'rate:=15'
    ) == ['max_hands:=1 has no effect: there is no argument max_hands, did you mean num_hands?']
    assert on_the_line(
        launch, monkeypatch, file, 'camera:=none', 'namespace:=left', 'nonsense:=3'
    ) == [
        'namespace:=left has no effect: there is no argument namespace, did you mean '
        'left_namespace?',
        'nonsense:=3 has no effect: there is no argument nonsense; --show-args lists them',
    ]


def test_synthetic_camera(launch):
    nodes = launch('synthetic.launch.py', namespace='here', num_hands='2', best_effort='true')
    camera, tracker = one(nodes, 'synthetic_camera'), one(nodes, 'tracker')
    assert camera['namespace'] == tracker['namespace'] == 'here'
    assert camera['parameters'] == [
        {'num_hands': 2, 'rate': 30.0, 'seed': 0, 'repeat': 0.0, 'best_effort': True}
    ]
    assert camera['profile'] == tracker['profile'] == SHM
    assert tracker['remappings']['depth/image'] == 'depth/image'


def test_two_cameras_in_two_namespaces(launch):
    nodes = launch('multi_camera.launch.py', left_namespace='a')
    assert [(node['executable'], node['namespace']) for node in nodes] == [
        ('synthetic_camera', 'a'),
        ('tracker', 'a'),
        ('synthetic_camera', 'right'),
        ('tracker', 'right'),
    ]
    assert nodes[0]['parameters'][0]['seed'] != nodes[2]['parameters'][0]['seed']
    trackers = launch(
        'multi_camera.launch.py',
        camera='none',
        right_depth_topic='right_camera/depth/image_rect_raw',
    )
    assert [(node['executable'], node['namespace']) for node in trackers] == [
        ('tracker', 'left'),
        ('tracker', 'right'),
    ]
    assert trackers[0]['remappings'] == {
        'depth/image': 'depth/image',
        'depth/camera_info': 'depth/camera_info',
    }
    assert trackers[1]['remappings'] == {
        'depth/image': 'right_camera/depth/image_rect_raw',
        'depth/camera_info': 'right_camera/depth/camera_info',
    }


def test_two_cameras_and_one_process(launch):
    nodes = launch(
        'multi_camera.launch.py',
        one_process='true',
        left_namespace='/a/b',
        right_depth_topic='/cam/depth/image_rect_raw',
    )
    assert [(node['executable'], node['namespace']) for node in nodes[:2]] == [
        ('synthetic_camera', '/a/b'),
        ('synthetic_camera', 'right'),
    ]
    assert nodes[0]['parameters'][0]['seed'] != nodes[1]['parameters'][0]['seed']
    trackers = one(nodes, 'trackers')
    assert (
        trackers['parameters'][-1] == {'cameras': ['a/b', 'right']}
        and 'namespace' not in trackers
        and 'name' not in trackers
    )
    assert trackers['remappings'] == {
        '/a/b/depth/image': '/a/b/depth/image',
        '/a/b/depth/camera_info': '/a/b/depth/camera_info',
        '/right/depth/image': '/cam/depth/image_rect_raw',
        '/right/depth/camera_info': '/cam/depth/camera_info',
    }
    assert nodes[0]['profile'] == trackers['profile'] == SHM
    assert [
        node['executable']
        for node in launch('multi_camera.launch.py', one_process='true', camera='none')
    ] == ['trackers']
    with pytest.raises(RuntimeError, match="one_process is 'perhaps', expected true or false"):
        launch('multi_camera.launch.py', one_process='perhaps')


DRIVERS = [name for name in preset_names(CAMERAS) if name not in ('synthetic', 'gazebo')]


@pytest.mark.parametrize('name', DRIVERS)
def test_camera_with_its_driver(launch, packages, name):
    preset = load_preset(preset_file(CAMERAS, name))
    names = (*SHARED_NAMES, 'serial_no', *(argument for argument, *_ in preset.arguments))
    packages(
        preset.package,
        {preset.launch_files[-1]: DRIVER.format(package=preset.package, names=names)},
    )
    nodes = launch(
        'tracker.launch.py', camera=name, serial_no='_12', namespace='mine', log_level='debug'
    )
    driver, tracker = one(nodes, 'driver'), one(nodes, 'tracker')
    values = driver['parameters'][0]
    assert {values[shared] for shared in SHARED_NAMES} == {'of the driver'}
    assert values['serial_no'] == '_12'
    assert {argument: values[argument] for argument, *_ in preset.arguments} == {
        argument: default for argument, default, _ in preset.arguments
    }
    assert tracker['remappings'] == {
        'depth/image': preset.depth_topic,
        'depth/camera_info': preset.info_topic,
    }
    assert driver['profile'] == tracker['profile'] == SHM
    for argument, *_ in preset.arguments:
        if not argument.endswith('_file'):
            nodes = launch('tracker.launch.py', camera=name, **{argument: 'of the user'})
            assert one(nodes, 'driver')['parameters'][0][argument] == 'of the user'


def test_orbbec_models_are_launch_files_of_the_driver(launch, packages):
    packages(
        'orbbec_camera', {'femto_bolt.launch.py': DRIVER.format(package='orbbec_camera', names=())}
    )
    assert one(launch('tracker.launch.py', camera='orbbec', orbbec_model='femto_bolt'), 'driver')
    with pytest.raises(RuntimeError, match=r'none of gemini2\.launch\.py.*camera:=none'):
        launch('tracker.launch.py', camera='orbbec', orbbec_model='gemini2')


@pytest.mark.parametrize('name', [*DRIVERS, 'gazebo'])
def test_missing_driver_is_one_line_that_says_what_to_install(launch, monkeypatch, name):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    preset = load_preset(preset_file(CAMERAS, name))
    with pytest.raises(RuntimeError) as refusal:
        launch('tracker.launch.py', camera=name)
    line = str(refusal.value)
    assert '\n' not in line and f'camera:={name}' in line and f"'{preset.package}'" in line
    assert re.search(r'sudo apt install ros-jazzy-[a-z0-9-]+|not in apt, build .*https://', line), (
        line
    )


@pytest.mark.parametrize(
    'name, distro, words',
    [
        ('orbbec', 'jazzy', 'sudo apt install ros-jazzy-orbbec-camera'),
        (
            'orbbec',
            'kilted',
            'not in apt for kilted, build https://github.com/orbbec/OrbbecSDK_ROS2',
        ),
        ('oak', 'kilted', 'sudo apt install ros-kilted-depthai-ros-driver'),
        ('oak', 'lyrical', 'not in apt for lyrical, build https://github.com/luxonis/depthai-ros'),
        ('oak', 'rolling', 'not in apt for rolling'),
        ('orbbec', '', 'sudo apt install ros-<distro>-orbbec-camera, or build https://'),
    ],
)
def test_the_advice_holds_for_the_distribution(launch, monkeypatch, name, distro, words):
    monkeypatch.setenv('ROS_DISTRO', distro)
    with pytest.raises(RuntimeError, match=words):
        launch('tracker.launch.py', camera=name)


def test_gazebo_bridges_the_topics_and_the_clock(launch, packages):
    packages('ros_gz_bridge')
    nodes = launch('tracker.launch.py', camera='gazebo', depth_topic='/cam', info_topic='/cam_info')
    bridge, tracker = one(nodes, 'parameter_bridge'), one(nodes, 'tracker')
    assert [argument.split('@')[0] for argument in bridge['arguments']] == [
        '/cam',
        '/cam_info',
        '/clock',
    ]
    assert changed(tracker) == {'use_sim_time': True}
    tracker = one(launch('tracker.launch.py', camera='gazebo', use_sim_time='false'), 'tracker')
    assert changed(tracker) == {'use_sim_time': False}


def test_rviz_in_the_frame_of_the_camera(launch, packages):
    with pytest.raises(
        RuntimeError, match="rviz:=true needs the package 'rviz2'.*apt install ros-.*-rviz2"
    ):
        launch('tracker.launch.py', rviz='true')
    packages('rviz2')
    nodes = launch('tracker.launch.py', rviz='true', camera='synthetic', namespace='left')
    viewer = one(nodes, 'rviz2')
    config, frame = viewer['arguments'][1], viewer['arguments'][3]
    assert Path(config).is_file() and frame == 'synthetic_camera_depth_optical_frame'
    assert viewer['remappings']['/tracker/markers'] == '/left/tracker/markers'
    # Every topic that RViz shows is known to the launch file, which moves it into the namespace.
    shown = set(re.findall(r'Value: (/\S+)', Path(config).read_text()))
    assert shown == set(viewer['remappings'])
    assert "needs the package 'depth_image_proc'" in launch.notes[0]
    assert not [node for node in nodes if node['package'] == 'depth_image_proc']
    packages('depth_image_proc')
    nodes = launch('tracker.launch.py', rviz='true', frame='base', depth_topic='/d/image')
    assert one(nodes, 'rviz2')['arguments'][3] == 'base'
    assert one(nodes, 'point_cloud_xyz_node')['remappings'] == {
        'image_rect': '/d/image',
        'points': 'tracker/points',
    }


def test_presets_are_documented(launch):
    rows = dict(
        re.findall(
            r'^\| `(\w+)` \|(.*)$',
            (Path(__file__).parents[2] / 'docs' / 'cameras.md').read_text(),
            re.M,
        )
    )
    for name in preset_names(CAMERAS):
        preset = load_preset(preset_file(CAMERAS, name))
        for text in (preset.depth_topic, preset.info_topic, preset.frame, preset.package):
            assert f'`{text}`' in rows[name], f'{text} of {name} is not in docs/cameras.md'
