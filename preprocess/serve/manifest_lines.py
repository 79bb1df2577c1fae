"""Single lines of a manifest, where the index says that they begin."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.jsonl import parse_line
from preprocess.serve.index.manifests import LONGEST_LINE, open_manifest


@dataclass(frozen=True, kw_only=True)
class ManifestLine:
    """One line."""

    at: int
    """Byte of the manifest where it begins."""
    fields: dict[str, Any]
    """As the line has them; empty where it cannot be read."""
    problem: str = ""
    """Why it cannot be read."""


def read_manifest_line(folder: Path, at: int, *, key: str) -> ManifestLine:
    """The line of the clip `key` that begins at byte `at` of the manifest of `folder`."""
    try:
        with open_manifest(folder) as file:
            file.seek(at)
            fields = parse_line(file.readline(LONGEST_LINE))
    except OSError as error:
        return ManifestLine(at=at, fields={}, problem=f"the manifest cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return ManifestLine(at=at, fields={}, problem=f"the line is torn or changed: {error!r:.200}")
    if fields.get("key") != key:
        return ManifestLine(at=at, fields={}, problem="the manifest changed since; the index follows in a moment")
    return ManifestLine(at=at, fields=fields)
