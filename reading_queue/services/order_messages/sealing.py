"""Words that only the hub reads again: AES-256-GCM under a key that the hub's key file derives for one purpose.

Order messages lie so in the database, bound to their digest: durable as the row that holds them, and without the key
file nobody reads them. What a search asked for goes so through an address, bound to whoever asked.
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


def seal(keys: KeyWrapper, content: bytes, bound_to: str, *, purpose: str = PURPOSE) -> bytes:
    """Return the words encrypted and authenticated; of a message, `bound_to` is the digest of its row."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(keys.derive(purpose)).encrypt(nonce, content, bound_to.encode())


def unseal(keys: KeyWrapper, sealed: bytes, bound_to: str, *, purpose: str = PURPOSE) -> bytes:
    """Return the words as they came. Raises MessageSealed."""
    try:
        return AESGCM(keys.derive(purpose)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to.encode())
    except (InvalidTag, ValueError) as exc:
        raise MessageSealed from exc
