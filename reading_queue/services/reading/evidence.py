"""What a reader adds to a study: key images, measurements, presentations, segmentations; what it must fit. Reads only.

Evidence is nothing to be read: it makes no case and is never late. It belongs to a study that the catalogue holds, to
that study's patient, and speaks only of images of the case that its author holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ARRAY, Text, and_, any_, literal, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import CaseStudy
from storage.catalogue.tables import Instance, Series, Study
from storage.dicom.json_model import DicomJson

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
CLASSES: Final = frozenset(
    {_STORAGE + "88.59"}  # Key Object Selection Document
    | {_STORAGE + f"88.{number}" for number in (11, 22, 33, 34, 35)}  # SR: basic text to extensible
    | {_STORAGE + f"11.{number}" for number in range(1, 13)}  # presentation states
    | {_STORAGE + number for number in ("66.4", "66.5", "66.7", "67")}  # segmentations, real world values
)
STUDY_UID: Final = "0020000D"
REFERENCED_INSTANCE: Final = "00081155"
# Where evidence names what it is about: the evidence of a document (PS3.3 sections C.17.2, C.17.6.2), the images of a
# presentation or segmentation, and the content itself. Elsewhere headers copy references from the images they came of.
REFERENCING: Final = frozenset({"0040A375", "0040A385", "00081115", "00081199"})


@dataclass(frozen=True, slots=True)
class References:
    """Every study and instance that a piece of evidence is about."""

    study_uids: set[str] = field(default_factory=set)
    sop_instance_uids: set[str] = field(default_factory=set)


def is_evidence(sop_class_uid: str) -> bool:
    """Return whether instances of this class are added by readers and are nothing to be read."""
    return sop_class_uid in CLASSES


def references_of(dataset: DicomJson) -> References:
    """Return what a piece of evidence is about."""
    found = References()
    _collect(dataset, found, inside=False)
    return found


def find_foreign(session: Session, case_id: str, about: References, beside: Iterable[str]) -> list[str]:
    """Return the UIDs that evidence names and that are not of the case's studies, sorted.

    `beside`: instances that come with it.
    """
    of_case = and_(CaseStudy.site_id == Study.site_id, CaseStudy.study_uid == Study.study_uid)
    studies = (
        select(Study.study_uid)
        .join(CaseStudy, of_case)
        .where(CaseStudy.case_id == case_id, _is_one_of(Study.study_uid, about.study_uids))
    )
    instances = (
        select(Instance.sop_instance_uid)
        .join(Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .join(CaseStudy, of_case)
        .where(CaseStudy.case_id == case_id, _is_one_of(Instance.sop_instance_uid, about.sop_instance_uids))
        .where(Instance.rejection.is_(None))
    )
    foreign = about.study_uids - set(session.scalars(studies))
    foreign |= about.sop_instance_uids - set(session.scalars(instances)) - set(beside)
    return sorted(foreign)


def _collect(dataset: DicomJson, found: References, *, inside: bool) -> None:
    for tag, element in dataset.items():
        if element.get("vr") == "SQ":
            for item in element.get("Value", ()):
                _collect(item, found, inside=inside or tag in REFERENCING)
        elif inside and tag == STUDY_UID:
            found.study_uids.update(_texts(element))
        elif inside and tag == REFERENCED_INSTANCE:
            found.sop_instance_uids.update(_texts(element))


def _texts(element: dict[str, Any]) -> Iterator[str]:
    return (value for value in element.get("Value", ()) if isinstance(value, str))


def _is_one_of(column: Any, uids: Iterable[str]) -> Any:
    return column == any_(literal(sorted(uids), ARRAY(Text)))
