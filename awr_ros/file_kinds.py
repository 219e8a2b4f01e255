"""Recognition of files of another kind than expected, by their first bytes."""

import re
import zipfile
from pathlib import Path

CHECKPOINT = 'a PyTorch checkpoint'
ONNX = 'an ONNX model'
OPENVINO = 'an OpenVINO model'
ADVICE = 'not the file itself'
# Where a file has which bytes, and its kind. Those at 0 may follow white space, in any case.
SIGNATURES = (
    (0, b'version https://git-lfs.github.com/', f'a Git LFS pointer, {ADVICE}: git lfs pull'),
    (0, b'<!doctype html', f'a web page, {ADVICE}: download it again'),
    (0, b'<html', f'a web page, {ADVICE}: download it again'),
    (0, b'<?xml version="1.0"?>\n<net ', OPENVINO),
    (0, b'<?xml', 'an XML document'),
    (0, b'#ROSBAG', 'a bag of ROS 1'),
    (0, b'\x89MCAP0', 'a bag (mcap)'),
    (0, b'SQLite format 3', 'a database or bag (SQLite)'),
    (0, b'\x89PNG', 'a PNG image'),
    (0, b'\xff\xd8\xff', 'a JPEG image'),
    (4, b'jP  ', 'a JPEG 2000 image'),
    (0, b'II*\0', 'a TIFF image'),
    (0, b'MM\0*', 'a TIFF image'),
    (0, b'\x76\x2f\x31\x01', 'an OpenEXR image'),
    (0, b'GIF8', 'a GIF image'),
    (8, b'WEBP', 'a WebP image'),
    (4, b'ftypavif', 'an AVIF image'),
    (4, b'ftyphei', 'a HEIF image'),
    (0, b'%PDF', 'a PDF'),
    (0, b'\x1f\x8b', 'a gzip archive: unpack it first'),
    (0, b'\x28\xb5\x2f\xfd', 'compressed by zstd: unzstd'),
    (0, b'\xfd7zXZ', 'an xz archive: unpack it first'),
    (0, b'BZh', 'a bzip2 archive: unpack it first'),
    (0, b'7z\xbc\xaf', 'a 7z archive: unpack it first'),
    (0, b'Rar!', 'a RAR archive: unpack it first'),
    (257, b'ustar', 'a tar archive: unpack it first'),
    (0, b'\x93NUMPY', 'a NumPy array'),
    (0, b'\x89HDF', 'an HDF5 file'),
    (0, b'glTF', 'a GLB model'),
    (4, b'TFL3', 'a TensorFlow Lite model'),
    (8, b'{"', 'a safetensors file'),
    (0, b'\x7fELF', 'a program'),
    (0, b'\xff\xfe', 'text in UTF-16'),
    (0, b'\xfe\xff', 'text in UTF-16'),
)


def describe_file(path: str | Path) -> str:
    """Return the kind of a file by its first bytes; '' for an unknown kind or an unreadable
    file.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(512)
    except OSError:
        return ''
    if not head:
        return 'empty'
    if not head.strip(b'\0'):
        return 'all zeros, as a file is after a power cut'
    if b'/annex/objects/' in head:
        return f'a git-annex pointer, {ADVICE}: git annex get'
    start = head.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
    for offset, signature, kind in SIGNATURES:
        if head[offset:].startswith(signature) or not offset and start.startswith(signature):
            return kind
    if head.startswith(b'PK\x03\x04'):
        return _kind_of_zip(path)
    if head.startswith(b'\x80\x02\x8a\nl\xfc\x9cF'):  # torch.save before version 1.6
        return CHECKPOINT
    if re.match(rb'\x80[\x02-\x05]', head):
        return 'a Python pickle'
    # ModelProto: the version of the format (field 1), then the producer (2) or the graph (7).
    if re.match(rb'\x08[\x03-\x1f][\x12\x3a]', head):
        return ONNX
    try:
        text = head.decode('ascii')
    except UnicodeDecodeError:
        return ''
    return f'text that begins {text[:40]!r}' if re.fullmatch(r'[\t\n\f\r -~]*', text) else ''


def _kind_of_zip(path: str | Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises whatever it meets in a damaged file
        return 'a zip archive or checkpoint that is cut short or damaged'
    if any(name.endswith('/constants.pkl') for name in names):
        return 'a TorchScript program'
    if any(name.endswith('/data.pkl') for name in names):
        return CHECKPOINT
    if names and all(name.endswith('.npy') for name in names):
        return 'NumPy arrays (npz)'
    return 'a zip archive: unpack it first'
