"""The average of training runs' weights."""

from dataclasses import replace

import pytest
import torch

from awr_ros.__main__ import main
from awr_ros.networks.checkpoint import CompactNetwork, load_checkpoint, save_checkpoint
from awr_ros.training.average import average_weights
from awr_ros.training.train import NETWORKS


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Weights of two runs."""
    folder, paths = tmp_path_factory.mktemp('runs'), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(folder / f'{seed}.pt')
        network = CompactNetwork(NETWORKS['s'])
        save_checkpoint(paths[-1], network, 1000 + seed, {}, dtype=torch.float32)
    return paths


def states(*paths):
    return [load_checkpoint(path)[0].state_dict() for path in paths]


def test_weights_are_averaged_by_shares_and_normalised_anew(runs, tmp_path):
    average_weights(runs, tmp_path / 'mean.pt', (1, 3), crops=128)
    first, second, mean = states(*runs, tmp_path / 'mean.pt')
    statistics = [name for name in mean if 'running' in name]
    assert statistics and not any(name.startswith('refiner') for name in mean)
    for name, value in mean.items():
        expected = 0.25 * first[name] + 0.75 * second[name]
        if name in statistics:
            assert not torch.allclose(value, expected.to(value), atol=1e-3)
        elif value.is_floating_point():
            assert torch.allclose(value, expected, atol=1e-3, rtol=1e-2)
    network, about = load_checkpoint(tmp_path / 'mean.pt')
    assert about['step'] == 1001
    field = network(torch.full((1, 1, 128, 128), 0.2))[0]
    assert field.isfinite().all()


def test_shares_are_equal_by_default_and_the_command_writes_it(runs, tmp_path, capsys):
    output = tmp_path / 'mean.pt'
    assert main(['average', str(output), *map(str, runs), '--crops', '128']) == 0
    assert f'wrote {output}' in capsys.readouterr().out
    first, second, mean = states(*runs, output)
    name = next(name for name, value in mean.items() if value.dim() == 4)
    assert torch.allclose(mean[name], (first[name] + second[name]) / 2, atol=1e-3, rtol=1e-2)


def test_what_cannot_be_averaged_is_named(runs, tmp_path):
    with pytest.raises(ValueError, match='two or more weights'):
        average_weights(runs[:1], tmp_path / 'mean.pt')
    with pytest.raises(ValueError, match='1 shares'):
        average_weights(runs, tmp_path / 'mean.pt', (1,))
    with pytest.raises(ValueError, match='above 0, got 0'):
        average_weights(runs, tmp_path / 'mean.pt', (1, 0))
    other = tmp_path / 'm.pt'
    save_checkpoint(other, CompactNetwork(replace(NETWORKS['s'], cube_mm=300.0)), 1, {})
    with pytest.raises(ValueError, match='m.pt and .*0.pt are networks of different settings'):
        average_weights([other, runs[0]], tmp_path / 'mean.pt')
    refined = tmp_path / 'refined.pt'
    save_checkpoint(refined, CompactNetwork(replace(NETWORKS['s'], refiner=8)), 1, {})
    with pytest.raises(ValueError, match='refined.pt has a refiner'):
        average_weights([refined, refined], tmp_path / 'mean.pt')
    assert not (tmp_path / 'mean.pt').exists()
