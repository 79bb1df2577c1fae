"""JSON from elsewhere into frozen dataclasses, every value held against the type of its field."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from preprocess.errors import InvalidInput
from preprocess.exact_number import exact_number
from preprocess.regular_file import read_regular

Kind = TypeVar("Kind")


def decode(kind: type[Kind], value: object, *, where: str) -> Kind:
    """`value`, as `json.loads` gave it, as a `kind`.

    Args:
        kind: a dataclass whose fields are dataclasses, `str`, `int`, `float`, `bool`, a `StrEnum`, `Fraction` (in JSON
            a text), `X | None`, `tuple[X, ...]` or `dict[str, X]`. Fields that it does not know are passed over.
        value: objects, arrays, texts, numbers.
        where: what the value was read from, for messages.

    Raises:
        InvalidInput: a field is missing or has another type; names it.
    """
    decoded: Kind = _decode(kind, value, where)
    return decoded


def read_document(
    kind: type[Kind],
    path: Path,
    *,
    format_: str,
    version: int,
    name: str,
    remedy: str,
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> Kind:
    """The document in a file that says its format and version, as a `kind`.

    Args:
        kind: as for `decode`.
        path: of the file.
        format_: what its field `format` must be.
        version: what its field `version` must be.
        name: what to call it, for messages.
        remedy: what makes one, for messages.
        read: gives the bytes of the file, or raises OSError.

    Raises:
        InvalidInput: no such file, something else, damaged, or of another version.
    """
    try:
        document = json.loads(read(path).decode())
    except OSError as error:
        raise InvalidInput(f"cannot read the {name} {path}: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON ({error}); {remedy}") from error
    if not isinstance(document, dict) or document.get("format") != format_:
        raise InvalidInput(f"{path} is no {name}; {remedy}")
    if document.get("version") != version:
        raise InvalidInput(f"{path} has version {document.get('version')!r}, this reader knows {version}")
    return decode(kind, document, where=str(path))


def read_record(
    kind: type[Kind], path: Path, *, marks: Mapping[str, object], name: str, most: int, remedy: str = ""
) -> Kind | None:
    """What one of our processes left in a file for others, as a `kind`; None when there is no file.

    Args:
        kind: as for `decode`.
        path: of the file.
        marks: fields that tell its form and version, and what they must be.
        name: what to call it, for messages.
        most: bytes that it may have.
        remedy: the end of messages.

    Raises:
        InvalidInput: unreadable, something else, damaged, or of another version.
    """
    try:
        document = json.loads(read_regular(path, most=most))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON ({error}){remedy}") from error
    if not isinstance(document, dict) or any(document.get(field) != value for field, value in marks.items()):
        raise InvalidInput(f"{path} is no {name} of this version{remedy}")
    return decode(kind, document, where=str(path))


def _decode(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, UnionType):
        (part,) = (part for part in get_args(kind) if part is not NoneType)
        return None if value is None else _decode(part, value, where)
    if is_dataclass(kind):
        return _decode_object(kind, value, where)
    container = get_origin(kind)
    if container is tuple and isinstance(value, list):
        return tuple(_decode(get_args(kind)[0], part, f"{where}[{number}]") for number, part in enumerate(value))
    if container is dict and isinstance(value, dict):
        return {name: _decode(get_args(kind)[1], part, f"{where}.{name}") for name, part in value.items()}
    if kind is Fraction:
        return _fraction(value, where)
    if kind is float and type(value) in {int, float} and not _is_beyond(value) and math.isfinite(value):
        return float(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum) and value in list(kind):
        return kind(value)
    if kind in {str, int, bool} and type(value) is kind and not _is_beyond(value):
        return value
    raise InvalidInput(f"{where} should be {getattr(kind, '__name__', kind)}, it is {value!r:.80}")


def _fraction(value: object, where: str) -> Fraction:
    try:
        return exact_number(value)
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}") from error


def _is_beyond(value: Any) -> bool:
    # what was counted or measured fits into 64 bits, as it must for a data base or a float
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def _decode_object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} should be an object, it is {value!r:.80}")
    fields = _fields(kind)
    if missing := sorted(fields.keys() - value.keys()):
        raise InvalidInput(f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _decode(field, value[name], f"{where}.{name}") for name, field in fields.items()})


@cache
def _fields(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
