"""What a command may be asked to do from a page: its own options, with every path below one folder."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess.commands.schema import CommandSchema, Kind, Parameter, check_arguments, schema_of
from preprocess.errors import InvalidInput
from preprocess.excerpt import one_line
from preprocess.paths import inside
from preprocess.serve.config import STATE_FOLDER

WITHHELD: Mapping[str, str] = {
    "cookies": "a cookie file is a secret of this machine, which a job would send to a site",
    "cookies-from-browser": "the cookies of a browser are a secret of this machine, which a job would send to a site",
    "metrics-file": "the server has the figures of every run at /metrics",
    "metrics-port": "the server has the figures of every run at /metrics",
    "staging": "it is for addresses, and a job writes below ROOT",
}
"""Options that only a terminal may set, and why."""

_PATHS = {"clips", "labels", "out", "shards"}
_PATHS_OR_ADDRESSES = {"mirror"}
_TEXTS = {"address", "backend", "classes", "dataset", "fps", "proxy", "source", "split", "url-template"}
_OR_AN_ADDRESS = re.compile(r", or an address such as [^\s;]+")
_SCHEME = re.compile(r"\s*[\w+.-]+")
_AUTHORITY_END = re.compile(r"[/?#]")
_MOST_VALUES = 1000
_LONGEST = 4096  # characters of a value, as of a path


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command that has been found good."""

    command: str
    options: dict[str, tuple[str, ...]]
    """What was given; paths without detours."""
    arguments: tuple[str, ...]
    """As they would be typed in ROOT, without the name of the command."""


def offered(command: str) -> CommandSchema:
    """The parameters of a command that a job may have.

    An option whose value is text is among them only if it is known here whether that can name a file. What takes a
    folder or an address on a terminal is a path here, and says so.

    Raises:
        InvalidInput: the command cannot be a job.
    """
    schema = schema_of(command)
    parameters = [
        replace(one, kind=Kind.PATH, help=_OR_AN_ADDRESS.sub("", one.help)) if one.name in _PATHS else one
        for one in schema.parameters
    ]
    kept = tuple(one for one in parameters if one.name not in WITHHELD and (one.kind is not Kind.TEXT or _is_text(one)))
    return replace(schema, parameters=kept)


def order(command: str, options: Mapping[str, Sequence[str]], *, root: Path) -> Order:
    """Check what is asked for, as the command itself would.

    Args:
        command: a name of `preprocess.commands.schema.DESCRIBED`.
        options: names of options, as they are typed without dashes, and of arguments, to their values; a flag is
            `true` or `false`. Empty values count as not given.
        root: folder in which the command will run, and outside of which no path may lead.

    Raises:
        InvalidInput: an option is unknown, withheld, or refused; a path leads outside.
    """
    parameters = {parameter.name: parameter for parameter in offered(command).parameters}
    given: dict[str, tuple[str, ...]] = {}
    for name, values in options.items():
        if name in WITHHELD:
            raise InvalidInput(f"option {name} is not for jobs: {WITHHELD[name]}; run the command on a terminal")
        if name not in parameters:
            raise InvalidInput(f"{command} has no option {_shown(name)}; it has {', '.join(parameters)}")
        if kept := _values(parameters[name], values, root=root):
            given[name] = kept
    # from where the server runs a relative path would be another one
    check_arguments(command, _arguments(parameters, given, below=root))
    return Order(command=command, options=given, arguments=_arguments(parameters, given))


def _is_text(parameter: Parameter) -> bool:
    return parameter.name in _TEXTS or parameter.name in _PATHS_OR_ADDRESSES


def _values(parameter: Parameter, values: Sequence[str], *, root: Path) -> tuple[str, ...]:
    name = parameter.name
    kept = [value for value in values if value.strip()]
    if len(kept) > (_MOST_VALUES if parameter.is_many else 1):
        raise InvalidInput(f"option {name} takes {_MOST_VALUES if parameter.is_many else 1} at most, got {len(kept)}")
    for value in kept:
        if len(value) > _LONGEST:
            raise InvalidInput(f"option {name} takes {_LONGEST} characters at most, got {len(value)}")
        if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise InvalidInput(f"option {name} holds a character that nobody types: {_shown(value)}")
        if "@" in _authority(value) and (name == "proxy" or "://" in value):
            raise InvalidInput(
                f"option {name} holds an address with a user or password, which would be kept and shown with the job; "
                "run the command on a terminal"
            )
    if parameter.kind is Kind.FLAG:
        if not set(kept) <= {"true", "false"}:
            raise InvalidInput(f"option {name} is true or false, got {_shown(kept[0])}")
        return tuple(value for value in kept if value == "true")
    if parameter.kind is Kind.PATH:
        return tuple(_path(name, value, root=root) for value in kept)
    if name in _PATHS_OR_ADDRESSES:
        from preprocess.sources.http import is_remote

        return tuple(value if is_remote(value) else _path(name, value, root=root) for value in kept)
    return tuple(kept)


def _authority(value: str) -> str:
    """User, password, host and port of an address, with or without its scheme."""
    scheme, _, rest = value.partition("://")
    # behind anything else `://` is a part of a path or query
    address = rest if _SCHEME.fullmatch(scheme) else value
    return _AUTHORITY_END.split(address.lstrip("/"), maxsplit=1)[0]


def _path(name: str, value: str, *, root: Path) -> str:
    """`value` relative to `root`, without detours or links on the way."""
    if "://" in value:
        raise InvalidInput(
            f"option {name} of a job is a path below {root}, no address such as {_shown(value)}; run the command on a "
            "terminal"
        )
    if ".." in Path(value).parts:
        raise InvalidInput(f"option {name} is a path below {root}, without '..', got {_shown(value)}")
    try:
        path = inside(root, value).relative_to(root.resolve())
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            (root / value).stat()  # tells of links in a circle, of which resolving tells nothing from Python 3.13 on
    except InvalidInput as error:
        raise InvalidInput(f"option {name}: {error}; only what lies below it can be used") from error
    except (OSError, RuntimeError) as error:  # too long, or links in a circle
        raise InvalidInput(f"option {name} is no path: {_shown(value)}") from error
    if path.parts[:1] == (STATE_FOLDER,):
        raise InvalidInput(f"option {name}: {STATE_FOLDER} holds the server's own files; choose another folder")
    return str(path)


def _arguments(
    parameters: Mapping[str, Parameter], given: Mapping[str, tuple[str, ...]], *, below: Path = Path()
) -> tuple[str, ...]:
    """As typed, so that no value can be taken for an option; with paths below `below`."""
    typed: list[str] = []
    operands: list[str] = []
    for name, parameter in parameters.items():
        for value in given.get(name, ()):
            text = value
            if parameter.kind is Kind.PATH:
                text = str(below / value)
            if parameter.is_argument:
                operands.append(text)
            else:
                typed.append(f"--{name}" if parameter.kind is Kind.FLAG else f"--{name}={text}")
    return (*typed, "--", *operands)


def _shown(value: str) -> str:
    return repr(one_line(value, length=80))
