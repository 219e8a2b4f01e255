"""Training: losses that know the truth, runs that go on where they stopped, and a network that
learns.
"""

import csv
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import awr_ros.training.crop_stream as streams
import awr_ros.training.train as training
from awr_ros.networks.checkpoint import (
    CompactNetwork,
    ModelConfig,
    load_checkpoint,
    save_checkpoint,
)
from awr_ros.offset_field import encode
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.crops import CropSource
from awr_ros.training.crop_stream import RenderedCrops
from awr_ros.training.losses import LossConfig, losses, validation_figures
from awr_ros.training.run import Run, log, schedule
from awr_ros.training.train import TrainConfig, train

KERNEL = 0.8
TINY = ModelConfig(
    stem=(8, 16), widths=(16, 32, 64), blocks=(1, 1, 1), decoder_width=32, crop_size=64
)
SMALL = CropConfig(size=64, negative_share=0.25)


@pytest.fixture(scope='module')
def batch():
    return CropSource(2, SMALL).draw(32)


def sure(batch):
    """Logit (B,) of a network that knows."""
    return 40.0 * batch.hand.float() - 20


def truth(batch):
    return encode(batch.joints_uvdn, batch.depth, KERNEL, 16)


def with_skin_at_all_joints(batch):
    """(B,) bool: the sensor left some depth near every joint, so that the truth can be read out of
    its field.
    """
    return truth(batch)[:, 63:].flatten(2).amax(-1).amin(1) > 0.7


def test_the_encoded_truth_has_no_loss():
    batch = CropSource(2, SMALL).draw(64)
    # every joint inside the crop
    seen = (batch.joints_uvdn.abs().amax((1, 2)) < 1) & with_skin_at_all_joints(batch)
    batch = batch[seen]
    assert batch.hand.sum() > 3
    total, terms = losses(truth(batch), sure(batch), batch, KERNEL)
    assert terms['dense'] < 1e-7 and terms['joint'] < 3e-4 and terms['hand'] < 1e-6
    assert total < 5e-3


def test_losses_are_finite_and_their_sum_is_weighted(batch):
    field = torch.randn(
        32, 84, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    logit = torch.zeros(32, requires_grad=True)
    total, terms = losses(field, logit, batch, KERNEL, LossConfig(joint=2.0, dense=3.0, hand=5.0))
    expected = 2 * terms['joint'] + 3 * terms['dense'] + 5 * terms['hand']
    torch.testing.assert_close(total, expected)
    assert terms['hand'].item() == pytest.approx(math.log(2))
    total.backward()
    assert (
        torch.isfinite(field.grad).all() and field.grad.abs().sum() > 0 and (logit.grad != 0).all()
    )


def test_the_dense_loss_is_a_mean_of_smooth_l1_over_foreground_of_posed_hands(batch):
    field = truth(batch) + 0.25
    _, terms = losses(field, sure(batch), batch, KERNEL)
    assert terms['dense'].item() == pytest.approx(0.25 - 0.005, rel=1e-4)  # |e| - beta / 2


def test_background_and_crops_without_a_hand_teach_no_field(batch):
    field = torch.zeros(32, 84, 16, 16, requires_grad=True)
    losses(field, sure(batch), batch, KERNEL)[0].backward()
    touched = field.grad.abs().sum(1) > 0  # (B,16,16)
    assert 0 < batch.hand.sum() < 32
    assert not touched[~batch.hand].any() and touched[batch.hand].flatten(1).any(1).all()
    background = batch.depth[:, 0, ::4, ::4] >= 0.99
    assert not touched[background].any()


def test_a_batch_with_no_hand_at_all_has_finite_losses(batch):
    none = replace(batch, hand=torch.zeros(32, dtype=torch.bool))
    total, terms = losses(torch.zeros(32, 84, 16, 16), torch.zeros(32), none, KERNEL)
    assert torch.isfinite(total) and terms['joint'] == terms['dense'] == 0


def test_validation_figures_are_millimetres_in_space(batch):
    inside = (batch.joints_uvdn.abs().amax((1, 2)) < 0.9) & with_skin_at_all_joints(batch)
    batch = batch[inside]
    figures = validation_figures(truth(batch), sure(batch), batch, KERNEL)
    assert figures['mean_mm'] < 0.2 and figures['max_below_20mm'] == figures['hand_accuracy'] == 1
    moved = batch.joints_uvdn + torch.tensor([0.3, 0.0, 0.0])
    # What is 0.3 of half a cube at the centre's depth is less for joints nearer to the camera, and
    # more for those behind.
    expected = (
        0.15
        * batch.cube_mm[:, None]
        * (1 + batch.joints_uvdn[..., 2] * batch.cube_mm[:, None] / 2 / batch.centre_xyz[:, 2:])
    )
    figures = validation_figures(
        truth(batch), -sure(batch), replace(batch, joints_uvdn=moved), KERNEL
    )
    assert figures['mean_mm'] == pytest.approx(expected[batch.hand].mean().item(), abs=0.2)
    assert figures['max_below_20mm'] == figures['hand_accuracy'] == 0


def test_the_learning_rate_warms_up_and_ends_at_zero():
    rates = [schedule(seen, 1_000_000) for seen in range(0, 1_000_001, 10_000)]
    assert (
        rates[0] < 1e-4
        and max(rates) == rates[2] > 0.99
        and rates[-1] == pytest.approx(0, abs=1e-9)
    )
    assert all(a >= b for a, b in zip(rates[2:], rates[3:]))


@pytest.fixture
def tiny_run(monkeypatch):
    """Runs of seconds: a tiny network on small crops, four a step."""
    monkeypatch.setitem(training.NETWORKS, 's', TINY)
    for module in (training, streams):
        monkeypatch.setattr(
            module,
            'CropSource',
            lambda seed, config=SMALL, **other: CropSource(seed, SMALL, **other),
        )
    monkeypatch.setattr(training, 'keep_memory', lambda: None)  # it would outlive the test
    threads = torch.get_num_threads()
    yield lambda **change: TrainConfig(
        **{
            **dict(
                samples=8,
                batch=4,
                workers=0,
                validate_every=4,
                validation=128,
                device='cpu',
                negatives=0,
            ),
            **change,
        }
    )
    torch.set_num_threads(threads)


def rows(folder):
    with open(folder / 'log.csv') as file:
        return list(csv.DictReader(file))


def test_a_run_of_two_steps_leaves_all_its_files(tiny_run, tmp_path):
    train(tmp_path / 'run', tiny_run())
    assert {path.name for path in (tmp_path / 'run').iterdir()} == {
        'last.pt',
        'weights.pt',
        'weights.sha256',
        'log.csv',
        'config.json',
        'sheet.png',
    }
    log = rows(tmp_path / 'run')
    assert [row['seen'] for row in log] == ['4', '8']
    assert all(math.isfinite(float(value)) for row in log for value in row.values())
    assert {'train_joint', 'train_dense', 'mean_mm', 'tips_mm', 'lr'} <= log[0].keys()
    network, about = load_checkpoint(tmp_path / 'run' / 'weights.pt')
    assert network.config == TINY and about['step'] == 8
    assert about['metrics']['mean_mm'] == pytest.approx(float(log[-1]['mean_mm']))
    assert json.loads((tmp_path / 'run' / 'config.json').read_text())['samples'] == 8


def test_a_run_goes_on_where_it_stopped(tiny_run, tmp_path):
    train(tmp_path, tiny_run(samples=8, validation=0))
    before = torch.load(tmp_path / 'last.pt', weights_only=True)
    train(tmp_path, tiny_run(samples=12, validation=0))
    after = torch.load(tmp_path / 'last.pt', weights_only=True)
    assert (before['seen'], after['seen']) == (8, 12)
    steps = [
        {int(s['step']) for s in state['optimizer']['adamw']['state'].values()}
        for state in (before, after)
    ]
    assert steps == [{2}, {3}]  # one step more, from the optimiser's own state
    assert (
        before['network']['stem.0.1.num_batches_tracked'] + 1
        == after['network']['stem.0.1.num_batches_tracked']
    )
    assert [row['seen'] for row in rows(tmp_path)] == ['4', '8', '12']


def test_a_finished_run_is_left_as_it_is(tiny_run, tmp_path):
    train(tmp_path, tiny_run(validation=0))
    before = (tmp_path / 'last.pt').read_bytes()
    train(tmp_path, tiny_run(validation=0))
    assert (tmp_path / 'last.pt').read_bytes() == before and len(rows(tmp_path)) == 2


def test_a_run_starts_from_given_weights(tiny_run, tmp_path):
    torch.manual_seed(7)
    network = CompactNetwork(TINY)
    save_checkpoint(tmp_path / 'start.pt', network, 5, {}, dtype=torch.float32)
    config = tiny_run(init=str(tmp_path / 'start.pt'))
    started = []
    with pytest.MonkeyPatch.context() as patch:  # the run as `train` makes it, before it learns
        patch.setattr(training.Run, 'step', lambda run, *_: started.append(run) or sys.exit())
        with pytest.raises(SystemExit):
            train(tmp_path / 'run', config)
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), started[0].network.parameters())
    )
    assert started[0].seen == 0
    save_checkpoint(
        tmp_path / 'finished.pt', CompactNetwork(replace(TINY, refiner=8, handedness=8)), 5, {}
    )
    config = replace(config, init=str(tmp_path / 'finished.pt'))
    assert training.start_network(config)[0].config == TINY
    train(tmp_path / 'further', config)
    assert load_checkpoint(tmp_path / 'further' / 'weights.pt')[1]['step'] == 5 + config.samples
    save_checkpoint(tmp_path / 'other.pt', CompactNetwork(replace(TINY, decoder_width=16)), 5, {})
    with pytest.raises(ValueError, match='other.pt'):
        training.start_network(replace(config, init=str(tmp_path / 'other.pt')))


def test_two_processes_learn_the_same_from_other_crops(tmp_path):
    """As torchrun starts them: both end with the same weights, and one of them writes."""
    program = f"""
import torch
import awr_ros.training.crop_stream as streams
import awr_ros.training.train as training
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.crops import CropSource
from awr_ros.networks.checkpoint import ModelConfig
training.NETWORKS['s'] = ModelConfig(stem=(8, 16), widths=(16, 32), blocks=(1, 1), decoder_width=16, crop_size=64)
streams.CropSource = lambda seed, config, **other: CropSource(seed, CropConfig(size=64), **other)
steps = []
step = training.Run.step
training.Run.step = lambda run, loss, samples: (steps.append((loss.item(), run)), step(run, loss, samples))[1]
training.train({str(tmp_path / 'run')!r}, training.TrainConfig(samples=16, batch=4, workers=0, validation=0, negatives=0, device='cpu'))
losses, run = [loss for loss, _ in steps], steps[0][1]
import os
torch.save((losses, run.network.state_dict()), {str(tmp_path)!r} + '/rank' + os.environ['RANK'] + '.pt')
"""
    (tmp_path / 'program.py').write_text(program)
    started = subprocess.Popen(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc-per-node=2',
            tmp_path / 'program.py',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = started.communicate(timeout=100)
    finally:
        started.terminate()  # and it ends the two
        started.wait(15)
    assert started.returncode == 0, said
    (losses, first), (other_losses, second) = (
        torch.load(tmp_path / f'rank{i}.pt', weights_only=True) for i in (0, 1)
    )
    assert len(losses) == 2 and losses != other_losses  # 16 crops: two steps of four a process
    trained = [name for name in first if 'running' not in name and 'tracked' not in name]
    assert trained and all(torch.equal(first[name], second[name]) for name in trained)
    assert [row['seen'] for row in rows(tmp_path / 'run')] == ['16']


def test_crops_of_other_things_are_drawn_as_no_hands():
    negatives = torch.full((3, 1, 64, 64), 0.25)
    batch = CropSource(4, CropConfig(size=64, negative_share=0.6), negatives=negatives).draw(64)
    given = (batch.depth == 0.25).all((1, 2, 3))
    assert 0.2 < given[~batch.hand].float().mean() < 0.8 and not given[batch.hand].any()


def test_every_start_draws_other_crops_and_repeats_them(tiny_run):
    config = tiny_run()

    def first(start, **change):
        return next(iter(RenderedCrops(tiny_run(**change), start)))[0]

    assert torch.equal(first(0), next(iter(RenderedCrops(config, 0)))[0])
    assert not torch.equal(first(0), first(8)) and not torch.equal(first(0), first(0, seed=1))


def test_eight_crops_are_learnt_by_heart():
    """All the parts together can learn: network, read-out, losses, gradients."""
    torch.manual_seed(0)
    batch = CropSource(4, CropConfig(size=64, negative_share=0.0)).draw(8)
    network = CompactNetwork(TINY).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    seen = []
    for _ in range(60):
        total, terms = losses(*network(batch.depth), batch, TINY.kernel_size)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append({name: value.item() for name, value in terms.items()})
    first, last = seen[0], {name: np.mean([s[name] for s in seen[-5:]]) for name in seen[0]}
    assert last['joint'] < 0.2 * first['joint'] and last['dense'] < 0.6 * first['dense']
    assert last['hand'] < 0.1 * first['hand']


# ---- runs that were killed, and files that are not theirs


def run_in(folder):
    torch.manual_seed(0)
    return Run(
        folder,
        CompactNetwork(TINY).to(memory_format=torch.channels_last),
        TrainConfig(samples=64, batch=8, validate_every=16),
    )


def test_rows_of_a_killed_run_are_not_doubled(tmp_path):
    run = run_in(tmp_path)
    for seen in (16, 32):
        run.seen = seen
        log(tmp_path / 'log.csv', {'seen': seen, 'loss': 1.5})
        run.save()
    log(tmp_path / 'log.csv', {'seen': 48, 'loss': 1.5})  # killed before last.pt was written
    with open(tmp_path / 'log.csv', 'a') as file:
        file.write('64,1')  # and in the middle of a row
    assert run_in(tmp_path).seen == 32
    with open(tmp_path / 'log.csv') as file:
        assert [row['seen'] for row in csv.DictReader(file)] == ['16', '32']
    (tmp_path / 'last.pt').unlink()
    run_in(tmp_path)
    (kept,) = tmp_path.glob('log-before-*.csv')  # of a run that cannot go on: kept
    assert len(kept.read_text().splitlines()) == 3 and not (tmp_path / 'log.csv').exists()


def test_only_the_first_of_several_processes_trims_the_log(tmp_path, monkeypatch):
    (tmp_path / 'log.csv').write_text('seen,lr\n8,0.1\n')
    monkeypatch.setenv('RANK', '1')
    run_in(tmp_path)
    assert (tmp_path / 'log.csv').exists()
    monkeypatch.setenv('RANK', '0')
    run_in(tmp_path)
    assert not (tmp_path / 'log.csv').exists()


@pytest.mark.parametrize(
    'change',
    [
        b'',
        b'<!DOCTYPE html>',
        b'PK\x03\x04 torn',
        {'seen': 'many'},
        {'seen': -1},
        {'seen': None},
        {'optimizer': None},
        {'optimizer': {'state': 3}},
        {'average': []},
        {'network': None},
        [1, 2],
        None,
    ],
)
def test_a_hostile_last_pt_is_a_value_error(tmp_path, change):
    run_in(tmp_path).save()
    last = tmp_path / 'last.pt'
    if isinstance(change, bytes):
        last.write_bytes(change)
    else:
        torch.save(
            {**torch.load(last, weights_only=True), **change}
            if isinstance(change, dict)
            else change,
            last,
        )
    with pytest.raises(ValueError, match='last.pt'):
        run_in(tmp_path)


def test_a_save_that_is_killed_leaves_the_old_last_pt(tmp_path, monkeypatch):
    run = run_in(tmp_path)
    run.seen = 16
    run.save()
    run.seen = 32
    save = torch.save
    monkeypatch.setattr(
        torch, 'save', lambda state, path: (save([1], path), exec('raise KeyboardInterrupt'))
    )
    with pytest.raises(KeyboardInterrupt):
        run.save()
    monkeypatch.undo()
    assert run_in(tmp_path).seen == 16 and [path.name for path in tmp_path.iterdir()] == ['last.pt']
