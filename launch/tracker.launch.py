"""The hand tracker, with a camera if asked for: ros2 launch awr_ros tracker.launch.py camera:=realsense rviz:=true

Arguments that are not this file's own go to the camera's driver: ... camera:=realsense serial_no:=_123456 works.
"""
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction,
                            SetEnvironmentVariable, SetLaunchConfiguration, UnsetLaunchConfiguration)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from awr_ros.ros.camera_preset import load_preset, preset_file, preset_names, require_package
from awr_ros.ros.middleware import missing_profile, profile_variable
from awr_ros.ros.parameters import BY_NAME

SHARE = Path(get_package_share_directory('awr_ros'))
CAMERAS, CONFIG = SHARE / 'launch' / 'cameras', SHARE / 'config'
# (name, default, choices or None, description)
ARGUMENTS = (
    ('camera', 'none', ['none', *preset_names(CAMERAS)], 'whose driver to start; none: it runs already, see depth_topic'),
    ('namespace', '', None, "namespace of the tracker, so of its relative topics; a driver's own topics stay where they are"),
    ('params_file', str(CONFIG / 'tracker.yaml'), None, 'parameter file of the tracker'),
    ('depth_topic', '', None, "depth image; empty: the camera's, depth/image for none"),
    ('info_topic', '', None, "its CameraInfo; empty: the camera's, or camera_info beside depth_topic"),
    ('device', '', ['', *BY_NAME['device'].choices], 'where the network runs; empty: as in params_file'),
    ('weights', '', None, 'file with the network; empty: as in params_file'),
    ('max_hands', '', None, 'most hands to track; empty: as in params_file'),
    ('rviz', 'false', ['true', 'false'], 'start RViz, with a point cloud where depth_image_proc is installed'),
    ('frame', '', None, "RViz's fixed frame; empty: that of the camera's depth images"),
    ('use_sim_time', 'auto', ['auto', 'true', 'false'], 'take the time from /clock; auto: for camera:=gazebo only'),
    ('log_level', 'info', ['debug', 'info', 'warn', 'error', 'fatal'], 'of the tracker'),
    ('fastdds_profile', '', None, 'Fast DDS profile file; none: no profile; empty: the one in the environment, else '
                                  'config/fastdds_shm.xml'),
)


def existing_file(name, value):
    path = Path(value).expanduser()
    if not path.is_file():
        raise RuntimeError(f"{name} is '{value}': no such file")
    return str(path)


def profile_actions(value):
    """Big images need a bigger shared memory segment in the driver as well as in the tracker."""
    if value == 'none':
        return []
    if value:
        variables = {profile_variable(): existing_file('fastdds_profile', value)}
    else:
        variables = missing_profile(str(CONFIG / 'fastdds_shm.xml'))
    return [SetEnvironmentVariable(name, path) for name, path in variables.items() if name]


def tracker_parameters(values):
    """What the arguments change in params_file."""
    changed = {}
    if values['device']:
        changed['device'] = values['device']
    if values['weights']:
        changed['weights'] = existing_file('weights', values['weights'])
    if values['max_hands']:
        low, high = BY_NAME['max_hands'].range
        if not (values['max_hands'].isdecimal() and low <= int(values['max_hands']) <= high):
            raise RuntimeError(f"max_hands is '{values['max_hands']}', expected a whole number from {low} to {high}")
        changed['max_hands'] = int(values['max_hands'])
    return changed


def topics(values, preset):
    """(depth image, CameraInfo): as given, else the camera's. An info topic that is not given is the neighbour of a
    depth topic that is (image_transport's convention)."""
    default_depth, default_info = (preset.depth_topic, preset.info_topic) if preset else ('depth/image', 'depth/camera_info')
    depth = values['depth_topic'].removesuffix('/compressedDepth') or default_depth      # as `ros2 topic list` shows it
    if values['info_topic']:
        return depth, values['info_topic']
    return depth, ''.join(depth.rpartition('/')[:2]) + 'camera_info' if values['depth_topic'] else default_info


def camera_actions(values, preset, depth, info):
    """The camera's launch file, with the arguments that are not this file's own."""
    if preset is None:
        return []
    # A name that both have, such as namespace or params_file, means the tracker here: the driver gets its own default.
    forwarded = {**values, 'depth_topic': depth, 'info_topic': info}
    return [GroupAction([
        *(UnsetLaunchConfiguration(name) for name, *_ in ARGUMENTS),
        *(SetLaunchConfiguration(name, forwarded[name]) for name in preset.forwards),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(preset_file(CAMERAS, values['camera'])))),
    ])]


def rviz_actions(values, preset, depth, sim_time):
    if values['rviz'] != 'true':
        return []
    require_package('rviz2', 'rviz:=true', 'sudo apt install ros-{distro}-rviz2')
    namespace = values['namespace'].strip('/')
    prefix = f'/{namespace}' if namespace else ''
    frame = values['frame'] or (preset.frame if preset else 'camera_depth_optical_frame')
    remappings = [(topic, prefix + topic) for topic in ('/tracker/markers', '/tracker/debug/image', '/tracker/points')]
    actions = [Node(package='rviz2', executable='rviz2', name='rviz', namespace=namespace,
                    arguments=['-d', str(CONFIG / 'awr.rviz'), '-f', frame],
                    parameters=[{'use_sim_time': sim_time}], remappings=remappings if prefix else [])]
    try:
        require_package('depth_image_proc', 'a point cloud in RViz', 'sudo apt install ros-{distro}-depth-image-proc')
    except RuntimeError as error:
        return [*actions, LogInfo(msg=str(error))]
    # It takes the camera info beside the depth image.
    return [*actions, Node(package='depth_image_proc', executable='point_cloud_xyz_node', name='point_cloud',
                           namespace=namespace, parameters=[{'use_sim_time': sim_time}],
                           remappings=[('image_rect', depth), ('points', 'tracker/points')])]


def start(context):
    values = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    preset = None if values['camera'] == 'none' else load_preset(preset_file(CAMERAS, values['camera']))
    if preset is not None:
        require_package(preset.package, f"camera:={values['camera']}", preset.install)
    depth, info = topics(values, preset)
    sim_time = values['use_sim_time'] == 'true' or (values['use_sim_time'] == 'auto' and bool(preset and preset.sim_time))
    parameters = [existing_file('params_file', values['params_file']),
                  {'use_sim_time': sim_time, **tracker_parameters(values)}]
    logger = '.'.join(part for part in (*values['namespace'].split('/'), 'tracker') if part)
    rviz = rviz_actions(values, preset, depth, sim_time)        # before anything has started: it may be missing
    return [
        *profile_actions(values['fastdds_profile']),
        *camera_actions(values, preset, depth, info),
        Node(package='awr_ros', executable='tracker', name='tracker', namespace=values['namespace'], output='screen',
             parameters=parameters, remappings=[('depth/image', depth), ('depth/camera_info', info)],
             arguments=['--ros-args', '--log-level', f"{logger}:={values['log_level']}"]),
        *rviz,
    ]


def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, choices=choices, description=description)
          for name, default, choices, description in ARGUMENTS),
        OpaqueFunction(function=start),
    ])
