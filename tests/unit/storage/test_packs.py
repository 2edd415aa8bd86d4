"""A pack is a pure function of its members, any tar opens it, and a reader accepts nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.contract.identifiers import InvalidIdentifier, Sha256Hex, Uid
from storage.packs import (
    MemberChanged,
    PackDamaged,
    PackedFile,
    PackLayout,
    PackMember,
    PackStream,
    layout_of,
    pack_sha256,
    plan_packs,
    scan_pack,
)

STUDY = "1.2.840.1"
MIB = 1024 * 1024
FILES = {"1.2.3": b"x" * 512, "1.2.10": b"", "1.2.4": b"odd"}


def member(uid: str, data: bytes) -> PackMember:
    return PackMember(Uid(uid), len(data), Sha256Hex(hashlib.sha256(data).hexdigest()))


def sized(uid: str, size_bytes: int) -> PackMember:
    return PackMember(Uid(uid), size_bytes, Sha256Hex("0" * 64))


def layout(files: dict[str, bytes] = FILES) -> PackLayout:
    return layout_of("clinic-1", STUDY, [member(uid, data) for uid, data in files.items()])


def built(files: dict[str, bytes] = FILES) -> bytes:
    with PackStream(layout(files), lambda m: io.BytesIO(files[m.sop_instance_uid])) as stream:
        return stream.read()


def in_chunks(data: bytes, size: int = 100) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def refused(data: bytes) -> str:
    with pytest.raises(PackDamaged) as caught:
        scan_pack(in_chunks(data), lambda found, file: None)
    return str(caught.value)


def test_python_tarfile_finds_every_member_where_the_layout_says() -> None:
    with tarfile.open(fileobj=io.BytesIO(built())) as archive:
        infos = archive.getmembers()
        names = [info.name for info in infos]
        assert names == ["pack.json", "1.2.10.dcm", "1.2.3.dcm", "1.2.4.dcm"]
        assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in infos} == {(0, 0, 0, "", 0o644)}
        assert [info.offset_data for info in infos[1:]] == [place.offset_bytes for place in layout().places]
        for info in infos[1:]:
            content = archive.extractfile(info)
            assert content is not None
            assert content.read() == FILES[info.name.removesuffix(".dcm")]


def test_the_tar_command_opens_a_pack(tmp_path: Path) -> None:
    (tmp_path / "pack.tar").write_bytes(built())
    subprocess.run(["tar", "xf", "pack.tar"], cwd=tmp_path, check=True)
    assert (tmp_path / "1.2.4.dcm").read_bytes() == b"odd"
    assert json.loads((tmp_path / "pack.json").read_bytes())["members"][2]["sop_instance_uid"] == "1.2.4"


def test_pack_json_is_rfc_8785_canonical_json() -> None:
    index = layout().index
    assert index == rfc8785.dumps(json.loads(index))
    assert json.loads(index)["study_uid"] == STUDY


def test_the_order_in_which_members_are_given_changes_nothing() -> None:
    backwards = dict(reversed(FILES.items()))
    assert built(backwards) == built()
    assert pack_sha256(layout(), lambda m: io.BytesIO(FILES[m.sop_instance_uid])) == hashlib.sha256(built()).hexdigest()


def test_the_size_is_known_before_the_first_byte_and_the_end_is_1024_zero_bytes() -> None:
    data = built()
    assert len(data) == layout().size_bytes
    assert data.endswith(bytes(1024))


def test_a_stream_can_be_read_in_any_pieces_and_started_again() -> None:
    whole = built()
    opened: list[io.BytesIO] = []

    def open_member(m: PackMember) -> BinaryIO:
        opened.append(io.BytesIO(FILES[m.sop_instance_uid]))
        return opened[-1]

    with PackStream(layout(), open_member) as stream:
        assert len(stream) == len(whole)
        assert b"".join(iter(lambda: stream.read(7), b"")) == whole
        assert stream.tell() == len(whole)
        stream.seek(0)
        assert b"".join(stream) == whole
        stream.seek(-1500, io.SEEK_END)
        assert stream.read() == whole[-1500:]
        with pytest.raises(ValueError, match="outside"):
            stream.seek(len(whole) + 1)
    assert all(file.closed for file in opened)


@pytest.mark.parametrize("data", [b"shor", b"longer than it"])
def test_a_file_that_changed_its_length_is_never_sent(data: bytes) -> None:
    with PackStream(layout({"1.2": b"eight..."}), lambda m: io.BytesIO(data)) as stream, pytest.raises(MemberChanged):
        stream.read()


@given(
    sizes=st.lists(st.integers(0, 5 * MIB), max_size=40),
    target_bytes=st.integers(0, 20 * MIB),
)
@settings(max_examples=60)
def test_packs_hold_every_member_once_in_order_and_keep_to_the_target(sizes: list[int], target_bytes: int) -> None:
    members = [sized(f"1.{number}", size_bytes) for number, size_bytes in enumerate(sizes)]
    packs = plan_packs(members, target_bytes=target_bytes)
    assert [m for pack in packs for m in pack] == sorted(members, key=lambda m: m.sop_instance_uid)
    limit_bytes = min(max(target_bytes, MIB), 16 * MIB)
    for pack in packs:
        assert len(pack) == 1 or layout_of("s", STUDY, pack).size_bytes <= limit_bytes
    assert plan_packs(reversed(members), target_bytes=target_bytes) == packs


def test_the_fields_of_pack_json_at_their_longest_still_fit_the_plan() -> None:
    members = [sized("9" * 60 + f".{number:03}", 3000) for number in range(1000)]
    for pack in plan_packs(members, target_bytes=MIB):
        assert layout_of("s" * 32, "1" * 64, pack).size_bytes <= MIB


def test_an_instance_larger_than_a_pack_is_alone_in_its_own() -> None:
    packs = plan_packs([sized("1.1", 10), sized("1.2", 40 * MIB), sized("1.3", 10)], target_bytes=MIB)
    assert [[m.sop_instance_uid for m in pack] for pack in packs] == [["1.1"], ["1.2"], ["1.3"]]


def test_a_uid_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.1 occurs twice"):
        plan_packs([sized("1.1", 1), sized("1.1", 2)], target_bytes=MIB)


@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "1.2 ", ""])
def test_a_name_that_is_no_uid_never_becomes_a_member(uid: str) -> None:
    with pytest.raises(InvalidIdentifier):
        layout_of("clinic-1", STUDY, [sized(uid, 1)])


def test_a_file_that_ustar_cannot_write_is_refused() -> None:
    with pytest.raises(ValueError, match="overflow"):
        layout_of("clinic-1", STUDY, [sized("1.1", 8 * 1024**3)])


@pytest.mark.parametrize("chunk", [1, 511, 512, 100_000])
def test_a_scan_gives_every_member_with_its_bytes_offset_and_digest(chunk: int) -> None:
    found: list[tuple[PackedFile, bytes]] = []
    data = built()
    pack = scan_pack(in_chunks(data, chunk), lambda packed, file: found.append((packed, file.read())))
    assert pack.pack_sha256 == hashlib.sha256(data).hexdigest()
    assert (pack.site_id, pack.study_uid, pack.size_bytes) == ("clinic-1", STUDY, len(data))
    assert pack.members == tuple(packed for packed, _ in found)
    for packed, content in found:
        assert content == FILES[packed.sop_instance_uid]
        assert data[packed.offset_bytes : packed.offset_bytes + packed.size_bytes] == content
        assert packed.stored_sha256 == hashlib.sha256(content).hexdigest()


def test_every_truncation_is_noticed() -> None:
    data = built()
    for length in range(0, len(data), 256):
        assert "archive ends inside" in refused(data[:length])


def test_every_altered_block_is_noticed() -> None:
    data = built()
    for position in range(0, len(data), 64):
        altered = bytearray(data)
        altered[position] ^= 1
        refused(bytes(altered))


def test_bytes_after_the_end_are_noticed() -> None:
    assert "after the end" in refused(built() + bytes(1))


def tar_of(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "1.2.dcm"])
def test_an_ordinary_tar_is_not_a_pack(name: str) -> None:
    assert "does not begin with pack.json" in refused(tar_of([name]))
    assert "USTAR header" in refused(b"PK\x03\x04" * 200)


def with_index(value: object) -> bytes:
    """A pack whose pack.json is `value`; its members follow as pack.json names them."""
    buffer = io.BytesIO()
    index = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("pack.json")
        info.size = len(index)
        archive.addfile(info, io.BytesIO(index))
    return buffer.getvalue()


def entry(uid: object, size_bytes: object = 0) -> dict[str, object]:
    return {"sop_instance_uid": uid, "size_bytes": size_bytes, "stored_sha256": hashlib.sha256(b"").hexdigest()}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "counterpart-pack/2"},
        {"format": None},
        {"site_id": "../other"},
        {"study_uid": "../../x"},
        {"study_uid": 1},
        {"members": []},
        {"members": None},
        {"members": [entry("../../x")]},
        {"members": [entry("/etc/passwd")]},
        {"members": [entry("1.2", True)]},
        {"members": [entry("1.2", 1.0)]},
        {"members": [entry("1.2", -1)]},
        {"members": [entry("1.2", 10**12)]},
        {"members": [entry("1.3"), entry("1.2")]},
        {"members": [entry("1.2"), entry("1.2")]},
        {"members": [entry(1), entry("1.2")]},
        {"members": [{**entry("1.2"), "more": 1}]},
        {"more": 1},
    ],
)
def test_a_pack_json_that_describes_no_pack_is_refused(changes: dict[str, object]) -> None:
    good: dict[str, object] = {
        "format": "counterpart-pack/1",
        "site_id": "clinic-1",
        "study_uid": STUDY,
        "members": [entry("1.2")],
    }
    assert "pack.json" in refused(with_index({**good, **changes}))
    assert "pack.json" in refused(with_index([good]))
