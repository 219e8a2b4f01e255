"""Command line: `python -m awr_ros VERB`, also installed as `awr`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from awr_ros.dependencies import require
from awr_ros.interrupts import Stopped, end, open_standard_streams, stoppable

# Each adds its verbs by add_commands(subparsers), without importing PyTorch.
COMMANDS = (
    'awr_ros.offline.command',
    'awr_ros.training.command',
    'awr_ros.evaluation.command',
    'awr_ros.datasets.command',
    'awr_ros.runtime.export',
    'awr_ros.ros.command',
)


def command_line() -> None:
    """Run one verb as the program `awr` and end the process. Signal handlers are installed before
    anything large is imported.
    """
    open_standard_streams()
    end(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status, after a signal 128 + its number. A verb imports the
    modules that it needs.
    """
    verb, arguments = 'awr', None
    try:
        with stoppable():
            arguments = _parse(sys.argv[1:] if argv is None else argv)
            verb = f'awr {arguments.verb}'
            require()
            return arguments.run(arguments) or 0
    except Stopped as stopped:
        print(f'{verb}: {stopped}', file=sys.stderr)
        return 128 + stopped.number
    except BrokenPipeError:
        print(f'{verb}: the reader of the output has ended', file=sys.stderr)
    except ModuleNotFoundError as error:
        extra = getattr(arguments, 'extra', 'train')
        print(
            f"{verb}: {error}; in the package's source folder: pip install '.[{extra}]'",
            file=sys.stderr,
        )
    except MemoryError as error:
        print(f'{verb}: out of memory {error}'.rstrip(), file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f'{verb}: {" ".join(str(error).splitlines())}', file=sys.stderr)
    return 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog='awr', description='3D hand tracking from depth images: track, train, evaluate.'
    )
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    for name in COMMANDS:
        import_module(name).add_commands(verbs)
    parser.set_defaults(extra='train')
    return parser.parse_args(argv)


if __name__ == '__main__':
    command_line()
