"""Builds what the hub serves to browsers: `python deploy/assets/build.py NODE_MODULES TARGET`.

The viewer's package is built for `/`; here it is moved under `/viewer/`. Text files get a gzip twin beside them, made
after the move, because aiohttp serves the twin by itself. The target is replaced as a whole, so a build that was cut
short is never served.
"""

from __future__ import annotations

import gzip
import re
import shutil
import sys
from pathlib import Path

BASE = "/viewer/"
HERE = Path(__file__).parent
TEXT_SUFFIXES = {".js", ".css", ".html", ".json", ".svg", ".wasm"}
COMPRESSED_FROM_BYTES = 1024
# Parts of the viewer that no reader here opens: in-browser AI models, whole-slide microscopy, a service worker that
# loads a script from outside, and the study list's demo pages.
LEFT_OUT = ("ort", "dicom-microscopy-viewer", "init-service-worker.js", "sw.js", "index.html", "app-config.js")
OWN_SCRIPTS = ("app-config.js", "start.js", "key-images.js")  # in this order, before those of the viewer
FONTS = ("400Regular/NotoSansSC_400Regular.ttf", "700Bold/NotoSansSC_700Bold.ttf")
# Changes to the viewer's scripts, each with what must be found at least once.
REPLACEMENTS = (
    ('__webpack_require__.p = "/"', f'__webpack_require__.p = "{BASE}"'),
    # Its panel adds every study under the same Patient ID. That number is unique within one site only, so this would
    # show another person's images as priors; the viewer shows the studies that it was opened with.
    ("const mrn = qidoForStudyUID[0].mrn;", "const mrn = null;"),
)


class UnexpectedPackage(Exception):
    """A package does not look as this script knows it; look at it and mend the script."""


def main() -> None:
    """Build into a folder beside TARGET, then put it in TARGET's place."""
    node_modules, target = Path(sys.argv[1]), Path(sys.argv[2])
    fresh = target.with_name(target.name + ".fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    build_viewer(node_modules / "@ohif" / "app", fresh / "viewer")
    build_fonts(node_modules / "@expo-google-fonts" / "noto-sans-sc", fresh / "fonts")
    build_vendor(node_modules / "htmx.org", fresh / "vendor")
    for path in list(fresh.rglob("*")):
        compress(path)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    size_mb = sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6
    print(f"{target}: {size_mb:.0f} MB")


def build_viewer(package: Path, target: Path) -> None:
    """Copy the viewer's dist, move it under BASE, and write its page and configuration."""
    dist = package / "dist"
    shutil.copytree(dist, target, ignore=lambda folder, _: LEFT_OUT if Path(folder) == dist else ("*.map",))
    found = set()
    for script in target.rglob("*.js"):
        text = original = script.read_text(encoding="utf-8")
        for old, new in REPLACEMENTS:
            if old in text:
                found.add(old)
                text = text.replace(old, new)
        if text != original:
            script.write_text(text, encoding="utf-8")
    missing = [old for old, _ in REPLACEMENTS if old not in found]
    if missing:
        raise UnexpectedPackage(f"no script of the viewer has: {missing}")
    for sheet in target.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        sheet.write_text(re.sub(r"url\((['\"]?)/(?!/)", rf"url(\1{BASE}", text), encoding="utf-8")
    for name in OWN_SCRIPTS:
        shutil.copy(HERE / "viewer" / name, target / name)
    (target / "index.html").write_text(viewer_page((dist / "index.html").read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(package / "LICENSE", target / "LICENSE")


def viewer_page(original: str) -> str:
    """Return our own page with the scripts and sheets that the package's page names."""
    scripts = re.findall(r'<script defer src="/([^"]+)"', original)
    sheets = re.findall(r'<link href="/([^"]+)" rel="stylesheet"', original)
    if not scripts:
        raise UnexpectedPackage("the viewer's page names no script")
    lines = [
        '<!doctype html><html lang="zh"><head><meta charset="UTF-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        "<title>Counterpart</title>",
        f'<link rel="icon" href="{BASE}assets/favicon.ico">',
        *(f'<script src="{BASE}{name}"></script>' for name in OWN_SCRIPTS),
        *(f'<script defer src="{BASE}{name}"></script>' for name in scripts),
        *(f'<link href="{BASE}{name}" rel="stylesheet">' for name in sheets),
        '</head><body><div id="react-portal"></div><div id="root"></div></body></html>',
    ]
    return "\n".join(lines) + "\n"


def build_fonts(package: Path, target: Path) -> None:
    """Copy the fonts for PDF with their licence."""
    target.mkdir(parents=True)
    for name in FONTS:
        shutil.copy(package / name, target / Path(name).name)
    shutil.copy(package / "LICENSE_FONT", target / "LICENSE_FONT")


def build_vendor(package: Path, target: Path) -> None:
    """Copy the page script with its licence."""
    target.mkdir(parents=True)
    shutil.copy(package / "dist" / "htmx.min.js", target / "htmx.min.js")
    shutil.copy(package / "LICENSE", target / "htmx.LICENSE")


def compress(path: Path) -> None:
    """Write `path`.gz beside a text file that is worth it; the same input gives the same bytes."""
    if path.suffix in TEXT_SUFFIXES and path.is_file() and path.stat().st_size >= COMPRESSED_FROM_BYTES:
        packed = gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)
        path.with_name(path.name + ".gz").write_bytes(packed)


if __name__ == "__main__":
    main()
