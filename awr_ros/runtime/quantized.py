"""Static 8-bit quantisation of the compact network for ONNX Runtime.

Weights per channel, activations per tensor, their ranges from rendered crops that come with the
package: percentiles, because the rare largest values would make the steps of all others coarse. The
first and the last convolution of the network stay in single precision, because 8 bits
cost most accuracy there; so do the votes and all but the largest layers of the refiner.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from awr_ros.weight_files import sealed_onnx

CALIBRATION = Path(__file__).parents[1] / 'weights' / 'calibration.npz'
STEPS = 255  # quantisation steps of the stored depth
CALIBRATING = 128  # crops for the activation ranges; the others measure the error
PERCENTILE = 99.99  # of the activations, the end of their range
MAX_LOSS_MM = 0.3  # largest accepted increase of the mean joint error on these
KEPT = '/stem/stem.0'  # layer of the network in single precision
DENSE = ('Conv', 'Add', 'Relu', 'Resize')  # operators of the network
# The refiner's largest layers (runtime.folded_refiner), bound by memory bandwidth.
REFINED = ('/encoder.2/', '/encoder.4/', '/seen/', '/head/', '/to_hidden.', '/to_joints.')


def calibration_crops() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth (N,1,128,128) float32 uvdn, true joints (N,21,3) float32 uvdn, and hand presence
    (N,) bool.
    """
    with np.load(CALIBRATION) as stored:
        depth = (stored['depth'].astype(np.float32) * (2 / STEPS) - 1)[:, None]
        return depth, stored['joints_uvdn'], stored['hand']


def quantizable(network: Any) -> str:
    """Return why a network cannot be quantised, '' if it can: the stored crops fit the compact
    network for right hands.
    """
    from awr_ros.networks.compact import CompactNetwork

    config = network.config
    if not isinstance(network, CompactNetwork) or config.crop_size != 128 or config.side != 'right':
        return 'only the compact network with crops of 128 x 128 of right hands can be quantised'
    if len(config.joint_names) != 21 or not config.virtual_crop:
        return 'only networks of 21 joints and virtual crops can be quantised'
    return ''


def quantized(model: bytes, cube_mm: float) -> bytes:
    """Return an exported ONNX model (runtime.onnx_engine) in 8 bits, sealed.

    cube_mm: side of its crops' cube [mm]. Raise ValueError when its graph is not the expected one,
    or when the mean joint error grows by more than MAX_LOSS_MM.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    depth, truth, hand = calibration_crops()
    with tempfile.TemporaryDirectory() as folder:
        exact, prepared, output = (
            Path(folder) / f'{name}.onnx' for name in ('exact', 'prepared', 'int8')
        )
        exact.write_bytes(model)
        quant_pre_process(str(exact), str(prepared), skip_symbolic_shape=True)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            quantize_static(
                str(prepared),
                str(output),
                _Crops(depth[:CALIBRATING]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=_chosen(onnx.load(str(prepared)).graph.node),
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={'CalibPercentile': PERCENTILE},
            )
        small = onnx.load(str(output))
    del small.metadata_props[:]
    small.metadata_props.extend(
        prop for prop in onnx.load_from_string(model).metadata_props if prop.key == 'awr_ros'
    )
    small = small.SerializeToString()
    held_out = slice(CALIBRATING, None)
    scale = cube_mm / 2
    before, after = (
        scale
        * np.linalg.norm(_read(one, depth[held_out]) - truth[held_out], axis=-1)[
            hand[held_out]
        ].mean()
        for one in (model, small)
    )
    if not after - before <= MAX_LOSS_MM:
        raise ValueError(f'in 8 bits its mean joint error is {after - before:.2f} mm larger')
    return sealed_onnx(small)


def _chosen(nodes):
    """Return the names of the nodes to quantise: of the network up to its field, and the largest of
    the refiner.
    """
    nodes = list(nodes)
    ends = [
        i
        for i, node in enumerate(nodes)
        if node.op_type == 'Conv' and node.name.startswith('/field')
    ]
    if len(ends) != 1:
        raise ValueError('its graph is not that of the compact network')
    dense = [
        node.name
        for node in nodes[: ends[0]]
        if node.op_type in DENSE and not node.name.startswith(KEPT)
    ]
    of_refiner = [
        node.name
        for node in nodes
        if node.op_type in ('Conv', 'Gemm', 'MatMul') and node.name.startswith('/refiner')
    ]
    refined = [name for name in of_refiner if any(part in name for part in REFINED)]
    if of_refiner and not all(any(part in name for name in refined) for part in REFINED):
        raise ValueError('the layers of its refiner are not those of the compact network')
    return dense + refined


def _read(model, depth):
    """Return the joints (N,J,3) uvdn that a serialised model predicts from crops (N,1,S,S)."""
    from awr_ros.runtime.onnx_engine import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    return np.concatenate(
        [
            session.run(['joints_uvdn'], {'depth': part})[0]
            for part in np.array_split(depth, len(depth) // 8)
        ]
    )


class _Crops:
    """Crops for the calibration (interface onnxruntime.quantization.CalibrationDataReader)."""

    def __init__(self, depth):
        self._parts = iter(np.array_split(depth, max(1, len(depth) // 8)))

    def get_next(self):
        """Return the next input, None at the end."""
        part = next(self._parts, None)
        return None if part is None else {'depth': part}
