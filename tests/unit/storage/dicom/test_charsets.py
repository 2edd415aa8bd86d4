"""Chinese names read right whatever the modality declared, and the object is never touched."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from storage.dicom.charsets import choose_character_set
from storage.dicom.headers import read_header
from tests.unit.storage.dicom.datasets import CHARSET_FILES, part10

NAME = "张三"
GB = NAME.encode("gb18030")
# The two about sequences belong to no study.
EXAMPLES = [path for path in sorted(CHARSET_FILES.glob("*.dcm")) if not path.stem.startswith("chrSQ")]


def read(declared: str, raw: bytes) -> tuple[str, str | None]:
    chosen = choose_character_set(declared, [raw])
    return chosen.decode(raw), chosen.repair


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("GB18030", GB),
        ("GBK", GB),
        ("GB2312", GB),
        ("ISO_IR 58", GB),
        ("ISO_IR 192", NAME.encode()),
        ("UTF-8", NAME.encode()),
        ("iso-ir 192 ", NAME.encode()),
        ("\\ISO 2022 IR 58", b"\x1b$)A" + GB),
        ("ISO 2022 IR 6\\ISO 2022 IR 58", b"\x1b$)A" + GB),
        ("ISO 2022 IR 6\\ISO 2022-IR-58", b"\x1b$)A" + GB),
        ("\\ISO 2022 GBK", b"\x1b$)A" + GB),
    ],
)
def test_a_rightly_declared_name_needs_no_repair(declared: str, raw: bytes) -> None:
    assert read(declared, raw) == (NAME, None)


@pytest.mark.parametrize("declared", ["", "ISO_IR 6", "ISO_IR 100", "\\ISO 2022 IR 58", "ISO_IR 192", "KLINGON"])
def test_raw_gb_bytes_under_a_wrong_or_missing_label_are_read_and_the_repair_is_recorded(declared: str) -> None:
    assert read(declared, GB) == (NAME, f"read as GB18030, declared {declared or 'nothing'}")


@pytest.mark.parametrize("declared", ["", "ISO_IR 6", "ISO_IR 100", "\\ISO 2022 IR 58", "KLINGON"])
def test_utf_8_bytes_under_a_wrong_or_missing_label_are_read_too(declared: str) -> None:
    assert read(declared, NAME.encode()) == (NAME, f"read as ISO_IR 192, declared {declared or 'nothing'}")


def test_a_character_beyond_gb_2312_is_read_beside_everyday_ones() -> None:
    assert read("GB18030", "王䶮".encode("gb18030")) == ("王䶮", None)
    assert read("", "王䶮".encode("gb18030"))[0] == "王䶮"


@pytest.mark.parametrize("name", ["Müller^Jürgen", "Buc^Jérôme", "Äneas^Rüdiger", "Nuñez"])
def test_a_european_name_is_not_taken_for_chinese(name: str) -> None:
    raw = name.encode("latin-1")
    assert read("ISO_IR 100", raw) == (name, None)
    assert read("", raw) == (name, "read as ISO_IR 100, declared nothing")


def test_plain_ascii_needs_no_repair_whatever_is_declared() -> None:
    for declared in ("", "ISO_IR 100", "GB18030", "\\ISO 2022 IR 58"):
        assert read(declared, b"Zhang^San") == ("Zhang^San", None)


def test_bytes_that_fit_nothing_become_visible_and_never_an_error() -> None:
    assert "�" in choose_character_set("ISO_IR 192", []).decode(b"\xff\xfe\xfd")


def test_component_groups_in_three_scripts_are_read() -> None:
    raw = b"Zhang^San=\x1b$)A" + "张^三".encode("gb2312")
    assert read("\\ISO 2022 IR 58", raw) == ("Zhang^San=张^三", None)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_standards_own_examples_are_read_as_pydicom_reads_them(path: Path) -> None:
    expected = pydicom.dcmread(path)
    with path.open("rb") as file:
        header = read_header(file)
    assert header.patient_name == str(expected.PatientName)
    assert header.character_set_repair is None


def test_importing_this_module_mends_iso_2022_ir_58_in_pydicom() -> None:
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
    dataset.PatientName = pydicom.valuerep.PersonName("Zhang^San=张^三")
    assert b"\x1b$)A" in dataset.PatientName.encode(["iso8859", "iso_ir_58"])
    assert pydicom.charset.decode_bytes(b"\x1b$)A" + GB, ["iso8859", "iso_ir_58"], set()) == NAME


def test_the_repair_follows_the_header_into_the_catalogue() -> None:
    header = read_header(part10({0x00080005: ("CS", b"ISO_IR 100"), 0x00100010: ("PN", GB)}))
    assert header.patient_name == NAME
    assert header.character_set == "ISO_IR 100"
    assert header.character_set_repair == "read as GB18030, declared ISO_IR 100"
