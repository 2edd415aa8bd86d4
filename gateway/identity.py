"""The gateway's own key and its enrolment at the hub.

Durable: the private key in `spool_dir/identity.key` (owner only), fsynced before the hub hears of it; the hub's
answer in the journal. On restart both are read again. An enrolment that broke off is repeated with the same key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from gateway.hub import HubClient, SigningIdentity
from gateway.journal.database import Journal
from gateway.journal.identity import Identity, find_identity, save_identity
from storage.contract.signing import GatewayKey
from storage.contract.wire import EnrolmentRequest

KEY_FILE_NAME: Final = "identity.key"
DISTRIBUTION: Final = "counterpart-imaging"
_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077


class AlreadyEnrolled(Exception):
    """This gateway has an identity; a second one would leave its studies without an owner."""


class CodeMalformed(Exception):
    """What was typed cannot be an enrolment code."""


class IdentityKeyUnusable(Exception):
    """The key file is missing, unreadable, or open to other users of this machine."""


def enrol(
    journal: Journal, spool_dir: Path, client: HubClient, code: str, *, clock: Callable[[], datetime]
) -> Identity:
    """Exchange a one-time code for this gateway's identity and record it.

    Raises:
        AlreadyEnrolled: the journal holds an identity.
        CodeMalformed: the hub was not even asked.
        HubRefused: the code is wrong, used or expired.
        HubUnreachable, HubBusy: try again with the same code.
    """
    enrolled = find_identity(journal)
    if enrolled is not None:
        raise AlreadyEnrolled(f"this gateway is enrolled for site {enrolled.site_id} as {enrolled.gateway_id}")
    key_path = spool_dir / KEY_FILE_NAME
    key = load_key(key_path) if key_path.exists() else _create_key(key_path)
    try:
        request = EnrolmentRequest(code=code, public_key=key.public_text(), software_version=version(DISTRIBUTION))
    except ValidationError as exc:
        raise CodeMalformed("This is no enrolment code: type it as the hub's administrator gave it") from exc
    save_identity(journal, client.enrol(request), clock())
    identity = find_identity(journal)
    if identity is None:
        raise AssertionError("the identity was saved a moment ago")
    return identity


def load_signing_identity(journal: Journal, spool_dir: Path) -> tuple[Identity, SigningIdentity] | None:
    """Return who this gateway is and what it signs with, None before enrolment."""
    identity = find_identity(journal)
    if identity is None:
        return None
    key = load_key(spool_dir / KEY_FILE_NAME)
    return identity, SigningIdentity(key=key, key_id=identity.gateway_id, audience=identity.audience)


def load_key(path: Path) -> GatewayKey:
    """Return the private key in the file at `path` (PKCS #8, PEM), which only its owner may read."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise IdentityKeyUnusable(f"{path} can be read by other users: chmod 600 it")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as exc:
        raise IdentityKeyUnusable(f"{path} cannot be read ({exc.strerror})") from exc
    except ValueError as exc:
        raise IdentityKeyUnusable(f"{path} does not hold a private key") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityKeyUnusable(f"{path} does not hold an Ed25519 key")
    return GatewayKey(key)


def _create_key(path: Path) -> GatewayKey:
    """Make a key and bring it to the disk, whole or not at all."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return GatewayKey(key)
