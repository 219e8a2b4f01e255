"""A file of another kind than expected is named, and every usual form of a checksum is read."""

import io
import pickle
import shutil
import zipfile

import cv2
import numpy as np
import pytest
import torch
from fuzz_files import TINY

from awr_ros.file_kinds import describe_file
from awr_ros.finders.palm_detector import DEFAULT_FINDER, PalmDetector
from awr_ros.networks.checkpoint import CompactNetwork, load_checkpoint, save_checkpoint
from awr_ros.runtime.export import export
from awr_ros.runtime.select import load_engine
from awr_ros.weight_files import ONNX_KEY, checksum


def saved(value, **options):
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name in names:
            archive.writestr(name, b'x')
    return file.getvalue()


def array(write, *arguments):
    file = io.BytesIO()
    write(file, *arguments)
    return file.getvalue()


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
    return file.getvalue()


KINDS = {
    'page': (b'\n <!DOCTYPE HTML><html>', 'a web page'),
    'error of a store': (b'<?xml version="1.0"?><Error><Code>AccessDenied', 'an XML document'),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\noid', 'a Git LFS pointer'),
    'annex': (b'/annex/objects/SHA256E-s9--0.pt\n', 'a git-annex pointer'),
    'annex link': (b'../.git/annex/objects/xx/SHA256E-s9--0.pt', 'a git-annex pointer'),
    'json': (b'{"error": "rate limited"}', 'text that begins \'{"error"'),
    'utf-16': ('\ufeffhello'.encode('utf-16-le'), 'text in UTF-16'),
    'empty': (b'', 'empty'),
    'zeros': (bytes(600), 'all zeros'),
    'zip': (zipped('a.txt'), 'a zip archive'),
    'keras': (zipped('config.json', 'model.weights.h5'), 'a zip archive'),
    'npz': (array(lambda file: np.savez(file, a=np.ones(2))), 'NumPy arrays'),
    'npy': (array(np.save, np.ones(2)), 'a NumPy array'),
    'cut zip': (saved({'a': torch.ones(9)})[:200], 'cut short or damaged'),
    'gzip': (b'\x1f\x8b\x08', 'a gzip archive'),
    'tar': (bytes(3).join([b'x' * 127] * 2) + b'ustar\x0000', 'a tar archive'),
    'safetensors': (b'\x20' + bytes(7) + b'{"a":{"dtype":"F32"}}', 'a safetensors file'),
    'pickle': (pickle.dumps([1]), 'a Python pickle'),
    'torchscript': (script(), 'a TorchScript program'),
    'tflite': (b'\x1c\0\0\0TFL3' + bytes(9), 'a TensorFlow Lite model'),
    'webp': (cv2.imencode('.webp', np.zeros((9, 9, 3), np.uint8))[1].tobytes(), 'a WebP image'),
    'gif': (b'GIF89a', 'a GIF image'),
    'program': (b'\x7fELF', 'a program'),
}


@pytest.mark.parametrize('content, kind', KINDS.values(), ids=KINDS)
def test_what_is_not_weights_is_named_by_every_reader(content, kind, tmp_path):
    for name in ('w.pt', 'w.onnx', 'w.xml'):
        (tmp_path / name).write_bytes(content)
        assert kind in describe_file(tmp_path / name)
    readers = {
        'w.pt': load_checkpoint,
        'w.onnx': PalmDetector,
        'w.xml': lambda path: load_engine(path, device='cpu'),
    }
    for name, read in readers.items():
        with pytest.raises(ValueError, match=f'{name} ') as caught:
            read(tmp_path / name)
        assert kind in str(caught.value) and 'weights_only' not in str(caught.value)
    with pytest.raises(ValueError, match='w.onnx ') as caught:
        load_engine(tmp_path / 'w.onnx', device='cpu')
    assert kind in str(caught.value)


def test_weights_of_one_kind_named_as_another(tmp_path, capfd):
    save_checkpoint(tmp_path / 'a.pt', CompactNetwork(TINY).eval(), 1, {})
    export(tmp_path / 'a.pt', tmp_path / 'a.onnx', 'onnx')
    export(tmp_path / 'a.pt', tmp_path / 'a.xml', 'openvino')
    (tmp_path / 'old.pt').write_bytes(saved({}, _use_new_zipfile_serialization=False))
    kinds = {
        'a.pt': 'a PyTorch checkpoint',
        'old.pt': 'a PyTorch checkpoint',
        'a.onnx': 'an ONNX model',
        'a.xml': 'an OpenVINO model',
    }
    for name, kind in kinds.items():
        assert describe_file(tmp_path / name) == kind
        for other in {'.pt', '.onnx', '.xml'} - {(tmp_path / name).suffix}:
            wrong = tmp_path / f'wrong{other}'
            wrong.write_bytes((tmp_path / name).read_bytes())
            read = load_checkpoint if other == '.pt' else lambda path: load_engine(path)
            with pytest.raises(ValueError, match=f'it is {kind}'):
                read(wrong)
    (tmp_path / 'finder.onnx').write_bytes((tmp_path / 'a.onnx').read_bytes())
    capfd.readouterr()
    with pytest.raises(ValueError, match='another network'):
        PalmDetector(tmp_path / 'finder.onnx')
    assert capfd.readouterr().err == ''  # OpenCV has a page to say of it


def test_exported_files_without_their_checksum_never_reach_a_library(tmp_path, monkeypatch):
    """OpenCV ends the process on some damaged models, OpenVINO runs some for ever."""
    save_checkpoint(tmp_path / 'a.pt', CompactNetwork(TINY).eval(), 1, {})
    for file_format in ('onnx', 'openvino'):
        export(tmp_path / 'a.pt', tmp_path / 'a', file_format)
    shutil.copy(DEFAULT_FINDER, tmp_path / 'finder.onnx')
    monkeypatch.setattr(cv2.dnn, 'readNetFromONNX', lambda _: pytest.fail('OpenCV was asked'))
    for name, read, part in (
        ('a.onnx', load_engine, b''),
        ('a.xml', load_engine, b'<!-- sha256'),
        ('finder.onnx', PalmDetector, b''),
    ):
        whole = (tmp_path / name).read_bytes()
        for cut in (
            whole[: whole.rfind(part)] if part else whole[:-90],
            whole[:-1],
            whole[: len(whole) // 2],
        ):
            (tmp_path / name).write_bytes(cut)
            with pytest.raises(ValueError, match=f'{name} .*SHA-256'):
                read(tmp_path / name)


def test_a_finder_from_elsewhere_has_its_checksum_beside_it(tmp_path):
    unsealed = DEFAULT_FINDER.read_bytes()
    unsealed = unsealed[: unsealed.rfind(ONNX_KEY) - 4]
    (tmp_path / 'finder.onnx').write_bytes(unsealed)
    with pytest.raises(ValueError, match='finder.onnx was not exported .* lacks the SHA-256'):
        PalmDetector(tmp_path / 'finder.onnx')
    (tmp_path / 'finder.sha256').write_text(f'{checksum(tmp_path / "finder.onnx")}  finder.onnx\n')
    PalmDetector(tmp_path / 'finder.onnx')
    (tmp_path / 'finder.onnx').write_bytes(unsealed[:-1])
    with pytest.raises(ValueError, match='damaged'):
        PalmDetector(tmp_path / 'finder.onnx')


def test_any_damage_to_a_zip_is_one_kind(tmp_path):
    good, rng = saved({'a': torch.ones(9)}), np.random.default_rng(0)
    for number in range(2000):
        bad = bytearray(good)
        for at in rng.integers(4, len(good), 1 + number % 9):
            bad[at] = rng.integers(256)
        (tmp_path / 'a').write_bytes(bad)
        assert 'checkpoint' in describe_file(tmp_path / 'a') or 'zip' in describe_file(
            tmp_path / 'a'
        )


LISTED = {
    'sha256sum': '{sum}  a.pt\n',
    'binary': '{sum} *a.pt\n',
    'with a path': '{sum}  /home/me/runs/a.pt\n',
    'Windows': '{sum}  a.pt\r\n',
    'BSD': 'SHA256 (a.pt) = {sum}\n',
    'PowerShell': '\ufeffAlgorithm Hash\r\nSHA256 {SUM} a.pt\r\n',
    'bare': '{sum}',
    'several': '{other}  b.pt\n{sum}  a.pt\n',
    'comment': '# sums\n{sum}  a.pt\n',
}


@pytest.mark.parametrize('text', LISTED.values(), ids=LISTED)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_checksums_as_programs_write_them(text, encoding, tmp_path):
    save_checkpoint(tmp_path / 'a.pt', CompactNetwork(TINY).eval(), 1, {})
    right = checksum(tmp_path / 'a.pt')
    fields = {'sum': right, 'SUM': right.upper(), 'other': 64 * '0'}
    (tmp_path / 'a.sha256').write_bytes(text.format(**fields).encode(encoding))
    load_checkpoint(tmp_path / 'a.pt')
    fields |= {'sum': 64 * '1', 'SUM': 64 * 'A'}
    (tmp_path / 'a.sha256').write_bytes(text.format(**fields).encode(encoding))
    with pytest.raises(ValueError, match='SHA-256 is not the one in a.sha256'):
        load_checkpoint(tmp_path / 'a.pt')


@pytest.mark.parametrize(
    'content, words',
    [
        (b'', 'it is empty'),
        (b'\n\n', 'lists no SHA-256'),
        (b'<html>', 'it is a web page'),
        (b'd41d8cd98f00b204e9800998ecf8427e  a.pt\n', 'lists no SHA-256'),  # MD5
        (b'/annex/objects/x', 'it is a git-annex pointer'),
    ],
)
def test_a_checksum_file_without_a_checksum_is_named(content, words, tmp_path):
    save_checkpoint(tmp_path / 'a.pt', CompactNetwork(TINY).eval(), 1, {})
    (tmp_path / 'a.sha256').write_bytes(content)
    with pytest.raises(ValueError, match=f'a.pt cannot be checked: a.sha256 .*{words}'):
        load_checkpoint(tmp_path / 'a.pt')
