"""Real rclpy over real DDS, in a domain of this test session only."""

import fcntl
import os
import random
import tempfile
import time
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from fakes import Camera, FakeTracker

from awr_ros.msg import HandArray
from awr_ros.ros.node import TrackerNode
from awr_ros.ros.spin import make_executor

PATIENCE_S = 20.0  # nothing takes so long unless it is broken


@pytest.fixture(scope='session', autouse=True)
def domain():
    """A ROS domain that no other test session on this machine uses (a held lock file says so)."""
    ids = list(range(1, 100))
    random.shuffle(ids)
    for domain_id in ids:
        lock = open(Path(tempfile.gettempdir()) / f'awr_ros_domain_{domain_id}.lock', 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        os.environ['ROS_DOMAIN_ID'] = str(domain_id)
        rclpy.init()
        yield domain_id
        rclpy.shutdown()
        lock.close()
        return
    raise RuntimeError('no free ROS domain')


class Bench:
    """Nodes that are spun by the test's own thread, and only while it waits for something."""

    def __init__(self):
        self.executor = make_executor()  # what the nodes run on
        self.nodes = []
        self.client = self.add(rclpy.create_node('client'))

    def add(self, node):
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def until(self, condition, what, seconds=PATIENCE_S):
        """Spin until condition() is true; its value. Fails with `what`, a text or a function that
        returns one, after some seconds.
        """
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() >= end:
                text = what() if callable(what) else what
                pytest.fail(f'waited {seconds} s in vain for {text}')
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def spin(self, seconds):
        """For what must NOT happen: spin for some time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def listen(self, message_type, topic, qos=10):
        """The list that messages of a topic are appended to."""
        heard = []
        self.client.create_subscription(message_type, topic, heard.append, qos)
        return heard

    def call(self, service_type, name, request):
        client = self.client.create_client(service_type, name)
        self.until(client.service_is_ready, f'the service {name}')
        future = client.call_async(request)
        self.until(future.done, f'the answer of {name}')
        return future.result()

    def close(self):
        for node in self.nodes:
            node.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def tracker():
    return FakeTracker()


@pytest.fixture
def node(bench, tracker):
    """An active tracker node around the fake tracker."""
    node = bench.add(TrackerNode(tracker_factory=lambda values: tracker))
    node.autostart()
    return node


@pytest.fixture
def camera(bench, node):
    """A connected camera that has already told its intrinsics."""
    camera = Camera(bench.client)
    bench.until(camera.connected, 'the node to find the camera')
    camera.info()
    bench.until(lambda: node._info, 'camera_info')
    return camera


@pytest.fixture
def hands(bench, node):
    heard = bench.listen(HandArray, 'tracker/hands')
    bench.until(
        lambda: node._outputs.hands_pub.get_subscription_count(), 'the hands to have a listener'
    )
    return heard


class Diagnostics:
    """The newest status of each name."""

    def __init__(self, bench):
        self._bench, self._heard = bench, bench.listen(DiagnosticArray, '/diagnostics')

    def until(self, text, name, level):
        """Wait until the status `name` of the tracker says `text` at this level."""

        def said():
            return any(
                s.name == f'tracker: {name}' and text in s.message and s.level == level
                for message in self._heard
                for s in message.status
            )

        self._bench.until(
            said,
            lambda: (
                f'diagnostics "{text}"; the last ones were '
                f'{[s.message for m in self._heard[-1:] for s in m.status]}'
            ),
        )
        self._heard.clear()


@pytest.fixture
def diagnostics(bench, monkeypatch):
    """Without the patience that a start-up needs."""
    monkeypatch.setattr('awr_ros.ros.diagnostics.START_UP_S', 2.0)
    monkeypatch.setattr('awr_ros.ros.diagnostics.INFO_START_UP_S', 0.5)
    return Diagnostics(bench)
