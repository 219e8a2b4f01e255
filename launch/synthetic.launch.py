"""The tracker on the synthetic camera, no hardware needed: ros2 launch awr_ros synthetic.launch.py num_hands:=2"""
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory('awr_ros'))


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('num_hands', default_value='1', description='hands in view, 1 or 2'),
        DeclareLaunchArgument('rate', default_value='30.0', description='images per second [Hz]'),
        SetEnvironmentVariable('FASTDDS_DEFAULT_PROFILES_FILE', EnvironmentVariable(
            'FASTDDS_DEFAULT_PROFILES_FILE', default_value=str(SHARE / 'config' / 'fastdds_shm.xml'))),
        Node(package='awr_ros', executable='synthetic_camera', output='screen',
             parameters=[{'num_hands': ParameterValue(LaunchConfiguration('num_hands'), value_type=int),
                          'rate': ParameterValue(LaunchConfiguration('rate'), value_type=float)}]),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'tracker.launch.py'))),
    ])
