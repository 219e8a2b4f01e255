"""The README's table of latencies, taken from the benchmark file."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from awr_ros.files import write_text

BEGIN, END = '<!-- of docs/benchmark.md, by make bench -->', '<!-- end -->'


def readme_table(benchmark: str) -> str:
    """Return the table for the text of a benchmark file. Raise ValueError if that has no figures at
    30 Hz.
    """
    one, two = (_row(benchmark, f'{count} at 30 Hz') for count in (1, 2))
    lines = [
        *textwrap.wrap(f'{_machine(benchmark, "CPU")}; {_machine(benchmark, "engine")}:', 100),
        '',
        '| 640 x 480 at 30 Hz | one hand | two hands |',
        '| -- | -- | -- |',
    ]
    for what, show in (
        (
            "from the image's stamp to the arrival of its hands",
            'p50 {p50 [ms]} ms, p99 {p99 [ms]} ms',
        ),
        ('images dropped, lost; hands found', '{dropped}, {lost}; {found}'),
        ('CPU, 100 % is one core', '{CPU}'),
    ):
        cells = (_filled(show, row) for row in (one, two))
        lines.append(f'| {what} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def update_readme(path: Path, benchmark: str) -> None:
    """Replace the table between the marks of a README. Raise ValueError if there are none."""
    text = path.read_text(encoding='utf-8')
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'{path} has no marks for the table: {BEGIN} ... {END}')
    write_text(path, f'{before}{BEGIN}\n\n{readme_table(benchmark)}\n\n{END}{after}')


def _filled(text: str, row: Mapping[str, str]) -> str:
    """Replace each {column} by its cell."""
    return re.sub(r'\{(.+?)\}', lambda match: row[match[1]], text)


def _machine(benchmark, what):
    """Return a cell of the table of the machine."""
    found = re.search(rf'^\| {what} \| (.+) \|$', benchmark, re.M)
    if not found:
        raise ValueError(f'the benchmark does not say its {what}')
    return found[1]


def _row(benchmark, name):
    """Return {column: cell} of a row of the table of messages."""
    found = re.search(rf'^\| {name} \| .+$', benchmark, re.M)
    header = re.search(r'^\| hands, rate \| .+$', benchmark, re.M)
    if not found or not header:
        raise ValueError(f'the benchmark has no figures for {name}')
    return dict(
        zip(*([cell.strip() for cell in line[0].strip('|').split('|')] for line in (header, found)))
    )
