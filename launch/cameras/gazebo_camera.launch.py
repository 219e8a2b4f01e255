"""A depth or RGB-D camera in Gazebo, through ros_gz_bridge; the simulation itself is yours to
start.

depth_topic and info_topic are the names on both sides of the bridge. The sensor needs an optical
frame: <gz_frame_id>camera_depth_optical_frame</gz_frame_id> in its SDF, or hands come out in a
frame that looks along x.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from awr_ros.ros.camera_preset import CameraPreset, require_package
from launch import LaunchDescription

PRESET = CameraPreset(
    depth_topic='/rgbd_camera/depth_image',
    info_topic='/rgbd_camera/camera_info',
    frame='camera_depth_optical_frame',
    package='ros_gz_bridge',
    install='sudo apt install ros-{distro}-ros-gz-bridge',
    forwards=('depth_topic', 'info_topic', 'output'),
    sim_time=True,
)


def start(context):
    """Return the actions for the arguments."""
    require_package(PRESET.package, 'a Gazebo camera', PRESET.install)
    depth, info, output = (LaunchConfiguration(name).perform(context) for name in PRESET.forwards)
    # '[': from Gazebo to ROS only.
    return [
        Node(
            package='ros_gz_bridge',
            executable='parameter_bridge',
            name='depth_camera_bridge',
            output=output,
            arguments=[
                f'{depth}@sensor_msgs/msg/Image[gz.msgs.Image',
                f'{info}@sensor_msgs/msg/CameraInfo[gz.msgs.CameraInfo',
                '/clock@rosgraph_msgs/msg/Clock[gz.msgs.Clock',
            ],
        )
    ]


def generate_launch_description():
    """Return the launch description."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'depth_topic',
                default_value=PRESET.depth_topic,
                description='depth image in Gazebo and ROS',
            ),
            DeclareLaunchArgument(
                'info_topic', default_value=PRESET.info_topic, description='its camera info'
            ),
            DeclareLaunchArgument(
                'output', default_value='screen', description='where it prints: screen, log or both'
            ),
            OpaqueFunction(function=start),
        ]
    )
