"""Several cameras in one process: each as if it were alone, whatever becomes of the others."""

import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import Camera, FakeTracker, hand
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import Parameter

from awr_ros.msg import HandArray, TrackerStats
from awr_ros.ros.node import load_tracker
from awr_ros.ros.spin import CONFIGURATION_REFUSED, REFUSALS
from awr_ros.ros.trackers import make_trackers
from awr_ros.runtime.shared_engine import SharedEngines

SIDES = ('left', 'right')
CAMERAS = Parameter('cameras', value=list(SIDES))


class Rig:
    """Two cameras and their trackers around fake ones, all on the test's executor."""

    def __init__(self, bench):
        self.bench = bench
        self.trackers = {side: FakeTracker([hand(id=side)]) for side in SIDES}
        waiting = list(SIDES)
        self.list, *nodes = make_trackers(
            lambda values: self.trackers[waiting.pop(0)], parameter_overrides=[CAMERAS]
        )
        self.nodes = dict(zip(SIDES, nodes))
        self.drivers, self.cameras, self.hands = {}, {}, {}
        for node in (self.list, *nodes):
            bench.add(node)
        for side, node in self.nodes.items():
            node.autostart()
            self.start_driver(side)
            self.hands[side] = bench.listen(HandArray, f'{side}/tracker/hands')
            bench.until(
                lambda node=node: node._outputs.hands_pub.get_subscription_count(),
                'the hands to have a listener',
            )

    def start_driver(self, side):
        driver = self.drivers[side] = self.bench.add(rclpy.create_node('driver', namespace=side))
        camera = self.cameras[side] = Camera(driver)
        self.bench.until(camera.connected, 'the tracker to find its camera')
        camera.info()
        self.bench.until(lambda: self.nodes[side]._info, 'camera_info')

    def track(self, side, **changes):
        """Send an image and wait for its hands."""
        count = len(self.hands[side])
        sent = self.cameras[side].image(**changes)
        self.bench.until(lambda: len(self.hands[side]) > count, f'hands of the {side} camera')
        assert self.hands[side][-1].header == sent.header
        return self.hands[side][-1]


@pytest.fixture
def rig(bench):
    return Rig(bench)


def test_each_camera_has_hands_of_its_own_below_its_namespace(rig, bench):
    for side in SIDES:
        assert [found.id for found in rig.track(side).hands] == [side]
    assert [len(rig.hands[side]) for side in SIDES] == [1, 1]
    assert [len(rig.trackers[side].calls) for side in SIDES] == [1, 1]
    assert bench.call(
        GetParameters, 'trackers/get_parameters', GetParameters.Request(names=['cameras'])
    ).values[0].string_array_value == list(SIDES)


def test_a_tracker_that_hangs_holds_up_nobody(rig):
    rig.trackers['left'].gate.clear()
    rig.cameras['left'].image()
    rig.bench.until(lambda: rig.trackers['left'].calls, 'the left image to be taken')
    for _ in range(3):
        rig.track('right')
    rig.trackers['left'].gate.set()
    rig.bench.until(lambda: rig.hands['left'], 'the left hands')


def test_bad_images_of_one_camera_are_its_own_affair(rig):
    heard = rig.bench.listen(DiagnosticArray, '/diagnostics')
    rig.cameras['left'].image(encoding='rgb8')
    rig.trackers['left'].failure = RuntimeError('of this camera')
    rig.cameras['left'].image()
    for _ in range(3):
        rig.track('right')

    def status(side):
        return [
            ({value.key: value.value for value in s.values}, s)
            for message in heard
            for s in message.status
            if s.name == f'{side}/tracker: input'
        ]

    rig.bench.until(
        lambda: any(
            'of this camera' in s.message and s.level == DiagnosticStatus.ERROR
            for _, s in status('left')
        ),
        'the left diagnostics',
    )
    rig.bench.until(
        lambda: any(values['images received'] == '3' for values, _ in status('right')),
        'the right diagnostics',
    )
    assert all(values['images refused'] == '0' for values, _ in status('right'))


def test_a_camera_that_dies_stops_nobody_and_may_come_back(rig):
    rig.track('left')
    rig.bench.executor.remove_node(rig.drivers['left'])
    rig.bench.nodes.remove(rig.drivers['left'])
    rig.drivers['left'].destroy_node()
    for _ in range(3):
        rig.track('right')
    rig.start_driver('left')
    rig.track('left')


def test_each_tracker_has_a_lifecycle_and_parameters_of_its_own(rig, bench):
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert bench.call(ChangeState, 'left/tracker/change_state', request).success
    assert rig.nodes['left']._tracker is None and rig.nodes['right']._tracker is not None
    rig.track('right')
    assert rig.nodes['left'].set_parameters([Parameter('max_hands', value=4)])[0].successful
    assert [rig.nodes[side]._values.max_hands for side in SIDES] == [4, 2]


def test_engines_are_shared_and_freed_with_the_last_tracker(bench):
    shared = SharedEngines()
    options = [
        CAMERAS,
        Parameter('engine', value='torch'),
        Parameter('device', value='cpu'),
        Parameter('num_threads', value=1),
    ]
    _, left, right = nodes = make_trackers(
        lambda values: load_tracker(values, shared), parameter_overrides=options
    )
    for node in nodes:
        bench.add(node)
    left.autostart()
    right.autostart()
    engine = left._tracker.estimator.engine
    assert engine is right._tracker.estimator.engine and 'shared by the cameras' in left._engine
    gone = weakref.ref(engine)
    del engine
    left.trigger_deactivate()
    gc.collect()
    assert gone() is not None and right._tracker.estimator.engine is gone()
    right.trigger_deactivate()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    'value, words',
    [
        (None, 'parameter cameras is missing: expected the namespaces of the cameras, such as'),
        ('left', "parameter cameras is 'left', expected the namespaces"),
        ([], r'parameter cameras is \[\], expected'),
        (['left', '/left'], 'each camera needs a namespace of its own'),
        (['left', 'on the left'], 'on the left'),
        (['left', ''], 'expected the namespaces'),
    ],
)
def test_what_is_no_list_of_cameras_is_named(value, words):
    overrides = (
        []
        if value is None
        else [
            Parameter('cameras', Parameter.Type.STRING_ARRAY, value)
            if value == []
            else Parameter('cameras', value=value)
        ]
    )
    with pytest.raises(Exception, match=words) as refused:
        make_trackers(lambda values: FakeTracker(), parameter_overrides=overrides)
    assert isinstance(refused.value, REFUSALS)


def test_renamed_nodes_that_would_be_one_are_refused(domain):
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'awr_ros.ros.trackers',
            '--ros-args',
            '-r',
            '__ns:=/robot',
            '-p',
            'cameras:=[left, right]',
            '-p',
            'autostart:=false',
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == CONFIGURATION_REFUSED
    assert (
        'the trackers of several cameras are all /robot/tracker: do not set __ns or __node'
        in done.stderr
    )


@pytest.fixture
def processes(domain):
    started = []

    def start(module, *arguments):
        started.append(
            subprocess.Popen(
                [sys.executable, '-m', module, '--ros-args', *arguments],
                env=os.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.timeout(180)
def test_two_cameras_by_one_real_process(bench, processes, tmp_path):
    parameters = tmp_path / 'trackers.yaml'
    parameters.write_text(
        '/trackers: {ros__parameters: {cameras: [left, right]}}\n'
        '/left/tracker: {ros__parameters: {max_hands: 1, marker_lifetime: 0.25}}\n'
    )
    cameras = {
        side: processes(
            'awr_ros.ros.synthetic_camera',
            '-r',
            f'__ns:=/{side}',
            '-p',
            'rate:=5.0',
            '-p',
            f'seed:={seed}',
            '-p',
            'repeat:=1.0',
        )
        for seed, side in enumerate(SIDES)
    }
    trackers = processes('awr_ros.ros.trackers', '--params-file', str(parameters))
    heard = {side: bench.listen(HandArray, f'{side}/tracker/hands') for side in SIDES}
    stats = {side: bench.listen(TrackerStats, f'{side}/tracker/stats') for side in SIDES}

    def more_hands(side):
        heard[side].clear()
        bench.until(
            lambda: sum(bool(message.hands) for message in heard[side]) >= 5,
            f'hands of the {side} camera',
            60,
        )
        assert all(message.header.frame_id for message in heard[side])

    for side in SIDES:
        more_hands(side)
        assert stats[side][-1].latency_ms > stats[side][-1].inference_ms > 0
    for side, lifetime in zip(SIDES, (0.25, 0.5)):
        answer = bench.call(
            GetParameters,
            f'{side}/tracker/get_parameters',
            GetParameters.Request(names=['marker_lifetime']),
        )
        assert answer.values[0].double_value == lifetime
    cameras['left'].kill()
    cameras['left'].wait()
    bench.spin(0.5)
    heard['left'].clear()
    more_hands('right')
    assert not heard['left']
    trackers.send_signal(signal.SIGTERM)
    output, _ = trackers.communicate(timeout=30)
    assert trackers.returncode == 0, output
    for side in SIDES:
        assert (
            f'tracking hands on /{side}/depth/image with' in output
            and 'shared by the cameras of this process' in output
        )
    assert 'has no effect' not in output and 'Traceback' not in output, output
