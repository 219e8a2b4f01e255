"""The hand tracker, with a camera if asked for.

    ros2 launch awr_ros tracker.launch.py camera:=realsense rviz:=true

Arguments that are not this file's own, such as serial_no:=_123456, go to the camera's driver.
"""

import os
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
    SetLaunchConfiguration,
    UnsetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from awr_ros.ros.camera_preset import (
    declared_arguments,
    load_preset,
    preset_file,
    preset_names,
    require_package,
)
from awr_ros.ros.launch_arguments import boolean, end_if_refused, existing_file, unknown_arguments
from awr_ros.ros.middleware import missing_profile, profile_variable
from awr_ros.ros.parameters import BY_NAME
from launch import LaunchDescription

SHARE = Path(get_package_share_directory('awr_ros'))
CAMERAS, CONFIG = SHARE / 'launch' / 'cameras', SHARE / 'config'
# (name, default, choices or None, description)
ARGUMENTS = (
    (
        'camera',
        'none',
        ['none', *preset_names(CAMERAS)],
        'whose driver to start; none: it runs already, see depth_topic',
    ),
    (
        'namespace',
        '',
        None,
        "namespace of the tracker, so of its relative topics; a driver's own topics stay where "
        'they are',
    ),
    ('params_file', str(CONFIG / 'tracker.yaml'), None, 'parameter file of the tracker'),
    ('depth_topic', '', None, "depth image; empty: the camera's, depth/image for none"),
    (
        'info_topic',
        '',
        None,
        "its CameraInfo; empty: the camera's, or camera_info beside depth_topic",
    ),
    (
        'device',
        '',
        ['', *BY_NAME['device'].choices],
        'where the network runs; empty: as in params_file',
    ),
    ('weights', '', None, 'file with the network; empty: as in params_file'),
    ('max_hands', '', None, 'most hands to track; empty: as in params_file'),
    ('autostart', '', None, 'configure and activate automatically; empty: as in params_file'),
    ('respawn', 'false', None, 'start the tracker again when it ends by itself, after 2 s'),
    ('rviz', 'false', None, 'start RViz, with a point cloud where depth_image_proc is installed'),
    ('frame', '', None, "RViz's fixed frame; empty: that of the camera's depth images"),
    (
        'use_sim_time',
        'auto',
        None,
        'true or false: take the time from /clock; auto: for camera:=gazebo only',
    ),
    (
        'output',
        'screen',
        ['screen', 'log', 'both'],
        'where the nodes of this package, the bridge and the point cloud print',
    ),
    (
        'log_level',
        'info',
        ['debug', 'info', 'warn', 'error', 'fatal'],
        'of the nodes of this package',
    ),
    (
        'fastdds_profile',
        '',
        None,
        'Fast DDS profile file; none: no profile; empty: the one in the environment, else '
        'config/fastdds_shm.xml',
    ),
)


def profile_actions(value):
    """Set the larger shared memory segment that large images need, for the driver as well as the
    tracker.
    """
    if value == 'none':
        return []
    if value:
        variables = {profile_variable(): existing_file('fastdds_profile', value)}
    else:
        variables = missing_profile(str(CONFIG / 'fastdds_shm.xml'))
    return [SetEnvironmentVariable(name, path) for name, path in variables.items() if name]


def tracker_parameters(values):
    """Return the parameters that arguments override in params_file."""
    changed = {}
    if values['device']:
        changed['device'] = values['device']
    if values['weights']:
        changed['weights'] = existing_file('weights', values['weights'])
    if values['max_hands']:
        low, high = BY_NAME['max_hands'].range
        if not (values['max_hands'].isdecimal() and low <= int(values['max_hands']) <= high):
            raise RuntimeError(
                f"max_hands is '{values['max_hands']}', expected a whole number from {low} to "
                f'{high}'
            )
        changed['max_hands'] = int(values['max_hands'])
    if values['autostart']:
        changed['autostart'] = boolean('autostart', values['autostart'])
    return changed


def notes(values, preset):
    """Return actions that print a note for each argument without effect."""
    known = {name for name, *_ in ARGUMENTS}
    if preset is not None:
        known |= declared_arguments(preset_file(CAMERAS, values['camera'])) | {
            name for name, *_ in preset.arguments
        }
    driver = f'the driver {preset.package}' if preset and preset.launch_files else ''
    return [LogInfo(msg=line) for line in unknown_arguments(sys.argv, known, driver)]


def topics(values, preset):
    """Return (depth image, CameraInfo): as given, else the camera's. Without an info topic, it is
    the neighbour of the given depth topic (image_transport's convention).
    """
    default_depth, default_info = (
        (preset.depth_topic, preset.info_topic) if preset else ('depth/image', 'depth/camera_info')
    )
    # as `ros2 topic list` shows it
    depth = values['depth_topic'].removesuffix('/compressedDepth') or default_depth
    if values['info_topic']:
        return depth, values['info_topic']
    return depth, ''.join(depth.rpartition('/')[:2]) + 'camera_info' if values[
        'depth_topic'
    ] else default_info


def camera_actions(values, preset, depth, info):
    """Include the camera's launch file, with the arguments that are not this file's own."""
    if preset is None:
        return []
    # A name that both have, such as namespace or params_file, means the tracker here: the driver
    # gets its own default.
    forwarded = {**values, 'depth_topic': depth, 'info_topic': info}
    return [
        GroupAction(
            [
                *(UnsetLaunchConfiguration(name) for name, *_ in ARGUMENTS),
                *(SetLaunchConfiguration(name, forwarded[name]) for name in preset.forwards),
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(preset_file(CAMERAS, values['camera'])))
                ),
            ]
        )
    ]


def rviz_actions(values, preset, depth, sim_time):
    """Return the actions for RViz."""
    if not boolean('rviz', values['rviz']):
        return []
    require_package('rviz2', 'rviz:=true', 'sudo apt install ros-{distro}-rviz2')
    namespace = values['namespace'].strip('/')
    prefix = f'/{namespace}' if namespace else ''
    frame = values['frame'] or (preset.frame if preset else 'camera_depth_optical_frame')
    remappings = [
        (topic, prefix + topic)
        for topic in ('/tracker/markers', '/tracker/debug/image', '/tracker/points')
    ]
    actions = [
        Node(
            package='rviz2',
            executable='rviz2',
            name='rviz',
            namespace=namespace,
            arguments=['-d', str(CONFIG / 'awr.rviz'), '-f', frame],
            parameters=[{'use_sim_time': sim_time}],
            remappings=remappings if prefix else [],
        )
    ]
    try:
        require_package(
            'depth_image_proc',
            'a point cloud in RViz',
            'sudo apt install ros-{distro}-depth-image-proc',
        )
    except RuntimeError as error:
        return [*actions, LogInfo(msg=str(error))]
    # RViz subscribes to the camera info beside the depth image.
    return [
        *actions,
        Node(
            package='depth_image_proc',
            executable='point_cloud_xyz_node',
            name='point_cloud',
            namespace=namespace,
            output=values['output'],
            parameters=[{'use_sim_time': sim_time}],
            remappings=[('image_rect', depth), ('points', 'tracker/points')],
        ),
    ]


def start(context):
    """Return the actions for the arguments."""
    values = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    preset = (
        None if values['camera'] == 'none' else load_preset(preset_file(CAMERAS, values['camera']))
    )
    if preset is not None:
        require_package(
            preset.package,
            f'camera:={values["camera"]}',
            preset.how_to_install(os.environ.get('ROS_DISTRO', '')),
        )
    depth, info = topics(values, preset)
    if values['use_sim_time'] == 'auto':
        sim_time = bool(preset and preset.sim_time)
    else:
        sim_time = boolean('use_sim_time', values['use_sim_time'], 'auto, true or false')
    parameters = [
        existing_file('params_file', values['params_file']),
        {'use_sim_time': sim_time, **tracker_parameters(values)},
    ]
    logger = '.'.join(part for part in (*values['namespace'].split('/'), 'tracker') if part)
    # first, because the package may be missing
    rviz = rviz_actions(values, preset, depth, sim_time)
    return [
        *notes(values, preset),
        *profile_actions(values['fastdds_profile']),
        *camera_actions(values, preset, depth, info),
        Node(
            package='awr_ros',
            executable='tracker',
            name='tracker',
            namespace=values['namespace'],
            output=values['output'],
            respawn=boolean('respawn', values['respawn']),
            respawn_delay=2.0,
            on_exit=end_if_refused,
            parameters=parameters,
            remappings=[('depth/image', depth), ('depth/camera_info', info)],
            arguments=['--ros-args', '--log-level', f'{logger}:={values["log_level"]}'],
        ),
        *rviz,
    ]


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
