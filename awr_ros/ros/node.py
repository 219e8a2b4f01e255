"""The tracker node: depth images in, hands out. It only connects functions of other modules.

A lifecycle node. configure loads the network (and fails with the path and the reason), activate
subscribes and starts the worker, deactivate frees the network. Callbacks only put the newest image
into the worker's slot.
"""

import math
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy import get_rmw_implementation_identifier
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from awr_ros.msg import TrackerStats
from awr_ros.ros import conversions, parameters, reach
from awr_ros.ros.adaptive_subscription import STEADY
from awr_ros.ros.camera_input import CameraInput, NoCameraInfo
from awr_ros.ros.conversions import BadInputError
from awr_ros.ros.diagnostics import SILENCE_S, Health, Situation
from awr_ros.ros.endpoints import PublisherEventCallbacks, unserved_subscribers
from awr_ros.ros.external_candidates import ExternalCandidates
from awr_ros.ros.middleware import lost_images_advice
from awr_ros.ros.outputs import Outputs
from awr_ros.ros.spin import return_free_memory, run, spare_garbage_collector
from awr_ros.ros.worker import NewestWorker
from awr_ros.stamps import JUMPED_BACK, LATE, StampOrder

REPEAT_S = 10.0  # least interval between repeated log messages
LOADING_S = 5.0  # [s] of loading without a word
TRACEBACK = 10  # innermost calls of an error that are logged
# Gives each output the parameters qos_overrides./tracker/hands.publisher.reliability and so on.
OVERRIDABLE = QoSOverridingOptions(
    [
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    ]
)
LAST_TIME_NS = 2**31 * 10**9 - 1  # [ns] last time that a message can represent


@dataclass(frozen=True)
class Frame:
    """One depth image on its way to the worker."""

    image: Image | CompressedImage
    received: int  # number of images received, including this one
    arrived_s: float  # monotonic clock
    age_s: float  # arrival minus stamp; NaN when either is unknown


def load_tracker(values: parameters.Parameters, engines: Any = None) -> Any:
    """Make the tracker that the parameters describe.

    engines: SharedEngines to take the engine from; None: load one of its own.
    """
    import cv2  # imported here because tests give the node another tracker

    from awr_ros.estimator import HandPoseEstimator
    from awr_ros.runtime.select import load_engine
    from awr_ros.tracker import HandTracker

    # OpenCV's work takes less than a millisecond: a second thread is only overhead
    cv2.setNumThreads(1)
    load = load_engine if engines is None else engines.load
    engine = load(values.weights or None, values.engine, values.device, values.num_threads or None)
    return HandTracker(HandPoseEstimator(engine), values.tracker_config())


class TrackerNode(LifecycleNode):
    """The tracker node, see the module.

    tracker_factory(Parameters) returns an object with the interface of awr_ros.tracker.HandTracker;
    others_parameters: names of parameters that are for another node of the process and are ignored.
    """

    def __init__(
        self,
        tracker_factory: Callable = load_tracker,
        others_parameters: Sequence[str] = (),
        **node_options: Any,
    ) -> None:
        super().__init__('tracker', **node_options)
        self._tracker_factory = tracker_factory
        self._state, self._failure, self._enabled = 'unconfigured', '', True
        self._tracker = self._worker = None
        self._engine = 'not loaded'
        self._input = self._external = None  # while listening
        parameters.declare(self)
        # the latter: last values given to the tracker
        self._values, self._values_taken = parameters.read(self), None
        self.add_on_set_parameters_callback(self._on_parameters)
        self._reset_wanted = threading.Event()

        # last value of the ROS clock, and when it last changed
        self._clock_ns, self._clock_moved_s = 0, time.monotonic()
        self._unserved: set = set()  # publishers with a subscriber of incompatible QoS
        self._outputs = Outputs(self, self._publisher)
        self._forget()
        self._diagnostics_pub = self._publisher(DiagnosticArray, '/diagnostics')
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/reset', self._on_reset)
        # on the steady clock: simulated time may stand still, which is reported too
        self._report_timer = self.create_timer(1.0, self._report, clock=STEADY)
        parameters.warn_of_unknown(self, others_parameters)

    def _publisher(self, message_type, topic, depth=10):
        """Create a publisher that records QoS-incompatible subscribers."""
        events = PublisherEventCallbacks(incompatible_qos=lambda _: self._unserved.add(publisher))
        publisher = self.create_publisher(
            message_type, topic, depth, event_callbacks=events, qos_overriding_options=OVERRIDABLE
        )
        return publisher

    # ---- lifecycle

    def autostart(self) -> None:
        """Configure and activate, unless the parameter autostart is false. A failure is logged and
        stays in /diagnostics.
        """
        if self._values.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, _state: Any) -> TransitionCallbackReturn:
        """Load the network."""
        if not self._load():
            return TransitionCallbackReturn.FAILURE
        self._state = 'inactive'
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, _state: Any) -> TransitionCallbackReturn:
        """Subscribe and start the worker; load the network if it was freed."""
        if self._tracker is None and not self._load():
            return TransitionCallbackReturn.FAILURE
        self._state = 'active'
        if self._enabled:
            self._listen()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, _state: Any) -> TransitionCallbackReturn:
        """Unsubscribe and free the network."""
        return self._free('inactive')

    def on_cleanup(self, _state: Any) -> TransitionCallbackReturn:
        """Free everything."""
        return self._free('unconfigured')

    def on_shutdown(self, _state: Any) -> TransitionCallbackReturn:
        """Free everything."""
        return self._free('finalized')

    def on_error(self, _state: Any) -> TransitionCallbackReturn:
        """Free everything."""
        return self._free('unconfigured')

    def destroy_node(self) -> None:
        """Free everything and destroy the node."""
        self._free('destroyed')
        super().destroy_node()

    def _load(self):
        """Load the network; on failure log the reason, keep it for /diagnostics and return
        False.
        """
        patience = threading.Timer(
            LOADING_S,
            lambda: self.get_logger().info(
                'still loading: a first start converts the network and measures the engines'
            ),
        )
        patience.daemon = True
        patience.start()
        try:
            self._tracker = self._tracker_factory(self._values)
        except Exception as error:  # any: rclpy would swallow it together with the reason
            # these have messages for users
            named = isinstance(error, (OSError, ValueError, RuntimeError, ImportError))
            self._failure = str(error) if named else f'{type(error).__name__}: {error}'
            self.get_logger().error(f'cannot load the tracker: {self._failure}')
            return False
        finally:
            patience.cancel()
        self._failure, self._engine, self._values_taken = '', self._tracker.description, None
        spare_garbage_collector()
        # Loading takes longer than the timer's period, and the EventsExecutor calls an overdue
        # timer once for every timer that is added: several reports at once, then none for seconds.
        self._report_timer.reset()
        return True

    def _free(self, state):
        self._stop_listening()
        self._tracker, self._engine, self._state = None, 'not loaded', state
        torch = sys.modules.get('torch')
        if torch and torch.cuda.is_initialized():  # torch keeps freed memory otherwise
            torch.cuda.empty_cache()
        return_free_memory()
        return TransitionCallbackReturn.SUCCESS

    def _listen(self):
        """Subscribe and start the worker, without any state of camera and hands."""
        self._forget()
        self._tracker.reset()
        self._worker = NewestWorker(self._process, name='tracker')
        self._input = CameraInput(
            self,
            self._values.image_transport,
            self._on_image,
            self._on_info,
            self._health.input_started_anew,
            self._on_bad_info,
        )
        self._external = ExternalCandidates(self)
        self.get_logger().info(f'tracking hands on {self._input.topic} with {self._engine}')

    def _stop_listening(self):
        """Stop the worker, unsubscribe and delete the hands in viewers. Does nothing the second
        time.
        """
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            self._outputs.stop()
        for part in filter(None, (self._input, self._external)):
            part.destroy()
        self._input = self._external = None

    def _forget(self):
        self._info = None
        self._order = StampOrder()
        self._health = Health(time.monotonic())
        self._outputs.start(self._values.marker_lifetime)
        self._reset_wanted.clear()

    # ---- callbacks: short, without computation

    def _on_image(self, image):
        worker, arrived_s = self._worker, time.monotonic()
        if worker is None:  # it arrived while unsubscribing
            return
        stamp_s = conversions.stamp_seconds(image.header.stamp)
        now_s = self.get_clock().now().nanoseconds * 1e-9  # 0: simulated time, but no /clock yet
        age_s = now_s - stamp_s if stamp_s and now_s else math.nan
        self._health.image_received(stamp_s, arrived_s, age_s)
        worker.put(Frame(image, self._health.counts.received, arrived_s, age_s))

    def _on_info(self, info):
        self._info = info
        self._health.info_received(time.monotonic())

    def _on_bad_info(self, reason):
        self._health.info_refused(reason, time.monotonic())

    def _on_enable(self, request, response):
        was, self._enabled = self._enabled, request.data
        if self._state == 'active' and was and not self._enabled:
            self._stop_listening()
        elif self._state == 'active' and not was and self._enabled:
            self._listen()
        response.success, response.message = True, 'enabled' if self._enabled else 'disabled'
        return response

    def _on_reset(self, _request, response):
        self._reset_wanted.set()
        response.success, response.message = True, 'all hands are forgotten with the next image'
        return response

    def _on_parameters(self, changes):
        frozen = [
            change.name
            for change in changes
            if change.name in parameters.BY_NAME
            and parameters.BY_NAME[change.name].change == parameters.WHEN_INACTIVE
        ]
        if frozen and self._state == 'active':
            return SetParametersResult(
                successful=False, reason=f'{frozen[0]} can only be set while not active'
            )
        try:
            values = parameters.read(self, changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values = values  # applied at the next image
        if frozen:
            self._tracker = None  # activate loads it again
        return SetParametersResult(successful=True)

    def _report(self):
        now = time.monotonic()
        situation = Situation(
            state=self._state,
            failure=self._failure,
            enabled=self._enabled,
            engine=self._engine,
            hardware=self.resolve_topic_name('depth/image'),
            clock=self._clock_note(now),
            unserved=tuple(
                text
                for publisher in tuple(self._unserved)
                for text in unserved_subscribers(self, publisher)
            ),
        )
        if self._input is not None:
            camera, frame = self._input.camera, self._input.image_frame
            situation = replace(
                situation,
                sources=self._input.sources(),
                camera_notes=self._input.notes,
                lost_advice=lost_images_advice(get_rmw_implementation_identifier()),
                lens=camera.lens if camera else 'unknown',
            )
            if self._values.finder == 'external' and frame is not None:
                situation = replace(situation, waiting=self._external.note(frame, now))
        name = self.get_fully_qualified_name().lstrip('/')
        message = DiagnosticArray(status=self._health.report(name, situation, now))
        troubles = [
            status.message for status in message.status if status.level != DiagnosticStatus.OK
        ]
        if troubles and self._input:  # for users who only watch the terminal
            self.get_logger().warning('; '.join(troubles), throttle_duration_sec=REPEAT_S)
        elif self._input and self._health.waiting:
            self.get_logger().info(self._health.waiting, throttle_duration_sec=REPEAT_S)
        message.header.stamp = Time(
            nanoseconds=min(self.get_clock().now().nanoseconds, LAST_TIME_NS)
        ).to_msg()
        self._diagnostics_pub.publish(message)

    def _clock_note(self, now):
        """Return what is wrong with simulated time, or ''."""
        clock_ns = self.get_clock().now().nanoseconds
        if clock_ns != self._clock_ns:
            self._clock_ns, self._clock_moved_s = clock_ns, now
        silence_s = now - self._clock_moved_s
        if not self.get_clock().ros_time_is_active or silence_s <= SILENCE_S:
            return ''
        publishers = self.count_publishers('/clock')
        who = f'{publishers} publish it' if publishers else 'nobody publishes it'
        what = f'time has stood still for {silence_s:.0f} s' if clock_ns else 'no time has come'
        return (
            f'use_sim_time is true, but {what} on /clock: {who}; set use_sim_time to false unless '
            f'a simulation or a bag runs'
        )

    # ---- the worker's thread

    def _process(self, frame, dropped):
        try:
            self._track(frame, dropped)
        except NoCameraInfo:
            pass  # normal for the first images of a camera; Health reports it when it persists
        except BadInputError as error:
            self._health.refused(str(error), time.monotonic())
        except Exception as error:  # one bad image must not stop the node
            self._health.refused(f'{type(error).__name__}: {error}', time.monotonic())
            self.get_logger().error(
                f'tracking failed: {traceback.format_exc(limit=-TRACEBACK)}',
                throttle_duration_sec=REPEAT_S,
            )

    def _track(self, frame, dropped):
        start_s = time.monotonic()
        header = frame.image.header
        camera = self._input.camera_for(
            frame.image, self._info, self._values.distortion, self._values.depth_scale
        )
        intrinsics, depth_mm = camera.intrinsics, camera.depth_from(frame.image)
        decoded_s = time.monotonic()
        time_s = self._time_s(frame)
        order = self._order.add(time_s)
        if order == LATE:
            self._health.late(self._order.behind_s, decoded_s)
            return
        if order == JUMPED_BACK:
            self._health.jumped_back(self._order.behind_s, decoded_s)
            self.get_logger().info(
                f'stamps went back by {self._order.behind_s:.3f} s: all hands are forgotten',
                throttle_duration_sec=REPEAT_S,
            )
            self._reset_wanted.set()
        self._prepare_tracker()
        centres_xyz = ()
        if self._values.finder == 'external':
            centres_xyz = self._external.centres(header.frame_id, depth_mm, intrinsics, decoded_s)
        hands = self._tracker.update(depth_mm, intrinsics, time_s, centres_xyz)
        message = self._outputs.publish_hands(hands, header, intrinsics.width, intrinsics.height)
        done_s = time.monotonic()
        if not hands:  # scanning the pixels takes time: only for images without hands
            self._note_depth(depth_mm, done_s)
        self._health.processed(
            len(hands), dropped, (done_s - start_s) * 1e3, (done_s - frame.arrived_s) * 1e3, done_s
        )
        if self._outputs.stats_pub.get_subscription_count():
            self._publish_stats(frame, dropped, start_s, decoded_s, done_s)
        self._outputs.publish_others(hands, message, depth_mm, time_s, self._values)

    def _publish_stats(self, frame, dropped, start_s, decoded_s, done_s):
        """Publish durations and counts of an image. The times are of the monotonic clock [s]."""
        timings = self._tracker.timings
        self._outputs.stats_pub.publish(
            TrackerStats(
                header=frame.image.header,
                input_age_ms=frame.age_s * 1e3,
                decode_ms=(decoded_s - start_s) * 1e3,
                find_ms=float(timings.find_ms),
                inference_ms=float(timings.inference_ms),
                postprocess_ms=float(timings.postprocess_ms),
                latency_ms=(done_s - frame.arrived_s) * 1e3,
                frames_received=frame.received,
                frames_processed=self._health.counts.tracked,
                frames_dropped=dropped + self._health.counts.late,
            )
        )

    def _note_depth(self, depth_mm, now):
        """Note a possible reason in the depth of an image without hands."""
        if not depth_mm.any():
            self._health.noted('the image has no valid depth: all 0, NaN or Inf', now)
        elif self._health.without_hand_s(now) > SILENCE_S:
            config = self._tracker.config
            note = reach.note(
                depth_mm, config.min_depth_mm, config.max_depth_mm, self._values.depth_scale
            )
            if note:
                self._health.noted(note, now, kind='reach')

    def _time_s(self, frame):
        """Return the time of a frame for the tracker [s]: its stamp, or its arrival without one."""
        stamp_s = conversions.stamp_seconds(frame.image.header.stamp)
        if stamp_s == 0:
            self._health.noted(
                'the image stamp is 0: its time of arrival is used for tracking, the stamp is '
                'passed on',
                frame.arrived_s,
            )
            return frame.arrived_s
        return stamp_s

    def _prepare_tracker(self):
        """Apply new parameters, and reset if requested or if time jumped back (a bag's loop)."""
        values = self._values
        if values is not self._values_taken:
            self._tracker.config, self._values_taken = values.tracker_config(), values
            return_free_memory()  # of a replaced finder or filters
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._tracker.reset()
            self._outputs.derived.reset()


def main() -> int:
    """Run the node."""

    def start():
        node = TrackerNode()
        node.autostart()
        return node

    return run(
        start,
        parameters.usage(
            'tracker', 'Tracks hands on depth/image with depth/camera_info and publishes ~/hands.'
        ),
        keep_going=True,
    )


if __name__ == '__main__':
    sys.exit(main())
