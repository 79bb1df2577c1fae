"""Values from files that anybody may have written, as JSON and UTF-8 take them."""

import math
from dataclasses import asdict, is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    r"""`value`, a dataclass as a dict, without what JSON or UTF-8 cannot carry: numbers that are none, half surrogates.

    Example:
        >>> plain({"a": [float("nan"), "x\ud800"]})
        {'a': ['nan', 'x\\ud800']}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {plain(str(name)): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
