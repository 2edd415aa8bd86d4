"""What lies in a folder, on a CD or in a ZIP file, listed in a fixed order so that an import can go on where it was.

Names inside a source are never made into paths of ours: they only open a file of the source itself. Symbolic links,
devices and whatever lies outside the folder are left out. Nothing here believes a size or a name that a ZIP declares.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

FILES_MAX: Final = 200_000
DEPTH_MAX: Final = 32
_ZIP_READABLE: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_ENCRYPTED: Final = 0x1


class SourceUnusable(Exception):
    """The folder or ZIP file cannot be read at all; the message is words for the technician."""


class EntryUnreadable(Exception):
    """One file of the source cannot be read; the message is the reason in words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source; `name` is its path inside, parts between `/`."""

    name: str


class Source(Protocol):
    """A listed source; close it in the end."""

    entries: tuple[Entry, ...]

    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        """Give a file of the source to read from its start, as a context manager; raises EntryUnreadable."""

    def close(self) -> None:
        """Let go of the source."""


@contextmanager
def open_source(path: Path) -> Iterator[FolderSource | ZipSource]:
    """Give the source at `path`, listed.

    Raises:
        SourceUnusable: it is not there, no folder and no ZIP file, damaged, or holds more than FILES_MAX files.
    """
    try:
        source = FolderSource(path) if path.is_dir() else ZipSource(path)
    except OSError as exc:
        raise SourceUnusable(f"The source cannot be read ({exc.strerror}). Is the disk in the drive?") from exc
    try:
        yield source
    finally:
        source.close()


class FolderSource:
    """A folder or a mounted disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.entries = tuple(_list_folder(root))

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        """Give the file; a link that took its place since the listing is not followed."""
        try:
            descriptor = os.open(self._root / entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            raise EntryUnreadable(_cannot_read(exc)) from exc
        with os.fdopen(descriptor, "rb") as file:
            try:
                yield file
            except OSError as exc:  # a scratched disk
                raise EntryUnreadable(_cannot_read(exc)) from exc

    def close(self) -> None:
        """Nothing is held."""


class ZipSource:
    """A ZIP file on this machine."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
            raise SourceUnusable("The file is no ZIP file, or only part of one. Copy it again.") from exc
        self._infos = {info.filename: info for info in self._archive.infolist() if not info.is_dir()}
        if len(self._infos) > FILES_MAX:
            self.close()
            raise SourceUnusable(f"The ZIP file holds more than {FILES_MAX} files. Import its parts one by one.")
        self.entries = tuple(Entry(name) for name in sorted(self._infos))

    @contextmanager
    def open(self, entry: Entry) -> Iterator[BinaryIO]:
        """Give the file, unpacked as it is read."""
        info = self._infos[entry.name]
        if info.flag_bits & _ENCRYPTED:
            raise EntryUnreadable("is protected by a password")
        if info.compress_type not in _ZIP_READABLE:
            raise EntryUnreadable("is packed in a way that is not known here")
        try:
            with self._archive.open(info) as file:
                yield cast("BinaryIO", file)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as exc:
            raise EntryUnreadable("is damaged inside the ZIP file") from exc

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


def _list_folder(root: Path) -> list[Entry]:
    found: list[Entry] = []
    waiting: list[tuple[Path, int]] = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        for child in sorted(os.scandir(folder), key=lambda child: child.name):
            mode = child.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) and depth < DEPTH_MAX:
                waiting.append((Path(child.path), depth + 1))
            elif stat.S_ISREG(mode):
                found.append(Entry(Path(child.path).relative_to(root).as_posix()))
        if len(found) > FILES_MAX:
            raise SourceUnusable(f"The folder holds more than {FILES_MAX} files. Choose the folder of one study.")
    return sorted(found, key=lambda entry: entry.name)


def _cannot_read(exc: OSError) -> str:
    return f"cannot be read from the disk ({exc.strerror or type(exc).__name__})"
