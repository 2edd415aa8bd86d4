"""What corrections change of an answer: rejected instances are left out, the patient is who the study belongs to now.

Originals are never touched: headers are corrected on their way out (IHE PIR, RAD-12); whole files leave as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.catalogue.amendment_tables import Refiling, RejectedInstance
from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.shown import NONE, Also, is_shown
from storage.catalogue.tables import Instance, Patient, Study
from storage.dicomweb.headers import DicomJson, uid_of
from storage.dicomweb.json_rows import element, text_of_day

# What else the headers say of the person: birth time, other identifiers, names, age, address, telephone, history.
_OF_OTHER_PERSON: Final = (
    "00100022",
    "00100024",
    "00100026",
    "00100032",
    "00100033",
    "00100035",
    "00101000",
    "00101001",
    "00101002",
    "00101005",
    "00101010",
    "00101040",
    "00101060",
    "00101090",
    "00102154",
    "00102160",
    "001021B0",
    "00104000",
)


@dataclass(frozen=True, slots=True)
class Corrections:
    """The instances of a study to leave out, and the patient's elements that stand for those of its headers."""

    hidden: frozenset[str] = frozenset()
    patient: DicomJson | None = None

    def apply(self, datasets: Iterable[DicomJson]) -> Iterator[DicomJson]:
        """Yield the headers as they are to be shown."""
        for dataset in datasets:
            if uid_of(dataset, "instance") not in self.hidden:
                yield dataset if self.patient is None else _corrected(dataset, self.patient)


def find_corrections(session: Session, study: Study, also: Also = NONE) -> Corrections:
    """Return what is to be changed in the headers of a study."""
    named = (
        select(Instance.sop_instance_uid)
        .join(
            RejectedInstance,
            (RejectedInstance.site_id == Instance.site_id)
            & (RejectedInstance.sop_instance_uid == Instance.sop_instance_uid),
        )
        .where(RejectedInstance.site_id == study.site_id, RejectedInstance.study_uid == study.study_uid)
        .where(~is_shown(also))
    )
    hidden = frozenset(session.scalars(named))
    if session.get(Refiling, study.study_id) is None:
        return Corrections(hidden)
    number = shown_number(session.get_one(Patient, study.patient_id).patient_number)
    return Corrections(
        hidden,
        {
            "00100010": element("PN", study.patient_name),
            "00100020": element("LO", number),
            "00100021": element("LO", study.site_id if number else ""),
            "00100030": element("DA", text_of_day(study.patient_birth_date)),
            "00100040": element("CS", study.patient_sex),
        },
    )


def _corrected(dataset: DicomJson, patient: DicomJson) -> DicomJson:
    kept: dict[str, Any] = {tag: value for tag, value in dataset.items() if tag not in _OF_OTHER_PERSON}
    return dict(sorted({**kept, **patient}.items()))
