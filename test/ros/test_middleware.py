"""What is said and done about images that are lost between processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from awr_ros.ros import endpoints, middleware
from awr_ros.ros.measure import session
from awr_ros.ros.middleware import (
    PROFILE_VARIABLES,
    lost_images_advice,
    missing_profile,
    profile_path,
    profile_variable,
)

REPOSITORY = Path(__file__).parents[2]
FAST_DDS_3, FAST_DDS_2 = PROFILE_VARIABLES


@pytest.fixture
def fast_dds(monkeypatch):
    """fast_dds(name) makes the installed Fast DDS one that looks for its profile by this name."""
    return lambda name: monkeypatch.setattr(middleware, 'profile_variable', lambda: name)


@pytest.mark.parametrize(
    'version, name',
    [('6.2.7', FAST_DDS_2), ('8.4.3', FAST_DDS_2), ('9.3.3', FAST_DDS_3), ('10.0.1', FAST_DDS_3)],
)
def test_the_variable_is_that_of_the_installed_version(tmp_path, monkeypatch, version, name):
    (tmp_path / 'package.xml').write_text(
        f'<package format="3"><name>rmw_fastrtps_cpp</name><version>{version}</version></package>'
    )
    monkeypatch.setattr(middleware, 'get_package_share_directory', lambda package: str(tmp_path))
    assert profile_variable.__wrapped__() == name


@pytest.mark.parametrize('variable, other', [(FAST_DDS_3, FAST_DDS_2), (FAST_DDS_2, FAST_DDS_3)])
def test_the_profile_is_set_where_it_is_read_and_the_users_own_is_kept(fast_dds, variable, other):
    fast_dds(variable)
    assert missing_profile('/p.xml', {}) == {variable: '/p.xml'}
    assert missing_profile('/p.xml', {other: '/mine.xml', variable: ''}) == {variable: '/mine.xml'}
    assert missing_profile('/p.xml', {variable: '/a.xml'}) == {}
    fast_dds('')  # another middleware only
    assert missing_profile('/p.xml', {}) == {}


@pytest.mark.parametrize('variable, other', [(FAST_DDS_3, FAST_DDS_2), (FAST_DDS_2, FAST_DDS_3)])
def test_only_what_is_not_done_yet_is_advised(fast_dds, variable, other):
    fast_dds(variable)
    advice = lost_images_advice('rmw_fastrtps_cpp', {})
    assert f'export {variable}={profile_path()}' in advice and other not in advice
    advice = lost_images_advice('rmw_fastrtps_cpp', {variable: '/mine.xml'})
    assert 'export' not in advice and 'the camera driver needs too' in advice


@pytest.mark.parametrize('middleware', ['rmw_cyclonedds_cpp', 'rmw_zenoh_cpp'])
def test_another_middleware_is_not_advised_to_set_what_it_does_not_read(middleware):
    advice = lost_images_advice(middleware, {}).lower()
    assert 'fast' not in advice and 'troubleshooting.md' in advice


@pytest.mark.parametrize(
    'environment, expected',
    [
        ({}, str(REPOSITORY / 'config' / 'fastdds_shm.xml')),
        ({FAST_DDS_3: '/mine.xml'}, '/mine.xml'),
        ({FAST_DDS_2: '/mine.xml'}, '/mine.xml'),
    ],
)
def test_the_shell_script_sets_the_name_that_is_read(environment, expected):
    outside = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    shown = subprocess.run(
        ['bash', '-c', f'source scripts/env.sh && echo ${profile_variable()}'],
        cwd=REPOSITORY,
        env={**outside, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stdout.split() == [expected]


def test_the_demo_and_the_bench_set_the_profile_for_their_processes(monkeypatch):
    for name in (*PROFILE_VARIABLES, 'ROS_DOMAIN_ID'):
        monkeypatch.setenv(name, '')  # so that monkeypatch restores the variables afterwards
    monkeypatch.setattr(
        session.Session, '_start', lambda _: started.append(os.environ.get(profile_variable()))
    )
    started = []
    with session.Session():
        pass
    assert started == [profile_path()]


def test_programs_leave_the_choice_of_the_variable_to_one_function():
    sources = [*(REPOSITORY / 'awr_ros').rglob('*.py'), *(REPOSITORY / 'scripts').glob('*.py')]
    naming = {
        path.name for path in sources if any(name in path.read_text() for name in PROFILE_VARIABLES)
    }
    assert naming == {'middleware.py'}


def test_who_reads_of_one_name_reads_of_the_other():
    documents = [
        *REPOSITORY.glob('*.md'),
        *REPOSITORY.glob('docs/*.md'),
        REPOSITORY / 'config' / 'fastdds_shm.xml',
    ]
    texts = {path.name: path.read_text() for path in documents}
    naming = {
        name for name, text in texts.items() if any(word in text for word in PROFILE_VARIABLES)
    }
    assert naming >= {'cameras.md', 'fastdds_shm.xml'}
    assert all(word in texts[name] for name in naming for word in PROFILE_VARIABLES), naming


def test_the_events_of_humble_are_found_under_their_older_name(monkeypatch):
    older = ModuleType('rclpy.qos_event')
    older.PublisherEventCallbacks = object()
    monkeypatch.setitem(sys.modules, 'rclpy.event_handler', None)  # as if it were not there
    monkeypatch.setitem(sys.modules, 'rclpy.qos_event', older)
    spec = importlib.util.spec_from_file_location('endpoints_of_humble', endpoints.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PublisherEventCallbacks is older.PublisherEventCallbacks


def test_a_node_that_the_middleware_does_not_know_yet_is_called_so():
    known = SimpleNamespace(node_name='camera', node_namespace='/left')
    unknown = SimpleNamespace(
        node_name='_NODE_NAME_UNKNOWN_', node_namespace='_NODE_NAMESPACE_UNKNOWN_'
    )
    assert (endpoints.endpoint_name(known), endpoints.endpoint_name(unknown)) == (
        '/left/camera',
        'a node of unknown name',
    )
