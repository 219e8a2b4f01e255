"""The layout for Foxglove shows topics and fields that exist."""

import json
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

from awr_ros.msg import TrackerStats

LAYOUT = Path(get_package_share_directory('awr_ros'), 'config', 'foxglove.json')
# Of a camera driver, where it publishes them: not of this package.
DRIVERS = {'/depth/points'}


def strings(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def panels(node):
    """Ids of the panels of a layout's tree."""
    return [node] if isinstance(node, str) else panels(node['first']) + panels(node['second'])


def test_every_topic_of_the_layout_is_one_of_the_node_and_every_path_a_field(node):
    layout = json.loads(LAYOUT.read_text())
    named = {text for text in strings(layout) if text.startswith('/')}
    fields = {path for path in named if '.' in path}
    topics = {end.topic_name for end in (*node.publishers, *node.subscriptions)} | DRIVERS
    assert len(named) >= 8 and not {path.split('.')[0] for path in named} - topics
    for path in fields:
        topic, field = path.split('.')
        assert topic == '/tracker/stats' and field in TrackerStats.get_fields_and_field_types()


def test_every_panel_of_the_layout_has_its_settings():
    layout = json.loads(LAYOUT.read_text())
    assert sorted(panels(layout['layout'])) == sorted(layout['configById'])
    assert {'3D', 'Image', 'Plot', 'DiagnosticSummary'} == {
        panel.split('!')[0] for panel in layout['configById']
    }
