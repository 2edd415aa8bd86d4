"""Two files have one `values_sha256` exactly when their element values agree."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from storage.dicom.values import digest_values, turn_words
from tests.unit.storage.dicom.datasets import CT, TEST_FILES, element, item, part10
from tests.unit.storage.dicom.transcoding.images import BIG_ENDIAN, EXPLICIT, IMPLICIT, everything, image, smooth
from tests.unit.storage.dicom.transcoding.images import part10 as written


def ct(change: Callable[[Dataset], None] = everything) -> Dataset:
    return image(smooth((1, 16, 16), 0, 4000), bits=16, change=change)


def test_the_syntax_does_not_matter() -> None:
    digests = {digest_values(written(ct(), syntax)) for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN)}
    assert len(digests) == 1


def test_a_real_file_agrees_with_itself_in_other_syntaxes() -> None:
    names = ("MR_small_expb.dcm", "MR_small_bigendian.dcm")
    assert len({digest_values(io.BytesIO((TEST_FILES / name).read_bytes())) for name in names}) == 1


def test_what_describes_the_coding_of_pixels_does_not_matter() -> None:
    def described_otherwise(dataset: Dataset) -> None:
        everything(dataset)
        dataset.PhotometricInterpretation = "YBR_RCT"
        dataset.PlanarConfiguration = 1
        dataset.PixelData = bytes(512)

    assert digest_values(written(ct(described_otherwise))) == digest_values(written(ct()))


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: setattr(dataset, "PatientName", "SAMPLE^TWO"),
        lambda dataset: setattr(dataset, "StudyTime", "080001"),
        lambda dataset: setattr(dataset, "BitsStored", 15),
        lambda dataset: dataset.__delitem__("StudyDate"),
        lambda dataset: dataset.add_new(0x00291002, "UN", b"\1\2\3\5"),
        lambda dataset: setattr(dataset.ReferencedStudySequence[0], "ReferencedSOPInstanceUID", "1.2.99"),
        lambda dataset: dataset.ReferencedStudySequence.append(Dataset()),
        lambda dataset: setattr(dataset.IconImageSequence[0], "PixelData", b"\1\2\3\5"),
    ],
)
def test_every_value_matters_nested_and_private_ones_too(change: Callable[[Dataset], None]) -> None:
    def changed(dataset: Dataset) -> None:
        everything(dataset)
        change(dataset)

    assert digest_values(written(ct(changed))) != digest_values(written(ct()))


def test_padding_that_means_nothing_does_not_matter_but_a_zero_number_does() -> None:
    plain = part10({0x00100020: ("LO", b"P1")})
    padded = part10({0x00100020: ("LO", b"P1  ")})
    assert digest_values(plain) == digest_values(padded)
    none, zero = part10({0x00280106: ("US", b"")}), part10({0x00280106: ("US", b"\0\0")})
    assert digest_values(none) != digest_values(zero)


def test_group_lengths_and_trailing_padding_do_not_matter() -> None:
    plain = part10()
    with_both = part10({0x00080000: ("UL", b"\1\0\0\0")}, tail=element(0xFFFCFFFC, "OB", bytes(20)))
    assert digest_values(plain) == digest_values(with_both)


def test_the_border_between_elements_and_items_matters() -> None:
    one = item(element(0x00081155, "UI", b"1.2") + element(0x00081150, "UI", CT.encode()))
    two = item(element(0x00081155, "UI", b"1.2")) + item(element(0x00081150, "UI", CT.encode()))
    assert digest_values(part10({0x00081110: ("SQ", one)})) != digest_values(part10({0x00081110: ("SQ", two)}))


def test_the_format_is_the_one_that_catalogues_hold() -> None:
    """Digests are kept for ever: whoever changes this value must give the format another number."""
    nested = item(element(0x00081155, "UI", b"1.2.3"))
    file = part10({0x00081110: ("SQ", nested), 0x00100020: ("LO", b"P1"), 0x00280010: ("US", struct.pack("<H", 512))})
    assert digest_values(file) == "065aaa400f13f5113305ec64fd21816b43c1592632b68453dcc15d847ec73d47"


def test_words_are_turned_and_a_rest_stays() -> None:
    assert turn_words(b"abcdefg", 2) == b"badcfeg"
    assert turn_words(b"abcdefgh", 4) == b"dcbahgfe"
