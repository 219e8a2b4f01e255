"""The node's parameters: one table, from which ROS descriptors and a frozen dataclass are made. SI units here,
millimetres from tracker_config() on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from awr_ros.derived.openxr import REFERENCES
from awr_ros.messages.compressed_depth import TRANSPORT
from awr_ros.messages.depth_camera import DISTORTION_CHOICES
from awr_ros.ros.conversions import MM_PER_M
from awr_ros.ros.parameter_files import unknown_parameters
from awr_ros.ros.wrist_frames import tf_is_installed
from awr_ros.tracker_config import FINDERS, TrackerConfig

TYPES = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number with a decimal point',
    str: 'text',
}
LIVE, WHEN_INACTIVE, AT_START = 'live', 'while not active', 'at start'


@dataclass(frozen=True)
class Parameter:
    """One row of the table."""

    name: str
    default: bool | int | float | str
    description: str  # with its unit
    change: str  # LIVE, WHEN_INACTIVE or AT_START
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()

    def descriptor(self):
        descriptor = ParameterDescriptor(
            name=self.name,
            description=self.description,
            read_only=self.change == AT_START,
            additional_constraints=f'can be set {self.change}',
        )
        if self.choices:
            descriptor.additional_constraints += f'; one of {", ".join(self.choices)}'
        if self.range and isinstance(self.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=self.range[0], to_value=self.range[1])
            ]
        elif self.range:
            descriptor.integer_range = [
                IntegerRange(from_value=self.range[0], to_value=self.range[1])
            ]
        return descriptor

    def check(self, value: object) -> None:
        """Raise ValueError with what to write for a value of the wrong type or range."""
        kind, wanted = type(self.default), TYPES[type(self.default)]
        limits = f', {self.range[0]:g} to {self.range[1]:g}' if self.range else ''
        if kind is float and type(value) is int:
            raise ValueError(
                f'parameter {self.name} is {value}, expected {wanted}{limits}: write {float(value)}'
            )
        if type(value) is not kind:
            shown = (
                f"'{value}'"
                if isinstance(value, str)
                else str(value).lower()
                if isinstance(value, bool)
                else value
            )
            remedy = f": write '{shown}' in quotes" if kind is str and value is not None else ''
            raise ValueError(f'parameter {self.name} is {shown}, expected {wanted}{limits}{remedy}')
        if self.range and not self.range[0] <= value <= self.range[1]:
            raise ValueError(f'parameter {self.name} is {value}, expected {wanted}{limits}')

    def usage(self) -> str:
        """One line for --help."""
        limits = (
            f', one of {", ".join(self.choices)}'
            if self.choices
            else f', {self.range[0]:g} to {self.range[1]:g}'
            if self.range
            else ''
        )
        default = f'{self.default}'.lower() if isinstance(self.default, bool) else self.default
        return f'  {self.name}:={default if default != "" else "..."}  {self.description}{limits}'


DEFAULTS = TrackerConfig()
TABLE = (
    Parameter('autostart', True, 'configure and activate without being asked', AT_START),
    Parameter(
        'weights',
        '',
        'file with the network; empty: the one that comes with the package',
        WHEN_INACTIVE,
    ),
    Parameter(
        'device', 'auto', 'where the network runs', WHEN_INACTIVE, choices=('auto', 'cpu', 'cuda')
    ),
    Parameter(
        'engine',
        'auto',
        'what runs the network; auto: the fastest on this machine',
        WHEN_INACTIVE,
        choices=('auto', 'torch', 'openvino', 'onnxruntime', 'onnxruntime-int8'),
    ),
    Parameter(
        'num_threads',
        0,
        'CPU threads for the network; 0: all cores but one, which is left to the robot, at most 4',
        WHEN_INACTIVE,
        range=(0, 64),
    ),
    Parameter(
        'image_transport',
        'raw',
        f'raw: depth/image is an Image; {TRANSPORT}: depth/image/{TRANSPORT} is a PNG in a '
        'CompressedImage',
        WHEN_INACTIVE,
        choices=('raw', TRANSPORT),
    ),
    Parameter(
        'distortion',
        'undistort',
        'what to do with images whose camera_info has lens distortion; ignore it when the '
        'image is rectified already',
        LIVE,
        choices=DISTORTION_CHOICES,
    ),
    Parameter(
        'depth_scale',
        1.0,
        'all depths are multiplied by this, for drivers whose unit is not that of the encoding (16UC1: mm, '
        '32FC1: m): 0.1 for steps of 0.1 mm, 0.001 for millimetres in 32FC1',
        LIVE,
        range=(1e-4, 1e4),
    ),
    Parameter('max_hands', DEFAULTS.max_hands, 'most hands to track at a time', LIVE, range=(1, 4)),
    Parameter(
        'side',
        DEFAULTS.side,
        'which hands are in view; left or right when it is known',
        LIVE,
        choices=('auto', 'left', 'right'),
    ),
    Parameter(
        'finder',
        DEFAULTS.finder,
        'how new hands are found: learned: by a network on the whole image; nearest: at the '
        'nearest points and at the ends of what is seen; external: where ~/centre or ~/boxes say',
        LIVE,
        choices=FINDERS,
    ),
    Parameter(
        'finder_weights',
        '',
        'file of the learned finder, ONNX; empty: the one that comes with the package',
        WHEN_INACTIVE,
    ),
    Parameter(
        'search_every',
        DEFAULTS.search_every,
        'images between searches while some hands, but not max_hands, are '
        'tracked; without any every image is searched',
        LIVE,
        range=(1, 1000),
    ),
    Parameter(
        'score_threshold',
        DEFAULTS.score_threshold,
        'a new hand is believed from this score on, made of those of '
        'finder, hand and joints, [0,1]',
        LIVE,
        range=(0.0, 1.0),
    ),
    Parameter(
        'beside_threshold',
        DEFAULTS.beside_threshold,
        'the same while another hand is tracked, whose forearm can look like '
        'a hand; the larger of the two counts, [0,1]',
        LIVE,
        range=(0.0, 1.0),
    ),
    Parameter(
        'lose_threshold',
        DEFAULTS.lose_threshold,
        'score below which a tracked hand counts as not seen, [0,1]',
        LIVE,
        range=(0.0, 1.0),
    ),
    Parameter(
        'coast_time',
        DEFAULTS.coast_s,
        'a hand that is not seen keeps its last pose for so long [s]',
        LIVE,
        range=(0.0, 5.0),
    ),
    Parameter(
        'min_depth',
        DEFAULTS.min_depth_mm / MM_PER_M,
        'hands nearer than this are not looked for [m]',
        LIVE,
        range=(0.05, 5.0),
    ),
    Parameter(
        'max_depth',
        DEFAULTS.max_depth_mm / MM_PER_M,
        'hands farther than this are not looked for [m]; the learned finder sees '
        'no farther than 2.45',
        LIVE,
        range=(0.05, 5.0),
    ),
    Parameter(
        'smoothing', DEFAULTS.smoothing, 'smooth the published joints (One Euro filter)', LIVE
    ),
    Parameter(
        'smoothing_min_cutoff',
        DEFAULTS.smoothing_min_cutoff_hz,
        'cutoff of the smoothing for a joint at rest [Hz]: less is steadier, with more delay',
        LIVE,
        range=(0.01, 30.0),
    ),
    Parameter(
        'smoothing_beta',
        DEFAULTS.smoothing_beta * MM_PER_M,
        "how the cutoff grows with a joint's speed [Hz per m/s]: more is less delay",
        LIVE,
        range=(0.0, 1000.0),
    ),
    Parameter(
        'tf', False, 'publish each wrist as TF frame <tf_prefix><id>_wrist; needs tf2_msgs', LIVE
    ),
    Parameter('tf_prefix', 'hand_', 'how the names of the TF frames begin', LIVE),
    Parameter(
        'openxr_reference',
        'camera',
        'frame of the poses on ~/openxr: camera: the optical frame; view: the same with the axes of '
        'an OpenXR view space; mano, operator: at each wrist',
        LIVE,
        choices=REFERENCES,
    ),
    Parameter(
        'predict_ms',
        0.0,
        'joints on ~/motion are predicted so far beyond the stamp of the image [ms]',
        LIVE,
        range=(0.0, 200.0),
    ),
    Parameter(
        'marker_lifetime',
        0.5,
        'markers vanish by themselves after this time without an image [s]',
        WHEN_INACTIVE,
        range=(0.05, 10.0),
    ),
)
BY_NAME = {parameter.name: parameter for parameter in TABLE}


@dataclass(frozen=True)
class Parameters:
    """The values of TABLE, checked."""

    autostart: bool
    weights: str
    device: str
    engine: str
    num_threads: int
    image_transport: str
    distortion: str
    depth_scale: float
    max_hands: int
    side: str
    finder: str
    finder_weights: str
    search_every: int  # [images]
    score_threshold: float  # [0,1]
    beside_threshold: float  # [0,1]
    lose_threshold: float  # [0,1]
    coast_time: float  # [s]
    min_depth: float  # [m]
    max_depth: float  # [m]
    smoothing: bool
    smoothing_min_cutoff: float  # [Hz]
    smoothing_beta: float  # [Hz per m/s]
    tf: bool
    tf_prefix: str
    openxr_reference: str
    predict_ms: float  # [ms]
    marker_lifetime: float  # [s]

    def __post_init__(self):
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
                f"parameter tf_prefix is '{self.tf_prefix}', expected no leading slash: tf2 has no absolute names"
            )
        if self.tf and not tf_is_installed():
            raise ValueError(
                'parameter tf is true, but the ROS package tf2_msgs is not installed '
                '(apt install ros-$ROS_DISTRO-tf2-msgs)'
            )
        self.tracker_config()  # checks the rest

    def tracker_config(self):
        return TrackerConfig(
            max_hands=self.max_hands,
            side=self.side,
            finder=self.finder,
            finder_weights=self.finder_weights,
            score_threshold=self.score_threshold,
            beside_threshold=self.beside_threshold,
            lose_threshold=self.lose_threshold,
            coast_s=self.coast_time,
            min_depth_mm=self.min_depth * MM_PER_M,
            max_depth_mm=self.max_depth * MM_PER_M,
            search_every=self.search_every,
            smoothing=self.smoothing,
            smoothing_min_cutoff_hz=self.smoothing_min_cutoff,
            smoothing_beta=self.smoothing_beta / MM_PER_M,
        )


def given(node) -> dict[str, object]:
    """Return the parameters that the command line and parameter files give to a node, {name: value}, declared or not."""
    return {
        name: parameter.value for name, parameter in node._parameter_overrides.items()
    }  # rclpy shows them nowhere else


def declare(node, table=TABLE) -> None:
    """Declare a table on a node. Values of the wrong type or range raise ValueError, which says what to write."""
    values = given(node)
    for parameter in table:
        if parameter.name in values:
            parameter.check(values[parameter.name])
    node.declare_parameters('', [(p.name, p.default, p.descriptor()) for p in table])


def warn_of_unknown(node, others: Sequence[str] = ()) -> None:
    """Log a warning for each parameter that is given to a node but declared nowhere.

    To be called when all are declared. others: names without a warning.
    """
    known = [name for name in node.get_parameters_by_prefix('') if name] + list(others)
    for line in unknown_parameters(sorted(given(node)), sorted(known)):
        node.get_logger().warning(line)


def usage(program: str, does: str, table=TABLE) -> str:
    """Return what --help prints."""
    return '\n'.join(
        [
            f'usage: ros2 run awr_ros {program} [--ros-args -p NAME:=VALUE ... --params-file FILE -r FROM:=TO ...]',
            '',
            does,
            '',
            'parameters with their defaults:',
            *(parameter.usage() for parameter in table),
        ]
    )


def read(node, changes=()):
    """Parameters of a node on which TABLE is declared, with `changes` (rclpy Parameters) on top."""
    values = {name: node.get_parameter(name).value for name in BY_NAME}
    values.update({change.name: change.value for change in changes if change.name in BY_NAME})
    return Parameters(**values)
