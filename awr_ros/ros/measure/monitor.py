"""Participant that records what camera and tracker publish."""

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recording:
    """Messages received by the monitor, by stamp [ns]."""

    truth: dict = field(default_factory=dict)  # HandArray
    hands: dict = field(default_factory=dict)  # (HandArray, time of arrival [ns])
    stats: dict = field(default_factory=dict)  # TrackerStats
    images: dict = field(default_factory=dict)  # Image


def nanoseconds(header: Any) -> int:
    """Return the stamp of a std_msgs/Header [ns]."""
    return header.stamp.sec * 10**9 + header.stamp.nanosec


class Monitor:
    """Third participant: records truth, hands and stats.

    Hands and truth are kept serialised until read() or read_hands(). Deserialising them on arrival
    takes 0.5 ms per hand while the tracker works, and the objects of a minute make Python's
    garbage collector pause for 0.1 to 0.3 s, in which hands arrive late.
    """

    def __init__(self):
        import rclpy

        from awr_ros.msg import HandArray, TrackerStats
        from awr_ros.ros.spin import make_executor

        rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        self.recording = Recording()
        self.node = rclpy.create_node('demo_monitor')
        self._executor = make_executor()
        self._executor.add_node(self.node)
        record = self.recording
        self.truths: list[bytes] = []
        self._hands: list[tuple[bytes, int]] = []  # with the time of arrival [ns]
        self._subscribe(HandArray, 'synthetic_camera/truth', self.truths.append, raw=True)
        self._subscribe(
            HandArray,
            'tracker/hands',
            lambda data: self._hands.append((data, time.time_ns())),
            raw=True,
        )
        self._subscribe(
            TrackerStats, 'tracker/stats', lambda m: record.stats.update({nanoseconds(m.header): m})
        )

    def _subscribe(self, message_type, topic, callback, raw=False):
        self.node.create_subscription(message_type, topic, callback, 100, raw=raw)

    def read(self) -> None:
        """Deserialise the hands and the truth that were received since the last call."""
        self.read_hands()
        while self.truths:
            message = _hand_array(self.truths.pop())
            self.recording.truth[nanoseconds(message.header)] = message

    def read_hands(self) -> None:
        """Deserialise the hands that were received since the last call."""
        while self._hands:
            data, arrival = self._hands.pop()
            message = _hand_array(data)
            self.recording.hands[nanoseconds(message.header)] = message, arrival

    def spin_until(
        self,
        done: Callable,
        seconds: float,
        processes: Mapping[str, subprocess.Popen],
        progress: Callable = lambda left_s: None,
    ) -> bool:
        """Spin until done() or the end of the time; return done(). The end of a process is an
        error.
        """
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise SystemExit(f'the {name} ended with status {process.returncode}')
            progress(left)
            self._executor.spin_once(timeout_sec=min(left, 0.1))
        return done()

    def close(self) -> None:
        """Destroy node and context."""
        import rclpy

        self.node.destroy_node()
        rclpy.try_shutdown()


def _hand_array(data):
    """Deserialise a HandArray."""
    from rclpy.serialization import deserialize_message

    from awr_ros.msg import HandArray

    return deserialize_message(data, HandArray)
