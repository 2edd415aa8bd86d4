"""Frames of the Minimal Lower Layer Protocol (HL7 2.5.1 appendix C; IHE ITI TF-2 C.2). Pure.

A frame is VT, the message, FS, CR. What stands before a VT is no message and is dropped, which `has_dropped` tells: so
is a message that was broken off, whose patient must never come before the order of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c\r"
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
READ_BYTES: Final = 64 * 1024
HEAD_BYTES: Final = 16 * 1024  # of a message that is too long: enough for its header
UNFRAMED: Final = "what came is in no frame of MLLP: each message must begin with VT (0B) and end with FS CR (1C 0D)"
_BETWEEN: Final = b"\r\n \x00"  # what many put between frames
CUT: Final = START  # ends what is kept of it; no whole message holds one


class FrameTooLong(ValueError):
    """The peer sends more without end than one message may have. `before`: messages that were whole before it.

    `head` is how the long one begins, and ends with CUT, so that nobody takes it for a message.
    """

    def __init__(self, words: str, before: Sequence[bytes] = (), head: bytes = b"") -> None:
        super().__init__(words)
        self.before = tuple(before)
        self.head = head


def frame(message: bytes) -> bytes:
    """Return the message as it goes over the wire."""
    return START + message + END


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._searched = 0
        self.has_dropped = False  # something came that was in no frame

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that these bytes complete; raises FrameTooLong."""
        self._buffer += data
        found: list[bytes] = []
        while (message := self._next()) is not None:
            found.append(message)
        if len(self._buffer) > self._bytes_max:
            head = bytes(self._buffer[1 : 1 + HEAD_BYTES]) + CUT
            raise FrameTooLong(f"a message of more than {self._bytes_max} bytes", found, head)
        return found

    def skip(self, data: bytes) -> bytes | None:
        """Drop the message that is too long; return what stands after its end, None while that has not come.

        `data`: what came after `feed` raised. At most one byte of the long message stays in memory.
        """
        self._buffer += data
        end = self._buffer.find(END)
        if end < 0:
            self._buffer = self._buffer[-1:]
            return None
        rest = bytes(self._buffer[end + len(END) :])
        self._buffer.clear()
        self._searched = 0
        return rest

    @property
    def in_message(self) -> bool:
        """Return whether a message has begun that has not ended."""
        return bool(self._buffer)

    def _next(self) -> bytes | None:
        start = self._buffer.find(START)
        outside = self._buffer if start < 0 else self._buffer[:start]
        self.has_dropped = self.has_dropped or bool(outside.strip(_BETWEEN))
        if start < 0:
            self._buffer.clear()
            return None
        del self._buffer[:start]
        self._searched = 0 if start else self._searched
        end = self._buffer.find(END, max(self._searched, 1))
        if end < 0:
            self._searched = max(len(self._buffer) - 1, 1)
            return None
        message = bytes(self._buffer[self._buffer.rfind(START, 0, end) + 1 : end])
        del self._buffer[: end + len(END)]
        self._searched = 0
        return message
