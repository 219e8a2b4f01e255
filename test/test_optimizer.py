"""The trainers' optimiser: steps of both parts, on the network's own memory, and states
that go on.
"""

from copy import deepcopy

import pytest
import torch
from torch import nn

from awr_ros.training.optimizer import MuonAdamW


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    ).to(memory_format=torch.channels_last)


def teach(net, optimizer, steps):
    images = torch.randn(8, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(images) - images[..., 2:-2, 2:-2]).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_it_learns_and_moves_every_weight():
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = MuonAdamW(net, 2e-2, 0.0)
    first = teach(net, optimizer, 1)
    assert teach(net, optimizer, 40) < 0.8 * first
    assert all(not torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_convolutions_step_orthogonally():
    """A step of Muon has singular values of about one size, whatever the gradient's."""
    net = network()
    weight = net[3].weight
    before = weight.detach().clone()
    teach(net, MuonAdamW(net, 1e-2, 0.0), 1)
    values = torch.linalg.svdvals((weight.detach() - before).permute(0, 2, 3, 1).reshape(6, -1))
    assert values.max() / values.min() < 3


def test_a_run_goes_on_from_its_state():
    one, two = network(), network()
    optimizer = MuonAdamW(one, 1e-2, 1e-2)
    teach(one, optimizer, 5)
    two.load_state_dict(one.state_dict())
    other = MuonAdamW(two, 1e-2, 1e-2)
    # which shares its tensors with the optimiser
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    assert teach(one, optimizer, 3) == pytest.approx(teach(two, other, 3), rel=1e-4)
    for mine, its in zip(one.parameters(), two.parameters()):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-4)


def test_other_states_and_memory_formats_are_refused():
    with pytest.raises(ValueError, match="got \\['param_groups', 'state'\\]"):
        MuonAdamW(network(), 1e-2, 0.0).load_state_dict(
            torch.optim.AdamW(network().parameters()).state_dict()
        )
    with pytest.raises(ValueError, match='channels_last'):
        MuonAdamW(network().to(memory_format=torch.contiguous_format), 1e-2, 0.0)
