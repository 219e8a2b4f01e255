"""The paper's backbones: published sizes, the authors' checkpoint keys, and outputs equal to a
plain second implementation.
"""

import math

import pytest
import torch
import torch.nn.functional as nn_f
from torch import nn

from awr_ros.networks.checkpoint import (
    HourglassConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
    load_checkpoint,
    save_checkpoint,
)
from awr_ros.skeleton import NYU_14

J = 14


def resnet(layers, **options):
    return ResNet(ResNetConfig(layers=layers, joint_names=NYU_14, **options))


def hourglass(stacks, **options):
    return StackedHourglass(HourglassConfig(stacks=stacks, joint_names=NYU_14, **options))


# ---- names and shapes, from the documented topology


def norm(name, width):
    return {
        f'{name}.weight': (width,),
        f'{name}.bias': (width,),
        f'{name}.running_mean': (width,),
        f'{name}.running_var': (width,),
        f'{name}.num_batches_tracked': (),
    }


def resnet_keys(layers, deconvolutions=3):
    keys = {'pre.0.weight': (64, 1, 5, 5), **norm('pre.1', 64)}
    inputs, expansion = 64, 1 if layers == 18 else 4
    for stage, (width, count) in enumerate(
        zip((64, 128, 256, 512), {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[layers]), 1
    ):
        for block in range(count):
            name = f'layer{stage}.{block}'
            if layers == 18:
                shapes = [(width, inputs, 3, 3), (width, width, 3, 3)]
            else:
                shapes = [(width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            for i, shape in enumerate(shapes, 1):
                keys |= {f'{name}.conv{i}.weight': shape, **norm(f'{name}.bn{i}', shape[0])}
            if block == 0 and (stage > 1 or inputs != width * expansion):
                keys |= {
                    f'{name}.downsample.0.weight': (width * expansion, inputs, 1, 1),
                    **norm(f'{name}.downsample.1', width * expansion),
                }
            inputs = width * expansion
    for i in range(deconvolutions):
        keys |= {
            f'deconv_layers.{3 * i}.weight': (inputs, 256, 4, 4),
            **norm(f'deconv_layers.{3 * i + 1}', 256),
        }
        inputs = 256
    return keys | {
        'final1.weight': (3 * J, 256, 1, 1),
        'final1.bias': (3 * J,),
        'final2.weight': (J, 256, 1, 1),
        'final2.bias': (J,),
    }


def conv_keys(name, outputs, inputs, size):
    return {f'{name}.weight': (outputs, inputs, size, size), f'{name}.bias': (outputs,)}


def residual_keys(name, inputs, outputs):
    half = outputs // 2
    return {
        **norm(f'{name}.bn1', inputs),
        **conv_keys(f'{name}.conv1.conv', half, inputs, 1),
        **norm(f'{name}.bn2', half),
        **conv_keys(f'{name}.conv2.conv', half, half, 3),
        **norm(f'{name}.bn3', half),
        **conv_keys(f'{name}.conv3.conv', outputs, half, 1),
        **conv_keys(f'{name}.skip_layer.conv', outputs, inputs, 1),
    }


def hourglass_keys(stacks):
    keys = {
        **conv_keys('pre.0.conv', 64, 1, 5),
        **norm('pre.0.bn', 64),
        **residual_keys('pre.1', 64, 128),
        **residual_keys('pre.3', 128, 256),
        **residual_keys('pre.4', 256, 256),
    }
    for s in range(stacks):
        for level in range(4):
            for part in ('up1', 'low1', 'low3') + (('low2',) if level == 3 else ()):
                keys |= residual_keys(f'hgs.{s}.0.' + 'low2.' * level + part, 256, 256)
        keys |= {
            **residual_keys(f'features.{s}.0', 256, 256),
            **conv_keys(f'features.{s}.1.conv', 256, 256, 1),
            **norm(f'features.{s}.1.bn', 256),
            **conv_keys(f'outs_1.{s}', 3 * J, 256, 1),
            **conv_keys(f'outs_2.{s}', J, 256, 1),
        }
        if s < stacks - 1:
            keys |= {
                **conv_keys(f'merge_features.{s}.conv.conv', 256, 256, 1),
                **conv_keys(f'merge_preds.{s}.conv.conv', 256, 4 * J, 1),
            }
    return keys


def random_state(shapes, seed=0):
    """Weights that keep the signal's size, and batch statistics that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(7)
        elif name.endswith('running_var') or (name.endswith('weight') and len(shape) == 1):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan_in = math.prod(shape[1:]) if len(shape) == 4 else 25
            state[name] = torch.randn(shape, generator=generator) / math.sqrt(fan_in)
    return state


NETWORKS = {
    'resnet 18': (lambda **o: resnet(18, **o), resnet_keys(18), 142, 15.38, 3.78),
    'resnet 50': (lambda **o: resnet(50, **o), resnet_keys(50), 340, 34.00, 7.15),
    'hourglass 1': (lambda **o: hourglass(1, **o), hourglass_keys(1), 409, 4.58, 5.72),
    'hourglass 2': (lambda **o: hourglass(2, **o), hourglass_keys(2), 746, 8.66, 8.99),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_sizes_are_the_published_ones(name):
    make, keys, count, millions, billions = NETWORKS[name]
    with torch.device('meta'):  # shapes are all that counts
        network, depth, macs = make().eval(), torch.empty(1, 1, 128, 128), []

    def measure(module, inputs, output):
        positions = (inputs[0] if isinstance(module, nn.ConvTranspose2d) else output)[0].numel()
        macs.append(positions * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(measure)
    with torch.no_grad():
        field, logit = network(depth)
    assert field.shape == (1, 4 * J, 64, 64) and logit.shape == (1,)
    assert len(keys) == count
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert sum(macs) / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_state_with_the_authors_names_loads_strictly(name):
    make, keys, *_ = NETWORKS[name]
    with torch.device('meta'):
        network = make(crop_size=64)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == keys
    network.load_state_dict(random_state(keys), strict=True, assign=True)


# ---- a second implementation, of functions only, that reads nothing but a state's keys


class Plain:
    def __init__(self, state):
        self.state = state

    def has(self, name):
        return name in self.state

    def conv(self, name, x, stride=1, padding=0):
        return nn_f.conv2d(
            x, self.state[f'{name}.weight'], self.state.get(f'{name}.bias'), stride, padding
        )

    def norm(self, name, x):
        weight, bias, mean, var = (
            self.state[f'{name}.{part}'].view(1, -1, 1, 1)
            for part in ('weight', 'bias', 'running_mean', 'running_var')
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def resnet(self, x):
        x = nn_f.max_pool2d(self.norm('pre.1', self.conv('pre.0', x, padding=2)).relu(), 3, 2, 1)
        for stage in (1, 2, 3, 4):
            block = 0
            while self.has(f'layer{stage}.{block}.conv1.weight'):
                name, stride = f'layer{stage}.{block}', 2 if stage > 1 and block == 0 else 1
                if self.has(f'{name}.conv3.weight'):
                    y = self.norm(f'{name}.bn1', self.conv(f'{name}.conv1', x)).relu()
                    y = self.norm(f'{name}.bn2', self.conv(f'{name}.conv2', y, stride, 1)).relu()
                    y = self.norm(f'{name}.bn3', self.conv(f'{name}.conv3', y))
                else:
                    y = self.norm(f'{name}.bn1', self.conv(f'{name}.conv1', x, stride, 1)).relu()
                    y = self.norm(f'{name}.bn2', self.conv(f'{name}.conv2', y, 1, 1))
                if self.has(f'{name}.downsample.0.weight'):
                    x = self.norm(
                        f'{name}.downsample.1', self.conv(f'{name}.downsample.0', x, stride)
                    )
                x, block = (x + y).relu(), block + 1
        for i in (0, 3, 6):
            x = nn_f.conv_transpose2d(x, self.state[f'deconv_layers.{i}.weight'], None, 2, 1)
            x = self.norm(f'deconv_layers.{i + 1}', x).relu()
        return [torch.cat([self.conv('final1', x), self.conv('final2', x)], 1)]

    def residual(self, name, x):
        y = self.conv(f'{name}.conv1.conv', self.norm(f'{name}.bn1', x).relu())
        y = self.conv(f'{name}.conv2.conv', self.norm(f'{name}.bn2', y).relu(), padding=1)
        y = self.conv(f'{name}.conv3.conv', self.norm(f'{name}.bn3', y).relu())
        return y + (x if x.shape == y.shape else self.conv(f'{name}.skip_layer.conv', x))

    def one_hourglass(self, name, x):
        low = self.residual(f'{name}.low1', nn_f.max_pool2d(x, 2, 2))
        deeper = self.has(f'{name}.low2.up1.bn1.weight')
        low = (
            self.one_hourglass(f'{name}.low2', low)
            if deeper
            else self.residual(f'{name}.low2', low)
        )
        low = self.residual(f'{name}.low3', low)
        return self.residual(f'{name}.up1', x) + low.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def hourglass(self, x):
        x = self.norm('pre.0.bn', self.conv('pre.0.conv', x, padding=2)).relu()
        x = nn_f.max_pool2d(self.residual('pre.1', x), 2)
        x = self.residual('pre.4', self.residual('pre.3', x))
        fields, s = [], 0
        while self.has(f'outs_1.{s}.weight'):
            y = self.residual(f'features.{s}.0', self.one_hourglass(f'hgs.{s}.0', x))
            y = self.norm(f'features.{s}.1.bn', self.conv(f'features.{s}.1.conv', y)).relu()
            fields.append(torch.cat([self.conv(f'outs_1.{s}', y), self.conv(f'outs_2.{s}', y)], 1))
            if self.has(f'merge_preds.{s}.conv.conv.weight'):
                x = (
                    x
                    + self.conv(f'merge_preds.{s}.conv.conv', fields[-1])
                    + self.conv(f'merge_features.{s}.conv.conv', y)
                )
            s += 1
        return fields


@pytest.mark.parametrize('name', NETWORKS)
def test_outputs_equal_those_of_a_plain_second_implementation(name):
    make, keys, *_ = NETWORKS[name]
    state = random_state(keys)
    with torch.device('meta'):
        network = make(crop_size=64).eval()
    network.load_state_dict(state, assign=True)
    depth = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = getattr(Plain(state), name.split()[0])(depth)
        stages = network.fields(depth)
        output, logit = network(depth)
    assert len(stages) == len(expected) == (2 if name == 'hourglass 2' else 1)
    for stage, plain in zip(stages, expected):
        assert plain.std() > 1e-3 * plain.abs().max()  # not a constant
        torch.testing.assert_close(stage, plain, rtol=1e-3, atol=1e-4 * plain.abs().max().item())
    assert torch.equal(output, stages[-1]) and logit.isnan().all()


@pytest.mark.parametrize('downsample, side', [(1, 64), (2, 32), (4, 16)])
def test_a_resnet_has_a_deconvolution_for_every_doubling(downsample, side):
    network = resnet(18, crop_size=64, downsample=downsample).eval()
    assert set(network.state_dict()) == set(resnet_keys(18, 4 - int(math.log2(downsample))))
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 64, 64))[0].shape[-1] == side == network.config.field_size


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: ResNetConfig(layers=34), 'layers must be one of'),
        (lambda: ResNetConfig(downsample=3), 'downsample'),
        (lambda: ResNetConfig(crop_size=100), 'multiple of 16, got 100'),
        (lambda: HourglassConfig(stacks=0), 'stacks'),
        (lambda: HourglassConfig(crop_size=48), 'multiple of 32, got 48'),
        (lambda: HourglassConfig(side='both'), 'side'),
        (lambda: ResNetConfig(joint_names=()), 'joint_names'),
        (lambda: ResNetConfig(kernel_size=0.0), 'kernel_size'),
    ],
)
def test_impossible_configurations_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_checkpoints_say_which_network_they_are(tmp_path):
    network = StackedHourglass(
        HourglassConfig(NYU_14, 64, 250.0, 'left', True, stacks=1, width=32, kernel_size=0.4)
    )
    save_checkpoint(tmp_path / 'w.pt', network, 5, {}, {'dataset': 'nyu'}, torch.float32)
    again, about = load_checkpoint(tmp_path / 'w.pt')
    assert (
        type(again) is StackedHourglass
        and again.config == network.config
        and about['made_by'] == {'dataset': 'nyu'}
    )
    assert all(torch.equal(again.state_dict()[k], v) for k, v in network.state_dict().items())
