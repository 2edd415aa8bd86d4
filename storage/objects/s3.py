"""Objects in a bucket of an S3 server.

Durable as far as the server is. Every call has a timeout and few retries, and no answer may take longer than its size
allows; what still fails is StoreUnavailable. So is a key that the server does not take: a person mends that, and what
waits goes on.
"""

from __future__ import annotations

import base64
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, cast

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, ComposeSource, CopySource
from minio.error import MinioException, S3Error
from minio.sse import Sse, SseKMS, SseS3
from minio.versioningconfig import SUSPENDED, VersioningConfig

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
RETRIES: Final = 2
COMPOSE_PART_BYTES_MIN: Final = 5 * 1024 * 1024
SPOOLED_IN_MEMORY_BYTES: Final = 16 * 1024 * 1024
VERSIONING_KNOWN_S: Final = 60.0
NOT_ENCRYPTED: Final = "none"
SSE_S3: Final = "sse-s3"
SSE_KMS_PREFIX: Final = "sse-kms:"
MISSING_CODES: Final = frozenset({"NoSuchKey", "NoSuchObject", "NotFound"})
BUSY_CODES: Final = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"})
# What the server says of the hub's own key or bucket: nothing that is asked for is at fault.
CONFIGURATION_CODES: Final = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NoSuchBucket",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take: to answer at all, between two bytes, and for a whole answer by its size."""

    connect_s: float = 5.0
    silence_s: float = 60.0
    answer_s: float = 60.0
    bytes_per_s_min: float = 64 * 1024  # an answer may take so long beside `answer_s`


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
        patience: Patience = Patience(),
        encryption: str = NOT_ENCRYPTED,
    ) -> None:
        self._bucket, self._credentials, self._clock, self._patience = bucket, credentials, clock, patience
        self._encryption, self._sse = encryption, _sse_of(encryption)
        self._keeps_versions: tuple[float, bool] | None = None  # when it was asked, and what the bucket said
        self._public_url = public_endpoint or f"{'https' if secure else 'http'}://{endpoint}"
        self._client = Minio(
            endpoint,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            region=credentials.region,
            secure=secure,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=patience.connect_s, read=patience.silence_s),
                retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
                maxsize=16,
            ),
        )

    def put(self, key: str, body: bytes | BinaryIO, size_bytes: int) -> None:
        """Store `size_bytes` bytes of `body`; visible whole or not at all."""
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        with _in_words(key):
            self._client.put_object(self._bucket, check_key(key), stream, size_bytes, sse=self._sse)

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
            origin = CopySource(self._bucket, check_key(source))
            self._client.copy_object(self._bucket, check_key(target), origin, sse=self._sse)

    def compose(self, sources: list[str], target: str) -> None:
        """Concatenate inside the server; through here when a part is smaller than the server composes."""
        sizes = [self.stat(source).size_bytes for source in sources]
        if any(size < COMPOSE_PART_BYTES_MIN for size in sizes[:-1]):
            self._concatenate_here(sources, target, sum(sizes))
            return
        with _in_words(target):
            parts = [ComposeSource(self._bucket, check_key(source)) for source in sources]
            self._client.compose_object(self._bucket, check_key(target), parts, sse=self._sse)

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is absent."""
        with _in_words(key):
            self._client.remove_object(self._bucket, check_key(key))

    def erase(self, key: str) -> None:
        """Remove the object with every version of it that the bucket has kept; no error when it is absent."""
        if not self.keeps_versions():
            self.delete(key)
            return
        with _in_words(key):
            versions = self._client.list_objects(self._bucket, prefix=check_key(key), include_version=True)
            for version in versions:
                if version.object_name == key:
                    self._client.remove_object(self._bucket, key, version_id=version.version_id)

    def keeps_versions(self) -> bool:
        """Return whether the bucket keeps what is deleted or written over; asked again every minute."""
        now = time.monotonic()
        if self._keeps_versions is None or now - self._keeps_versions[0] > VERSIONING_KNOWN_S:
            with _in_words(self._bucket):
                status = self._client.get_bucket_versioning(self._bucket).status
            # What was kept before it was suspended is there still.
            self._keeps_versions = (now, status in (ENABLED, SUSPENDED))
        return self._keeps_versions[1]

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
            **({} if self._sse is None else {name.lower(): value for name, value in self._sse.headers().items()}),
        }
        return PresignedRequest("PUT", self._presigned("PUT", key, headers, expires_s), headers)

    def presign_get(self, key: str, *, expires_s: int) -> PresignedRequest:
        """Return an address that gives the object until it expires."""
        return PresignedRequest("GET", self._presigned("GET", key, {}, expires_s))

    def check(self) -> str:
        """Write and remove a small object, and return what the bucket does with objects; raise in words otherwise."""
        with _in_words(self._bucket):
            if not self._client.bucket_exists(self._bucket):
                raise ObjectMissing(f"the S3 server has no bucket {self._bucket}: make it, or correct objects.bucket")
        key = f"check/{new_id()}"
        self.put(key, b"check", 5)
        self.erase(key)
        kept = "keeps versions" if self.keeps_versions() else "keeps no versions"
        return f"answers; {kept}; encryption asked of it: {self._encryption}"

    def ensure_bucket(self, *, versioned: bool = False) -> None:
        """Make the bucket when it is absent; `versioned`: and have it keep versions."""
        with _in_words(self._bucket):
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)
            if versioned:
                self._client.set_bucket_versioning(self._bucket, VersioningConfig(ENABLED))

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
                stream = cast(BinaryIO, whole)
                self._client.put_object(self._bucket, check_key(target), stream, size_bytes, sse=self._sse)

    @contextmanager
    def _open(self, key: str, offset: int, length: int | None) -> Iterator[Iterator[bytes]]:
        if length == 0:  # an empty range cannot be asked for
            self.stat(key)
            yield iter(())
            return
        with _in_words(key):
            response = self._client.get_object(self._bucket, check_key(key), offset=offset, length=length or 0)
        try:
            yield _chunks(response, key, self._patience)
        finally:
            response.close()
            response.release_conn()


def _sse_of(encryption: str) -> Sse | None:
    """Return the encryption as the SDK asks for it: `none`, `sse-s3`, or `sse-kms:` and the id of a key."""
    if encryption == NOT_ENCRYPTED:
        return None
    return SseS3() if encryption == SSE_S3 else SseKMS(encryption.removeprefix(SSE_KMS_PREFIX), {})


def _chunks(response: urllib3.BaseHTTPResponse, key: str, patience: Patience) -> Iterator[bytes]:
    """Yield the body in whole chunks. A server that sends byte after byte is no better than one that is silent."""
    with _in_words(key):
        began_at, received = time.monotonic(), 0
        waited_for_reader_s = 0.0
        chunk = bytearray()
        while piece := response.read1(CHUNK_BYTES - len(chunk)):
            received += len(piece)
            chunk += piece
            took_s = time.monotonic() - began_at - waited_for_reader_s
            if took_s > patience.answer_s + received / patience.bytes_per_s_min:
                raise StoreUnavailable("the S3 server sends too slowly to be waited for")
            if len(chunk) == CHUNK_BYTES:
                paused_at = time.monotonic()
                yield bytes(chunk)
                waited_for_reader_s += time.monotonic() - paused_at
                chunk.clear()
        if chunk:
            yield bytes(chunk)


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
        if exc.code in CONFIGURATION_CODES:
            words = f"the S3 server does not let the hub in ({exc.code}): correct [objects], or the key's rights there"
            raise StoreUnavailable(words) from exc
        raise ObjectRejected(f"the S3 server refuses this ({exc.code})") from exc
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as exc:
        raise StoreUnavailable(f"the S3 server does not answer ({type(exc).__name__})") from exc
