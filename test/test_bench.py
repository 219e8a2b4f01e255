"""The bench's tables and its smallest real run; what it measures over ROS is tested
with the demo.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from awr_ros.__main__ import main
from awr_ros.bench import gpu
from awr_ros.bench.cameras import Rig, movement
from awr_ros.bench.frame import python_calls
from awr_ros.bench.gpu import bench_gpu, work
from awr_ros.bench.machine import describe, load_in_words, version
from awr_ros.bench.mediapipe import bench_mediapipe, grey
from awr_ros.bench.readme import BEGIN, END, readme_table, update_readme
from awr_ros.bench.report import Report
from awr_ros.bench.timing import median_ms
from awr_ros.networks.checkpoint import CompactNetwork, ModelConfig
from awr_ros.weight_files import DEFAULT_WEIGHTS, checksum

REPOSITORY = Path(__file__).resolve().parents[1]
from awr_ros.runtime.select import load_engine


def test_tables_are_markdown(tmp_path, capsys):
    report = Report('title')
    report.section('part', 'how')
    row = report.table(('what', 'ms'))
    row('fast', 1.234)
    row('slow', 'unknown')
    with pytest.raises(ValueError, match='2 cells'):
        row('one')
    report.write(tmp_path / 'new' / 'results.md')
    text = (tmp_path / 'new' / 'results.md').read_text()
    assert (
        text
        == '# title\n\n## part\n\nhow\n\n| what | ms |\n|---|---|\n| fast | 1.23 |\n| slow | unknown |\n'
    )
    assert re.search(r'^fast +1\.23$', capsys.readouterr().out, re.M)


def test_the_median_of_what_was_asked_for():
    calls = []
    assert 0 <= median_ms(lambda: calls.append(1), 20) < 1000 and len(calls) == 23


def test_the_machine_is_described():
    found = dict(describe())
    # builds for CUDA say +cu130 here and not in their metadata
    torch_version = torch.__version__.partition('+')[0]
    assert (
        'cores' in found['CPU']
        and f'torch {torch_version}' in found['packages']
        and 'average' in found['load']
    )
    assert version('no-such-package') == 'not installed'
    assert load_in_words(0.1, 2) == 'idle' and 'NOT idle' in load_in_words(1.0, 2)


def test_the_work_of_a_network_is_counted():
    config = ModelConfig(stem=(4, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=32)
    flop, moved = work(CompactNetwork(config).eval(), 32)
    # By hand: 2 x 9 x inputs x outputs x pixels of each 3x3 convolution, 2 x inputs x outputs x
    # pixels of each 1x1.
    convolutions = [
        (9, 1, 4, 256),
        (9, 4, 8, 64),
        *[(9, 8, 8, 64)] * 2,
        (9, 8, 16, 16),
        (9, 16, 16, 16),
        (1, 8, 16, 16),
        (1, 16, 8, 16),
        (1, 8, 8, 64),
        (9, 8, 8, 64),
        (1, 8, 84, 64),
    ]
    # and the hand's linear layer
    expected = sum(2 * np.prod(sizes) for sizes in convolutions) + 2 * 16
    assert flop == expected
    assert moved['weights'] == 2 * sum(p.numel() for p in CompactNetwork(config).parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_without_a_gpu_nothing_is_claimed(tmp_path):
    report = Report('title')
    bench_gpu(report, None, 1)
    report.write(tmp_path / 'results.md')
    assert 'No GPU here: nothing was measured' in (tmp_path / 'results.md').read_text()


@pytest.mark.timeout(300)
def test_what_is_measured_on_a_gpu_runs_without_one(tmp_path):
    output = tmp_path / 'results.md'
    wanted = ['bench', '--only', 'gpu', '--tiny', '--repeats', '1', '--output', str(output)]
    assert main(wanted) == 0
    text = output.read_text()
    assert text.count('NO GPU: the CPU in its place') == 3
    for name in ('compact', 'compact, torch.compile', 'ResNet-18'):
        assert re.search(rf'^\| {name} \| 1 \| [\d.]+ \| nan \| [\d.]+ \| nan% \|$', text, re.M)
    assert re.search(r'^\| 1 \| [\d.]+ \| 1 \|$', text, re.M)  # a hand was tracked
    assert re.search(r'^\| 2 x 1 \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$', text, re.M)
    for what in ('rendering', 'training S, batch 8'):
        assert re.search(rf'^\| {what} \| [1-9]\d* \|$', text, re.M), text


def test_a_benchmark_that_fails_on_a_gpu_ends_no_other(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError('out of memory')

    for name in ('passes', 'updates', 'cameras'):
        monkeypatch.setattr(gpu, f'bench_{name}', fails if name == 'passes' else lambda *_: None)
    monkeypatch.setattr(gpu, 'bench_learning', lambda report, *_: report.remark('crops were drawn'))
    output = tmp_path / 'results.md'
    assert main(['bench', '--only', 'gpu', '--tiny', '--output', str(output)]) == 1
    text = output.read_text()
    assert 'The part passes failed: RuntimeError: out of memory' in text
    assert 'crops were drawn' in text and 'Traceback' in capsys.readouterr().err


def test_trackers_of_the_bench_follow_all_hands():
    engine = load_engine(engine='torch', device='cpu', num_threads=1)
    with ThreadPoolExecutor(2) as threads:
        rig = Rig([engine], *movement(4, 3), 4, threads)
        rig.step()
        assert len(rig.step()[0]) == 4


def test_the_command_measures_and_writes(tmp_path):
    """One part of it for real, with few repeats: figures of every stage, all positive."""
    output = tmp_path / 'results.md'
    assert main(['bench', '--only', 'frame', '--repeats', '1', '--output', str(output)]) == 0
    rows = re.findall(r'^\| (.+) \| ([\d.]+) \|$', output.read_text(), re.M)
    assert len(rows) == 11 and all(float(value) > 0 for _, value in rows)
    names = {name for name, _ in rows}
    assert {'crop of one hand', 'tracker: a frame, up to 1 hand, 3 views'} <= names


# ---- the figures of the documents


BENCHMARK = (REPOSITORY / 'docs' / 'benchmark.md').read_text()
ROWS = """| CPU | fast, 2 cores |
| engine | ONNX Runtime |

| hands, rate | p50 [ms] | p99 [ms] | dropped | lost | found | CPU |
|---|---|---|---|---|---|---|
| 1 at 30 Hz | 5.00 | 9.00 | 0 | 1 | 100.0% | 18% |
| 2 at 30 Hz | 8.00 | 12.00 | 0 | 0 | 99.0% | 25% |
"""
dated = pytest.mark.skipif(
    '| weights |' not in BENCHMARK, reason='written before figures named their weights: make bench'
)


@dated
def test_the_benchmark_is_of_the_shipped_weights():
    """`make bench` makes both true, after new weights."""
    assert f'| weights | SHA-256 {checksum(DEFAULT_WEIGHTS)} |' in BENCHMARK


@dated
def test_the_readme_has_the_figures_of_the_benchmark():
    shown = (REPOSITORY / 'README.md').read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == readme_table(BENCHMARK)


def test_a_readme_gets_the_table(tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{BEGIN}\nold\n{END}\nafter\n')
    update_readme(readme, ROWS)
    assert (
        '| p50 5.00 ms, p99 9.00 ms | p50 8.00 ms, p99 12.00 ms |' in readme.read_text()
        and 'old' not in readme.read_text()
    )
    assert readme.read_text().startswith('before\n') and readme.read_text().endswith('\nafter\n')
    with pytest.raises(ValueError, match='no figures for 1 at 30 Hz'):
        readme_table('| CPU | fast |')
    readme.write_text('nothing')
    with pytest.raises(ValueError, match='no marks for the table'):
        update_readme(readme, ROWS)


def test_python_calls_are_counted():
    def inner():
        return sum(map(abs, range(3)))  # built-in functions do not count

    assert python_calls(lambda: (inner(), inner()), 3) == 3


def test_where_mediapipe_is_missing_the_bench_says_so(tmp_path, capsys):
    bench_mediapipe(Report('title'), None, '/bin/false')
    assert 'MediaPipe is not here' in capsys.readouterr().out


def test_frames_become_grey_images():
    image = grey(np.array([[500, 640, 0, 5000]], np.uint16))
    assert image.shape == (1, 4, 3) and image[0, :, 0].tolist() == [255, 127, 0, 0]
