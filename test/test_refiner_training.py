"""What a refiner learns, and how it goes along with a network."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

import awr_ros.training.refiner as training
from awr_ros.networks.checkpoint import load_checkpoint, save_checkpoint
from awr_ros.networks.compact import CompactNetwork, ModelConfig
from awr_ros.networks.refiner import Refiner
from awr_ros.networks.resnet import ResNet, ResNetConfig
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.training.config import RefinerTrainConfig
from awr_ros.training.refiner import fit_refiner, predict_crops, train_refiner

TINY = ModelConfig(
    stem=(8, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=64, handedness=8
)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(training, 'BATCH', 64)


def samples(count=1000):
    """Hands of five joints, of which the last was voted for in the middle of the crop; the others
    say where it is.
    """
    generator = torch.Generator().manual_seed(0)
    middle = 0.5 * torch.randn(count, 1, 3, generator=generator)
    true = middle + 0.2 * torch.randn(1, 5, 3, generator=generator)
    voted = torch.cat([true[:, :4], torch.zeros(count, 1, 3)], 1)
    inputs = [
        voted,
        torch.ones(count, 5),
        torch.zeros(count, 5, 20).half(),
        torch.zeros(count, 16).half(),
    ]
    nothing = torch.full((count, 1, 32, 32), 255, dtype=torch.uint8)
    return [
        *inputs,
        nothing,
        true,
        torch.full((count,), 280.0),
        torch.ones(count, dtype=torch.bool),
    ]


def refine(refiner, given):
    with torch.no_grad():
        return refiner(
            *(tensor.float() for tensor in given[:4]), given[4].float() * training.DEPTH_STEP - 1
        )


def test_it_learns_from_readings_and_says_how_well(small_batches):
    torch.manual_seed(0)
    refiner, given = Refiner(5, 16, 32), samples()
    before, after = fit_refiner(refiner, given, epochs=24)
    held_out = [tensor[980:] for tensor in given]
    off = (refine(refiner, held_out)[0] - held_out[5]).norm(dim=-1) * 140
    assert after == pytest.approx(off.mean().item(), rel=0.02) and not refiner.training
    assert before == pytest.approx(
        (held_out[0] - held_out[5]).norm(dim=-1).mean().item() * 140, rel=1e-4
    )
    assert after < 0.5 * before


def test_its_scores_are_chances_and_low_where_there_is_no_hand(small_batches):
    """Half the crops show no hand, which the crop features show; one joint in two cannot be known."""
    torch.manual_seed(0)
    refiner, given = Refiner(5, 16, 32), samples()
    given[-1][1::2] = False
    given[3][1::2, 0] = 1
    given[5] = given[5] + torch.where(torch.rand(1000, 5, 1) < 0.5, 0.5, 0.0)
    refiner.fit_normalisation(*given[2:4])
    fit_refiner(refiner, given, epochs=24)
    joints, logits = refine(refiner, given)
    scores, within = logits.sigmoid(), (joints - given[5]).norm(dim=-1) * 140 <= 10
    assert scores[1::2].mean() < 0.1
    assert scores[::2].mean() == pytest.approx(within[::2].float().mean().item(), abs=0.15)


def test_it_learns_from_the_depth_around_a_joint(small_batches):
    """Each crop shows a step in a wall, where its joints are; votes, closeness and field know
    nothing of that.
    """
    torch.manual_seed(0)
    refiner, given = Refiner(5, 16, 32), samples()
    place = 0.3 * torch.rand(1000, 1, 1) - 0.15
    wall = torch.where((torch.arange(32) + 0.5) / 16 - 1 < place[..., None], 0.0, 0.2).expand(
        1000, 1, 32, 32
    )
    true = torch.cat([place, torch.zeros(1000, 1, 2)], -1).expand(1000, 5, 3)
    given[0], given[4], given[5] = torch.zeros(1000, 5, 3), training.as_bytes(wall), true
    before, after = fit_refiner(refiner, given, epochs=12)
    assert after < 0.4 * before


def test_readings_are_what_the_network_says_of_crops():
    torch.manual_seed(0)
    network = CompactNetwork(replace(TINY, refiner=8)).eval()
    given = predict_crops(network, 100, seed=3, workers=0)
    assert [tuple(tensor.shape) for tensor in given] == [
        (100, 21, 3),
        (100, 21),
        (100, 21, 84),
        (100, 16),
        (100, 1, 64, 64),
        (100, 21, 3),
        (100,),
        (100,),
    ]
    assert all(torch.isfinite(tensor.float()).all() for tensor in given)
    assert not torch.equal(given[5][:36], given[5][64:])  # of other crops
    again = predict_crops(network, 100, seed=4, workers=0)
    assert not torch.equal(given[5], again[5])


def test_a_refiner_is_added_to_a_checkpoint_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'NEGATIVES', 2)
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / 'without.pt', CompactNetwork(TINY).eval(), 77, {'mean_mm': 9.0}, {'by': 'a test'}
    )
    before, after = train_refiner(
        tmp_path / 'without.pt', tmp_path / 'with.pt', crops=256, workers=0
    )
    refined, about = load_checkpoint(tmp_path / 'with.pt')
    # a network that knows nothing
    assert refined.config == replace(TINY, refiner=training.HIDDEN) and after < before
    assert (about['step'], about['made_by']) == (77, {'by': 'a test'})
    assert about['metrics'] == {'mean_mm': 9.0, 'refined_mm': after}
    crops = np.random.default_rng(0).uniform(-1, 1, (3, 1, 64, 64)).astype(np.float32)
    old, new = (
        TorchEngine(load_checkpoint(tmp_path / name)[0]).predict(crops)
        for name in ('without.pt', 'with.pt')
    )
    for name in ('hand_scores', 'handedness_logits'):
        np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
    assert np.abs(old.joints_uvdn - new.joints_uvdn).mean() > 0.01 and not np.array_equal(
        old.joint_scores, new.joint_scores
    )
    # a refiner is replaced
    train_refiner(tmp_path / 'with.pt', tmp_path / 'again.pt', crops=128, workers=0)
    assert load_checkpoint(tmp_path / 'again.pt')[0].config == refined.config


def test_a_refiner_goes_on_from_another(tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'NEGATIVES', 2)
    monkeypatch.setattr(training, 'LEARNING_RATE', 1e-9)
    torch.manual_seed(0)
    network = CompactNetwork(replace(TINY, refiner=training.HIDDEN)).eval()
    torch.nn.init.ones_(network.refiner.stages[0].head.bias)
    save_checkpoint(tmp_path / 'old.pt', network, 1, {})
    save_checkpoint(tmp_path / 'new.pt', CompactNetwork(TINY).eval(), 1, {})
    train_refiner(
        tmp_path / 'new.pt',
        tmp_path / 'refined.pt',
        crops=128,
        workers=0,
        bfloat16=True,
        init=tmp_path / 'old.pt',
    )
    given, taken = (
        network.refiner.state_dict(),
        load_checkpoint(tmp_path / 'refined.pt')[0].refiner.state_dict(),
    )
    assert all(torch.allclose(given[name], taken[name], atol=1e-3) for name in given)
    with pytest.raises(ValueError, match='new.pt holds no refiner'):
        train_refiner(
            tmp_path / 'new.pt', tmp_path / 'out.pt', crops=64, workers=0, init=tmp_path / 'new.pt'
        )


def test_the_mean_of_a_refiner_and_the_one_it_began_from():
    torch.manual_seed(0)
    network = CompactNetwork(replace(TINY, refiner=training.HIDDEN)).eval()
    samples = predict_crops(network, 96, seed=4, workers=0)
    old = network.refiner.state_dict()

    def trained(init_share):
        torch.manual_seed(1)  # of the order of the samples
        refiner = deepcopy(network.refiner)
        fit_refiner(refiner, samples, epochs=8, init_share=init_share)
        return refiner.state_dict()

    new, mean = trained(0.0), trained(0.25)
    assert any((old[name] - new[name]).abs().max() > 1e-3 for name in old)
    for name, value in mean.items():
        torch.testing.assert_close(value, 0.25 * old[name] + 0.75 * new[name])


def test_a_mean_needs_a_refiner_to_begin_with():
    for wrong in ({'init_share': 0.5}, {'init_share': 1.0, 'init': 'old.pt'}):
        with pytest.raises(ValueError, match='init_share must be in'):
            RefinerTrainConfig(**wrong)


def test_other_networks_are_refused(tmp_path):
    save_checkpoint(tmp_path / 'resnet.pt', ResNet(ResNetConfig(crop_size=64)), 1, {})
    with pytest.raises(ValueError, match='resnet'):
        train_refiner(tmp_path / 'resnet.pt', tmp_path / 'out.pt', crops=64)


def readings_folder(tmp_path, predicted=8):
    """A folder of samples as a stopped run leaves it, and its state."""
    done = {'predicted': 0, 'count': 8, 'seed': 1, 'tensors': [[[4], 'float32']]}
    training._allocate(tmp_path, done)[0].fill_(1)
    done['predicted'] = predicted
    training._save_progress(tmp_path, done)
    return done


def test_samples_on_disk_are_found_again_and_missing_ones_are_named(tmp_path):
    done = readings_folder(tmp_path)
    assert training._load_progress(tmp_path, 8, 1) == done
    assert training._finished_samples(tmp_path, 8, 1)[0].tolist() == 8 * [4 * [1.0]]
    file = tmp_path / 'readings_0.bin'
    for damage in (lambda: file.write_bytes(file.read_bytes()[:-1]), file.unlink):
        damage()
        with pytest.raises(ValueError, match='readings_0.bin is gone or cut short'):
            training._finished_samples(tmp_path, 8, 1)
    assert not file.exists()  # no file of zeros to learn from


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"count": 8, "seed": 1}', '\0'])
def test_a_damaged_record_of_samples_is_named(content, tmp_path):
    (tmp_path / 'readings.json').write_text(content)
    with pytest.raises(ValueError, match='readings.json cannot be read'):
        training._load_progress(tmp_path, 8, 1)


def test_samples_that_do_not_fit_on_the_disk_are_an_error(tmp_path):
    """Not a signal (SIGBUS) in the middle of the work, as it is for a file without its blocks."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match='File too large.*readings_0.bin'):
            training._allocate(
                tmp_path, {'predicted': 0, 'count': 9999, 'tensors': [[[4], 'float32']]}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('content', [b'', b'no state', b'\x80\x04K\x03.'])
def test_a_damaged_state_of_the_training_is_named(content, small_batches, tmp_path):
    state = tmp_path / 'refiner-last.pt'
    state.write_bytes(content)
    with pytest.raises(ValueError, match='refiner-last.pt'):
        fit_refiner(Refiner(5, 16, 32), samples(), epochs=1, state=state)
    torch.save({'step': -1, 'order_seed': 1}, state)
    with pytest.raises(ValueError, match='refiner-last.pt.*expected a number of samples'):
        fit_refiner(Refiner(5, 16, 32), samples(), epochs=1, state=state)
