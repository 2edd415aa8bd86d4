"""The studies that the demonstration sends: pydicom's own bundled images and a generated CT phantom.

The first batch sends the bundled files with their own bytes and UIDs. Each further batch on the same state is a new set
of examinations: the same pixels under new UIDs, as a scanner would send next.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

# The folder itself: asking pydicom for a file by name may try the network.
BUNDLED_FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
FIRST_SITE, SECOND_SITE = "qinghe-t01", "qinghe-t02"

# (site, what it is, bundled files): CT, MR, radiography, ultrasound and colour; JPEG, JPEG 2000 and RLE among them.
BUNDLED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (FIRST_SITE, "CT", ("CT_small.dcm",)),
    (FIRST_SITE, "CT, JPEG 2000 lossless", ("J2K_pixelrep_mismatch.dcm",)),
    (FIRST_SITE, "MR", ("MR_small.dcm",)),
    (
        FIRST_SITE,
        "radiography, 3 views",
        tuple(f"dicomdirtests/77654033/{name}" for name in ("CR1/6154", "CR2/6247", "CR3/6278")),
    ),
    (
        FIRST_SITE,
        "CT, 3 series",
        tuple(f"dicomdirtests/98892001/{name}" for name in ("CT2N/6293", "CT2N/6924", "CT5N/2062")),
    ),
    (FIRST_SITE, "US, palette colour", ("examples_palette.dcm",)),
    (SECOND_SITE, "US cine, 30 JPEG frames", ("examples_ybr_color.dcm",)),
    (SECOND_SITE, "US, JPEG 2000 colour", ("examples_jpeg2k.dcm",)),
    (SECOND_SITE, "MR with overlay", ("examples_overlay.dcm",)),
    (SECOND_SITE, "CT, JPEG 2000", ("693_J2KI.dcm",)),
    (SECOND_SITE, "MR, 2 series", tuple(f"dicomdirtests/98892003/{name}" for name in ("MR1/5641", "MR2/6273"))),
    (SECOND_SITE, "colour capture, RLE", ("SC_rgb_rle.dcm",)),
)
PHANTOM_SLICES = 40
PHANTOM_ROWS = PHANTOM_COLUMNS = 256
PHANTOM_NAME = "赵䶮"  # the second character is missing from older Chinese character sets


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study to send: files of one Study Instance UID from one site."""

    site: str
    what: str
    modality: str
    study_uid: str
    files: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as plain values for the state file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> DemoStudy:
        """Return the study that `as_json` wrote."""
        return cls(**{**values, "files": tuple(values["files"])})  # type: ignore[arg-type]


def prepare_batch(folder: Path, number: int) -> list[DemoStudy]:
    """Write the batch's files where they need changing and return its studies, both sites mixed.

    The same folder and number always give the same studies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    studies = [phantom_study(folder, number)]
    for site, what, names in BUNDLED:
        files = [BUNDLED_FOLDER / name for name in names]
        if number > 1:
            files = [with_new_uids(file, folder, number) for file in files]
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        modality, study_uid = header.get("Modality") or "OT", header.StudyInstanceUID
        studies.append(DemoStudy(site, what, modality, study_uid, tuple(str(file) for file in files)))
    return studies


def derived_uid(*parts: object) -> str:
    """Return a UID under 2.25 that is always the same for the same parts."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(str(part) for part in parts)).int}"


def with_new_uids(file: Path, folder: Path, number: int) -> Path:
    """Return a copy of `file` under new UIDs; its pixels and syntax are untouched."""
    dataset = pydicom.dcmread(file)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        dataset[keyword].value = derived_uid(number, dataset[keyword].value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    target = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(target)
    return target


def phantom_study(folder: Path, number: int) -> DemoStudy:
    """Write a multi-slice chest phantom whose patient's name is in GB18030."""
    study_uid, series_uid = derived_uid(folder, number, "study"), derived_uid(folder, number, "series")
    files = []
    for index in range(PHANTOM_SLICES):
        dataset = phantom_slice(index)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.SOPInstanceUID = derived_uid(folder, number, index)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.AccessionNumber = f"T01{number:05d}"
        target = folder / f"phantom-{index:03d}.dcm"
        dataset.save_as(target, enforce_file_format=True)
        files.append(str(target))
    return DemoStudy(FIRST_SITE, f"CT phantom, {PHANTOM_SLICES} slices, GB18030", "CT", study_uid, tuple(files))


def phantom_slice(index: int) -> FileDataset:
    """Return one axial slice (256 × 256, 12 bit in 16) of a chest: soft tissue, two lungs, spine, one nodule."""
    rows, columns = np.mgrid[-1 : 1 : PHANTOM_ROWS * 1j, -1 : 1 : PHANTOM_COLUMNS * 1j]
    position = (index - PHANTOM_SLICES / 2) / (PHANTOM_SLICES / 2)
    hounsfield = np.full((PHANTOM_ROWS, PHANTOM_COLUMNS), -1000.0)
    hounsfield[(columns / 0.9) ** 2 + (rows / 0.65) ** 2 < 1] = 40
    lung = max(0.05, 1 - position**2) ** 0.5
    for side in (-1, 1):
        hounsfield[((columns - side * 0.4) / (0.28 * lung)) ** 2 + (rows / (0.45 * lung)) ** 2 < 1] = -850
    hounsfield[columns**2 + ((rows - 0.42) / 0.8) ** 2 < 0.11**2] = 400
    hounsfield[(columns - 0.4) ** 2 + (rows + 0.1) ** 2 + (0.5 * position - 0.1) ** 2 < 0.06**2] = 60
    noise = np.random.default_rng(index).normal(0, 12, hounsfield.shape)
    pixels = np.clip(hounsfield + noise + 1024, 0, 4095).astype("<u2")

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "GB18030"
    dataset.SOPClassUID = CTImageStorage
    dataset.PatientName, dataset.PatientID = PHANTOM_NAME, "QH-T01-0001"
    dataset.PatientBirthDate, dataset.PatientSex = "19620415", "M"
    dataset.StudyDate = dataset.SeriesDate = "20261123"
    dataset.StudyTime, dataset.StudyID = "083000", "1"
    dataset.StudyDescription, dataset.SeriesDescription = "胸部CT平扫", "肺窗 5mm"
    dataset.Modality, dataset.BodyPartExamined, dataset.Manufacturer = "CT", "CHEST", "Counterpart phantom"
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, index + 1
    dataset.FrameOfReferenceUID = derived_uid("phantom frame of reference")
    dataset.PatientPosition, dataset.SliceThickness = "HFS", "5"
    dataset.ImagePositionPatient = [-180, -180, index * 5]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.40625, 1.40625]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = PHANTOM_ROWS, PHANTOM_COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.WindowCenter, dataset.WindowWidth = "-500", "1500"
    dataset.PixelData = pixels.tobytes()
    return dataset
