"""The fonts of the PDF: which families there are, and which characters they can show.

Only the fonts of one directory are used, never the machine's own, so that the same report looks the same everywhere.
A site whose names need more characters puts another font into the directory. Nothing is stored; a restart reads again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

FAMILIES_PREFERRED: Final = ("Noto Sans SC", "Noto Sans CJK SC")
_FULL_UNICODE: Final = frozenset({(0, 4), (0, 6), (3, 10)})  # (platform, encoding) of cmap subtables beyond the BMP
_SEGMENTED_COVERAGE: Final = 12


class FontsUnusable(Exception):
    """The fonts directory cannot set a Chinese report; the message says what to put there."""


@dataclass(frozen=True)
class FontSet:
    """Fonts opened once per process (they are large), the report's own family first."""

    handle: Any  # typst.Fonts
    families: tuple[str, ...]
    faces: tuple[tuple[str, Path, int], ...]  # family, file, index in a collection

    def missing(self, text: str) -> frozenset[str]:
        """Return the characters of `text` that no family can show."""
        wanted = {ord(character) for character in text}
        for family in self.families:
            if not wanted:
                break
            wanted -= self._covered_by(family)
        return frozenset(map(chr, wanted))

    def _covered_by(self, family: str) -> frozenset[int]:
        """Return what every face of the family has, since bold and regular are both used."""
        return frozenset.intersection(*(code_points(path, index) for name, path, index in self.faces if name == family))


@lru_cache(maxsize=4)
def load_fonts(fonts_dir: Path) -> FontSet:
    """Return the fonts of `fonts_dir`; opened lazily, so that a process which forks has not started typst.

    Raises:
        FontsUnusable: no Chinese family is there.
    """
    import typst

    handle = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(fonts_dir)])
    faces = tuple(sorted((face.family, Path(face.path), face.index) for face in handle.fonts() if face.path))
    found = {family for family, _, _ in faces}
    own = next((family for family in FAMILIES_PREFERRED if family in found), None)
    if own is None:
        raise FontsUnusable(f"put the Noto Sans SC fonts into {fonts_dir}: no Chinese font was found there")
    return FontSet(handle, (own, *sorted(found - {own})), faces)


@lru_cache(maxsize=64)
def code_points(path: Path, index: int) -> frozenset[int]:
    """Return the code points the face maps to a glyph (OpenType `cmap`, format 12).

    Raises:
        FontsUnusable: the file is not an OpenType font with a full Unicode map.
    """
    try:
        data = path.read_bytes()
        return frozenset(_mapped(data, _full_unicode_subtable(data, _table(data, _face_offset(data, index), b"cmap"))))
    except (struct.error, StopIteration) as exc:
        raise FontsUnusable(f"{path.name} has no full Unicode character map (cmap format 12)") from exc


def _face_offset(data: bytes, index: int) -> int:
    if data[:4] != b"ttcf":
        return 0
    offset: int = struct.unpack_from(">I", data, 12 + 4 * index)[0]
    return offset


def _table(data: bytes, face: int, tag: bytes) -> int:
    """Return where the table begins in the file."""
    (count,) = struct.unpack_from(">H", data, face + 4)
    records = (struct.unpack_from(">4sIII", data, face + 12 + 16 * position) for position in range(count))
    return next(int(offset) for name, _, offset, _ in records if name == tag)


def _full_unicode_subtable(data: bytes, cmap: int) -> int:
    (count,) = struct.unpack_from(">H", data, cmap + 2)
    records = (struct.unpack_from(">HHI", data, cmap + 4 + 8 * position) for position in range(count))
    candidates = (cmap + int(offset) for platform, encoding, offset in records if (platform, encoding) in _FULL_UNICODE)
    return next(at for at in candidates if struct.unpack_from(">H", data, at)[0] == _SEGMENTED_COVERAGE)


def _mapped(data: bytes, subtable: int) -> Iterator[int]:
    (count,) = struct.unpack_from(">I", data, subtable + 12)
    groups = data[subtable + 16 : subtable + 16 + 12 * count]
    for first, last, glyph in struct.iter_unpack(">III", groups):
        yield from range(first if glyph else first + 1, last + 1)  # glyph 0 is "missing"
