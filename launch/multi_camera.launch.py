"""Two cameras, two trackers, each pair in a namespace of its own; an example to copy.

Without arguments two synthetic cameras: /left/tracker/hands and /right/tracker/hands. With drivers that run already in
the namespaces left and right, say RealSense:

    ros2 launch realsense2_camera rs_launch.py camera_namespace:=left camera_name:=left_camera serial_no:=_<serial number>
    ros2 launch realsense2_camera rs_launch.py camera_namespace:=right camera_name:=right_camera serial_no:=_<serial number>
    ros2 launch awr_ros multi_camera.launch.py camera:=none left_depth_topic:=left_camera/depth/image_rect_raw \\
                                                            right_depth_topic:=right_camera/depth/image_rect_raw

The drivers' camera_name begins the names of their frames: with one name for both nobody could tell whose hand is where.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription


def generate_launch_description():
    tracker = Path(__file__).with_name('tracker.launch.py')

    def one(side, seed):
        # A group each, so that the arguments of one do not reach the other.
        return GroupAction(
            [
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(tracker)),
                    launch_arguments=[
                        ('camera', LaunchConfiguration('camera')),
                        ('depth_topic', LaunchConfiguration(f'{side}_depth_topic')),
                        ('namespace', LaunchConfiguration(f'{side}_namespace')),
                        ('seed', seed),
                    ],
                )
            ]
        )

    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'camera',
                default_value='synthetic',
                choices=['synthetic', 'none'],
                description='none: the drivers run already',
            ),
            DeclareLaunchArgument(
                'left_namespace', default_value='left', description='namespace of the first pair'
            ),
            DeclareLaunchArgument(
                'right_namespace', default_value='right', description='namespace of the second pair'
            ),
            *(
                DeclareLaunchArgument(
                    f'{side}_depth_topic',
                    default_value='depth/image',
                    description='its depth image, relative to its namespace; camera_info is beside it',
                )
                for side in ('left', 'right')
            ),
            one('left', '1'),
            one('right', '2'),
        ]
    )
