"""Training on a GPU, as far as a CPU can tell: where its tensors are, what it waits for, and that
its steps are the same.
"""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from fake_cuda import OnDevice, fake_cuda
from torch.utils.data import DataLoader

import awr_ros.datasets.train as data_set_training
import awr_ros.training.crop_stream as streams
import awr_ros.training.handedness as handedness
import awr_ros.training.palm_detector as palm_training
import awr_ros.training.refiner as refiner_training
import awr_ros.training.train as training
from awr_ros.datasets.config import PaperTrainConfig
from awr_ros.datasets.rendered_set import write_nyu
from awr_ros.datasets.train import train_on_dataset
from awr_ros.networks.checkpoint import (
    CompactNetwork,
    ModelConfig,
    load_checkpoint,
    save_checkpoint,
)
from awr_ros.synthetic.crop_batch import CropBatch
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.render import CHUNK, chunk_size
from awr_ros.training.config import FinderTrainConfig, TrainConfig
from awr_ros.training.crop_stream import DeviceCrops, Pool, PoolSizes
from awr_ros.training.graphed_step import WARM_UPS, GraphedStep
from awr_ros.training.optimizer import CapturableMuonAdamW, MuonAdamW
from awr_ros.training.palm_detector_scenes import FinderScenes
from awr_ros.training.run import Run
from awr_ros.training.train import train

TINY = ModelConfig(stem=(8, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=64)
CROPS = CropConfig(
    size=64, stereo=0.375, negative_share=0.25, cut=0.06, bridges=True, stretch=0.015
)
SIZES = PoolSizes(draw=16, draws=2, stereo=64, shown=4)
CUDA = torch.device('cuda')


def config(**change):
    return TrainConfig(
        **{
            **dict(
                samples=16,
                batch=8,
                workers=0,
                validate_every=16,
                validation=0,
                device='cuda',
                negatives=0,
            ),
            **change,
        }
    )


def fill_pools(monkeypatch):
    """Small draws of small crops; what simulated stereo measures is drawn from the noise models,
    which is quicker.
    """
    monkeypatch.setattr(streams.DeviceCrops.__init__, '__defaults__', (CROPS, SIZES))
    monkeypatch.setattr(streams, 'PART', 64)
    monkeypatch.setattr(streams.CropSource, '_draw_stereo', streams.CropSource._draw_modelled)
    monkeypatch.setitem(training.NETWORKS, 's', TINY)
    monkeypatch.setattr(training, 'keep_memory', lambda: None)


def test_training_on_a_gpu_has_no_tensor_of_the_cpu_in_its_path(monkeypatch, tmp_path, capsys):
    fill_pools(monkeypatch)
    kinds = []
    compute = training.losses
    monkeypatch.setattr(
        training,
        'losses',
        lambda field, hand, batch, *rest: (
            kinds.extend(
                type(tensor) for tensor in (field, hand, batch.depth, batch.joints_uvdn, batch.hand)
            ),
            compute(field, hand, batch, *rest),
        )[1],
    )
    monkeypatch.setattr(
        training, 'hard_negatives', lambda *_: torch.full((3, 1, 64, 64), 0.25).half()
    )
    with fake_cuda(monkeypatch):
        train(tmp_path, config())
    assert kinds and set(kinds) == {OnDevice}
    assert load_checkpoint(tmp_path / 'weights.pt')[0].config == TINY
    assert capsys.readouterr().err.count('No CUDA graph of the training step (no CUDA here)') == 1


def shipped_as_small(monkeypatch, tmp_path):
    """A checkpoint of a tiny network, and small crops for what is learnt behind it."""
    fill_pools(monkeypatch)
    torch.manual_seed(0)
    save_checkpoint(tmp_path / 'net.pt', CompactNetwork(replace(TINY, upright=True)).eval(), 16, {})
    monkeypatch.setattr(streams.fresh_crops, '__defaults__', (CROPS, SIZES))
    for module in (refiner_training, handedness):
        monkeypatch.setattr(module, 'TRAINING', CROPS)
        monkeypatch.setattr(module, 'HIDDEN', 8)
        monkeypatch.setattr(module, 'keep_memory', lambda: None)
    monkeypatch.setattr(handedness, 'EPOCHS', 1)
    monkeypatch.setattr(refiner_training, 'BATCH', 20)
    monkeypatch.setattr(refiner_training, 'EPOCHS', 6)
    monkeypatch.setattr(refiner_training, 'HELD_OUT', 0.1)  # of these few crops some with a hand
    monkeypatch.setattr(refiner_training, 'SAVE_EVERY', 10_000)
    monkeypatch.setattr(refiner_training, 'mixed_negatives', lambda *_: torch.rand(3, 1, 64, 64))
    return tmp_path / 'net.pt'


def test_a_refiner_learns_on_a_gpu_and_no_step_waits_for_it(monkeypatch, tmp_path):
    weights, kinds, waited = shipped_as_small(monkeypatch, tmp_path), [], []
    step = torch.optim.lr_scheduler.OneCycleLR.step
    with fake_cuda(monkeypatch) as gpu:
        vote = refiner_training.vote
        monkeypatch.setattr(
            refiner_training,
            'vote',
            lambda field, depth, size: (
                kinds.append((type(field), type(depth))),
                vote(field, depth, size),
            )[1],
        )
        monkeypatch.setattr(
            torch.optim.lr_scheduler.OneCycleLR,
            'step',
            lambda self, *rest: (waited.append(len(gpu.waits)), step(self, *rest))[1],
        )
        before, after = refiner_training.train_refiner(
            weights, tmp_path / 'refined.pt', 40, workers=0, folder=tmp_path / 'run', device='cuda'
        )
    assert set(kinds) == {(OnDevice, OnDevice)} and before > 0 and after > 0
    # Between two steps the program waits for nothing.
    assert len(waited) == 13 and waited[1] == waited[-1], gpu.waits[waited[1] : waited[-1]]
    assert load_checkpoint(tmp_path / 'refined.pt')[0].refiner is not None


def test_a_handedness_head_learns_on_a_gpu(monkeypatch, tmp_path):
    weights, kinds = shipped_as_small(monkeypatch, tmp_path), []
    fit = handedness.fit_handedness
    monkeypatch.setattr(
        handedness,
        'fit_handedness',
        lambda head, *pairs: (
            kinds.extend(type(t) for pair in pairs for t in pair),
            fit(head, *pairs),
        )[1],
    )
    with fake_cuda(monkeypatch):
        right, loss = handedness.train_handedness(
            weights, tmp_path / 'trained.pt', 32, scenes=0, device='cuda'
        )
    assert set(kinds) == {OnDevice} and 0 <= right <= 1 and loss > 0
    assert load_checkpoint(tmp_path / 'trained.pt')[0].handedness is not None


def test_a_finder_learns_on_a_gpu(monkeypatch, tmp_path):
    scenes = FinderScenes(
        torch.randint(0, 2000, (6, 128, 160), dtype=torch.int32).to(torch.uint16),
        torch.full((6,), 150.0),
        torch.tensor([80.0, 60.0, 700.0]).repeat(6, 2, 1),
        torch.full((6, 2), 2, dtype=torch.uint8),
    )
    kinds, loss = [], palm_training.finder_loss
    monkeypatch.setattr(palm_training, '_rendered', lambda *_: scenes)
    monkeypatch.setattr(palm_training, 'keep_memory', lambda: None)
    monkeypatch.setattr(
        palm_training,
        'finder_loss',
        lambda *given: (kinds.extend(map(type, given)), loss(*given))[1],
    )
    monkeypatch.setattr(palm_training, 'write_finder', lambda network, path: path.touch())
    monkeypatch.setattr(
        palm_training,
        'validate_finder',
        lambda network, scenes: (
            kinds.append(type(next(network.parameters()).detach())),
            {'found': 1.0},
        )[1],
    )
    with fake_cuda(monkeypatch):
        palm_training.train_finder(
            tmp_path, FinderTrainConfig(samples=8, batch=4, validate_every=8, device='cuda')
        )
    assert set(kinds[:-1]) == {OnDevice}
    assert (tmp_path / 'finder.onnx').exists()


def test_a_network_of_the_paper_learns_from_a_data_set_on_a_gpu(monkeypatch, tmp_path):
    write_nyu(tmp_path / 'nyu', train=8, test=3)
    settings = PaperTrainConfig(
        network='hourglass_1',
        width=16,
        crop_size=32,
        batch=4,
        workers=0,
        device='cuda',
        max_steps=2,
    )
    kinds, compute = [], data_set_training.stage_losses
    monkeypatch.setattr(
        data_set_training,
        'stage_losses',
        lambda fields, depth, joints, *rest: (
            kinds.extend(type(tensor) for tensor in (*fields, depth, joints)),
            compute(fields, depth, joints, *rest),
        )[1],
    )
    # memory is only pinned for a GPU that is there
    monkeypatch.setattr(data_set_training, 'DataLoader', partial(without_pinning, DataLoader))
    with fake_cuda(monkeypatch):
        train_on_dataset(tmp_path / 'run', tmp_path / 'nyu', settings)
    assert kinds and set(kinds) == {OnDevice}
    network, about = load_checkpoint(tmp_path / 'run' / 'weights.pt')
    assert network.config.crop_size == 32 and about['step'] == 8


def without_pinning(make, *arguments, pin_memory, **options):
    assert pin_memory
    return make(*arguments, **options)


def test_a_tensor_of_the_cpu_in_that_path_would_be_noticed(monkeypatch):
    with fake_cuda(monkeypatch):
        on_device = torch.ones(3, device='cuda')
        assert (on_device * 2).sum().item() == 6
        with pytest.raises(RuntimeError, match='same device'):
            on_device + torch.ones(3)
        with pytest.raises(RuntimeError, match='same device'):
            torch.ones(3)[on_device.long()]


def test_no_step_waits_for_the_gpu(monkeypatch, tmp_path):
    fill_pools(monkeypatch)
    with fake_cuda(monkeypatch) as gpu:
        crops = DeviceCrops(config(), 0, None, 0, CUDA)
        batches = [next(crops), next(crops)]
        network = CompactNetwork(TINY).to(CUDA, memory_format=torch.channels_last)
        run = Run(tmp_path, network, config())
        gpu.waits.clear()
        for tensors in batches:
            batch = CropBatch(*tensors)
            run.step(training.losses(*network(batch.depth), batch, TINY.kernel_size)[0], 8)
        assert gpu.waits == []
        run.average.module.hand.bias.sum().item()
        assert gpu.waits == ['aten::_local_scalar_dense']  # it would have been noticed


def test_a_gpu_works_on_all_crops_at_once(monkeypatch):
    assert chunk_size(torch.ones(100)) == CHUNK
    with fake_cuda(monkeypatch):
        assert chunk_size(torch.ones(100, device='cuda')) == 100


def numbered(first, count):
    """A CropBatch whose cubes are numbered."""
    return CropBatch(
        torch.zeros(count, 1, 2, 2),
        torch.zeros(count, 21, 3),
        torch.ones(count, dtype=torch.bool),
        torch.zeros(count, 3),
        torch.arange(first, first + count).float(),
    )


def test_a_pool_shows_every_crop_as_often_as_wanted():
    drawn = []

    def fresh():
        drawn.append(numbered(10 * len(drawn), 10))
        return drawn[-1]

    pool = Pool(fresh, parts=3, shown=4, generator=torch.Generator().manual_seed(0))
    taken = torch.cat([pool.take(8).cube_mm for _ in range(200)])
    assert len(drawn) == 3 + 1600 // 40 - 1  # the first part's showings came with the filling
    shown = torch.bincount(taken.long(), minlength=10 * len(drawn))
    middle = shown[30 : 10 * (len(drawn) - 3)]
    assert middle.float().mean().item() == pytest.approx(4, rel=0.15) and middle.max() < 16
    assert taken[-8:].min() >= 10 * (len(drawn) - 3)  # only the newest parts are left


def test_the_share_of_simulated_stereo_is_kept(monkeypatch):
    fill_pools(monkeypatch)
    made = []
    monkeypatch.setattr(
        streams,
        'Pool',
        lambda fresh, parts, shown, generator: (
            made.append((parts, shown))
            or Pool(
                lambda: numbered(1000 if shown == SIZES.shown else 0, 16), parts, shown, generator
            )
        ),
    )
    crops = DeviceCrops(config(batch=16), 0, None, 0, torch.device('cpu'))
    assert made == [(2, 1), (1, 4)]
    assert (next(crops)[-1] >= 1000).sum() == 6  # 37.5 % of 16
    with pytest.raises(ValueError, match='stereo must be a multiple of 64, got 65'):
        PoolSizes(stereo=65)


class Recorder:
    """Captures as CUDA does: nothing runs while it records, and every run fills the
    same tensors.
    """

    def __init__(self):
        self.calls, self.terms = [], {}

    def warm_up(self, step):
        self.calls.append('warm-up')
        return step()

    def capture(self, step):
        self.calls.append('capture')
        return lambda: (self.calls.append('replay'), self.terms.update(step())), self.terms


def runs(folder, make_capture=None, steps=8):
    """The weights after some steps, by a captured step or as they are."""
    folder.mkdir()
    torch.manual_seed(0)
    network = CompactNetwork(TINY).to(memory_format=torch.channels_last)
    run, sums = Run(folder, network, config(samples=64, device='cpu')), []
    batches = [
        torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(steps)
    ]

    def learn(depth):
        loss = network(depth)[0].square().mean()
        run.learn(loss)
        return {'loss': loss.detach()}

    step = GraphedStep(learn, make_capture) if make_capture else learn
    for depth in batches:
        run.set_learning_rate()
        sums.append(step(depth)['loss'].item())
        run.advance(8)
    return sums, network.state_dict(), run


def test_a_captured_step_learns_what_the_step_itself_does(tmp_path):
    recorder = Recorder()
    sums, weights, _ = runs(tmp_path / 'captured', lambda: recorder)
    expected_sums, expected, _ = runs(tmp_path / 'plain')
    assert recorder.calls == ['warm-up'] * WARM_UPS + ['capture'] + ['replay'] * (8 - WARM_UPS)
    assert sums == expected_sums and len(set(sums)) == 8  # of other batches every time
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_step_that_cannot_be_captured_runs_as_it_is_and_says_so(tmp_path, capsys):
    class Refuses(Recorder):
        def capture(self, step):
            raise RuntimeError('operation not permitted when stream is capturing\nmany more lines')

    sums, _, _ = runs(tmp_path / 'refused', Refuses)
    assert sums == runs(tmp_path / 'plain')[0]
    said = capsys.readouterr().err
    assert (
        said.count('No CUDA graph') == 1
        and 'stream is capturing)' in said
        and 'many more' not in said
    )


def test_the_average_is_torchs(tmp_path):
    _, _, run = runs(tmp_path / 'one', steps=1)
    assert all(
        torch.equal(a, b)
        for a, b in zip(run.average.module.state_dict().values(), run.network.state_dict().values())
    )

    def multi(averages, values, steps):
        keep = min(0.999, (1 + float(steps)) / (10 + float(steps)))
        for average, value in zip(averages, values):
            average.lerp_(value, 1 - keep) if average.is_floating_point() else average.copy_(value)

    theirs = torch.optim.swa_utils.AveragedModel(run.network, multi_avg_fn=multi, use_buffers=True)
    theirs.update_parameters(run.network)
    for i in range(3):
        with torch.no_grad():
            for parameter in run.network.parameters():
                parameter += 0.1 * (i + 1)
        run.network.stem[0][1].num_batches_tracked += 1
        run.advance(8)
        theirs.update_parameters(run.network)
    assert run.average.n_averaged == theirs.n_averaged == 4
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(run.average.state_dict()[name], value, rtol=0, atol=1e-7)


def network():
    torch.manual_seed(0)
    return CompactNetwork(replace(TINY, blocks=(2, 1))).to(memory_format=torch.channels_last)


def teach(net, optimizer, steps, seed=1):
    images = torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
    for i in range(steps):
        optimizer.set_learning_rate(1e-2 / (i + 1))
        optimizer.zero_grad()
        field, hand = net(images)
        (field.square().mean() + hand.square().mean()).backward()
        optimizer.step()


def test_the_optimiser_of_a_gpu_steps_like_torchs():
    plain, stacked = network(), network()
    teach(plain, MuonAdamW(plain, 1e-2, 1e-2), 1)
    optimizer = CapturableMuonAdamW(stacked, 1e-2, 1e-2)
    assert any(len(indices) > 1 for indices, _ in optimizer._stacks)
    start = dict(network().named_parameters())
    teach(stacked, optimizer, 1)
    for (name, mine), its in zip(stacked.named_parameters(), plain.parameters()):
        step, expected = mine - start[name], its - start[name]
        # bfloat16 in between
        assert (step - expected).norm() <= 0.02 * expected.norm() + 1e-7, name


@pytest.mark.parametrize(
    'first, then',
    [
        (MuonAdamW, CapturableMuonAdamW),
        (CapturableMuonAdamW, MuonAdamW),
        (CapturableMuonAdamW, CapturableMuonAdamW),
    ],
)
def test_a_run_goes_on_on_the_other_device(first, then):
    one = network()
    optimizer = first(one, 1e-2, 1e-2)
    teach(one, optimizer, 3)
    two = network()
    two.load_state_dict(one.state_dict())
    other = then(two, 1e-2, 1e-2)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    before = {name: p.detach().clone() for name, p in one.named_parameters()}
    teach(one, optimizer, 1, seed=2)
    teach(two, other, 1, seed=2)
    for (name, mine), its in zip(two.named_parameters(), one.parameters()):
        expected = its - before[name]
        assert (mine - before[name] - expected).norm() <= 0.05 * expected.norm() + 1e-7, name
