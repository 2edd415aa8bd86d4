"""C-STORE and C-ECHO to the clinic's PACS (PS3.4 annexes A and B; the gateway is the SCU).

Nothing is durable here. A status of success or warning counts as stored; everything else is a reason in words.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from gateway.settings import TargetSettings

_config.STORE_SEND_CHUNKED_DATASET = True  # the file's own bytes, not pydicom's copy of them

SUCCESS: Final = 0x0000
NO_ANSWER: Final = -1
_REJECTIONS: Final = {
    1: "it does not accept associations from us",
    2: "it does not know the application context",
    3: "it does not know our AE title",
    7: "it does not know its own AE title by the name we use",
}
_FAILURES: Final = {
    0xA7: "is out of resources",
    0xA9: "says that the data set does not match its SOP class",
    0xC0: "cannot understand the data set",
}


class PacsUnavailable(Exception):
    """No association with the PACS; the message is words for the technician."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the PACS answered for one file; `problem` is empty when it has stored it."""

    path: Path
    status: int
    problem: str


def store_files(
    peer: TargetSettings, calling_ae_title: str, paths: Sequence[Path], on_stored: Callable[[Stored], None]
) -> None:
    """Send the Part 10 files over one association, telling `on_stored` of each as soon as it is answered.

    Raises:
        PacsUnavailable: there is no association, or it broke; files not told of were not stored.
    """
    association = _associate(_entity(peer, calling_ae_title), peer, _contexts(paths))
    try:
        for message_id, path in enumerate(paths, start=1):
            stored = _store(association, path, message_id)
            if stored.status == NO_ANSWER:
                raise PacsUnavailable("the PACS broke off the association")
            on_stored(stored)
    finally:
        if association.is_established:
            association.release()


def echo(peer: TargetSettings, calling_ae_title: str) -> None:
    """Return when the PACS answers a C-ECHO; raises PacsUnavailable."""
    association = _associate(_entity(peer, calling_ae_title), peer, [build_context(Verification)])
    try:
        status = association.send_c_echo()
    finally:
        if association.is_established:
            association.release()
    if "Status" not in status or status.Status != SUCCESS:
        raise PacsUnavailable("the PACS did not answer the C-ECHO with success")


def problem_of(status: int) -> str:
    """Return the reason in words for a C-STORE status (PS3.4 table B.2-1), empty for success and warnings. Pure."""
    if status == SUCCESS or 0xB000 <= status <= 0xBFFF or status == 0x0001:
        return ""
    high = status >> 8 if status >> 12 != 0xC else 0xC0
    return f"the PACS {_FAILURES.get(high, 'refused')} (status {status:04X})"


def _store(association: Association, path: Path, message_id: int) -> Stored:
    sop_class, syntax = _class_and_syntax(path)
    accepted = {(context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts}
    if (sop_class, syntax) in accepted:
        status = association.send_c_store(path, msg_id=message_id)
    elif (sop_class, ImplicitVRLittleEndian) in accepted:
        status = association.send_c_store(dcmread(path), msg_id=message_id)
    else:
        return Stored(path, 0x0122, f"the PACS does not take objects of class {sop_class}")
    if "Status" not in status:
        return Stored(path, NO_ANSWER, "no answer")
    return Stored(path, int(status.Status), problem_of(int(status.Status)))


def _entity(peer: TargetSettings, calling_ae_title: str) -> AE:
    entity = AE(ae_title=calling_ae_title)
    entity.connection_timeout = peer.timeout_s
    entity.acse_timeout = peer.timeout_s
    entity.dimse_timeout = peer.timeout_s
    entity.network_timeout = peer.timeout_s
    return entity


def _contexts(paths: Sequence[Path]) -> list[PresentationContext]:
    """Return one context for each class in the files' own syntax, and one in the syntax that every PACS must take."""
    kinds = {_class_and_syntax(path) for path in paths}
    kinds |= {(sop_class, ImplicitVRLittleEndian) for sop_class, _ in kinds}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]


def _associate(entity: AE, peer: TargetSettings, contexts: list[PresentationContext]) -> Association:
    association = entity.associate(
        peer.host,
        peer.port,
        contexts,
        ae_title=peer.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
    )
    if association.is_established:
        return association
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    if association.is_rejected:
        primitive = association.acceptor.primitive
        diagnostic = primitive.diagnostic if primitive is not None else None
        raise PacsUnavailable(f"{where} refused the association: {_REJECTIONS.get(diagnostic or 0, 'no reason given')}")
    if association.is_aborted:
        raise PacsUnavailable(f"{where} cannot be reached or broke off the association")
    raise PacsUnavailable(f"{where} accepts none of the kinds of object that are offered")


def _send_at_once(event: evt.Event) -> None:
    """Set TCP_NODELAY: without it every small message waits for the peer's delayed acknowledgement."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _class_and_syntax(path: Path) -> tuple[str, str]:
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
