"""The weights that come with the package, and checksums. Needs no PyTorch, unlike reading them."""
import hashlib
from pathlib import Path

DEFAULT_WEIGHTS = Path(__file__).parent / 'weights' / 'compact_s.pt'


def checksum(path):
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check_whole(path):
    """ValueError when a file's checksum is not the one in the .sha256 beside it; without one nothing is checked."""
    path = Path(path)
    beside = path.with_suffix('.sha256')
    if beside.is_file() and beside.read_text().split()[:1] != [checksum(path)]:
        raise ValueError(f'weights {path} are damaged: their SHA-256 is not the one in {beside.name}')
