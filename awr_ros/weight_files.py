"""Paths and checksums of weights. Needs no PyTorch.

Checkpoints have a .sha256 beside them. Exported networks are sealed: the file itself contains a
checksum of the rest, which stays with it when it is copied; without it they are not loaded.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from awr_ros.file_kinds import CHECKPOINT, ONNX, OPENVINO, describe_file
from awr_ros.files import completed, write_text

DEFAULT_WEIGHTS = Path(__file__).parent / 'weights' / 'compact_s.pt'
ONNX_KEY = b'awr_ros_sha256'  # key of the checksum in the metadata of an ONNX model


class DamagedFile(ValueError):
    """The contents of a file are not those that were written."""


def checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check_whole(path: str | Path) -> None:
    """Raise DamagedFile when the .sha256 beside a file does not list its checksum; without that
    file nothing is checked.
    """
    path = Path(path)
    beside = path.with_suffix('.sha256')
    if not beside.is_file():
        return
    content = beside.read_bytes().replace(b'\0', b'').decode('ascii', 'replace')  # also of UTF-16
    listed = re.findall(r'\b[0-9a-f]{64}\b', content.lower())  # of sha256sum, BSD or PowerShell
    if not listed:
        kind = describe_file(beside)
        raise DamagedFile(
            f'weights {path} cannot be checked: {beside.name} lists no SHA-256'
            + (f', it is {kind}' if kind else '')
        )
    if checksum(path) not in listed:
        raise DamagedFile(
            f'weights {path} are damaged: their SHA-256 is not the one in {beside.name}'
            + _seems(path)
        )


def save_with_checksum(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write a file by write(path), and its SHA-256 beside it, so that at any moment they match.

    While the new file replaces the old one, the .sha256 lists both.
    """
    path = Path(path)
    beside = path.with_suffix('.sha256')
    with completed(path) as part:
        write(part)
        line = f'{checksum(part)}  {path.name}\n'
        old = f'{checksum(path)}  {path.name}\n' if path.is_file() else ''
        write_text(beside, line + old)
    write_text(beside, line)


def sealed_onnx(model: bytes) -> bytes:
    """Append the checksum of a serialised ONNX model to it, as one more entry of its metadata."""
    return model + _onnx_seal(model)


def check_onnx(model: bytes, path: str | Path, vouched: bool = False) -> None:
    """Raise DamagedFile, which names the path, when the checksum of a sealed model is wrong or an
    ONNX file is not sealed. Of a file of another kind its reader gives the reason.

    vouched: the file may be unsealed, for its .sha256 was checked. Libraries crash on damaged
    models.
    """
    length = len(_onnx_seal(b''))
    if ONNX_KEY not in model[-length:]:
        if not vouched:
            _refuse_unsealed(path, ONNX)
    elif model[-length:] != _onnx_seal(model[:-length]):
        raise DamagedFile(f'{path} is damaged: its contents do not have the SHA-256 that it says')


def _onnx_seal(model: bytes) -> bytes:
    """Return a protocol buffer with only field 14 (metadata_props) of ModelProto, to be appended by
    concatenation.
    """
    value = hashlib.sha256(model).hexdigest().encode()
    entry = bytes([10, len(ONNX_KEY)]) + ONNX_KEY + bytes([18, len(value)]) + value
    return bytes([14 << 3 | 2, len(entry)]) + entry


def sealed_xml(model: bytes, weights: bytes) -> bytes:
    """Append the checksum of an OpenVINO model, .xml and .bin, to the .xml, as a comment."""
    return model + _xml_seal(model, weights)


def check_xml(model: bytes, weights: bytes, path: str | Path) -> None:
    """Raise DamagedFile as `check_onnx` does."""
    start = model.rfind(b'<!-- sha256 ')
    if start < 0:
        _refuse_unsealed(path, OPENVINO)
    elif model[start:] != _xml_seal(model[:start], weights):
        raise DamagedFile(
            f'{path} and its .bin are damaged: their contents do not have the SHA-256 that it says'
        )


def _refuse_unsealed(path: str | Path, expected: str) -> None:
    """Raise DamagedFile for a file of the expected or of no known kind."""
    if describe_file(path) in ('', expected):
        raise DamagedFile(
            f'{path} was not exported by this package, or is damaged: it lacks the SHA-256 that '
            'exported files end with'
        )


def _xml_seal(model: bytes, weights: bytes) -> bytes:
    return b'<!-- sha256 %s -->\n' % hashlib.sha256(model + weights).hexdigest().encode()


def reason_unreadable(path: str | Path, error: Exception) -> str:
    """Return in one line why a file could not be read: its actual kind, or the error of a library
    without advice to trust it.
    """
    text = ' '.join(str(error).split())
    if found := re.search(r'GLOBAL ([\w.]+)', text):
        return f'it holds more than tensors and plain values: {found[1]}'
    kind = describe_file(path)
    if kind and kind != _expected(path):
        return f'it is {kind}'
    if 'weights_only' in text:  # torch's advice to run the code in the file follows
        return 'it is no checkpoint'
    return text[:200] or type(error).__name__


def _seems(path: str | Path) -> str:
    kind = describe_file(path)
    return f'; it is {kind}' if kind not in ('', _expected(path)) else ''


def _expected(path: str | Path) -> str:
    """Return the kind of file that the suffix of a path stands for."""
    return {'.onnx': ONNX, '.xml': OPENVINO}.get(Path(path).suffix, CHECKPOINT)
