"""What the files of an export are called: as the standard wants it below a DICOMDIR, or as people do. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable
from typing import Final

NAME_BYTES_MAX: Final = 80  # of one folder or file, in UTF-8: paths stay below what the oldest file systems bear
FOLDER: Final = "DICOM"
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]+')
_RESERVED: Final = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)


class Numbers:
    """Gives each thing the number of its first coming, from 1."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._counts: dict[Hashable, int] = {}

    def of(self, inside: Hashable, thing: Hashable) -> int:
        """Return the number of a thing among those inside another one."""
        key = (inside, thing)
        if key not in self._known:
            self._counts[inside] = self._counts.get(inside, 0) + 1
            self._known[key] = self._counts[inside]
        return self._known[key]


def file_set_name(study: int, series: int, instance: int) -> tuple[str, ...]:
    """Return the components of a file's name below a DICOMDIR (PS3.10 section 8.5, PS3.12 annex F: 8.3 names)."""
    return FOLDER, f"ST{study:06}", f"SE{series:06}", f"IM{instance:06}"


def safe_name(*words: str) -> str:
    """Return the words as one name that every file system takes; `unnamed` when nothing is left of them."""
    text = " ".join(part for word in words for part in _FORBIDDEN.sub(" ", word).split())
    text = unicodedata.normalize("NFC", text).replace(" ", "_")
    text = text.encode("utf-8", "ignore")[:NAME_BYTES_MAX].decode("utf-8", "ignore").strip("._ ")
    if not text:
        return "unnamed"
    return f"_{text}" if _RESERVED.fullmatch(text) else text
