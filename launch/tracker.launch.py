"""The tracker on any depth camera: ros2 launch awr_ros tracker.launch.py image:=/camera/depth/image info:=..."""
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(get_package_share_directory('awr_ros')) / 'config'


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('image', default_value='depth/image', description='depth image topic'),
        DeclareLaunchArgument('info', default_value='depth/camera_info', description='its CameraInfo topic'),
        DeclareLaunchArgument('namespace', default_value='', description='namespace of the tracker'),
        DeclareLaunchArgument('params', default_value=str(CONFIG / 'tracker.yaml'), description='parameter file'),
        # Big images need a bigger shared memory segment; the camera driver needs the same setting.
        SetEnvironmentVariable('FASTDDS_DEFAULT_PROFILES_FILE', EnvironmentVariable(
            'FASTDDS_DEFAULT_PROFILES_FILE', default_value=str(CONFIG / 'fastdds_shm.xml'))),
        Node(package='awr_ros', executable='tracker', name='tracker', namespace=LaunchConfiguration('namespace'),
             output='screen', parameters=[LaunchConfiguration('params')],
             remappings=[('depth/image', LaunchConfiguration('image')),
                         ('depth/camera_info', LaunchConfiguration('info'))]),
    ])
