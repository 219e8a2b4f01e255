"""Hands as RViz markers: bones, joints coloured by their score, and a label.

Message classes are arguments, from rclpy or from a bag without ROS.
"""

import math
from collections.abc import Iterator
from typing import Any

from awr_ros.skeleton import BONES, NUM_JOINTS

BONES_ID, JOINTS_ID, LABEL_ID = range(3)
BONE_WIDTH, JOINT_SIZE, LABEL_SIZE, LABEL_ABOVE = 0.006, 0.010, 0.025, 0.03  # [m]


class HandMarkers:
    """Convert HandArrays to MarkerArrays. Each hand has its id as namespace; markers that are still
    shown are overwritten in place and only others are deleted, so nothing flickers and nothing is
    left.

    `types` has the message classes as attributes, which take their fields by name and have
    defaults: ColorRGBA, Duration, Hand, Marker, MarkerArray, Point.
    """

    def __init__(self, lifetime_s: float, types: Any) -> None:
        self._types = types
        # If the node dies, viewers delete the markers after this time.
        self._lifetime = types.Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
        self._shown: set[tuple[str, int]] = set()  # (namespace, marker id)
        self._looks = {
            types.Hand.SIDE_UNKNOWN: ('hand', types.ColorRGBA(r=0.8, g=0.8, b=0.8, a=1.0)),
            types.Hand.SIDE_LEFT: ('left', types.ColorRGBA(r=0.3, g=0.6, b=1.0, a=1.0)),
            types.Hand.SIDE_RIGHT: ('right', types.ColorRGBA(r=1.0, g=0.6, b=0.2, a=1.0)),
        }

    def update(self, hands: Any) -> Any:
        """Return the MarkerArray after which a viewer shows exactly these hands, an
        awr_ros/HandArray.
        """
        marker_type = self._types.Marker
        markers = [marker for hand in hands.hands for marker in self._hand(hand, hands.header)]
        now = {(marker.ns, marker.id) for marker in markers}
        markers += [
            marker_type(header=hands.header, ns=ns, id=id_, action=marker_type.DELETE)
            for ns, id_ in sorted(self._shown - now)
        ]
        self._shown = now
        return self._types.MarkerArray(markers=markers)

    def _hand(self, hand: Any, header: Any) -> Iterator[Any]:
        types, (side, colour) = self._types, self._looks[hand.side]
        finite = [math.isfinite(p.x + p.y + p.z) for p in hand.joints]
        if not any(finite):
            return
        joints = [j for j in range(NUM_JOINTS) if finite[j]]
        bones = [bone for bone in BONES if finite[bone[0]] and finite[bone[1]]]
        if bones:
            lines = self._marker(hand, header, BONES_ID, types.Marker.LINE_LIST, colour)
            lines.scale.x = BONE_WIDTH
            lines.points = [hand.joints[j] for bone in bones for j in bone]
            yield lines
        spheres = self._marker(hand, header, JOINTS_ID, types.Marker.SPHERE_LIST, colour)
        spheres.scale.x = spheres.scale.y = spheres.scale.z = JOINT_SIZE
        spheres.points = [hand.joints[j] for j in joints]
        spheres.colors = [types.ColorRGBA(**score_colour(hand.joint_scores[j])) for j in joints]
        yield spheres
        label = self._marker(hand, header, LABEL_ID, types.Marker.TEXT_VIEW_FACING, colour)
        label.scale.z = LABEL_SIZE
        # optical frame: y points down
        top = min((hand.joints[j] for j in joints), key=lambda p: p.y)
        label.pose.position = types.Point(x=top.x, y=top.y - LABEL_ABOVE, z=top.z)
        label.text = f'{side} {hand.id}'
        yield label

    def _marker(self, hand: Any, header: Any, id_: int, type_: int, colour: Any) -> Any:
        marker_type = self._types.Marker
        marker = marker_type(
            header=header,
            ns=hand.id,
            id=id_,
            type=type_,
            action=marker_type.ADD,
            color=colour,
            lifetime=self._lifetime,
        )
        marker.pose.orientation.w = 1.0
        return marker


def score_colour(score: float) -> dict[str, float]:
    """Return the fields of a std_msgs/ColorRGBA: red at 0, yellow at 0.5, green at 1."""
    score = min(max(float(score), 0.0), 1.0) if math.isfinite(score) else 0.0
    return {'r': min(1.0, 2 - 2 * score), 'g': min(1.0, 2 * score), 'b': 0.0, 'a': 1.0}
