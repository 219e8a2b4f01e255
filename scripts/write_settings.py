"""Write the settings into config/tracker.yaml, docs/parameters.md and README.md (`make docs`)."""

import re
import textwrap
from pathlib import Path

from awr_ros.messages.depth_camera import DISTORTION
from awr_ros.ros.parameters import TABLE
from awr_ros.ros.synthetic_camera import TABLE as CAMERA_TABLE
from awr_ros.settings import Setting
from awr_ros.tracker_config import NETWORK_SETTINGS, TRACKER_SETTINGS

OPTIONS = {setting.name for setting in (*NETWORK_SETTINGS, *TRACKER_SETTINGS, DISTORTION)}
TABLES = {'tracker': TABLE, 'synthetic_camera': CAMERA_TABLE}
# <!-- settings NODE [NAME ...] --> the table <!-- end of settings -->
BLOCK = re.compile(r'(<!-- settings (\w+)([^>]*?) -->\n).*?(<!-- end of settings -->)', re.S)
WIDTH = 98


def code(words: str) -> str:
    """Return a description with topics as code."""
    return re.sub(r'(?<![\w`])(~/\w+|depth/\w+(?:/\w+)?|<\w+><id>_wrist)', r'`\1`', words)


def table(settings: list[Setting], full: bool) -> str:
    """Return a Markdown table; full: with the options of `track` and when each can be set."""
    head = ['parameter', 'default', 'values', 'meaning'] + ['set', 'option of `track`'] * full
    rows = [head, ['--'] * len(head)]
    for setting in settings:
        option = '--' + setting.name.replace('_', '-')
        row = [f'`{setting.name}`', f'`{setting.shown_default}`', setting.limits]
        row += [code(setting.meaning)]
        if full:
            row += [setting.change, f'`{option}`' if setting.name in OPTIONS else '']
        rows.append(row)
    return ''.join(f'| {" | ".join(row)} |\n'.replace('|  |', '| |') for row in rows)


def filled(text: str) -> str:
    """Return a document with the tables between its marks renewed."""

    def block(match: re.Match[str]) -> str:
        names = match[3].split()
        settings = [each for each in TABLES[match[2]] if not names or each.name in names]
        if len(names) > len(settings):
            raise ValueError(f'unknown settings among {names}')
        return f'{match[1]}\n{table(settings, not names)}\n{match[4]}'

    return BLOCK.sub(block, text)


def yaml() -> str:
    """Return config/tracker.yaml."""
    lines = [
        '# Every parameter of the tracker with its default; written by `make docs`.',
        '# Copy it, change the copy, and launch with params_file:=/path/to/copy.yaml.',
        '/**/tracker:',
        '  ros__parameters:',
    ]
    for setting in TABLE:
        limits = f' ({setting.limits})' if setting.limits else ''
        comment = f'{setting.meaning}{limits}; {setting.change}'
        lines += textwrap.wrap(
            comment, WIDTH, initial_indent='    # ', subsequent_indent='    #   '
        )
        lines.append(f'    {setting.name}: {setting.shown_default}')
    return '\n'.join(lines) + '\n'


def written(root: Path) -> dict[Path, str]:
    """Return the files with settings below a repository's root, and what belongs into them."""
    documents = [root / 'README.md', root / 'docs' / 'parameters.md']
    return {
        root / 'config' / 'tracker.yaml': yaml(),
        **{path: filled(path.read_text(encoding='utf-8')) for path in documents},
    }


if __name__ == '__main__':
    for path, text in written(Path(__file__).resolve().parents[1]).items():
        path.write_text(text, encoding='utf-8')
