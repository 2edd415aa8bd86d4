"""What the hub asks of an object store; one contract suite holds for every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol


class ObjectStoreError(Exception):
    """Base of what an object store raises."""


class StoreUnavailable(ObjectStoreError):
    """The store did not answer or failed inside; try again later."""


class ObjectMissing(ObjectStoreError):
    """There is no object under this key."""


class ObjectRejected(ObjectStoreError):
    """The store refuses this request and will refuse it again."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What the store says of an object without reading it."""

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PresignedRequest:
    """An address that works until it expires, and the headers that must be sent exactly as given."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """Keys are `/`-separated printable ASCII without empty, `.` or `..` parts.

    Every method may raise StoreUnavailable; those that name an existing object raise ObjectMissing.
    """

    def put(self, key: str, body: bytes | BinaryIO, size_bytes: int) -> None:
        """Store `size_bytes` bytes of `body`; visible whole or not at all, durable on return."""

    def stat(self, key: str) -> ObjectStat:
        """Return the object's size."""

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes of `[offset, offset + length)` in chunks of bounded size."""

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `[offset, offset + length)` at once; for small ranges."""

    def copy(self, source: str, target: str) -> None:
        """Copy inside the store; the target is whole or absent."""

    def compose(self, sources: list[str], target: str) -> None:
        """Concatenate inside the store; every source but the last has at least 5 MiB."""

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is absent. A bucket that keeps versions keeps what was there."""

    def erase(self, key: str) -> None:
        """Remove the object for good, with every version that was kept of it; no error when it is absent."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys under `prefix`, sorted."""

    def presign_put(self, key: str, *, size_bytes: int, sha256: str, expires_s: int) -> PresignedRequest:
        """Return an address that takes exactly this many bytes with this digest once, until it expires."""

    def presign_get(self, key: str, *, expires_s: int) -> PresignedRequest:
        """Return an address that gives the object until it expires."""

    def check(self) -> str:
        """Return in words how the store is once it has been written to and read; raise otherwise, in words."""
