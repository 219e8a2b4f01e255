# Source this (bash): a shell with the ROS 2 wheels of .venv and, once built, this package. It is for machines
# without ROS packages of their own; with ROS from apt, source install/setup.bash instead.
# ROS=jazzy in the environment takes the wheels of ROS 2 Jazzy (.venv-jazzy, install-jazzy) instead of those of Kilted.
# A ROS environment that was sourced before is replaced: two distributions do not mix.

_awr_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
case "${ROS:-kilted}" in
  kilted) _awr_suffix= ;;
  *) _awr_suffix="-$ROS" ;;
esac
if [ ! -f "$_awr_root/.venv$_awr_suffix/bin/activate" ]; then
  echo "no .venv$_awr_suffix in $_awr_root: run 'make setup${_awr_suffix:+ ROS=$ROS}' first" >&2
  unset _awr_root _awr_suffix
  return 1
fi
source "$_awr_root/.venv$_awr_suffix/bin/activate"

# The wheels keep their libraries in several folders and restart Python once to find them. With the folders and the
# guard in the environment that restart is not needed, and programs that are not Python find them too.
LD_LIBRARY_PATH="$VIRTUAL_ENV/lib"
for _awr_libs in "$VIRTUAL_ENV"/lib/python3*/site-packages/ros_*.libs; do
  LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$_awr_libs"
done
export LD_LIBRARY_PATH
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1

export AMENT_PREFIX_PATH="$VIRTUAL_ENV"
export CMAKE_PREFIX_PATH="$VIRTUAL_ENV"
unset PYTHONPATH
export PYTHONSAFEPATH=1  # the source folder awr_ros/ has no messages: never import it instead of the installed one

# One 640x480 depth image does not fit into Fast DDS's default shared memory: see config/fastdds_shm.xml. Jazzy reads the
# older name only, Kilted the newer, and warns of the older. A file that is set already, by either name, is kept.
_awr_profile="${FASTDDS_DEFAULT_PROFILES_FILE:-${FASTRTPS_DEFAULT_PROFILES_FILE:-$_awr_root/config/fastdds_shm.xml}}"
case "${ROS:-kilted}" in
  jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE="$_awr_profile" ;;
  *) export FASTDDS_DEFAULT_PROFILES_FILE="$_awr_profile" ;;
esac

if [ -f "$_awr_root/install$_awr_suffix/local_setup.bash" ]; then
  source "$_awr_root/install$_awr_suffix/local_setup.bash"
fi
unset _awr_root _awr_suffix _awr_libs _awr_profile
