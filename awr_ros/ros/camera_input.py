"""The two topics of a depth camera, and the camera that its last CameraInfo describes."""

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from awr_ros.messages.compressed_depth import TRANSPORT
from awr_ros.messages.depth_camera import DepthCamera
from awr_ros.messages.depth_image import shown
from awr_ros.ros.adaptive_subscription import AdaptiveSubscription
from awr_ros.ros.conversions import BadInputError

# [bytes] of a serialised message: encapsulation 4, header.stamp 8 (OMG DDS-RTPS 10, CDR)
AFTER_STAMP = 12
# [bytes] K, R and P alone; of four bytes, 00 00 00 01, rclpy's deserialize_message dies (SIGSEGV)
MIN_INFO = 240
# Deeper than the one image that is tracked next: on a busy CPU several come at once, and what the
# middleware drops of its queue looks as if it had been lost. The callbacks are short: no delay.
QUEUE = 5


class NoCameraInfo(BadInputError):
    """An image came before the first CameraInfo."""


class CameraInput:
    """Subscribes to depth/image, or what image_transport compresses of it, and to
    depth/camera_info.

    The two are not synchronised: a latched, slow or differently stamped info would never find its
    image.
    """

    def __init__(self, node, image_transport, on_image, on_info, on_renewal, on_bad_info):
        """on_renewal: called when the subscription to the images started anew, see
        AdaptiveSubscription; on_bad_info: with what is wrong with a CameraInfo that cannot be
        decoded.
        """
        # below the image's name after remapping, as image_transport has it
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
        self._bad_bytes = self._why_bad = None  # of the last info that could not be decoded
        self._infos = AdaptiveSubscription(
            node, CameraInfo, 'depth/camera_info', depth=QUEUE, raw=True
        )
        self._infos.registerCallback(self._on_info)
        self._images.registerCallback(on_image)
        self.topic = self._images.topic  # of the images, after remapping
        self.camera = self.image_frame = None  # of the last image
        self.notes = ()  # what is odd about the camera, but can be lived with
        self._read_with = None

    def _on_info(self, data):
        """An info comes with every image and says the same but for its stamp; to make a message of
        it took 0.3 ms, just when the image is to be worked on.
        """
        if data[AFTER_STAMP:] != self._info_bytes:
            # not again: the middleware prints a line each time
            if data[AFTER_STAMP:] == self._bad_bytes:
                self._tell_bad_info(self._why_bad)
                return
            try:
                if len(data) < MIN_INFO:
                    raise ValueError('too few for a CameraInfo')
                self._info = deserialize_message(data, CameraInfo)
            except (
                Exception
            ) as error:  # whatever the middleware makes of bytes that are no CameraInfo
                self._bad_bytes = data[AFTER_STAMP:]
                self._why_bad = f'{len(data)} bytes that cannot be decoded: {shown(str(error))}'
                self._tell_bad_info(self._why_bad)
                return
            self._info_bytes = data[AFTER_STAMP:]
        self._tell_info(self._info)

    def destroy(self):
        self._images.destroy()
        self._infos.destroy()

    def sources(self):
        """((topic, its publishers in words) of the images, the same of the infos)"""
        return tuple((s.topic, s.describe_publishers()) for s in (self._images, self._infos))

    def camera_for(self, image, info, distortion, depth_scale=1.0):
        """The DepthCamera of an image, from the last CameraInfo, None when none came yet. Raises
        NoCameraInfo then, and BadInputError for what cannot be used.
        """
        if info is None:
            raise NoCameraInfo('no camera_info yet')
        frame, known = image.header.frame_id, self._read_with
        if known is None or known[0] is not info or known[1:] != (frame, distortion, depth_scale):
            self.camera, self.notes, self.image_frame, self._read_with = None, (), frame, None
            camera = DepthCamera(info, distortion, depth_scale)
            self.notes = tuple(self._odd(camera, info, frame, distortion))
            self.camera, self._read_with = camera, (info, frame, distortion, depth_scale)
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
