"""Export a checkpoint, network and read-out in one graph, for engines and for other programs."""

from pathlib import Path
from typing import Any

from awr_ros.files import write_bytes
from awr_ros.runtime.select import SUFFIXES, convert_checkpoint, load_engine
from awr_ros.weight_files import DEFAULT_WEIGHTS

# Values of `--format`, and the engine that loads the file.
FORMATS = {'onnx': 'onnxruntime', 'openvino': 'openvino'}


def export(
    weights: str | Path | None, output: str | Path | None, file_format: str
) -> tuple[Path, Any]:
    """Write a file for `load_engine` and load it again as a check. Return (its path, its engine).

    weights: checkpoint, None for the package's; output: path, None: named after the weights, in the
    working folder; file_format: one of FORMATS. The graph's input is `depth` (B,1,S,S) float32
    uvdn, its outputs are those of awr_ros.runtime.readout.Predictions; the metadata `awr_ros` is
    the JSON of an EngineConfig.
    """
    engine = FORMATS[file_format]
    suffix = next(suffix for suffix, name in SUFFIXES.items() if name == engine)
    weights = Path(weights or DEFAULT_WEIGHTS)
    output = Path(output or weights.stem).with_suffix(suffix)
    files = convert_checkpoint(weights, suffix)
    output.parent.mkdir(parents=True, exist_ok=True)
    for ending in sorted(files):  # .bin before the .xml that holds its checksum
        write_bytes(output.with_suffix(ending), files[ending])
    return output, load_engine(output, engine, 'cpu')


def add_commands(verbs: Any) -> None:
    """Add the verb `export` to argparse's subparsers."""
    parser = verbs.add_parser(
        'export', help='export network and read-out as one ONNX or OpenVINO file'
    )
    parser.add_argument(
        '--weights', type=Path, help='checkpoint (default: the weights of the package)'
    )
    parser.add_argument(
        '--format', choices=FORMATS, default='onnx', help='format (default: %(default)s)'
    )
    parser.add_argument(
        '--output',
        type=Path,
        help='file to write (default: named after the weights, in this folder)',
    )
    parser.set_defaults(run=_run, extra='engines')


def _run(arguments):
    path, engine = export(arguments.weights, arguments.output, arguments.format)
    print(f'wrote {path}, {engine.description}')
    print(f'it runs in the tracker as well: weights:={path.resolve()}')
