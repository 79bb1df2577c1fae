"""The parameters of the commands as data, read from the click objects themselves: for a form, an API, a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import click

from preprocess.commands.download import download
from preprocess.commands.flow import flow
from preprocess.commands.index import index
from preprocess.commands.repair import repair
from preprocess.commands.verify import verify
from preprocess.errors import InvalidInput

_COMMANDS: dict[str, click.Command] = {
    "download": download,
    "index": index,
    "flow": flow,
    "verify": verify,
    "repair": repair,
}
DESCRIBED = tuple(_COMMANDS)
"""Names of the commands that take hours and whose parameters are each a value, so that they make good jobs."""


class Kind(StrEnum):
    """What a parameter takes."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    PATH = "path"


_KINDS = (
    (click.Choice, Kind.CHOICE),
    (click.Path, Kind.PATH),
    (click.types.IntParamType, Kind.INTEGER),
    (click.types.FloatParamType, Kind.NUMBER),
    (click.types.BoolParamType, Kind.FLAG),
)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An option or an argument."""

    name: str
    """As it is typed, without dashes, such as `source-dir`; an argument goes by its own name."""
    kind: Kind
    is_argument: bool
    is_required: bool
    is_many: bool
    """Whether it may be given several times."""
    help: str
    """As `--help` has it; empty for an argument, which the help of the command explains."""
    metavar: str
    """What stands for a value, such as `NAME`; may be empty."""
    default: str | None
    """What it is when it is not given, where that is a value; a flag is `false`."""
    choices: tuple[str, ...]
    """The values there are, of a choice."""


@dataclass(frozen=True, kw_only=True)
class CommandSchema:
    """A command of `preprocess`."""

    name: str
    summary: str
    """One line."""
    help: str
    """All of it, as plain text."""
    parameters: tuple[Parameter, ...]


def schema_of(command: str) -> CommandSchema:
    """The parameters of a command, in the order of its help.

    Raises:
        InvalidInput: it is none of `DESCRIBED`.
    """
    found = _find(command)
    text = (found.help or "").replace("\b\n", "")
    return CommandSchema(
        name=command,
        summary=text.partition("\n")[0],
        help=text,
        parameters=tuple(_parameter(parameter) for parameter in found.params),
    )


def check_arguments(command: str, arguments: Sequence[str]) -> None:
    """Have the command parse its arguments as if they were typed, and run nothing.

    Raises:
        InvalidInput: it refuses them; the message is its own.
    """
    try:
        with _find(command).make_context(f"preprocess {command}", list(arguments)):
            pass
    except click.ClickException as error:
        raise InvalidInput(error.format_message()) from error


def _find(command: str) -> click.Command:
    if command not in _COMMANDS:
        raise InvalidInput(f"command {command!r} cannot be a job; use one of {', '.join(DESCRIBED)}")
    return _COMMANDS[command]


def _parameter(parameter: click.Parameter) -> Parameter:
    is_option = isinstance(parameter, click.Option)
    kind = next((kind for type_, kind in _KINDS if isinstance(parameter.type, type_)), Kind.TEXT)
    return Parameter(
        name=max(parameter.opts, key=len).lstrip("-") if is_option else str(parameter.name),
        kind=kind,
        is_argument=not is_option,
        is_required=parameter.required,
        is_many=parameter.multiple or parameter.nargs == -1,
        help=(parameter.help or "") if isinstance(parameter, click.Option) else "",
        metavar=parameter.metavar or "",
        default=_default(parameter.to_info_dict()["default"], kind),
        choices=tuple(map(str, parameter.type.choices)) if isinstance(parameter.type, click.Choice) else (),
    )


def _default(value: Any, kind: Kind) -> str | None:
    if kind is Kind.FLAG:
        return "true" if value is True else "false"
    return str(value) if isinstance(value, str | int | float) else None
