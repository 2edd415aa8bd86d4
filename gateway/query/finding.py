"""C-FIND as SCP (PS3.4 section C.4.1). Durable: nothing; refusals become lines in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from gateway.journal.holdings import Holdings
from gateway.peers import Permission
from gateway.query.answers import make_answer
from gateway.query.identifier import Identifier, IdentifierUnusable, check_hierarchy, read_identifier
from gateway.query.levels import MODELS, find_model
from gateway.query.matching import KeyUnusable
from gateway.query.searching import search
from gateway.scp.services import Caller, DicomService

log = structlog.get_logger(__name__)

PENDING: Final = 0xFF00
PENDING_WITHOUT_SOME_KEYS: Final = 0xFF01
CANCELLED: Final = 0xFE00
OUT_OF_RESOURCES: Final = 0xA700
IDENTIFIER_MISMATCH: Final = 0xA900
UNABLE_TO_PROCESS: Final = 0xC001
CORRECT_THE_QUERY: Final = "Correct the query on the workstation; gateway/scp/CONFORMANCE.md lists what can be asked."

Response = tuple[int | Dataset, Dataset | None]


class FindService:
    """Answers queries over these holdings; at most `matches_max` answers to one."""

    def __init__(self, holdings: Holdings, *, own_ae_title: str, matches_max: int) -> None:
        self._holdings = holdings
        self._own_ae_title = own_ae_title
        self._matches_max = matches_max

    def service(self) -> DicomService:
        """Return what the listener needs to know."""
        return DicomService(
            name="Query",
            permission=Permission.QUERY,
            sop_classes=frozenset(model.find for model in MODELS),
            handlers={evt.EVT_C_FIND: self._on_find},
        )

    def _on_find(self, event: Any, caller: Caller) -> Iterator[Response]:
        try:
            identifier = self._read(event, caller)
            rows = search(self._holdings, identifier)
        except (IdentifierUnusable, KeyUnusable) as exc:
            yield _refuse(caller, IDENTIFIER_MISMATCH, str(exc), CORRECT_THE_QUERY), None
            return
        except Exception:  # noqa: BLE001 -- pydicom raises anything on bytes from outside; none of it may reach a log
            yield _refuse(caller, UNABLE_TO_PROCESS, "The query cannot be read as DICOM", CORRECT_THE_QUERY), None
            return
        found = 0
        status = PENDING_WITHOUT_SOME_KEYS if identifier.has_unsupported else PENDING
        for row in rows:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            if row is None:
                continue
            if found >= self._matches_max:
                words = f"More than {self._matches_max} matches, narrow the query"
                yield _refuse(caller, OUT_OF_RESOURCES, words, "Narrow the query, or raise matches_max."), None
                return
            found += 1
            yield status, make_answer(identifier, row, self._own_ae_title, caller.peer.character_set)
        log.info("query_answered", association_id=caller.association_id, level=identifier.level, matches=found)

    def _read(self, event: Any, caller: Caller) -> Identifier:
        model = find_model(event.context.abstract_syntax)
        identifier = read_identifier(event.identifier, model, caller.peer.character_set)
        check_hierarchy(identifier, model)
        return identifier


def _refuse(caller: Caller, status: int, words: str, remedy: str) -> Dataset:
    caller.refuse(status, words, remedy)
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, words[:64]
    return answer
