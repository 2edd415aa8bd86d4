"""The spool's files: durable, moved whole, kept when refused."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gateway.errors import InstanceNotInSpool, SpoolFull
from gateway.spool import QuarantineReason, RealFiles, Spool, SpoolState
from storage.contract.identifiers import InvalidIdentifier, Uid

STUDY = Uid("1.2.3")
FIRST, SECOND, LATE = Uid("1.2.3.1"), Uid("1.2.3.2"), Uid("1.2.3.3")


class RecordingFiles(RealFiles):
    """Writes down the order of what makes a file durable."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def fsync(self, descriptor: int) -> None:
        self.steps.append("fsync file")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self.steps.append("rename")
        super().rename(source, target)

    def fsync_directory(self, path: Path) -> None:
        self.steps.append(f"fsync {path.name}")
        super().fsync_directory(path)


class FullFiles(RealFiles):
    """A disk without room, or a quota that is used up."""

    def __init__(self, code: int = errno.ENOSPC) -> None:
        self.full = False
        self._code = code

    def write(self, descriptor: int, data: bytes) -> None:
        if self.full:
            raise OSError(self._code, "no room")
        super().write(descriptor, data)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", RealFiles())


def store(spool: Spool, uid: Uid, content: bytes = b"content", study: Uid = STUDY) -> Path:
    arrived = spool.begin()
    arrived.write(content)
    return spool.store_incoming(arrived, study, uid)


def names(spool: Spool, directory: str) -> list[str]:
    return sorted(path.name for path in (spool.root / directory).glob("*"))


def test_file_is_synced_before_it_gets_its_name_and_the_directory_after(tmp_path: Path) -> None:
    files = RecordingFiles()
    spool = Spool(tmp_path / "spool", files)
    files.steps.clear()
    store(spool, FIRST)
    assert files.steps == ["fsync incoming", "fsync file", "rename", f"fsync {STUDY}"]


def test_stored_instance_is_read_back(spool: Spool) -> None:
    store(spool, FIRST, b"x" * 1_000_000)
    with spool.open_instance(FIRST, STUDY, None, SpoolState.INCOMING) as file:
        assert file.read() == b"x" * 1_000_000
    assert names(spool, "tmp") == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_spool_full_and_leaves_nothing(tmp_path: Path, code: int) -> None:
    files = FullFiles(code)
    spool = Spool(tmp_path / "spool", files)
    files.full = True
    arrived = spool.begin()
    arrived.write(b"content")
    with pytest.raises(SpoolFull):
        spool.store_incoming(arrived, STUDY, FIRST)
    arrived.discard()
    assert names(spool, "tmp") == []
    assert names(spool, f"incoming/{STUDY}") == []


def test_whole_study_moves_as_one_directory(spool: Spool) -> None:
    store(spool, FIRST)
    store(spool, SECOND)
    spool.move_to_ready(STUDY, 1, [FIRST, SECOND])
    assert names(spool, "incoming") == []
    assert names(spool, f"ready/{STUDY}.1") == [f"{FIRST}.dcm", f"{SECOND}.dcm"]


def test_part_of_a_study_moves_file_by_file(spool: Spool) -> None:
    for uid in (FIRST, SECOND, LATE):
        store(spool, uid)
    spool.move_to_ready(STUDY, 1, [FIRST, SECOND])
    assert names(spool, f"incoming/{STUDY}") == [f"{LATE}.dcm"]
    assert names(spool, f"ready/{STUDY}.1") == [f"{FIRST}.dcm", f"{SECOND}.dcm"]


def test_repeated_move_changes_nothing(spool: Spool) -> None:
    store(spool, FIRST)
    for _ in range(2):
        spool.move_to_ready(STUDY, 1, [FIRST])
    for _ in range(2):
        spool.move_to_sent(STUDY, 1)
    assert spool.path_of(FIRST, STUDY, 1, SpoolState.SENT).read_bytes() == b"content"


def test_half_done_move_is_finished_by_repeating_it(spool: Spool) -> None:
    store(spool, FIRST)
    store(spool, SECOND)
    halfway = spool.root / "ready" / f"{STUDY}.1"
    halfway.mkdir()
    spool.path_of(FIRST, STUDY, None, SpoolState.INCOMING).rename(halfway / f"{FIRST}.dcm")
    spool.move_to_ready(STUDY, 1, [FIRST, SECOND])
    assert names(spool, f"ready/{STUDY}.1") == [f"{FIRST}.dcm", f"{SECOND}.dcm"]


def test_move_of_a_missing_instance_moves_nothing(spool: Spool) -> None:
    store(spool, FIRST)
    with pytest.raises(InstanceNotInSpool):
        spool.move_to_ready(STUDY, 1, [FIRST, SECOND])
    assert names(spool, f"incoming/{STUDY}") == [f"{FIRST}.dcm"]


def test_undone_move_joins_what_has_arrived_meanwhile(spool: Spool) -> None:
    store(spool, FIRST)
    spool.move_to_ready(STUDY, 1, [FIRST])
    store(spool, LATE)
    spool.move_back_to_incoming(STUDY, 1)
    assert names(spool, f"incoming/{STUDY}") == [f"{FIRST}.dcm", f"{LATE}.dcm"]
    assert names(spool, "ready") == []


def test_revisions_are_counted_wherever_they_lie_and_not_across_studies(spool: Spool) -> None:
    longer = Uid(f"{STUDY}.7")
    store(spool, FIRST)
    spool.move_to_ready(STUDY, 3, [FIRST])
    spool.move_to_sent(STUDY, 3)
    store(spool, SECOND, study=longer)
    spool.move_to_ready(longer, 1, [SECOND])
    assert spool.revisions_of(STUDY) == {3}
    assert spool.revisions_of(longer) == {1}


def test_illegal_uid_never_becomes_a_path(spool: Spool) -> None:
    with pytest.raises(InvalidIdentifier):
        store(spool, Uid("../../x"))
    with pytest.raises(InvalidIdentifier):
        store(spool, FIRST, study=Uid("../../x"))


def test_missing_instance_is_named(spool: Spool) -> None:
    with pytest.raises(InstanceNotInSpool, match=FIRST):
        spool.open_instance(FIRST, STUDY, None, SpoolState.INCOMING)


def test_quarantine_keeps_the_bytes_and_the_reason_once(spool: Spool, tmp_path: Path) -> None:
    reason = QuarantineReason("not_dicom", "Dataset cannot be read as DICOM", "Export it again", "", None, FIRST, "CT1")
    ids = set()
    for _ in range(2):
        refused = spool.begin()
        refused.write(b"garbage")
        refused.seal()
        ids.add(spool.quarantine(refused.path, reason))
    (quarantine_id,) = ids
    assert names(spool, "quarantine") == [f"{quarantine_id}.dcm", f"{quarantine_id}.json"]
    assert (spool.root / "quarantine" / f"{quarantine_id}.dcm").read_bytes() == b"garbage"
    assert json.loads((spool.root / "quarantine" / f"{quarantine_id}.json").read_text())["code"] == "not_dicom"


def test_free_room_is_that_of_the_spools_disk(spool: Spool) -> None:
    assert spool.free_bytes() > 0
