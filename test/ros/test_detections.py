"""Hands as detections of vision_msgs; by classes with the fields of its messages (4.1.1) where it
is not installed.
"""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import HEIGHT, WIDTH, Camera, FakeTracker, hand, header, open_hand_xyz
from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3
from std_msgs.msg import Header

from awr_ros.ros import detections
from awr_ros.ros.conversions import hand_array
from awr_ros.ros.node import TrackerNode


def message(name, **fields):
    """A class that takes these fields by name only, with their defaults, and no others."""
    return dataclass(kw_only=True)(
        type(
            name,
            (),
            {
                '__annotations__': dict.fromkeys(fields, object),
                **{key: field(default_factory=default) for key, default in fields.items()},
            },
        )
    )


Point2D = message('Point2D', x=float, y=float)
Pose2D = message('Pose2D', position=Point2D, theta=float)
BoundingBox2D = message('BoundingBox2D', center=Pose2D, size_x=float, size_y=float)
BoundingBox3D = message('BoundingBox3D', center=Pose, size=Vector3)
ObjectHypothesis = message('ObjectHypothesis', class_id=str, score=float)
ObjectHypothesisWithPose = message(
    'ObjectHypothesisWithPose', hypothesis=ObjectHypothesis, pose=PoseWithCovariance
)
DETECTION = dict(header=Header, results=list, id=str)
REPLACEMENTS = SimpleNamespace(
    Point2D=Point2D,
    Pose2D=Pose2D,
    BoundingBox2D=BoundingBox2D,
    BoundingBox3D=BoundingBox3D,
    ObjectHypothesis=ObjectHypothesis,
    ObjectHypothesisWithPose=ObjectHypothesisWithPose,
    Detection2D=message('Detection2D', bbox=BoundingBox2D, **DETECTION),
    Detection3D=message('Detection3D', bbox=BoundingBox3D, **DETECTION),
    Detection2DArray=message('Detection2DArray', header=Header, detections=list),
    Detection3DArray=message('Detection3DArray', header=Header, detections=list),
)
TYPES = pytest.mark.parametrize(
    'types',
    [
        pytest.param(REPLACEMENTS, id='replacements'),
        *(
            [pytest.param(detections.vision_msgs, id='vision_msgs')]
            if detections.vision_msgs
            else []
        ),
    ],
)


def hands(*some):
    return hand_array(list(some), header(), WIDTH, HEIGHT)


@TYPES
def test_hands_become_boxes_in_the_image(types):
    array = detections.detections_2d(
        hands(hand(id='7', side='left', score=0.75, roi=(4, 6, 10, 8))), types
    )
    (found,) = array.detections
    assert array.header == found.header == header() and found.id == '7'
    assert (found.bbox.center.position.x, found.bbox.center.position.y) == (9.0, 10.0)
    assert (found.bbox.size_x, found.bbox.size_y, found.bbox.center.theta) == (10.0, 8.0, 0.0)
    (result,) = found.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ('left_hand', 0.75)
    assert result.pose.pose.position.z == pytest.approx(0.5)


@TYPES
def test_hands_become_boxes_in_space_around_the_joints_that_are_known(types):
    joints = open_hand_xyz()
    joints[4] = np.nan
    (found,) = detections.detections_3d(hands(hand(joints_xyz=joints)), types).detections
    known = np.delete(joints, 4, axis=0) / 1000
    centre, size = found.bbox.center.position, found.bbox.size
    np.testing.assert_allclose(
        [centre.x, centre.y, centre.z], (known.min(0) + known.max(0)) / 2, atol=1e-6
    )
    np.testing.assert_allclose([size.x, size.y, size.z], known.max(0) - known.min(0), atol=1e-6)
    assert found.bbox.center.orientation.w == 1.0
    unknown = hand(joints_xyz=np.full((21, 3), math.nan, np.float32))
    assert detections.detections_3d(hands(unknown), types).detections == []


@TYPES
def test_no_hand_and_a_hand_that_is_not_seen_are_no_detection(types):
    for convert in (detections.detections_2d, detections.detections_3d):
        assert (
            convert(hands(), types).detections
            == []
            == convert(hands(hand(state='coasting')), types).detections
        )


def test_detections_over_dds(bench):
    vision = pytest.importorskip('vision_msgs.msg')
    tracker = FakeTracker()
    node = bench.add(TrackerNode(tracker_factory=lambda values: tracker))
    node.autostart()
    camera = Camera(bench.client)
    heard = [
        bench.listen(getattr(vision, f'Detection{n}DArray'), f'tracker/detections_{n}d')
        for n in (2, 3)
    ]
    bench.until(camera.connected, 'the node to find the camera')

    def both():
        camera.info()
        sent.append(camera.image())
        bench.spin(0.05)
        return all(heard)

    sent = []
    bench.until(both, 'detections')
    assert (
        heard[0][0].header in [image.header for image in sent] and len(heard[1][0].detections) == 1
    )
