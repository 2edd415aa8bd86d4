"""Who may associate and for what, and the words for what is refused. Pure but for the types of pynetdicom.

Storage classes of every kind are taken, private and retired ones too, in every transfer syntax whose dataset can
travel on its own. The proposer's own order of transfer syntaxes decides, with big endian after it and lossy
compression last: an original is never made worse on the way in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.sop_class import uid_to_service_class

from gateway.peers import Peer, Permission, remedy_for
from gateway.scp.services import ServiceTable

_STORAGE_CLASS_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
# Stored Print, Hardcopy Grayscale Image and Hardcopy Color Image Storage: retired, with UIDs among those of printing.
_PRINT_STORAGE_CLASSES: Final = frozenset(f"1.2.840.10008.5.1.1.{number}" for number in (27, 29, 30))
_WITHOUT_PIXELS: Final = frozenset(  # the pixels stay at a server (JPIP) or travel in another stream (SMPTE ST 2110)
    {
        "1.2.840.10008.1.2.4.204",
        "1.2.840.10008.1.2.4.205",
        "1.2.840.10008.1.2.7.1",
        "1.2.840.10008.1.2.7.2",
        "1.2.840.10008.1.2.7.3",
    }
)
_ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
TRANSFER_SYNTAXES: Final = frozenset(str(uid) for uid in AllTransferSyntaxes) - _WITHOUT_PIXELS | {
    _ENCAPSULATED_UNCOMPRESSED
}
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DATASETS: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG_ENDIAN})  # of queries and commands
_LOSSY: Final = frozenset(
    {
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.93",
        "1.2.840.10008.1.2.4.203",
    }
)

_CONTEXT_REJECTIONS: Final[dict[int, tuple[str, str]]] = {
    3: (
        "is nothing that this gateway serves",
        "This gateway receives images and documents, and answers what CONFORMANCE.md lists; send the rest elsewhere.",
    ),
    4: (
        "was offered only in transfer syntaxes that nobody but its maker knows",
        "Set the device to send DICOM's own transfer syntaxes, such as Explicit VR Little Endian.",
    ),
}
_NO_ROLE: Final = (
    "was offered in a role that this gateway does not take",
    "Set the device to be the user of this service, not its provider.",
)


def tailor_contexts(
    proposed: Iterable[PresentationContext], peer: Peer, services: ServiceTable, receives_back: Collection[str] = ()
) -> list[PresentationContext]:
    """Return what is supported of what a device proposed, one context for each abstract syntax.

    `receives_back`: the storage classes for which it proposed to be the SCP, as C-GET needs (PS3.4 section C.4.3).
    """
    syntaxes: dict[UID, list[str]] = {}
    for context in proposed:
        if context.abstract_syntax is not None:
            offered = syntaxes.setdefault(context.abstract_syntax, [])
            offered += [str(uid) for uid in context.transfer_syntax if str(uid) not in offered]
    supported = [
        _support(uid, offered, peer, services, receives_back=uid in receives_back) for uid, offered in syntaxes.items()
    ]
    return [context for context in supported if context is not None]


def is_storage_class(uid: UID) -> bool:
    """Return whether instances of this SOP class are taken: standard, retired, private and unknown storage classes."""
    service = uid_to_service_class(uid)
    if service is StorageServiceClass or uid in _PRINT_STORAGE_CLASSES:
        return True
    unknown = uid.name == str(uid)
    return service is ServiceClass and (unknown or uid.is_private or uid.startswith(_STORAGE_CLASS_ROOT))


def name_storage_service(proposed: Iterable[PresentationContext]) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Return, for the storage classes that pynetdicom does not know, that they belong to the Storage Service."""
    items: dict[UID, SOPClassCommonExtendedNegotiation] = {}
    for context in proposed:
        uid = context.abstract_syntax
        if uid is not None and is_storage_class(uid) and uid_to_service_class(uid) is ServiceClass:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = uid
            item.service_class_uid = UID(StorageServiceClass.uid)
            items[uid] = item
    return items


def explain_refused_contexts(association: Association, peer: Peer, services: ServiceTable) -> list[tuple[str, str]]:
    """Return what happened and what to do, for each abstract syntax of which no context was accepted."""
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    words: dict[UID, tuple[str, str]] = {}
    for context in association.rejected_contexts:
        uid = context.abstract_syntax
        if uid is not None and uid not in accepted:
            words[uid] = _explain_refusal(uid, context.result, peer, services)
    return list(dict.fromkeys(words.values()))


def _explain_refusal(uid: UID, result: int | None, peer: Peer, services: ServiceTable) -> tuple[str, str]:
    service = services.find(uid)
    explained = service.explain_refusal(peer) if service is not None else None
    if explained is not None:
        return explained
    if is_storage_class(uid) and Permission.STORE not in peer.may:
        return f"{peer.ae_title} wanted to store images, which it may not", remedy_for(peer, Permission.STORE)
    happened, remedy = _CONTEXT_REJECTIONS.get(result or 0, _NO_ROLE)
    return f"{uid.name} {happened}", remedy


def _support(
    uid: UID, offered: list[str], peer: Peer, services: ServiceTable, *, receives_back: bool
) -> PresentationContext | None:
    if uid_to_service_class(uid) is VerificationServiceClass:
        return _context(uid, offered)
    service = services.find(uid)
    if service is not None:
        return (
            None
            if service.explain_refusal(peer)
            else _context(uid, [syntax for syntax in offered if syntax in _DATASETS])
        )
    if not is_storage_class(uid):
        return None
    may_store = Permission.STORE in peer.may
    receives_back = receives_back and Permission.RETRIEVE in peer.may
    if not may_store and not receives_back:
        return None
    context = _context(uid, offered)
    if receives_back:
        context.scu_role, context.scp_role = may_store, True  # what is granted to the proposer
    return context


def _context(uid: UID, offered: list[str]) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = uid
    context.transfer_syntax = sorted((syntax for syntax in offered if syntax in TRANSFER_SYNTAXES), key=_preference)
    return context


def _preference(syntax: str | bytes) -> int:
    if syntax in _LOSSY:
        return 2
    return 1 if syntax == _BIG_ENDIAN else 0
