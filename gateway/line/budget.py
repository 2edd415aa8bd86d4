"""Lets the bytes of all uploads out onto the line: in order of their lanes, and not more than the plan allows.

Documents that come home count under the same limit: each asks before every block that it reads.

Used by many threads: each upload asks before every block that it sends. A limit is kept by spacing small blocks evenly,
so that other traffic of the clinic never waits behind a burst; it counts from the next block on, also in the middle of
an upload. While a more urgent upload is on the line, others that must yield get a trickle that keeps their connections
alive. Volatile: everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.line.overtaking import InFlight, Verdict, verdict_on
from gateway.line.plan import Limits
from storage.contract.lanes import Lane, is_more_urgent

BLOCK_BYTES_MIN: Final = 1024
BLOCK_BYTES_MAX: Final = 64 * 1024
BLOCK_S: Final = 0.04  # how much of a limited line one block takes
WAIT_MAX_S: Final = 0.5  # a changed limit is noticed within so long
TRICKLE_BYTES: Final = 1024
TRICKLE_EVERY_S: Final = 4.0
ABORTED_KEPT_MAX: Final = 1000
RETURN_LANE: Final = Lane.URGENT  # reports, which somebody waits for, whatever the lane of their images was


class UploadAborted(Exception):
    """We stopped an upload ourselves; nothing is wrong with pack or line."""


@dataclass(eq=False, slots=True)
class Upload:
    """One upload on the line. `what` names its pack; `study_uid` whose it is."""

    what: Hashable
    study_uid: str
    lane: Lane
    size_bytes: int
    host: str = ""
    aborted: int = 0
    sent_bytes: int = 0
    yields: bool = False
    broken_off: bool = False
    next_trickle_at: float = 0.0
    reserved: tuple[float, int] | None = None  # when its next block may go, in the order of asking, and how long it is

    def in_flight(self) -> InFlight:
        """Return what decides about it."""
        return InFlight(self.lane, self.size_bytes, self.sent_bytes, self.aborted)


@dataclass(slots=True)
class _Counts:
    sent_bytes: int = 0
    held_back: bool = False  # a limit has made somebody wait since the last look
    aborted: dict[Hashable, int] = field(default_factory=dict)


class LineBudget:
    """Everything that is on the line now. `set_limits` whenever they change."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._limits = Limits()
        self._uploads: list[Upload] = []
        self._free_at = 0.0
        self._counts = _Counts()
        self._closed = False

    @property
    def limits(self) -> Limits:
        """What counts now."""
        return self._limits

    def set_limits(self, limits: Limits) -> None:
        """Have these count from the next block on; a pause breaks off what is on the line."""
        with self._changed:
            if limits == self._limits:
                return
            self._limits = limits
            self._free_at = min(self._free_at, self._monotonic())
            for upload in self._uploads:
                upload.reserved = None
            self._changed.notify_all()
        if limits.paused:
            self.abort(lambda _: True)

    def close(self) -> None:
        """Break off everything and let nothing begin."""
        with self._changed:
            self._closed = True
        self.abort(lambda _: True)

    def abort(self, chosen: Callable[[Upload], bool]) -> None:
        """Break off the chosen uploads; their threads see UploadAborted."""
        with self._changed:
            for upload in self._uploads:
                upload.broken_off |= chosen(upload)
            self._changed.notify_all()

    def on_line(self) -> list[Upload]:
        """Return the uploads that are on the line now."""
        with self._changed:
            return list(self._uploads)

    def take_counts(self) -> tuple[int, bool]:
        """Return how many bytes have been let out so far, and whether a limit made any wait since the last call."""
        with self._changed:
            held_back, self._counts.held_back = self._counts.held_back, False
            return self._counts.sent_bytes, held_back

    @contextmanager
    def upload(
        self,
        what: Hashable,
        study_uid: str,
        lane: Lane,
        size_bytes: int,
        *,
        host: str = "",
        urgent_bytes: int = 0,
        bytes_per_s: float | None = None,
    ) -> Iterator[Upload]:
        """Put an upload on the line while the block runs; less urgent ones finish, yield or are broken off.

        `urgent_bytes` is how much of this lane waits for the line altogether, `bytes_per_s` how fast that is.
        """
        with self._changed:
            if self._closed:
                raise UploadAborted
            mine = Upload(what, study_uid, lane, size_bytes, host, self._counts.aborted.get(what, 0))
            self._uploads.append(mine)
            self._overtake(mine, max(urgent_bytes, size_bytes), bytes_per_s)
            self._changed.notify_all()
        try:
            yield mine
            with self._changed:
                self._counts.aborted.pop(what, None)
        finally:
            with self._changed:
                self._uploads.remove(mine)
                self._let_go_on()
                self._changed.notify_all()

    def take(self, upload: Upload, wanted_bytes: int) -> int:
        """Wait until the upload may send its next block, and return how long it may be: 1 to `wanted_bytes` bytes.

        Raises:
            UploadAborted: it was broken off.
        """
        with self._changed:
            while True:
                if upload.broken_off:
                    raise UploadAborted
                now = self._monotonic()
                granted, wait_s = self._next_block(upload, wanted_bytes, now)
                if granted:
                    upload.sent_bytes += granted
                    self._counts.sent_bytes += granted
                    return granted
                self._changed.wait(min(wait_s, WAIT_MAX_S))

    def take_return(self, wanted_bytes: int) -> int:
        """Wait until a document on its way home may bring its next block, and return how long it may be.

        The limit is that of uploads, shared with them. A pause does not count, for reports still come home, and on a
        closed line nothing waits.
        """
        mine = Upload("return", "", RETURN_LANE, wanted_bytes)
        with self._changed:
            while not self._closed:
                granted, wait_s = self._next_block(mine, wanted_bytes, self._monotonic())
                if granted:
                    return granted
                self._changed.wait(min(wait_s, WAIT_MAX_S))
        return wanted_bytes

    def _next_block(self, upload: Upload, wanted_bytes: int, now: float) -> tuple[int, float]:
        if upload.yields:
            if now < upload.next_trickle_at:
                return 0, upload.next_trickle_at - now
            upload.next_trickle_at = now + TRICKLE_EVERY_S
            return min(wanted_bytes, TRICKLE_BYTES), 0.0
        limit = self._limits.of(upload.lane)
        if limit is None:
            return min(wanted_bytes, BLOCK_BYTES_MAX), 0.0
        if upload.reserved is None:
            block = int(min(max(limit * BLOCK_S, BLOCK_BYTES_MIN), BLOCK_BYTES_MAX, wanted_bytes))
            # Who comes a little late may catch up, so that the limit is reached; an idle line saves nothing up.
            at = max(self._free_at, now - BLOCK_S)
            self._free_at = at + block / limit
            upload.reserved = (at, block)
        at, block = upload.reserved
        if now < at:
            self._counts.held_back = True
            return 0, at - now
        upload.reserved = None
        return min(block, wanted_bytes), 0.0

    def _overtake(self, mine: Upload, urgent_bytes: int, bytes_per_s: float | None) -> None:
        for other in self._uploads:
            if other.yields or other.broken_off or not is_more_urgent(mine.lane, other.lane):
                continue
            verdict = verdict_on(other.in_flight(), mine.lane, urgent_bytes, bytes_per_s)
            if verdict is Verdict.ABORT:
                other.broken_off = True
                if len(self._counts.aborted) >= ABORTED_KEPT_MAX:
                    self._counts.aborted.clear()
                self._counts.aborted[other.what] = other.aborted + 1
            elif verdict is Verdict.YIELD:
                other.yields = True
                other.next_trickle_at = self._monotonic() + TRICKLE_EVERY_S

    def _let_go_on(self) -> None:
        """Give the line back to those that yielded to an upload that is over."""
        for upload in self._uploads:
            upload.yields &= any(is_more_urgent(other.lane, upload.lane) for other in self._uploads)


class MeteredBody:
    """A pack as `http.client` reads it: each block is let out by the budget."""

    def __init__(self, read: Callable[[int], bytes], budget: LineBudget, upload: Upload) -> None:
        self._read = read
        self._budget = budget
        self._upload = upload

    def read(self, size: int = -1) -> bytes:
        """Return the next block, empty at the end; waits for the line. Raises UploadAborted."""
        left = self._upload.size_bytes - self._upload.sent_bytes
        if left <= 0:
            return b""
        wanted = left if size < 0 else min(size, left)
        return self._read(self._budget.take(self._upload, wanted))
