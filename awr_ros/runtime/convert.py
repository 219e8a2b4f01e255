"""Convert checkpoints to the files of an engine in a separate process, so that a node that only
tracks keeps neither PyTorch nor the graphs that it traces in memory.

The process writes the files to its standard output, so no disk is needed.
"""

import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from awr_ros.runtime.child import run_apart


def load_network(path: str | Path) -> tuple[Any, str]:
    """Load the network of a checkpoint and the origin of its weights, a text. Raise ValueError that
    names the path.
    """
    from awr_ros.networks.checkpoint import load_checkpoint

    network, about = load_checkpoint(path)
    return network, str(
        about['made_by'].get('imported_from') or f'{about["step"]} training samples'
    )


def convert(path: str | Path, suffix: str, int8: bool = False) -> dict[str, bytes]:
    """Convert a checkpoint for an engine; return {suffix: contents}. suffix: '.onnx' (int8:
    quantised) or '.xml'.
    """
    network, origin = load_network(path)
    try:
        if suffix == '.onnx':
            from awr_ros.runtime.onnx_engine import onnx_bytes

            return {suffix: onnx_bytes(network, origin, int8)}
        from awr_ros.runtime.openvino_engine import openvino_bytes

        return dict(zip((suffix, '.bin'), openvino_bytes(network, origin)))
    except (IndexError, RuntimeError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise ValueError(f'weights {path} cannot be converted: {reason}') from error


def convert_apart(path: str | Path, suffix: str, int8: bool = False) -> dict[str, bytes]:
    """Convert as `convert` does, in another process.

    ONNX is converted in this one where PyTorch is loaded already. OpenVINO never is:
    `torch.jit.trace` registers the classes of a traced module with a compilation unit that lives
    as long as the process, weights and graph included.
    """
    if 'torch' in sys.modules and suffix == '.onnx':
        return convert(path, suffix, int8)
    try:
        done = run_apart(__name__, (os.fspath(Path(path).resolve()), suffix, int8))
    except OSError:  # no other process can be started
        return convert(path, suffix, int8)
    try:
        result = pickle.loads(done.stdout)  # output of our own process
    except Exception:
        last = (done.stderr.decode(errors='replace').strip().splitlines() or [''])[-1]
        why = f'signal {-done.returncode}' if done.returncode < 0 else f'status {done.returncode}'
        raise ValueError(
            f'weights {path} cannot be converted: the process ended with {why} {last}'.rstrip()
        ) from None
    if isinstance(result, Exception):
        raise result
    return result


def main(arguments: Sequence[Any]) -> None:
    """Run the conversion process."""
    output = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # libraries may print to standard output
    result: object
    try:
        result = convert(*arguments)
    except ModuleNotFoundError as error:
        result = ModuleNotFoundError(str(error), name=error.name)
    except (OSError, ValueError) as error:
        result = (OSError if isinstance(error, OSError) else ValueError)(str(error))
    with output:
        pickle.dump(result, output)
