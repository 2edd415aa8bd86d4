"""Who a study's patient is, for people and documents: what its own headers say comes before the record. Pure."""

from __future__ import annotations

from storage.catalogue.indexing import PatientFacts
from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import UNKNOWN_SEXES, Patient, Study


def facts_of(study: Study, patient: Patient) -> PatientFacts:
    """Return the patient as the study says; what it does not say comes from its record, unless that is contradicted.

    The number is as the site knows it, empty when the images gave none.
    """
    undisputed = patient.contradicted_at is None
    fill_sex = undisputed and study.patient_sex in UNKNOWN_SEXES
    return PatientFacts(
        number=shown_number(patient.patient_number),
        name=study.patient_name or (patient.name if undisputed else ""),
        birth_date=study.patient_birth_date or (patient.birth_date if undisputed else None),
        sex=patient.sex if fill_sex else study.patient_sex,
    )
