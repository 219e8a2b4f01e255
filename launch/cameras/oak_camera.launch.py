"""Luxonis OAK-D and its relatives, by depthai_ros_driver, without a neural network on the camera
(config/oak.yaml).
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory

from awr_ros.ros.camera_preset import CameraPreset, driver_description

PRESET = CameraPreset(
    depth_topic='/oak/stereo/image_raw',
    info_topic='/oak/stereo/camera_info',
    frame='oak_rgb_camera_optical_frame',  # the driver aligns depth to the colour camera
    package='depthai_ros_driver',
    install='sudo apt install ros-{distro}-depthai-ros-driver',
    build='https://github.com/luxonis/depthai-ros',
    not_in_apt_from='lyrical',
    launch_files=(
        'camera.launch.py',
        'driver.launch.py',
    ),  # of its versions 2 and 3, the latter from Kilted on
    arguments=(
        (
            'params_file',
            str(Path(get_package_share_directory('awr_ros')) / 'config' / 'oak.yaml'),
            'parameter file of the driver',
        ),
        ('rectify_rgb', 'false', 'rectified colour image; needs image_proc'),
    ),
)


def generate_launch_description():
    """Return the launch description."""
    return driver_description(PRESET)
