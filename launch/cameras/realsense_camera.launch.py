"""Intel RealSense D400 series, by realsense2_camera 4.55 or newer.

Depth is not aligned to colour (the tracker needs none) and colour stays off, which leaves the bus
to depth. Older drivers, which the SR305 needs, publish on /camera/depth/...: start them and give
depth_topic and info_topic.
"""

from awr_ros.ros.camera_preset import CameraPreset, driver_description

PRESET = CameraPreset(
    depth_topic='/camera/camera/depth/image_rect_raw',
    info_topic='/camera/camera/depth/camera_info',
    frame='camera_depth_optical_frame',
    package='realsense2_camera',
    install='sudo apt install ros-{distro}-realsense2-camera',
    launch_files=('rs_launch.py',),
    arguments=(
        ('enable_color', 'false', 'colour stream of the driver'),
        ('depth_module.depth_profile', '640x480x30', 'width x height x images per second'),
    ),
)


def generate_launch_description():
    """Return the launch description."""
    return driver_description(PRESET)
