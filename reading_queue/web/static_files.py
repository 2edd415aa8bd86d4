"""Our own style sheet and scripts, and the vendored ones that `make assets` prepared.

The first part of the path is a digest of our files' contents, so browsers keep them for a year and never an old one.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from reading_queue.web.keys import ASSETS_DIR

OWN: Final = Path(__file__).parent / "static"
KEEP: Final = "public, max-age=31536000, immutable"
MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def version() -> str:
    """Return a digest of our own files: part of their addresses."""
    digest = hashlib.sha256()
    for path in sorted(OWN.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def static_url(name: str) -> str:
    """Return the address of a file of ours, or of a vendored one (`vendor/htmx.min.js`)."""
    return f"/static/{name}" if name.startswith("vendor/") else f"/static/{version()}/{name}"


async def own_file(request: web.Request) -> web.StreamResponse:
    """Answer one of our own files."""
    name = request.match_info["name"]
    path = OWN / name
    if path.suffix not in MEDIA_TYPES or path.parent != OWN or not path.is_file():
        raise web.HTTPNotFound
    keep = KEEP if request.match_info["version"] == version() else "no-cache"
    return web.FileResponse(path, headers={"Cache-Control": keep, "Content-Type": _media_type(path)})


async def vendored_file(request: web.Request) -> web.StreamResponse:
    """Answer a file of `assets_dir/vendor/`."""
    folder = request.config_dict[ASSETS_DIR] / "vendor"
    path = folder / request.match_info["name"]
    if path.suffix not in MEDIA_TYPES or path.parent != folder or not path.is_file():
        raise web.HTTPNotFound
    return web.FileResponse(path, headers={"Cache-Control": "no-cache", "Content-Type": _media_type(path)})


def _media_type(path: Path) -> str:
    return f"{MEDIA_TYPES[path.suffix]}; charset=utf-8"
