"""A ZIP archive that is made while it is sent: nothing of it is held but the piece under way. Pure but for the files.

Members are stored, not deflated: images are compressed already, or shall be quick. Zip64 where it is needed. Only the
last bytes make an archive: what breaks off cannot be opened.
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Final, cast

CHUNK_BYTES: Final = 1024 * 1024
_FILE_MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an export; whoever writes it closes it."""

    path: tuple[str, ...]
    file: IO[bytes]
    size_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes."""
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk


class _Outlet:
    """What the archive writes into, and the stream takes from."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def zip_pieces(members: Iterable[Member], at: datetime) -> Generator[bytes]:
    """Yield the archive of the members, which are taken one by one; `at` is the time that all of them bear."""
    outlet = _Outlet()
    with zipfile.ZipFile(cast("IO[bytes]", outlet), "w") as archive:
        for member in members:
            info = zipfile.ZipInfo("/".join(member.path), at.timetuple()[:6])
            info.file_size, info.external_attr = member.size_bytes, _FILE_MODE << 16
            with member.file, archive.open(info, "w") as entry:
                for chunk in member.chunks():
                    entry.write(chunk)
                    yield outlet.take()
    yield outlet.take()
