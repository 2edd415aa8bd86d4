"""What the gateway and the catalogue must know of an instance, read from its file without its pixel data.

Strict where an identifier becomes a path or a key, lenient everywhere else: an odd date or number is None, never an
error. Nothing is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO, Final

from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid
from storage.dicom.charsets import TEXT_VRS, CharacterSet, choose_character_set
from storage.dicom.elements import (
    TRANSFER_SYNTAX_UID,
    Element,
    Encoding,
    FileMeta,
    NotDicom,
    detect_encoding,
    open_dataset,
    read_elements,
    read_file_meta,
    read_value,
)

__all__ = ["HeaderReading", "InstanceHeader", "InvalidIdentifier", "MissingIdentifier", "NotDicom", "read_header"]

VALUE_BYTES_MAX: Final = 16 * 1024  # a longer value is not one that the catalogue keeps
SAMPLES_BYTES_MAX: Final = 64 * 1024

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_DATE: Final = 0x00080020
STUDY_TIME: Final = 0x00080030
ACCESSION_NUMBER: Final = 0x00080050
MODALITY: Final = 0x00080060
REFERRING_PHYSICIAN: Final = 0x00080090
TIMEZONE_OFFSET: Final = 0x00080201
STUDY_DESCRIPTION: Final = 0x00081030
SERIES_DESCRIPTION: Final = 0x0008103E
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
BIRTH_DATE: Final = 0x00100030
SEX: Final = 0x00100040
BODY_PART: Final = 0x00180015
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
STUDY_ID: Final = 0x00200010
SERIES_NUMBER: Final = 0x00200011
INSTANCE_NUMBER: Final = 0x00200013
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
PIXEL_DATA_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
PIXEL_DATA_GROUP: Final = 0x7FE00000
_LAST_PIXEL_DATA_TAG: Final = max(PIXEL_DATA_TAGS)

_WANTED: Final = frozenset(
    {SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_DATE, STUDY_TIME, ACCESSION_NUMBER, MODALITY}
    | {REFERRING_PHYSICIAN, TIMEZONE_OFFSET, STUDY_DESCRIPTION, SERIES_DESCRIPTION, PATIENT_NAME, PATIENT_ID}
    | {BIRTH_DATE, SEX, BODY_PART, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, STUDY_ID, SERIES_NUMBER}
    | {INSTANCE_NUMBER, NUMBER_OF_FRAMES, ROWS, COLUMNS}
)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}")
_DATE: Final = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})")
_INT32: Final = range(-(2**31), 2**31)


class MissingIdentifier(Exception):
    """The instance lacks a UID without which it belongs nowhere; the message names it."""


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """One instance as its header says; texts are decoded, absent ones empty. `frame_count` is 0 without pixel data."""

    study_uid: Uid
    series_uid: Uid
    sop_instance_uid: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    patient_number: str
    patient_name: str  # PN, its component groups between `=`
    birth_date: date | None
    sex: str
    accession_number: str
    study_number: str
    study_description: str
    study_date: date | None
    study_time: str  # TM as sent
    modality: str
    series_number: int | None
    series_description: str
    instance_number: int | None
    body_part: str
    referring_physician: str
    rows: int | None
    columns: int | None
    frame_count: int
    character_set: str
    character_set_repair: str | None
    timezone_offset: str  # (0008,0201), such as +0800


def read_header(file: BinaryIO) -> InstanceHeader:
    """Return the header of a Part 10 file; what follows the header need not be whole.

    Raises:
        NotDicom: the bytes are no Part 10 file.
        DatasetTruncated: the file ends before its pixel data begins.
        MissingIdentifier: a UID is missing.
        InvalidIdentifier: a UID may not stand in a path.
    """
    reading = HeaderReading(read_file_meta(file))
    dataset, start, end = open_dataset(file, reading.meta)
    try:
        encoding = detect_encoding(dataset, reading.transfer_syntax_uid, start)
        for element in read_elements(dataset, encoding, start, end):
            reading.observe(dataset, encoding, element)
            if reading.is_complete:
                break
    finally:
        if dataset is not file:
            dataset.close()
    return reading.header()


class HeaderReading:
    """Collects the header while somebody walks over the dataset's elements."""

    def __init__(self, meta: FileMeta) -> None:
        """Raise InvalidIdentifier when the transfer syntax is no UID."""
        self.meta = meta
        self.transfer_syntax_uid = parse_uid(meta.text(TRANSFER_SYNTAX_UID), name="Transfer Syntax UID")
        self.is_complete = False
        self._found = _Values()

    def observe(self, dataset: BinaryIO, encoding: Encoding, element: Element) -> None:
        """Take what the header needs of the next element of the top level."""
        found = self._found
        if self.is_complete:
            return
        found.order = encoding.order
        if element.tag >= PIXEL_DATA_GROUP:
            found.has_pixel_data = found.has_pixel_data or element.tag in PIXEL_DATA_TAGS
            self.is_complete = element.tag >= _LAST_PIXEL_DATA_TAG
        else:
            _keep(dataset, element, found)

    def header(self) -> InstanceHeader:
        """Return the header; raise MissingIdentifier or InvalidIdentifier as `read_header` does."""
        found = self._found
        found.character_set = choose_character_set(found.ascii(SPECIFIC_CHARACTER_SET), found.samples)
        return _header_of(found, self.transfer_syntax_uid)


def _header_of(found: _Values, transfer_syntax_uid: Uid) -> InstanceHeader:
    return InstanceHeader(
        study_uid=found.uid(STUDY_INSTANCE_UID, "Study Instance UID"),
        series_uid=found.uid(SERIES_INSTANCE_UID, "Series Instance UID"),
        sop_instance_uid=found.uid(SOP_INSTANCE_UID, "SOP Instance UID"),
        sop_class_uid=found.uid(SOP_CLASS_UID, "SOP Class UID"),
        transfer_syntax_uid=transfer_syntax_uid,
        patient_number=found.text(PATIENT_ID),
        patient_name=found.text(PATIENT_NAME).rstrip("="),
        birth_date=parse_date(found.text(BIRTH_DATE)),
        sex=found.text(SEX),
        accession_number=found.text(ACCESSION_NUMBER),
        study_number=found.text(STUDY_ID),
        study_description=found.text(STUDY_DESCRIPTION),
        study_date=parse_date(found.text(STUDY_DATE)),
        study_time=found.text(STUDY_TIME),
        modality=found.text(MODALITY),
        series_number=_parse_integer(found.text(SERIES_NUMBER)),
        series_description=found.text(SERIES_DESCRIPTION),
        instance_number=_parse_integer(found.text(INSTANCE_NUMBER)),
        body_part=found.text(BODY_PART),
        referring_physician=found.text(REFERRING_PHYSICIAN).rstrip("="),
        rows=found.unsigned(ROWS),
        columns=found.unsigned(COLUMNS),
        frame_count=found.frame_count(),
        character_set=found.character_set.declared,
        character_set_repair=found.character_set.repair,
        timezone_offset=found.text(TIMEZONE_OFFSET),
    )


def parse_date(text: str) -> date | None:
    """Return a DA value (PS3.5 section 6.2, or the old `YYYY.MM.DD`), None when it is no date of the calendar."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


class _Values:
    """Raw values of one header, and what is needed to read them."""

    def __init__(self) -> None:
        self.raw: dict[int, bytes] = {}
        self.samples: list[bytes] = []
        self.samples_bytes = 0
        self.order = "<"
        self.has_pixel_data = False
        self.character_set = CharacterSet("", ("ascii",), None)

    def ascii(self, tag: int) -> str:
        return self.raw.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def text(self, tag: int) -> str:
        return self.character_set.decode(self.raw.get(tag, b""))

    def uid(self, tag: int, name: str) -> Uid:
        text = self.ascii(tag)
        if not text:
            raise MissingIdentifier(f"{name} is missing")
        return parse_uid(text, name=name)

    def unsigned(self, tag: int) -> int | None:
        value = self.raw.get(tag, b"")[:2]
        return int.from_bytes(value, "big" if self.order == ">" else "little") if len(value) == 2 else None

    def frame_count(self) -> int:
        if not self.has_pixel_data:
            return 0
        return max(_parse_integer(self.ascii(NUMBER_OF_FRAMES)) or 1, 1)

    def add_sample(self, value: bytes) -> None:
        if self.samples_bytes < SAMPLES_BYTES_MAX:
            self.samples.append(value)
            self.samples_bytes += len(value)


def _keep(dataset: BinaryIO, element: Element, found: _Values) -> None:
    is_text = element.vr in TEXT_VRS
    if not (is_text or element.tag in _WANTED) or element.length is None or element.length > VALUE_BYTES_MAX:
        return
    value = read_value(dataset, element, limit_bytes=VALUE_BYTES_MAX)
    if element.tag in _WANTED:
        found.raw.setdefault(element.tag, value)
    if is_text:
        found.add_sample(value)


def _parse_integer(text: str) -> int | None:
    if _INTEGER.fullmatch(text.strip()) is None:
        return None
    number = int(text)
    return number if number in _INT32 else None
