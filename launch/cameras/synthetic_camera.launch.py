"""Rendered hands, no hardware needed; their true joints are on synthetic_camera/truth."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from awr_ros.ros.camera_preset import CameraPreset
from awr_ros.ros.launch_arguments import boolean, end_if_refused, number
from launch import LaunchDescription

PRESET = CameraPreset(
    depth_topic='depth/image',  # relative: in the namespace of its tracker
    info_topic='depth/camera_info',
    frame='synthetic_camera_depth_optical_frame',
    package='awr_ros',
    install='it is this package: source its workspace',
    forwards=('namespace', 'output', 'log_level'),
)
# (name, default, type, description); the ranges are the node's own.
PARAMETERS = (
    ('num_hands', '1', int, 'hands in view, 1 or 2'),
    ('rate', '30.0', float, 'images per second [Hz]'),
    ('seed', '0', int, 'the same seed gives the same movement'),
    (
        'repeat',
        '0.0',
        float,
        'render only so much movement [s] and show it to and fro; 0: render on and on',
    ),
    ('best_effort', 'false', bool, 'publish as best effort, as some camera drivers do'),
)


def parameter(name, text, kind):
    """Convert an argument to the type of its parameter."""
    return boolean(name, text) if kind is bool else number(name, text, kind)


def start(context):
    """Return the actions for the arguments."""
    namespace, output, log_level = (
        LaunchConfiguration(name).perform(context) for name in PRESET.forwards
    )
    logger = '.'.join(part for part in (*namespace.split('/'), 'synthetic_camera') if part)
    return [
        Node(
            package='awr_ros',
            executable='synthetic_camera',
            name='synthetic_camera',
            namespace=namespace,
            output=output,
            on_exit=end_if_refused,
            arguments=['--ros-args', '--log-level', f'{logger}:={log_level}'],
            parameters=[
                {
                    name: parameter(name, LaunchConfiguration(name).perform(context), kind)
                    for name, _, kind, _ in PARAMETERS
                }
            ],
        )
    ]


def generate_launch_description():
    """Return the launch description."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'namespace', default_value='', description='namespace of the camera'
            ),
            DeclareLaunchArgument(
                'output', default_value='screen', description='where it prints: screen, log or both'
            ),
            DeclareLaunchArgument(
                'log_level', default_value='info', description='debug, info, warn, error or fatal'
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, _, description in PARAMETERS
            ),
            OpaqueFunction(function=start),
        ]
    )
