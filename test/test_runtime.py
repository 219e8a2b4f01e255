"""Every engine says what torch says; the choice among them says why; what is missing or damaged is named."""
import gc
import json
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from awr_ros.crop import crop_hand
from awr_ros.default_weights import DEFAULT_WEIGHTS
from awr_ros.estimator import HandPoseEstimator
from awr_ros.export import export
from awr_ros.network import CompactNetwork, ModelConfig, ResNet, ResNetConfig, save_checkpoint
from awr_ros.runtime import cache, cuda_engine, onnx_engine, select
from awr_ros.runtime.onnx_engine import OnnxEngine, first_that_starts, write_onnx
from awr_ros.runtime.openvino_engine import OpenVinoEngine, fastest_precision, write_openvino
from awr_ros.runtime.readout import MAX_BATCH, EngineConfig, Readings, read_in_passes
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.skeleton import NYU_14, palm_centre
from awr_ros.synthetic.camera import SyntheticCamera

TINY = ModelConfig(stem=(4, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=32, cube_mm=250.0, kernel_size=0.7)


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
        cut.append(crop_hand(depth, camera.intrinsics, centre, config.cube_mm, config.crop_size).depth)
    return np.stack(cut)[:, None]


def tiny_checkpoint(folder, seed=0):
    torch.manual_seed(seed)
    network = CompactNetwork(TINY)
    network(torch.rand(4, 1, 32, 32))                       # batch statistics that are not the initial ones
    save_checkpoint(folder / 'tiny.pt', network.eval(), 64, {})
    return folder / 'tiny.pt'


def mean_difference_mm(a: Readings, b: Readings, config):
    return np.linalg.norm(a.joints_uvdn - b.joints_uvdn, axis=-1).mean() * config.cube_mm / 2


def test_an_exported_graph_does_not_reckon_with_shapes(tmp_path):
    onnx = pytest.importorskip('onnx')
    write_onnx(CompactNetwork(ModelConfig(refiner=8, judge=8)).eval(), '', tmp_path / 'net.onnx')
    kinds = [node.op_type for node in onnx.load(str(tmp_path / 'net.onnx')).graph.node]
    assert kinds.count('Shape') <= 2 and 'Expand' not in kinds, kinds      # the depth's resize asks for its batch


# ---- parity ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_single_precision_engines_agree_with_torch(engine, reference, crops):
    loaded = select.load_engine(engine=engine, device='cpu', num_threads=1)
    if 'bf16' in loaded.description:
        pytest.skip('this CPU runs OpenVINO in bfloat16: see the next test')
    expected, got = reference.read(crops), loaded.read(crops)
    assert mean_difference_mm(expected, got, reference.config) <= 0.2
    np.testing.assert_allclose(got.joint_scores, expected.joint_scores, atol=1e-3)
    np.testing.assert_allclose(got.hand_scores, expected.hand_scores, atol=1e-3)
    np.testing.assert_allclose(got.judgements, expected.judgements, atol=0.02)
    assert got.joints_uvdn.dtype == np.float32 and loaded.config == reference.config


def test_openvino_in_bfloat16_agrees_with_torch(reference, crops):
    """Its error grows with the network's own uncertainty, and bfloat16 rounds where the refiner looks."""
    path, _ = export(None, cache.cache_folder() / 'exported', 'openvino')
    got, expected = OpenVinoEngine(path, precision='bf16').read(crops), reference.read(crops)
    assert mean_difference_mm(expected, got, reference.config) <= 1.5
    np.testing.assert_allclose(got.hand_scores, expected.hand_scores, atol=0.05)


def test_votes_by_openvino_in_bfloat16_agree_with_torch(crops, tmp_path):
    """Without the refiner, which looks at places that bfloat16 rounds."""
    network, _ = select.load_network(DEFAULT_WEIGHTS)
    network.refiner = None
    write_openvino(network, '', tmp_path / 'votes.xml')
    got, expected = OpenVinoEngine(tmp_path / 'votes.xml', precision='bf16').read(crops), TorchEngine(network).read(crops)
    assert mean_difference_mm(expected, got, network.config) <= 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU here')
@pytest.mark.parametrize('half, limit_mm', [(False, 0.2), (True, 0.5)])
def test_cuda_graphs_agree_with_torch(half, limit_mm, reference, crops):
    engine = cuda_engine.CudaEngine(select.load_network(DEFAULT_WEIGHTS)[0], half=half)
    for count in (1, 2, 3, 5, 8, 11):
        got, expected = engine.read(crops[:count]), reference.read(crops[:count])
        assert mean_difference_mm(expected, got, reference.config) <= limit_mm


@pytest.mark.parametrize('write, make, suffix', [(write_openvino, OpenVinoEngine, '.xml'), (write_onnx, OnnxEngine, '.onnx')])
def test_networks_of_the_paper_run_on_every_engine(write, make, suffix, tmp_path):
    """14 joints, another cube, no logit for the hand: NaN in, NaN out."""
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(joint_names=NYU_14, crop_size=64, side='left', authors_crop=True)).eval()
    write(network, 'imported', tmp_path / ('net' + suffix))
    engine, expected = make(tmp_path / ('net' + suffix), 1), TorchEngine(network, 'imported')
    assert engine.config == expected.config == EngineConfig(NYU_14, 64, 300.0, 'left', True, origin='imported')
    depth = np.random.default_rng(0).uniform(-1, 1.2, (3, 1, 64, 64)).clip(-1, 1).astype(np.float32)
    if 'bf16' not in engine.description:
        assert mean_difference_mm(expected.read(depth), engine.read(depth), engine.config) <= 0.2
    said = engine.read(depth)
    assert said.joints_uvdn.shape == (3, 14, 3) and said.hand_scores.shape == (3,)
    assert np.isnan(said.hand_scores).all() and np.isnan(said.judgements).all()


def test_left_half_precision_weights_read_out_in_single(reference, crops):
    """What the CUDA engine computes, on the CPU: only the network is of half precision."""
    network, _ = select.load_network(DEFAULT_WEIGHTS)
    got = TorchEngine(network.half()).read(crops)
    assert got.joints_uvdn.dtype == np.float32
    assert mean_difference_mm(reference.read(crops), got, reference.config) <= 0.5


# ---- passes ----------------------------------------------------------------------------------------------------------

def test_long_lists_take_several_passes_and_keep_their_order(reference, crops):
    counts = []

    def read(some):
        counts.append(len(some))
        return [some[:, 0, 0, :1], some[:, 0, 0, 1:2], some[:, 0, 0, 2], some[:, 0, 0, 3]]
    together = read_in_passes(read, crops)
    assert counts == [MAX_BATCH, len(crops) - MAX_BATCH]
    np.testing.assert_array_equal(together.hand_scores, crops[:, 0, 0, 2])
    np.testing.assert_array_equal(together.judgements, crops[:, 0, 0, 3])
    expected = np.concatenate([reference.read(crops[i:i + 1]).joints_uvdn for i in range(len(crops))])
    np.testing.assert_allclose(reference.read(crops).joints_uvdn, expected, atol=1e-4)


def test_results_are_not_overwritten_by_the_next_pass(tmp_path):
    path, engine = export(tiny_checkpoint(tmp_path), tmp_path / 'tiny', 'openvino')
    near, far = (np.full((2, 1, 32, 32), depth, np.float32) for depth in (-0.5, 0.5))
    first = engine.read(near)
    kept = first.joints_uvdn.copy()
    assert np.abs(engine.read(far).joints_uvdn - kept).max() > 0.1
    np.testing.assert_array_equal(first.joints_uvdn, kept)


@pytest.mark.parametrize('bad', [np.zeros((1, 1, 64, 64), np.float32), np.zeros((1, 1, 128, 128)), np.zeros((128, 128), np.float32),
                                 np.zeros((0, 1, 128, 128), np.float32)])
def test_wrong_crops_are_named(bad, reference):
    with pytest.raises(ValueError, match=r'crops must be \(B,1,128,128\) float32'):
        reference.read(bad)


@pytest.mark.parametrize('count, size', [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_the_smallest_graph_that_is_large_enough(count, size):
    assert cuda_engine.graph_batch(count) == size


def test_too_large_batches_have_no_graph():
    with pytest.raises(ValueError, match='1 to 8 crops, got 9'):
        cuda_engine.graph_batch(9)


# ---- the choice ------------------------------------------------------------------------------------------------------

def choose(engine='auto', device='auto', weights=None, cuda=False, installed=('openvino', 'onnxruntime', 'onnx'), precision='f32'):
    return select.choose(engine, device, weights, lambda: cuda, lambda name: name in installed, lambda: precision,
                         lambda: cuda)


@pytest.mark.parametrize('asked, expected, reason', [
    (dict(cuda=True), ('torch', 'cuda'), 'GPU'),
    (dict(cuda=True, device='cpu'), ('onnxruntime', 'cpu'), 'without AMX'),
    (dict(), ('onnxruntime', 'cpu'), 'without AMX'),
    (dict(precision='bf16'), ('openvino', 'cpu'), 'with AMX'),
    (dict(precision='bf16', installed=('onnxruntime', 'onnx')), ('onnxruntime', 'cpu'), 'openvino is not'),
    (dict(installed=('openvino',)), ('openvino', 'cpu'), 'onnxruntime and onnx are not'),
    (dict(installed=('openvino', 'onnxruntime')), ('openvino', 'cpu'), 'onnx are not'),
    (dict(installed=()), ('torch', 'cpu'), 'pip install onnxruntime onnx'),
    (dict(engine='torch'), ('torch', 'cpu'), 'asked for'),
    (dict(engine='torch', cuda=True), ('torch', 'cuda'), 'asked for'),
    (dict(engine='openvino', cuda=True), ('openvino', 'cpu'), 'asked for'),
    (dict(weights='net.xml', cuda=True), ('openvino', 'cpu'), 'net.xml is a file for it'),
    (dict(weights='net.onnx', device='cpu'), ('onnxruntime', 'cpu'), 'net.onnx is a file for it'),
])
def test_the_choice_and_its_reason(asked, expected, reason):
    choice = choose(**asked)
    assert (choice.engine, choice.device) == expected and reason in choice.reason


@pytest.mark.parametrize('asked, words', [
    (dict(engine='tensorflow'), "engine must be one of auto, torch, openvino, onnxruntime, got 'tensorflow'"),
    (dict(device='tpu'), "got 'tpu'"),
    (dict(device='cuda'), 'torch finds no CUDA device'),
    (dict(engine='torch', device='cuda'), 'torch finds no CUDA device'),
    (dict(engine='openvino', installed=()), 'pip install openvino'),
    (dict(engine='onnxruntime', installed=()), 'pip install onnxruntime'),
    (dict(engine='openvino', device='cuda', cuda=True), "no device 'cuda'"),
    (dict(engine='torch', weights='net.onnx'), "net.onnx is a file for 'onnxruntime'"),
])
def test_what_is_missing_or_does_not_fit_is_named(asked, words):
    with pytest.raises(ValueError, match=words):
        choose(**asked)


def test_onnxruntime_takes_a_gpu_only_where_there_is_one(monkeypatch):
    """It lists the providers that it was built with, wherever it runs."""
    monkeypatch.setattr(onnx_engine, 'cuda_providers', lambda: onnx_engine.CUDA_PROVIDERS)
    assert choose(weights='net.onnx').device == choose('onnxruntime', 'cpu', cuda=True).device == 'cpu'
    assert choose(weights='net.onnx', cuda=True).device == choose('onnxruntime', 'cuda').device == 'cuda'


@pytest.mark.filterwarnings('ignore:Specified provider')
def test_the_first_provider_that_starts_is_taken(tmp_path):
    file = export(None, tmp_path / 'default', 'onnx')[0]
    said = first_that_starts(file, 1, (*onnx_engine.CUDA_PROVIDERS, 'CPUExecutionProvider')).description
    assert 'on the CPU' in said and 'TensorrtExecutionProvider cannot be started, CUDAExecutionProvider cannot be started' in said
    assert 'cannot' not in first_that_starts(file, 1, ('CPUExecutionProvider',)).description
    with pytest.raises(ValueError, match='CUDAExecutionProvider'):
        first_that_starts(file, 1, onnx_engine.CUDA_PROVIDERS)


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
        OnnxEngine(export(None, cache.cache_folder() / 'for_cuda', 'onnx')[0], provider='CUDAExecutionProvider')


@pytest.mark.parametrize('flags, precision', [(('avx512f', 'avx512_bf16'), 'f32'), (('avx512_bf16', 'amx_bf16'), 'bf16'), ((), 'f32')])
def test_bfloat16_only_where_the_cpu_multiplies_matrices_of_it(flags, precision):
    assert fastest_precision(flags) == precision


def test_a_core_is_left_to_the_robot(monkeypatch):
    for cores, threads in ((1, 1), (2, 1), (4, 3), (16, 4)):
        monkeypatch.setattr(select.os, 'sched_getaffinity', lambda _, cores=cores: set(range(cores)))
        assert select.default_threads() == threads


# ---- cache and files -------------------------------------------------------------------------------------------------

def test_only_the_first_start_converts(tmp_path, monkeypatch):
    weights = tiny_checkpoint(tmp_path)
    first = select.load_engine(weights, 'openvino')
    monkeypatch.setattr('awr_ros.runtime.openvino_engine.trace', lambda _: pytest.fail('converted again'))
    again = select.load_engine(weights, 'openvino')
    depth = np.full((1, 1, 32, 32), 0.3, np.float32)
    np.testing.assert_array_equal(first.read(depth).joints_uvdn, again.read(depth).joints_uvdn)
    assert again.description == first.description and 'asked for' in again.description


def test_other_weights_or_converters_are_other_entries(tmp_path):
    (tmp_path / 'a').mkdir()
    keys = {cache.entry_key(tiny_checkpoint(tmp_path, 0), 'x 1'), cache.entry_key(tiny_checkpoint(tmp_path / 'a', 1), 'x 1'),
            cache.entry_key(tmp_path / 'tiny.pt', 'x 2')}
    assert len(keys) == 3 and cache.entry_key(tmp_path / 'tiny.pt', 'x 1') in keys


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

    def fail(folder):
        (folder / 'half').write_text('half')
        raise RuntimeError('no')
    with pytest.raises(RuntimeError):
        cache.converted(DEFAULT_WEIGHTS, 'test', fail)
    assert list((tmp_path / 'awr_ros').iterdir()) == []


def test_where_two_convert_at_once_the_first_one_wins(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))

    def slow(folder):
        (folder / 'by').write_text('slow')
        cache.converted(DEFAULT_WEIGHTS, 'test', lambda other: (other / 'by').write_text('fast'))
    entry = cache.converted(DEFAULT_WEIGHTS, 'test', slow)
    assert (entry / 'by').read_text() == 'fast' and list(entry.parent.iterdir()) == [entry]


def test_a_cache_that_cannot_be_written_is_said_and_lived_with(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))        # no folder can be made in a file
    engine = select.load_engine(tiny_checkpoint(tmp_path), 'openvino')
    assert 'cannot be written' in engine.description
    assert engine.read(np.zeros((1, 1, 32, 32), np.float32)).joints_uvdn.shape == (1, 21, 3)


@pytest.mark.parametrize('file_format, suffix', [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_files_are_weights(file_format, suffix, tmp_path):
    checkpoint = tiny_checkpoint(tmp_path)
    path, _ = export(checkpoint, tmp_path / 'out' / 'net', file_format)
    assert path == tmp_path / 'out' / ('net' + suffix)
    estimator = HandPoseEstimator.from_pretrained(path)
    assert estimator.config == EngineConfig.of(TINY, '64 training samples') and str(path) in estimator.description
    depth = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(1, 1, 32, 32)
    expected = select.load_engine(checkpoint, 'torch').read(depth)
    assert mean_difference_mm(expected, estimator.engine.read(depth), TINY) <= (0.5 if 'bf16' in estimator.description else 0.2)


def test_foreign_and_damaged_files_are_named(tmp_path):
    import openvino as ov
    for name in ('bad.onnx', 'bad.xml'):
        (tmp_path / name).write_bytes(b'no model')
        with pytest.raises(ValueError, match=name):
            select.load_engine(tmp_path / name)
    parameter = ov.opset13.parameter([1], np.float32)
    ov.save_model(ov.Model([ov.opset13.relu(parameter)], [parameter]), str(tmp_path / 'foreign.xml'))
    with pytest.raises(ValueError, match='foreign.xml was not exported by this package'):
        select.load_engine(tmp_path / 'foreign.xml')
    with pytest.raises(FileNotFoundError, match='none.onnx'):
        select.load_engine(tmp_path / 'none.onnx')
    with pytest.raises(ValueError, match='net.xml was not exported by this package: expected format'):
        EngineConfig.from_json('{"format": "other"}', 'net.xml')
    with pytest.raises(ValueError, match='net.xml was not exported by this package'):
        EngineConfig.from_json('[]', 'net.xml')


@pytest.mark.parametrize('aligned', [False, True])
def test_exported_files_that_know_of_no_virtual_crop_get_it_where_they_are_of_rendered_hands(aligned):
    values = json.loads(EngineConfig(NYU_14, 64, 300.0, aligned=aligned).to_json())
    del values['virtual_crop']
    assert EngineConfig.from_json(json.dumps(values), 'net.xml').virtual_crop == aligned
    values['virtual_crop'] = not aligned
    assert EngineConfig.from_json(json.dumps(values), 'net.xml').virtual_crop != aligned


@pytest.mark.parametrize('engine', ['torch', 'onnxruntime'])
def test_a_checkpoint_without_pytorch_says_what_to_install(engine, tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint(tmp_path)
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(ValueError, match="PyTorch: pip install 'torch"):
        select.load_engine(checkpoint, engine)


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_a_start_from_the_cache_needs_no_torch_and_tells_nobody(engine):
    """Tracking, once converted, without PyTorch's seconds and memory, and without OpenVINO's telemetry."""
    select.load_engine(engine=engine)
    program = f'''
import sys
sys.modules['torch'] = None
import numpy as np
from awr_ros.camera import Intrinsics
from awr_ros.tracker import HandTracker
tracker = HandTracker.from_pretrained(engine={engine!r}, device='cpu')
assert tracker.update(np.full((480, 640), 1000, np.uint16), Intrinsics(475, 475, 320, 240, 640, 480), 0.0) == []
assert sys.modules.get('openvino_telemetry') is None
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
