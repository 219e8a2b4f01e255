"""One command from random weights to a checkpoint, killed in every stage that takes long, and
resumed.
"""

import json
import signal
import subprocess
import sys

import pytest
import tiny_make_weights

from awr_ros.__main__ import main
from awr_ros.estimator import HandPoseEstimator
from awr_ros.networks.checkpoint import load_checkpoint, save_checkpoint
from awr_ros.training import make_weights as making
from awr_ros.training.make_weights import for_minutes, make_weights, model_card
from awr_ros.training.weights_config import WeightsConfig, differences


@pytest.mark.timeout(300)  # four short processes
def test_a_run_that_is_killed_again_and_again_ends_with_weights_that_load(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    for kill_at in ('network 8', 'read 128', 'fitted 3', ''):
        done = tiny_make_weights.run(folder, kill_at)
        assert done.returncode == (-signal.SIGKILL if kill_at else 0), (
            kill_at,
            done.stderr[-3000:],
        )
    assert (folder / 'events').read_text().split('\n')[:-1] == [
        'network 8',
        'network 16',
        'read 64',
        'read 128',
        'read 192',
        'read 256',
        *(f'fitted {i}' for i in range(1, 7)),
    ]
    assert not (folder / 'refiner').exists()
    estimator = HandPoseEstimator.from_pretrained(
        folder / 'weights.pt', device='cpu', engine='torch'
    )
    assert estimator.config.crop_size == 64
    network, about = load_checkpoint(folder / 'weights.pt')
    assert (
        network.refiner
        and network.handedness
        and about['step'] == 16
        and {'refined_mm', 'side_right'} <= set(about['metrics'])
    )
    card = (folder / 'model-card.md').read_text()
    assert (
        '| Command | `python -m awr_ros make-weights OUT --samples 16 --batch 8' in card
        and '16 training samples' in card
    )
    assert set(json.loads((folder / 'progress.json').read_text())['seconds']) == {
        'finder',
        'network',
        'refiner',
        'handedness',
        'detection score',
        'evaluation',
    }


@pytest.mark.timeout(550)  # half a minute on an idle core
def test_two_processes_make_one_checkpoint_also_after_a_kill(tmp_path):
    """By torchrun, as with several GPUs; gloo exchanges the gradients."""
    program, folder = tmp_path / 'program.py', tmp_path / 'run'
    program.write_text(tiny_make_weights.PROGRAM)
    folder.mkdir()

    def torchrun(kill_at):
        return subprocess.run(
            [
                *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
                *('--nproc-per-node', '2', program, folder, kill_at),
            ],
            capture_output=True,
            text=True,
            timeout=250,
        )

    killed = torchrun('network 8')
    assert killed.returncode and 'SIGKILL' in killed.stderr, killed.stderr[-3000:]
    done = torchrun('')
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / 'events').read_text().split('\n')[:3] == ['network 8', 'network 16', 'read 64']
    header, *rows = (folder / 'network' / 'log.csv').read_text().splitlines()
    assert header.startswith('seen,') and [row.partition(',')[0] for row in rows] == ['8', '16']
    assert json.loads((folder / 'network' / 'config.json').read_text())['batch'] == 4  # of each
    network, about = load_checkpoint(folder / 'weights.pt')
    assert network.refiner and network.handedness and about['step'] == 16
    HandPoseEstimator.from_pretrained(folder / 'weights.pt', device='cpu', engine='torch')


@pytest.fixture
def stages(monkeypatch):
    """The stages of a run as a list of their names that grows as they run."""
    ran = []

    def fake(folder, config):
        return {
            name: lambda name=name: ran.append(name) for name in ('finder', 'network', 'evaluation')
        }

    monkeypatch.setattr(making, '_stages', fake)
    monkeypatch.setattr(making, 'model_card', lambda *_: 'card')
    return ran


def test_finished_stages_are_not_repeated_and_other_settings_refused(stages, tmp_path):
    make_weights(tmp_path, WeightsConfig(samples=5))
    make_weights(tmp_path, WeightsConfig(samples=5, workers=7, device='cpu'))
    assert stages == ['finder', 'network', 'evaluation']
    with pytest.raises(ValueError, match=r'other settings \(samples, seed\)'):
        make_weights(tmp_path, WeightsConfig(samples=6, seed=1))


def test_other_processes_only_train_the_network(stages, tmp_path, monkeypatch):
    making.Progress(tmp_path, WeightsConfig()).finish('finder', 1.0)
    monkeypatch.setenv('RANK', '1')
    make_weights(tmp_path, WeightsConfig())
    assert stages == ['network'] and not (tmp_path / 'model-card.md').exists()


def test_minutes_become_samples_once(monkeypatch, tmp_path):
    def timed(folder, config):
        assert config.samples == 2 * config.validate_every and config.negatives == 0
        (folder / 'log.csv').write_text('seen,crops_per_s\n1,10.0\n2,100.0\n')

    monkeypatch.setattr(making, 'train', timed)
    config = for_minutes(tmp_path, WeightsConfig(), 10)
    assert (config.samples, config.scenes) == (36_000, 36)  # 60 % of 600 s at 100 crops/s
    making.Progress(tmp_path, config)
    # a run goes on with what it began with
    assert for_minutes(tmp_path, WeightsConfig(), 99) == config
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(ValueError, match='give samples'):
        for_minutes(tmp_path / 'other', WeightsConfig(), 10)


def test_the_command_line_has_every_setting(stages, tmp_path, capsys):
    assert (
        main(
            [
                'make-weights',
                str(tmp_path),
                '--samples',
                '7',
                '--size',
                'm',
                '--refiner-share',
                '0.5',
            ]
        )
        == 0
    )
    kept = making.Progress.kept_config(tmp_path)
    assert kept == WeightsConfig(samples=7, size='m', refiner_share=0.5)
    assert differences(
        kept, WeightsConfig(samples=7, size='s', refiner_share=0.5, compiled=True)
    ) == ['size']
    assert main(['make-weights', str(tmp_path), '--samples', '0']) == 1
    assert 'samples must be at least 1, got 0' in capsys.readouterr().err


def test_the_model_card_says_what_made_the_weights(tmp_path):
    network, about = load_checkpoint()
    save_checkpoint(tmp_path / 'weights.pt', network, 1234567, {'refined_mm': 6.54321})
    (tmp_path / 'evaluation.txt').write_text('joint error mean 6.45 mm\n')
    card = model_card(tmp_path, WeightsConfig(samples=1234567, compiled=True), {'network': 90.0})
    for line in (
        '| Command | `python -m awr_ros make-weights OUT --samples 1234567 --compiled` |',
        '| Crops the network learnt from | 1,234,567 |',
        '| Time, network | 1.5 min |',
        '| refined_mm | 6.543 |',
    ):
        assert line in card
    assert 'joint error mean 6.45 mm\n```' in card


@pytest.mark.parametrize(
    'content',
    [
        '',
        '[]',
        '{',
        '{"config": {}}',
        '{"config": {"what": 1}, "seconds": {}}',
        '\0\0',
        '{"seconds": 3}',
    ],
)
def test_a_damaged_record_is_named(content, stages, tmp_path):
    (tmp_path / 'progress.json').write_text(content)
    with pytest.raises(ValueError, match='progress.json is no record of such a run, or damaged'):
        make_weights(tmp_path, WeightsConfig())
    assert (tmp_path / 'progress.json').read_text() == content
