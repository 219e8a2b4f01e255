"""ONNX Runtime: on the CPU, or on an NVIDIA GPU through its CUDA or TensorRT provider where that is
installed.
"""

import io
import os
import warnings
from pathlib import Path

import numpy as np

from awr_ros.files import write_bytes
from awr_ros.runtime.cache import cache_folder
from awr_ros.runtime.readout import (
    MAX_BATCH,
    OUTPUTS,
    EngineConfig,
    check_answers,
    check_crops,
    predict_in_passes,
    readout_module,
)
from awr_ros.weight_files import DamagedFile, check_onnx, reason_unreadable, sealed_onnx

METADATA = 'awr_ros'  # where a model keeps what EngineConfig.to_json says
OPSET = 17  # read by ONNX Runtime 1.13 and newer
CUDA_PROVIDERS = ('TensorrtExecutionProvider', 'CUDAExecutionProvider')  # the fastest first


def import_onnxruntime():
    """The module onnxruntime. Raises ModuleNotFoundError where it is not installed.

    Without its telemetry: from 1.29 on importing it keeps an id of the machine in the user's cache
    folder and reports to its makers over the network.
    """
    os.environ['ORT_DISABLE_TELEMETRY'] = '1'
    import onnxruntime

    return onnxruntime


def write_onnx(network, origin, path):
    """Convert network and read-out to an ONNX file, sealed. Needs the package onnx,
    beside torch.
    """
    write_bytes(path, onnx_bytes(network, origin))


def onnx_bytes(network, origin, int8=False):
    """The contents of the file that `write_onnx` writes. int8: quantised
    (awr_ros.runtime.quantized); ValueError where it cannot be.
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
        # The exporter from TorchScript: the newer one needs one more package and takes ten times as
        # long.
        options = {'dynamo': False} if _has_dynamo_option(torch) else {}
        torch.onnx.export(
            readout_module(folded(network)),
            (torch.ones(2, 1, size, size),),
            exported,
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
    """torch.onnx.export takes `dynamo` since torch 2.5."""
    return tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (2, 5)


def cuda_providers():
    """The CUDA providers that the installed ONNX Runtime was built with, the fastest first; each
    may lack its libraries.
    """
    return tuple(
        provider
        for provider in CUDA_PROVIDERS
        if provider in import_onnxruntime().get_available_providers()
    )


def first_that_starts(path, num_threads, providers, model=None):
    """The OnnxEngine of the first provider that can be started; its description names those that
    cannot. Arguments and errors as OnnxEngine's.
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
    """An ONNX file that `write_onnx` wrote."""

    max_batch = MAX_BATCH

    def __init__(self, path, num_threads=1, provider='CPUExecutionProvider', model=None):
        """path: of the .onnx; num_threads: CPU threads; provider: the one of ONNX Runtime that must
        do the work; model: contents of the file where they are at hand.

        Raises ValueError that names the path for a file that cannot be read or was not exported by
        this package, and ValueError when the provider cannot be started.
        """
        onnxruntime = import_onnxruntime()
        model = Path(path).read_bytes() if model is None else model
        check_onnx(model, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        # waiting must not cost a core
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=[self._with_options(provider)]
            )
        except Exception as error:  # the classes of its errors are no part of its interface
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
        if provider == 'TensorrtExecutionProvider':  # building its engine takes minutes: once
            return provider, {
                'trt_fp16_enable': True,
                'trt_engine_cache_enable': True,
                'trt_engine_cache_path': str(cache_folder() / 'tensorrt'),
            }
        return provider

    def predict(self, crops):
        """crops: (B,1,S,S) float32 uvdn. Returns Predictions."""
        check_crops(crops, self.config)
        return predict_in_passes(self._pass, crops)

    def _pass(self, crops):
        return self._session.run(OUTPUTS, {'depth': np.ascontiguousarray(crops)})
