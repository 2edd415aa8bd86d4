"""Writes files so that they survive power loss; the only place of the gateway's spool that writes.

Promise: after `publish` returned, the whole file stands under its final name, also after a power cut. Before, there
is at most a fragment in the spool's tmp directory, and nobody was told otherwise. The order is: write the temporary
file, fsync it, rename it, fsync the directory. A full disk is `SpoolFull`, never a short file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from gateway.errors import SpoolFull

WRITE_BUFFER_BYTES = 256 * 1024
WRITE_DIRECTLY_BYTES = 32 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileOperations(Protocol):
    """The file system as the spool uses it; tests put a full or forgetful one in its place."""

    def open_new(self, path: Path) -> int:
        """Create `path` for writing and return its descriptor; it must not exist."""

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of `data`, of which nothing is kept."""

    def fsync(self, descriptor: int) -> None:
        """Return once the file's bytes are on the medium."""

    def close(self, descriptor: int) -> None:
        """Close the file."""

    def rename(self, source: Path, target: Path) -> None:
        """Move `source` to `target` in one step."""

    def make_directory(self, path: Path) -> None:
        """Create one directory, for this user only; it must not exist."""

    def remove_file(self, path: Path) -> None:
        """Remove the file."""

    def remove_directory(self, path: Path) -> None:
        """Remove the empty directory."""

    def fsync_directory(self, path: Path) -> None:
        """Return once the names in the directory are on the medium."""

    def free_bytes(self, path: Path) -> int:
        """Return how many bytes this user may still write to the disk of `path`."""


class RealFiles:
    """The operating system's files."""

    def open_new(self, path: Path) -> int:  # noqa: D102 -- as FileOperations says, here and below
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:  # noqa: D102
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def fsync(self, descriptor: int) -> None:  # noqa: D102
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:  # noqa: D102
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:  # noqa: D102
        source.rename(target)

    def make_directory(self, path: Path) -> None:  # noqa: D102
        path.mkdir(mode=0o700)

    def remove_file(self, path: Path) -> None:  # noqa: D102
        path.unlink()

    def remove_directory(self, path: Path) -> None:  # noqa: D102
        path.rmdir()

    def fsync_directory(self, path: Path) -> None:  # noqa: D102
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: Path) -> int:  # noqa: D102
        room = os.statvfs(path)
        return room.f_bavail * room.f_frsize


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into `SpoolFull`."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise SpoolFull(f"no space left for {path}") from exc
        raise


class DurableFile:
    """A file under way in tmp: write it, `seal` it, then `publish` or `discard` it."""

    def __init__(self, files: FileOperations, path: Path) -> None:
        self.path = path
        self._files = files
        self._buffer = bytearray()
        self._published = False
        with full_disk_named(path):
            self._descriptor: int | None = files.open_new(path)

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; small pieces are gathered, large ones go to the disk as they are.

        Raises:
            SpoolFull: the disk has no room.
        """
        if len(data) < WRITE_DIRECTLY_BYTES and len(self._buffer) + len(data) < WRITE_BUFFER_BYTES:
            self._buffer += data
            return
        self._flush()
        self._write(data)

    def seal(self) -> None:
        """Bring the bytes onto the medium and close the file; harmless when it is sealed already.

        Raises:
            SpoolFull: the disk has no room.
        """
        if self._descriptor is None:
            return
        self._flush()
        with full_disk_named(self.path):
            self._files.fsync(self._descriptor)
        self._close()

    def publish(self, target: Path) -> None:
        """Seal the file and give it its final name, durably; the target's directory must exist durably."""
        self.publish_unsynced(target)
        with full_disk_named(target):
            self._files.fsync_directory(target.parent)

    def publish_unsynced(self, target: Path) -> None:
        """Seal the file and give it its final name; durable once the caller has synced the target's directory."""
        self.seal()
        with full_disk_named(target):
            self._files.rename(self.path, target)
        self._published = True

    def withdraw(self, target: Path) -> None:
        """Take back what `publish_unsynced` did, durably; harmless when it did nothing."""
        if self._published:
            self._files.rename(target, self.path)
            self._files.fsync_directory(target.parent)
            self._published = False

    def discard(self) -> None:
        """Forget the file; harmless when it is published or discarded already."""
        self._close()
        if not self._published and self.path.exists():
            self._files.remove_file(self.path)

    def _flush(self) -> None:
        if self._buffer:
            self._write(self._buffer)
            self._buffer = bytearray()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        if self._descriptor is None:
            raise ValueError("the file is sealed")
        with full_disk_named(self.path):
            self._files.write(self._descriptor, memoryview(data))

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._files.close(descriptor)


def make_directory_durably(files: FileOperations, path: Path) -> None:
    """Create `path` under an existing parent so that it survives power loss; harmless when it exists."""
    if path.is_dir():
        return
    with full_disk_named(path):
        files.make_directory(path)
        files.fsync_directory(path.parent)
