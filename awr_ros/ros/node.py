"""The tracker node: depth images in, hands out. Wiring only; every step it calls is a function of another module.

A lifecycle node. configure loads the network (and fails with the path and the reason), activate subscribes and starts
the worker, deactivate frees the network. Callbacks only put the newest image into the worker's slot.
"""
import math
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

try:
    from cv_bridge import CvBridge
except ImportError:             # ROS from wheels
    from awr_ros.ros.stand_ins import CvBridge

from awr_ros.hand_markers import HandMarkers
from awr_ros.msg import HandArray, TrackerStats
from awr_ros.ros import conversions, messages, parameters
from awr_ros.ros.adaptive_subscription import AdaptiveSubscription
from awr_ros.ros.conversions import BadInput
from awr_ros.ros.diagnostics import Health, Situation
from awr_ros.ros.process import run
from awr_ros.ros.worker import NewestWorker

REPEAT_S = 10.0             # what is wrong is logged at most so often


@dataclass(frozen=True)
class Frame:
    """One depth image on its way to the worker."""
    image: Image
    received: int           # images received up to and with this one
    arrived_s: float        # monotonic clock
    age_s: float            # arrival minus stamp; NaN when the stamp is 0


def load_tracker(values: parameters.Parameters):
    """The real tracker, as the parameters say."""
    import cv2              # here, because tests give the node another tracker

    from awr_ros.tracker import HandTracker
    num_threads = values.num_threads or max(1, (os.cpu_count() or 2) - 1)
    cv2.setNumThreads(num_threads)
    return HandTracker.from_pretrained(values.weights or None, device=values.device,
                                       config=values.tracker_config(), num_threads=num_threads)


class TrackerNode(LifecycleNode):
    """See the module. tracker_factory(Parameters) returns what has the interface of awr_ros.tracker.HandTracker."""

    def __init__(self, tracker_factory=load_tracker, **node_options):
        super().__init__('tracker', **node_options)
        self._tracker_factory = tracker_factory
        self._state, self._failure, self._enabled = 'unconfigured', '', True
        self._tracker = self._worker = None
        self._engine = 'not loaded'
        self._inputs, self._bridge = (), CvBridge()
        parameters.declare(self)
        self._values = parameters.read(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._reset_wanted = threading.Event()
        self._forget()

        self._hands_pub = self.create_publisher(HandArray, '~/hands', 10)
        self._markers_pub = self.create_publisher(MarkerArray, '~/markers', 10)
        self._poses_pub = self.create_publisher(PoseArray, '~/poses', 10)
        self._debug_pub = self.create_publisher(Image, '~/debug/image', 1)
        self._stats_pub = self.create_publisher(TrackerStats, '~/stats', 10)
        self._diagnostics_pub = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_timer(1.0, self._report)

    # ---- lifecycle -------------------------------------------------------------------------------------------------

    def autostart(self):
        """Configure and activate, unless the parameter says otherwise. A failure is logged and stays in /diagnostics."""
        if self._values.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, _state):
        if not self._load():
            return TransitionCallbackReturn.FAILURE
        self._state = 'inactive'
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, _state):
        if self._tracker is None and not self._load():
            return TransitionCallbackReturn.FAILURE
        self._state = 'active'
        if self._enabled:
            self._listen()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, _state):
        return self._free('inactive')

    def on_cleanup(self, _state):
        return self._free('unconfigured')

    def on_shutdown(self, _state):
        return self._free('finalized')

    def on_error(self, _state):
        return self._free('unconfigured')

    def destroy_node(self):
        self._free('destroyed')
        super().destroy_node()

    def _load(self):
        """Load the network; False, with the reason in the log and in /diagnostics, when that is not possible."""
        try:
            self._tracker = self._tracker_factory(self._values)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            # rclpy would swallow the exception and with it the reason.
            self._failure = str(error)
            self.get_logger().error(f'cannot load the tracker: {error}')
            return False
        self._failure, self._engine = '', self._tracker.description
        return True

    def _free(self, state):
        self._stop_listening()
        self._tracker, self._engine, self._state = None, 'not loaded', state
        return TransitionCallbackReturn.SUCCESS

    def _listen(self):
        """Subscribe and start the worker, with nothing known about the camera and the hands."""
        self._forget()
        self._tracker.reset()
        self._worker = NewestWorker(self._process, name='tracker')
        images = AdaptiveSubscription(self, Image, 'depth/image')
        infos = AdaptiveSubscription(self, CameraInfo, 'depth/camera_info')
        # Not synchronised: a latched, slow or differently stamped info would never find its image. The last one serves.
        infos.registerCallback(self._on_info)
        images.registerCallback(self._on_image)
        self._inputs = (images, infos)
        self.get_logger().info(f'tracking hands on {self._inputs[0].topic} with {self._engine}')

    def _stop_listening(self):
        """End the work and take the hands out of the viewers. Does nothing the second time."""
        for subscription in self._inputs:
            subscription.destroy()
        self._inputs = ()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            self._markers_pub.publish(self._markers.update(HandArray()))

    def _forget(self):
        self._info, self._camera, self._camera_notes = None, None, ()
        self._last_time_s = -math.inf
        self._health = Health(time.monotonic())
        self._markers = HandMarkers(self._values.marker_lifetime, messages)
        self._reset_wanted.clear()

    # ---- callbacks: short, nothing is computed here ------------------------------------------------------------------

    def _on_image(self, image):
        arrived_s = time.monotonic()
        stamp_s = conversions.stamp_seconds(image.header.stamp)
        self._health.image_received(stamp_s, arrived_s)
        age_s = self.get_clock().now().nanoseconds * 1e-9 - stamp_s if stamp_s else math.nan
        self._worker.put(Frame(image, self._health.counts.received, arrived_s, age_s))

    def _on_info(self, info):
        self._info = info
        self._health.info_received(time.monotonic())

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
        frozen = [change.name for change in changes if change.name in parameters.BY_NAME
                  and parameters.BY_NAME[change.name].change == parameters.WHEN_INACTIVE]
        if frozen and self._state == 'active':
            return SetParametersResult(successful=False, reason=f'{frozen[0]} can only be set while not active')
        try:
            values = parameters.read(self, changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values = values           # taken at the next image
        if frozen:
            self._tracker = None        # loaded anew by activate
        return SetParametersResult(successful=True)

    def _report(self):
        sources = [(subscription.topic, subscription.describe_publishers()) for subscription in self._inputs]
        situation = Situation(state=self._state, failure=self._failure, enabled=self._enabled, engine=self._engine,
                              sources=tuple(sources), camera_notes=self._camera_notes)
        name = self.get_fully_qualified_name().lstrip('/')
        message = DiagnosticArray(status=self._health.report(name, situation, time.monotonic()))
        troubles = [status.message for status in message.status if status.level != DiagnosticStatus.OK]
        if troubles and self._inputs:       # who looks at the terminal only shall know it too
            self.get_logger().warning('; '.join(troubles), throttle_duration_sec=REPEAT_S)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_pub.publish(message)

    # ---- the worker's thread -----------------------------------------------------------------------------------------

    def _process(self, frame, dropped):
        try:
            self._track(frame, dropped)
        except BadInput as error:
            self._health.refused(str(error), time.monotonic())
        except Exception as error:      # whatever one image does to the tracker, the next one gets its chance
            self._health.refused(f'{type(error).__name__}: {error}', time.monotonic())
            self.get_logger().error(f'tracking failed: {traceback.format_exc()}', throttle_duration_sec=REPEAT_S)

    def _track(self, frame, dropped):
        start_s = time.monotonic()
        header = frame.image.header
        intrinsics = self._intrinsics(frame.image)
        depth_mm = conversions.depth_from_image(frame.image)
        decoded_s = time.monotonic()
        if not depth_mm.any():
            self._health.noted('the image has no valid depth: all 0, NaN or Inf', decoded_s)
        time_s = self._time_s(frame)
        self._prepare_tracker(time_s)
        hands = self._tracker.update(depth_mm, intrinsics, time_s)
        message = conversions.hand_array(hands, header, intrinsics.width, intrinsics.height)
        self._hands_pub.publish(message)
        done_s = time.monotonic()
        self._health.processed(len(hands), dropped, (done_s - start_s) * 1e3, (done_s - frame.arrived_s) * 1e3, done_s)
        timings = self._tracker.timings
        self._stats_pub.publish(TrackerStats(
            header=header, input_age_ms=frame.age_s * 1e3, decode_ms=(decoded_s - start_s) * 1e3,
            find_ms=float(timings.find_ms), inference_ms=float(timings.inference_ms),
            postprocess_ms=float(timings.postprocess_ms), latency_ms=(done_s - frame.arrived_s) * 1e3,
            frames_received=frame.received, frames_processed=self._health.counts.processed, frames_dropped=dropped))
        self._markers_pub.publish(self._markers.update(message))
        if self._poses_pub.get_subscription_count():
            self._poses_pub.publish(conversions.pose_array(message))
        if self._debug_pub.get_subscription_count():
            from awr_ros.draw import overlay
            self._debug_pub.publish(self._bridge.cv2_to_imgmsg(overlay(depth_mm, hands), 'bgr8', header))

    def _intrinsics(self, image):
        """The camera of this image, from the last CameraInfo: latched, slow or differently stamped info will do."""
        info = self._info
        if info is None:
            raise BadInput('no camera_info yet')
        if self._camera is None or self._camera[0] is not info:
            notes = [conversions.distortion_note(info)]
            if info.header.frame_id != image.header.frame_id:
                notes.append(f"the image is in frame '{image.header.frame_id}', its camera_info in "
                             f"'{info.header.frame_id}'")
            self._camera, self._camera_notes = (info, conversions.intrinsics_from_info(info)), tuple(filter(None, notes))
        return conversions.checked_intrinsics(self._camera[1], image)

    def _time_s(self, frame):
        """The time that the tracker reckons with [s]."""
        stamp_s = conversions.stamp_seconds(frame.image.header.stamp)
        if stamp_s == 0:
            self._health.noted('the image stamp is 0: its time of arrival is used for tracking, the stamp is passed on',
                               frame.arrived_s)
            return frame.arrived_s
        return stamp_s

    def _prepare_tracker(self, time_s):
        """Between two images: new parameters, and a reset where one was asked for or time went back (a bag's loop)."""
        config = self._values.tracker_config()
        if self._tracker.config != config:
            self._tracker.config = config
        if time_s < self._last_time_s:
            self.get_logger().info(f'stamps went back by {self._last_time_s - time_s:.3f} s: all hands are forgotten')
            self._reset_wanted.set()
        self._last_time_s = time_s
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._tracker.reset()


def main():
    def start():
        node = TrackerNode()
        node.autostart()
        return node
    return run(start)


if __name__ == '__main__':
    sys.exit(main())
