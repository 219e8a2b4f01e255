"""Middleware below ROS: the Fast DDS profile for large images, and advice on lost images."""

import os
import xml.etree.ElementTree
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

# Fast DDS 3 (Kilted and newer) reads the first name, Fast DDS 2 (Humble, Jazzy) the second only.
# Not both at once: the newer ROS warns of the older name.
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
FIRST_WITH_FAST_DDS_3 = 9  # major version of rmw_fastrtps_cpp, that of Kilted


def profile_path() -> str:
    """Return the Fast DDS profile as installed by colcon."""
    return str(Path(get_package_share_directory('awr_ros')) / 'config' / 'fastdds_shm.xml')


@cache
def profile_variable() -> str:
    """Return the variable that the installed Fast DDS reads, '' where Fast DDS is not installed."""
    try:
        package = Path(get_package_share_directory('rmw_fastrtps_cpp')) / 'package.xml'
    except PackageNotFoundError:
        return ''
    version = xml.etree.ElementTree.parse(package).findtext('version', '')
    return PROFILE_VARIABLES[int(version.partition('.')[0]) < FIRST_WITH_FAST_DDS_3]


def missing_profile(path: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variable to set, {name: file}, so that Fast DDS reads a profile; {} if it does.

    path: profile to use if the environment names none. One that is named by the other variable is
    kept.
    """
    variable = profile_variable()
    if not variable or environment.get(variable):
        return {}
    given = (environment[name] for name in PROFILE_VARIABLES if environment.get(name))
    return {variable: next(given, path)}


def lost_images_advice(middleware: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return what users can do, and have not done yet, about images that are lost between
    processes.

    middleware: from rclpy.get_rmw_implementation_identifier() ('rmw_fastrtps_cpp').
    """
    if not middleware.startswith('rmw_fastrtps'):
        return 'see "Images are lost on the way" in docs/troubleshooting.md of awr_ros'
    for name, path in missing_profile(profile_path(), environment).items():
        return (
            'large images need a larger shared memory segment of Fast DDS: '
            f'export {name}={path} for the camera driver and for this node'
        )
    return (
        'this node has a Fast DDS profile, which the camera driver needs too: '
        f'{profile_variable()} in its environment as well'
    )
