"""Report of a benchmark: printed while it runs, a Markdown file at the end."""

from collections.abc import Callable, Sequence
from pathlib import Path

from awr_ros.files import write_text


class Report:
    """Sections of tables and paragraphs, printed as they come."""

    def __init__(self, title: str) -> None:
        self._lines = [f'# {title}']
        print(title, flush=True)

    def section(self, title: str, remark: str = '') -> None:
        """Begin a section; remark: what was measured and how."""
        self._lines += ['', f'## {title}', *(['', remark] if remark else [])]
        print(f'\n{title}' + (f'\n{remark}' if remark else ''), flush=True)

    def remark(self, text: str) -> None:
        """Add a paragraph."""
        self._lines += ['', text]
        print(text, flush=True)

    def table(self, header: Sequence[str]) -> Callable:
        """Begin a table. header: names of the columns. Return a function that adds a row of as many
        cells.
        """
        self._lines += ['', '| ' + ' | '.join(header) + ' |', '|' + '---|' * len(header)]
        widths = [max(len(name), 34 if i == 0 else 9) for i, name in enumerate(header)]

        def show(cells):
            print(
                '  '.join(
                    f'{cell:<{width}}' if i == 0 else f'{cell:>{width}}'
                    for i, (cell, width) in enumerate(zip(cells, widths))
                ).rstrip(),
                flush=True,
            )

        def row(*cells):
            if len(cells) != len(header):
                raise ValueError(f'a row must have the {len(header)} cells {header}, got {cells}')
            cells = [f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in cells]
            self._lines.append('| ' + ' | '.join(cells) + ' |')
            show(cells)

        show(header)
        return row

    def text(self) -> str:
        """Return the Markdown so far."""
        return '\n'.join(self._lines) + '\n'

    def write(self, path: str | Path) -> None:
        """Write the Markdown file."""
        write_text(path, self.text())
