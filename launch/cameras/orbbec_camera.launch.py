"""Orbbec, by orbbec_camera. Without arguments the Gemini 330 series; orbbec_model:=femto_bolt,
gemini2, ... for others.

orbbec_model is the name of one of the driver's launch files without .launch.py.
"""

from dataclasses import replace

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from awr_ros.ros.camera_preset import CameraPreset, driver_description
from launch import LaunchDescription

PRESET = CameraPreset(
    depth_topic='/camera/depth/image_raw',
    info_topic='/camera/depth/camera_info',
    frame='camera_depth_optical_frame',
    package='orbbec_camera',
    install='sudo apt install ros-{distro}-orbbec-camera',
    build='https://github.com/orbbec/OrbbecSDK_ROS2 (branch v2-main)',
    not_in_apt_from='kilted',
    launch_files=('gemini_330_series.launch.py',),
    arguments=(
        ('depth_registration', 'false', 'depth in the frame of the colour camera'),
        ('enable_color', 'false', 'colour stream of the driver'),
        ('enable_point_cloud', 'false', 'point cloud of the driver'),
    ),
)


def start(context):
    """Return the actions for the arguments."""
    model = LaunchConfiguration('orbbec_model').perform(context)
    return [driver_description(replace(PRESET, launch_files=(f'{model}.launch.py',)))]


def generate_launch_description():
    """Return the launch description."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'orbbec_model',
                default_value='gemini_330_series',
                description="name of the driver's launch file without .launch.py",
            ),
            OpaqueFunction(function=start),
        ]
    )
