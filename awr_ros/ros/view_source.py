"""A running tracker node as a source of the browser view: its depth images with its hands."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import CompressedImage, Image

from awr_ros.msg import HandArray, TrackerStats
from awr_ros.ros.camera_input import CameraInput
from awr_ros.ros.conversions import BadInputError, stamp_seconds
from awr_ros.ros.received_hands import ReceivedHand, received_hands
from awr_ros.tracker_config import TrackerConfig
from awr_ros.viewer.sources import Shown

PATIENCE_S = 10.0  # timeout for finding the node
MAX_IMAGES = 30  # images kept until their hands arrive
MAX_AGE_S = 10.0  # older stamps are from another clock
PARAMETERS = {  # field of TrackerConfig: parameter of the node
    'max_hands': 'max_hands',
    'score_threshold': 'score_threshold',
    'beside_threshold': 'beside_threshold',
    'lose_threshold': 'lose_threshold',
    'coast_s': 'coast_time',
    'smoothing': 'smoothing',
    'smoothing_min_cutoff_hz': 'smoothing_min_cutoff',
}


@dataclass(frozen=True)
class NodeHand(ReceivedHand):
    """A hand with its image."""

    joints_uvd: np.ndarray  # (21,3) [px, px, mm]


class NodeSource:
    """Subscribe to a tracker and to its images."""

    length, index, rate_hz = None, -1, 120.0  # the rate is that of the node

    def __init__(self, name: str, depth_topic: str = ''):
        """name: of the node, with its namespace; depth_topic: '' for that of the node.

        Raise ValueError when there is no such node.
        """
        self._name = '/' + name.strip('/')
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._lock = threading.Lock()
        self._images: dict[tuple[int, int], Any] = {}
        self._newest: tuple[Any, HandArray] | None = None
        self._info = None
        self._track_ms = float('nan')
        self._failure = ''
        try:
            self._node = self._start(depth_topic)
        except BaseException:
            rclpy.shutdown(context=self._context)
            raise
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _start(self, depth_topic: str) -> Any:
        finder = rclpy.create_node('awr_view_finder', context=self._context)
        try:
            images, info_topic = self._topics(finder)
        finally:
            finder.destroy_node()
        compressed = CompressedImage in images.values() and not depth_topic
        topic = depth_topic or next(iter(images))
        if depth_topic:
            info_topic = depth_topic.rsplit('/', 1)[0] + '/camera_info'
        remap = ['-r', f'depth/image:={topic}', '-r', f'depth/camera_info:={info_topic}']
        node = rclpy.create_node(
            'awr_view',
            context=self._context,
            cli_args=['--ros-args', *remap],
            use_global_arguments=False,
        )
        self._executor.add_node(node)
        transport = 'compressedDepth' if compressed else 'raw'
        self._input = CameraInput(
            node, transport, self._on_image, self._on_info, lambda: None, self._on_bad_info
        )
        node.create_subscription(HandArray, f'{self._name}/hands', self._on_hands, 5)
        node.create_subscription(TrackerStats, f'{self._name}/stats', self._on_stats, 5)
        self._client = AsyncParameterClient(node, self._name)
        self.config = self._node_config(node)
        return node

    def _topics(self, node: Any) -> tuple[dict[str, type], str]:
        """Return the image topics of the tracker with their types, and its camera info topics."""
        namespace, _, base = self._name.rpartition('/')
        kinds = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            try:
                topics = node.get_subscriber_names_and_types_by_node(base, namespace or '/')
            except Exception:  # rclpy's NodeNameNonExistentError is not public in all versions
                topics = []
            images = {name: kinds[t] for name, types in topics for t in types if t in kinds}
            infos = [name for name, types in topics if 'sensor_msgs/msg/CameraInfo' in types]
            if images and infos:
                return images, infos[0]
            time.sleep(0.1)
        known = ', '.join(
            sorted(f'{ns.rstrip("/")}/{n}' for n, ns in node.get_node_names_and_namespaces())
        )
        raise ValueError(
            f'there is no active tracker {self._name} in {PATIENCE_S:g} s; nodes: {known or "none"}'
        )

    def _node_config(self, node: Any) -> TrackerConfig:
        """Return the settings of the node; defaults if it does not answer."""
        if not self._client.wait_for_services(PATIENCE_S):
            return TrackerConfig()
        future = self._client.get_parameters(list(PARAMETERS.values()))
        end_s = time.monotonic() + PATIENCE_S
        while not future.done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.1)
        if not future.done():
            return TrackerConfig()
        answer: Any = future.result()
        values = [Parameter.from_parameter_msg(_named(value)).value for value in answer.values]
        return TrackerConfig(**dict(zip(PARAMETERS, values)))

    def _spin(self) -> None:
        while self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.2)
            except Exception:  # the context was shut down
                if self._context.ok():
                    raise

    def _on_info(self, info: Any) -> None:
        self._info = info

    def _on_bad_info(self, reason: str) -> None:
        self._failure = reason

    def _on_image(self, image: Any) -> None:
        stamp = image.header.stamp.sec, image.header.stamp.nanosec
        with self._lock:
            self._images[stamp] = image
            while len(self._images) > MAX_IMAGES:
                del self._images[next(iter(self._images))]

    def _on_hands(self, hands: HandArray) -> None:
        stamp = hands.header.stamp.sec, hands.header.stamp.nanosec
        with self._lock:
            image = self._images.pop(stamp, None)
            if image is not None:
                self._newest = image, hands

    def _on_stats(self, stats: TrackerStats) -> None:
        self._track_ms = stats.find_ms + stats.inference_ms + stats.postprocess_ms

    def configure(self, config: TrackerConfig) -> None:
        """Set changed parameters; the node refuses unusable ones."""
        changed = [f for f in PARAMETERS if getattr(config, f) != getattr(self.config, f)]
        self.config = config
        self._client.set_parameters(
            [Parameter(PARAMETERS[name], value=getattr(config, name)) for name in changed]
        )

    def step(self) -> Shown | None:
        """Return the newest image with its hands, None while there is no new one."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        image, message = newest
        try:
            camera = self._input.camera_for(image, self._info, 'undistort')
            depth_mm, intrinsics = camera.depth_from(image), camera.intrinsics
        except BadInputError as error:
            self._failure = str(error)
            return None
        self.index += 1
        hands = tuple(
            NodeHand(**vars(hand), joints_uvd=intrinsics.xyz_to_uvd(hand.joints_xyz))
            for hand in received_hands(message)
        )
        now_s, taken_s = time.time(), stamp_seconds(image.header.stamp)
        taken_s = taken_s if abs(now_s - taken_s) < MAX_AGE_S else now_s
        return Shown(depth_mm, intrinsics, hands, self._track_ms, self.index, taken_s)

    def show(self, index: int) -> Shown:
        """Return None: a running node has no past images."""
        raise ValueError('a running node cannot go back')

    def close(self) -> None:
        """End the subscriptions."""
        rclpy.shutdown(context=self._context)
        self._thread.join(5)
        self._node.destroy_node()


def _named(value: Any) -> Any:
    from rcl_interfaces.msg import Parameter as ParameterMessage

    return ParameterMessage(name='', value=value)
