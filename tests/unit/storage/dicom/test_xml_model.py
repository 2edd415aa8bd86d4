"""Datasets as XML; what PS3.19 annex A and XML 1.0 say is written here a second time."""

from __future__ import annotations

from typing import Any

import pytest

from storage.dicom.xml_model import NAMESPACE, NotNativeDicom, dataset_xml, parse_dataset_xml

DATASET: dict[str, Any] = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080061": {"vr": "CS", "Value": ["CT", None, "MR"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Li^Xiaoming^^Dr", "Ideographic": "李^小明"}]},
    "00101030": {"vr": "DS", "Value": [70.5]},
    "00189074": {"vr": "FD", "Value": [1.0]},
    "00200013": {"vr": "IS", "Value": [7]},
    "00404018": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["<110005> & more"]}}, {}]},
    "00420011": {"vr": "OB", "InlineBinary": "AAEC"},
    "00741202": {"vr": "LO"},
}
WRITTEN = f"""<?xml version='1.0' encoding='utf-8'?>
<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\
<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"><Alphabetic>\
<FamilyName>Li</FamilyName><GivenName>Xiaoming</GivenName></Alphabetic></PersonName></DicomAttribute>\
<DicomAttribute tag="00404018" vr="SQ" keyword="ScheduledWorkitemCodeSequence"><Item number="1">\
<DicomAttribute tag="00080100" vr="SH" keyword="CodeValue"><Value number="1">1&amp;2</Value></DicomAttribute></Item>\
</DicomAttribute><DicomAttribute tag="00741202" vr="LO" keyword="WorklistLabel" /></NativeDicomModel>"""


def model(inside: str, before: str = "") -> bytes:
    return f'{before}<NativeDicomModel xmlns="{NAMESPACE}">{inside}</NativeDicomModel>'.encode()


def attribute(inside: str, vr: str = "LO") -> bytes:
    return model(f'<DicomAttribute tag="00081030" vr="{vr}">{inside}</DicomAttribute>')


def test_dataset_comes_back_as_it_was() -> None:
    assert parse_dataset_xml(dataset_xml(DATASET)) == DATASET


def test_dataset_is_written_as_the_standard_shows_it() -> None:
    of_code = {"00080100": {"vr": "SH", "Value": ["1&2"]}}
    dataset = {
        "00741202": {"vr": "LO"},
        "00404018": {"vr": "SQ", "Value": [of_code]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Li^Xiaoming"}]},
    }
    assert dataset_xml(dataset).decode() == WRITTEN


def test_values_stand_in_the_order_of_their_numbers() -> None:
    read = parse_dataset_xml(attribute('<Value number="2">b</Value><Value number="1">a</Value>'))
    assert read["00081030"]["Value"] == ["a", "b"]


def test_what_xml_has_no_character_for_is_replaced() -> None:
    written = dataset_xml({"00081030": {"vr": "LO", "Value": ["a\x1b\ud800b"]}})
    assert parse_dataset_xml(written)["00081030"]["Value"] == ["a\ufffd\ufffdb"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (model("", '<!DOCTYPE a [<!ENTITY b "c">]>'), "document type"),
        (model("&b;", '<!DOCTYPE a SYSTEM "file:///etc/passwd">'), "document type"),
        (model("&b;"), "no XML"),
        (b"", "no XML"),
        (b"<a", "no XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "no XML"),
        (b"<NativeDicomModel/>", "NativeDicomModel of"),
        (model("<a/>"), "DicomAttribute"),
        (model('<DicomAttribute tag="0008" vr="LO"/>'), "tag and vr"),
        (model('<DicomAttribute tag="00081030"/>'), "tag and vr"),
        (model('<DicomAttribute tag="0008103E" vr="LO"/><DicomAttribute tag="0008103e" vr="LO"/>'), "twice"),
        (attribute('<Value number="2">a</Value>'), "without a gap"),
        (attribute('<Value number="1">a</Value><Value number="1">b</Value>'), "without a gap"),
        (attribute("<Value>a</Value>"), "without a gap"),
        (attribute('<BulkData uri="file:///etc/passwd"/>', "OB"), "Value elements"),
        (attribute('<Value number="1"><a/></Value>'), "text"),
        (attribute('<Value number="1">a</Value>', "SQ"), "Item elements"),
        (attribute('<Value number="1">a</Value>', "US"), "a number"),
        (attribute('<Value number="1">NaN</Value>', "FD"), "finite"),
        (attribute('<PersonName number="1"><Alphabetic><a/></Alphabetic></PersonName>', "PN"), "components"),
    ],
)
def test_what_is_no_dataset_is_refused_with_words(document: bytes, words: str) -> None:
    with pytest.raises(NotNativeDicom, match=words):
        parse_dataset_xml(document)


@pytest.mark.parametrize("levels", [100, 4000])
def test_depth_is_bounded(levels: int) -> None:
    begin, end = '<DicomAttribute tag="00404018" vr="SQ"><Item number="1">', "</Item></DicomAttribute>"
    with pytest.raises(NotNativeDicom, match="deep"):
        parse_dataset_xml(model(begin * levels + end * levels))
