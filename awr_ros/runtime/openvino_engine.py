"""OpenVINO on the CPU: the fastest engine on CPUs with matrix instructions for bfloat16 (AMX)."""

import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.files import write_bytes
from awr_ros.runtime.readout import (
    MAX_BATCH,
    EngineConfig,
    Predictions,
    check_answers,
    check_crops,
    predict_in_passes,
    trace,
)
from awr_ros.weight_files import check_xml, reason_unreadable, sealed_xml

METADATA = 'awr_ros'  # key of EngineConfig.to_json in a model's metadata


def import_openvino() -> Any:
    """Import openvino without its telemetry. Raise ModuleNotFoundError if it is not installed.

    Importing openvino reports the import to its vendor over the network, which a robot should not
    do. It works without the package openvino_telemetry if that cannot be imported.
    """
    if 'openvino' not in sys.modules:
        sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
    import openvino

    return openvino


def fastest_precision(flags: Collection[str] | None = None) -> str:
    """Return 'bf16' on CPUs that multiply bfloat16 matrices in hardware (AMX), else 'f32'.

    OpenVINO's own query is not used: with AVX512_BF16 alone bf16 took 1.5 times as long as f32.
    flags: of the CPU as Linux names them, None: of this CPU; unknown CPUs get 'f32'.
    """
    if flags is None:
        cpuinfo = Path('/proc/cpuinfo')
        flags = cpuinfo.read_text().split() if cpuinfo.exists() else ()
    return 'bf16' if 'amx_bf16' in flags else 'f32'


def write_openvino(network: Any, origin: str, path: str | Path) -> None:
    """Convert network and read-out to an OpenVINO model at path (.xml, sealed; the weights in a
    .bin beside it).
    """
    model, weights = openvino_bytes(network, origin)
    write_bytes(Path(path).with_suffix('.bin'), weights)
    write_bytes(path, model)


def openvino_bytes(network: Any, origin: str) -> tuple[bytes, bytes]:
    """Return the contents of the two files that `write_openvino` writes, .xml and .bin."""
    ov = import_openvino()
    config = EngineConfig.of(network.config, origin)
    shape = ov.PartialShape([-1, 1, config.crop_size, config.crop_size])
    model = ov.convert_model(trace(network), input=[shape])
    model.set_rt_info(config.to_json(), [METADATA])
    # OpenVINO writes to files only, and a disk may be full
    for parent in (tempfile.gettempdir(), '/dev/shm'):
        try:
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                file = Path(folder) / 'network.xml'
                ov.save_model(model, str(file), compress_to_fp16=False)
                xml, weights = file.read_bytes(), file.with_suffix('.bin').read_bytes()
            _read(ov, xml, weights)  # fails if a full disk truncated the files
            return sealed_xml(xml, weights), weights
        except (OSError, RuntimeError) as error:
            failure = error
    raise OSError(f'OpenVINO cannot write its model: {str(failure).strip().splitlines()[-1]}')


def _read(ov, xml, weights):
    """Load a model from the contents of an .xml and its .bin. Raise RuntimeError."""
    return ov.Core().read_model(
        xml.decode('utf-8', 'replace'), ov.Tensor(np.frombuffer(weights or bytes(1), np.uint8))
    )


class OpenVinoEngine:
    """Engine for an OpenVINO model written by `write_openvino`."""

    max_batch = MAX_BATCH

    def __init__(
        self,
        path: str | Path,
        num_threads: int = 1,
        precision: str | None = None,
        model: tuple[bytes, bytes] | None = None,
    ) -> None:
        """path: of the .xml; num_threads: CPU threads; precision: 'f32' or 'bf16', None: the
        fastest on this CPU; model: contents of .xml and .bin if already read.

        Raise ValueError that names the path for a file that cannot be read or was not exported by
        this package.
        """
        ov = import_openvino()
        precision = precision or fastest_precision()
        core = ov.Core()
        xml, weights = _files(path) if model is None else model
        check_xml(xml, weights, path)
        try:
            network = _read(ov, xml, weights)
        except RuntimeError as error:
            raise ValueError(f'{path} is no OpenVINO model: {_reason(path, error)}') from error
        if not network.has_rt_info([METADATA]):
            raise ValueError(
                f'{path} was not exported by this package: it has no metadata {METADATA}'
            )
        self.config = EngineConfig.from_json(network.get_rt_info([METADATA]).astype(str), path)
        self.description = (
            f'OpenVINO {ov.__version__.split("-")[0]} on the CPU, {precision}, {num_threads} '
            f'threads'
        )
        size = self.config.crop_size
        try:
            # a thread pinned to a core that a camera driver occupies would wait for it
            compiled = core.compile_model(
                network,
                'CPU',
                {
                    'PERFORMANCE_HINT': 'LATENCY',
                    'INFERENCE_NUM_THREADS': num_threads,
                    'INFERENCE_PRECISION_HINT': precision,
                    'ENABLE_CPU_PINNING': False,
                },
            )
            self._tensor, self._request = ov.Tensor, compiled.create_infer_request()
            self._outputs = compiled.outputs
            check_answers(self._pass(np.ones((1, 1, size, size), np.float32)), self.config, path)
            # code is generated in the first pass of each size: do it now, not during a frame
            for batch in range(2, MAX_BATCH + 1):
                self._pass(np.ones((batch, 1, size, size), np.float32))
        except RuntimeError as error:
            raise ValueError(f'OpenVINO cannot run {path}: {_reason(path, error)}') from error

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 uvdn. Return Predictions."""
        check_crops(crops, self.config)
        return predict_in_passes(self._pass, crops)

    def _pass(self, crops):
        self._request.infer(self._tensor(np.ascontiguousarray(crops), shared_memory=True))
        # copies: memory is reused
        return [np.array(self._request.get_tensor(output).data) for output in self._outputs]


def _files(path):
    """Read an .xml and its .bin; a model without weights has none."""
    path = Path(path)
    weights = path.with_suffix('.bin')
    return path.read_bytes(), weights.read_bytes() if weights.is_file() else b''


def _reason(path, error):
    """Extract the cause from a message whose first lines name OpenVINO's sources."""
    return reason_unreadable(path, ValueError((str(error).strip().splitlines() or [''])[-1]))
