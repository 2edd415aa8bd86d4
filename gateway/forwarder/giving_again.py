"""What the hub has lost of a study is given once more, from the originals that are still kept here.

Durable: files that have moved back among the ready, then the transfer that is to be declared again; a crash between the
two undoes the move at the next start, and the hub tells of the damage until it was heard to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from gateway.journal.accounts import HUB
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.instances import instances_of, place_transfer
from gateway.journal.transfers import TransferKey, find_confirmed_at, forget_declaration
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid

log = structlog.get_logger(__name__)


class GivingAgain:
    """Has confirmed transfers of a study declared once more; the hub asks for what it needs of them."""

    def __init__(self, journal: Journal, spool: Spool, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._spool = spool
        self._clock = clock

    def give(self, study_uid: Uid) -> int:
        """Return how many transfers are on their way again; none when the keep period is over."""
        given = 0
        for revision in sorted(self._spool.revisions_of(study_uid)):
            given += self._give(TransferKey(study_uid, revision))
        return given

    def _give(self, key: TransferKey) -> bool:
        with self._spool.locked(key.study_uid):
            kept = instances_of(self._journal, key.study_uid, SpoolState.SENT, key.revision)
            if not kept or find_confirmed_at(self._journal, key) is None:
                return False
            self._spool.move_back_to_ready(key.study_uid, key.revision)
            with self._journal.transaction() as connection:
                forget_declaration(connection, key)
                place_transfer(connection, key.study_uid, key.revision, SpoolState.READY)
                # Which also has it sent now.
                record_action(connection, self._clock(), HUB, "given_again", key.study_uid, revision=key.revision)
        log.warning("transfer_given_again", study_uid=key.study_uid, revision=key.revision, instances=len(kept))
        return True
