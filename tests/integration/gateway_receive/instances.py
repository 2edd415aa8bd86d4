"""Small DICOM instances, written byte by byte so that they can be wrong in any way."""

from __future__ import annotations

import struct
from pathlib import Path

from storage.dicom.part10 import file_meta_bytes

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
STUDY = "1.2.826.0.1.3680043.10.1"
ROWS, COLUMNS = 16, 16

TAGS = {
    "charset": (0x0008, 0x0005, "CS"),
    "sop_class_uid": (0x0008, 0x0016, "UI"),
    "sop_instance_uid": (0x0008, 0x0018, "UI"),
    "accession_number": (0x0008, 0x0050, "SH"),
    "modality": (0x0008, 0x0060, "CS"),
    "patient_name": (0x0010, 0x0010, "PN"),
    "patient_number": (0x0010, 0x0020, "LO"),
    "study_uid": (0x0020, 0x000D, "UI"),
    "series_uid": (0x0020, 0x000E, "UI"),
    "instance_number": (0x0020, 0x0013, "IS"),
    "samples": (0x0028, 0x0002, "US"),
    "photometric": (0x0028, 0x0004, "CS"),
    "rows": (0x0028, 0x0010, "US"),
    "columns": (0x0028, 0x0011, "US"),
    "bits_allocated": (0x0028, 0x0100, "US"),
    "bits_stored": (0x0028, 0x0101, "US"),
    "high_bit": (0x0028, 0x0102, "US"),
    "pixel_representation": (0x0028, 0x0103, "US"),
    "pixels": (0x7FE0, 0x0010, "OW"),
}


def instance_uid(number: int, study: str = STUDY) -> str:
    return f"{study}.1.{number}"


def dataset_bytes(number: int = 1, study: str = STUDY, **changed: str | int | bytes | None) -> bytes:
    """Return an explicit little endian CT slice; a value of None leaves the element out."""
    values: dict[str, str | int | bytes | None] = {
        "charset": "ISO_IR 192",
        "sop_class_uid": CT,
        "sop_instance_uid": instance_uid(number, study),
        "accession_number": None,
        "modality": "CT",
        "patient_name": "TEST^RECEIVE",
        "patient_number": None,
        "study_uid": study,
        "series_uid": f"{study}.1",
        "instance_number": str(number),
        "samples": 1,
        "photometric": "MONOCHROME2",
        "rows": ROWS,
        "columns": COLUMNS,
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
        "pixel_representation": 0,
        "pixels": struct.pack("<H", number) * (ROWS * COLUMNS),
    }
    values |= changed
    return b"".join(_element(*TAGS[name], values[name]) for name in TAGS if values[name] is not None)


def write_part10(
    path: Path,
    dataset: bytes,
    *,
    sop_instance_uid: str,
    sop_class_uid: str = CT,
    transfer_syntax_uid: str = EXPLICIT_LITTLE,
) -> Path:
    path.write_bytes(file_meta_bytes(sop_class_uid, sop_instance_uid, transfer_syntax_uid, "MAKER") + dataset)
    return path


def write_slice(directory: Path, number: int = 1, study: str = STUDY, **changed: str | int | bytes | None) -> Path:
    """Write one good slice, or one that is wrong in what `changed` says; the meta stays right."""
    directory.mkdir(exist_ok=True)
    uid = instance_uid(number, study)
    return write_part10(directory / f"{uid}.dcm", dataset_bytes(number, study, **changed), sop_instance_uid=uid)


def _element(group: int, number: int, vr: str, value: str | int | bytes | None) -> bytes:
    if isinstance(value, int):
        raw = struct.pack("<H", value)
    else:
        raw = value.encode() if isinstance(value, str) else value or b""
        raw += (b"\0" if vr in ("UI", "OW") else b" ") * (len(raw) % 2)
    if vr == "OW":
        return struct.pack("<HH2sHI", group, number, vr.encode(), 0, len(raw)) + raw
    return struct.pack("<HH2sH", group, number, vr.encode(), len(raw)) + raw
