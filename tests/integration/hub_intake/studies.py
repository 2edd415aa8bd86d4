"""Small studies as a gateway would hold them: Part 10 files, their manifest, their packs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from storage.contract.identifiers import Sha256Hex, SiteId, Uid
from storage.contract.lanes import Lane
from storage.contract.manifest import InstanceEntry, Manifest
from storage.contract.wire import PackDeclaration
from storage.dicom.elements import read_file_meta
from storage.packs import PackLayout, PackMember, PackStream, layout_of

STUDY = Uid("1.2.826.0.1.3680043.8.498.1")


@dataclass(frozen=True)
class Instance:
    """One Part 10 file and its manifest entry."""

    entry: InstanceEntry
    file: bytes


@dataclass(frozen=True)
class PackedStudy:
    """A pack's bytes and what is declared of it."""

    declaration: PackDeclaration
    body: bytes


def make_instance(number: int, received_at: datetime, *, study: Uid = STUDY, **attributes: object) -> Instance:
    """Return a 16 × 16 CT slice with a Chinese patient name in GB18030."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "GB18030"
    dataset.PatientName = "王^芳"
    dataset.PatientID = "P-0001"
    dataset.PatientBirthDate = "19800229"
    dataset.PatientSex = "F"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.{1 + number % 2}"
    dataset.SOPInstanceUID = f"{study}.9.{number}"
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyDate, dataset.StudyTime = "20260302", "085500"
    dataset.AccessionNumber, dataset.StudyID = "A-1", "1"
    dataset.SeriesNumber, dataset.InstanceNumber = 1 + number % 2, number
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.full((16, 16), number, dtype="<u2").tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return instance_of(buffer.getvalue(), dataset, received_at)


def instance_of(file: bytes, dataset: Dataset, received_at: datetime) -> Instance:
    start = read_file_meta(io.BytesIO(file)).dataset_offset
    entry = InstanceEntry(
        sop_instance_uid=Uid(dataset.SOPInstanceUID),
        sop_class_uid=Uid(dataset.SOPClassUID),
        series_uid=Uid(dataset.SeriesInstanceUID),
        transfer_syntax_uid=Uid(dataset.file_meta.TransferSyntaxUID),
        received_sha256=sha256(file[start:]),
        stored_sha256=sha256(file),
        size_bytes=len(file),
        received_at=received_at,
    )
    return Instance(entry, file)


def make_manifest(site_id: str, instances: Iterable[Instance], *, study: Uid = STUDY, revision: int = 1) -> Manifest:
    entries = sorted((instance.entry for instance in instances), key=lambda entry: entry.sop_instance_uid)
    return Manifest(
        site_id=SiteId(site_id),
        study_uid=study,
        revision=revision,
        lane=Lane.ROUTINE,
        calling_ae_title="CT1",
        complete_because="quiet",
        completed_at=max(entry.received_at for entry in entries),
        instances=tuple(entries),
    )


def make_pack(site_id: str, instances: Iterable[Instance], *, study: Uid = STUDY) -> PackedStudy:
    files = {instance.entry.sop_instance_uid: instance.file for instance in instances}
    members = [PackMember(uid, len(file), sha256(file)) for uid, file in files.items()]
    layout = layout_of(site_id, study, members)
    body = _bytes_of(layout, files)
    uids = tuple(place.member.sop_instance_uid for place in layout.places)
    return PackedStudy(PackDeclaration(pack_sha256=sha256(body), size_bytes=len(body), sop_instance_uids=uids), body)


def sha256(data: bytes) -> Sha256Hex:
    return Sha256Hex(hashlib.sha256(data).hexdigest())


def _bytes_of(layout: PackLayout, files: dict[Uid, bytes]) -> bytes:
    def open_member(member: PackMember) -> BinaryIO:
        return io.BytesIO(files[member.sop_instance_uid])

    with PackStream(layout, open_member) as stream:
        return stream.read()
