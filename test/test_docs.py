"""What the documents refer to exists, and nothing in them is left to be filled in."""

import ast
import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import awr_ros

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    REPOSITORY / 'README.md',
    REPOSITORY / 'CHANGELOG.md',
    REPOSITORY / 'CONTRIBUTING.md',
    REPOSITORY / 'SECURITY.md',
    *sorted((REPOSITORY / 'docs').glob('*.md')),
]


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_complete_and_their_links_lead_somewhere(document):
    text = document.read_text()
    assert not re.findall(r'^[A-Z_]{5,}$', text, re.M)
    prose = re.sub(r'```.*?```', '', text, flags=re.S)  # a lambda of C++ looks like a link
    links = [link for link in re.findall(r'\]\(([^)#]+)', prose) if '://' not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_code_in_the_documents_is_python():
    blocks = [
        block
        for document in DOCUMENTS
        for block in re.findall(r'```python\n(.*?)```', document.read_text(), re.S)
    ]
    assert len(blocks) >= 2
    for block in blocks:
        ast.parse(block)


def test_the_pictures_of_the_joints_are_what_their_script_draws(tmp_path):
    names = ('joints.svg', 'wrist_frames.svg')
    script = REPOSITORY / 'scripts' / 'draw_joints.py'
    subprocess.run(
        [sys.executable, script, *(tmp_path / name for name in names)], check=True, timeout=100
    )
    for name in names:
        assert (tmp_path / name).read_text() == (REPOSITORY / 'docs' / name).read_text()


def test_the_package_has_its_weights():
    from awr_ros.networks.checkpoint import DEFAULT_WEIGHTS, load_checkpoint

    assert DEFAULT_WEIGHTS.is_relative_to(Path(awr_ros.__file__).parent)
    assert DEFAULT_WEIGHTS.stat().st_size < 12e6 and DEFAULT_WEIGHTS.with_suffix('.sha256').exists()
    _, about = load_checkpoint()
    assert about['step'] >= 300_000


def test_the_deployment_examples_are_what_their_tools_can_read():
    import yaml

    aggregator = yaml.safe_load(
        (REPOSITORY / 'config' / 'diagnostics_aggregator.yaml').read_text()
    )['/**']['ros__parameters']
    assert 'left/tracker: input'.find(*aggregator['tracker']['contains']) >= 0
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str
    unit.read(REPOSITORY / 'examples' / 'systemd' / 'awr_ros.service')
    assert (
        'tracker.launch.py' in unit['Service']['ExecStart']
        and unit['Service']['KillSignal'] == 'SIGINT'
    )
    dockerfile = (REPOSITORY / 'examples' / 'docker' / 'Dockerfile').read_text()
    copied, entry = (
        re.search(r'^COPY \. (\S+)$', dockerfile, re.M),
        re.search(r'^ENTRYPOINT (\[.*\])$', dockerfile, re.M),
    )
    assert (
        copied
        and 'tracker.launch.py' in json.loads(entry[1])[3]
        and json.loads(entry[1])[-1] == '--'
    )


def test_the_documents_say_how_much_shared_memory_a_container_needs_and_how_all_comments_are_shown():
    deployment, messages = (
        (REPOSITORY / 'docs' / name).read_text() for name in ('deployment.md', 'messages.md')
    )
    assert '--shm-size' in deployment and '--ipc=host' in deployment
    assert 'ros2 interface show --all-comments' in messages


def test_the_distributions_are_listed_with_what_was_run_on_them():
    text = (REPOSITORY / 'docs' / 'deployment.md').read_text()
    rows = dict(re.findall(r'^\| ([A-Z][a-z]+)[^|]*\|[^|]*\|([^|]*)\|', text, re.M))
    tried = {
        path.stem.removeprefix('ros-').capitalize()
        for path in (REPOSITORY / 'requirements').glob('ros-*.txt')
        if path.stem != 'ros-apt'
    }
    assert {'Humble', 'Jazzy', 'Kilted', 'Lyrical'} <= set(rows) and tried == {'Jazzy', 'Kilted'}
    assert {name for name, run in rows.items() if not run.strip().startswith('never')} == tried
    assert re.search(r'^## Why there is no composable component\n\n\w', text, re.M)


def test_the_functions_of_the_walkthrough_are_where_it_says():
    text = (REPOSITORY / 'docs' / 'walkthrough.md').read_text()
    steps = re.findall(r'^\| (\d+) \| `([^`]+)` \| `([^`]+)` \|', text, re.M)
    assert [int(number) for number, *_ in steps] == list(range(1, len(steps) + 1)) and steps
    package = Path(awr_ros.__file__).parent
    missing = [
        f'{file}: {name}'
        for _, file, name in steps
        if not re.search(rf'^\s*(def|class) {name}\b', (package / file).read_text(), re.M)
    ]
    assert not missing


def test_the_tests_that_hold_the_promises_exist():
    """In docs/reliability.md each line of the tables names test files, and words for `pytest -k`."""
    text = (REPOSITORY / 'docs' / 'reliability.md').read_text()
    rows = [row for row in text.splitlines() if row.startswith('| ') and '-- |' not in row]
    rows = [row.strip('| ').split(' | ')[-1] for row in rows if '| tests |' not in row]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r'([\w/]+\.py)(?: -k (?:"([\w ]+)"|(\w+)))?', row)
        assert named, row
        for file, several, one in named:
            path = REPOSITORY / 'test' / file.removeprefix('test/')
            names = re.findall(r'^def (test_\w+)', path.read_text(), re.M)
            for word in (several or one).split(' or ') if several or one else ():
                assert any(word in name for name in names), f'{path.name} -k {word}'


def test_the_version_is_the_same_everywhere():
    version = ElementTree.parse(REPOSITORY / 'package.xml').getroot().findtext('version')
    assert f'version: {version}\n' in (REPOSITORY / 'CITATION.cff').read_text()
    heading = re.search(r'^## (\S+)', (REPOSITORY / 'CHANGELOG.md').read_text(), re.M)
    assert heading and heading[1] == version


def test_prose_is_no_wider_than_100_columns():
    for document in DOCUMENTS:
        if document.name == 'benchmark.md':  # written by make bench
            continue
        prose = re.sub(r'```.*?```', '', document.read_text(), flags=re.S)
        wide = [
            line
            for line in prose.splitlines()
            if len(line) > 100 and not line.startswith(('|', '![')) and '](' not in line
        ]
        assert not wide, f'{document.name}: {wide[0]}'
