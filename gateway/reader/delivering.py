"""C-STORE of claimed cases to one PACS of the hospital (PS3.4 annex B).

Durable: which packs the PACS has taken whole. Volatile: the association. A pack that broke off is sent again from its
beginning; a PACS takes the same SOP Instance UID as the same object. Never gives up while the case is held.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from sqlite3 import Row
from typing import Final

import structlog

from gateway.backoff import FIRST_DELAY_S, delay_s
from gateway.journal import reader_cases as journal_of
from gateway.journal.database import Journal
from gateway.peers import CallBack
from gateway.reader.copies import path_of
from gateway.scu import Destination, Offer, PeerUnavailable, associated, contexts_for, store_instance
from gateway.spool import layout
from gateway.spool.spool import Spool
from gateway.targets import PacsTarget
from storage.tls import Credentials

log = structlog.get_logger(__name__)

IDLE_S: Final = 30.0
REFUSED_FIRST_S: Final = 30.0
REFUSED_MAX_S: Final = 3600.0
MESSAGE_ID_MAX: Final = 65_535


class PacsDelivery:
    """The queue of one target, as one step of a `Loop`."""

    def __init__(
        self,
        journal: Journal,
        spool: Spool,
        target: PacsTarget,
        *,
        calling_ae_title: str,
        credentials: Credentials | None,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._target = target.target
        call_back = CallBack(target.host, target.port, target.timeout_s, target.tls, target.tls_server_name)
        self._destination = Destination.of(target.ae_title, call_back, credentials)
        self._calling_ae_title = calling_ae_title
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock

    def step(self) -> float:
        """Send every pack that is due; return the seconds to wait."""
        for row in journal_of.due_deliveries(self._journal, self._target, self._clock()):
            first_s, max_s, code = FIRST_DELAY_S, self._retry_delay_max_s, "pacs_unavailable"
            is_away = False
            try:
                problem = self._send(row)
                first_s, max_s, code = REFUSED_FIRST_S, REFUSED_MAX_S, "pacs_refused"
            except FileNotFoundError:
                continue  # the claim ended meanwhile, and the copy is gone
            except PeerUnavailable as exc:
                problem, is_away = str(exc), True
            now = self._clock()
            jitter = random.random()  # noqa: S311 -- no secret
            wait_s = delay_s(row["attempts"] + 1, timedelta(0), jitter, first_s=first_s, max_s=max_s)
            again = now + timedelta(seconds=wait_s)
            journal_of.note_delivery(self._journal, row, problem, code, again, now)
            log.info("reader_pack_sent", pack_id=row["pack_id"], target=self._target, taken=not problem)
            if is_away:
                break  # the others would wait for it in vain, one timeout each
        is_waiting = journal_of.has_waiting_deliveries(self._journal, self._target)
        return min(self._retry_delay_max_s, IDLE_S) if is_waiting else IDLE_S

    def _send(self, row: Row) -> str:
        """Send one pack; return the first refusal in words, empty when every instance was taken."""
        task_id, pack_id = row["reading_task_id"], row["pack_id"]
        instances = journal_of.instances_of_pack(self._journal, task_id, pack_id)
        syntaxes: dict[str, set[str]] = {}
        for one in instances:
            syntaxes.setdefault(one["sop_class_uid"], set()).add(one["transfer_syntax_uid"])
        offers = [Offer(uid, frozenset(of_class)) for uid, of_class in sorted(syntaxes.items())]
        contexts = [context for offer in offers for context in contexts_for(offer)]
        problem = ""
        scratch = self._spool.root / layout.TMP
        with associated(self._destination, self._calling_ae_title, contexts) as association:
            for number, one in enumerate(instances):
                uid = one["sop_instance_uid"]
                with path_of(self._spool.root, task_id, pack_id, uid).open("rb") as file:
                    outcome = store_instance(
                        association, one["sop_class_uid"], uid, file, number % MESSAGE_ID_MAX + 1, scratch=scratch
                    )
                if outcome.problem and not problem:
                    problem = f"Instance {uid} to {self._destination}: {outcome.problem}"
        return problem
