"""What pyproject.toml cannot say: version, dependencies and packages of the Python modules without
ROS.
"""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Return the lines of requirements/<name>.txt that are not comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


setup(
    version=ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version'),
    # The definitions of the messages go along, for bags are written without ROS.
    packages=[*find_packages(include=['awr_ros', 'awr_ros.*']), 'awr_ros.message_definitions'],
    package_dir={'awr_ros.message_definitions': 'msg'},
    package_data={'awr_ros': ['py.typed', 'weights/*'], 'awr_ros.message_definitions': ['*.msg']},
    license='Apache-2.0',
    install_requires=requirements('run'),
    extras_require={
        **{
            name: requirements(name)
            for name in ('train', 'offline', 'engines', 'bench', 'view', 'dev')
        },
        # Both track recordings.
        **{name: requirements('offline') + requirements(name) for name in ('lerobot', 'cluster')},
    },
    zip_safe=False,
    options={'build': {'build_base': 'build/pip'}},  # build/ itself is colcon's
)
