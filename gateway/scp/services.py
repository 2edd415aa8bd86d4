"""What the listener serves beside C-ECHO and C-STORE: one `DicomService` for each group of SOP classes.

Volatile throughout: a table of who answers what. A service answers pynetdicom's events of its own SOP classes, or takes
a kind of request over whole. Whoever may not use a service is told so when its contexts are negotiated, and whatever
nobody serves becomes a line in words before pynetdicom refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from pynetdicom.association import Association

from gateway.peers import Peer, Permission, remedy_for

log = structlog.get_logger()

Words = tuple[str, str]  # what happened, what to do
CANNOT_UNDERSTAND: Final = 0xC000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks on an association. `refuse(status, reason, remedy)` writes a line for the technician."""

    peer: Peer
    association_id: str
    peer_address: str
    refuse: Callable[[int | None, str, str], None]

    @property
    def ae_title(self) -> str:
        """Return the calling AE title."""
        return self.peer.ae_title


Handler = Callable[[Any, Caller], Any]  # pynetdicom's event → what pynetdicom's documentation wants for it
WholeHandler = Callable[[Association, Any, Any, Caller], None]  # association, request primitive, context


def _available(_peer: Peer) -> Words | None:
    return None


@dataclass(frozen=True, slots=True)
class DicomService:
    """One service class. `handlers` by pynetdicom's event; `whole` by the class of the request's primitive.

    `unavailable` says in words why a device that may use the service cannot, such as one without a call-back address.
    """

    name: str
    permission: Permission
    sop_classes: frozenset[str]
    handlers: Mapping[Any, Handler] = field(default_factory=dict)
    whole: Mapping[type, WholeHandler] = field(default_factory=dict)
    unavailable: Callable[[Peer], Words | None] = _available

    def explain_refusal(self, peer: Peer) -> Words | None:
        """Return why this device does not get the service, None when it does."""
        if self.permission not in peer.may:
            return (
                f"{peer.ae_title} asked for {self.name}, which it may not use",
                remedy_for(peer, self.permission),
            )
        return self.unavailable(peer)


class ServiceTable:
    """The services by SOP class, and the hooks that bring requests to them."""

    def __init__(self, services: Iterable[DicomService]) -> None:
        self._by_class = {uid: service for service in services for uid in service.sop_classes}

    def find(self, sop_class_uid: str) -> DicomService | None:
        """Return the service of this SOP class."""
        return self._by_class.get(sop_class_uid)

    def handlers(self, find_caller: Callable[[Association], Caller]) -> list[tuple[Any, Callable[[Any], Any]]]:
        """Return one handler for each of pynetdicom's events that some service answers."""
        events = {event for service in self._by_class.values() for event in service.handlers}
        return [(event, self._make_handler(event, find_caller)) for event in events]

    def attach(self, association: Association, find_caller: Callable[[Association], Caller]) -> None:
        """Bring the requests of this association to the services that take them over whole."""
        by_pynetdicom = association._serve_request

        def serve(request: Any, context_id: int) -> None:
            caller = find_caller(association)
            context = association._accepted_cx.get(context_id)
            service = self.find(context.abstract_syntax or "") if context is not None else None
            whole = service.whole.get(type(request)) if service is not None and request.is_valid_request else None
            if whole is None:
                by_pynetdicom(request, context_id)
                if association.is_aborted:
                    caller.refuse(None, *_not_served(request))
                return
            _run_whole(whole, association, request, context, caller)

        association._serve_request = serve  # type: ignore[method-assign, assignment]

    def _make_handler(self, event: Any, find_caller: Callable[[Association], Caller]) -> Callable[[Any], Any]:
        def handle(happened: Any) -> Any:
            service = self.find(happened.context.abstract_syntax)
            handler = service.handlers.get(event) if service is not None else None
            caller = find_caller(happened.assoc)
            if handler is None:
                caller.refuse(None, *_not_served(happened.request))
                raise NotImplementedError(f"{event.name} is not served for this SOP class")
            return handler(happened, caller)

        return handle


def _run_whole(whole: WholeHandler, association: Association, request: Any, context: Any, caller: Caller) -> None:
    """Do what pynetdicom does around a request of its own: cancels of earlier requests go, its reactor waits."""
    association.dimse.cancel_req = {}
    association._is_paused = True
    try:
        whole(association, request, context, caller)
    except Exception:  # the request's border: the association ends, the listener and the others go on
        log.exception("dicom_request_failed", association_id=caller.association_id)
        association.abort()
    finally:
        association._is_paused = False
        association.dimse.cancel_req = {}


def _not_served(request: Any) -> Words:
    kind = getattr(request, "msg_type", type(request).__name__.replace("_", "-"))
    return (
        f"A {kind} request came on a presentation context where this gateway does not serve it",
        "Ask the device's vendor what it wanted; gateway/scp/CONFORMANCE.md lists what this gateway serves.",
    )
