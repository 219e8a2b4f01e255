"""A network with fewer, larger kernels for torch.

Batch norms are folded into their convolutions on every device. On CUDA, cuDNN also computes bias,
shortcut and ReLU in the convolution's kernel. Neither needs a compiler. Whatever cannot be fused
stays unchanged, and the reason is returned as a text.
"""

import copy
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as nn_f
from torch.nn.utils.fusion import fuse_conv_bn_eval

from awr_ros.networks.base import AwrNetwork
from awr_ros.runtime.readout import readout_module

# tolerated difference of the outputs after fusing, relative to their size, in half precision
DIFFERENCE = 0.02


class Trunk(nn.Module):
    """The part of a network before its read-out: depth (B,1,S,S) -> field, hand logit, crop
    features.
    """

    def __init__(self, network: AwrNetwork) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, depth: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the output of `forward_features`."""
        return self.network.forward_features(depth)


def folded(network: AwrNetwork) -> tuple[nn.Module, str]:
    """Return the trunk of a network in eval mode without batch norms, and '' or the reason why it
    has them.

    The network is not changed; the trunk shares all other tensors with it.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    trunk = copy.deepcopy(Trunk(network).eval(), shared)
    try:
        _fold(trunk)
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError) as error:
        return Trunk(network).eval(), f'batch norms are not folded: {_reason(error)}'
    return trunk, ''


def _fold(trunk):
    """Fold each batch norm into the convolution before it, which nothing else may read.

    torch.fx.experimental.optimization.fuse would do it, but the source of each GraphModule stays in
    a cache of torch.fx until the process ends: some kB each time that weights are loaded.
    """
    graph, modules = _traced(trunk), dict(trunk.named_modules())
    called = Counter(node.target for node in graph.nodes if node.op == 'call_module')
    for node in graph.nodes:
        if node.op != 'call_module' or type(modules[node.target]) is not nn.BatchNorm2d:
            continue
        source = node.args[0]
        if (
            source.op == 'call_module'
            and type(modules[source.target]) is nn.Conv2d
            and len(source.users) == called[source.target] == called[node.target] == 1
        ):
            fused = fuse_conv_bn_eval(modules[source.target], modules[node.target])
            for target, module in ((source.target, fused), (node.target, nn.Identity())):
                parent, _, name = target.rpartition('.')
                setattr(trunk.get_submodule(parent), name, module)


def _traced(trunk):
    """Return the graph of a trunk. Raises TraceError where it is not the same for all inputs."""
    return fx.Tracer().trace(trunk)


def with_fused_convolutions(
    trunk: nn.Module, probe: torch.Tensor, make: Callable[[nn.Conv2d], nn.Module] | None = None
) -> tuple[nn.Module, str]:
    """Fuse ReLU and additions into the convolutions of a trunk; return it and '', or the given one
    and the reason.

    trunk: of `folded`, on its device and in its precision; probe: depth (B,1,S,S) there, on which
    both must agree; make: replacement of a convolution, by default CudnnConvolution.
    """
    try:
        changed = _fuse_relu(trunk, make or CudnnConvolution)
        with torch.inference_mode():
            for expected, got in zip(trunk(probe), changed(probe), strict=True):
                known = ~expected.isnan()  # networks of the paper have no hand logit
                off, size = (
                    torch.nan_to_num(part.float(), nan=torch.inf).abs().amax()
                    if part.numel()
                    else 0
                    for part in ((got - expected)[known], expected[known])
                )
                if off > DIFFERENCE * (1 + size):
                    return trunk, f'convolutions are not fused: they are {off:.3g} off'
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError) as error:
        return trunk, f'convolutions are not fused: {_reason(error)}'
    return changed, ''


def fused_readout(
    network: AwrNetwork, device: str, half: bool, compiled: bool = False
) -> tuple[nn.Module, str]:
    """Return network and read-out as one module on a device, fused as far as possible there.

    network: in eval mode and single precision; it is moved and changed; half: half precision except
    for the read-out; compiled: use torch.compile too, which needs a C compiler and takes a minute.
    Also return what could not be done, '' for nothing.
    """
    dtype = torch.half if half else torch.float32
    trunk, note = folded(network)
    trunk = trunk.to(  # type: ignore[call-overload]
        device, dtype, memory_format=torch.channels_last
    )
    size = network.config.crop_size
    probe = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    trunk, second = with_fused_convolutions(trunk, probe.to(dtype))
    network.to(  # type: ignore[call-overload]
        device, dtype, memory_format=torch.channels_last
    )
    readout = readout_module(network, trunk)
    notes = [note, second]
    if compiled:
        plain = readout
        try:
            readout = torch.compile(plain, dynamic=False)  # type: ignore[assignment]
            with torch.inference_mode():
                off = (readout(probe)[0] - plain(probe)[0]).norm(dim=-1).mean()
            if not off <= DIFFERENCE:
                raise ValueError(f'its joints are {off:.3g} off')
        except Exception as error:  # of many types, none of them fatal
            readout = plain
            notes.append(f'not compiled: {_reason(error)}')
    return readout, '; '.join(filter(None, notes))


class CudnnConvolution(nn.Module):
    """A convolution with bias, with or without an addition, and ReLU, as one kernel of cuDNN."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.settings: list[Any] = [
            list(getattr(convolution, name)) for name in ('stride', 'padding', 'dilation')
        ] + [convolution.groups]

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """Apply to x (B,C,H,W). added: tensor of the shape of the output to add before the ReLU,
        None: nothing.
        """
        if added is None:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, *self.settings)
        return torch.cudnn_convolution_add_relu(
            x, self.weight, added, 1.0, self.bias, *self.settings
        )


def _fuse_relu(trunk, make):
    """Return a copy with make(convolution) for each convolution that is followed by a ReLU."""
    graph, modules = _traced(trunk), dict(trunk.named_modules())
    for node in graph.nodes:
        if node.op == 'call_module' and type(modules[node.target]) is nn.Identity:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    changed = fx.GraphModule(trunk, graph)

    def convolution(node):
        if isinstance(node, fx.Node) and node.op == 'call_module' and len(node.users) == 1:
            module = modules[node.target]
            return module if isinstance(module, nn.Conv2d) else None
        return None

    def is_relu(node):
        return (node.op == 'call_module' and isinstance(modules[node.target], nn.ReLU)) or (
            node.op == 'call_function' and node.target in (torch.relu, nn_f.relu)
        )

    for node in [node for node in graph.nodes if is_relu(node)]:
        source, inputs = node.args[0], ()
        if source.target is operator.add and len(source.users) == 1:
            # The later of the two summands: the other one is available by then.
            source, *inputs = sorted(source.args, key=list(graph.nodes).index, reverse=True)
            if not convolution(source):
                source, inputs = inputs[0], (source,)
        if not convolution(source):
            continue
        name = source.target.replace('.', '_') + '_relu'
        changed.add_submodule(name, make(convolution(source)))
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_module(name, (source.args[0], *inputs)))
    graph.eliminate_dead_code()
    changed.delete_all_unused_submodules()
    changed.recompile()
    return changed


def _reason(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
