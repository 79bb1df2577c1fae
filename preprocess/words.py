"""Numbers, times and sizes as people read them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

LAST_SECOND = 253_402_214_400.0
"""Of the epoch: of the year 9999, the last one that calendars print."""


def number(value: float) -> str:
    """With separators: `650,000`; numbers with a fraction get two digits of it."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def percent(part: float, whole: float) -> str:
    """`part` of `whole`, such as `12.3 %`; a dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def size(count: float) -> str:
    """Bytes in binary units: `1.5 GiB`."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def span(seconds: float) -> str:
    """Two units: `2 h 05 min`."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days:,} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def clock(at: float) -> str:
    """Epoch seconds as local time of the server, with its zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def rate(per_s: float) -> str:
    """Clips a second, or an hour where that is less than one."""
    return f"{per_s:.2f} clips/s" if per_s >= 1 or not per_s else f"{3600 * per_s:,.0f} clips/h"


def field_name(name: str) -> str:
    """A field of a manifest as a heading: `duration_s` is `Duration`."""
    return _FIELD_NAMES.get(name) or spoken(name.removesuffix("_s")).capitalize()


def field_value(value: Any, name: str) -> Any:
    """What a field of a manifest holds, with its unit; as it is where the manifest has something else there."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    unit = "s" if name.endswith("_s") else _FIELD_UNITS.get(name, "")
    return f"{value:,} {unit}".rstrip()


def spoken(name: str) -> str:
    """A word of the program for reading: `bad_media` is `bad media`."""
    return name.replace("_", " ")


_FIELD_NAMES = {"fps": "Frames a second", "frame_count": "Frames", "sha256": "SHA-256", "youtube_id": "YouTube id"}
_FIELD_UNITS = {"time_start": "s", "time_end": "s", "width": "px", "height": "px"}

FILTERS: Mapping[str, Callable[..., Any]] = {
    "number": number,
    "percent": percent,
    "size": size,
    "span": span,
    "clock": clock,
    "rate": rate,
    "spoken": spoken,
    "field_name": field_name,
    "field_value": field_value,
}
"""Names that templates call these by."""
