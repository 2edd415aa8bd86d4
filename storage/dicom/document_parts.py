"""What DICOM documents of the hub and of clinics have in common: codes, references, rejections. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from storage.contract.rejection_codes import KEY_OBJECT_DESCRIPTION, REJECTIONS


@dataclass(frozen=True, slots=True, order=True)
class EvidenceInstance:
    """One instance that a document refers to."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a coded entry (PS3.3 section 8.8)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def items(*datasets: Dataset) -> DicomSequence:
    """Return a DICOM sequence of these items."""
    return DicomSequence(datasets)


def references(instances: Iterable[EvidenceInstance]) -> Iterable[Dataset]:
    """Yield hierarchical SOP instance references (PS3.3 table C.17-3), one item per study, sorted."""
    for study_uid, of_study in _grouped(sorted(set(instances)), lambda instance: instance.study_uid):
        study = Dataset()
        study.StudyInstanceUID = study_uid
        study.ReferencedSeriesSequence = items(
            *(
                _series_reference(series_uid, of_series)
                for series_uid, of_series in _grouped(of_study, lambda instance: instance.series_uid)
            )
        )
        yield study


def instance_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return a reference to one instance (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def add_rejection(note: Dataset, rejection: str, words: str, rejected: Sequence[EvidenceInstance]) -> None:
    """Make `note` one that rejects these instances, for a code of REJECTIONS (PS3.3 section A.35.4, TID 2010).

    They are COMPOSITE items whatever they are: a note may reject images, and reports, which are none.
    """
    note.CurrentRequestedProcedureEvidenceSequence = items(*references(rejected))
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    note.ConceptNameCodeSequence = items(code(rejection, "DCM", REJECTIONS[rejection]))
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    note.ContentTemplateSequence = items(template)
    note.ContentSequence = items(_description(words), *map(_selected, sorted(set(rejected))))


def _description(words: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", words
    item.ConceptNameCodeSequence = items(code(KEY_OBJECT_DESCRIPTION, "DCM", "Key Object Description"))
    return item


def _selected(instance: EvidenceInstance) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "COMPOSITE"
    item.ReferencedSOPSequence = items(instance_reference(instance.sop_class_uid, instance.sop_instance_uid))
    return item


def _series_reference(series_uid: str, instances: Sequence[EvidenceInstance]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedSOPSequence = items(
        *(instance_reference(instance.sop_class_uid, instance.sop_instance_uid) for instance in instances)
    )
    return series


def _grouped(
    instances: Iterable[EvidenceInstance], key: Callable[[EvidenceInstance], str]
) -> Iterable[tuple[str, list[EvidenceInstance]]]:
    return ((value, list(group)) for value, group in groupby(instances, key=key))
