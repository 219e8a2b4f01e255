"""What is said and done about images that are lost between processes."""
import os
import subprocess
from pathlib import Path

import pytest

from awr_ros.ros.middleware import PROFILE_VARIABLES, lost_images_advice, missing_profile_variables, profile_path

REPOSITORY = Path(__file__).parents[2]
FAST_DDS_3, FAST_DDS_2 = PROFILE_VARIABLES


def test_the_profile_is_set_for_every_fast_dds_and_the_users_own_is_kept():
    assert missing_profile_variables('/p.xml', {}) == {FAST_DDS_3: '/p.xml', FAST_DDS_2: '/p.xml'}
    assert missing_profile_variables('/p.xml', {FAST_DDS_2: '/mine.xml', FAST_DDS_3: ''}) == {FAST_DDS_3: '/mine.xml'}
    assert missing_profile_variables('/p.xml', {FAST_DDS_2: '/a.xml', FAST_DDS_3: '/b.xml'}) == {}


def test_only_what_is_not_done_yet_is_advised():
    advice = lost_images_advice('rmw_fastrtps_cpp', {})
    assert all(f'{name}={profile_path()}' in advice for name in PROFILE_VARIABLES)
    advice = lost_images_advice('rmw_fastrtps_cpp', {FAST_DDS_3: '/mine.xml'})
    assert f'{FAST_DDS_2}=/mine.xml' in advice and FAST_DDS_3 not in advice
    advice = lost_images_advice('rmw_fastrtps_cpp', dict.fromkeys(PROFILE_VARIABLES, '/mine.xml'))
    assert 'export' not in advice and 'the camera driver needs too' in advice


@pytest.mark.parametrize('middleware', ['rmw_cyclonedds_cpp', 'rmw_zenoh_cpp'])
def test_another_middleware_is_not_advised_to_set_what_it_does_not_read(middleware):
    advice = lost_images_advice(middleware, {}).lower()
    assert 'fast' not in advice and 'troubleshooting.md' in advice


@pytest.mark.parametrize('environment, expected', [
    ({}, [str(REPOSITORY / 'config' / 'fastdds_shm.xml')] * 2), ({FAST_DDS_3: '/mine.xml'}, ['/mine.xml'] * 2),
    ({FAST_DDS_2: '/mine.xml'}, ['/mine.xml'] * 2)])
def test_the_shell_script_sets_both_names(environment, expected):
    outside = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    shown = subprocess.run(['bash', '-c', f'source scripts/env.sh && echo ${FAST_DDS_3} && echo ${FAST_DDS_2}'], cwd=REPOSITORY,
                           env={**outside, **environment}, capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.split() == expected


@pytest.mark.parametrize('document', ['README.md', 'docs/cameras.md', 'config/fastdds_shm.xml'])
def test_who_reads_of_one_name_reads_of_the_other(document):
    text = (REPOSITORY / document).read_text()
    assert FAST_DDS_3 in text and FAST_DDS_2 in text
