"""TF over real DDS, where the ROS environment lacks tf2_msgs.

Its message is generated here, of the same fields, and the tests that need it run again in a process
that has it.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = (
    'test_fusion_node.py::test_transforms_come_from_tf_where_it_is_installed',
    'test_node_inputs.py::test_transforms_over_dds',
)
FILES = {
    'msg/TFMessage.msg': 'geometry_msgs/TransformStamped[] transforms\n',
    'CMakeLists.txt': """cmake_minimum_required(VERSION 3.8)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(geometry_msgs REQUIRED)
rosidl_generate_interfaces(${PROJECT_NAME} "msg/TFMessage.msg" DEPENDENCIES geometry_msgs)
ament_package()
""",
    'package.xml': """<package format="3">
  <name>tf2_msgs</name><version>0.0.0</version><description>TFMessage</description>
  <maintainer email="nobody@example.com">nobody</maintainer><license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <build_depend>rosidl_default_generators</build_depend>
  <depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
""",
}


@pytest.mark.skipif(
    importlib.util.find_spec('tf2_msgs') is not None,
    reason='tf2_msgs is installed: its tests run as they are',
)
@pytest.mark.timeout(600)
def test_wrist_frames_and_fusion_by_tf(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / 'src' / 'tf2_msgs' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    python = sys.executable
    build = [python, '-m', 'colcon', '--log-level', 'error', 'build', '--cmake-args']
    build += ['-DBUILD_TESTING=OFF', f'-DPython3_EXECUTABLE={python}']
    built = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    run = [python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
    run += [str(HERE / test) for test in TESTS]
    script = f'source install/local_setup.bash && exec {" ".join(run)}'
    done = subprocess.run(
        ['bash', '-c', script], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0 and f'{len(TESTS)} passed' in done.stdout, done.stdout[-4000:]
