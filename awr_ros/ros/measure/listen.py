"""Collect the OpenXR hands of a running node for the conformance check."""

import time

import numpy as np
import rclpy

from awr_ros.evaluation.openxr_conformance import Frame, Hand
from awr_ros.msg import OpenXRHand, OpenXRHandArray
from awr_ros.ros.conversions import SIDES, stamp_seconds
from awr_ros.skeleton import Side

_SIDE_NAMES: dict[int, Side] = {number: name for name, number in SIDES.items()}


def hand_from_message(message: OpenXRHand) -> Hand:
    """Convert an awr_ros/OpenXRHand."""
    positions = [(p.position.x, p.position.y, p.position.z) for p in message.joints]
    turns = [
        (p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in message.joints
    ]
    return Hand(
        message.id,
        _SIDE_NAMES[message.side],
        np.array(positions),
        np.array(turns),
        np.array(message.radii),
        np.array(message.flags),
    )


def listen(topic: str, seconds: float) -> list[Frame]:
    """Subscribe to an OpenXRHandArray for some seconds. Raise ValueError when nothing arrives."""
    rclpy.init()
    node = rclpy.create_node('openxr_conformance')
    frames = []

    def receive(message: OpenXRHandArray) -> None:
        age_s = node.get_clock().now().nanoseconds * 1e-9 - stamp_seconds(message.header.stamp)
        hands = tuple(hand_from_message(hand) for hand in message.hands)
        frames.append(Frame(stamp_seconds(message.header.stamp), time.monotonic(), age_s, hands))

    node.create_subscription(OpenXRHandArray, topic, receive, 10)
    end_s = None
    give_up_s = time.monotonic() + 30
    while end_s is None or time.monotonic() < end_s:
        rclpy.spin_once(node, timeout_sec=0.1)
        if end_s is None and frames:  # time starts after discovery
            end_s = time.monotonic() + seconds
        if end_s is None and time.monotonic() > give_up_s:
            break
    node.destroy_node()
    rclpy.shutdown()
    if not frames:
        raise ValueError(f'nothing came on {topic} in 30 s: is the tracker running and active?')
    return frames
