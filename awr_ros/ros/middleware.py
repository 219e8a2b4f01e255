"""The middleware below ROS: the profile that Fast DDS needs for large images, and what to do when images are lost."""
import os
from collections.abc import Mapping
from pathlib import Path

# Fast DDS 2 (Humble, Jazzy) reads the second name only, Fast DDS 3 (Kilted and newer) the first only: set both.
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')


def profile_path() -> str:
    """Return the Fast DDS profile as installed by colcon."""
    from ament_index_python.packages import get_package_share_directory
    return str(Path(get_package_share_directory('awr_ros')) / 'config' / 'fastdds_shm.xml')


def missing_profile_variables(path: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables to set so that every Fast DDS reads a profile.

    path: the profile to use where the environment names none. A file that it names by either variable is kept, for both.
    """
    given = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), path)
    return {name: given for name in PROFILE_VARIABLES if not environment.get(name)}


def lost_images_advice(middleware: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return what a user can do about images that are lost between processes, and has not done yet.

    middleware: as rclpy.get_rmw_implementation_identifier() names it, for example 'rmw_fastrtps_cpp'.
    """
    if not middleware.startswith('rmw_fastrtps'):
        return 'see "Images are lost on the way" in docs/troubleshooting.md of awr_ros'
    missing = missing_profile_variables(profile_path(), environment)
    if missing:
        exports = ' '.join(f'{name}={path}' for name, path in missing.items())
        return ('large images need a larger shared memory segment of Fast DDS: export ' + exports
                + ' for the camera driver and for this node')
    return ('this node has a Fast DDS profile, which the camera driver needs too: '
            f'{" and ".join(PROFILE_VARIABLES)} in its environment as well')
