"""Objects in a bucket of an S3 server.

Durable as far as the server is. Every call has a timeout and few retries; what still fails is StoreUnavailable.
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import BinaryIO, Final, cast

import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.error import MinioException, S3Error

from storage.contract.identifiers import new_id
from storage.objects.keys import check_key
from storage.objects.protocol import (
    ObjectMissing,
    ObjectRejected,
    ObjectStat,
    PresignedRequest,
    StoreUnavailable,
)
from storage.objects.sigv4 import S3Credentials, presigned_url

CHUNK_BYTES: Final = 1024 * 1024
CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 60.0  # silence between two bytes
RETRIES: Final = 2
COMPOSE_PART_BYTES_MIN: Final = 5 * 1024 * 1024
SPOOLED_IN_MEMORY_BYTES: Final = 16 * 1024 * 1024
MISSING_CODES: Final = frozenset({"NoSuchKey", "NoSuchObject", "NotFound"})
BUSY_CODES: Final = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"})


class S3Store:
    """The object store in a bucket. `public_endpoint` is the address by which gateways reach the server."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        credentials: S3Credentials,
        *,
        clock: Callable[[], datetime],
        secure: bool = True,
        public_endpoint: str | None = None,
    ) -> None:
        self._bucket, self._credentials, self._clock = bucket, credentials, clock
        self._public_url = public_endpoint or f"{'https' if secure else 'http'}://{endpoint}"
        self._client = Minio(
            endpoint,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            region=credentials.region,
            secure=secure,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
                retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
                maxsize=16,
            ),
        )

    def put(self, key: str, body: bytes | BinaryIO, size_bytes: int) -> None:
        """Store `size_bytes` bytes of `body`; visible whole or not at all."""
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        with _in_words(key):
            self._client.put_object(self._bucket, check_key(key), stream, size_bytes)

    def stat(self, key: str) -> ObjectStat:
        """Return the object's size."""
        with _in_words(key):
            return ObjectStat(key, self._client.stat_object(self._bucket, check_key(key)).size or 0)

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes of `[offset, offset + length)` in chunks of bounded size."""
        return self._open(key, offset, length)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `[offset, offset + length)` at once."""
        with self._open(key, offset, length) as chunks:
            return b"".join(chunks)

    def copy(self, source: str, target: str) -> None:
        """Copy inside the server."""
        with _in_words(source):
            self._client.copy_object(self._bucket, check_key(target), CopySource(self._bucket, check_key(source)))

    def compose(self, sources: list[str], target: str) -> None:
        """Concatenate inside the server; through here when a part is smaller than the server composes."""
        sizes = [self.stat(source).size_bytes for source in sources]
        if any(size < COMPOSE_PART_BYTES_MIN for size in sizes[:-1]):
            self._concatenate_here(sources, target, sum(sizes))
            return
        with _in_words(target):
            parts = [ComposeSource(self._bucket, check_key(source)) for source in sources]
            self._client.compose_object(self._bucket, check_key(target), parts)

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is absent."""
        with _in_words(key):
            self._client.remove_object(self._bucket, check_key(key))

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, sorted."""
        with _in_words(prefix):
            for item in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                yield str(item.object_name)

    def presign_put(self, key: str, *, size_bytes: int, sha256: str, expires_s: int) -> PresignedRequest:
        """Return an address that takes exactly this many bytes with this digest once, until it expires.

        Not every server compares the digest: what was stored is always read back and hashed by whoever relies on it.
        """
        headers = {
            "Content-Length": str(size_bytes),
            "If-None-Match": "*",
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
        }
        return PresignedRequest("PUT", self._presigned("PUT", key, headers, expires_s), headers)

    def presign_get(self, key: str, *, expires_s: int) -> PresignedRequest:
        """Return an address that gives the object until it expires."""
        return PresignedRequest("GET", self._presigned("GET", key, {}, expires_s))

    def check(self) -> None:
        """Write and remove a small object; raise in words when that fails."""
        with _in_words(self._bucket):
            if not self._client.bucket_exists(self._bucket):
                raise ObjectMissing(f"the S3 server has no bucket {self._bucket}: make it, or correct objects.bucket")
        key = f"check/{new_id()}"
        self.put(key, b"check", 5)
        self.delete(key)

    def ensure_bucket(self) -> None:
        """Make the bucket when it is absent."""
        with _in_words(self._bucket):
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

    def _presigned(self, method: str, key: str, headers: dict[str, str], expires_s: int) -> str:
        path = f"/{self._bucket}/{check_key(key)}"
        return presigned_url(
            method,
            self._public_url,
            path,
            headers,
            credentials=self._credentials,
            now=self._clock(),
            expires_s=expires_s,
        )

    def _concatenate_here(self, sources: list[str], target: str, size_bytes: int) -> None:
        with tempfile.SpooledTemporaryFile(max_size=SPOOLED_IN_MEMORY_BYTES) as whole:
            for source in sources:
                with self._open(source, 0, None) as chunks:
                    for chunk in chunks:
                        whole.write(chunk)
            whole.seek(0)
            with _in_words(target):
                self._client.put_object(self._bucket, check_key(target), cast(BinaryIO, whole), size_bytes)

    @contextmanager
    def _open(self, key: str, offset: int, length: int | None) -> Iterator[Iterator[bytes]]:
        if length == 0:  # an empty range cannot be asked for
            self.stat(key)
            yield iter(())
            return
        with _in_words(key):
            response = self._client.get_object(self._bucket, check_key(key), offset=offset, length=length or 0)
        try:
            yield _chunks(response, key)
        finally:
            response.close()
            response.release_conn()


def _chunks(response: urllib3.BaseHTTPResponse, key: str) -> Iterator[bytes]:
    with _in_words(key):
        yield from response.stream(CHUNK_BYTES)


@contextmanager
def _in_words(key: str) -> Iterator[None]:
    """Map what the SDK and the line say to what a store raises."""
    try:
        yield
    except S3Error as exc:
        if exc.code in MISSING_CODES:
            raise ObjectMissing(f"there is no object {key}") from exc
        if exc.code in BUSY_CODES:
            raise StoreUnavailable(f"the S3 server is busy or failing ({exc.code})") from exc
        raise ObjectRejected(f"the S3 server refuses this ({exc.code})") from exc
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as exc:
        raise StoreUnavailable(f"the S3 server does not answer ({type(exc).__name__})") from exc
