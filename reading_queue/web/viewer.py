"""The image viewer (OHIF) under /viewer/: built files, one page for every address inside it, its own content policy.

Only people who are logged in get it; the images themselves come from /dicomweb, which asks for each study's right. The
page carries its session's token, which `start.js` sends with whatever the viewer stores: no other page can read it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

from aiohttp import web

from reading_queue.web.keys import SESSION, find_viewer, get_viewer

# Inline styles and workers made from blobs are how the viewer is built; nothing from elsewhere.
PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
)
# A worker obeys the policy of its own script. The codecs run in workers, and the glue around their WebAssembly (embind)
# makes its functions from text; a worker has no page and no cookie to steal. Any other use of a script ignores this.
WORKER_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval' blob:; connect-src 'self' blob: data:"
)
HEAD_ANCHOR: Final = '<meta name="viewport"'  # before this, which every page of the viewer has
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
    if find_viewer(request) is None and "text/html" in request.headers.get("Accept", ""):
        raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs, safe='')}")
    get_viewer(request)
    folder = request.config_dict[FOLDER]
    path = (folder / request.match_info["path"]).resolve()
    if path.is_relative_to(folder) and path.is_file() and path.name != "index.html":
        policy = WORKER_POLICY if path.suffix in (".js", ".mjs") else PAGE_POLICY
        return web.FileResponse(path, headers={"Content-Security-Policy": policy, "Cache-Control": CACHE_BUILT_FILES})
    return _page(folder / "index.html", request[SESSION].csrf_token)


def _page(file: Path, token: str) -> web.Response:
    """Answer the viewer's page with the token of who opens it."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        words = "The image viewer is not installed: run `make prepare`, or set assets_dir."
        raise web.HTTPNotFound(text=words) from exc
    text = text.replace(HEAD_ANCHOR, f'<meta name="csrf-token" content="{escape(token)}">{HEAD_ANCHOR}', 1)
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", headers=headers)
