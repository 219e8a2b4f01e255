"""Settings: one description of each, from which ROS parameters, options and documents are made.

Each is described where its default is: in the metadata of a field of TrackerConfig, or in a table.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

LIVE, WHEN_INACTIVE, AT_START = 'live', 'while not active', 'at start'
KINDS = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number with a decimal point',
    str: 'text',
}


@dataclass(frozen=True)
class Setting:
    """One setting as users see it: in SI units, under the name of its ROS parameter."""

    name: str
    default: bool | int | float | str
    description: str
    change: str = LIVE  # LIVE, WHEN_INACTIVE or AT_START
    unit: str = ''
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    field: str = ''  # field of the configuration, if any
    scale: float = 1.0  # factor from the setting's unit to the field's: 1000 from [m] to [mm]

    @property
    def meaning(self) -> str:
        """Description with the unit."""
        return f'{self.description} [{self.unit}]' if self.unit else self.description

    @property
    def limits(self) -> str:
        """Allowed values as a text, '' without a limit."""
        if self.choices:
            return ', '.join(self.choices)
        return f'{self.range[0]:g} to {self.range[1]:g}' if self.range else ''

    @property
    def shown_default(self) -> str:
        """Default as YAML."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return str(self.default) if self.default != '' else '""'

    def check(self, value: object) -> None:
        """Raise ValueError with a correct example for a value of the wrong type or range."""
        kind = type(self.default)
        wanted = KINDS[kind] + (f', {self.limits}' if self.range else '')
        if kind is float and type(value) is int:
            raise ValueError(
                f'parameter {self.name} is {value}, expected {wanted}: write {float(value)}'
            )
        if type(value) is not kind:
            shown = str(value).lower() if isinstance(value, bool) else value
            shown = f"'{value}'" if isinstance(value, str) else shown
            remedy = f": write '{shown}' in quotes" if kind is str and value is not None else ''
            raise ValueError(f'parameter {self.name} is {shown}, expected {wanted}{remedy}')
        if self.range and not self.range[0] <= value <= self.range[1]:  # type: ignore[operator]
            raise ValueError(f'parameter {self.name} is {value}, expected {wanted}')


def setting(default: Any, description: str, **about: Any) -> Any:
    """Return a dataclass field with the description of its setting.

    default: in the field's unit. about: further fields of Setting, and `name` if it differs from
    the field's.
    """
    return field(default=default, metadata={'setting': {'description': description, **about}})


def settings_of(config_class: type) -> tuple[Setting, ...]:
    """Return the settings of a dataclass whose fields were made by setting(), in their order."""
    found = []
    for each in fields(config_class):
        about = dict(each.metadata['setting'])
        default = each.default
        if 'scale' in about:
            default = default / about['scale']
        found.append(
            Setting(**{'name': each.name, 'field': each.name, 'default': default, **about})
        )
    return tuple(found)


def config_from(config_class: type, values: Mapping[str, Any]) -> Any:
    """Return a configuration from values by the names of its settings, in their units."""
    made = {}
    for each in settings_of(config_class):
        if each.name in values:
            value = values[each.name]
            made[each.field] = value * each.scale if each.scale != 1 else value
    return config_class(**made)


def add_settings(
    parser: Any, settings: Iterable[Setting], choices: Mapping[str, tuple[str, ...]] | None = None
) -> None:
    """Add an option for each setting to a parser of argparse or a group of one.

    choices: by name, to restrict the choices of a setting.
    """
    for each in settings:
        option = '--' + each.name.replace('_', '-')
        if isinstance(each.default, bool):
            parser.add_argument(option, action='store_true', help=each.meaning)
            continue
        allowed = (choices or {}).get(each.name, each.choices)
        parser.add_argument(
            option,
            type=_number(each) if each.range else type(each.default),
            default=each.default,
            choices=allowed or None,
            metavar=None if allowed else 'FILE' if 'weights' in each.name else 'X',
            help=each.meaning + (f' (default: {each.default})' if each.default != '' else ''),
        )


def _number(each: Setting) -> Any:
    """Return a parser of numbers within the setting's range, for argparse."""
    kind = type(each.default)

    def number(text: str) -> Any:
        try:
            value: Any = kind(text)
        except ValueError:
            value = None
        if value is None or not each.range[0] <= value <= each.range[1]:  # type: ignore[index]
            raise argparse.ArgumentTypeError(
                f'{text} is not {KINDS[int] if kind is int else "a number"} from {each.limits}'
            )
        return value

    return number


def number_from(least: float, kind: type = int) -> Callable[[str], Any]:
    """Return a parser of finite numbers of `kind` (int or float) that are `least` or more, for
    argparse.
    """

    def number(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            what = KINDS[int] if kind is int else 'a number'
            raise argparse.ArgumentTypeError(f'{text!r} is not {what} of {least:g} or more')
        return value

    return number


def add_options(
    parser: Any,
    config_class: type,
    help_texts: Mapping[str, str],
    *,
    suppress: bool = False,
    skip: Iterable[str] = (),
) -> None:
    """Add an option for each field of a configuration to a parser of argparse or a group of one.

    suppress: leave options that are not given out of the arguments, so that two configurations can
    share options with different defaults; skip: names of fields without an option.
    """
    for each in fields(config_class):
        if each.name in skip:
            continue
        option, text = '--' + each.name.replace('_', '-'), help_texts[each.name]
        default = argparse.SUPPRESS if suppress else each.default
        if isinstance(each.default, bool):
            parser.add_argument(option, action='store_true', default=default, help=text)
            continue
        if each.default != '' and 'default' not in text:
            text += f' (default: {each.default})'
        kind: Any = type(each.default)
        if kind in (int, float):
            kind = number_from(0, kind)
        parser.add_argument(option, type=kind, default=default, help=text)


# Arguments that argparse and the verbs add.
_OWN = ('verb', 'run', 'extra')


def config_of(
    config_class: type,
    arguments: argparse.Namespace,
    *,
    others: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
) -> Any:
    """Return a configuration from the arguments of its options, defaults for those not given.

    others: what further options belong to, for the ValueError that names them. None: they are
    ignored, as `ignore` always is.
    """
    names = [each.name for each in fields(config_class)]
    given = vars(arguments)
    foreign = [name for name in given if name not in (*names, *ignore, *_OWN)]
    if others is not None and foreign:
        options = ', '.join('--' + name.replace('_', '-') for name in foreign)
        raise ValueError(f'{options}: only {" or ".join(others)}')
    return config_class(**{name: given[name] for name in names if name in given})
