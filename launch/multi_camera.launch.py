"""Two cameras and two trackers, each pair in its own namespace; an example to copy.

Without arguments two synthetic cameras: /left/tracker/hands and /right/tracker/hands. With drivers
that already run in the namespaces left and right, for example RealSense:

    ros2 launch realsense2_camera rs_launch.py camera_namespace:=left \\
        camera_name:=left_camera serial_no:=_<serial number>
    ros2 launch realsense2_camera rs_launch.py camera_namespace:=right \\
        camera_name:=right_camera serial_no:=_<serial number>
    ros2 launch awr_ros multi_camera.launch.py camera:=none \\
        left_depth_topic:=left_camera/depth/image_rect_raw \\
        right_depth_topic:=right_camera/depth/image_rect_raw

The drivers' camera_name is the prefix of their frames, which must be distinct.

one_process:=true starts both trackers in one process, with one network for the hands of both
cameras.
"""

import sys
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from awr_ros.ros.camera_preset import declared_arguments
from awr_ros.ros.launch_arguments import boolean, end_if_refused, existing_file, unknown_arguments
from awr_ros.ros.middleware import missing_profile, profile_path
from launch import LaunchDescription

SHARE = Path(get_package_share_directory('awr_ros'))
SEEDS = {'left': '1', 'right': '2'}  # of the synthetic cameras: they show different movements


def included(file, arguments):
    """Include a launch file of this package, in a group, so that the arguments of one do not reach
    the other.
    """
    source = PythonLaunchDescriptionSource(str(Path(__file__).parent / file))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=list(arguments.items()))])


def one_process(values):
    """Return the actions for the cameras, and one process with the trackers of both."""
    cameras = []
    if values['camera'] == 'synthetic':
        cameras = [
            included(
                'cameras/synthetic_camera.launch.py',
                {
                    'namespace': values[f'{side}_namespace'],
                    'output': 'screen',
                    'log_level': 'info',
                    'seed': seed,
                },
            )
            for side, seed in SEEDS.items()
        ]
    namespaces, remappings = [values[f'{side}_namespace'].strip('/') for side in SEEDS], []
    for side, namespace in zip(SEEDS, namespaces):
        depth = values[f'{side}_depth_topic']
        depth = depth if depth.startswith('/') else f'/{namespace}/{depth}'
        remappings += [
            (f'/{namespace}/depth/image', depth),
            (f'/{namespace}/depth/camera_info', ''.join(depth.rpartition('/')[:2]) + 'camera_info'),
        ]
    return [
        *(
            SetEnvironmentVariable(name, path)
            for name, path in missing_profile(profile_path()).items()
        ),
        *cameras,
        Node(
            package='awr_ros',
            executable='trackers',
            output='screen',
            on_exit=end_if_refused,
            remappings=remappings,
            parameters=[
                existing_file('params_file', values['params_file']),
                {'cameras': namespaces},
            ],
        ),
    ]


def two_processes(values):
    """Return the actions for each camera with its own tracker, as tracker.launch.py starts them."""
    return [
        included(
            'tracker.launch.py',
            {
                'camera': values['camera'],
                'depth_topic': values[f'{side}_depth_topic'],
                'namespace': values[f'{side}_namespace'],
                'params_file': values['params_file'],
                'seed': seed,
            },
        )
        for side, seed in SEEDS.items()
    ]


def start(context):
    """Return the actions for the arguments."""
    values = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    together = boolean('one_process', values['one_process'])
    return [*notes(values, together), *(one_process if together else two_processes)(values)]


def notes(values, together):
    """Return a note for each argument without effect. Arguments of included files reach them."""
    included_files = () if together else ('tracker.launch.py',)
    if values['camera'] == 'synthetic':
        included_files += ('cameras/synthetic_camera.launch.py',)
    reached = set().union(
        *(declared_arguments(Path(__file__).parent / file) for file in included_files)
    )
    # Arguments that this file sets itself.
    known = {name for name, *_ in ARGUMENTS} | reached - {'depth_topic', 'namespace', 'seed'}
    lines = unknown_arguments(sys.argv, known, files=(Path(__file__).name,))
    return [LogInfo(msg=line) for line in lines]


# (name, default, choices or None, description)
ARGUMENTS = (
    ('camera', 'synthetic', ['synthetic', 'none'], 'none: the drivers run already'),
    (
        'one_process',
        'false',
        None,
        'true: one process with both trackers, whose network reads the hands of both cameras',
    ),
    ('params_file', str(SHARE / 'config' / 'tracker.yaml'), None, 'parameter file of the trackers'),
    ('left_namespace', 'left', None, 'namespace of the first pair'),
    ('right_namespace', 'right', None, 'namespace of the second pair'),
    *(
        (
            f'{side}_depth_topic',
            'depth/image',
            None,
            'its depth image, relative to its namespace; camera_info is beside it',
        )
        for side in SEEDS
    ),
)


def generate_launch_description():
    """Return the launch description."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name, default_value=default, choices=choices, description=description
                )
                for name, default, choices, description in ARGUMENTS
            ),
            OpaqueFunction(function=start),
        ]
    )
