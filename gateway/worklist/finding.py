"""The worklist as SCP (PS3.4 section K.4.1). Durable: nothing; refusals become lines in words.

On the worklist are the orders of the last `days_back` days and of the future whose examination has not been done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from gateway.journal.database import Journal
from gateway.journal.orders import OPEN_STATES, list_orders
from gateway.peers import Permission
from gateway.query.matching import KeyUnusable
from gateway.scp.services import Caller, DicomService
from gateway.worklist.answers import has_unsupported, make_answer
from gateway.worklist.items import Item, make_item
from gateway.worklist.keys import QueryUnusable, Question, compile_question, read_question

log = structlog.get_logger(__name__)

MODALITY_WORKLIST: Final = "1.2.840.10008.5.1.4.31"
PENDING: Final = 0xFF00
PENDING_WITHOUT_SOME_KEYS: Final = 0xFF01
CANCELLED: Final = 0xFE00
OUT_OF_RESOURCES: Final = 0xA700
IDENTIFIER_MISMATCH: Final = 0xA900
UNABLE_TO_PROCESS: Final = 0xC001
ORDERS_READ_MAX: Final = 20_000
CORRECT_THE_QUERY: Final = "Correct the device's worklist query; gateway/scp/CONFORMANCE.md lists what can be asked."

Response = tuple[int | Dataset, Dataset | None]


class WorklistService:
    """Answers scanners from the journal; `zone` is the clinic's."""

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        zone: tzinfo,
        matches_max: int,
        days_back: float,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._zone = zone
        self._matches_max = matches_max
        self._days_back = timedelta(days=days_back)

    def service(self) -> DicomService:
        """Return what the listener needs to know."""
        return DicomService(
            name="Modality Worklist",
            permission=Permission.WORKLIST,
            sop_classes=frozenset({MODALITY_WORKLIST}),
            handlers={evt.EVT_C_FIND: self._on_find},
        )

    def _on_find(self, event: Any, caller: Caller) -> Iterator[Response]:
        try:
            question = read_question(event.identifier, caller.peer.character_set)
            matches = compile_question(question)
        except (QueryUnusable, KeyUnusable) as exc:
            yield _refuse(caller, IDENTIFIER_MISMATCH, str(exc), CORRECT_THE_QUERY), None
            return
        except Exception:  # noqa: BLE001 -- pydicom raises anything on bytes from outside; none of it may reach a log
            words = "The worklist query cannot be read as DICOM"
            yield _refuse(caller, UNABLE_TO_PROCESS, words, CORRECT_THE_QUERY), None
            return
        found = 0
        for item in self._items(_asking_station(question) or caller.ae_title):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            if not matches(item):
                continue
            if found >= self._matches_max:
                words = f"More than {self._matches_max} matches, narrow the query"
                remedy = "Have the device ask for its own modality and for today, or raise matches_max."
                yield _refuse(caller, OUT_OF_RESOURCES, words, remedy), None
                return
            found += 1
            status = PENDING_WITHOUT_SOME_KEYS if has_unsupported(item, question.wanted) else PENDING
            yield status, make_answer(question, item, caller.peer.character_set)
        log.info("worklist_answered", association_id=caller.association_id, matches=found)

    def _items(self, station_ae_title: str) -> Iterator[Item]:
        since = self._clock() - self._days_back
        for row in list_orders(self._journal, since=since, states=OPEN_STATES, limit=ORDERS_READ_MAX):
            yield make_item(row.order, self._zone, station_ae_title)


def _asking_station(question: Question) -> str | None:
    """Return the one station that the query names, at which an order for any device may be done."""
    station = question.step_values.get("ScheduledStationAETitle", "")
    return station if station and not any(mark in station for mark in "*?\\") else None


def _refuse(caller: Caller, status: int, words: str, remedy: str) -> Dataset:
    caller.refuse(status, words, remedy)
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, words[:64]
    return answer
