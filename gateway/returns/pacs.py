"""C-STORE and C-ECHO to the clinic's PACS (PS3.4 annexes A and B; the gateway is the SCU).

Nothing is durable here. A status of success or warning counts as stored; everything else is a reason in words. An
object sent again has the same SOP Instance UID, which a PACS takes as the same object. Of a report that the hub has
declared void, a note goes in place of each object, which rejects it (`void_note`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from gateway.peers import CallBack
from gateway.returns.channel import Delivered, Outcome, Parcel, Refused, TargetUnavailable, Unanswered
from gateway.returns.reencoding import CharacterSetTooSmall, reencode
from gateway.returns.void_note import build_void_note
from gateway.scu import Destination, PeerUnavailable, associated, echo
from gateway.targets import PacsTarget
from storage.contract.delivery import DeliveryFailure, DeliveryFault
from storage.contract.rejection_codes import KEY_OBJECT_SELECTION, SAFETY
from storage.contract.wire import DocumentDescriptor
from storage.tls import Credentials

log = structlog.get_logger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # the file's own bytes, not pydicom's copy of them

SUCCESS: Final = 0x0000
AS_SIGNED: Final = "ISO_IR 192"
# PS3.8 table 9-21: source and reason of an A-ASSOCIATE-RJ.
_REJECTIONS: Final = {
    (1, 1): DeliveryFault.PACS_REJECTS_US,
    (1, 2): DeliveryFault.PACS_REJECTS_CONTEXT,
    (1, 3): DeliveryFault.PACS_UNKNOWN_CALLING,
    (1, 7): DeliveryFault.PACS_UNKNOWN_CALLED,
    (3, 1): DeliveryFault.PACS_BUSY,
    (3, 2): DeliveryFault.PACS_BUSY,
}
_FAILURES: Final = {
    0xA7: DeliveryFault.PACS_OUT_OF_RESOURCES,
    0xA9: DeliveryFault.PACS_DATA_SET_MISMATCH,
    0xC0: DeliveryFault.PACS_CANNOT_UNDERSTAND,
}


class PacsChannel:
    """One PACS; each step of a delivery is one association."""

    def __init__(
        self,
        target: PacsTarget,
        calling_ae_title: str,
        credentials: Credentials | None,
        is_void: Callable[[DocumentDescriptor], bool],
    ) -> None:
        self._target = target
        self._is_void = is_void
        self._destination = _destination(target, credentials)
        self._calling_ae_title = calling_ae_title
        self._association: Association | None = None
        self._ending = ExitStack()
        self._message_id = 0

    def open(self, parcels: Sequence[Parcel]) -> None:
        """Associate for these documents; raises TargetUnavailable."""
        self.close()
        contexts = _contexts({self._kind_of(parcel) for parcel in parcels})
        try:
            self._association = self._ending.enter_context(
                associated(self._destination, self._calling_ae_title, contexts)
            )
        except PeerUnavailable as exc:
            raise TargetUnavailable(_unavailable(exc, self._destination, self._calling_ae_title)) from exc
        self._message_id = 0

    def deliver(self, parcel: Parcel) -> Outcome:
        """Send one document as it was signed, or in the PACS's own character set and transfer syntax.

        Of a report that was declared void, the note that rejects the document goes in its place.
        """
        association = self._association
        if association is None or not association.is_established:
            return Unanswered(DeliveryFailure.of(DeliveryFault.PACS_NO_ANSWER))
        sop_class, syntax = self._kind_of(parcel)
        accepted = {(context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts}
        if not {(sop_class, syntax), (sop_class, ImplicitVRLittleEndian)} & accepted:
            return Refused(DeliveryFailure.of(DeliveryFault.PACS_CLASS_NOT_TAKEN, sop_class=sop_class))
        copy = self._reencoded(parcel)
        detail: dict[str, str] = {} if copy is None else {"character_set": self._target.character_set}
        if sop_class == KEY_OBJECT_SELECTION:
            content: Path | Dataset = build_void_note(copy if copy is not None else dcmread(parcel.path))
            detail["rejection"] = SAFETY
        elif copy is not None:
            content = copy
        else:
            content = parcel.path if (sop_class, syntax) in accepted else dcmread(parcel.path)
        self._message_id += 1
        return _outcome(association.send_c_store(content, msg_id=self._message_id), detail)

    def close(self) -> None:
        """Release the association."""
        self._association = None
        self._ending.close()

    def shut_down(self) -> None:
        """Nothing is kept between two steps."""
        self.close()

    def _kind_of(self, parcel: Parcel) -> tuple[str, str]:
        """Return class and transfer syntax of what is sent for a document."""
        if self._is_void(parcel.descriptor):
            return KEY_OBJECT_SELECTION, ImplicitVRLittleEndian
        return _class_and_syntax(parcel.path)

    def _reencoded(self, parcel: Parcel) -> Dataset | None:
        """Return the copy in the PACS's character set, None where the signed object goes as it is."""
        if self._target.character_set == AS_SIGNED:
            return None
        try:
            return reencode(parcel.path, self._target.character_set)
        except CharacterSetTooSmall:
            log.warning("report_sent_as_signed", document_id=parcel.descriptor.document_id, target=self._target.target)
            return None


def try_echo(target: PacsTarget, calling_ae_title: str, credentials: Credentials | None) -> None:
    """Return when the PACS answers a C-ECHO; raises TargetUnavailable."""
    destination = _destination(target, credentials)
    try:
        echo(destination, calling_ae_title)
    except PeerUnavailable as exc:
        raise TargetUnavailable(_unavailable(exc, destination, calling_ae_title)) from exc


def failure_of(status: int) -> DeliveryFailure | None:
    """Return why a C-STORE status (PS3.4 table B.2-1) means not stored, None for success and warnings. Pure."""
    if status == SUCCESS or 0xB000 <= status <= 0xBFFF or status == 0x0001:
        return None
    high = status >> 8 if status >> 12 != 0xC else 0xC0
    return DeliveryFailure.of(_FAILURES.get(high, DeliveryFault.PACS_REFUSED), status=f"{status:04X}")


def _outcome(answer: Dataset, detail: dict[str, str]) -> Outcome:
    if "Status" not in answer:
        return Unanswered(DeliveryFailure.of(DeliveryFault.PACS_NO_ANSWER))
    status = int(answer.Status)
    failure = failure_of(status)
    return Refused(failure) if failure is not None else Delivered({"status": f"{status:04X}", **detail})


def _contexts(kinds: AbstractSet[tuple[str, str]]) -> list[PresentationContext]:
    """Return one context for each class in its own syntax, and one in the syntax that every PACS must take."""
    kinds = kinds | {(sop_class, ImplicitVRLittleEndian) for sop_class, _ in kinds}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]


def _destination(target: PacsTarget, credentials: Credentials | None) -> Destination:
    call_back = CallBack(target.host, target.port, target.timeout_s, target.tls, target.tls_server_name)
    return Destination.of(target.ae_title, call_back, credentials)


def _unavailable(exc: PeerUnavailable, destination: Destination, calling_ae_title: str) -> DeliveryFailure:
    where = str(destination)
    if exc.tls is not None:
        return DeliveryFailure.of(DeliveryFault.PACS_TLS, where=where, error=exc.tls)
    fault = DeliveryFault.PACS_TAKES_NOTHING if exc.takes_nothing else DeliveryFault.PACS_UNREACHABLE
    if exc.rejection is not None:
        fault = _REJECTIONS.get(exc.rejection, DeliveryFault.PACS_REJECTS_US)
    return DeliveryFailure.of(fault, where=where, calling=calling_ae_title)


def _class_and_syntax(path: Path) -> tuple[str, str]:
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
