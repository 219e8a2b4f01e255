"""Why nothing comes out, in words, with a clock made of numbers."""

import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from awr_ros.ros import diagnostics
from awr_ros.ros.diagnostics import Health, Situation
from awr_ros.ros.stamp_gaps import StampGaps

ACTIVE = Situation(
    state='active',
    failure='',
    enabled=True,
    engine='cpu, torch, small.pt',
    camera_notes=(),
    lost_advice='export A=b',
    sources=(('/cam/depth', 'published by cam'), ('/cam/info', 'published by cam')),
)
PERIOD = 1 / 30


def stream(
    health, seconds, start=0.0, keep=lambda index: True, hands=1, drop=lambda index: False, ms=10.0
):
    """A camera of 30 Hz; images that are not kept never arrive, dropped ones are not processed."""
    dropped = health.counts.dropped
    health.info_received(start)
    for index in range(round(seconds / PERIOD)):
        now = start + index * PERIOD
        if not keep(index):
            continue
        health.image_received(1000 + now, now)
        if drop(index):
            dropped += 1
        else:
            health.processed(hands, dropped, ms, ms + 2.0, now)
    return start + seconds


def test_all_is_well():
    health = Health(0.0)
    now = stream(health, 1.0)
    for status in health.report('tracker', ACTIVE, now):
        assert (status.level, status.message) == (DiagnosticStatus.OK, 'ok')
    values = {v.key: v.value for v in status.values}
    assert (
        values['engine'] == 'cpu, torch, small.pt'
        and values['images processed per second'] == '30.0'
    )


def test_silence_is_named_with_topic_and_publishers():
    health = Health(0.0)
    now = diagnostics.START_UP_S + 1
    status, tracking = health.report('tracker', ACTIVE, now)
    assert status.level == DiagnosticStatus.ERROR and status.name == 'tracker: input'
    assert 'no image on /cam/depth for 31 s: published by cam' in status.message
    assert tracking.level == DiagnosticStatus.WARN


def test_a_start_up_is_waited_for_in_words_and_without_a_warning():
    health = Health(0.0)
    for now, words in (
        (1.0, 'ok'),
        (29.0, 'waiting for the first image on /cam/depth: published by cam'),
    ):
        input_, tracking = health.report('tracker', ACTIVE, now)
        assert (input_.level, tracking.level) == (DiagnosticStatus.OK, DiagnosticStatus.OK)
        assert input_.message == words and health.waiting == words.removeprefix('ok')


def test_camera_info_may_come_some_seconds_after_the_first_image():
    health = Health(0.0)
    for index in range(round(8 / PERIOD)):
        health.image_received(1000 + index * PERIOD, 10 + index * PERIOD)
    input_, tracking = health.report('tracker', ACTIVE, 14.9)
    assert (input_.level, tracking.level) == (DiagnosticStatus.OK, DiagnosticStatus.OK)
    assert (
        input_.message
        == health.waiting
        == 'waiting for the first camera_info on /cam/info: published by cam'
    )
    status = health.report('tracker', ACTIVE, 18.0)[0]
    assert (
        status.level == DiagnosticStatus.ERROR
        and 'no camera_info on /cam/info for 18 s: published by cam' in status.message
    )


def test_a_camera_that_stops_is_named():
    health = Health(0.0)
    stream(health, 1.0)
    input_, tracking = health.report('tracker', ACTIVE, 6.0)
    assert (
        'no image on /cam/depth for 5 s' in input_.message and 'camera_info' not in input_.message
    )
    assert (
        tracking.level == DiagnosticStatus.WARN and 'no image tracked for 5 s' in tracking.message
    )


def test_latched_info_is_no_silence():
    health = Health(0.0)
    now = stream(health, 60.0)
    assert health.report('tracker', ACTIVE, now)[0].message == 'ok'


@pytest.mark.parametrize(
    'keep, share', [(lambda i: i % 2, 0.5), (lambda i: i % 10 < 2, 0.8), (lambda i: i % 20, 0.05)]
)
def test_lost_images_are_named_with_their_share_and_a_remedy(keep, share):
    health = Health(0.0)
    now = stream(health, 30.0, keep=keep)
    status = health.report('tracker', ACTIVE, now)[0]
    if share == 0.5:  # every second image of 30 Hz is the same as all images of 15 Hz
        assert status.message == 'ok'
        return
    assert status.level == DiagnosticStatus.WARN
    assert 'lost on the way; export A=b' in status.message
    assert health._gaps.lost_share() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    'info_comes, words, remedy',
    [
        (
            lambda index: index % 20,
            'images come 33 to 67 ms apart, and so do their camera_infos: the camera',
            False,
        ),
        (
            lambda index: True,
            '5% of the images are missing, but their camera_info came: they are lost on the way',
            True,
        ),
        (
            lambda index: index == 0,
            'about 5% of the images are missing between the stamps: the camera skips them, or',
            True,
        ),
    ],
    ids=['skipped', 'lost', 'latched'],
)
def test_the_camera_infos_of_missing_images_show_who_lost_them(info_comes, words, remedy):
    health, now = Health(0.0), 0.0
    for index in range(900):
        now = index * PERIOD
        if info_comes(index):
            health.info_received(now)
        if index % 20:
            health.image_received(1000 + now, now)
            health.processed(1, 0, 10.0, 12.0, now)
    message = health.report('tracker', ACTIVE, now)[0].message
    assert words in message
    assert ('export A=b' in message) == remedy


def test_a_camera_without_a_steady_period_is_given_no_share():
    """Which period a busy CPU leaves it is a guess, and so would be a share."""
    rng, health, now = np.random.default_rng(0), Health(0.0), 0.0
    for gap in rng.choice([0.001, PERIOD, 0.17, 0.4], 300, p=[0.1, 0.4, 0.3, 0.2]):
        now += gap
        health.image_received(1000 + now, now)
        health.info_received(now)
        health.processed(1, 0, 10.0, 12.0, now)
    message = health.report('tracker', ACTIVE, now)[0].message
    assert 'images come 1 to 400 ms apart' in message and '%' not in message


def shares(stamps):
    """What is said to be lost after each stamp, without the NaN before the first gaps."""
    gaps, said = StampGaps(), []
    for stamp in stamps:
        gaps.add(stamp)
        said.append(gaps.lost_share())
    return np.array([share for share in said if not math.isnan(share)])


def test_jitter_and_pauses_are_no_loss():
    stamps, stamp = [], 0.0
    for index in range(300):
        stamp += PERIOD * (1 + 0.2 * (-1) ** index) + (5.0 if index % 50 == 0 else 0)
        stamps.append(stamp)
    assert shares(stamps).max() == 0


@pytest.mark.parametrize('jitter', ['normal', 'uniform'])
def test_a_jittering_camera_that_loses_nothing_is_never_warned_of(jitter):
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 0.15, 3000) if jitter == 'normal' else rng.uniform(-0.35, 0.35, 3000)
    said = shares(np.sort((np.arange(3000) + offsets) * PERIOD))
    assert said.max() <= diagnostics.LOST_SHARE and said.mean() < 0.002


def test_late_images_are_no_loss_whether_they_are_stamped_late_or_overtaken():
    times = np.arange(600) * PERIOD
    late = times.copy()
    late[::20] += 0.8 * PERIOD  # a long gap, then a short one
    late[7::60] += 2.5 * PERIOD  # and one that holds up the next two, which come close behind it
    late[8::60] += 1.6 * PERIOD
    late[9::60] += 0.7 * PERIOD
    assert shares(late).max() < diagnostics.LOST_SHARE
    overtaken = times.copy()
    overtaken[10::30], overtaken[11::30] = times[11::30], times[10::30]
    assert shares(overtaken).max() == 0
    twice = np.repeat(times, 2)  # two publishers of the same images
    assert shares(twice).max() == 0


@pytest.mark.parametrize('share', [0.05, 0.3, 0.6])
def test_losses_are_counted_between_jitter_and_late_images(share):
    rng = np.random.default_rng(1)
    stamps = (np.arange(2000) + rng.normal(0, 0.1, 2000)) * PERIOD
    said = shares(stamps[rng.random(2000) >= share])[100:]
    assert said.mean() == pytest.approx(share, abs=0.05)


def test_images_missed_while_the_subscription_started_anew_are_no_loss():
    health = Health(0.0)
    now = stream(health, 1.0)
    health.input_started_anew()
    now = stream(health, 1.0, start=now + 0.3)
    assert health.report('tracker', ACTIVE, now)[0].message == 'ok'


def test_unknown_before_the_first_gaps():
    assert math.isnan(StampGaps().lost_share())


def test_too_slow_is_named():
    health = Health(0.0)
    now = stream(health, 1.0, drop=lambda index: index % 2, ms=60.0)
    status = health.report('tracker', ACTIVE, now)[1]
    assert status.level == DiagnosticStatus.WARN
    assert 'too slow: 14 of 29' in status.message and 'one takes 60 ms' in status.message
    now = stream(health, 1.0, start=now)
    assert health.report('tracker', ACTIVE, now)[1].message == 'ok', 'what is over is over'


@pytest.mark.parametrize('dropped, level', [(2, DiagnosticStatus.OK), (4, DiagnosticStatus.WARN)])
def test_images_that_come_in_bursts_do_not_make_the_tracker_slow(dropped, level):
    """A camera on a busy CPU publishes two at once, after a while of none."""
    health = Health(0.0)
    now = stream(
        health, 1.0, keep=lambda index: index % 2, drop=lambda index: index < 2 * dropped, ms=3.0
    )
    status = health.report('tracker', ACTIVE, now)[1]
    assert status.level == level and 'too slow' not in status.message
    named = '4 of 15 images dropped in 1 s: they come in bursts' in status.message
    assert named == (level == DiagnosticStatus.WARN), status.message


def test_no_hand_is_said_but_no_fault():
    health = Health(0.0)
    now = stream(health, 5.0, hands=0)
    status = health.report('tracker', ACTIVE, now)[1]
    assert status.level == DiagnosticStatus.OK and 'no hand for 5 s' in status.message


def test_refusals_are_named_and_forgotten_when_over():
    health = Health(0.0)
    now = stream(health, 1.0)
    health.refused("image encoding is 'rgb8'", now)
    status = health.report('tracker', ACTIVE, now)[0]
    assert (
        status.level == DiagnosticStatus.ERROR
        and "1 images refused in 1 s: image encoding is 'rgb8'" in status.message
    )
    now = stream(health, 4.0, start=now)
    assert health.report('tracker', ACTIVE, now)[0].message == 'ok'


def test_what_happened_between_two_late_reports_is_told_once():
    health = Health(0.0)
    health.report('tracker', ACTIVE, 1.0)
    health.noted('the stamp is 0', 1.5)
    health.refused('bad', 1.5)
    message = health.report('tracker', ACTIVE, 8.0)[0].message
    assert 'the stamp is 0' in message and '1 images refused in 7 s: bad' in message
    message = health.report('tracker', ACTIVE, 9.0)[0].message
    assert 'the stamp is 0' not in message and 'refused' not in message


def test_others_are_told_of_and_waited_for_only_while_no_hand_is_tracked():
    situation = replace(
        ACTIVE,
        unserved=('/rviz gets nothing on /hands',),
        waiting='no place came',
        lens='plumb_bob, undistort',
    )
    health = Health(0.0)
    now = stream(health, 1.0, hands=0)
    status = health.report('tracker', situation, now)[1]
    assert (
        status.level == DiagnosticStatus.WARN
        and status.message == 'no place came; /rviz gets nothing on /hands'
    )
    now = stream(health, 1.0, start=now)
    input_, status = health.report('tracker', situation, now)
    assert status.message == '/rviz gets nothing on /hands'
    assert {v.key: v.value for v in input_.values}['lens'] == 'plumb_bob, undistort'


def test_images_of_another_time_are_told_of_but_no_fault():
    health = Health(0.0)
    now = stream(health, 1.0)
    health.image_received(0.0, now, age_s=-90.0)
    status = health.report('tracker', ACTIVE, now)[0]
    assert status.level == DiagnosticStatus.OK and 'stamped 90 s after the clock' in status.message


def test_gpu_memory_is_told_while_torch_uses_one(monkeypatch):
    assert diagnostics.gpu_memory() == {}
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        mem_get_info=lambda: (3 * 2**30, 8 * 2**30),
        memory_reserved=lambda: 700 * 2**20,
    )
    monkeypatch.setitem(sys.modules, 'torch', SimpleNamespace(cuda=cuda))
    assert diagnostics.gpu_memory() == {
        'GPU memory of this process [MiB]': 700,
        'GPU memory free [MiB]': '3072 of 8192',
    }


def test_the_hardware_is_named_whether_active_or_not():
    for situation in (ACTIVE, replace(ACTIVE, state='inactive')):
        for status in Health(0.0).report('tracker', replace(situation, hardware='/cam/depth'), 1.0):
            assert status.hardware_id == '/cam/depth'


def test_not_active_says_why():
    failed = Situation(
        state='unconfigured',
        failure='no such file: x.pt',
        enabled=True,
        sources=(),
        engine='not loaded',
        camera_notes=(),
    )
    status = Health(0.0).report('tracker', failed, 9.0)[1]
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == 'not active: unconfigured: no such file: x.pt'
    disabled = Situation(
        state='active', failure='', enabled=False, sources=(), engine='cpu', camera_notes=()
    )
    status = Health(0.0).report('tracker', disabled, 9.0)[1]
    assert status.level == DiagnosticStatus.WARN and 'disabled' in status.message


# Images out of order, and clocks


@pytest.mark.parametrize(
    'stamps',
    [
        [i + 1 if i % 15 == 7 else i - 1 if i % 15 == 8 else i for i in range(60)],
        [i - 1.03 * (i == 20) for i in range(60)],
    ],
    ids=['overtaken', '1 ms early'],
)
def test_late_images_are_not_missing(stamps):
    gaps = StampGaps()
    for stamp in stamps:
        gaps.add(100 + stamp * PERIOD)
    assert gaps.lost_share() == 0


def test_where_stamps_are_in_disorder_nothing_is_said_to_be_missing():
    gaps = StampGaps()
    for index in range(60):
        gaps.add(100 + index * PERIOD - 0.05 * (index % 2))
    assert math.isnan(gaps.lost_share())


def test_late_images_are_counted_and_named_until_they_are_over():
    health = Health(0.0)
    now = stream(health, 1.0)
    for _ in range(3):
        health.image_received(1000 + now - 0.04, now)
        health.late(0.04, now)
    input_, tracking = health.report('tracker', ACTIVE, now)
    assert input_.level == DiagnosticStatus.WARN
    assert (
        '3 of 33 images came late and were left out: stamps go back by 0.040 s' in input_.message
        and '/cam/depth' in input_.message
    )
    values = {v.key: v.value for status in (input_, tracking) for v in status.values}
    assert (
        values['images late'] == '3'
        and values['images processed'] == '30'
        and health.counts.tracked == 30
    )
    assert 'images came late' in health.report('tracker', ACTIVE, now + 0.5)[0].message
    now = stream(health, 4.0, start=now)
    assert health.report('tracker', ACTIVE, now)[0].message == 'ok'


@pytest.mark.parametrize('jumps, level', [(1, DiagnosticStatus.OK), (5, DiagnosticStatus.WARN)])
def test_a_recording_that_starts_over_is_no_fault_but_a_time_that_jumps_about_is(jumps, level):
    health = Health(0.0)
    now = stream(health, 1.0)
    for _ in range(jumps):
        health.jumped_back(9.97, now)
    status = health.report('tracker', ACTIVE, now)[0]
    assert (
        status.level == level
        and f'stamps went back by 9.970 s, {jumps} times so far' in status.message
    )


def test_an_info_that_was_refused_and_a_clock_that_stands_still_are_named():
    health = Health(0.0)
    now = stream(health, 1.0)
    health.info_refused('12 bytes that cannot be decoded', now)
    status = health.report('tracker', replace(ACTIVE, clock='no time has come on /clock'), now)[0]
    assert status.level == DiagnosticStatus.ERROR
    assert (
        status.message
        == 'camera_info refused: 12 bytes that cannot be decoded; no time has come on /clock'
    )


def test_of_one_kind_only_the_last_note_is_kept():
    health = Health(0.0)
    now = stream(health, 1.0)
    for number in range(50):
        health.noted(f'nearest depth {number} m', now, kind='reach')
    assert health.report('tracker', ACTIVE, now)[0].message == 'nearest depth 49 m'
