"""The two topics of a depth camera, and the camera model of the last CameraInfo."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from awr_ros.messages.compressed_depth import TRANSPORT
from awr_ros.messages.depth_camera import DepthCamera, Distortion
from awr_ros.messages.depth_image import shown
from awr_ros.ros.adaptive_subscription import AdaptiveSubscription
from awr_ros.ros.conversions import BadInputError
from awr_ros.ros.info_bytes import is_camera_info

# [bytes] head of a serialised message: encapsulation 4, header.stamp 8 (OMG DDS-RTPS 10, CDR)
AFTER_STAMP = 12
# [bytes] K, R and P alone; for four bytes, 00 00 00 01, rclpy's deserialize_message crashes
MIN_INFO = 240
# Deeper than one image: on a busy CPU several arrive at once, and images that the middleware drops
# from its queue look like lost ones. The callbacks are short, so there is no delay.
QUEUE = 5


class NoCameraInfo(BadInputError):
    """An image came before the first CameraInfo."""


class CameraInput:
    """Subscriptions to depth/image, or its image_transport topic, and to depth/camera_info.

    The two are not synchronised: a latched, slow or differently stamped info would never match its
    image.
    """

    def __init__(
        self,
        node: Node,
        image_transport: str,
        on_image: Callable,
        on_info: Callable,
        on_renewal: Callable,
        on_bad_info: Callable,
    ) -> None:
        """on_renewal: called when the subscription to the images was renewed, see
        AdaptiveSubscription; on_bad_info: called with the reason when a CameraInfo cannot be
        decoded.
        """
        # below the remapped name of the image, by the convention of image_transport
        if image_transport == TRANSPORT:
            topic = node.resolve_topic_name('depth/image').removesuffix(f'/{TRANSPORT}')
            self._images = AdaptiveSubscription(
                node, CompressedImage, f'{topic}/{TRANSPORT}', depth=QUEUE, on_renewal=on_renewal
            )
        else:
            self._images = AdaptiveSubscription(
                node, Image, 'depth/image', depth=QUEUE, on_renewal=on_renewal
            )
        self._tell_info, self._tell_bad_info, self._info, self._info_bytes = (
            on_info,
            on_bad_info,
            None,
            None,
        )
        # bytes and reason of the last info that could not be decoded
        self._bad_bytes = self._why_bad = None
        self._infos = AdaptiveSubscription(
            node, CameraInfo, 'depth/camera_info', depth=QUEUE, raw=True
        )
        self._infos.registerCallback(self._on_info)
        self._images.registerCallback(on_image)
        self.topic = self._images.topic  # topic of the images, after remapping
        self.camera: DepthCamera | None = None  # of the last image
        self.image_frame: str | None = None
        self.notes: tuple[str, ...] = ()  # unusual but acceptable properties of the camera
        self._read_with: tuple | None = None

    def _on_info(self, data):
        """Decode an info only if it differs from the last one but for its stamp: decoding takes 0.3
        ms, just when the image arrives.
        """
        if data[AFTER_STAMP:] != self._info_bytes:
            # not again: the middleware prints a line each time
            if data[AFTER_STAMP:] == self._bad_bytes:
                self._tell_bad_info(self._why_bad)
                return
            try:
                if len(data) < MIN_INFO:
                    raise ValueError('too few for a CameraInfo')
                if not is_camera_info(data):
                    raise ValueError('its fields do not fit into them')
                self._info = deserialize_message(data, CameraInfo)
            except (
                Exception
            ) as error:  # any error of the middleware for bytes that are not a CameraInfo
                self._bad_bytes = data[AFTER_STAMP:]
                self._why_bad = f'{len(data)} bytes that cannot be decoded: {shown(str(error))}'
                self._tell_bad_info(self._why_bad)
                return
            self._info_bytes = data[AFTER_STAMP:]
        self._tell_info(self._info)

    def destroy(self) -> None:
        """End the subscriptions."""
        self._images.destroy()
        self._infos.destroy()

    def sources(self) -> tuple[tuple[str, str], ...]:
        """Return ((topic, description of its publishers) of the images, the same of the infos)."""
        return tuple((s.topic, s.describe_publishers()) for s in (self._images, self._infos))

    def camera_for(
        self, image: Any, info: Any, distortion: Distortion, depth_scale: float = 1.0
    ) -> DepthCamera:
        """Return the DepthCamera of an image, from the last CameraInfo. Raise NoCameraInfo without
        one, and BadInputError for an unusable one.
        """
        if info is None:
            raise NoCameraInfo('no camera_info yet')
        frame, known = image.header.frame_id, self._read_with
        if known is None or known[0] is not info or known[1:] != (frame, distortion, depth_scale):
            self.camera, self.notes, self.image_frame, self._read_with = None, (), frame, None
            camera = DepthCamera(info, distortion, depth_scale)
            self.notes = tuple(self._odd(camera, info, frame, distortion))
            self.camera, self._read_with = camera, (info, frame, distortion, depth_scale)
        assert self.camera is not None
        return self.camera

    def _odd(self, camera, info, image_frame, distortion):
        if not image_frame:
            yield 'the image has no frame_id: RViz and TF cannot place its hands'
        if info.header.frame_id != image_frame:
            yield (
                f'the image is in frame {shown(image_frame)}, its camera_info in '
                f'{shown(info.header.frame_id)}'
            )
        if camera.distorted and distortion == 'undistort' and 'rect' in self.topic:
            yield (
                f'{self.topic} sounds rectified, but its camera_info has distortion '
                f'{shown(info.distortion_model)}, which is undone: '
                'set parameter distortion to ignore if the image is rectified already'
            )
