"""Objects as files in one directory, with presigned addresses that the hub itself serves.

Durable: every object that `put`, `copy`, `compose` or a finished upload returned for (file and directory fsynced).
Volatile: uploads that were not finished; their fragments in `.uploads/` are removed at the next start. An object is
whole or absent, never changed in place: that is why a copy may be a hard link.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, urlencode

from storage.contract.identifiers import new_id
from storage.objects.keys import check_key
from storage.objects.protocol import (
    ObjectMissing,
    ObjectRejected,
    ObjectStat,
    PresignedRequest,
    StoreUnavailable,
)

CHUNK_BYTES: Final = 1024 * 1024
UPLOADS: Final = ".uploads"
URL_PREFIX: Final = "/objects"
MOVES_MAX: Final = 10


class PresignedExpired(ObjectRejected):
    """This address has expired; ask for a new one."""


class PresignedInvalid(ObjectRejected):
    """This address was not signed by this hub, or was changed."""


@dataclass(frozen=True, slots=True)
class PresignedTerms:
    """What a presigned address allows: exactly this size and digest for PUT, nothing of both for GET."""

    size_bytes: int | None
    sha256: str | None


class DirectoryStore:
    """The object store of one machine."""

    def __init__(self, root: Path, *, public_url: str, secret: bytes, clock: Callable[[], datetime]) -> None:
        self._root, self._public_url, self._secret, self._clock = root, public_url, secret, clock
        (root / UPLOADS).mkdir(parents=True, exist_ok=True)

    # ---- objects -------------------------------------------------------------------------------------------------

    def put(self, key: str, body: bytes | BinaryIO, size_bytes: int) -> None:
        """Store `size_bytes` bytes of `body`; visible whole or not at all, durable on return."""
        with self.begin_put(key, size_bytes) as upload:
            if isinstance(body, bytes):
                upload.write(body)
            else:
                while chunk := body.read(CHUNK_BYTES):
                    upload.write(chunk)
            upload.finish()

    def stat(self, key: str) -> ObjectStat:
        """Return the object's size."""
        with _in_words(key):
            return ObjectStat(key, self._path(key).stat().st_size)

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes of `[offset, offset + length)` in chunks of bounded size."""
        return self._open(key, offset, length)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `[offset, offset + length)` at once."""
        with self._open(key, offset, length) as chunks:
            return b"".join(chunks)

    def copy(self, source: str, target: str) -> None:
        """Give the object a second key. Objects never change in place, so both keys may share one file."""
        with _in_words(source):
            destination = self._path(target)
            link = self._root / UPLOADS / new_id()
            os.link(self._path(source), link)
            self._move_into_place(link, destination)

    def compose(self, sources: list[str], target: str) -> None:
        """Concatenate inside the store."""
        size_bytes = sum(self.stat(source).size_bytes for source in sources)
        with self.begin_put(target, size_bytes) as upload:
            for source in sources:
                with self._open(source, 0, None) as chunks:
                    for chunk in chunks:
                        upload.write(chunk)
            upload.finish()

    def delete(self, key: str) -> None:
        """Remove the object and the folders it leaves empty; no error when it is absent."""
        path = self._path(key)
        with _in_words(key):
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self._root:
                return
            try:
                parent.rmdir()
            except OSError:
                return  # it holds something else, or another process removed it first

    def erase(self, key: str) -> None:
        """Remove the object; a directory keeps no versions."""
        self.delete(key)

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, sorted."""
        folder = self._root / Path(prefix).parent if not prefix.endswith("/") else self._root / prefix
        keys = (path.relative_to(self._root).as_posix() for path in folder.rglob("*") if path.is_file())
        yield from sorted(key for key in keys if key.startswith(prefix) and not key.startswith(f"{UPLOADS}/"))

    def check(self) -> str:
        """Write and remove a small object and say that it works; raise in words when it does not."""
        key = f"check/{new_id()}"
        self.put(key, b"check", 5)
        self.delete(key)
        return "answers"

    # ---- uploads -------------------------------------------------------------------------------------------------

    def begin_put(self, key: str, size_bytes: int, sha256: str | None = None) -> Upload:
        """Return an upload of exactly `size_bytes` bytes, with this digest when one is given."""
        with _in_words(key):
            if shutil.disk_usage(self._root).free < size_bytes:
                raise StoreUnavailable("the disk of the object store is full; nothing was stored")
            return Upload(self, self._path(key), size_bytes, sha256)

    def remove_unfinished_uploads(self) -> None:
        """Remove what uploads left that never finished; for the start, before anybody uploads."""
        for path in (self._root / UPLOADS).iterdir():
            path.unlink(missing_ok=True)

    # ---- presigned addresses -------------------------------------------------------------------------------------

    def presign_put(self, key: str, *, size_bytes: int, sha256: str, expires_s: int) -> PresignedRequest:
        """Return an address that takes exactly this many bytes with this digest until it expires."""
        url = self._presigned("PUT", key, expires_s, {"size": str(size_bytes), "sha256": sha256})
        return PresignedRequest("PUT", url, {"Content-Length": str(size_bytes)})

    def presign_get(self, key: str, *, expires_s: int) -> PresignedRequest:
        """Return an address that gives the object until it expires."""
        return PresignedRequest("GET", self._presigned("GET", key, expires_s, {}))

    def verify_presigned(self, method: str, key: str, query: Mapping[str, str]) -> PresignedTerms:
        """Return what a request to a presigned address may do.

        Raises:
            PresignedInvalid: signed by somebody else, for another method or key, or changed.
            PresignedExpired: it is too late.
        """
        terms = {name: query[name] for name in ("size", "sha256") if name in query}
        expires = query.get("expires", "")
        expected = self._signature(method, check_key(key), expires, terms)
        if not hmac.compare_digest(expected, query.get("signature", "")) or query.get("method") != method:
            raise PresignedInvalid("this address was not signed by this hub, or was changed")
        if int(expires) < self._clock().timestamp():
            raise PresignedExpired("this address has expired; ask for a new one")
        return PresignedTerms(int(terms["size"]) if "size" in terms else None, terms.get("sha256"))

    def _presigned(self, method: str, key: str, expires_s: int, terms: dict[str, str]) -> str:
        expires = str(int(self._clock().timestamp()) + expires_s)
        signature = self._signature(method, check_key(key), expires, terms)
        query = urlencode({"method": method, "expires": expires, **terms, "signature": signature})
        return f"{self._public_url}{URL_PREFIX}/{quote(key)}?{query}"

    def _signature(self, method: str, key: str, expires: str, terms: Mapping[str, str]) -> str:
        signed = "\n".join([method, key, expires, terms.get("size", ""), terms.get("sha256", "")])
        digest = hmac.new(self._secret, signed.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    # ---- files ---------------------------------------------------------------------------------------------------

    @property
    def uploads(self) -> Path:
        """Return where unfinished uploads are."""
        return self._root / UPLOADS

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _open(self, key: str, offset: int, length: int | None) -> Iterator[Iterator[bytes]]:
        with _in_words(key):
            file = self._path(key).open("rb")
        with file:
            file.seek(offset)
            yield _chunks(file, length)

    def _move_into_place(self, fragment: Path, destination: Path) -> None:
        """Make the file visible and durable under its name.

        Synced is each folder that got a new name. A folder that was there already was made before: file systems that
        keep the order of names in their journal (ext4, XFS, Btrfs, ZFS) have it durable with what is synced after it.
        """
        folder = destination.parent
        for _ in range(MOVES_MAX):
            missing = [one for one in (folder, *folder.parents) if not one.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # a delete beside us removed the folder while it was still empty
                fragment.replace(destination)
                break
        else:
            raise StoreUnavailable("the object's folder disappears as often as it is made; nothing was stored")
        fragment.unlink(missing_ok=True)  # replacing a file by its own hard link leaves both names
        for changed in (folder, *(one.parent for one in missing)):
            _fsync_directory(changed)


class Upload:
    """An object on its way into the store: `write` in order, then `finish`; leaving without it leaves nothing."""

    def __init__(self, store: DirectoryStore, destination: Path, size_bytes: int, sha256: str | None) -> None:
        self._store, self._destination = store, destination
        self._remaining, self._sha256, self._digest = size_bytes, sha256, hashlib.sha256()
        self._fragment = store.uploads / new_id()
        self._file = self._fragment.open("wb")

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, chunk: bytes) -> None:
        """Append a chunk. Raises ObjectRejected as soon as there are more bytes than declared."""
        self._remaining -= len(chunk)
        if self._remaining < 0:
            raise ObjectRejected("more bytes came than were declared; nothing was stored")
        self._digest.update(chunk)
        with _in_words(self._destination.name):
            self._file.write(chunk)

    def finish(self) -> None:
        """Make the object visible and durable.

        Raises:
            ObjectRejected: fewer bytes than declared, or another digest; nothing is stored.
        """
        if self._remaining:
            raise ObjectRejected(f"{self._remaining} bytes fewer came than were declared; nothing was stored")
        if self._sha256 is not None and self._digest.hexdigest() != self._sha256:
            raise ObjectRejected("the bytes have another SHA-256 than declared; nothing was stored")
        with _in_words(self._destination.name):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._store._move_into_place(self._fragment, self._destination)

    def abort(self) -> None:
        """Leave nothing; no effect after `finish`."""
        with suppress(OSError):  # closing writes what is still buffered, which a full disk refuses once more
            self._file.close()
        with suppress(FileNotFoundError):
            self._fragment.unlink()


def _chunks(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    remaining = length
    while remaining is None or remaining > 0:
        chunk = file.read(CHUNK_BYTES if remaining is None else min(CHUNK_BYTES, remaining))
        if not chunk:
            return
        if remaining is not None:
            remaining -= len(chunk)
        yield chunk


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _in_words(key: str) -> Iterator[None]:
    """Map what the file system says to what a store raises."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise ObjectMissing(f"there is no object {key}") from exc
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreUnavailable("the disk of the object store is full; nothing was stored") from exc
        raise StoreUnavailable(f"the object store's directory cannot be used: {exc.strerror}") from exc
