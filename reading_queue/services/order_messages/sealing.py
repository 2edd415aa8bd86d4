"""Messages as they lie in the database: AES-256-GCM under a key that the hub's key file derives, bound to their digest.

Durable as the row that holds them; without the key file nobody reads them.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from reading_queue.services.hub import KeyWrapper

PURPOSE: Final = "order messages"
NONCE_BYTES: Final = 12


class MessageSealed(Exception):
    """The message was altered, or kept under another key file."""


def seal(keys: KeyWrapper, content: bytes, digest: str) -> bytes:
    """Return the message encrypted and authenticated; `digest` is that of its row."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(keys.derive(PURPOSE)).encrypt(nonce, content, digest.encode())


def unseal(keys: KeyWrapper, sealed: bytes, digest: str) -> bytes:
    """Return the message as it came. Raises MessageSealed."""
    try:
        return AESGCM(keys.derive(PURPOSE)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], digest.encode())
    except (InvalidTag, ValueError) as exc:
        raise MessageSealed from exc
