"""A folder or share at the clinic: one file for each content, whole or not there at all.

Durable when a delivery counts: the file is fsynced, renamed into place and the folder fsynced, all through one open
descriptor of the folder, so that a share that goes away meanwhile cannot have its mount point filled instead. A file
of the same name and content counts as delivered; another one of that name is never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.hl7.oru import build_oru, control_id
from gateway.returns.channel import Delivered, Outcome, Parcel, Refused, TargetUnavailable, Unanswered
from gateway.returns.companions import Companions, pdf_of
from gateway.targets import FolderTarget
from storage.contract.delivery import DeliveryFailure, DeliveryFault
from storage.contract.signed_report import ReportUnreadable, SignedReport, parse_signed_report
from storage.contract.wire import DocumentDescriptor, DocumentKind

NAME_CHARACTERS_MAX: Final = 120
_UNSAFE: Final = re.compile(r"[^\w.=-]+")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DIRECTORY_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})  # some network file systems know none


class FolderChannel:
    """One folder."""

    def __init__(self, target: FolderTarget, companions: Companions) -> None:
        self._target = target
        self._companions = companions
        self._folder: int | None = None

    def open(self, parcels: Sequence[Parcel]) -> None:  # noqa: ARG002 -- the folder is the same for all
        """Open the folder and see that it is the right one; raises TargetUnavailable."""
        self.close()
        path = self._target.path
        try:
            self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if self._target.marker:
                os.stat(self._target.marker, dir_fd=self._folder)
        except OSError as exc:
            raise TargetUnavailable(self._failure_of(exc, opened=self._folder is not None)) from exc

    def deliver(self, parcel: Parcel) -> Outcome:
        """Write what this document becomes here."""
        folder = self._folder
        if folder is None:
            return Unanswered(DeliveryFailure.of(DeliveryFault.FOLDER_MISSING, path=self._target.path))
        try:
            for name, content in self._files(parcel):
                if not _is_there(folder, name, content):
                    _write(folder, name, content, int(self._target.file_mode, 8))
        except ReportUnreadable:
            return Refused(DeliveryFailure.of(DeliveryFault.REPORT_UNREADABLE))
        except FileExistsError as exc:
            fault = DeliveryFault.FOLDER_NAME_TAKEN
            return Refused(DeliveryFailure.of(fault, path=self._target.path, name=exc.filename))
        except OSError as exc:
            return Unanswered(self._failure_of(exc, opened=True))
        return Delivered()

    def close(self) -> None:
        """Close the folder."""
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)

    def shut_down(self) -> None:
        """Nothing is kept between two steps."""
        self.close()

    def _failure_of(self, exc: OSError, *, opened: bool) -> DeliveryFailure:
        path = self._target.path
        if exc.errno in _FULL:
            return DeliveryFailure.of(DeliveryFault.FOLDER_FULL, path=path)
        if isinstance(exc, FileNotFoundError):
            fault = DeliveryFault.FOLDER_NOT_PREPARED if opened else DeliveryFault.FOLDER_MISSING
            return DeliveryFailure.of(fault, path=path, marker=self._target.marker)
        return DeliveryFailure.of(DeliveryFault.FOLDER_NOT_WRITABLE, path=path, error=exc.strerror or "unknown")

    def _files(self, parcel: Parcel) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each file; a message goes last, because it may call for the others."""
        contents = self._target.contents
        signed = parcel.path.read_bytes()
        stem = self._stem(parcel.descriptor, signed)
        kind = parcel.descriptor.kind
        if kind == DocumentKind.PDF:
            yield f"{stem}.pdf", pdf_of(signed)
        elif kind == DocumentKind.SR:
            yield f"{stem}.sr.dcm", signed
        else:
            if "json" in contents:
                yield f"{stem}.json", signed
            if "hl7" in contents:
                report, message = parse_signed_report(signed), self._target.message
                pdf = self._companions.find_pdf(parcel.descriptor) if message.pdf else None
                message_id = control_id(parcel.descriptor.document_id, self._target.target)
                orders = self._companions.find_orders(report)
                placers = self._companions.find_placers(orders)
                yield f"{stem}.hl7", build_oru(report, message, message_id, pdf, orders, placers)

    def _stem(self, descriptor: DocumentDescriptor, signed: bytes) -> str:
        values = {
            "case_id": descriptor.case_id,
            "document_id": descriptor.document_id,
            "report_version": descriptor.report_version,
            "study_uid": descriptor.study_uids[0],
        }
        if any("{" + name in self._target.file_name for name in ("accession_number", "patient_")):
            report = self._report(descriptor, signed)
            values |= {
                "accession_number": report.studies[0].accession_number,
                "patient_number": report.patient.patient_number,
                "patient_name": report.patient.name.replace("^", " ").split("=")[-1].strip(),
            }
        safe = {name: _UNSAFE.sub("_", str(value)).strip(".") or "_" for name, value in values.items()}
        return _UNSAFE.sub("_", self._target.file_name.format_map(safe)).lstrip(".")[:NAME_CHARACTERS_MAX]

    def _report(self, descriptor: DocumentDescriptor, signed: bytes) -> SignedReport:
        """Return the signed report that gives the names; raises ReportUnreadable, also while it is not fetched yet."""
        if descriptor.kind == DocumentKind.REPORT_JSON:
            return parse_signed_report(signed)
        found = self._companions.find(descriptor, DocumentKind.REPORT_JSON)
        if found is None:
            raise ReportUnreadable("the signed report is not here yet")
        return parse_signed_report(found)


def _is_there(folder: int, name: str, content: bytes) -> bool:
    """Return whether the folder holds this very file; raises FileExistsError when it holds another of that name."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if file.read(len(content) + 1) != content:
            raise FileExistsError(errno.EEXIST, "another file has this name", name)
    return True


def _write(folder: int, name: str, content: bytes, mode: int) -> None:
    partial = f".{name}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(partial, flags, mode, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial, dir_fd=folder)
        raise
    try:
        os.fsync(folder)
    except OSError as exc:
        if exc.errno not in _NO_DIRECTORY_SYNC:
            raise
