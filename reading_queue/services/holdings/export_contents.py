"""The files of an export: each stored instance read once, proved by its digest, and given in the wished form.

Nothing is durable here. One instance at a time is held, in memory while it is small, else in a temporary file; an
instance that is damaged or missing is named and left out, the others are given.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import IO, BinaryIO, Final, cast

from reading_queue.services.hub import Hub
from storage.contract.identifiers import new_uid
from storage.dicom.elements import EXPLICIT_LITTLE_ENDIAN, read_file_meta
from storage.media.dicomdir import Directory
from storage.media.names import Numbers, file_set_name, safe_name
from storage.media.records import UNREADABLE, Described, describe, needs_explicit_form
from storage.media.zip_stream import CHUNK_BYTES, Member
from storage.objects.protocol import ObjectMissing, ObjectRejected

IN_MEMORY_BYTES_MAX: Final = 8 * 1024**2  # of one instance; then on disk
DECOMPRESSED_TIMES: Final = 4  # so much larger than stored is what was compressed, about
FILE_SET_ID: Final = "COUNTERPART"
MISSING_FILE: Final = "MISSING.TXT"


class Form(StrEnum):
    """In which form instances are given."""

    RECEIVED = "received"  # as they came to the gateway
    STORED = "stored"  # as they lie in object storage, mostly compressed without loss
    EXPLICIT = EXPLICIT_LITTLE_ENDIAN


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One instance, where it lies, and what its names are made of."""

    study_uid: str
    study_date: date | None
    study_description: str
    modality: str
    series_uid: str
    series_number: int | None
    series_description: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    received_transfer_syntax_uid: str | None
    received_sha256: str
    stored_sha256: str
    object_key: str
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ReportFile:
    """One file of a report; `sha256` where it is known."""

    object_key: str
    suffix: str
    sha256: str | None


@dataclass
class Contents:
    """What is exported, and what came of it while it was read."""

    instances: list[StoredInstance]
    reports: list[ReportFile]
    form: Form
    patient_folder: str | None  # names for people, with the patient's; None: a file set with a DICOMDIR
    begun_at: datetime
    exported: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)  # SOP Instance UID or key, and what is wrong
    as_stored: list[str] = field(default_factory=list)  # instances that the wished form does not exist of

    @property
    def expected_bytes(self) -> int:
        """About how large the export will be."""
        return sum(
            one.size_bytes * (1 if self.syntax_of(one) == one.transfer_syntax_uid else DECOMPRESSED_TIMES)
            for one in self.instances
        )

    def syntax_of(self, one: StoredInstance) -> str:
        """Return in which transfer syntax the instance is wished."""
        match self.form:
            case Form.RECEIVED:
                return one.received_transfer_syntax_uid or one.transfer_syntax_uid
            case Form.STORED:
                return one.transfer_syntax_uid
            case Form.EXPLICIT:
                return EXPLICIT_LITTLE_ENDIAN


class _Unsound(Exception):
    """The stored bytes are not those that were proved; the message says how, in words."""


def members(hub: Hub, contents: Contents) -> Iterator[Member]:
    """Yield every file of the export, the directory and what is told of it last.

    Raises:
        StoreUnavailable: object storage does not answer; what was given so far is no export.
    """
    directory, sums = Directory(), []
    numbers = Numbers()
    for one in contents.instances:
        try:
            file, described = _instance(hub, contents, one)
        except _Unsound as exc:
            contents.problems.append((one.sop_instance_uid, str(exc)))
            continue
        path = _path_of(contents, numbers, one)
        if contents.patient_folder is None and described is not None:
            directory.add(path, described)
        sums.append((_sha256(file), path))
        contents.exported += 1
        yield _member(path, file)
    for number, report in enumerate(contents.reports, 1):
        data = _report(hub, contents, report)
        if data is not None:
            path = ("REPORTS", f"RP{number:06}.{report.suffix}")
            sums.append((hashlib.sha256(data).hexdigest(), path))
            yield _member(path, io.BytesIO(data))
    if contents.patient_folder is None:
        yield _member(("DICOMDIR",), io.BytesIO(directory.to_bytes(FILE_SET_ID, new_uid())))
    yield _text("SHA256.TXT", (f"{digest}  {'/'.join(path)}" for digest, path in sums))
    if contents.problems or contents.as_stored:
        yield _text(MISSING_FILE, _told(contents))


def _instance(hub: Hub, contents: Contents, one: StoredInstance) -> tuple[IO[bytes], Described | None]:
    """Return the instance in its form, proved, and what a DICOMDIR says of it. Raises _Unsound."""
    stored = _fetch(hub, one)
    try:
        file = _in_form(contents, one, stored)
    except BaseException:
        stored.close()
        raise
    try:
        return file, _describe(file)
    except UNREADABLE:
        return file, None  # proved to be what came, whatever that is


def _fetch(hub: Hub, one: StoredInstance) -> IO[bytes]:
    copy = _scratch()
    digest = hashlib.sha256()
    try:
        with hub.objects.open(one.object_key, offset=one.offset_bytes, length=one.size_bytes) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                copy.write(chunk)
    except (ObjectMissing, ObjectRejected):
        copy.close()
        raise _Unsound("its bytes are missing in object storage") from None
    except BaseException:
        copy.close()
        raise
    if digest.hexdigest() != one.stored_sha256:
        copy.close()
        raise _Unsound("its stored bytes are damaged: their SHA-256 is not the one that was proved")
    return copy


def _in_form(contents: Contents, one: StoredInstance, stored: IO[bytes]) -> IO[bytes]:
    """Return the file in the wished form, and close the stored one; or that, when there is no such form."""
    syntax = contents.syntax_of(one)
    if syntax == one.transfer_syntax_uid:
        return stored
    made = _scratch()
    try:
        is_made = _write(cast("BinaryIO", stored), syntax, made)
        if is_made and contents.form is Form.RECEIVED:
            is_made = _dataset_sha256(made) == one.received_sha256
    except BaseException:
        made.close()
        raise
    if not is_made:
        made.close()
        contents.as_stored.append(one.sop_instance_uid)
        return stored
    stored.close()
    return made


def _write(stored: BinaryIO, syntax: str, made: IO[bytes]) -> bool:
    """Write the file in the syntax; return False when there is no such form of it."""
    from storage.dicom.transcoding import CannotWrite, choose_syntax, write_in_syntax  # codecs: not before they serve

    try:
        if choose_syntax(stored, [syntax]) is None:
            return False
        write_in_syntax(stored, syntax, made)
    except CannotWrite:
        return False
    return True


def _describe(file: IO[bytes]) -> Described:
    source = cast("BinaryIO", file)
    if not needs_explicit_form(source):
        return describe(source)
    with _scratch() as explicit:
        if not _write(source, EXPLICIT_LITTLE_ENDIAN, explicit):
            return describe(source)
        return describe(cast("BinaryIO", explicit)).in_syntax_of(describe(source))


def _path_of(contents: Contents, numbers: Numbers, one: StoredInstance) -> tuple[str, ...]:
    study = numbers.of("", one.study_uid)
    series = numbers.of(one.study_uid, one.series_uid)
    instance = numbers.of((one.study_uid, one.series_uid), one.sop_instance_uid)
    if contents.patient_folder is None:
        return file_set_name(study, series, instance)
    day = one.study_date.isoformat() if one.study_date is not None else ""
    return (
        contents.patient_folder,
        safe_name(f"{study:03}", day, one.study_description),
        safe_name(f"{series:03}", one.modality, one.series_description),
        f"{instance:06}.dcm",
    )


def _report(hub: Hub, contents: Contents, report: ReportFile) -> bytes | None:
    try:
        data = hub.objects.read(report.object_key)
    except ObjectMissing:
        contents.problems.append((report.object_key, "this file of a report is missing in object storage"))
        return None
    if report.sha256 is not None and hashlib.sha256(data).hexdigest() != report.sha256:
        contents.problems.append((report.object_key, "this file of a report is damaged"))
        return None
    return data


def _told(contents: Contents) -> Iterator[str]:
    for key, words in contents.problems:
        yield f"NOT EXPORTED {key}: {words}"
    for uid in contents.as_stored:
        yield f"AS STORED {uid}: the wished form does not exist of it"


def _text(name: str, lines: Iterable[str]) -> Member:
    return _member((name,), io.BytesIO("".join(f"{line}\r\n" for line in lines).encode()))


def _member(path: tuple[str, ...], file: IO[bytes]) -> Member:
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Member(path, file, size_bytes)


def _scratch() -> IO[bytes]:
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES_MAX))


def _sha256(file: IO[bytes], start: int = 0) -> str:
    file.seek(start)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _dataset_sha256(file: IO[bytes]) -> str:
    return _sha256(file, read_file_meta(cast("BinaryIO", file)).dataset_offset)
