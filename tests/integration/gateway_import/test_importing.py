from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread

from gateway.importing import importer as importing
from gateway.importing.sources import FILES_MAX
from gateway.journal import imports
from gateway.journal.imports import ImportState, find_next_import
from storage.contract.lanes import Lane
from tests.integration.gateway_import.conftest import OBJECT_BYTES_MAX, ImportingGateway, assert_done
from tests.integration.gateway_receive.instances import (
    STUDY,
    dataset_bytes,
    instance_uid,
    write_part10,
    write_slice,
)
from tests.integration.gateway_receive.receiving import utc_now
from tests.support.folders import files_under
from tests.support.waiting import eventually

DISK = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"  # a CD as scanners write it


def slices(directory: Path, count: int = 3) -> Path:
    for number in range(1, count + 1):
        write_slice(directory, number)
    return directory


def zipped(folder: Path, path: Path, *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def test_a_folder_is_taken_and_its_study_handed_over(gateway: ImportingGateway, tmp_path: Path):
    (tmp_path / "usb").mkdir()
    folder = slices(tmp_path / "usb" / "study")
    (tmp_path / "usb" / "AUTORUN.INF").write_text("[autorun]")
    (tmp_path / "usb" / "empty").touch()

    row = gateway.run(folder.parent)

    assert_done(row, files=5, files_done=5, stored=3, held=0, left_out=2)
    assert gateway.reasons(row) == {importing.NOT_DICOM: 2}
    assert gateway.held_uids() == {instance_uid(number) for number in (1, 2, 3)}
    gateway.receiving.enrol()
    assert gateway.receiving.forwarded.wait(60)
    hops = gateway.receiving.journal.read("SELECT hop, detail FROM custody ORDER BY seq")
    assert [hop["hop"] for hop in hops] == ["received", "completed"]


def test_imported_bytes_are_those_of_the_file(gateway: ImportingGateway, tmp_path: Path):
    file = write_slice(tmp_path / "usb", 1)
    gateway.run(file.parent)
    stored = gateway.receiving.spool.root / "incoming" / STUDY / f"{instance_uid(1)}.dcm"
    assert stored.read_bytes().endswith(dataset_bytes(1))


def test_a_zip_file_is_taken(gateway: ImportingGateway, tmp_path: Path):
    path = zipped(slices(tmp_path / "usb"), tmp_path / "study.zip")
    assert_done(gateway.run(path), files=3, stored=3, left_out=0)
    assert path.exists()


def test_an_upload_is_removed_when_its_import_has_ended(gateway: ImportingGateway, tmp_path: Path):
    path = zipped(slices(tmp_path / "usb"), tmp_path / "upload.zip")
    gateway.ask(path, remove_source=True)
    gateway.importer().step()
    assert not path.exists()
    assert len(gateway.held_uids()) == 3


def test_the_same_again_changes_nothing(gateway: ImportingGateway, tmp_path: Path):
    folder = slices(tmp_path / "usb")
    gateway.run(folder)
    assert_done(gateway.run(folder), stored=0, held=3, left_out=0)


def test_a_disk_with_its_directory_is_taken_whole(gateway: ImportingGateway):
    row = gateway.run(DISK)
    images = [file for file in DISK.rglob("*") if file.is_file() and not file.name.startswith(("DICOMDIR", "README"))]
    assert row.state is ImportState.DONE
    assert row.stored == len(images)
    assert importing.MISSING_ON_DISK not in gateway.reasons(row)


def test_what_the_directory_of_a_disk_lists_and_is_not_there_is_told(gateway: ImportingGateway, tmp_path: Path):
    disk = tmp_path / "disk"
    for file in DISK.rglob("*"):
        if file.is_file() and file.name not in ("DICOMDIR-bigEnd", "DICOMDIR-implicit"):
            target = disk / file.relative_to(DISK)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    gone = sorted(file for file in disk.rglob("*") if file.is_file() and "DICOMDIR" not in file.name)[:2]
    for file in gone:
        file.unlink()
    row = gateway.run(disk)
    assert gateway.reasons(row)[importing.MISSING_ON_DISK] == 2


def test_a_damaged_directory_of_a_disk_does_not_matter(gateway: ImportingGateway, tmp_path: Path):
    disk = slices(tmp_path / "disk")
    (disk / "DICOMDIR").write_bytes((DISK / "DICOMDIR").read_bytes()[:900])
    row = gateway.run(disk)
    assert row.stored == 3
    assert gateway.reasons(row) == {importing.DIRECTORY_DAMAGED: 1}


@pytest.mark.parametrize("name", ["../../../evil.dcm", "/tmp/evil.dcm", "a/../../evil.dcm", "C:\\evil.dcm"])
def test_a_name_inside_a_zip_file_never_becomes_a_path(gateway: ImportingGateway, tmp_path: Path, name: str):
    slice_file = write_slice(tmp_path / "usb", 1)
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, slice_file.read_bytes())
    before = {file for file in files_under(tmp_path) if "gateway" not in file.parts}
    assert_done(gateway.run(path), stored=1)
    assert {file for file in files_under(tmp_path) if "gateway" not in file.parts} == before
    assert not Path("/tmp/evil.dcm").exists()


def test_links_are_not_followed_out_of_the_folder(gateway: ImportingGateway, tmp_path: Path):
    secret = write_slice(tmp_path / "elsewhere", 9)
    folder = slices(tmp_path / "usb", 1)
    (folder / "link.dcm").symlink_to(secret)
    (folder / "dir").symlink_to(secret.parent, target_is_directory=True)
    os.mkfifo(folder / "pipe")
    assert_done(gateway.run(folder), files=1, stored=1, left_out=0)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_half_a_zip_file_is_refused_in_words(gateway: ImportingGateway, tmp_path: Path, keep: int):
    path = zipped(slices(tmp_path / "usb"), tmp_path / "study.zip")
    path.write_bytes(path.read_bytes()[:keep])
    row = gateway.run(path)
    assert (row.state, row.problem) == (
        ImportState.FAILED,
        "The file is no ZIP file, or only part of one. Copy it again.",
    )


def test_a_source_that_is_not_there_is_refused_in_words(gateway: ImportingGateway, tmp_path: Path):
    row = gateway.run(tmp_path / "not-mounted")
    assert row.state is ImportState.FAILED
    assert row.problem is not None
    assert "Is the disk in the drive?" in row.problem


def test_damage_inside_a_zip_file_costs_only_the_damaged_file(gateway: ImportingGateway, tmp_path: Path):
    path = zipped(slices(tmp_path / "usb"), tmp_path / "study.zip", compression=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"DICM") + 700] ^= 0xFF
    path.write_bytes(data)
    row = gateway.run(path)
    assert_done(row, stored=2, left_out=1)
    assert gateway.reasons(row) == {"is damaged inside the ZIP file": 1}


def test_a_file_with_a_password_is_left_out(gateway: ImportingGateway, tmp_path: Path):
    path = zipped(slices(tmp_path / "usb", 2), tmp_path / "study.zip", compression=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, central + 8, 1)
    struct.pack_into("<H", data, 6, 1)
    path.write_bytes(data)
    assert gateway.reasons(gateway.run(path)) == {"is protected by a password": 1}


def test_a_bomb_costs_neither_disk_nor_memory(gateway: ImportingGateway, tmp_path: Path):
    path = tmp_path / "bomb.zip"
    good = write_slice(tmp_path / "usb", 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * OBJECT_BYTES_MAX))
        archive.writestr("image", write_slice(tmp_path / "usb", 2).read_bytes() + bytes(64 * OBJECT_BYTES_MAX))
        archive.write(good, "good")
    row = gateway.run(path)
    assert_done(row, stored=1, left_out=2)
    assert gateway.reasons(row) == {importing.NOT_DICOM: 1, "Object is larger than this gateway accepts": 1}
    spooled = sum(file.stat().st_size for file in files_under(gateway.receiving.spool.root))
    assert spooled < OBJECT_BYTES_MAX


def test_a_zip_file_that_lies_about_sizes_brings_nothing_wrong(gateway: ImportingGateway, tmp_path: Path):
    path = zipped(slices(tmp_path / "usb", 1), tmp_path / "study.zip")
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 300)  # the size when unpacked
    path.write_bytes(data)
    row = gateway.run(path)
    assert_done(row, stored=0, left_out=1)
    assert gateway.held_uids() == set()


def test_damaged_objects_go_to_quarantine_with_the_reason(gateway: ImportingGateway, tmp_path: Path):
    folder = slices(tmp_path / "usb", 1)
    write_part10(folder / "cut.dcm", dataset_bytes(2)[:-100], sop_instance_uid=instance_uid(2))
    row = gateway.run(folder)
    assert_done(row, stored=1, left_out=1)
    quarantined = gateway.receiving.journal.read("SELECT reason FROM quarantine")
    assert [one["reason"] for one in quarantined] == list(gateway.reasons(row))


def test_directories_and_other_kinds_of_dicom_are_left_out(gateway: ImportingGateway, tmp_path: Path):
    folder = tmp_path / "usb"
    folder.mkdir()
    write_part10(
        folder / "print", dataset_bytes(1), sop_instance_uid=instance_uid(1), sop_class_uid="1.2.840.10008.5.1.1.1"
    )
    assert gateway.reasons(gateway.run(folder)) == {importing.NO_STORAGE_CLASS: 1}


def test_an_import_goes_on_where_a_stop_cut_it_off(
    gateway: ImportingGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import_id = gateway.ask(slices(tmp_path / "usb", 9))
    monkeypatch.setattr(importing, "FILES_PER_NOTE", 2)
    cut_off = gateway.importer()
    taken = 0
    take = importing.Importer._take

    def stop_after_five(self: importing.Importer, run: object, entry: object) -> None:
        nonlocal taken
        take(self, run, entry)  # type: ignore[arg-type]
        taken += 1
        if taken == 5:
            cut_off.stop()

    monkeypatch.setattr(importing.Importer, "_take", stop_after_five)
    cut_off.step()
    row = gateway.row(import_id)
    assert (row.state, row.files_done, row.stored) == (ImportState.RUNNING, 5, 5)

    gateway.importer().step()

    assert taken == 9
    assert_done(gateway.row(import_id), files=9, files_done=9, stored=9, held=0)
    assert len(gateway.receiving.journal.read("SELECT * FROM associations")) == 1


def test_a_cancelled_import_stops_and_keeps_what_it_brought(
    gateway: ImportingGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import_id = gateway.ask(slices(tmp_path / "usb", 9))
    monkeypatch.setattr(importing, "FILES_PER_NOTE", 2)
    take = importing.Importer._take

    def cancel_at_the_third(self: importing.Importer, run: object, entry: object) -> None:
        take(self, run, entry)  # type: ignore[arg-type]
        if len(gateway.held_uids()) == 3:
            imports.cancel_import(gateway.receiving.journal, import_id, utc_now())

    monkeypatch.setattr(importing.Importer, "_take", cancel_at_the_third)
    gateway.importer().step()
    row = gateway.row(import_id)
    assert (row.state, row.stored) == (ImportState.CANCELLED, 4)
    assert len(gateway.held_uids()) == 4
    assert find_next_import(gateway.receiving.journal) is None


def test_a_full_disk_makes_the_import_wait_and_go_on(gateway: ImportingGateway, tmp_path: Path):
    import_id = gateway.ask(slices(tmp_path / "usb"))
    gateway.disk_is_full = True
    assert gateway.importer().step() == importing.DISK_FULL_RETRY_S
    row = gateway.row(import_id)
    assert (row.state, row.problem, row.files_done) == (ImportState.RUNNING, importing.DISK_IS_FULL, 0)

    gateway.disk_is_full = False
    gateway.importer().step()
    row = gateway.row(import_id)
    assert_done(row, stored=3)
    assert row.problem is None


def test_a_chosen_lane_goes_with_the_studies(gateway: ImportingGateway, tmp_path: Path):
    gateway.run(slices(tmp_path / "usb"), Lane.STAT)
    rows = gateway.receiving.journal.read("SELECT study_uid, lane FROM study_controls")
    assert [tuple(row) for row in rows] == [(STUDY, "stat")]


def test_another_object_under_a_held_uid_is_quarantined(gateway: ImportingGateway, tmp_path: Path):
    gateway.run(slices(tmp_path / "usb", 1))
    other = tmp_path / "other"
    write_slice(other, 1, patient_name="OTHER^PATIENT")
    row = gateway.run(other)
    assert_done(row, stored=0, left_out=1)
    assert list(gateway.reasons(row)) == ["SOP Instance UID is already held with other content"]


def test_too_many_files_are_refused_before_anything_is_read(
    gateway: ImportingGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.importing.sources.FILES_MAX", 2)
    folder = slices(tmp_path / "usb")
    for source in (folder, zipped(folder, tmp_path / "study.zip")):
        row = gateway.run(source)
        assert row.state is ImportState.FAILED
        assert row.problem is not None
        assert "more than 2 files" in row.problem
    assert FILES_MAX > 2
    assert gateway.held_uids() == set()


def test_deflate_streams_that_break_off_are_left_out(gateway: ImportingGateway, tmp_path: Path):
    path = zipped(slices(tmp_path / "usb", 1), tmp_path / "study.zip")
    data = bytearray(path.read_bytes())
    start = 30 + len(f"{instance_uid(1)}.dcm")
    data[start : start + 8] = zlib.compress(b"x")[:8]
    path.write_bytes(data)
    assert gateway.reasons(gateway.run(path)) == {"is damaged inside the ZIP file": 1}


def test_an_imported_file_keeps_its_transfer_syntax(gateway: ImportingGateway, tmp_path: Path):
    from pydicom.data import get_testdata_file

    source = tmp_path / "usb"
    source.mkdir()
    file = Path(str(get_testdata_file("JPEG2000.dcm", download=False)))
    (source / "image").write_bytes(file.read_bytes())
    gateway.run(source)
    (row,) = gateway.receiving.journal.read("SELECT * FROM instances")
    assert row["transfer_syntax_uid"] == dcmread(file).file_meta.TransferSyntaxUID


def test_completion_waits_until_the_import_has_ended(gateway: ImportingGateway, tmp_path: Path):
    gateway.receiving.enrol()
    gateway.run(slices(tmp_path / "usb"))

    def handed_over_once() -> None:
        rows = gateway.receiving.journal.read("SELECT json_array_length(manifest, '$.instances') AS n FROM transfers")
        assert [row["n"] for row in rows] == [3]

    eventually(handed_over_once)
