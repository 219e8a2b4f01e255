"""Azure Kinect, by azure_kinect_ros_driver (branch humble; built from source). Without arguments it
would run at 5 Hz.

Its depth images are not undistorted, and CameraInfo says so with the model rational_polynomial.
"""

from awr_ros.ros.camera_preset import CameraPreset, driver_description

PRESET = CameraPreset(
    depth_topic='/depth/image_raw',
    info_topic='/depth/camera_info',
    frame='depth_camera_link',
    package='azure_kinect_ros_driver',
    install='it is not in apt, build the branch humble of https://github.com/microsoft/Azure_Kinect_ROS_Driver',
    launch_files=('driver.launch.py',),
    arguments=(
        ('depth_mode', 'NFOV_UNBINNED', '640x576, the narrow field of view'),
        ('fps', '30', 'images per second: 5, 15 or 30'),
        ('color_enabled', 'false', 'colour camera'),
        ('point_cloud', 'false', 'point cloud of the driver'),
        ('rgb_point_cloud', 'false', 'coloured point cloud; needs the colour camera'),
    ),
)


def generate_launch_description():
    """Return the launch description."""
    return driver_description(PRESET)
