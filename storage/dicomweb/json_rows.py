"""Catalogue rows as DICOM JSON search results (PS3.18 section 10.6, annex F)."""

from __future__ import annotations

from typing import Any

from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import Instance, Series
from storage.dicomweb.catalogue_queries import StudyRow

DicomJson = dict[str, dict[str, Any]]


def study_json(row: StudyRow) -> DicomJson:
    """Return one study of a search."""
    study, patient = row.study, row.patient
    number = shown_number(patient.patient_number)
    return {
        **_element("00080005", "CS", "ISO_IR 192"),
        **_element("00080020", "DA", study.study_date.strftime("%Y%m%d") if study.study_date else None),
        **_element("00080030", "TM", study.study_time or None),
        **_element("00080050", "SH", study.accession_number or None),
        "00080061": {"vr": "CS", "Value": study.modalities},
        **_element("00081030", "LO", study.description or None),
        **_name("00080090", study.referring_physician),
        **_name("00100010", patient.name),
        **_element("00100020", "LO", number or None),
        **_element("00100021", "LO", patient.site_id if number else None),  # its issuer: unique within the site
        **_element("00100030", "DA", patient.birth_date.strftime("%Y%m%d") if patient.birth_date else None),
        **_element("00100040", "CS", patient.sex or None),
        **_element("0020000D", "UI", study.study_uid),
        **_element("00200010", "SH", study.study_number or None),
        **_element("00201206", "IS", study.series_count),
        **_element("00201208", "IS", study.instance_count),
    }


def series_json(study_uid: str, series: Series) -> DicomJson:
    """Return one series of a search."""
    return {
        **_element("00080005", "CS", "ISO_IR 192"),
        **_element("00080060", "CS", series.modality or None),
        **_element("0008103E", "LO", series.description or None),
        **_element("00180015", "CS", series.body_part or None),
        **_element("0020000D", "UI", study_uid),
        **_element("0020000E", "UI", series.series_uid),
        **_element("00200011", "IS", series.number),
        **_element("00201209", "IS", series.instance_count),
    }


def instance_json(study_uid: str, series: Series, instance: Instance) -> DicomJson:
    """Return one instance of a search."""
    return {
        **_element("00080016", "UI", instance.sop_class_uid),
        **_element("00080018", "UI", instance.sop_instance_uid),
        **_element("0020000D", "UI", study_uid),
        **_element("0020000E", "UI", series.series_uid),
        **_element("00200013", "IS", instance.number),
        **_element("00280008", "IS", instance.frame_count or None),
        **_element("00280010", "US", instance.rows),
        **_element("00280011", "US", instance.columns),
        **_element("00083002", "UI", instance.transfer_syntax_uid),  # Available Transfer Syntax UID
    }


def _element(tag: str, vr: str, value: str | int | None) -> DicomJson:
    return {tag: {"vr": vr, "Value": [value]} if value is not None else {"vr": vr}}


def _name(tag: str, value: str) -> DicomJson:
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False))
    groups = {group: text for group, text in groups.items() if text}
    return {tag: {"vr": "PN", "Value": [groups]} if groups else {"vr": "PN"}}
