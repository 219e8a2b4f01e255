"""The tracker on rendered hands, no camera needed.

    ros2 launch awr_ros synthetic.launch.py num_hands:=2

The same as tracker.launch.py camera:=synthetic; all its arguments and those of the synthetic camera
can be given.
"""

from pathlib import Path

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription


def generate_launch_description():
    """Return the launch description."""
    tracker = Path(__file__).with_name('tracker.launch.py')
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(tracker)),
                launch_arguments=[('camera', 'synthetic')],
            ),
        ]
    )
