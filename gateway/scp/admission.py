"""Who may associate and for what, and the words for what is refused. Pure but for the types of pynetdicom.

Storage classes of every kind are taken, private and retired ones too, in every transfer syntax whose dataset can
travel on its own. The proposer's own order of transfer syntaxes decides, with big endian after it and lossy
compression last: an original is never made worse on the way in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.sop_class import uid_to_service_class

_STORAGE_CLASS_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
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

# PS3.8 section 9.3.4: (source, diagnostic) of an A-ASSOCIATE-RJ → what happened, what to do.
REJECTIONS: Final[dict[tuple[int, int], tuple[str, str]]] = {
    (1, 3): (
        "The calling AE title is not on this gateway's list",
        "Add the device's AE title to allowed_calling_ae_titles, or correct it on the device.",
    ),
    (1, 7): (
        "The called AE title is not this gateway's",
        "Set this gateway's AE title as the destination on the device.",
    ),
    (3, 2): (
        "Too many associations are open at once",
        "The device tries again by itself; raise associations_max if this happens often.",
    ),
}
REJECTED_OTHERWISE: Final = ("The association was rejected", "See the gateway's log at this time.")
_CONTEXT_REJECTIONS: Final[dict[int, tuple[str, str]]] = {
    3: (
        "is not a storage class",
        "This gateway receives images and documents; send queries and printing elsewhere.",
    ),
    4: (
        "was offered only in transfer syntaxes that nobody but its maker knows",
        "Set the device to send DICOM's own transfer syntaxes, such as Explicit VR Little Endian.",
    ),
}


def tailor_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """Return what is supported of what a peer proposed, one context for each abstract syntax."""
    syntaxes: dict[UID, list[str]] = {}
    for context in proposed:
        if context.abstract_syntax is not None:
            offered = syntaxes.setdefault(context.abstract_syntax, [])
            offered += [str(uid) for uid in context.transfer_syntax if str(uid) not in offered]
    return [
        _supported(uid, offered)
        for uid, offered in syntaxes.items()
        if is_storage_class(uid) or uid_to_service_class(uid) is VerificationServiceClass
    ]


def is_storage_class(uid: UID) -> bool:
    """Return whether instances of this SOP class are taken: standard, retired, private and unknown storage classes."""
    service = uid_to_service_class(uid)
    if service is StorageServiceClass:
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


def explain_rejection(association: Association) -> tuple[str, str]:
    """Return what happened and what to do about an association that was rejected."""
    answer: Any = association.acceptor.primitive
    return REJECTIONS.get((answer.result_source, answer.diagnostic), REJECTED_OTHERWISE)


def explain_refused_contexts(association: Association) -> list[tuple[str, str]]:
    """Return what happened and what to do, for each abstract syntax of which no context was accepted."""
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    words: dict[UID, tuple[str, str]] = {}
    for context in association.rejected_contexts:
        uid = context.abstract_syntax
        if uid is None or uid in accepted or context.result not in _CONTEXT_REJECTIONS:
            continue
        happened, remedy = _CONTEXT_REJECTIONS[context.result]
        words[uid] = (f"{uid.name} {happened}", remedy)
    return list(words.values())


def _supported(uid: UID, offered: list[str]) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = uid
    context.transfer_syntax = sorted((syntax for syntax in offered if syntax in TRANSFER_SYNTAXES), key=_preference)
    return context


def _preference(syntax: str | bytes) -> int:
    if syntax in _LOSSY:
        return 2
    return 1 if syntax == _BIG_ENDIAN else 0
