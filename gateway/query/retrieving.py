"""C-MOVE and C-GET as SCP (PS3.4 sections C.4.2 and C.4.3), taken over whole from pynetdicom, which would read every
object into memory and write it anew.

Durable: nothing. An instance is read from its file as the line takes it, in a syntax that the receiver accepts; one
that leaves the spool meanwhile is a failed sub-operation. What fails is told to the asker and becomes a line in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import structlog
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import decode
from pynetdicom.presentation import PresentationContext

from gateway.journal.holdings import HeldInstance, Holdings
from gateway.peers import Permission
from gateway.query.identifier import IdentifierUnusable, check_retrieval, read_identifier
from gateway.query.levels import MODELS, find_model
from gateway.query.matching import KeyUnusable
from gateway.query.searching import narrow
from gateway.query.suboperations import CANCELLED, NONE_DONE, Responder, Tally
from gateway.query.turns import Turns
from gateway.scp.services import Caller, DicomService
from gateway.scu import Destination, Offer, PeerUnavailable, StoreOutcome, associated, contexts_for, store_instance
from gateway.scu.association import CONTEXTS_MAX

log = structlog.get_logger(__name__)

SUBOPERATIONS_MAX: Final = 65_535  # counts are US
DESTINATION_UNKNOWN: Final = 0xA801
IDENTIFIER_MISMATCH: Final = 0xA900
TOO_MANY: Final = 0xA701
UNABLE_TO_PROCESS: Final = 0xC001
WAITING_EVERY_S: Final = 5.0
MESSAGE_ID_MAX: Final = 65_535
_LOW: Final = 2
_RANKS: Final = {1: 0, 0: 1, 2: 2}  # Priority (0000,0700): high, medium, low
NOT_HERE: Final = StoreOutcome(0x0110, "it is not in the gateway any more")
CORRECT_THE_REQUEST: Final = "Correct the request on the workstation; gateway/scp/CONFORMANCE.md lists what it may be."


@dataclass(frozen=True, slots=True)
class _Errand:
    """One retrieval under way. `originator`: AE title and Message ID of a C-MOVE."""

    responder: Responder
    tally: Tally
    priority: int
    originator: tuple[str, int] | None = None

    @property
    def has_ended(self) -> bool:
        return self.responder.is_cancelled or self.responder.is_gone


class _Refused(Exception):
    def __init__(self, status: int, words: str, remedy: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.remedy = remedy


class RetrieveService:
    """Sends of these holdings: to `destinations` by C-MOVE, to the asker itself by C-GET.

    `open_file` gives an instance's file, None when it is gone; `scratch` is where one is written in another syntax.
    """

    def __init__(
        self,
        holdings: Holdings,
        open_file: Callable[[HeldInstance], BinaryIO | None],
        destinations: Mapping[str, Destination],
        *,
        scratch: Path,
        own_ae_title: str,
        retrieves_max: int,
    ) -> None:
        self._holdings = holdings
        self._open_file = open_file
        self._destinations = destinations
        self._own_ae_title = own_ae_title
        self._turns = Turns(retrieves_max)
        self._scratch = scratch

    def services(self) -> list[DicomService]:
        """Return what the listener needs to know."""
        return [
            DicomService(
                name="Retrieve (C-MOVE)",
                permission=Permission.RETRIEVE,
                sop_classes=frozenset(model.move for model in MODELS),
                whole={C_MOVE: self._on_move},
            ),
            DicomService(
                name="Retrieve (C-GET)",
                permission=Permission.RETRIEVE,
                sop_classes=frozenset(model.get for model in MODELS),
                whole={C_GET: self._on_get},
            ),
        ]

    def _on_move(self, association: Association, request: Any, context: Any, caller: Caller) -> None:
        responder = Responder(association, request, context)
        try:
            destination = self._find_destination(str(request.MoveDestination or "").strip(), caller)
            wanted = self._read(request, context, caller)
        except _Refused as exc:
            _refuse(responder, caller, exc)
            return
        tally = Tally(len(wanted))
        errand = _Errand(responder, tally, _priority(request), (caller.ae_title, int(request.MessageID)))
        with self._turns.taken(_RANKS[errand.priority], lambda: _waits_on(responder, tally)) as has_turn:
            if has_turn:
                self._move_all(destination, wanted, errand)
        self._finish(responder, tally, caller, f"moved to {destination.ae_title}")

    def _on_get(self, association: Association, request: Any, context: Any, caller: Caller) -> None:
        responder = Responder(association, request, context)
        try:
            wanted = self._read(request, context, caller)
        except _Refused as exc:
            _refuse(responder, caller, exc)
            return
        tally = Tally(len(wanted))
        errand = _Errand(responder, tally, _priority(request))
        with self._turns.taken(_RANKS[errand.priority], lambda: _waits_on(responder, tally)) as has_turn:
            if has_turn:
                with suppress(PeerUnavailable):  # the asker is gone, and hears nothing more
                    self._send_all(association, wanted, errand)
        self._finish(responder, tally, caller, "fetched")

    def _find_destination(self, ae_title: str, caller: Caller) -> Destination:
        destination = self._destinations.get(ae_title)
        if destination is None:
            raise _Refused(
                DESTINATION_UNKNOWN,
                "The move destination is not a peer with host and port",
                f"Name the destination that {caller.ae_title} asked for in [[dicom.peers]], with host and port.",
            )
        return destination

    def _read(self, request: Any, context: PresentationContext, caller: Caller) -> list[HeldInstance]:
        model = find_model(str(context.abstract_syntax))
        syntax = context.transfer_syntax[0]
        try:
            dataset = decode(request.Identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
            identifier = read_identifier(dataset, model, caller.peer.character_set)
            check_retrieval(identifier, model)
            wanted = self._holdings.list_to_send(narrow(identifier), SUBOPERATIONS_MAX + 1)
        except (IdentifierUnusable, KeyUnusable) as exc:
            raise _Refused(IDENTIFIER_MISMATCH, str(exc), CORRECT_THE_REQUEST) from exc
        except Exception as exc:  # pydicom raises anything on bytes from outside; none of it may reach a log
            raise _Refused(UNABLE_TO_PROCESS, "The request cannot be read as DICOM", CORRECT_THE_REQUEST) from exc
        if len(wanted) > SUBOPERATIONS_MAX:
            raise _Refused(TOO_MANY, f"More than {SUBOPERATIONS_MAX} instances in one request", CORRECT_THE_REQUEST)
        return wanted

    def _move_all(self, destination: Destination, wanted: list[HeldInstance], errand: _Errand) -> None:
        """Send over as many associations as the classes and syntaxes need; after a failure the rest has failed too."""
        tally = errand.tally
        for group, contexts in group_by_contexts(wanted):
            before = tally.remaining
            try:
                with associated(destination, self._own_ae_title, contexts) as association:
                    self._send_all(association, group, errand)
            except PeerUnavailable as exc:
                for held in group[before - tally.remaining :]:
                    tally.note(held.sop_instance_uid, StoreOutcome(NONE_DONE, str(exc)))
            if errand.has_ended:
                return

    def _send_all(self, association: Association, wanted: Iterable[HeldInstance], errand: _Errand) -> None:
        for number, held in enumerate(wanted):
            if errand.has_ended:
                return
            errand.responder.tell_pending(errand.tally)
            errand.tally.note(held.sop_instance_uid, self._send(association, held, number, errand))

    def _send(self, association: Association, held: HeldInstance, number: int, errand: _Errand) -> StoreOutcome:
        file = self._open_file(held)
        if file is None:
            return NOT_HERE
        with file:
            return store_instance(
                association,
                held.sop_class_uid,
                held.sop_instance_uid,
                file,
                number % MESSAGE_ID_MAX + 1,
                originator=errand.originator,
                priority=errand.priority,
                scratch=self._scratch,
            )

    def _finish(self, responder: Responder, tally: Tally, caller: Caller, what: str) -> None:
        status = CANCELLED if responder.is_cancelled else tally.final_status()
        responder.finish(status, tally, tally.problem)
        if tally.failed:
            words = f"{tally.failed} of {tally.failed + tally.completed + tally.warnings} images could not be {what}"
            caller.refuse(
                status, f"{words}: {tally.problem}", "Check the receiving device and its peer, then ask again."
            )
        log.info(
            "retrieval_ended",
            association_id=caller.association_id,
            status=status,
            completed=tally.completed,
            failed=tally.failed,
            remaining=tally.remaining,
        )


def group_by_contexts(
    wanted: Iterable[HeldInstance], contexts_max: int = CONTEXTS_MAX
) -> Iterator[tuple[list[HeldInstance], list[PresentationContext]]]:
    """Yield instances in their order with the contexts that they need, never more than an association has. Pure."""
    group: list[HeldInstance] = []
    offers: dict[str, frozenset[str]] = {}
    for held in wanted:
        grown = offers | {held.sop_class_uid: offers.get(held.sop_class_uid, frozenset()) | held.transfer_syntax_uids}
        if group and len(_contexts(grown)) > contexts_max:
            yield group, _contexts(offers)
            group, grown = [], {held.sop_class_uid: held.transfer_syntax_uids}
        group.append(held)
        offers = grown
    if group:
        yield group, _contexts(offers)


def _contexts(offers: Mapping[str, frozenset[str]]) -> list[PresentationContext]:
    return [context for uid, syntaxes in sorted(offers.items()) for context in contexts_for(Offer(uid, syntaxes))]


def _priority(request: Any) -> int:
    return int(request.Priority) if request.Priority in _RANKS else _LOW


def _waits_on(responder: Responder, tally: Tally) -> bool:
    responder.tell_pending(tally, WAITING_EVERY_S)
    return not responder.is_cancelled and not responder.is_gone


def _refuse(responder: Responder, caller: Caller, refused: _Refused) -> None:
    caller.refuse(refused.status, refused.words, refused.remedy)
    responder.finish(refused.status, Tally(0), refused.words)
