"""Search results: what the catalogue knows, never what it has made up."""

from __future__ import annotations

from storage.catalogue.patient_numbers import invent_number
from storage.catalogue.tables import Patient, Study
from storage.dicomweb.json_rows import DicomJson, FoundRow, attributes_of, rows_json
from storage.dicomweb.searching.keys import Level


def found(patient_number: str) -> DicomJson:
    name = "Wang^XiaoDong=王^小东"
    patient = Patient(site_id="qinghe-t01", patient_number=patient_number, name="Wang^Er", sex="M")
    study = Study(study_uid="1.2.3", modalities=["CT"], referring_physician="", patient_name=name)
    (row,) = rows_json([FoundRow(study, patient)], attributes_of(Level.STUDY, from_level=Level.STUDY))
    return row


def test_number_of_the_site_comes_with_its_issuer() -> None:
    row = found("P1")
    assert (row["00100020"]["Value"], row["00100021"]["Value"]) == (["P1"], ["qinghe-t01"])


def test_patient_without_a_number_is_found_without_one() -> None:
    row = found(invent_number("1.2.3"))
    assert (row["00100020"], row["00100021"]) == ({"vr": "LO"}, {"vr": "LO"})


def test_groups_of_a_name_keep_their_places() -> None:
    assert found("P1")["00100010"]["Value"] == [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}]
