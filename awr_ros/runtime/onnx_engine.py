"""ONNX Runtime: on the CPU, or on an NVIDIA GPU through its CUDA or TensorRT provider if
installed.
"""

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.files import write_bytes
from awr_ros.runtime.cache import cache_folder
from awr_ros.runtime.readout import (
    MAX_BATCH,
    OUTPUTS,
    EngineConfig,
    Predictions,
    check_answers,
    check_crops,
    predict_in_passes,
    readout_module,
)
from awr_ros.weight_files import DamagedFile, check_onnx, reason_unreadable, sealed_onnx

METADATA = 'awr_ros'  # key of EngineConfig.to_json in a model's metadata
OPSET = 17  # supported from ONNX Runtime 1.13 on
CUDA_PROVIDERS = ('TensorrtExecutionProvider', 'CUDAExecutionProvider')  # the fastest first


def import_onnxruntime() -> Any:
    """Import onnxruntime without its telemetry. Raise ModuleNotFoundError if it is not installed.

    From 1.29 on importing it stores an id of the machine in the user's cache folder and reports to
    its vendor over the network.
    """
    os.environ['ORT_DISABLE_TELEMETRY'] = '1'
    import onnxruntime

    return onnxruntime


def write_onnx(network: Any, origin: str, path: str | Path) -> None:
    """Convert network and read-out to a sealed ONNX file. Needs the package onnx, beside torch."""
    write_bytes(path, onnx_bytes(network, origin))


def onnx_bytes(network: Any, origin: str, int8: bool = False) -> bytes:
    """Return the contents of the file that `write_onnx` writes. int8: quantise
    (awr_ros.runtime.quantized); ValueError if that is not possible.
    """
    import onnx
    import torch

    from awr_ros.runtime.folded_refiner import folded
    from awr_ros.runtime.quantized import quantizable, quantized

    if int8 and (reason := quantizable(network)):
        raise ValueError(reason)
    size = network.config.crop_size
    exported = io.BytesIO()
    batch = {name: {0: 'batch'} for name in ('depth', *OUTPUTS)}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        # The exporter from TorchScript: the newer one needs another package and ten times as long.
        options: Any = {'dynamo': False} if _has_dynamo_option(torch) else {}
        torch.onnx.export(
            readout_module(folded(network)),
            (torch.ones(2, 1, size, size),),
            exported,  # type: ignore[arg-type]  # a file object
            input_names=['depth'],
            output_names=list(OUTPUTS),
            dynamic_axes=batch,
            opset_version=OPSET,
            **options,
        )
    model = onnx.load_from_string(exported.getvalue())
    onnx.helper.set_model_props(
        model, {METADATA: EngineConfig.of(network.config, origin).to_json()}
    )
    onnx.checker.check_model(model)
    model = model.SerializeToString()
    return quantized(model, network.config.cube_mm) if int8 else sealed_onnx(model)


def _has_dynamo_option(torch):
    """Whether torch.onnx.export has the option `dynamo`, since torch 2.5."""
    return tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (2, 5)


def cuda_providers() -> tuple[str, ...]:
    """Return the CUDA providers in the installed ONNX Runtime, the fastest first; their libraries
    may be missing.
    """
    return tuple(
        provider
        for provider in CUDA_PROVIDERS
        if provider in import_onnxruntime().get_available_providers()
    )


def first_that_starts(
    path: str | Path, num_threads: int, providers: Sequence[str], model: bytes | None = None
) -> 'OnnxEngine':
    """Return the OnnxEngine of the first provider that starts; its description names those that do
    not. Arguments and errors as OnnxEngine.
    """
    refused = ''
    for provider in providers[:-1]:
        try:
            engine = OnnxEngine(path, num_threads, provider, model)
            break
        except DamagedFile:
            raise
        except ValueError:  # TensorRT is listed where its libraries are missing
            refused += f', {provider} cannot be started'
    else:
        engine = OnnxEngine(path, num_threads, providers[-1], model)
    engine.description += refused
    return engine


class OnnxEngine:
    """Engine for an ONNX file written by `write_onnx`."""

    max_batch = MAX_BATCH

    def __init__(
        self,
        path: str | Path,
        num_threads: int = 1,
        provider: str = 'CPUExecutionProvider',
        model: bytes | None = None,
    ) -> None:
        """path: of the .onnx; num_threads: CPU threads; provider: of ONNX Runtime, no other one is
        used; model: contents of the file if already read.

        Raise ValueError that names the path for a file that cannot be read or was not exported by
        this package, and ValueError when the provider cannot be started.
        """
        onnxruntime = import_onnxruntime()
        model = Path(path).read_bytes() if model is None else model
        check_onnx(model, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        # waiting threads must not occupy a core
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=[self._with_options(provider)]
            )
        except Exception as error:  # its exception classes are not public
            raise ValueError(
                f'ONNX Runtime cannot load {path} with {provider}: {reason_unreadable(path, error)}'
            ) from error
        if session.get_providers()[0] != provider:
            raise ValueError(
                f'ONNX Runtime cannot start {provider}: it offers '
                f'{", ".join(session.get_providers())} instead'
            )
        metadata = session.get_modelmeta().custom_metadata_map
        if METADATA not in metadata:
            raise ValueError(
                f'{path} was not exported by this package: it has no metadata {METADATA}'
            )
        self.config = EngineConfig.from_json(metadata[METADATA], path)
        where = (
            f'the CPU, f32, {num_threads} threads'
            if provider == 'CPUExecutionProvider'
            else f'the GPU by {provider}'
        )
        self.description = f'ONNX Runtime {onnxruntime.__version__} on {where}'
        self._session = session
        size = self.config.crop_size
        try:
            check_answers(self._pass(np.ones((1, 1, size, size), np.float32)), self.config, path)
            for batch in range(2, MAX_BATCH + 1):
                self._pass(np.ones((batch, 1, size, size), np.float32))
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(
                f'ONNX Runtime cannot run {path}: {reason_unreadable(path, error)}'
            ) from error

    @staticmethod
    def _with_options(provider):
        # building its engine takes minutes, so only once
        if provider == 'TensorrtExecutionProvider':
            return provider, {
                'trt_fp16_enable': True,
                'trt_engine_cache_enable': True,
                'trt_engine_cache_path': str(cache_folder() / 'tensorrt'),
            }
        return provider

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 uvdn. Return Predictions."""
        check_crops(crops, self.config)
        return predict_in_passes(self._pass, crops)

    def _pass(self, crops):
        return self._session.run(OUTPUTS, {'depth': np.ascontiguousarray(crops)})
