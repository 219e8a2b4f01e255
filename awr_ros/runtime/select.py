"""Selection and loading of the engine that runs the network: `load_engine`.

`auto` takes the fastest engine of this machine and gives the reason; an engine requested by name is
that engine or an error that says how to install it. There is no silent fallback to a slower one.
"""

import ctypes
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from awr_ros.runtime.cache import cache_folder, converted
from awr_ros.runtime.openvino_engine import fastest_precision
from awr_ros.runtime.readout import Engine
from awr_ros.weight_files import (
    DEFAULT_WEIGHTS,
    ONNX_KEY,
    DamagedFile,
    check_onnx,
    check_whole,
    check_xml,
    checksum,
)

EngineName = Literal['auto', 'torch', 'openvino', 'onnxruntime', 'onnxruntime-int8']
Device = Literal['auto', 'cpu', 'cuda']
INT8 = 'onnxruntime-int8'
ENGINES = ('auto', 'torch', 'openvino', 'onnxruntime', INT8)
DEVICES = ('auto', 'cpu', 'cuda')
MAX_THREADS = 4  # default limit: a network of this size gains little from more
# suffixes of exported files, each for one engine
SUFFIXES = {'.xml': 'openvino', '.onnx': 'onnxruntime'}


@dataclass(frozen=True)
class Choice:
    """An engine on a device."""

    engine: str  # 'torch', 'openvino' or 'onnxruntime'
    device: str  # 'cpu' or 'cuda'
    reason: str  # in words
    candidates: tuple[str, ...] = ()  # engines to measure (runtime.fastest), the most precise first


def default_threads() -> int:
    """Return the number of CPU cores of this process minus one, which is left to the robot; at most
    MAX_THREADS.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    )
    return min(max(1, cores - 1), MAX_THREADS)


def has_driver() -> bool:
    """Whether the driver of an NVIDIA GPU is installed."""
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    return True


def has_cuda() -> bool:
    """Whether torch can use an NVIDIA GPU. Without a driver torch is not even imported."""
    if not has_driver() or not installed('torch'):
        return False
    import torch

    return torch.cuda.is_available()


def installed(package: str) -> bool:
    """Whether a Python package is installed."""
    return importlib.util.find_spec(package) is not None


def choose(
    engine: str,
    device: str,
    weights: str | Path | None = None,
    cuda: Callable[[], bool] = has_cuda,
    installed: Callable[[str], bool] = installed,
    precision: Callable[[], str] = fastest_precision,
    driver: Callable[[], bool] = has_driver,
) -> Choice:
    """Choose engine and device for the parameters engine (of ENGINES) and device (of DEVICES).

    weights: path; an exported file (.onnx, .xml) fixes the engine. Raise ValueError that says what
    is wrong or missing and which pip package would help. cuda, installed, precision, driver:
    queries of the machine, replaced in tests.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine must be one of {", ".join(ENGINES)}, got {engine!r}')
    if device not in DEVICES:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}")
    file_engine = SUFFIXES.get(Path(weights).suffix) if weights is not None else None
    if file_engine and engine not in ('auto', file_engine):
        raise ValueError(f"engine is '{engine}', but {weights} is a file for '{file_engine}'")
    if file_engine or engine != 'auto':
        return _as_asked(
            file_engine or engine,
            device,
            f'{weights} is a file for it' if file_engine else 'requested',
            cuda,
            installed,
            driver,
        )
    if device != 'cpu' and cuda():
        return Choice('torch', 'cuda', 'the fastest where there is a GPU')
    if device == 'cuda':
        raise ValueError("device is 'cuda', but torch finds no CUDA device")
    # In float32 ONNX Runtime was a tenth faster and needs half the time to start; bfloat16 is
    # OpenVINO's alone.
    has = {
        'openvino': installed('openvino'),
        'onnxruntime': installed('onnxruntime') and installed('onnx'),
    }
    bfloat16 = has['openvino'] and precision() == 'bf16'
    candidates = (
        ('onnxruntime', INT8, *(('openvino',) if bfloat16 else ())) if has['onnxruntime'] else ()
    )
    if bfloat16 or has['openvino'] and not has['onnxruntime']:
        return Choice(
            'openvino',
            'cpu',
            'the fastest on a CPU with AMX'
            if precision() == 'bf16'
            else 'the fastest installed: onnxruntime and onnx are not',
            candidates,
        )
    if has['onnxruntime']:
        return Choice(
            'onnxruntime',
            'cpu',
            'the fastest on a CPU without AMX'
            if precision() == 'f32'
            else 'the fastest installed: openvino is not',
            candidates,
        )
    return Choice(
        'torch',
        'cpu',
        'ONNX Runtime is two to three times as fast: pip install -r requirements/ros-apt.txt',
    )


def _as_asked(
    engine: str,
    device: str,
    reason: str,
    cuda: Callable[[], bool],
    installed: Callable[[str], bool],
    driver: Callable[[], bool],
) -> Choice:
    """Return the Choice of an engine requested by name or by an exported file."""
    if engine == 'torch':
        if device == 'cuda' and not cuda():
            raise ValueError("device is 'cuda', but torch finds no CUDA device")
        return Choice(engine, 'cuda' if device != 'cpu' and cuda() else 'cpu', reason)
    if engine == INT8 and device == 'cuda':
        raise ValueError(f"engine is '{INT8}', which has no device 'cuda': use engine 'torch'")
    if not installed(engine.partition('-')[0]):
        raise ValueError(
            f"engine is '{engine}', but the package is not installed: pip install "
            f'{engine.partition("-")[0]}'
        )
    if engine == 'openvino':
        if device == 'cuda':
            raise ValueError("engine is 'openvino', which has no device 'cuda': use engine 'torch'")
        return Choice(engine, 'cpu', reason)
    if engine == INT8:
        return Choice(engine, 'cpu', reason)
    from awr_ros.runtime.onnx_engine import cuda_providers

    if device == 'cuda' and not cuda_providers():
        raise ValueError(
            "device is 'cuda', but the installed ONNX Runtime has no CUDA provider: pip install "
            'onnxruntime-gpu'
        )
    # It lists its CUDA providers on machines without a GPU too; which torch is installed is nothing
    # to it.
    return Choice(
        engine,
        'cuda' if device == 'cuda' or device == 'auto' and cuda_providers() and driver() else 'cpu',
        reason,
    )


def load_engine(
    weights: str | Path | None = None,
    engine: str = 'auto',
    device: str = 'auto',
    num_threads: int | None = None,
) -> Engine:
    """Load weights into the fastest engine of this machine, or a given one.

    weights: a checkpoint, an exported file (.onnx, .xml), or None for the weights of the package;
    num_threads: CPU threads, None or 0: `default_threads()`. Raise FileNotFoundError or ValueError
    that names the path, and ValueError for an engine or a device that is not available. The first
    start with a checkpoint converts it, which takes some seconds, and with 'auto' measures which
    engine is the fastest.
    """
    choice = choose(engine, device, weights)
    threads = num_threads or default_threads()
    path = Path(weights or DEFAULT_WEIGHTS)
    if not path.is_file():
        raise FileNotFoundError(f'no weights at {path}')
    if choice.candidates:
        from awr_ros.runtime.fastest import measured

        choice = measured(path, choice, threads)
    loaded = LOADERS[choice.engine](path, choice, threads)
    name = 'default weights' if weights is None else str(weights)
    loaded.description += f' ({choice.reason}); {name}, {loaded.config.origin}'
    return loaded


def load_network(path: str | Path) -> tuple[Any, str]:
    """Load the network of a checkpoint and the origin of its weights, a text. Raise ValueError if
    PyTorch is not installed.
    """
    if not installed('torch'):
        raise ValueError(f"to read {path} takes PyTorch: pip install 'torch>=2.1,<3'")
    from awr_ros.runtime import convert

    return convert.load_network(path)


def convert_checkpoint(path: str | Path, suffix: str, int8: bool = False) -> dict[str, bytes]:
    """Convert as `runtime.convert.convert_apart` does. Raises ValueError where PyTorch is not
    installed.
    """
    if not installed('torch'):
        load_network(path)
    from awr_ros.runtime.convert import convert_apart

    return convert_apart(path, suffix, int8)


def _load_torch(path: Path, choice: Choice, threads: int) -> Engine:
    network, origin = load_network(path)
    _try_out(network, path)
    if choice.device == 'cuda':
        from awr_ros.runtime.cuda_engine import CudaEngine

        return CudaEngine(network, origin)
    from awr_ros.runtime.torch_engine import TorchEngine

    return TorchEngine(network, origin, threads)


def _try_out(network: Any, path: Path) -> None:
    """Run the network once; raise ValueError that names the path if it fails or its joints are not
    finite.
    """
    import torch

    from awr_ros.runtime.readout import EngineConfig, check_answers, readout_module

    config = EngineConfig.of(network.config)
    try:
        with torch.inference_mode():
            answers = readout_module(network)(torch.ones(1, 1, config.crop_size, config.crop_size))
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f'weights {path} do not fit their own description: {str(error)[:200]}'
        ) from error
    check_answers([answer.numpy() for answer in answers], config, path)


def _load_openvino(path: Path, _: Choice, threads: int) -> Engine:
    from awr_ros.runtime import openvino_engine

    version = openvino_engine.import_openvino().__version__

    def check(files: Mapping[str, bytes]) -> None:
        check_xml(files['.xml'], files['.bin'], path)
        if b'<!-- sha256' not in files['.xml']:
            raise DamagedFile(f'{path} has no checksum')

    def load(path: Path, files: Mapping[str, bytes] | None = None) -> Any:
        return openvino_engine.OpenVinoEngine(
            path, threads, model=(files['.xml'], files['.bin']) if files else None
        )

    return _load_converted(path, f'openvino {version}', '.xml', check, load)


def _load_onnx(path: Path, choice: Choice, threads: int) -> Engine:
    from awr_ros.runtime import onnx_engine

    if path.suffix != '.onnx' and not installed('onnx'):
        raise ValueError(
            f"engine 'onnxruntime' needs the package onnx to convert {path}: pip install onnx"
        )
    int8 = choice.engine == INT8
    if int8 and path.suffix == '.onnx':
        raise ValueError(f"engine '{INT8}' converts checkpoints, {path} is an exported file")
    providers = (
        ('CPUExecutionProvider',) if choice.device == 'cpu' else onnx_engine.cuda_providers()
    )

    def check(files: Mapping[str, bytes]) -> None:
        check_onnx(files['.onnx'], path)
        if ONNX_KEY not in files['.onnx'][-200:]:
            raise DamagedFile(f'{path} has no checksum')

    def load(path: Path, files: Mapping[str, bytes] | None = None) -> Any:
        return onnx_engine.first_that_starts(
            path, threads, providers, files['.onnx'] if files else None
        )

    if int8:
        from awr_ros.runtime.quantized import CALIBRATION

        # Its output depends on the crops of the calibration as well.
        name = f'onnx int8 {onnx_engine.import_onnxruntime().__version__} {checksum(CALIBRATION)}'
        loaded = _load_converted(path, name, '.onnx', check, load, int8=True)
        loaded.description = loaded.description.replace('f32', 'int8')
        return loaded
    return _load_converted(path, 'onnx', '.onnx', check, load)


def _load_converted(
    path: Path,
    converter: str,
    suffix: str,
    check: Callable[[Mapping[str, bytes]], None],
    load: Callable[..., Any],
    int8: bool = False,
) -> Any:
    """Load an exported file with load(path), or a checkpoint, converted and cached, with load(path,
    files). check: as in `converted`.
    """
    if path.suffix == suffix:
        return load(path)
    check_whole(path)

    files, failure = converted(
        path, converter, lambda: convert_checkpoint(path, suffix, int8), check
    )
    loaded = load(path, files)
    if failure:
        loaded.description += (
            f', converted anew at every start because {cache_folder()} cannot be written '
            f'({failure})'
        )
    return loaded


LOADERS: dict[str, Callable[[Path, Choice, int], Any]] = {
    'torch': _load_torch,
    'openvino': _load_openvino,
    'onnxruntime': _load_onnx,
    INT8: _load_onnx,
}
