"""Rendered hands, no hardware needed; where their joints truly are is on synthetic_camera/truth."""
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from awr_ros.ros.camera_preset import CameraPreset

PRESET = CameraPreset(
    depth_topic='depth/image',              # relative: in the namespace of its tracker
    info_topic='depth/camera_info',
    frame='synthetic_camera_depth_optical_frame',
    package='awr_ros',
    install='it is this package: source its workspace',
    forwards=('namespace',),
)
# (name, default, type, description); the ranges are the node's own.
PARAMETERS = (('num_hands', '1', int, 'hands in view, 1 or 2'),
              ('rate', '30.0', float, 'images per second [Hz]'),
              ('seed', '0', int, 'the same seed gives the same movement'),
              ('repeat', '0.0', float, 'render only so much movement [s] and show it to and fro; 0: render on and on'),
              ('best_effort', 'false', bool, 'publish as best effort, as some camera drivers do'))


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('namespace', default_value='', description='namespace of the camera'),
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, default, _, description in PARAMETERS),
        Node(package='awr_ros', executable='synthetic_camera', name='synthetic_camera',
             namespace=LaunchConfiguration('namespace'), output='screen',
             parameters=[{name: ParameterValue(LaunchConfiguration(name), value_type=type_)
                          for name, _, type_, _ in PARAMETERS}]),
    ])
