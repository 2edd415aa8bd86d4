"""The conformance statement names what the service answers, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from storage.dicomweb import errors
from storage.dicomweb.frames import MEDIA_TYPES
from storage.dicomweb.searching.keys import KEYS, Level
from tests.integration.dicomweb.server import ImageServer

STATEMENT = (Path(errors.__file__).parent / "CONFORMANCE.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return STATEMENT.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_address_is_named(server: ImageServer) -> None:
    named = set(re.findall(r"`(/[^`]+)`", section("Resources")))
    app = server.images
    answered = {str(resource.canonical).removeprefix("/dicomweb") for resource in app.router.resources()}
    assert named == answered


def test_every_key_is_named_at_its_level() -> None:
    rows = dict(re.findall(r"^\| (studies|series|instances) \| (.+) \|$", section("Searching"), re.MULTILINE))
    for level in Level:
        assert rows[level.words].split(", ") == [key.keyword for key in KEYS if key.level == level]


def test_every_status_is_named() -> None:
    named = set(map(int, re.findall(r"\b[45][0-9]{2}\b", section("Errors").split("|---|---|")[1])))
    known = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.DicomwebError)]
    assert {one.status for one in known} <= named


def test_every_media_type_of_frames_is_named_with_its_syntaxes() -> None:
    rows = re.findall(r"^\| (1\.2\.840\S+.*) \| `(image/\S+)` \|$", section("Media types"), re.MULTILINE)
    named = {
        syntax if syntax.startswith("1.2.840") else f"1.2.840.10008.1.2.4{syntax}": media_type
        for syntaxes, media_type in rows
        for syntax in syntaxes.split(", ")
    }
    assert named == MEDIA_TYPES
