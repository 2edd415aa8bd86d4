"""Where a page of a list ends, so that the next begins behind it whatever is added meanwhile. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Place:
    """The moment and the id of a row, by which its list is ordered."""

    at: datetime
    key: str

    def text(self) -> str:
        """Return the place as one word, into which a client reads nothing: base64url without padding."""
        return base64.urlsafe_b64encode(f"{self.at.isoformat()} {self.key}".encode()).rstrip(b"=").decode()

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the place that `text` was made of. Raises ValueError."""
        given = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        at, space, key = given.decode().partition(" ")
        moment = datetime.fromisoformat(at)
        if not space or moment.tzinfo is None or not key.isprintable():
            raise ValueError("this is no place in a list")
        return cls(moment, key)
