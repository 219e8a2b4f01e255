"""Parameters of the node: one table of settings, their ROS descriptors and checked values.

SI units here, millimetres from tracker_config() on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from awr_ros.derived.openxr import REFERENCES, Reference
from awr_ros.messages.compressed_depth import TRANSPORT
from awr_ros.messages.depth_camera import DISTORTION, Distortion
from awr_ros.ros.parameter_files import unknown_parameters
from awr_ros.ros.wrist_frames import tf_is_installed
from awr_ros.settings import AT_START, WHEN_INACTIVE, Setting, config_from
from awr_ros.tracker_config import NETWORK_SETTINGS, TRACKER_SETTINGS, TrackerConfig

TABLE = (
    Setting('autostart', True, 'configure and activate without a lifecycle manager', AT_START),
    *NETWORK_SETTINGS,
    Setting(
        'image_transport',
        'raw',
        f'raw: depth/image is an Image; {TRANSPORT}: depth/image/{TRANSPORT} is a PNG in a '
        'CompressedImage',
        WHEN_INACTIVE,
        choices=('raw', TRANSPORT),
    ),
    DISTORTION,
    Setting(
        'depth_scale',
        1.0,
        'factor for all depths, for drivers with another unit than that of the encoding '
        '(16UC1: mm, 32FC1: m): 0.1 for steps of 0.1 mm, 0.001 for millimetres in 32FC1',
        range=(1e-4, 1e4),
    ),
    *TRACKER_SETTINGS,
    Setting('tf', False, 'publish each wrist as TF frame <tf_prefix><id>_wrist; needs tf2_msgs'),
    Setting('tf_prefix', 'hand_', 'prefix of the TF frame names'),
    Setting(
        'openxr_reference',
        'camera',
        'frame of the poses on ~/openxr: camera: the optical frame; view: the same with the axes '
        'of an OpenXR view space; mano, operator: at each wrist',
        choices=REFERENCES,
    ),
    Setting(
        'predict_ms',
        0.0,
        'prediction of the joints on ~/motion beyond the stamp of the image',
        unit='ms',
        range=(0.0, 200.0),
    ),
    Setting(
        'marker_lifetime',
        0.5,
        'time after which markers vanish without a new image',
        WHEN_INACTIVE,
        unit='s',
        range=(0.05, 10.0),
    ),
)
BY_NAME = {parameter.name: parameter for parameter in TABLE}


@dataclass(frozen=True)
class Parameters:
    """Checked values of TABLE."""

    autostart: bool
    weights: str
    device: str
    engine: str
    num_threads: int
    image_transport: str
    distortion: Distortion
    depth_scale: float
    max_hands: int
    side: str
    finder: str
    finder_weights: str
    views: int
    search_every: int  # [images]
    score_threshold: float  # [0,1]
    beside_threshold: float  # [0,1]
    lose_threshold: float  # [0,1]
    coast_time: float  # [s]
    min_depth: float  # [m]
    max_depth: float  # [m]
    hand_size: str
    smoothing: bool
    smoothing_min_cutoff: float  # [Hz]
    smoothing_beta: float  # [Hz per m/s]
    tf: bool
    tf_prefix: str
    openxr_reference: Reference
    predict_ms: float  # [ms]
    marker_lifetime: float  # [s]

    def __post_init__(self) -> None:
        for field in fields(self):
            value, choices = getattr(self, field.name), BY_NAME[field.name].choices
            if choices and value not in choices:
                raise ValueError(
                    f"parameter {field.name} is '{value}', expected one of {', '.join(choices)}"
                )
        if self.min_depth >= self.max_depth:
            raise ValueError(
                f'parameter min_depth is {self.min_depth:g}, expected less than max_depth '
                f'{self.max_depth:g}'
            )
        if self.tf_prefix.startswith('/'):
            raise ValueError(
                f"parameter tf_prefix is '{self.tf_prefix}', expected no leading slash: tf2 has "
                f'no absolute names'
            )
        if self.tf and not tf_is_installed():
            raise ValueError(
                'parameter tf is true, but the ROS package tf2_msgs is not installed '
                '(apt install ros-$ROS_DISTRO-tf2-msgs)'
            )
        self.tracker_config()  # checks the rest

    def tracker_config(self) -> TrackerConfig:
        """Return the tracker's settings, in millimetres."""
        return config_from(TrackerConfig, vars(self))


def descriptor(setting: Setting) -> ParameterDescriptor:
    """Return the ROS description of a setting."""
    made = ParameterDescriptor(
        name=setting.name,
        description=setting.meaning,
        read_only=setting.change == AT_START,
        additional_constraints=f'can be set {setting.change}',
    )
    if setting.choices:
        made.additional_constraints += f'; one of {setting.limits}'
    if setting.range and isinstance(setting.default, float):
        low, high = setting.range
        made.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif setting.range:
        low, high = (int(limit) for limit in setting.range)
        made.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return made


def given(node: Node) -> dict[str, object]:
    """Return the parameters that command line and parameter files give to a node, {name: value},
    declared or not.
    """
    # rclpy shows them nowhere else
    return {name: parameter.value for name, parameter in node._parameter_overrides.items()}


def declare(node: Node, table: Sequence[Setting] = TABLE) -> None:
    """Declare a table on a node. Values of the wrong type or range raise ValueError with a correct
    example.
    """
    values = given(node)
    for parameter in table:
        if parameter.name in values:
            parameter.check(values[parameter.name])
    node.declare_parameters('', [(p.name, p.default, descriptor(p)) for p in table])


def warn_of_unknown(node: Node, others: Sequence[str] = ()) -> None:
    """Log a warning for each parameter that is given to a node but declared nowhere.

    Call it after all declarations. others: names without a warning.
    """
    known = [name for name in node.get_parameters_by_prefix('') if name] + list(others)
    for line in unknown_parameters(sorted(given(node)), sorted(known)):
        node.get_logger().warning(line)


def _usage(setting: Setting) -> str:
    limits = f' ({setting.limits})' if setting.limits else ''
    default = setting.shown_default if setting.default != '' else '...'
    return f'  {setting.name}:={default}  {setting.meaning}{limits}'


def usage(program: str, does: str, table: Sequence[Setting] = TABLE) -> str:
    """Return the text of --help."""
    return '\n'.join(
        [
            f'usage: ros2 run awr_ros {program} [--ros-args -p NAME:=VALUE ... --params-file FILE '
            f'-r FROM:=TO ...]',
            '',
            does,
            '',
            'parameters with their defaults:',
            *(_usage(setting) for setting in table),
        ]
    )


def read(node: Node, changes: Sequence = ()) -> Parameters:
    """Return the Parameters of a node on which TABLE is declared, with `changes` (rclpy Parameters)
    applied.
    """
    values = {name: node.get_parameter(name).value for name in BY_NAME}
    values.update({change.name: change.value for change in changes if change.name in BY_NAME})
    return Parameters(**values)
