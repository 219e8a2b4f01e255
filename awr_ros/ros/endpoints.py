"""Descriptions of the other side of a topic, for users who wonder why nothing arrives."""

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo

from awr_ros.messages.compressed_depth import TRANSPORT

__all__ = [
    'PublisherEventCallbacks',
    'describe_publishers',
    'endpoint_name',
    'qos_words',
    'type_name',
    'unserved_subscribers',
]
UNKNOWN = '_NODE_NAME_UNKNOWN_'  # placeholder of rmw


def describe_publishers(node: Node, topic: str, message_type: type) -> str:
    """Describe the publishers of `topic` and their QoS, and the QoS with which `node` subscribes to
    it.
    """
    expected = type_name(message_type)
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        hint = ''
        if node.count_publishers(f'{topic}/{TRANSPORT}'):
            hint = (
                f', but {topic}/{TRANSPORT} is published: set parameter image_transport to '
                f'{TRANSPORT}'
            )
        return f'nobody publishes it{hint}'
    texts = []
    for publisher in publishers:
        other = (
            ''
            if publisher.topic_type == expected
            else f', which is not {expected} and never arrives'
        )
        texts.append(
            f'published by {endpoint_name(publisher)} as {publisher.topic_type} '
            f'{qos_words(publisher.qos_profile)}{other}'
        )
    own = [
        qos_words(s.qos_profile)
        for s in node.get_subscriptions_info_by_topic(topic)
        if (s.node_name, s.node_namespace) == (node.get_name(), node.get_namespace())
    ]
    return ', '.join(texts) + (f', subscribed here {own[0]}' if own else '')


def unserved_subscribers(node: Node, publisher: Any) -> list[str]:
    """Describe the subscribers to one of `node`'s publishers that get nothing because they request
    more QoS than it offers.
    """
    offered = next(
        (
            p.qos_profile
            for p in node.get_publishers_info_by_topic(publisher.topic_name)
            if (p.node_name, p.node_namespace) == (node.get_name(), node.get_namespace())
        ),
        publisher.qos_profile,
    )
    return [
        f'{endpoint_name(subscriber)} gets nothing on {publisher.topic_name}: it asks for '
        f'{qos_words(subscriber.qos_profile)}, offered is {qos_words(offered)}'
        for subscriber in node.get_subscriptions_info_by_topic(publisher.topic_name)
        if qos_check_compatible(offered, subscriber.qos_profile)[0] == QoSCompatibility.ERROR
    ]


def endpoint_name(endpoint: TopicEndpointInfo) -> str:
    """Return its node's name with the namespace; the middleware may discover a node a moment later
    than its endpoint.
    """
    if endpoint.node_name == UNKNOWN:
        return 'a node of unknown name'
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'


def type_name(message_type: type) -> str:
    """Return the message type, for example sensor_msgs/msg/Image."""
    package, folder = message_type.__module__.split('.')[:2]
    return f'{package}/{folder}/{message_type.__name__}'


def qos_words(profile: Any) -> str:
    """Return the QoS that must be compatible, for example (best_effort, volatile)."""
    return f'({profile.reliability.name.lower()}, {profile.durability.name.lower()})'
