"""Checks of parameter files with advice, before ROS reads them, whose errors have none."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

EXAMPLE = 'config/tracker.yaml of awr_ros shows how'


def parameter_files(arguments: Sequence[str]) -> list[str]:
    """Return the files behind --params-file on a command line."""
    return [file for flag, file in zip(arguments, arguments[1:]) if flag == '--params-file']


def nodes_of_file(file: str) -> list[str]:
    """Return the names of nodes in a parameter file, with * and ** for any name and any names.

    Raise ValueError, with a correct example, for a file that ROS cannot read.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(file).expanduser().read_text(encoding='utf-8'))
    except OSError as error:
        raise ValueError(f'parameter file {file}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise ValueError(f'parameter file {file} is not text') from None
    except yaml.YAMLError as error:
        text = ' '.join(str(error).split())
        raise ValueError(f'parameter file {file} is not YAML: {text}') from None
    if not isinstance(content, dict):
        raise ValueError(f'parameter file {file} names no node: {EXAMPLE}')
    return list(_nodes(file, content, ''))


def _nodes(file, content, namespace) -> Iterator[str]:
    for key, value in content.items():
        if key == 'ros__parameters':
            if not namespace:
                raise ValueError(
                    f'parameter file {file} names no node above ros__parameters: '
                    f"write '/**/tracker:' there; {EXAMPLE}"
                )
            yield namespace
        elif isinstance(value, dict):
            yield from _nodes(file, value, f'{namespace}/{str(key).strip("/")}')
        else:
            raise ValueError(
                f"parameter file {file}: '{key}' stands outside of ros__parameters: "
                "write 'ros__parameters:' between the name of the node and its "
                f'parameters, which are indented below it; {EXAMPLE}'
            )


def is_for(pattern: str, node_name: str) -> bool:
    """Whether a name in a parameter file matches the node of this fully qualified name."""
    wildcards = {'**': '(/[^/]+)*', '*': '/[^/]+'}
    parts = pattern.strip('/').split('/')
    regex = ''.join(wildcards.get(part, f'/{re.escape(part)}') for part in parts)
    return re.fullmatch(regex, node_name) is not None


def unused_files(arguments: Sequence[str], node_names: Sequence[str]) -> list[str]:
    """Return a line for each parameter file on a command line without an entry for these nodes."""
    lines = []
    for file in parameter_files(arguments):
        patterns = nodes_of_file(file)
        if not any(is_for(pattern, name) for pattern in patterns for name in node_names):
            lines.append(
                f'parameter file {file} has nothing for this node: '
                f'it is for {", ".join(patterns)}, this is {", ".join(node_names)}'
            )
    return lines


def unknown_parameters(given: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return a line for each given but unknown parameter, with the most similar name."""
    lines = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f', did you mean {near[0]}?' if near else ''
            lines.append(f'parameter {name} is unknown and has no effect{hint}')
    return lines
