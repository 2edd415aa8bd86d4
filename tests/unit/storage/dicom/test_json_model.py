"""The JSON model agrees with pydicom's, and its text is right where the declared character set is wrong."""

from __future__ import annotations

import base64
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from storage.dicom.json_model import INLINE_BYTES_MAX, instance_json
from tests.unit.storage.dicom.datasets import CHARSET_FILES, TEST_FILES, element, item, part10

FILES = [
    TEST_FILES / f"{name}.dcm"
    for name in ("CT_small", "MR_small_implicit", "MR_small_bigendian", "rtplan", "test-SR", "UN_sequence", "reportsi")
] + [CHARSET_FILES / f"{name}.dcm" for name in ("chrX1", "chrX2", "chrH31", "chrI2", "chrSQEncoding", "chrSQEncoding1")]


def by_pydicom(path: Path) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path).to_json_dict(
            bulk_data_threshold=(INLINE_BYTES_MAX + 2) // 3 * 4, bulk_data_element_handler=lambda bulk: "/bulk"
        )


def without_differences_of_form(dataset: dict[str, Any]) -> dict[str, Any]:
    """Group lengths, the character set and pixel data are ours to write; the rest must agree."""
    plain: dict[str, Any] = {}
    for tag, value in dataset.items():
        if tag.endswith("0000") or tag in ("00080005", "7FE00010"):
            continue
        items = [without_differences_of_form(entry) for entry in value.get("Value", [])] if value["vr"] == "SQ" else []
        plain[tag] = {"vr": "SQ", "Value": items} if value["vr"] == "SQ" else value
    return plain


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_is_the_one_that_pydicom_reads(path: Path) -> None:
    with path.open("rb") as file:
        model = instance_json(file, bulk_data_uri=lambda where: "/bulk")
    assert without_differences_of_form(model) == without_differences_of_form(by_pydicom(path))
    json.dumps(model, allow_nan=False)


def test_text_is_repaired_and_the_character_set_says_utf_8() -> None:
    raw = "张三".encode("gb18030")
    model = instance_json(part10({0x00080005: ("CS", b"ISO_IR 100"), 0x00100010: ("PN", raw + b"=" + raw)}))
    assert model["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert model["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "张三", "Ideographic": "张三"}]}


def test_an_item_inherits_the_character_set_of_its_dataset() -> None:
    nested = element(0x00080104, "LO", "胸部".encode("gb18030"))
    model = instance_json(part10({0x00080005: ("CS", b"GB18030"), 0x00400260: ("SQ", item(nested))}))
    assert model["00400260"]["Value"] == [{"00080104": {"vr": "LO", "Value": ["胸部"]}}]


def test_pixel_data_is_never_inside_and_its_address_comes_from_the_caller() -> None:
    file = part10(tail=element(0x7FE00010, "OW", b"1234"))
    assert instance_json(file)["7FE00010"] == {"vr": "OW"}
    asked: list[str] = []
    model = instance_json(file, bulk_data_uri=lambda where: asked.append(where) or f"../bulk/{where}")  # type: ignore[func-returns-value]
    assert model["7FE00010"] == {"vr": "OW", "BulkDataURI": "../bulk/7FE00010"}
    assert asked == ["7FE00010"]


def test_short_binary_is_inline_and_long_binary_is_bulk_with_its_path() -> None:
    long = element(0x00091010, "OB", b"x" * (INLINE_BYTES_MAX + 2))
    short = element(0x00091011, "OB", b"xy")
    file = part10({0x00400260: ("SQ", item(long + short))})
    (entry,) = instance_json(file, bulk_data_uri=lambda where: where)["00400260"]["Value"]
    assert entry["00091010"] == {"vr": "OB", "BulkDataURI": "00400260/0/00091010"}
    assert entry["00091011"] == {"vr": "OB", "InlineBinary": base64.b64encode(b"xy").decode()}


def test_a_number_that_is_none_stays_a_text_and_empty_values_are_null() -> None:
    model = instance_json(
        part10(
            {
                0x00180050: ("DS", b"1.5\\abc\\\\NaN"),
                0x00200011: ("IS", b"1.5"),
                0x00080008: ("CS", b"ORIGINAL\\\\AXIAL"),
                0x00189087: ("FD", struct.pack("<d", float("inf"))),
            }
        )
    )
    assert model["00180050"]["Value"] == [1.5, "abc", None, "NaN"]
    assert model["00200011"]["Value"] == ["1.5"]
    assert model["00080008"]["Value"] == ["ORIGINAL", None, "AXIAL"]
    assert model["00189087"]["Value"] == ["inf"]
