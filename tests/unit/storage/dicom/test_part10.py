"""A received dataset behind our file meta is a Part 10 file that other programs read."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pydicom

from storage.contract.identifiers import parse_uid
from storage.dicom.elements import read_file_meta
from storage.dicom.part10 import IMPLEMENTATION_CLASS_UID, file_meta_bytes
from tests.unit.storage.dicom.datasets import CT, EXPLICIT, part10


def test_pydicom_reads_every_element_of_the_file_meta() -> None:
    meta = pydicom.dcmread(part10()).file_meta
    assert meta.FileMetaInformationGroupLength == len(part10().getvalue().split(b"\x08\x00\x16\x00")[0]) - 144
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3.4")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID == parse_uid(IMPLEMENTATION_CLASS_UID)
    assert (meta.ImplementationVersionName, meta.SourceApplicationEntityTitle) == ("COUNTERPART", "CT1")


def test_dcmtk_takes_it_for_a_dicom_file(tmp_path: Path) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(part10().getvalue())
    assert subprocess.run(["dcmftest", path], capture_output=True, check=True, text=True).stdout.startswith("yes")


def test_whatever_a_command_claims_becomes_a_readable_file_meta() -> None:
    head = file_meta_bytes("é" * 100, "../../x", EXPLICIT, "A TITLE LONGER THAN SIXTEEN")
    meta = read_file_meta(io.BytesIO(head))
    assert (meta.text(0x00020002), meta.text(0x00020003)) == ("?" * 64, "../../x")
    assert meta.text(0x00020016) == "A TITLE LONGER T"
    assert meta.dataset_offset == len(head)
