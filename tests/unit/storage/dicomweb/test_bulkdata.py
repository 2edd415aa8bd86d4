"""Addresses of long binary values, and the values found by them."""

from __future__ import annotations

import io

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from storage.dicomweb.bulkdata import complete_addresses, read_value, stored_address
from storage.dicomweb.errors import BulkDataNotFound

SAMPLES = bytes(range(256)) * 8


def file_with_waveform(syntax: UID) -> bytes:
    channel = Dataset()
    channel.add_new(0x54001010, "OW", SAMPLES)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3"
    dataset.add_new(0x54000100, "SQ", [Dataset(), channel])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def opened(syntax: UID) -> io.BytesIO:
    return io.BytesIO(file_with_waveform(syntax))


def test_value_inside_a_sequence_is_found_by_its_path() -> None:
    assert read_value(opened(ExplicitVRLittleEndian), "54000100/1/54001010") == SAMPLES


def test_value_of_a_big_endian_file_is_given_in_little_endian() -> None:
    swapped = bytes(SAMPLES[index ^ 1] for index in range(len(SAMPLES)))
    assert read_value(opened(ExplicitVRBigEndian), "54000100/1/54001010") == swapped


@pytest.mark.parametrize(
    "path",
    ["54000100/0/54001010", "54000100/2/54001010", "54000100", "54000100/1", "54001010", "7FE00010", "x", ""],
)
def test_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(BulkDataNotFound):
        read_value(opened(ExplicitVRLittleEndian), path)


def test_stored_addresses_are_completed_at_every_depth_and_others_stay() -> None:
    def header(outer: str, inner: str) -> dict[str, object]:
        item = {"54001010": {"vr": "OW", "BulkDataURI": inner}}
        return {
            "00080018": {"vr": "UI", "Value": ["1.2.3"]},
            "54000100": {"vr": "SQ", "Value": [item, {}]},
            "60003000": {"vr": "OW", "BulkDataURI": outer},
            "00281201": {"vr": "OW", "BulkDataURI": "https://elsewhere.example/1"},
        }

    dataset = header(stored_address("60003000") or "", stored_address("54000100/0/54001010") or "")
    complete_addresses(dataset, lambda path: f"/at/{path}")
    assert dataset == header("/at/60003000", "/at/54000100/0/54001010")


def test_pixel_data_has_no_address_of_its_own() -> None:
    assert stored_address("7FE00010") is None
