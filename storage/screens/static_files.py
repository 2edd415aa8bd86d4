"""A program's own style sheets and scripts, those that all screens share, and the vendored ones of the build.

The first part of the path is a digest of the files' contents, so browsers keep them for a year and never an old one.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Final

from aiohttp import web

from storage import screens

ASSETS_DIR = web.AppKey("ASSETS_DIR", Path)  # as `make prepare` builds it; `vendor` lies in it
KEEP: Final = "public, max-age=31536000, immutable"
MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StaticFiles:
    """The files of one program's folder and the shared ones, below `/static/`."""

    def __init__(self, own: Path) -> None:
        self._folders = (own, screens.FOLDER)

    @property
    def routes(self) -> tuple[web.RouteDef, ...]:
        """Return the addresses of all of them."""
        return (
            web.get("/static/vendor/{name}", vendored_file, name="static.vendor"),
            web.get("/static/{version}/{name}", self.own_file, name="static.own"),
        )

    @cached_property
    def version(self) -> str:
        """Return a digest of these files: part of their addresses."""
        digest = hashlib.sha256()
        for path in sorted(path for folder in self._folders for path in folder.iterdir() if path.suffix in MEDIA_TYPES):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Return the address of one of these files, or of a vendored one (`vendor/htmx.min.js`)."""
        return f"/static/{name}" if name.startswith("vendor/") else f"/static/{self.version}/{name}"

    async def own_file(self, request: web.Request) -> web.StreamResponse:
        """Answer one of these files."""
        name = request.match_info["name"]
        path = next((folder / name for folder in self._folders if (folder / name).is_file()), None)
        if path is None or path.suffix not in MEDIA_TYPES or path.parent not in self._folders:
            raise web.HTTPNotFound
        keep = KEEP if request.match_info["version"] == self.version else "no-cache"
        return web.FileResponse(path, headers={"Cache-Control": keep, "Content-Type": _media_type(path)})


async def vendored_file(request: web.Request) -> web.StreamResponse:
    """Answer a file of `ASSETS_DIR/vendor/`."""
    folder = request.config_dict[ASSETS_DIR] / "vendor"
    path = folder / request.match_info["name"]
    if path.suffix not in MEDIA_TYPES or path.parent != folder or not path.is_file():
        raise web.HTTPNotFound
    return web.FileResponse(path, headers={"Cache-Control": "no-cache", "Content-Type": _media_type(path)})


def _media_type(path: Path) -> str:
    return f"{MEDIA_TYPES[path.suffix]}; charset=utf-8"
