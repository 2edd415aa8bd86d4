"""Catalogue rows as DICOM JSON search results (PS3.18 section 10.6.3, annex F). Pure.

One table says which attributes a search answers, by level; the conformance statement is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import Instance, Patient, Series, Study
from storage.dicomweb.searching.keys import Level

DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FoundRow:
    """What was found: a study with its patient, and at the deeper levels one of its series and instances.

    `retrieve_url` is where the study can be retrieved.
    """

    study: Study
    patient: Patient
    series: Series | None = None
    instance: Instance | None = None
    retrieve_url: str = ""

    @property
    def address(self) -> str:
        """Where what was found can be retrieved."""
        address = self.retrieve_url
        if self.series is not None:
            address += f"/series/{self.series.series_uid}"
        if self.instance is not None:
            address += f"/instances/{self.instance.sop_instance_uid}"
        return address


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of an answer. `value` makes it from a row; nothing, or an empty text, is an empty element."""

    keyword: str
    tag: str
    vr: str
    value: Callable[[Any], Any]


def text_of_day(value: date | None) -> str | None:
    """Return the day as DICOM DA."""
    return value.strftime("%Y%m%d") if value else None


def _issuer(row: FoundRow) -> str:
    return row.patient.site_id if shown_number(row.patient.patient_number) else ""  # the number is unique within it


def _requests(series: Series) -> list[DicomJson]:
    return [
        {"00400009": element("SH", request["step_id"]), "00401001": element("SH", request["procedure_id"])}
        for request in series.requests
    ]


# Of every row: the character set of the answer, where it is, and the study that it belongs to.
ALWAYS: Final = (
    Attribute("SpecificCharacterSet", "00080005", "CS", lambda _: "ISO_IR 192"),
    Attribute("RetrieveURL", "00081190", "UR", lambda row: row.address),
    Attribute("StudyInstanceUID", "0020000D", "UI", lambda row: row.study.study_uid),
)
OF_STUDY: Final = (
    Attribute("StudyDate", "00080020", "DA", lambda row: text_of_day(row.study.study_date)),
    Attribute("StudyTime", "00080030", "TM", lambda row: row.study.study_time),
    Attribute("AccessionNumber", "00080050", "SH", lambda row: row.study.accession_number),
    Attribute("InstanceAvailability", "00080056", "CS", lambda _: "ONLINE"),
    Attribute("ModalitiesInStudy", "00080061", "CS", lambda row: row.study.modalities),
    Attribute("ReferringPhysicianName", "00080090", "PN", lambda row: row.study.referring_physician),
    Attribute("StudyDescription", "00081030", "LO", lambda row: row.study.description),
    Attribute("PatientName", "00100010", "PN", lambda row: row.study.patient_name),
    Attribute("PatientID", "00100020", "LO", lambda row: shown_number(row.patient.patient_number)),
    Attribute("IssuerOfPatientID", "00100021", "LO", _issuer),
    Attribute("PatientBirthDate", "00100030", "DA", lambda row: text_of_day(row.study.patient_birth_date)),
    Attribute("PatientSex", "00100040", "CS", lambda row: row.study.patient_sex),
    Attribute("StudyID", "00200010", "SH", lambda row: row.study.study_number),
    Attribute("NumberOfStudyRelatedSeries", "00201206", "IS", lambda row: row.study.series_count),
    Attribute("NumberOfStudyRelatedInstances", "00201208", "IS", lambda row: row.study.instance_count),
)
OF_SERIES: Final = (
    Attribute("Modality", "00080060", "CS", lambda row: row.series.modality),
    Attribute("SeriesDescription", "0008103E", "LO", lambda row: row.series.description),
    Attribute("BodyPartExamined", "00180015", "CS", lambda row: row.series.body_part),
    Attribute("SeriesInstanceUID", "0020000E", "UI", lambda row: row.series.series_uid),
    Attribute("SeriesNumber", "00200011", "IS", lambda row: row.series.number),
    Attribute("PerformedProcedureStepStartDate", "00400244", "DA", lambda row: text_of_day(row.series.performed_date)),
    Attribute("PerformedProcedureStepStartTime", "00400245", "TM", lambda row: row.series.performed_time),
    Attribute("RequestAttributesSequence", "00400275", "SQ", lambda row: _requests(row.series)),
    Attribute("NumberOfSeriesRelatedInstances", "00201209", "IS", lambda row: row.series.instance_count),
)
OF_INSTANCE: Final = (
    Attribute("SOPClassUID", "00080016", "UI", lambda row: row.instance.sop_class_uid),
    Attribute("SOPInstanceUID", "00080018", "UI", lambda row: row.instance.sop_instance_uid),
    Attribute("InstanceAvailability", "00080056", "CS", lambda _: "ONLINE"),
    Attribute("AvailableTransferSyntaxUID", "00083002", "UI", lambda row: row.instance.transfer_syntax_uid),
    Attribute("SeriesInstanceUID", "0020000E", "UI", lambda row: row.series.series_uid),
    Attribute("InstanceNumber", "00200013", "IS", lambda row: row.instance.number),
    Attribute("NumberOfFrames", "00280008", "IS", lambda row: row.instance.frame_count or None),
    Attribute("Rows", "00280010", "US", lambda row: row.instance.rows),
    Attribute("Columns", "00280011", "US", lambda row: row.instance.columns),
    Attribute("BitsAllocated", "00280100", "US", lambda row: row.instance.bits_allocated),
)
_BY_LEVEL: Final = (OF_STUDY, OF_SERIES, OF_INSTANCE)


def attributes_of(level: Level, *, from_level: Level) -> tuple[Attribute, ...]:
    """Return the attributes of an answer of `level` in the order of their tags.

    `from_level`: the level of the address that was searched. What stands above it, who asked knows already.
    """
    chosen = {attribute.tag: attribute for attribute in ALWAYS}
    for attributes in _BY_LEVEL[from_level : level + 1]:
        chosen.update({attribute.tag: attribute for attribute in attributes})
    return tuple(chosen[tag] for tag in sorted(chosen))


def rows_json(rows: Iterable[FoundRow], attributes: Iterable[Attribute]) -> list[DicomJson]:
    """Return the answer of a search."""
    wanted = tuple(attributes)
    return [{one.tag: element(one.vr, one.value(row)) for one in wanted} for row in rows]


def element(vr: str, value: Any) -> dict[str, Any]:
    """Return a value, several in a list, as an element of DICOM JSON; nothing, or an empty text, is an empty one."""
    if value is None or value in ("", []):
        return {"vr": vr}
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
        return {"vr": vr, "Value": [{group: text for group, text in groups if text}]}
    return {"vr": vr, "Value": value if isinstance(value, list) else [value]}
