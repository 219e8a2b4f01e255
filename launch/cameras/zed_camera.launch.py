"""Stereolabs ZED, by zed_wrapper (built from source). camera_model:=zed2i is one of the driver's
models.
"""

from awr_ros.ros.camera_preset import CameraPreset, driver_description

PRESET = CameraPreset(
    depth_topic='/zed/zed_node/depth/depth_registered',
    info_topic='/zed/zed_node/depth/camera_info',
    frame='zed_left_camera_frame_optical',
    package='zed_wrapper',
    install='it is not in apt, build https://github.com/stereolabs/zed-ros2-wrapper',
    launch_files=('zed_camera.launch.py',),
    arguments=(('camera_model', 'zed2i', 'model of the camera'),),
)


def generate_launch_description():
    """Return the launch description."""
    return driver_description(PRESET)
