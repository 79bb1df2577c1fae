"""Styles and scripts, read once: a request names one of them, never a file."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file of `static/`."""

    content: bytes
    kind: str
    """MIME type."""
    digest: str
    """Changes with the content."""


@cache
def assets() -> dict[str, Asset]:
    """File name to content."""
    found = {}
    for file in (files("preprocess.serve") / "static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in KINDS:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[file.name] = Asset(content=content, kind=KINDS[suffix], digest=digest)
    return found


def address(name: str) -> str:
    """Where a page finds an asset: a new address for new content, so that browsers may keep it for good."""
    return f"/static/{name}?v={assets()[name].digest}"


@router.get("/static/{name}")
def static(name: str) -> Response:
    """One asset."""
    asset = assets().get(name)
    if asset is None:
        raise HTTPException(404, f"there is no {name!r}")
    return Response(
        asset.content, media_type=asset.kind, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )
