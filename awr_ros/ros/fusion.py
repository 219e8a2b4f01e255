"""The node `fusion`: the hands of several trackers as one set in a common frame."""

import sys
import time
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from awr_ros.derived.fusion import FusionConfig, HandFusion
from awr_ros.derived.transforms import TransformTree, parse_extrinsics, rigid
from awr_ros.messages.markers import HandMarkers
from awr_ros.msg import HandArray
from awr_ros.ros import message_types, parameters
from awr_ros.ros.adaptive_subscription import STEADY
from awr_ros.ros.conversions import MM_PER_M, hand_array, stamp_seconds
from awr_ros.ros.received_hands import received_hands
from awr_ros.ros.spin import REPEAT_S, run
from awr_ros.ros.wrist_frames import tf_is_installed
from awr_ros.settings import AT_START, Setting

SILENCE_S = 1.0  # silence of a tracker before it is reported
DEFAULTS = FusionConfig()
TABLE = (
    Setting(
        'inputs',
        '/left/tracker/hands,/right/tracker/hands',
        'topics of the trackers to fuse, comma-separated',
        AT_START,
    ),
    Setting(
        'frame',
        '',
        'common frame of the fused hands; empty: the frame of the first tracker that publishes',
        AT_START,
    ),
    Setting(
        'extrinsics',
        '',
        'poses of camera frames in the common frame, instead of TF: FRAME x y z qx qy qz qw [m], '
        'several separated by ;',
        AT_START,
    ),
    Setting(
        'wait',
        0.012,
        'the first image of a round waits at most so long for those of the other cameras [s]',
        AT_START,
        range=(0.001, 0.2),
    ),
    Setting(
        'timeout',
        DEFAULTS.timeout_s,
        'a camera that is silent for longer is left out [s]',
        AT_START,
        range=(0.05, 5.0),
    ),
    Setting(
        'same_hand',
        DEFAULTS.same_hand_mm / MM_PER_M,
        'palms of different cameras that are nearer than this are one hand [m]',
        AT_START,
        range=(0.02, 0.14),
    ),
)


class FusionNode(Node):
    """Subscribe to ~/hands of several trackers and publish fused ~/hands and ~/markers."""

    def __init__(self, **node_options: Any):
        super().__init__('fusion', **node_options)
        parameters.declare(self, TABLE)
        values = {parameter.name: self.get_parameter(parameter.name).value for parameter in TABLE}
        self._inputs = [topic.strip() for topic in values['inputs'].split(',') if topic.strip()]
        if not self._inputs or len(set(self._inputs)) < len(self._inputs):
            raise ValueError(
                f"parameter inputs is '{values['inputs']}', expected different topics, "
                'comma-separated'
            )
        self._frame = values['frame']
        self._given = {} if not values['extrinsics'] else parse_extrinsics(values['extrinsics'])
        if self._given and not self._frame:
            raise ValueError('parameter extrinsics needs parameter frame: the frame they are in')
        self._fusion = HandFusion(
            FusionConfig(timeout_s=values['timeout'], same_hand_mm=values['same_hand'] * MM_PER_M)
        )
        self._tree = TransformTree()
        self._heard_s: dict[str, float] = {}  # last arrival per input, monotonic clock
        self._missing: dict[str, str] = {}  # input: its frame without a transform to ours
        self._round: set[str] = set()
        self._newest_s: float | None = None
        self._published_s: float | None = None
        self._newest_stamp: Any = None
        self._hands_pub = self.create_publisher(HandArray, '~/hands', 10)
        self._markers_pub = self.create_publisher(MarkerArray, '~/markers', 10)
        self._diagnostics_pub = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._markers = HandMarkers(0.5, message_types)
        for topic in self._inputs:
            self.create_subscription(HandArray, topic, partial(self._on_hands, topic), 5)
        self._listen_to_tf()
        self._waiting = self.create_timer(values['wait'], self._on_waited, clock=STEADY)
        self._waiting.cancel()
        self.create_timer(1.0, self._report, clock=STEADY)
        parameters.warn_of_unknown(self)
        self.get_logger().info(f'fusing hands of {", ".join(self._inputs)}')

    def _listen_to_tf(self) -> None:
        """Subscribe to /tf and /tf_static if their message is installed; the latest transforms are
        used.
        """
        if not tf_is_installed():
            return
        from tf2_msgs.msg import TFMessage

        latched = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self.create_subscription(TFMessage, '/tf_static', self._on_tf, latched)
        self.create_subscription(TFMessage, '/tf', self._on_tf, 100)

    def _on_tf(self, message: Any) -> None:
        for stamped in message.transforms:
            shift, turn = stamped.transform.translation, stamped.transform.rotation
            try:
                transform = rigid((shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w))
            except ValueError as error:
                self.get_logger().warning(
                    f'TF of {stamped.child_frame_id}: {error}', throttle_duration_sec=REPEAT_S
                )
                continue
            self._tree.set(stamped.header.frame_id, stamped.child_frame_id, transform)

    def _extrinsics(self, frame: str) -> np.ndarray | None:
        """Return common_from_frame (4,4) [mm], None if unknown."""
        transform = self._given.get(frame)
        if transform is None:
            transform = self._tree.lookup(self._frame, frame)
        if transform is None:
            return None
        transform = transform.copy()
        transform[:3, 3] *= MM_PER_M
        return transform

    def _on_hands(self, topic: str, message: HandArray) -> None:
        self._heard_s[topic] = time.monotonic()
        frame, stamp_s = message.header.frame_id, stamp_seconds(message.header.stamp)
        self._frame = self._frame or frame
        transform = self._extrinsics(frame)
        if transform is None:
            self._missing[topic] = frame
            return
        self._missing.pop(topic, None)
        if not self._fusion.update(topic, stamp_s, received_hands(message), transform):
            return
        went_back = self._newest_s is not None and self._newest_s - stamp_s > 1.0
        if self._newest_s is None or stamp_s > self._newest_s or went_back:
            self._newest_s, self._newest_stamp = stamp_s, message.header.stamp
        assert self._newest_s is not None
        again = topic in self._round  # whether it is its second image since the last publication
        self._round.add(topic)
        if again or self._round >= set(self._fusion.live(self._newest_s)):
            self._publish()
        elif len(self._round) == 1:
            self._waiting.reset()

    def _on_waited(self) -> None:
        self._waiting.cancel()
        if self._round:
            self._publish()

    def _publish(self) -> None:
        self._waiting.cancel()
        self._round.clear()
        if self._newest_s == self._published_s:  # nothing new since the last publication
            return
        self._published_s = self._newest_s
        header = Header(frame_id=self._frame, stamp=self._newest_stamp)
        assert self._newest_s is not None
        message = hand_array(self._fusion.fuse(self._newest_s), header, 0, 0)
        self._hands_pub.publish(message)
        if self._markers_pub.get_subscription_count():
            self._markers_pub.publish(self._markers.update(message))

    def troubles(self) -> list[str]:
        """Return the reasons why hands of a tracker are missing, one line each."""
        now_s, lines = time.monotonic(), []
        for topic in self._inputs:
            heard_s = self._heard_s.get(topic)
            if heard_s is None:
                lines.append(f'nothing came on {topic} so far')
            elif now_s - heard_s > SILENCE_S:
                lines.append(f'nothing came on {topic} for {now_s - heard_s:.0f} s')
            elif topic in self._missing:
                lines.append(self._missing_text(topic))
        return lines

    def _missing_text(self, topic: str) -> str:
        frame = self._missing[topic]
        where = (
            f'publish it on /tf_static: ros2 run tf2_ros static_transform_publisher ... '
            f'--frame-id {self._frame} --child-frame-id {frame}'
            if tf_is_installed()
            else f"set parameter extrinsics to '{frame} x y z qx qy qz qw' "
            '(tf2_msgs is not installed)'
        )
        return f'hands of {topic} are left out: no transform from {frame} to {self._frame}; {where}'

    def _report(self) -> None:
        troubles = self.troubles()
        if troubles:
            self.get_logger().warning('; '.join(troubles), throttle_duration_sec=REPEAT_S)
        name = self.get_fully_qualified_name().lstrip('/')
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if troubles else DiagnosticStatus.OK,
            name=f'{name}: inputs',
            message='; '.join(troubles) or f'{len(self._inputs)} trackers are fused',
            values=[KeyValue(key='frame', value=self._frame)],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_pub.publish(message)


def main() -> int:
    """Run the node until it is stopped; return the exit status."""
    usage = parameters.usage(
        'fusion', 'Fuses the hands of several trackers and publishes them as ~/hands.', TABLE
    )
    return run(FusionNode, usage, keep_going=True)


if __name__ == '__main__':
    sys.exit(main())
