"""The replacements behave as message_filters and cv_bridge do; where those are installed, they take
the same tests.
"""

import importlib

import numpy as np
import pytest
from std_msgs.msg import Header

from awr_ros.ros import compat, conversions


def variants(module, *names):
    """The replacement and, where it is installed, the real module."""
    found = [pytest.param(compat, id='replacement')]
    try:
        real = importlib.import_module(module)
    except ImportError:
        return found
    assert all(hasattr(real, name) for name in names)
    return found + [pytest.param(real, id=module)]


FILTERS = pytest.mark.parametrize('filters', variants('message_filters', 'SimpleFilter'))
BRIDGES = pytest.mark.parametrize('bridges', variants('cv_bridge', 'CvBridge'))


@FILTERS
def test_a_filter_passes_on_what_it_gets_with_the_callers_own_arguments(filters):
    source, heard = filters.SimpleFilter(), []
    source.registerCallback(lambda *got: heard.append(got))
    source.registerCallback(lambda *got: heard.append(got), 'mine')
    source.signalMessage('a', 'b')
    assert heard == [('a', 'b'), ('a', 'b', 'mine')]


@BRIDGES
@pytest.mark.parametrize(
    'encoding, dtype, shape', [('16UC1', np.uint16, (4, 6)), ('bgr8', np.uint8, (4, 6, 3))]
)
def test_arrays_become_messages(bridges, encoding, dtype, shape):
    pixels = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    header = Header(frame_id='eye')
    for view in (pixels, pixels[:, ::2]):
        message = bridges.CvBridge().cv2_to_imgmsg(view, encoding, header)
        assert (message.height, message.width, message.encoding) == (4, view.shape[1], encoding)
        assert message.step == view.nbytes // 4 and message.header.frame_id == 'eye'
        np.testing.assert_array_equal(np.frombuffer(message.data, dtype).reshape(view.shape), view)
    if encoding == '16UC1':
        np.testing.assert_array_equal(conversions.depth_from_image(message), view)


@BRIDGES
def test_arrays_of_another_type_are_refused(bridges):
    with pytest.raises(Exception, match='encod'):
        bridges.CvBridge().cv2_to_imgmsg(np.zeros((4, 6), np.uint8), '16UC1')
