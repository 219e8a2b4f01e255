"""Asus Xtion, PrimeSense and Kinect v1, by openni2_camera.

depth/image, in metres, is the one depth topic that all versions of the driver have: 2.2.1 renamed
depth/image_raw.
"""

from awr_ros.ros.camera_preset import CameraPreset, driver_description

PRESET = CameraPreset(
    depth_topic='/camera/depth/image',
    info_topic='/camera/depth/camera_info',
    frame='camera_rgb_optical_frame',  # the driver registers depth to the colour camera
    package='openni2_camera',
    install='sudo apt install ros-{distro}-openni2-camera',
    launch_files=('camera_only.launch.py',),
)


def generate_launch_description():
    """Return the launch description."""
    return driver_description(PRESET)
