"""The machine of a benchmark, and its other load."""

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ('torch', 'openvino', 'onnxruntime', 'numpy', 'opencv-python-headless')
# instruction sets that matter for the engines
FLAGS = (
    'avx2',
    'avx512f',
    'avx_vnni',
    'avx512_vnni',
    'avx512_bf16',
    'amx_bf16',
    'amx_int8',
    'asimd',
)


def describe() -> list[tuple[str, str]]:
    """Return [(property, value)], as texts."""
    info = _cpuinfo()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    flags = (info.get('flags') or info.get('Features') or '').split()
    memory_gb = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9
    return [
        (
            'CPU',
            f'{info.get("model name", platform.processor() or platform.machine())}, {cores} cores, '
            f'{" ".join(flag for flag in FLAGS if flag in flags) or "unknown extensions"}',
        ),
        ('memory', f'{memory_gb:.0f} GB'),
        ('GPU', gpu()),
        ('system', f'{platform.system()} {platform.release()}, Python {platform.python_version()}'),
        ('packages', ', '.join(f'{name} {version(name)}' for name in PACKAGES)),
        (
            'load',
            f'{os.getloadavg()[0]:.2f} on average over the minute before: '
            f'{load_in_words(os.getloadavg()[0], cores)}',
        ),
    ]


def load_in_words(load: float, cores: int | None) -> str:
    """Describe whether other load makes figures unreliable now."""
    return 'idle' if load < 0.15 * (cores or 1) else 'NOT idle, the figures are too high'


def gpu() -> str:
    """Return the name of the CUDA device, or that there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else 'none here'


def version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'


def _cpuinfo():
    """Return the first processor of /proc/cpuinfo, {} without that file."""
    path = Path('/proc/cpuinfo')
    text = path.read_text().split('\n\n')[0] if path.exists() else ''
    return {
        key.strip(): value.strip()
        for key, _, value in (line.partition(':') for line in text.splitlines())
    }
