"""Synthetic camera node: rendered depth images of moving hands, and their true joints."""

import itertools
import os
import queue
import sys
import threading
from typing import Any

import cv2
import torch
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

try:
    from cv_bridge import CvBridge
except ImportError:  # ROS from wheels
    from awr_ros.ros.compat import CvBridge

from awr_ros.msg import HandArray
from awr_ros.ros import parameters
from awr_ros.ros.conversions import info_from_intrinsics, true_hand_array
from awr_ros.ros.spin import run
from awr_ros.settings import AT_START, Setting
from awr_ros.synthetic.camera import DEFAULT_INTRINSICS, FRAME_ID, SyntheticCamera

TABLE = (
    Setting('rate', 30.0, 'images per second', AT_START, unit='Hz', range=(1.0, 120.0)),
    Setting('num_hands', 1, 'hands in view', AT_START, range=(1, 2)),
    Setting('seed', 0, 'the same seed gives the same movement', AT_START, range=(0, 2**31)),
    Setting(
        'repeat',
        0.0,
        'length of the rendered movement; it is shown backwards and forwards, which leaves the '
        'CPU to the '
        'tracker; 0: always render',
        AT_START,
        unit='s',
        range=(0.0, 60.0),
    ),
    Setting('best_effort', False, 'publish as best effort, as some camera drivers do', AT_START),
)
# images rendered ahead, so that one that takes longer than a period delays no other
AHEAD = 30
# Making the skin of the hand takes seconds, and must be interruptible.
JOIN_S = 1.0


class SyntheticCameraNode(Node):
    """Publish depth/image (16UC1), depth/camera_info and ~/truth with one stamp, the time of
    publication.
    """

    def __init__(self, **node_options: Any) -> None:
        self._renderer = None  # set first: rclpy also destroys a node with refused parameters
        super().__init__('synthetic_camera', **node_options)
        parameters.declare(self, TABLE)
        rate, num_hands, seed, repeat, best_effort = (
            self.get_parameter(parameter.name).value for parameter in TABLE
        )

        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        qos = QoSProfile(depth=5, reliability=reliability)
        self._image_pub = self.create_publisher(Image, 'depth/image', qos)
        self._info_pub = self.create_publisher(CameraInfo, 'depth/camera_info', qos)
        self._truth_pub = self.create_publisher(HandArray, '~/truth', 10)

        self._bridge = CvBridge()
        self._rendered: queue.Queue = queue.Queue(maxsize=AHEAD)
        self._stop, self._started = threading.Event(), False
        self._renderer = threading.Thread(
            target=self._render, args=(rate, num_hands, seed, repeat), daemon=True
        )
        self._renderer.start()
        self.create_timer(1.0 / rate, self._publish)
        parameters.warn_of_unknown(self)
        self.get_logger().info(
            f'{num_hands} hand(s) at {rate:g} Hz on {self._image_pub.topic_name}'
        )

    def _render(self, rate, num_hands, seed, repeat_s):
        # One thread suffices for 30 Hz, and two would compete with the tracker for the cores.
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        camera = SyntheticCamera(DEFAULT_INTRINSICS, num_hands=num_hands, seed=seed)
        for count, messages in enumerate(self._shown(camera, rate, repeat_s)):
            if count == AHEAD and sys.platform == 'linux':
                # Rendered ahead from here on, so it can yield to whoever works on the images; on
                # Linux niceness is a
                # thread's own. Before, everybody waits for the first image.
                thread = os.PRIO_PROCESS, threading.get_native_id()
                # only root may lower the niceness
                os.setpriority(*thread, max(10, os.getpriority(*thread)))
            while not self._stop.is_set():
                try:
                    self._rendered.put(messages, timeout=0.2)
                    break
                except queue.Full:
                    pass

    def _shown(self, camera, rate, repeat_s):
        """Yield the messages of each image in the order of publication, without header, until the
        node stops.
        """

        def messages(index):
            depth_mm, true_hands = camera.frame(index / rate)
            return (
                self._bridge.cv2_to_imgmsg(depth_mm, '16UC1'),
                info_from_intrinsics(DEFAULT_INTRINSICS, Header()),
                true_hand_array(true_hands, Header()),
            )

        if not repeat_s:
            for index in itertools.count():
                if self._stop.is_set():
                    return
                yield messages(index)
        some = []
        for index in range(max(2, round(repeat_s * rate))):
            if self._stop.is_set():
                return
            some.append(messages(index))
        # forwards and backwards: no jump at either end
        for index in itertools.cycle([*range(len(some)), *range(len(some) - 2, 0, -1)]):
            if self._stop.is_set():
                return
            yield some[index]

    def _publish(self):
        if not self._renderer.is_alive():
            raise RuntimeError('rendering has ended, the reason stands above')
        if not self._started:
            self._started = self._rendered.full()
            return
        try:
            image, info, truth = self._rendered.get_nowait()
        except queue.Empty:
            self.get_logger().warning(
                'rendering does not keep up with the rate: an image is late',
                throttle_duration_sec=5.0,
            )
            return
        header = Header(frame_id=FRAME_ID, stamp=self.get_clock().now().to_msg())
        image.header = info.header = truth.header = header
        self._image_pub.publish(image)  # first: subscribers do not wait for the others
        self._info_pub.publish(info)
        self._truth_pub.publish(truth)

    def destroy_node(self) -> None:
        """Stop rendering and destroy the node."""
        if self._renderer is not None:
            self._stop.set()
            self._renderer.join(JOIN_S)
        super().destroy_node()


def main() -> int:
    """Run the node."""
    return run(
        SyntheticCameraNode,
        parameters.usage(
            'synthetic_camera',
            'Publishes rendered depth/image and depth/camera_info of '
            'moving hands, and their true joints on ~/truth.',
            TABLE,
        ),
    )


if __name__ == '__main__':
    sys.exit(main())
