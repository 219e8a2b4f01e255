"""Fused networks say what plain ones do; what cannot be fused stays as it is and says so."""

import linecache

import numpy as np
import pytest
import torch
from fake_cuda import OnDevice, fake_cuda
from torch.nn import functional as nn_f

from awr_ros.networks.checkpoint import (
    CompactNetwork,
    HourglassConfig,
    ModelConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
    load_checkpoint,
)
from awr_ros.runtime import fused_network
from awr_ros.runtime.fused_network import folded, fused_readout, with_fused_convolutions
from awr_ros.runtime.readout import readout_module
from awr_ros.runtime.torch_engine import TorchEngine
from awr_ros.synthetic.crops import CropSource

TINY = ModelConfig(
    stem=(4, 8),
    widths=(8, 16),
    blocks=(2, 1),
    decoder_width=8,
    crop_size=32,
    refiner=8,
    handedness=8,
)


def conv_relu(x, weight, bias, *settings):
    """What cuDNN computes in one kernel."""
    return conv_add_relu(x, weight, 0, 1.0, bias, *settings)


def conv_add_relu(x, weight, added, alpha, bias, stride, padding, dilation, groups):
    return nn_f.relu(
        nn_f.conv2d(x, weight, bias, stride, padding, dilation, groups) + alpha * added
    )


@pytest.fixture
def cudnn(monkeypatch):
    calls = []
    for name, stand_in in (('relu', conv_relu), ('add_relu', conv_add_relu)):
        monkeypatch.setattr(
            torch,
            f'cudnn_convolution_{name}',
            lambda *args, name=name, stand_in=stand_in: (calls.append(name), stand_in(*args))[1],
        )
    return calls


def trained(network):
    """With batch statistics and scales that are not the initial ones."""
    torch.manual_seed(1)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    size = network.config.crop_size
    with torch.no_grad():
        for _ in range(2):
            network(torch.rand(4, 1, size, size))
    return network.eval()


def networks():
    torch.manual_seed(0)
    return {
        'compact': trained(CompactNetwork(TINY)),
        'resnet': trained(ResNet(ResNetConfig(crop_size=32))),
        'hourglass': trained(StackedHourglass(HourglassConfig(stacks=1, width=16, crop_size=64))),
    }


def kinds(module):
    return [type(part).__name__ for part in module.modules()]


@pytest.mark.parametrize('name', ['compact', 'resnet', 'hourglass'])
def test_a_folded_and_fused_network_says_what_it_said(name, cudnn):
    network = networks()[name]
    depth = torch.rand(3, 1, network.config.crop_size, network.config.crop_size)
    with torch.inference_mode():
        expected = fused_network.Trunk(network)(depth)
        plain, note = folded(network)
        assert note == ''
        fused, note = with_fused_convolutions(plain, depth)
        assert note == ''
        for trunk in (plain, fused):
            for one, other in zip(expected, trunk(depth), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)
    before = kinds(network).count('BatchNorm2d')
    after = kinds(plain).count('BatchNorm2d')
    # The others also normalise sums and transposed convolutions, which take up nothing.
    assert before > 4 and (after == 0 if name == 'compact' else after < before)
    assert cudnn.count('relu') > 2
    assert 'add_relu' in cudnn or name == 'hourglass'


def test_no_relu_of_the_compact_network_is_left_alone(cudnn):
    fused, _ = with_fused_convolutions(
        folded(trained(CompactNetwork(TINY)))[0], torch.rand(1, 1, 32, 32)
    )
    targets = [str(node.target) for node in fused.graph.nodes]
    assert not any('relu' in target and not target.endswith('_relu') for target in targets), targets
    assert not any(
        node.op == 'call_function'
        and 'add' == getattr(node.target, '__name__', '')
        and any(user.op == 'call_function' and user.target is nn_f.relu for user in node.users)
        for node in fused.graph.nodes
    )


def test_the_shipped_weights_read_alike_when_folded():
    network, _ = load_checkpoint()
    crops = CropSource(3).draw(6).depth
    with torch.inference_mode():
        expected = readout_module(load_checkpoint()[0])(crops)
    got = TorchEngine(network).predict(crops.numpy())
    off = np.linalg.norm(got.joints_uvdn - expected[0].numpy(), axis=-1).mean()
    assert off * network.config.cube_mm / 2 < 0.05
    np.testing.assert_allclose(got.hand_scores, expected[2], atol=1e-3)


def test_folding_changes_no_tensor_of_the_network():
    network = trained(CompactNetwork(TINY))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trunk, _ = folded(network)
    assert kinds(network).count('BatchNorm2d') > 4
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    # What is not folded is there once.
    assert trunk.network.hand.weight is network.hand.weight


def test_a_convolution_that_is_used_twice_is_not_folded():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = (
                torch.nn.Conv2d(1, 1, 3, padding=1),
                torch.nn.BatchNorm2d(1),
            )

        def forward_features(self, depth):
            return self.norm(self.convolution(self.norm(self.convolution(depth))))

    network, depth = Twice().eval(), torch.rand(1, 1, 8, 8)
    torch.nn.init.constant_(network.norm.running_var, 3)
    trunk, note = folded(network)
    assert note == '' and 'BatchNorm2d' in kinds(trunk)
    torch.testing.assert_close(trunk(depth), network.forward_features(depth))


def test_loading_weights_leaves_no_source_in_a_cache():
    network = trained(CompactNetwork(TINY))
    TorchEngine(network)
    before = len(linecache.cache)
    for _ in range(3):
        TorchEngine(network)
    assert len(linecache.cache) == before


def test_where_cudnn_is_not_the_network_stays_and_says_so():
    network = trained(CompactNetwork(TINY))
    depth = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        expected = readout_module(network)(depth)
        readout, note = fused_readout(network, 'cpu', half=False)
        assert note.startswith('convolutions are not fused: ')
        torch.testing.assert_close(readout(depth)[0], expected[0], rtol=1e-3, atol=1e-4)


def test_a_kernel_that_computes_something_else_is_not_taken(cudnn, monkeypatch):
    monkeypatch.setattr(torch, 'cudnn_convolution_relu', lambda *args: conv_relu(*args) + 1)
    readout, note = fused_readout(trained(CompactNetwork(TINY)), 'cpu', half=False)
    assert 'convolutions are not fused: they are' in note and note.endswith('off')
    assert 'CudnnConvolution' not in kinds(readout)


def test_a_network_that_cannot_be_traced_stays_and_says_so(monkeypatch):
    def untraceable(trunk):
        raise torch.fx.proxy.TraceError('control flow\nmany lines')

    monkeypatch.setattr(fused_network, '_traced', untraceable)
    network = trained(CompactNetwork(TINY))
    readout, note = fused_readout(network, 'cpu', half=False)
    assert note == (
        'batch norms are not folded: control flow; convolutions are not fused: control flow'
    )
    assert 'control flow' in TorchEngine(network).description
    readout(torch.rand(1, 1, 32, 32))


def test_half_precision_holds_for_the_trunk_alone(cudnn):
    network = trained(CompactNetwork(TINY))
    depth = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        expected = readout_module(network)(depth)
        readout, note = fused_readout(network, 'cpu', half=True)
        assert note == '' and next(readout.trunk.parameters()).dtype == torch.half
        assert next(readout.network.refiner.parameters()).dtype == torch.float32
        got = readout(depth)
        assert got[0].dtype == torch.float32
        torch.testing.assert_close(got[0], expected[0], rtol=0, atol=0.02)


def test_a_missing_compiler_is_said_and_lived_with(cudnn, monkeypatch):
    def broken(module, **_):
        def run(depth):
            raise OSError('Failed to find C compiler. Please specify via CC environment variable.')

        return run

    monkeypatch.setattr(torch, 'compile', broken)
    readout, note = fused_readout(trained(CompactNetwork(TINY)), 'cpu', half=False, compiled=True)
    assert note.startswith('not compiled: Failed to find C compiler')
    with torch.inference_mode():
        readout(torch.rand(1, 1, 32, 32))


def test_a_pass_has_no_tensor_of_the_cpu_and_waits_for_nothing(monkeypatch):
    """The capture of a CUDA graph refuses both."""
    torch.manual_seed(0)
    readout = readout_module(load_checkpoint()[0].eval())
    crops = 2 * torch.rand(2, 1, 128, 128) - 1
    with torch.no_grad():
        expected = readout(crops)
        with fake_cuda(monkeypatch) as gpu:
            readout.to('cuda', memory_format=torch.channels_last)
            on_gpu = crops.to('cuda')
            gpu.waits.clear()
            got = readout(on_gpu)
            assert gpu.waits == [] and {type(output) for output in got} == {OnDevice}
            for output, same in zip(got, expected):
                torch.testing.assert_close(output.cpu(), same, atol=1e-4, rtol=1e-4)
