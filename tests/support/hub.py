"""Stand-ins for parts of the hub that tests need small."""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class KeysInMemory:
    """A KeyWrapper whose key lives as long as the test."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def wrap(self, secret: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(self._key).encrypt(nonce, secret, None)

    def unwrap(self, wrapped: bytes) -> bytes:
        try:
            return AESGCM(self._key).decrypt(wrapped[:12], wrapped[12:], None)
        except InvalidTag as exc:
            raise ValueError("altered, or wrapped by another key") from exc

    def derive(self, purpose: str) -> bytes:
        return hmac.digest(self._key, purpose.encode(), hashlib.sha256)
