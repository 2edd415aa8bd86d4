"""Nonces the hub has given and this gateway has not spent yet. Volatile: a lost one costs one request."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

NONCES_KEPT_MAX: Final = 16
NONCE_USABLE_S: Final = 120.0  # well below what the hub accepts


class NonceStore:
    """The freshest nonces; each is handed out once. `monotonic` returns seconds of a clock that never jumps."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: deque[tuple[str, float]] = deque(maxlen=NONCES_KEPT_MAX)

    def keep(self, nonce: str) -> None:
        """Remember a nonce from an answer."""
        with self._lock:
            self._kept.append((nonce, self._monotonic()))

    def take(self) -> str | None:
        """Return an unspent nonce, None when there is none that is fresh enough."""
        with self._lock:
            if not self._kept:
                return None
            nonce, kept_at = self._kept.pop()
            if self._monotonic() - kept_at > NONCE_USABLE_S:
                self._kept.clear()  # the others are older still
                return None
            return nonce

    def forget(self) -> None:
        """Drop every kept nonce: the hub refused one."""
        with self._lock:
            self._kept.clear()
