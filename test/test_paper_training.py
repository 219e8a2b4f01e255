"""Training on public data sets: samples whose joints stay on their pixels, losses, schedules, going
on, and learning.
"""

import csv
import math

import numpy as np
import pytest
import torch

from awr_ros.__main__ import main
from awr_ros.datasets import train as schedule
from awr_ros.datasets.config import PaperTrainConfig
from awr_ros.datasets.evaluate import predict
from awr_ros.datasets.frames import Frames
from awr_ros.datasets.loaders import load_frames
from awr_ros.datasets.metrics import joint_errors
from awr_ros.datasets.rendered_set import write_msra, write_nyu
from awr_ros.datasets.samples import Augmentation, CropSamples, rotate
from awr_ros.datasets.specs import DATASETS
from awr_ros.datasets.train import STAGES, StageLoss, build_network, smooth_l1, stage_losses
from awr_ros.networks.checkpoint import CompactNetwork, ModelConfig, load_checkpoint
from awr_ros.offset_field import decode, encode

pytest.importorskip('scipy')
NYU = DATASETS['nyu']


@pytest.fixture(scope='module')
def nyu_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('nyu')
    write_nyu(root, train=8, test=3)
    return root


@pytest.fixture(scope='module')
def dots():
    """A frame with nothing but a small square at each of 14 joints, each at its own depth."""
    random = np.random.default_rng(3)
    joints, depth = [], np.zeros((480, 640), np.float32)
    while len(joints) < 14:
        xyz = random.uniform((-85, -85, 640), (85, 85, 800))
        if all(np.linalg.norm((xyz - other)[:2]) > 30 for other in joints):
            joints.append(xyz)
            u, v, d = NYU.intrinsics.xyz_to_uvd(xyz)
            depth[round(v) - 3 : round(v) + 4, round(u) - 3 : round(u) + 4] = d
    joints = np.array(joints)
    return Frames(
        NYU,
        ('none',),
        lambda path: depth,
        joints[None],
        np.array([[5.0, -7.0, 720.0]]),
        np.array([300.0]),
    )


def config(**change):
    return PaperTrainConfig(
        **{
            **dict(network='hourglass_1', width=16, crop_size=32, batch=4, workers=0, device='cpu'),
            **change,
        }
    )


@pytest.mark.parametrize('authors_crop', [False, True])
@pytest.mark.parametrize('kind', ['none', 'translate', 'scale', 'rotate'])
def test_joints_stay_on_their_pixels_whatever_is_done_to_a_sample(
    dots, monkeypatch, kind, authors_crop
):
    """Fails when an axis is flipped, channels are swapped, a turn goes the other way, or the grid
    or cube is off.
    """
    samples = CropSamples(
        dots, build_network(PaperTrainConfig(authors_crop=authors_crop)).config, Augmentation()
    )
    draws = {
        'none': (0.0, 1.0, 0.0),
        'translate': (np.array([14.0, -9.0, 11.0]), 1.0, 0.0),
        'scale': (0.0, 1.13, 0.0),
        'rotate': (0.0, 1.0, 67.0),
    }
    monkeypatch.setattr(samples, '_draw', lambda index: (kind, *draws[kind]))
    depth, joints = samples[0]
    assert depth.shape == (1, 128, 128) and depth.dtype == joints.dtype == torch.float32
    # the authors' pixel index is its coordinate
    axis = 2 * (torch.arange(128) + (0 if authors_crop else 0.5)) / 128 - 1
    v, u = torch.meshgrid(axis, axis, indexing='ij')
    found = 0
    for joint in joints:
        near = (depth[0] < 0.99) & ((u - joint[0]).abs() < 0.06) & ((v - joint[1]).abs() < 0.06)
        if not near.any() or joint[:2].abs().max() > 0.9:
            continue  # out of the crop, or the crop's farthest pixels
        found += 1
        pixel = (
            2.6 if authors_crop else 2
        ) / 128  # the authors' resizing takes first, not middle pixels
        assert (u[near].mean() - joint[0]).abs() < pixel and (
            v[near].mean() - joint[1]
        ).abs() < pixel
        assert (depth[0][near] - joint[2]).abs().max() < 0.004
    assert found >= 10


def test_samples_are_drawn_anew_every_epoch_and_repeat(nyu_root):
    samples = CropSamples(
        load_frames('nyu', nyu_root, 'train'),
        build_network(config()).config,
        Augmentation(),
        seed=5,
    )
    first = [samples[i][1] for i in range(8)]
    assert all(torch.equal(a, samples[i][1]) for i, a in enumerate(first))
    samples.epoch = 1
    assert sum(not torch.equal(a, samples[i][1]) for i, a in enumerate(first)) >= 5
    kinds = [samples._draw(i)[0] for i in range(400)]
    assert all(70 < kinds.count(kind) < 130 for kind in ('none', 'translate', 'scale', 'rotate'))
    shifts = np.array([samples._draw(i)[1] for i in range(400)])
    factors = np.array([samples._draw(i)[2] for i in range(400)])
    assert 9 < shifts.std() < 11 and 0.09 < factors.std() < 0.11 and abs(factors.mean() - 1) < 0.02


def test_turning_by_a_right_angle_is_exact():
    depth = np.random.default_rng(0).uniform(-1, 0.9, (32, 32)).astype(np.float32)
    turned, joints = rotate(depth, np.array([[0.5, 0.25, 0.1]]), 90)
    np.testing.assert_array_equal(turned, np.rot90(depth, -1))  # clockwise on the screen
    np.testing.assert_allclose(joints, [[-0.25, 0.5, 0.1]], atol=1e-12)


def test_smooth_l1_is_the_authors():
    z = torch.tensor([0.0, 0.004, -0.01, 0.02, -3.0])
    expected = [0, 0.5 * 0.004**2, 0.5 * 0.01**2, 0.01 * (0.02 - 0.005), 0.01 * (3 - 0.005)]
    assert smooth_l1(z, torch.zeros(5)).item() == pytest.approx(sum(expected) / 5, rel=1e-5)


def test_every_stack_is_supervised(nyu_root):
    torch.manual_seed(0)
    network = build_network(config(network='hourglass_2'))
    samples = CropSamples(load_frames('nyu', nyu_root, 'train'), network.config)
    depth, joints = (torch.stack(column) for column in zip(*(samples[i] for i in range(2))))
    fields = network.fields(depth)
    weights = StageLoss(3.0, 2.0)
    total, terms = stage_losses(fields, depth, joints, 0.4, weights)
    target = encode(joints, depth, 0.4, fields[0].shape[-1])
    single = [
        3 * smooth_l1(decode(f, depth, 0.4)[0], joints) + 2 * smooth_l1(f, target) for f in fields
    ]
    assert len(fields) == 2
    torch.testing.assert_close(total, sum(single))
    torch.testing.assert_close(terms['dense'], smooth_l1(fields[-1], target))
    from_first = torch.autograd.grad(total, fields[0], retain_graph=True)[0]
    through_second = torch.autograd.grad(single[1], fields[0], retain_graph=True)[0]
    assert (
        from_first - through_second
    ).abs().max() > 1e-8  # a loss of its own, not only by way of the second
    # No field is better than the encoded truth, whose read-out is the truth.
    perfect, terms = stage_losses([target], depth, joints, 0.4, weights)
    assert terms['dense'] == 0 and terms['joint'] < 1e-3


def test_stages_and_schedules_are_the_papers():
    schedules = {'nyu': (40, 30), 'icvl': (40, 10), 'msra': (25, 10), 'hands17': (10, 5)}
    for name, (epochs, step) in schedules.items():
        two_stage = PaperTrainConfig(dataset=name)
        assert two_stage.stage_epochs == (epochs, epochs) and two_stage.step_after == step
    assert STAGES['two_stage'][0] == StageLoss(0, 1) and STAGES['two_stage'][1].joint > 0
    assert PaperTrainConfig().learning_rate == 1e-3 and PaperTrainConfig().batch == 32
    assert PaperTrainConfig(network='hourglass_1').kernel == 0.4 and PaperTrainConfig().kernel == 1
    later = PaperTrainConfig(schedule='joint')
    assert (
        later.kernel == 0.8
        and len(later.stage_epochs) == 1
        and STAGES['joint'] == (StageLoss(100, 1),)
    )
    assert PaperTrainConfig(dataset='msra', subject=8).subject == 8
    for bad in (
        {'network': 'vgg'},
        {'subject': 1},
        {'oracle_cube': True, 'dataset': 'icvl'},
        {'schedule': 'x'},
        {'batch': 0},
    ):
        with pytest.raises(ValueError):
            PaperTrainConfig(**bad)


def log(folder):
    with open(folder / 'log.csv') as file:
        return list(csv.DictReader(file))


def test_a_run_by_the_command_goes_on_where_it_stopped(nyu_root, tmp_path, monkeypatch):
    """Two steps an epoch, one epoch a stage: whole, and stopped in the middle of an epoch and at
    the end of a stage.
    """
    # tested elsewhere
    monkeypatch.setattr(schedule, 'predict', lambda network, frames, device: frames.joints_uvd())

    def train(folder, steps):
        assert (
            main(
                [
                    'train',
                    str(folder),
                    '--dataset',
                    'nyu',
                    '--root',
                    str(nyu_root),
                    '--network',
                    'hourglass_1',
                    '--width',
                    '16',
                    '--crop-size',
                    '32',
                    '--batch',
                    '4',
                    '--workers',
                    '0',
                    '--epochs',
                    '1',
                    '--device',
                    'cpu',
                    '--max-steps',
                    str(steps),
                ]
            )
            == 0
        )

    train(tmp_path / 'whole', 0)
    for steps in (1, 2, 3, 0):
        train(tmp_path / 'parts', steps)
    whole, parts = (
        torch.load(tmp_path / name / 'last.pt', weights_only=True) for name in ('whole', 'parts')
    )
    assert whole['at'] == parts['at'] == (2, 0, 0, 16, 4)
    for name, value in whole['network'].items():
        torch.testing.assert_close(parts['network'][name], value)
    rows = log(tmp_path / 'whole')
    assert [(row['stage'], row['seen']) for row in rows] == [('1', '8'), ('2', '16')]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    network, about = load_checkpoint(tmp_path / 'whole' / 'weights.pt')
    assert network.config.joint_names == NYU.joint_names and network.config.kernel_size == 0.4
    assert (
        about['made_by']['dataset'] == 'nyu'
        and about['made_by']['learning_rate'] == 1e-3
        and about['step'] == 16
    )
    with pytest.raises(ValueError, match='was made with crop_size 32, got 64'):
        schedule.train_on_dataset(tmp_path / 'whole', nyu_root, config(epochs=1, crop_size=64))


def test_eight_frames_of_nyus_format_are_learnt_by_heart(nyu_root):
    """Files, crop, field, network, losses and the way back to the image together: below 2 mm."""
    torch.manual_seed(0)
    # the fastest one
    network = CompactNetwork(ModelConfig(joint_names=NYU.joint_names, crop_size=64, cube_mm=300.0))
    kernel_size = network.config.kernel_size
    frames = load_frames('nyu', nyu_root, 'train')
    samples = CropSamples(frames, network.config)
    depth, joints = (torch.stack(column) for column in zip(*(samples[i] for i in range(8))))
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    network.train()
    steps = 200
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = 4e-3 * (1 - step / steps)
        loss, _ = stage_losses(
            network.fields(depth), depth, joints, kernel_size, STAGES['joint'][0]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # With the batch's own statistics, as they were in training: eight frames are too few for
    # running ones.
    errors = []
    with torch.no_grad():
        pred, _ = decode(network(depth)[0], depth, kernel_size)
    for i, uvdn in enumerate(pred.numpy()):
        uvd = samples.crop(i).uvd_from_uvdn(uvdn)
        errors.append(joint_errors(uvd, frames.joints_uvd()[i], NYU.intrinsics))
    assert np.mean(errors) < 2.0


def test_predictions_are_in_the_full_image(nyu_root, monkeypatch):
    """A network that answers with the encoded truth is right by the protocol, to the field's
    precision.
    """
    frames = load_frames('nyu', nyu_root, 'test')
    network = build_network(config(crop_size=128)).eval()
    truth = iter(torch.stack([CropSamples(frames, network.config)[i][1] for i in range(3)])[None])

    def answer(depth):
        return encode(next(truth), depth, network.config.kernel_size, 64), torch.full(
            (3,), math.nan
        )

    monkeypatch.setattr(network, 'forward', answer)
    errors = joint_errors(predict(network, frames), frames.joints_uvd(), NYU.intrinsics)
    assert errors.mean() < 0.5


def test_weights_are_evaluated_on_a_data_set_by_the_command(tmp_path, capsys):
    pytest.importorskip('matplotlib')
    write_msra(tmp_path / 'msra', 4)
    run = tmp_path / 'run'
    common = ['--dataset', 'msra', '--root', str(tmp_path / 'msra')]
    assert (
        main(
            [
                'train',
                str(run),
                *common,
                '--network',
                'resnet_18',
                '--crop-size',
                '32',
                '--batch',
                '4',
                '--workers',
                '0',
                '--max-steps',
                '1',
                '--subject',
                '1',
            ]
        )
        == 0
    )
    assert (
        main(
            [
                'evaluate',
                *common,
                '--subject',
                '1',
                '--weights',
                str(run / 'weights.pt'),
                '--plots',
                str(tmp_path),
                '--output',
                str(tmp_path / 'p.txt'),
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert (
        main(
            [
                'evaluate',
                '--dataset',
                'msra',
                str(tmp_path / 'p.txt'),
                '--truth',
                str(tmp_path / 'p.truth.txt'),
                '--plots',
                str(tmp_path),
            ]
        )
        == 0
    )
    again = capsys.readouterr().out
    mean = [float(text.split('mean error')[1].split()[0]) for text in (shown, again)]
    assert 'weights: 8 frames' in shown and mean[0] == pytest.approx(mean[1], abs=2e-3)
