"""Every engine says what torch says; the choice among them says why; what is missing or damaged is
named.
"""

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from awr_ros.crop import crop_hand
from awr_ros.estimator import HandPoseEstimator
from awr_ros.networks.checkpoint import (
    CompactNetwork,
    ModelConfig,
    ResNet,
    ResNetConfig,
    save_checkpoint,
)
from awr_ros.runtime import cache, convert, cuda_engine, fastest, onnx_engine, quantized, select
from awr_ros.runtime.export import export
from awr_ros.runtime.folded_refiner import folded
from awr_ros.runtime.onnx_engine import OnnxEngine, first_that_starts, write_onnx
from awr_ros.runtime.openvino_engine import OpenVinoEngine, fastest_precision, write_openvino
from awr_ros.runtime.quantized import calibration_crops
from awr_ros.runtime.readout import (
    MAX_BATCH,
    EngineConfig,
    Predictions,
    predict_in_passes,
    readout_module,
)
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import NYU_14, palm_centre
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.weight_files import DEFAULT_WEIGHTS

TINY = ModelConfig(
    stem=(4, 8),
    widths=(8, 16),
    blocks=(1, 1),
    decoder_width=8,
    crop_size=32,
    cube_mm=250.0,
    kernel_size=0.7,
)


@pytest.fixture(scope='module', autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def reference():
    return select.load_engine(engine='torch', device='cpu', num_threads=1)


@pytest.fixture(scope='module')
def crops(reference):
    """(11,1,128,128) crops of rendered hands in several postures, some off the palm."""
    camera, rng, config = SyntheticCamera(num_hands=1), np.random.default_rng(0), reference.config
    cut = []
    for t_s in np.linspace(0, 12, 11):
        depth, (hand,) = camera.frame(float(t_s))
        centre = palm_centre(hand.joints_xyz) + rng.normal(0, 10, 3)
        cut.append(
            crop_hand(depth, camera.intrinsics, centre, config.cube_mm, config.crop_size).depth
        )
    return np.stack(cut)[:, None]


def tiny_checkpoint(folder, seed=0):
    torch.manual_seed(seed)
    network = CompactNetwork(TINY)
    network(torch.rand(4, 1, 32, 32))  # batch statistics that are not the initial ones
    save_checkpoint(folder / 'tiny.pt', network.eval(), 64, {})
    return folder / 'tiny.pt'


def mean_difference_mm(a: Predictions, b: Predictions, config):
    return np.linalg.norm(a.joints_uvdn - b.joints_uvdn, axis=-1).mean() * config.cube_mm / 2


def test_an_exported_graph_does_not_reckon_with_shapes(tmp_path):
    onnx = pytest.importorskip('onnx')
    write_onnx(
        CompactNetwork(ModelConfig(refiner=8, handedness=8)).eval(), '', tmp_path / 'net.onnx'
    )
    kinds = [node.op_type for node in onnx.load(str(tmp_path / 'net.onnx')).graph.node]
    # the depth's resize asks for its batch
    assert kinds.count('Shape') <= 2 and 'Expand' not in kinds, kinds


# ---- parity


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_single_precision_engines_agree_with_torch(engine, reference, crops):
    loaded = select.load_engine(engine=engine, device='cpu', num_threads=1)
    if 'bf16' in loaded.description:
        pytest.skip('this CPU runs OpenVINO in bfloat16: see the next test')
    expected, got = reference.predict(crops), loaded.predict(crops)
    assert mean_difference_mm(expected, got, reference.config) <= 0.2
    np.testing.assert_allclose(got.joint_scores, expected.joint_scores, atol=1e-3)
    np.testing.assert_allclose(got.hand_scores, expected.hand_scores, atol=1e-3)
    np.testing.assert_allclose(got.handedness_logits, expected.handedness_logits, atol=0.02)
    assert got.joints_uvdn.dtype == np.float32 and loaded.config == reference.config


def test_8_bits_cost_little_accuracy(reference, crops):
    """Single joints differ where the network is unsure; on average they are where they were."""
    loaded = select.load_engine(engine='onnxruntime-int8', device='cpu', num_threads=1)
    assert 'int8' in loaded.description and loaded.config == reference.config
    expected, got = reference.predict(crops), loaded.predict(crops)
    assert mean_difference_mm(expected, got, reference.config) <= 1.5
    np.testing.assert_allclose(got.hand_scores, expected.hand_scores, atol=0.05)
    depth, truth, hand = calibration_crops()
    single, eight = (
        np.concatenate(
            [
                np.linalg.norm(engine.predict(part).joints_uvdn - of_part, axis=-1).mean(1)
                for part, of_part in zip(
                    np.array_split(depth[hand], 18), np.array_split(truth[hand], 18)
                )
            ]
        )
        * (reference.config.cube_mm / 2)
        for engine in (reference, loaded)
    )
    # All hands: one of which the network is unsure may change wholly, 0.15 mm of this mean.
    lost = eight - single
    assert np.median(lost) <= 0.1 and lost.mean() <= 0.3 and (lost > 10).mean() <= 0.02, lost.mean()


@pytest.mark.parametrize('hidden', [8, 256])
def test_a_folded_refiner_says_what_the_trained_one_says(hidden):
    torch.manual_seed(0)
    network = CompactNetwork(ModelConfig(refiner=hidden)).eval()
    with torch.no_grad():
        for parameter in network.refiner.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        network.refiner.pooled_votes.fit_normalisation(torch.randn(50, 21, 84))
        network.refiner.crop_features.fit_normalisation(torch.randn(50, 256))
        depth = torch.rand(3, 1, 128, 128) * 2 - 1
        expected, got = (readout_module(one)(depth) for one in (network, folded(network)))
        votes = readout_module(CompactNetwork(replace(network.config, refiner=0)).eval())(depth)
    for one, other in zip(expected, got):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4, equal_nan=True)
    assert (expected[0] - votes[0]).abs().max() > 0.01  # it moved joints


@pytest.mark.parametrize(
    'network, words',
    [
        (CompactNetwork(TINY), '128 x 128'),
        (ResNet(ResNetConfig()), 'only the compact network'),
    ],
)
def test_other_networks_are_not_quantised(network, words):
    with pytest.raises(ValueError, match=words):
        onnx_engine.onnx_bytes(network.eval(), '', int8=True)


def test_the_largest_layers_of_the_refiner_are_quantised():
    onnx = pytest.importorskip('onnx')

    network, _ = select.load_network(DEFAULT_WEIGHTS)
    model = onnx.load_from_string(onnx_engine.onnx_bytes(network, '', int8=True))
    weights = {
        weight.name: weight.data_type
        for weight in model.graph.initializer
        if 'refiner' in weight.name
    }
    for layer in ('head.conv', 'to_joints.0', 'to_joints.1'):
        for stage in (0, 1):
            name = f'network.refiner.stages.{stage}.{layer}.weight_quantized'
            assert weights.get(name) == onnx.TensorProto.INT8, (name, sorted(weights))


def test_a_refiner_with_other_layers_is_an_error_when_quantised(monkeypatch):
    monkeypatch.setattr(quantized, 'REFINED', ('/other_name/',))
    with pytest.raises(ValueError, match='layers of its refiner'):
        onnx_engine.onnx_bytes(select.load_network(DEFAULT_WEIGHTS)[0], '', int8=True)


def test_a_network_that_8_bits_spoil_is_not_quantised(monkeypatch):
    monkeypatch.setattr(quantized, 'MAX_LOSS_MM', -10.0)
    with pytest.raises(ValueError, match='in 8 bits its mean joint error is'):
        onnx_engine.onnx_bytes(select.load_network(DEFAULT_WEIGHTS)[0], '', int8=True)


def test_openvino_in_bfloat16_agrees_with_torch(reference, crops):
    """Its error grows with the network's own uncertainty, and bfloat16 rounds where the refiner
    looks.
    """
    path, _ = export(None, cache.cache_folder() / 'exported', 'openvino')
    got, expected = OpenVinoEngine(path, precision='bf16').predict(crops), reference.predict(crops)
    assert mean_difference_mm(expected, got, reference.config) <= 1.5
    np.testing.assert_allclose(got.hand_scores, expected.hand_scores, atol=0.05)


def test_votes_by_openvino_in_bfloat16_agree_with_torch(crops, tmp_path):
    """Without the refiner, which looks at places that bfloat16 rounds."""
    network, _ = select.load_network(DEFAULT_WEIGHTS)
    network.refiner = None
    write_openvino(network, '', tmp_path / 'votes.xml')
    got, expected = (
        OpenVinoEngine(tmp_path / 'votes.xml', precision='bf16').predict(crops),
        TorchEngine(network).predict(crops),
    )
    assert mean_difference_mm(expected, got, network.config) <= 0.8


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU here')
@pytest.mark.parametrize('half, limit_mm', [(False, 0.2), (True, 0.5)])
def test_cuda_graphs_agree_with_torch(half, limit_mm, reference, crops):
    engine = cuda_engine.CudaEngine(select.load_network(DEFAULT_WEIGHTS)[0], half=half)
    for count in (1, 2, 3, 5, 8, 11):
        got, expected = engine.predict(crops[:count]), reference.predict(crops[:count])
        assert mean_difference_mm(expected, got, reference.config) <= limit_mm


@pytest.mark.parametrize(
    'write, make, suffix',
    [(write_openvino, OpenVinoEngine, '.xml'), (write_onnx, OnnxEngine, '.onnx')],
)
def test_networks_of_the_paper_run_on_every_engine(write, make, suffix, tmp_path):
    """14 joints, another cube, no logit for the hand: NaN in, NaN out."""
    torch.manual_seed(0)
    network = ResNet(
        ResNetConfig(joint_names=NYU_14, crop_size=64, side='left', authors_crop=True)
    ).eval()
    write(network, 'imported', tmp_path / ('net' + suffix))
    engine, expected = make(tmp_path / ('net' + suffix), 1), TorchEngine(network, 'imported')
    assert (
        engine.config
        == expected.config
        == EngineConfig(NYU_14, 64, 300.0, 'left', True, origin='imported')
    )
    depth = np.random.default_rng(0).uniform(-1, 1.2, (3, 1, 64, 64)).clip(-1, 1).astype(np.float32)
    if 'bf16' not in engine.description:
        assert (
            mean_difference_mm(expected.predict(depth), engine.predict(depth), engine.config) <= 0.2
        )
    predictions = engine.predict(depth)
    assert predictions.joints_uvdn.shape == (3, 14, 3) and predictions.hand_scores.shape == (3,)
    assert np.isnan(predictions.hand_scores).all() and np.isnan(predictions.handedness_logits).all()


def test_left_half_precision_weights_read_out_in_single(reference, crops):
    """What the CUDA engine computes, on the CPU: only the network is of half precision."""
    network, _ = select.load_network(DEFAULT_WEIGHTS)
    got = TorchEngine(network.half()).predict(crops)
    assert got.joints_uvdn.dtype == np.float32
    assert mean_difference_mm(reference.predict(crops), got, reference.config) <= 0.8


# ---- passes


def test_long_lists_take_several_passes_and_keep_their_order(reference, crops):
    counts = []

    def read(some):
        counts.append(len(some))
        return [some[:, 0, 0, :1], some[:, 0, 0, 1:2], some[:, 0, 0, 2], some[:, 0, 0, 3]]

    together = predict_in_passes(read, crops)
    assert counts == [MAX_BATCH, len(crops) - MAX_BATCH]
    np.testing.assert_array_equal(together.hand_scores, crops[:, 0, 0, 2])
    np.testing.assert_array_equal(together.handedness_logits, crops[:, 0, 0, 3])
    expected = np.concatenate(
        [reference.predict(crops[i : i + 1]).joints_uvdn for i in range(len(crops))]
    )
    np.testing.assert_allclose(reference.predict(crops).joints_uvdn, expected, atol=1e-4)


def test_results_are_not_overwritten_by_the_next_pass(tmp_path):
    path, engine = export(tiny_checkpoint(tmp_path), tmp_path / 'tiny', 'openvino')
    near, far = (np.full((2, 1, 32, 32), depth, np.float32) for depth in (-0.5, 0.5))
    first = engine.predict(near)
    kept = first.joints_uvdn.copy()
    assert np.abs(engine.predict(far).joints_uvdn - kept).max() > 0.1
    np.testing.assert_array_equal(first.joints_uvdn, kept)


@pytest.mark.parametrize(
    'bad',
    [
        np.zeros((1, 1, 64, 64), np.float32),
        np.zeros((1, 1, 128, 128)),
        np.zeros((128, 128), np.float32),
        np.zeros((0, 1, 128, 128), np.float32),
    ],
)
def test_wrong_crops_are_named(bad, reference):
    with pytest.raises(ValueError, match=r'crops must be \(B,1,128,128\) float32'):
        reference.predict(bad)


@pytest.mark.parametrize(
    'count, size', [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16)]
)
def test_the_smallest_graph_that_is_large_enough(count, size):
    assert cuda_engine.graph_batch(count) == size


def test_too_large_batches_have_no_graph():
    with pytest.raises(ValueError, match='1 to 16 crops, got 17'):
        cuda_engine.graph_batch(17)


# ---- the choice


def choose(
    engine='auto',
    device='auto',
    weights=None,
    cuda=False,
    installed=('openvino', 'onnxruntime', 'onnx'),
    precision='f32',
):
    return select.choose(
        engine,
        device,
        weights,
        lambda: cuda,
        lambda name: name in installed,
        lambda: precision,
        lambda: cuda,
    )


@pytest.mark.parametrize(
    'asked, expected, reason',
    [
        (dict(cuda=True), ('torch', 'cuda'), 'GPU'),
        (dict(cuda=True, device='cpu'), ('onnxruntime', 'cpu'), 'without AMX'),
        (dict(), ('onnxruntime', 'cpu'), 'without AMX'),
        (dict(precision='bf16'), ('openvino', 'cpu'), 'with AMX'),
        (
            dict(precision='bf16', installed=('onnxruntime', 'onnx')),
            ('onnxruntime', 'cpu'),
            'openvino is not',
        ),
        (dict(installed=('openvino',)), ('openvino', 'cpu'), 'onnxruntime and onnx are not'),
        (dict(installed=('openvino', 'onnxruntime')), ('openvino', 'cpu'), 'onnx are not'),
        (dict(installed=()), ('torch', 'cpu'), 'pip install -r requirements/ros-apt.txt'),
        (dict(engine='torch'), ('torch', 'cpu'), 'requested'),
        (dict(engine='torch', cuda=True), ('torch', 'cuda'), 'requested'),
        (dict(engine='openvino', cuda=True), ('openvino', 'cpu'), 'requested'),
        (dict(weights='net.xml', cuda=True), ('openvino', 'cpu'), 'net.xml is a file for it'),
        (
            dict(weights='net.onnx', device='cpu'),
            ('onnxruntime', 'cpu'),
            'net.onnx is a file for it',
        ),
    ],
)
def test_the_choice_and_its_reason(asked, expected, reason):
    choice = choose(**asked)
    with_onnx = {'onnxruntime', 'onnx'} <= set(asked.get('installed', ('onnxruntime', 'onnx')))
    asks = asked.keys() & {'engine', 'weights'} or choice.device == 'cuda'
    assert choice.candidates[:2] == (
        ('onnxruntime', 'onnxruntime-int8') if with_onnx and not asks else ()
    )
    assert (choice.engine, choice.device) == expected and reason in choice.reason


@pytest.mark.parametrize(
    'asked, words',
    [
        (
            dict(engine='tensorflow'),
            'engine must be one of auto, torch, openvino, onnxruntime, onnxruntime-int8, got '
            "'tensorflow'",
        ),
        (dict(device='tpu'), "got 'tpu'"),
        (dict(device='cuda'), 'torch finds no CUDA device'),
        (dict(engine='torch', device='cuda'), 'torch finds no CUDA device'),
        (dict(engine='openvino', installed=()), 'pip install openvino'),
        (dict(engine='onnxruntime', installed=()), 'pip install onnxruntime'),
        (dict(engine='openvino', device='cuda', cuda=True), "no device 'cuda'"),
        (dict(engine='torch', weights='net.onnx'), "net.onnx is a file for 'onnxruntime'"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(asked, words):
    with pytest.raises(ValueError, match=words):
        choose(**asked)


def test_engines_are_measured_once(tmp_path):
    calls, choice = [], choose()

    def measure(*arguments):
        calls.append(arguments)
        return {'onnxruntime': 3.0, 'onnxruntime-int8': 2.0}

    weights = tiny_checkpoint(tmp_path)
    for _ in range(2):
        taken = fastest.measured(weights, choice, 1, measure)
        assert taken.engine == 'onnxruntime-int8'
        assert taken.reason == 'the fastest here: onnxruntime 3.0 ms, onnxruntime-int8 2.0 ms'
    assert calls == [(weights, choice.candidates, 1)]
    fastest.measured(weights, choice, 2, measure)  # other threads, other times
    assert len(calls) == 2


def test_where_nothing_can_be_measured_the_choice_stays(tmp_path):
    def measure(*_):
        raise OSError('no engine runs')

    choice = fastest.measured(tiny_checkpoint(tmp_path, seed=1), choose(), 1, measure)
    assert choice.engine == 'onnxruntime' and 'not measured: no engine runs' in choice.reason


@pytest.mark.parametrize(
    'times, taken',
    [
        ({'a': 3.0, 'b': 2.0}, 'b'),
        ({'a': 3.0, 'b': 2.8}, 'a'),  # no gain that is worth the bits
        ({'a': 3.0, 'b': 2.0, 'c': 1.9}, 'b'),
        ({'b': 2.0}, 'b'),
    ],
)
def test_fewer_bits_must_pay(times, taken):
    assert fastest.preferred(('a', 'b', 'c'), times) == taken


def test_what_cannot_run_is_not_measured(tmp_path):
    """A network that cannot be quantised is measured in the engines that run it."""
    times = fastest.measure_here(tiny_checkpoint(tmp_path), choose().candidates, 1)
    assert list(times) == ['onnxruntime'] and 0 < times['onnxruntime'] < 1e4


def test_the_measurement_runs_in_its_own_process(tmp_path):
    with pytest.raises(OSError, match='no engine runs'):
        fastest.measure_apart(tmp_path / 'none.pt', choose().candidates, 1)


def test_onnxruntime_takes_a_gpu_only_where_there_is_one(monkeypatch):
    """It lists the providers that it was built with, wherever it runs."""
    monkeypatch.setattr(onnx_engine, 'cuda_providers', lambda: onnx_engine.CUDA_PROVIDERS)
    assert (
        choose(weights='net.onnx').device == choose('onnxruntime', 'cpu', cuda=True).device == 'cpu'
    )
    assert (
        choose(weights='net.onnx', cuda=True).device
        == choose('onnxruntime', 'cuda').device
        == 'cuda'
    )


@pytest.mark.filterwarnings('ignore:Specified provider')
def test_the_first_provider_that_starts_is_taken(tmp_path):
    file = export(None, tmp_path / 'default', 'onnx')[0]
    predictions = first_that_starts(
        file, 1, (*onnx_engine.CUDA_PROVIDERS, 'CPUExecutionProvider')
    ).description
    assert (
        'on the CPU' in predictions
        and 'TensorrtExecutionProvider cannot be started, CUDAExecutionProvider cannot be started'
        in predictions
    )
    assert 'cannot' not in first_that_starts(file, 1, ('CPUExecutionProvider',)).description
    with pytest.raises(ValueError, match='CUDAExecutionProvider'):
        first_that_starts(file, 1, onnx_engine.CUDA_PROVIDERS)


def test_tensorrt_is_taken_where_it_is_installed_with_half_precision_and_a_cache(
    tmp_path, monkeypatch
):
    """By an ONNX Runtime that claims to have it and computes on the CPU."""
    onnxruntime, asked = pytest.importorskip('onnxruntime'), []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model, options, providers):
            asked.extend(providers)
            super().__init__(model, options, providers=['CPUExecutionProvider'])

        def get_providers(self):
            return ['TensorrtExecutionProvider', 'CPUExecutionProvider']

    file = export(tiny_checkpoint(tmp_path), tmp_path / 'tiny', 'onnx')[0]
    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)
    monkeypatch.setattr(
        onnxruntime,
        'get_available_providers',
        lambda: ['TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider'],
    )
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    engine = select.load_engine(file, 'onnxruntime', 'cuda')
    assert 'on the GPU by TensorrtExecutionProvider' in engine.description
    ((provider, options),) = asked
    assert provider == 'TensorrtExecutionProvider' and options['trt_fp16_enable']
    assert options['trt_engine_cache_enable'] and 'tensorrt' in options['trt_engine_cache_path']
    assert len(engine.predict(np.full((3, 1, 32, 32), 0.5, np.float32))) == 3


def test_a_read_out_is_freed_with_the_last_reference_to_it():
    network = CompactNetwork(TINY)
    gone, engine = weakref.ref(network), TorchEngine(network)
    gc.disable()
    try:
        del network, engine
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_cuda_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match='no CUDA'):
        select.load_engine(engine='onnxruntime', device='cuda')
    with pytest.raises(ValueError, match='no CUDA'):
        cuda_engine.CudaEngine(CompactNetwork(TINY))
    with pytest.raises(ValueError, match='CUDAExecutionProvider'):
        OnnxEngine(
            export(None, cache.cache_folder() / 'for_cuda', 'onnx')[0],
            provider='CUDAExecutionProvider',
        )


@pytest.mark.parametrize(
    'flags, precision',
    [(('avx512f', 'avx512_bf16'), 'f32'), (('avx512_bf16', 'amx_bf16'), 'bf16'), ((), 'f32')],
)
def test_bfloat16_only_where_the_cpu_multiplies_matrices_of_it(flags, precision):
    assert fastest_precision(flags) == precision


def test_a_core_is_left_to_the_robot(monkeypatch):
    for cores, threads in ((1, 1), (2, 1), (4, 3), (16, 4)):
        monkeypatch.setattr(
            select.os, 'sched_getaffinity', lambda _, cores=cores: set(range(cores))
        )
        assert select.default_threads() == threads


# ---- cache and files


def test_only_the_first_start_converts(tmp_path, monkeypatch):
    weights = tiny_checkpoint(tmp_path)
    first = select.load_engine(weights, 'openvino')
    monkeypatch.setattr(
        'awr_ros.runtime.convert.convert_apart', lambda *_: pytest.fail('converted again')
    )
    again = select.load_engine(weights, 'openvino')
    depth = np.full((1, 1, 32, 32), 0.3, np.float32)
    np.testing.assert_array_equal(
        first.predict(depth).joints_uvdn, again.predict(depth).joints_uvdn
    )
    assert again.description == first.description and 'requested' in again.description


def test_no_graph_is_traced_in_a_process_that_goes_on(tmp_path, monkeypatch):
    """torch.jit.trace keeps each graph until its process ends."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.jit, 'trace', lambda *_, **__: pytest.fail('traced here'))
    weights = tiny_checkpoint(tmp_path)
    for engine in ('openvino', 'onnxruntime'):
        select.load_engine(weights, engine, 'cpu')
    for file_format in ('openvino', 'onnx'):
        export(weights, tmp_path / 'exported', file_format)


def test_other_weights_or_converters_are_other_entries(tmp_path):
    (tmp_path / 'a').mkdir()
    keys = {
        cache.entry_key(tiny_checkpoint(tmp_path, 0), 'x 1'),
        cache.entry_key(tiny_checkpoint(tmp_path / 'a', 1), 'x 1'),
        cache.entry_key(tmp_path / 'tiny.pt', 'x 2'),
    }
    assert len(keys) == 3 and cache.entry_key(tmp_path / 'tiny.pt', 'x 1') in keys


def kept(convert, check=lambda files: files['.x']):
    return cache.converted(DEFAULT_WEIGHTS, 'test', convert, check)


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

    def fail():
        raise RuntimeError('no')

    with pytest.raises(RuntimeError):
        kept(fail)
    monkeypatch.setattr(cache, 'sync', lambda path: fail())  # killed while it writes
    with pytest.raises(RuntimeError):
        kept(lambda: {'.x': b'1'})
    assert list((tmp_path / 'awr_ros').iterdir()) == []


def test_where_two_convert_at_once_there_is_one_entry(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

    def slow():
        assert kept(lambda: {'.x': b'1'}) == ({'.x': b'1'}, '')
        return {'.x': b'1'}

    assert kept(slow) == ({'.x': b'1'}, '')
    (entry,) = (tmp_path / 'awr_ros').iterdir()
    assert [path.name for path in entry.iterdir()] == ['network.x']
    assert kept(lambda: pytest.fail('converted again')) == ({'.x': b'1'}, '')


def entry_files(cached):
    (entry,) = (cached / 'awr_ros').iterdir()
    return sorted(entry.iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('damage', ['cut', 'flipped', 'gone', 'empty', 'a folder'])
def test_a_damaged_entry_is_converted_anew(engine, damage, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    weights = tiny_checkpoint(tmp_path)
    expected = select.load_engine(weights, engine).predict(np.full((1, 1, 32, 32), 0.3, np.float32))
    for file in entry_files(tmp_path / 'cache'):
        whole = file.read_bytes()
        file.unlink()
        if damage == 'a folder':
            file.mkdir()
        elif damage != 'gone':
            middle = len(whole) // 2
            file.write_bytes(
                {
                    'cut': whole[:middle],
                    'empty': b'',
                    'flipped': whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :],
                }[damage]
            )
        engine_again = select.load_engine(weights, engine)
        np.testing.assert_array_equal(
            engine_again.predict(np.full((1, 1, 32, 32), 0.3, np.float32)).joints_uvdn,
            expected.joints_uvdn,
        )
        assert 'anew' not in engine_again.description
        assert (
            abs(file.stat().st_size - len(whole)) < 99
            and len(list((tmp_path / 'cache' / 'awr_ros').iterdir())) == 1
        )


def test_what_a_killed_conversion_left_is_removed_and_what_runs_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    program = (
        'import os, sys; from pathlib import Path; from awr_ros.files import work_folder\n'
        'with work_folder(Path(sys.argv[1]), "unfinished-") as f: print(f, flush=True); '
        'sys.stdin.read(); os.kill(os.getpid(), 9)'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program, tmp_path / 'awr_ros'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    left = Path(process.stdout.readline().strip())
    kept(lambda: {'.x': b'1'})
    assert left.is_dir()  # another process is at work in it
    process.communicate()
    assert process.returncode == -9 and left.is_dir()
    # damaged: written again
    kept(lambda: {'.x': b'2'}, lambda files: pytest.fail() if files == {} else files['.y'])
    assert not left.exists() and len(list((tmp_path / 'awr_ros').iterdir())) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason='takes root to own a folder as somebody else')
def test_the_cache_of_somebody_else_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    weights = tiny_checkpoint(tmp_path)
    select.load_engine(weights, 'onnxruntime')
    os.chown(tmp_path / 'cache' / 'awr_ros', 12345, 12345)
    assert 'it belongs to user 12345' in select.load_engine(weights, 'onnxruntime').description


def test_others_cannot_write_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache.own_cache_folder().stat().st_mode & 0o077 == 0
    cache.own_cache_folder().chmod(0o777)
    assert cache.own_cache_folder().stat().st_mode & 0o022 == 0


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.delenv('HOME')
    monkeypatch.setattr(
        cache.Path,
        'home',
        lambda: (_ for _ in ()).throw(RuntimeError('Could not determine home directory.')),
    )
    assert cache.cache_folder().name == f'awr_ros-{os.getuid()}'


@pytest.mark.parametrize(
    'variables',
    [{'HOME': ''}, {'HOME': 'relative'}, {'HOME': '', 'XDG_CACHE_HOME': 'relative'}],
)
def test_the_cache_is_never_in_the_working_folder_nor_in_the_root(variables, monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_folder() == Path(tempfile.gettempdir()) / f'awr_ros-{os.getuid()}'
    monkeypatch.setenv('HOME', '/home/me')
    assert cache.cache_folder() == Path('/home/me/.cache/awr_ros')


def test_a_full_disk_means_converting_each_time(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, 'No space left on device')

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(cache, 'sync', full)
    for engine in ('openvino', 'onnxruntime'):
        loaded = select.load_engine(tiny_checkpoint(tmp_path), engine)
        assert (
            'anew at every start' in loaded.description
            and 'No space left on device' in loaded.description
        )
        assert list((tmp_path / 'cache' / 'awr_ros').iterdir()) == []


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_a_first_start_leaves_pytorch_to_another_process(engine, tmp_path):
    program = f"""
import sys
from awr_ros.runtime.select import load_engine
print(load_engine({str(tiny_checkpoint(tmp_path))!r}, {engine!r}, 'cpu').description, 'torch' in sys.modules)
"""
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path)}
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    assert (
        done.stdout.strip().endswith('64 training samples False') and 'anew' not in done.stdout
    ), done
    (tmp_path / 'tiny.pt').write_bytes(b'no checkpoint')
    (tmp_path / 'tiny.sha256').unlink()
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("tiny.pt cannot be read: it is text that begins 'no checkpoint'")
    ), done


def test_engines_tell_nobody_and_leave_no_id(tmp_path):
    """ONNX Runtime from 1.29 on looks up its makers' collector; OpenVINO has a package for it. With
    strace: no lookups.
    """
    program = """
import sys, time
from awr_ros.runtime.select import load_engine
for engine in ('onnxruntime', 'openvino'):
    load_engine(engine=engine, device='cpu')
import onnxruntime, openvino
time.sleep(2)
"""
    command, trace = [sys.executable, '-c', program], tmp_path / 'trace'
    if shutil.which('strace'):
        command = [
            'strace',
            '-f',
            '--seccomp-bpf',
            '-e',
            'trace=socket,connect,sendto,sendmmsg',
            '-o',
            str(trace),
            *command,
        ]
    environment = {
        **os.environ,
        'XDG_CACHE_HOME': str(tmp_path / 'cache'),
        'HOME': str(tmp_path / 'home'),
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    written = [
        path.relative_to(tmp_path)
        for path in tmp_path.rglob('*')
        if path.is_file() and path != trace
    ]
    assert {path.parts[:2] for path in written} == {('cache', 'awr_ros')}, written
    if trace.exists():
        assert 'AF_INET' not in trace.read_text()


def test_a_cache_that_cannot_be_written_is_said_and_lived_with(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))  # no folder can be made in a file
    engine = select.load_engine(tiny_checkpoint(tmp_path), 'openvino')
    assert 'cannot be written' in engine.description
    assert engine.predict(np.zeros((1, 1, 32, 32), np.float32)).joints_uvdn.shape == (1, 21, 3)


@pytest.mark.parametrize('file_format, suffix', [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_files_are_weights(file_format, suffix, tmp_path):
    checkpoint = tiny_checkpoint(tmp_path)
    path, _ = export(checkpoint, tmp_path / 'out' / 'net', file_format)
    assert path == tmp_path / 'out' / ('net' + suffix)
    estimator = HandPoseEstimator.from_pretrained(path)
    assert (
        estimator.config == EngineConfig.of(TINY, '64 training samples')
        and str(path) in estimator.description
    )
    depth = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(1, 1, 32, 32)
    expected = select.load_engine(checkpoint, 'torch').predict(depth)
    assert mean_difference_mm(expected, estimator.engine.predict(depth), TINY) <= (
        0.5 if 'bf16' in estimator.description else 0.2
    )


def test_foreign_and_damaged_files_are_named(tmp_path):
    import openvino as ov

    for name in ('bad.onnx', 'bad.xml'):
        (tmp_path / name).write_bytes(b'no model')
        with pytest.raises(ValueError, match=name):
            select.load_engine(tmp_path / name)
    parameter = ov.opset13.parameter([1], np.float32)
    ov.save_model(
        ov.Model([ov.opset13.relu(parameter)], [parameter]), str(tmp_path / 'foreign.xml')
    )
    with pytest.raises(ValueError, match='foreign.xml was not exported by this package'):
        select.load_engine(tmp_path / 'foreign.xml')
    with pytest.raises(FileNotFoundError, match='none.onnx'):
        select.load_engine(tmp_path / 'none.onnx')
    with pytest.raises(
        ValueError, match='net.xml was not exported by this package: expected format'
    ):
        EngineConfig.from_json('{"format": "other"}', 'net.xml')
    with pytest.raises(ValueError, match='net.xml was not exported by this package'):
        EngineConfig.from_json('[]', 'net.xml')


@pytest.mark.parametrize('upright', [False, True])
def test_exported_files_that_know_of_no_virtual_crop_get_it_where_they_are_of_rendered_hands(
    upright,
):
    values = json.loads(EngineConfig(NYU_14, 64, 300.0, upright=upright).to_json())
    del values['virtual_crop']
    assert EngineConfig.from_json(json.dumps(values), 'net.xml').virtual_crop == upright
    values['virtual_crop'] = not upright
    assert EngineConfig.from_json(json.dumps(values), 'net.xml').virtual_crop != upright


@pytest.mark.parametrize('suffix', ['.onnx', '.xml', '.bin'])
def test_a_flipped_bit_of_an_exported_file_is_noticed(suffix, tmp_path):
    """Without a file beside it: the checksum is in the file."""
    path, engine = export(
        tiny_checkpoint(tmp_path), tmp_path / 'net', 'onnx' if suffix == '.onnx' else 'openvino'
    )
    file, rng = path.with_suffix(suffix), np.random.default_rng(0)
    whole = file.read_bytes()
    for at in rng.integers(0, len(whole), 20):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=path.name):
            type(engine)(path)
    file.write_bytes(whole)
    type(engine)(path)


@pytest.mark.parametrize('make, suffix', [(OnnxEngine, '.onnx'), (OpenVinoEngine, '.xml')])
def test_a_file_of_another_network_is_refused_at_once(make, suffix, tmp_path):
    network = CompactNetwork(TINY).eval()
    write = write_onnx if suffix == '.onnx' else write_openvino
    with torch.no_grad():
        network.field.bias.fill_(float('nan'))
    write(network, '', tmp_path / ('nan' + suffix))
    with pytest.raises(ValueError, match=f'nan{suffix} returns joints that are not finite'):
        make(tmp_path / ('nan' + suffix))
    network.config = ModelConfig(**{**network.config.__dict__, 'joint_names': ('wrist',)})
    write(network, '', tmp_path / ('other' + suffix))
    with pytest.raises(
        ValueError, match=rf'other{suffix} is another network than it says: .*\(1, 21, 3\)'
    ):
        make(tmp_path / ('other' + suffix))


@pytest.mark.parametrize(
    'change',
    [
        {'crop_size': '128'},
        {'crop_size': True},
        {'crop_size': 10**9},
        {'cube_mm': 0},
        {'side': 'up'},
        {'joint_names': []},
        {'joint_names': [3]},
        {'detection_weights': [1, 2]},
        {'detection_weights': None},
        {'colour': 1},
    ],
)
def test_a_description_that_no_network_has_is_refused(change):
    values = {**json.loads(EngineConfig.of(TINY).to_json()), **change}
    with pytest.raises(ValueError, match='net.onnx was not exported by this package'):
        EngineConfig.from_json(json.dumps(values), 'net.onnx')


@pytest.mark.parametrize('name', ['w.onnx', 'w.xml', 'w.pt'])
@pytest.mark.parametrize(
    'content, words',
    [
        (b'<!DOCTYPE html><html>', 'a web page'),
        (b'', 'empty'),
        (bytes(999), 'all zeros'),
        (b'version https://git-lfs.github.com/spec/v1', 'a Git LFS pointer'),
    ],
)
def test_what_a_file_of_weights_is_instead(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f'{name} .*{words}') as error:
        select.load_engine(tmp_path / name)
    assert 'weights_only' not in str(error.value)


def no_process(*_):
    raise OSError('no process can be started')


@pytest.mark.parametrize('engine', ['torch', 'onnxruntime', 'openvino'])
def test_a_checkpoint_that_does_not_run_is_named(engine, tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    # where no process can be started this one converts, in which the network does not run
    monkeypatch.setattr(convert, 'run_apart', no_process)
    monkeypatch.setattr(
        CompactNetwork,
        'forward_features',
        lambda *_: (_ for _ in ()).throw(RuntimeError('sizes differ')),
    )
    # in this process, where the network is patched
    monkeypatch.setattr(
        convert, 'run_apart', lambda *_: (_ for _ in ()).throw(OSError('no process'))
    )
    with pytest.raises(ValueError, match='tiny.pt .*sizes differ'):
        select.load_engine(checkpoint, engine)


@pytest.mark.parametrize('engine', ['torch', 'onnxruntime'])
def test_a_checkpoint_without_pytorch_says_what_to_install(engine, tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))  # nothing was converted before
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(ValueError, match="PyTorch: pip install 'torch"):
        select.load_engine(checkpoint, engine)


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_a_start_from_the_cache_needs_no_torch_and_tells_nobody(engine):
    """Tracking, once converted, without PyTorch's seconds and memory, and without OpenVINO's
    telemetry.
    """
    select.load_engine(engine=engine)
    program = f"""
import sys
sys.modules['torch'] = None
import numpy as np
from awr_ros.camera import Intrinsics
from awr_ros.tracker import HandTracker
tracker = HandTracker.from_pretrained(engine={engine!r}, device='cpu')
assert tracker.update(np.full((480, 640), 1000, np.uint16), Intrinsics(475, 475, 320, 240, 640, 480), 0.0) == []
assert sys.modules.get('openvino_telemetry') is None
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
