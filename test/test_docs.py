"""What the documents refer to exists, and nothing in them is left to be filled in."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import awr_ros

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [REPOSITORY / 'README.md', REPOSITORY / 'CHANGELOG.md', *sorted((REPOSITORY / 'docs').glob('*.md'))]


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_complete_and_their_links_lead_somewhere(document):
    text = document.read_text()
    assert not re.findall(r'^[A-Z_]{5,}$', text, re.M)
    prose = re.sub(r'```.*?```', '', text, flags=re.S)         # a lambda of C++ looks like a link
    links = [link for link in re.findall(r'\]\(([^)#]+)', prose) if '://' not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_code_in_the_documents_is_python():
    blocks = [block for document in DOCUMENTS for block in re.findall(r'```python\n(.*?)```', document.read_text(), re.S)]
    assert len(blocks) >= 2
    for block in blocks:
        ast.parse(block)


def test_the_pictures_of_the_joints_are_what_their_script_draws(tmp_path):
    names = ('joints.svg', 'wrist_frames.svg')
    script = REPOSITORY / 'scripts' / 'draw_joints.py'
    subprocess.run([sys.executable, script, *(tmp_path / name for name in names)], check=True, timeout=100)
    for name in names:
        assert (tmp_path / name).read_text() == (REPOSITORY / 'docs' / name).read_text()


def test_the_package_has_its_weights():
    from awr_ros.network import DEFAULT_WEIGHTS, load_checkpoint
    assert DEFAULT_WEIGHTS.is_relative_to(Path(awr_ros.__file__).parent)
    assert DEFAULT_WEIGHTS.stat().st_size < 12e6 and DEFAULT_WEIGHTS.with_suffix('.sha256').exists()
    _, about = load_checkpoint()
    assert about['step'] >= 300_000
