"""Names that every file system takes, a directory that others read, archives that need no memory."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pydicom
import pytest

from storage.media.dicomdir import BadFileId, Directory
from storage.media.names import NAME_BYTES_MAX, Numbers, file_set_name, safe_name
from storage.media.records import Described
from storage.media.zip_stream import Member, zip_pieces

MIB = 1024 * 1024
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def described(series: int, number: int, kind: str | None = "IMAGE") -> Described:
    values = {
        0x00080016: b"1.2.840.10008.5.1.4.1.1.2",
        0x00080018: f"1.2.3.{series}.{number}".encode(),
        0x0020000D: b"1.2.3",
        0x0020000E: f"1.2.3.{series}".encode(),
        0x00200013: str(number).encode(),
    }
    return Described(values, {}, "1.2.840.10008.1.2.1", kind)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("a/b\\c:d*e?",), "a_b_c_d_e"),
        (("..", "x"), "x"),
        (("王芳", "胸部 CT"), "王芳_胸部_CT"),
        (("",), "unnamed"),
        (("...",), "unnamed"),
        (("con",), "_con"),
        (("LPT1.txt",), "_LPT1.txt"),
        (("a\n\x00b",), "a_b"),
        (("e\u0301",), "\u00e9"),
    ],
)
def test_name_is_one_that_every_file_system_takes(words: tuple[str, ...], name: str) -> None:
    assert safe_name(*words) == name


def test_long_name_is_cut_between_characters() -> None:
    assert len(safe_name("龙" * 300).encode()) <= NAME_BYTES_MAX
    assert set(safe_name("龙" * 300)) == {"龙"}


def test_things_are_numbered_within_what_they_are_in() -> None:
    numbers = Numbers()
    assert [numbers.of("a", thing) for thing in "xyx"] == [1, 2, 1]
    assert numbers.of("b", "z") == 1


@pytest.mark.parametrize("file_id", [(), ("lower",), ("TOOLONG12",), ("A.B",), ("",), tuple("ABCDEFGHI")], ids="-".join)
def test_file_id_that_the_standard_forbids_is_refused(file_id: tuple[str, ...]) -> None:
    with pytest.raises(BadFileId):
        Directory().add(file_id, described(1, 1))


def test_file_is_listed_once() -> None:
    directory = Directory()
    assert directory.add(("A",), described(1, 1))
    with pytest.raises(BadFileId):
        directory.add(("A",), described(1, 2))


def test_instance_without_a_kind_of_record_is_left_out() -> None:
    assert not Directory().add(("A",), described(1, 1, kind=None))


def test_empty_directory_is_one() -> None:
    read = pydicom.dcmread(io.BytesIO(Directory().to_bytes("SET", "1.2.3")))
    assert (read.DirectoryRecordSequence, read.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity) == ([], 0)


def test_offsets_lead_through_two_thousand_instances() -> None:
    directory = Directory()
    for number in range(1, 2001):
        directory.add(file_set_name(1, number % 3 + 1, number), described(number % 3, number))
    data = directory.to_bytes("SET", "1.2.3")
    read = pydicom.dcmread(io.BytesIO(data))
    by_offset = {record.seq_item_tell: record for record in read.DirectoryRecordSequence}

    def walk(offset: int) -> Iterator[str]:
        while offset:
            record = by_offset[offset]
            yield record.DirectoryRecordType
            yield from walk(record.OffsetOfReferencedLowerLevelDirectoryEntity)
            offset = record.OffsetOfTheNextDirectoryRecord

    found = list(walk(read.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity))
    assert len(found) == len(by_offset) == 2005
    assert (found.count("SERIES"), found.count("IMAGE")) == (3, 2000)


class _Zeros(io.RawIOBase):
    """A large file that is nowhere."""

    def __init__(self, size_bytes: int) -> None:
        self.left = size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        size_bytes = min(len(view), self.left)
        view[:size_bytes] = bytes(size_bytes)
        self.left -= size_bytes
        return size_bytes


def test_archive_is_made_without_being_held() -> None:
    def members() -> Iterator[Member]:
        for number in range(16):
            yield Member((f"{number}",), io.BufferedReader(_Zeros(16 * MIB)), 16 * MIB)

    tracemalloc.start()
    size_bytes = sum(len(piece) for piece in zip_pieces(members(), NOW))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_bytes > 256 * MIB
    assert peak < 16 * MIB


def test_archive_bears_the_time_and_names() -> None:
    made = io.BytesIO(b"".join(zip_pieces([Member(("王", "a.txt"), io.BytesIO(b"x"), 1)], NOW)))
    with zipfile.ZipFile(made) as archive:
        [info] = archive.infolist()
    assert (info.filename, info.date_time) == ("王/a.txt", (2026, 3, 2, 9, 30, 0))
