"""The image viewer (OHIF) under /viewer/: built files, one page for every address inside it, its own content policy.

Only people who are logged in get it; the images themselves come from /dicomweb, which asks for each study's right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from reading_queue.web.keys import get_viewer

# WebAssembly codecs, workers made from blobs and inline styles are how the viewer is built; nothing from elsewhere.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
)
CACHE_BUILT_FILES: Final = "private, max-age=86400"
FOLDER = web.AppKey("FOLDER", Path)


def build_viewer(assets_dir: Path) -> web.Application:
    """Return the application to be mounted under /viewer."""
    app = web.Application()
    app[FOLDER] = (assets_dir / "viewer").resolve()
    app.add_routes([web.get("/{path:.*}", show, name="viewer")])
    return app


async def show(request: web.Request) -> web.StreamResponse:
    """Answer a built file, or the viewer's page for any other address inside it."""
    get_viewer(request)
    folder = request.config_dict[FOLDER]
    path = (folder / request.match_info["path"]).resolve()
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    if path.is_relative_to(folder) and path.is_file() and path.name != "index.html":
        return web.FileResponse(path, headers={**headers, "Cache-Control": CACHE_BUILT_FILES})
    if not (folder / "index.html").is_file():
        raise web.HTTPNotFound(text="The image viewer is not installed: run `make prepare`, or set assets_dir.")
    return web.FileResponse(folder / "index.html", headers={**headers, "Cache-Control": "no-cache"})
