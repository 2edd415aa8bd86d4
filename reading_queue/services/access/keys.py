"""Private keys of the hub and of physicians: made here, kept wrapped, used here, never handed out.

Durable: the key file (one 32-byte secret, 0600, beside the hub's data) and the rows of `signing_keys`, whose private
halves only that file can open. Whoever loses the file cannot sign with the old keys any more, but everything signed
stays verifiable: public keys are plain. Nothing here is volatile; a restart changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import SigningKey
from reading_queue.services.hub import Hub
from storage.contract.identifiers import new_id
from storage.contract.signing import base64url_text

HUB_OWNER = "hub"
ALGORITHM = "Ed25519"

_MASTER_BYTES = 32
_NONCE_BYTES = 12
_WRAP_FORMAT = b"counterpart-wrap-1"


class KeyFileDamaged(Exception):
    """The key file is not one that this program wrote."""


@dataclass(frozen=True, slots=True)
class Signature:
    """`value`: base64url without padding, Ed25519 (RFC 8032) by the key `key_id`."""

    key_id: str
    value: str


class KeyFile:
    """A KeyWrapper backed by one file, which is created on first use and readable by its owner only.

    Wraps with AES-256-GCM; derives with HKDF-SHA256 (RFC 5869).
    """

    def __init__(self, path: Path) -> None:
        """Read the key of `path`, creating it when there is none.

        Raises:
            KeyFileDamaged: the file does not hold a key.
        """
        if not path.exists():
            _create_key_file(path)
        self._master = path.read_bytes()
        if len(self._master) != _MASTER_BYTES:
            raise KeyFileDamaged(f"{path} does not hold a key of {_MASTER_BYTES} bytes: restore it from a backup")

    def wrap(self, secret: bytes) -> bytes:
        """Return `secret` encrypted and authenticated."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, secret, _WRAP_FORMAT)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the secret; raises ValueError when it was altered or wrapped by another key."""
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return self._cipher().decrypt(nonce, sealed, _WRAP_FORMAT)
        except (InvalidTag, ValueError) as exc:
            raise ValueError("this secret was altered, or was wrapped by another key file") from exc

    def derive(self, purpose: str) -> bytes:
        """Return a 32-byte secret bound to `purpose`."""
        info = b"counterpart-derive-1:" + purpose.encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._master)

    def _cipher(self) -> AESGCM:
        return AESGCM(self.derive("wrap"))


def ensure_signing_key(session: Session, hub: Hub, owner: str) -> SigningKey:
    """Return the key in force of `owner` (HUB_OWNER or a physician id), making it the first time.

    Two transactions that ask at once get the same key: the second waits for the first.
    """
    key = _find_key(session, owner)
    if key is None:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("signing_keys"), func.hashtext(owner))))
        key = _find_key(session, owner) or _make_key(session, hub, owner)
    return key


def sign_as(session: Session, hub: Hub, owner: str, data: bytes) -> Signature:
    """Return the signature of `owner` over `data`; the caller has made sure that the owner wants it."""
    key = ensure_signing_key(session, hub, owner)
    private = Ed25519PrivateKey.from_private_bytes(hub.keys.unwrap(key.wrapped_private_key))
    return Signature(key_id=key.key_id, value=base64url_text(private.sign(data)))


def sign_as_hub(hub: Hub, data: bytes) -> tuple[str, str]:
    """Return (key id, signature as base64url) of the hub over `data`, in a transaction of its own."""
    with hub.transaction() as session:
        signature = sign_as(session, hub, HUB_OWNER, data)
    return signature.key_id, signature.value


def hub_key(hub: Hub) -> tuple[str, str]:
    """Return (key id, public key as base64url) with which the hub signs what it sends."""
    with hub.transaction() as session:
        key = ensure_signing_key(session, hub, HUB_OWNER)
        return key.key_id, public_key_text(key)


def public_key_text(key: SigningKey) -> str:
    """Return the raw public key as base64url without padding, 43 characters."""
    return base64url_text(key.public_key)


def _find_key(session: Session, owner: str) -> SigningKey | None:
    in_force = select(SigningKey).where(SigningKey.owner == owner, SigningKey.retired_at.is_(None))
    return session.scalars(in_force.order_by(SigningKey.created_at.desc()).limit(1)).one_or_none()


def _make_key(session: Session, hub: Hub, owner: str) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    key = SigningKey(
        key_id=new_id(),
        owner=owner,
        algorithm=ALGORITHM,
        public_key=private.public_key().public_bytes_raw(),
        wrapped_private_key=hub.keys.wrap(private.private_bytes_raw()),
        created_at=hub.clock(),
        retired_at=None,
    )
    session.add(key)
    session.flush()
    return key


def _create_key_file(path: Path) -> None:
    """Write a fresh key; of several processes at once the first wins and the others read its key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{new_id()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, os.urandom(_MASTER_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return  # another process was first; its key is the key
    finally:
        fresh.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
