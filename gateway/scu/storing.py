"""C-STORE as SCU (PS3.4 annex B): one instance from its file, in a syntax that the device accepts.

Volatile throughout. The file is opened once and read as the line takes it, a few PDUs ahead at most, whatever its size;
that it moves within the spool meanwhile does no harm.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from gateway.errors import SpoolFull
from gateway.scu.association import PDV_BYTES_MAX, PeerUnavailable
from gateway.spool.durable import full_disk_named
from storage.dicom.elements import TRANSFER_SYNTAX_UID, read_file_meta
from storage.dicom.transcoding import CannotWrite, choose_syntax, write_in_syntax

SUCCESS: Final = 0x0000
NO_CONTEXT: Final = 0x0122  # SOP class not supported
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
PDUS_AHEAD_MAX: Final = 8
LOOK_AGAIN_S: Final = 0.001
_PAUSE: Final = threading.Event()  # never set: pynetdicom has no event for what is waited for here
_MEDIUM: Final = 0  # PS3.7 section 9.3.1.1: Priority
_EVERYBODYS: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # little endian, explicit and implicit
_FAILURES: Final = {
    0xA7: "is out of resources",
    0xA9: "says that the data set does not match its SOP class",
    0xC0: "cannot understand the data set",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be sent, for negotiation: a class, and the syntaxes in which its instances are held or came."""

    sop_class_uid: str
    transfer_syntax_uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """The device's answer; `problem` is empty when it has stored the instance (with a warning, perhaps)."""

    status: int
    problem: str

    @property
    def is_warning(self) -> bool:
        """Return whether it was stored with a warning."""
        return not self.problem and self.status != SUCCESS


def contexts_for(offer: Offer) -> list[PresentationContext]:
    """Return one context for each syntax that the instances have, and one in those that every device must know.

    Each syntax has a context of its own, so that it is chosen for each instance and not by the device for all.
    """
    own = [syntax for syntax in sorted(offer.transfer_syntax_uids) if syntax not in _EVERYBODYS]
    return [
        *(build_context(offer.sop_class_uid, syntax) for syntax in own),
        build_context(offer.sop_class_uid, [UID(syntax) for syntax in _EVERYBODYS]),
    ]


def store_instance(
    association: Association,
    sop_class_uid: str,
    sop_instance_uid: str,
    file: BinaryIO,
    message_id: int,
    *,
    originator: tuple[str, int] | None = None,
    priority: int = _MEDIUM,
    scratch: Path | None = None,
) -> StoreOutcome:
    """Send one instance from its Part 10 file and return the answer.

    `originator`: AE title and Message ID of the C-MOVE that wants it. `scratch`: where an instance is written that the
    device takes only in another syntax.

    Raises:
        PeerUnavailable: the association broke; whether the instance was stored is not known.
    """
    contexts = {
        str(context.transfer_syntax[0]): cast("int", context.context_id)
        for context in association.accepted_contexts
        if context.abstract_syntax == sop_class_uid and context.as_scu
    }
    if not contexts:
        return StoreOutcome(NO_CONTEXT, f"the device does not take objects of class {UID(sop_class_uid).name}")
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID = UID(sop_class_uid)
    request.AffectedSOPInstanceUID = UID(sop_instance_uid)
    request.Priority = priority
    if originator is not None:
        request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = originator
    try:
        syntax = choose_syntax(file, list(contexts))
        if syntax is None:
            return StoreOutcome(NO_CONTEXT, "the device takes none of the transfer syntaxes that it can be given in")
        with _in_syntax(file, syntax, scratch) as (written, offset):
            _send(association, request, contexts[syntax], written, offset)
    except CannotWrite:
        return StoreOutcome(CANNOT_UNDERSTAND, "it cannot be written in a transfer syntax that the device takes")
    except SpoolFull:
        return StoreOutcome(OUT_OF_RESOURCES, "there is no room to write it in a syntax that the device takes")
    return _receive(association)


def problem_of(status: int) -> str:
    """Return the reason in words for a C-STORE status (PS3.4 table B.2-1), empty for success and warnings. Pure."""
    if status == SUCCESS or 0xB000 <= status <= 0xBFFF or status == 0x0001:
        return ""
    high = status >> 8 if status >> 12 != 0xC else 0xC0
    return f"the device {_FAILURES.get(high, 'refused')} (status {status:04X})"


@contextmanager
def _in_syntax(file: BinaryIO, syntax: str, scratch: Path | None) -> Iterator[tuple[BinaryIO, int]]:
    """Give the file in this syntax, itself where it has it, and where its dataset begins."""
    meta = read_file_meta(file)
    if meta.text(TRANSFER_SYNTAX_UID) == syntax:
        yield file, meta.dataset_offset
        return
    with tempfile.TemporaryFile(dir=scratch) as written:  # without a name: it is gone with the process
        with full_disk_named(scratch or Path(tempfile.gettempdir())):
            write_in_syntax(file, syntax, cast("Any", written), scratch=scratch)
            written.flush()
        yield cast("BinaryIO", written), read_file_meta(cast("BinaryIO", written)).dataset_offset


def _send(association: Association, request: C_STORE, context_id: int, file: BinaryIO, offset: int) -> None:
    """Hand over the message as fast as the line takes it: pynetdicom's own queue would hold all of it."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        _PAUSE.wait(LOOK_AGAIN_S / 10)
    message: Any = C_STORE_RQ()
    request._dataset_path = cast("Any", (os.dup(file.fileno()), offset))  # closed by encode_msg, which opens it
    message.primitive_to_message(request)
    message.context_id = context_id
    theirs = association.dimse.maximum_pdu_size
    for fragment in message.encode_msg(context_id, min(theirs or PDV_BYTES_MAX, PDV_BYTES_MAX)):
        _wait_for_room(association)
        association.dul.send_pdu(fragment)


def _wait_for_room(association: Association) -> None:
    deadline = time.monotonic() + (association.network_timeout or 60.0)
    waiting = association.dul.to_provider_queue
    while waiting.qsize() >= PDUS_AHEAD_MAX:
        if not association.dul.is_alive() or association.acse.is_aborted() or time.monotonic() > deadline:
            association.abort()
            raise PeerUnavailable("the device broke off the association, or took nothing more")
        _PAUSE.wait(LOOK_AGAIN_S)


def _receive(association: Association) -> StoreOutcome:
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    if answer is None:
        association._handle_no_response()
        raise PeerUnavailable("the device did not answer, or broke off the association")
    status = association._check_received_status(answer)
    if "Status" not in status:
        raise PeerUnavailable("the device answered with something else than it was asked")
    return StoreOutcome(int(status.Status), problem_of(int(status.Status)))
