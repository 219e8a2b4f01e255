"""A GPU that is none: tensors that say they are on it lie on the CPU, and what a GPU refuses is
refused.

An operation on tensors of both devices raises, unless it is a copy from one to the other or the
other tensor is a scalar, and everything for which a program would wait for the GPU is counted.
"""

import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device('cuda', 0)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
INDEXING = ('aten::index', 'aten::index_put_')
WAITS = (
    'aten::_local_scalar_dense',
    'aten::nonzero',
    'aten::is_nonzero',
    'aten::masked_select',
    'aten::equal',
)


class OnDevice(torch.Tensor):
    """A tensor whose numbers are in `held`, on the CPU."""

    @staticmethod
    def __new__(cls, held):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
        )
        self.held = held
        return self

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)

    def data_ptr(self):
        return self.held.data_ptr()

    def cpu(self):
        # what is below is there already
        return torch.ops.aten._to_copy(self, device=torch.device('cpu'))

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __deepcopy__(self, memo):
        copy = OnDevice(self.held.clone())
        return (
            torch.nn.Parameter(copy, self.requires_grad)
            if isinstance(self, torch.nn.Parameter)
            else copy
        )

    def __reduce_ex__(self, protocol):
        return self.held.detach().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {}, [])


def dispatch(function, args, kwargs, waits):
    """Run an operation on what the tensors hold. waits: list of names, grown by what waits for the
    GPU.
    """
    name, wanted = function._schema.name, kwargs.get('device')
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    here = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.dim()]
    # a list of indices is copied first
    indexes = name in INDEXING and isinstance(args[0], OnDevice)
    if there and here and not indexes and function not in COPIES:
        raise RuntimeError(f'{function}: expected all tensors to be on the same device')
    on_device = bool(there) if wanted is None else torch.device(wanted).type in ('meta', 'cuda')
    if function is torch.ops.aten.copy_.default:
        on_device = isinstance(args[0], OnDevice)
    if there and (name in WAITS or (function in COPIES and not on_device)):
        waits.append(name)
    if indexes and (here or any(t is not None and t.dtype == torch.bool for t in args[1])):
        waits.append(name)
    held_args, held_kwargs = tree_map(
        lambda leaf: leaf.held if isinstance(leaf, OnDevice) else leaf, (args, kwargs)
    )
    if wanted is not None:
        held_kwargs = {**held_kwargs, 'device': torch.device('cpu')}
    result = function(*held_args, **held_kwargs)
    if name.endswith('_') and tensors and isinstance(result, torch.Tensor):
        return args[0]
    return tree_map(
        lambda leaf: OnDevice(leaf) if isinstance(leaf, torch.Tensor) and on_device else leaf,
        result,
    )


class Renamed(TorchFunctionMode):
    """PyTorch without CUDA lets nobody name it: of its own devices 'meta' stands for it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        # these know the name
        if function is torch.device or 'autocast' in getattr(function, '__name__', ''):
            return function(*args, **(kwargs or {}))

        def renamed(leaf):
            return (
                torch.device('meta')
                if isinstance(leaf, torch.device) and leaf.type == 'cuda' or leaf == 'cuda'
                else leaf
            )

        args, kwargs = (
            tree_map(
                lambda leaf: renamed(leaf) if isinstance(leaf, (str, torch.device)) else leaf, part
            )
            for part in (args, kwargs or {})
        )
        # which makes them unseen
        if function is torch.tensor and torch.device(kwargs.get('device') or 'cpu').type == 'meta':
            return OnDevice(torch.tensor(*args, **{**kwargs, 'device': 'cpu'}))
        return function(*args, **kwargs)


class FakeCuda(TorchDispatchMode):
    """While active, and Renamed too, tensors made on 'cuda' are OnDevice. waits: names of
    operations for which the program waited.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {}, self.waits)


@contextlib.contextmanager
def fake_cuda(monkeypatch):
    """Yields an active FakeCuda. monkeypatch: pytest's."""
    from awr_ros.synthetic import clutter
    from awr_ros.training.graphed_step import CudaCapture

    class OfCpu(torch.Generator):
        def __new__(cls, device='cpu'):
            return super().__new__(cls, 'cpu')

    def refuse(self):
        raise RuntimeError('no CUDA here')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch, 'Generator', OfCpu)
    monkeypatch.setattr(CudaCapture, '__init__', refuse)
    caches = clutter._monomials, clutter._bicubic
    for cache in caches:
        cache.cache_clear()
    try:
        # else parameters would lose what they hold
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        with FakeCuda() as mode, Renamed():
            yield mode
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        for cache in caches:
            cache.cache_clear()
