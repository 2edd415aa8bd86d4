"""Opens the gateway's own instances where they lie now. Durable: nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import BinaryIO, Final

from gateway.errors import InstanceNotInSpool
from gateway.journal.database import Journal
from gateway.journal.holdings import HeldInstance, find_place
from gateway.spool.spool import Spool

LOOKS_FOR_FILE_MAX: Final = 3  # a study moves through the spool while it is read


class OwnFiles:
    """The spool, as a retrieval sees it."""

    def __init__(self, journal: Journal, spool: Spool) -> None:
        self._journal = journal
        self._spool = spool

    def open(self, held: HeldInstance) -> BinaryIO | None:
        """Open the instance's file, None when it is gone; it may move on between the look and the opening."""
        for _ in range(LOOKS_FOR_FILE_MAX):
            place = find_place(self._journal, held.sop_instance_uid)
            if place is None:
                return None
            state, revision = place
            with suppress(InstanceNotInSpool), self._spool.locked(held.study_uid):
                return self._spool.open_instance(held.sop_instance_uid, held.study_uid, revision, state)
        return None
