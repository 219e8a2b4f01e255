"""Fuse the hands of running trackers, for example those of multi_camera.launch.py.

    ros2 run tf2_ros static_transform_publisher --x 0.6 --yaw 1.2 \\
        --frame-id left_camera_link --child-frame-id right_camera_link
    ros2 launch awr_ros fusion.launch.py frame:=left_camera_link

Publishes /fusion/hands and /fusion/markers.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

ARGUMENTS = {
    'inputs': (
        '/left/tracker/hands,/right/tracker/hands',
        'topics of the trackers to fuse, comma-separated',
    ),
    'frame': ('', 'common frame; empty: that of the first tracker that publishes'),
    'extrinsics': ('', 'poses of camera frames in it instead of TF: FRAME x y z qx qy qz qw; ...'),
}


def generate_launch_description():
    """Return the launch description."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            Node(
                package='awr_ros',
                executable='fusion',
                name='fusion',
                output='screen',
                parameters=[{name: LaunchConfiguration(name) for name in ARGUMENTS}],
            ),
        ]
    )
