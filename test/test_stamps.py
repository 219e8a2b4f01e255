"""Late images and jumps of time, by their stamps alone."""

import math

import pytest

from awr_ros.stamps import IN_ORDER, JUMPED_BACK, LATE, StampOrder


def orders(*stamps):
    order = StampOrder()
    return [order.add(stamp) for stamp in stamps]


@pytest.mark.parametrize(
    'stamps, late',
    [
        ((0.0, 0.1, 0.3, 0.2, 0.4), {3}),  # one overtook another
        ((0.0, 0.1, 0.099, 0.2), {2}),  # one stamp 1 ms early
        ((0.0, 0.5, 0.1, 0.2, 0.3, 0.4, 0.6), {2, 3, 4, 5}),  # one overtook four
        ((0.0, 0.1, 0.1, 0.2), set()),  # the same again is not older
        (
            [t for i in range(20) for t in (i * 0.066 + 1, i * 0.066 + 0.95)],
            set(range(1, 40, 2)),
        ),  # two clocks 50 ms apart
    ],
)
def test_late_images_are_told_from_those_in_order(stamps, late):
    assert orders(*stamps) == [LATE if index in late else IN_ORDER for index in range(len(stamps))]


def test_an_image_of_long_ago_is_a_jump_at_once_and_goes_on_from_there():
    assert orders(500.0, 500.03, 20.0, 20.03) == [IN_ORDER, IN_ORDER, JUMPED_BACK, IN_ORDER]


def test_a_clock_that_is_set_back_a_little_is_a_jump_after_some_images():
    stamps = [10 + i / 30 for i in range(5)] + [9.5 + i / 30 for i in range(8)]
    assert orders(*stamps) == [IN_ORDER] * 5 + [LATE] * 4 + [JUMPED_BACK] + [IN_ORDER] * 3


def test_stamps_that_are_no_number_stop_nothing():
    assert orders(1.0, math.nan, 2.0, 3.0)[-1] == IN_ORDER
