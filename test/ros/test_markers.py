"""What a viewer ends up showing, by applying the messages as RViz does."""

import math

import numpy as np
import pytest
from fakes import HEIGHT, WIDTH, hand, header, open_hand_xyz
from visualization_msgs.msg import Marker

from awr_ros.messages.markers import HandMarkers, score_colour
from awr_ros.ros import message_types as messages
from awr_ros.ros.conversions import hand_array


class Viewer:
    """(namespace, id) -> Marker, and how many deletions were asked for."""

    def __init__(self):
        self.markers = HandMarkers(0.5, messages)
        self.shown, self.deletions = {}, 0

    def show(self, *hands):
        for marker in self.markers.update(hand_array(hands, header(), WIDTH, HEIGHT)).markers:
            if marker.action == Marker.DELETE:
                self.deletions += 1
                del self.shown[marker.ns, marker.id]  # KeyError: deleted what was never there
            else:
                assert marker.action == Marker.ADD
                self.shown[marker.ns, marker.id] = marker
        return {ns for ns, _ in self.shown}


def test_one_hand():
    viewer = Viewer()
    assert viewer.show(hand(id='a')) == {'a'}
    by_type = {marker.type: marker for marker in viewer.shown.values()}
    assert set(by_type) == {Marker.LINE_LIST, Marker.SPHERE_LIST, Marker.TEXT_VIEW_FACING}
    assert len(by_type[Marker.LINE_LIST].points) == 40
    spheres = by_type[Marker.SPHERE_LIST]
    assert len(spheres.points) == len(spheres.colors) == 21
    assert spheres.points[0].z == pytest.approx(0.5)
    assert spheres.colors[0].r == 1 and spheres.colors[20].g == 1 and spheres.colors[20].r == 0
    assert by_type[Marker.TEXT_VIEW_FACING].text == 'right a'
    for marker in viewer.shown.values():
        assert marker.header == header() and marker.pose.orientation.w == 1 and marker.color.a == 1
        assert marker.lifetime.sec == 0 and marker.lifetime.nanosec == 500_000_000


def test_only_what_vanished_is_deleted():
    viewer = Viewer()
    assert viewer.show(hand(id='a'), hand(id='b')) == {'a', 'b'}
    assert viewer.show(hand(id='a'), hand(id='b')) == {'a', 'b'} and viewer.deletions == 0
    assert viewer.show(hand(id='b')) == {'b'} and viewer.deletions == 3
    assert viewer.show() == set() and viewer.deletions == 6
    assert viewer.show() == set() and viewer.deletions == 6
    assert viewer.show(hand(id='a')) == {'a'}


def test_missing_joints_are_left_out():
    joints = open_hand_xyz()
    joints[[1, 12]] = np.nan
    viewer = Viewer()
    viewer.show(hand(joints_xyz=joints))
    for marker in viewer.shown.values():
        assert all(math.isfinite(p.x) for p in marker.points)
    assert {len(marker.points) for marker in viewer.shown.values()} == {0, 19, 2 * (20 - 3)}


def test_a_hand_without_any_joint_shows_nothing():
    assert Viewer().show(hand(joints_xyz=np.full((21, 3), np.nan))) == set()


@pytest.mark.parametrize(
    'score, rgb', [(0, (1, 0, 0)), (0.5, (1, 1, 0)), (1, (0, 1, 0)), (math.nan, (1, 0, 0))]
)
def test_colour_of_a_score(score, rgb):
    colour = score_colour(score)
    assert (colour['r'], colour['g'], colour['b']) == pytest.approx(rgb)
