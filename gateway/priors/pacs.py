"""The site's PACS as it is asked: C-FIND and C-MOVE at study level (PS3.4 sections C.4.1.1, C.4.2.1).

Volatile throughout. Every failure is words with a remedy and a code; texts of the PACS may quote a patient and are left
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from gateway.priors.choice import FoundStudy
from gateway.scu import Destination, PeerUnavailable, associated
from storage.contract.identifiers import Uid, parse_uid
from storage.dicom.charsets import choose_character_set

ANSWERS_MAX: Final = 500
SUCCESS: Final = 0x0000
DESTINATION_UNKNOWN: Final = 0xA801
_WARNING: Final = 0xB000  # sub-operations complete, one or more failures
_PENDING: Final = (0xFF00, 0xFF01)
_WANTED: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)


class PacsTrouble(Exception):
    """The PACS does not do what it is asked; the message is words with the remedy, `code` is constant."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class StudyNotSent(PacsTrouble):
    """The PACS did not send all of one study; others may come."""


@dataclass(frozen=True, slots=True)
class Pacs:
    """Where the PACS listens, how this gateway calls itself, and the PACS's character set where it names none."""

    destination: Destination
    own_ae_title: str
    character_set: str | None = None

    def find_studies(self, patient_number: str) -> list[FoundStudy]:
        """Return the studies that the PACS has under a patient number; it may match more loosely than asked.

        Raises:
            PacsTrouble: it does not answer, or not with success.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        if self.character_set is not None:
            query.SpecificCharacterSet = self.character_set
        for keyword in _WANTED:
            setattr(query, keyword, "")
        query.PatientID = patient_number
        found: list[FoundStudy] = []
        with self._call(StudyRootQueryRetrieveInformationModelFind) as association:
            for status, answer in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
                code = _code_of(status, self.destination)
                if code in _PENDING and answer is not None:
                    if len(found) >= ANSWERS_MAX:
                        words = f"{self.destination} has more than {ANSWERS_MAX} studies under one patient number"
                        raise PacsTrouble("pacs_too_many", words)
                    study = self._read(answer)
                    found += [study] if study is not None else []
                elif code != SUCCESS:
                    words = f"{self.destination} refuses the search for earlier studies (status {code:04X})"
                    raise PacsTrouble("pacs_find_refused", words)
        return found

    def move_study(self, study_uid: Uid) -> None:
        """Have the PACS send a study to this gateway; return when it has.

        Raises:
            StudyNotSent: it did not send all of it.
            PacsTrouble: it sends nothing at all.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID = study_uid
        last: Any = None
        with self._call(StudyRootQueryRetrieveInformationModelMove) as association:
            for status, _ in association.send_c_move(
                query, self.own_ae_title, StudyRootQueryRetrieveInformationModelMove
            ):
                last = status
        code = _code_of(last, self.destination)
        if code == DESTINATION_UNKNOWN:
            words = f"{self.destination} does not know {self.own_ae_title} as a place to send to (status A801)"
            remedy = f"Enter {self.own_ae_title} with this gateway's address and port in the PACS."
            raise PacsTrouble("pacs_destination_unknown", f"{words}. {remedy}")
        failed = int(last.get("NumberOfFailedSuboperations", 0) or 0)
        if code != SUCCESS or failed:
            words = f"{self.destination} did not send all of an earlier study (status {code:04X}, {failed} failed)"
            remedy = "See this gateway's refusals, and whether the PACS may store here."
            raise StudyNotSent("pacs_move_failed", f"{words}. {remedy}")

    @contextmanager
    def _call(self, model: Any) -> Iterator[Any]:
        try:
            with associated(self.destination, self.own_ae_title, [build_context(model)]) as association:
                yield association
        except PeerUnavailable as exc:
            code = "pacs_refused" if exc.rejection or exc.takes_nothing else "pacs_unreachable"
            raise PacsTrouble(code, str(exc)) from exc

    def _read(self, answer: Dataset) -> FoundStudy | None:
        """Return what an answer says; None for one without a usable Study Instance UID."""
        raw = {keyword: _bytes_of(answer, keyword) for keyword in (*_WANTED, "SpecificCharacterSet")}
        declared = raw["SpecificCharacterSet"].decode("ascii", "replace").strip() or self.character_set or ""
        texts = choose_character_set(declared, [raw["PatientName"], raw["StudyDescription"], raw["PatientID"]])
        said = {keyword: texts.decode(value) for keyword, value in raw.items()}
        try:
            study_uid = parse_uid(said["StudyInstanceUID"])
        except ValueError:
            return None
        count = said["NumberOfStudyRelatedInstances"]
        return FoundStudy(
            study_uid=study_uid,
            patient_number=said["PatientID"],
            patient_name=said["PatientName"],
            birth_date=_date_of(said["PatientBirthDate"]),
            sex=said["PatientSex"].upper(),
            study_date=_date_of(said["StudyDate"]),
            modalities=frozenset(part.strip() for part in said["ModalitiesInStudy"].split("\\") if part.strip()),
            description=said["StudyDescription"],
            instance_count=int(count) if count.isascii() and count.isdecimal() and int(count) > 0 else None,
        )


def _bytes_of(answer: Dataset, keyword: str) -> bytes:
    """Return an element's value as it came."""
    tag = Tag(keyword)
    if tag not in answer:
        return b""
    value = answer.get_item(tag).value
    return value if isinstance(value, bytes) else str(value or "").encode()


def _date_of(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 and text.isdecimal() else None
    except ValueError:
        return None


def _code_of(status: Any, destination: Destination) -> int:
    if status is None or "Status" not in status:
        raise PacsTrouble("pacs_silent", f"{destination} broke off or did not answer in time")
    return int(status.Status)
