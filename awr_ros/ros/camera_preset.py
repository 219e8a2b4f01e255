"""Preset of a camera for the launch files, and the launch of its driver.

Each file of launch/cameras/ has a CameraPreset as PRESET, which `camera:=...` of tracker.launch.py
reads.
"""

import os
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CameraPreset:
    """Topics, driver and arguments of a camera."""

    depth_topic: str
    info_topic: str
    frame: str  # frame_id of its depth images
    package: str  # of the driver
    install: str  # how to install the package; {distro} is the ROS distribution
    build: str = ''  # what to build if apt has no package
    # first ROS distribution without an apt package; their names are in alphabetical order
    not_in_apt_from: str = ''
    launch_files: tuple[
        str, ...
    ] = ()  # in the package's launch folder, the first that exists; none: no driver launch file
    arguments: tuple[
        tuple[str, str, str], ...
    ] = ()  # (name, default, description); all go to the driver's launch file
    forwards: tuple[
        str, ...
    ] = ()  # arguments of tracker.launch.py that the camera's launch file wants too
    sim_time: bool = False  # whether images are stamped with /clock

    def __post_init__(self) -> None:
        for name in ('depth_topic', 'info_topic', 'package', 'install'):
            if not getattr(self, name):
                raise ValueError(f'{name} of a CameraPreset is empty')

    def how_to_install(self, distro: str) -> str:
        """Return how to install the driver in this ROS distribution; '' for an unknown one."""
        if self.not_in_apt_from and distro >= self.not_in_apt_from:
            return f'it is not in apt for {distro}, build {self.build}'
        remedy = self.install.format(distro=distro or '<distro>')
        return f'{remedy}, or build {self.build}' if self.build and not distro else remedy


def preset_names(folder: Path) -> list[str]:
    """Return the names of the cameras with a file in `folder`, sorted."""
    return sorted(
        path.name.removesuffix('_camera.launch.py') for path in folder.glob('*_camera.launch.py')
    )


def preset_file(folder: Path, name: str) -> Path:
    """Return the launch file of a camera."""
    return folder / f'{name}_camera.launch.py'


def load_preset(path: Path) -> CameraPreset:
    """Return PRESET of a camera's launch file. The file is run, but starts nothing."""
    return runpy.run_path(str(path))['PRESET']


def declared_arguments(path: Path) -> set[str]:
    """Return the names of the arguments that a camera's launch file declares itself."""
    from launch.actions import DeclareLaunchArgument

    description = runpy.run_path(str(path))['generate_launch_description']()
    return {
        entity.name for entity in description.entities if isinstance(entity, DeclareLaunchArgument)
    }


def require_package(package: str, purpose: str, install: str) -> Path:
    """Return the share folder of an installed ROS package.

    A missing one raises RuntimeError with one line on its use and installation: `ros2 launch`
    prints that line and ends.
    """
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory(package))
    except PackageNotFoundError:
        remedy = install.format(distro=os.environ.get('ROS_DISTRO') or '<distro>')
        raise RuntimeError(
            f"{purpose} needs the package '{package}', which is not installed: {remedy}"
        ) from None


def driver_launch_file(preset: CameraPreset) -> Path:
    """Return the path of the driver's launch file; RuntimeError when the driver is missing or its
    version has none.
    """
    folder = (
        require_package(
            preset.package, 'this camera', preset.how_to_install(os.environ.get('ROS_DISTRO', ''))
        )
        / 'launch'
    )
    for name in preset.launch_files:
        if (folder / name).is_file():
            return folder / name
    raise RuntimeError(
        f"the installed '{preset.package}' has none of {', '.join(preset.launch_files)} in "
        f'{folder}: '
        'start the driver yourself and use camera:=none with depth_topic and info_topic'
    )


def driver_description(preset: CameraPreset) -> Any:
    """Return a LaunchDescription that starts the driver; arguments of the driver's launch file can
    be given as well.
    """
    from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchDescription  # type: ignore[attr-defined]

    # Searched when it is run, so that --show-args works without the driver.
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in preset.arguments
            ),
            OpaqueFunction(
                function=lambda _: [
                    IncludeLaunchDescription(
                        PythonLaunchDescriptionSource(str(driver_launch_file(preset)))
                    )
                ]
            ),
        ]
    )
