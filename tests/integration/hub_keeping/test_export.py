"""Studies that leave the archive: read by DCMTK and pydicom, proved while read, whole or not there at all."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, KeyObjectSelectionDocumentStorage
from sqlalchemy import select

from reading_queue.domain.roles import Role
from reading_queue.errors import Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings import exporting
from reading_queue.services.holdings.export_contents import Form
from reading_queue.services.holdings.exporting import DestinationTaken, Export, NoRoom, Wish
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Instance as CatalogueRow
from storage.catalogue.tables import Pack
from storage.contract.identifiers import Uid
from storage.ledger.tables import AuditEvent
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import STUDY, Instance, make_instance
from tests.integration.hub_intake.test_compressed_instances import compressed, in_implicit_form
from tests.integration.hub_keeping.keeping import Sender, packs_of

pytestmark = pytest.mark.postgres

WHY = "the patient takes it to another hospital"
KEYS = (
    *("DirectoryRecordType", "ReferencedFileID", "ReferencedSOPInstanceUIDInFile", "PatientName", "PatientID"),
    *("StudyDate", "StudyTime", "StudyInstanceUID", "StudyID", "AccessionNumber"),
    *("Modality", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber"),
)
EARLIER = Uid("1.2.826.0.1.3680043.8.498.5")


@pytest.fixture
def sender(gateway: GatewayStandIn, network: Hub) -> Sender:
    return Sender(gateway, network)


@pytest.fixture
def slices(sender: Sender) -> list[Instance]:
    made = sender.slices(range(1, 7))
    sender.send(made[:3], made[3:])
    return made


def person(hub: Hub, role: Role = Role.COORDINATOR, site_id: str = SITE) -> Viewer:
    return Viewer("one", "one", "one", role, f"{site_id}-01", site_id, None, "en", hub.clock())


def begun(hub: Hub, **wishes: object) -> Export:
    wish = replace(Wish(SITE, STUDY, WHY), **wishes)  # type: ignore[arg-type]
    return exporting.begin(hub, person(hub), wish)


def key_object(hub: Hub) -> Instance:
    """Return a key object selection in Implicit VR: its record takes sequences from its explicit form."""
    title, modifier, template = Dataset(), Dataset(), Dataset()
    for code, value, scheme, meaning in (
        (title, "113000", "DCM", "Of Interest"),
        (template, "113011", "DCM", "Document Title Modifier"),
    ):
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    modifier.RelationshipType, modifier.ValueType = "HAS CONCEPT MOD", "CODE"
    modifier.ConceptNameCodeSequence, modifier.ConceptCodeSequence = Sequence([template]), Sequence([title])
    other = Dataset()
    other.RelationshipType, other.ValueType, other.TextValue = "CONTAINS", "TEXT", "not in the record"
    explicit = make_instance(
        90,
        hub.clock(),
        SOPClassUID=KeyObjectSelectionDocumentStorage,
        SeriesInstanceUID=f"{STUDY}.3",
        Modality="KO",
        SeriesNumber=9,
        ContentDate="20260302",
        ContentTime="090000",
        ConceptNameCodeSequence=Sequence([title]),
        ContentSequence=Sequence([modifier, other]),
    )

    def without_pixels(dataset: Dataset) -> None:
        for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"):
            delattr(dataset, name)
        del dataset.PhotometricInterpretation, dataset.PixelRepresentation

    return in_implicit_form(explicit, without_pixels)


def run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def listed_by_pydicom(folder: Path) -> list[str]:
    """Return the paths of all instances that pydicom finds by the DICOMDIR."""
    read = FileSet(folder / "DICOMDIR")
    found = [instance.path for instance in read]
    read._stage["t"].cleanup()  # it makes one without need, and warns when nobody removes it
    return found


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def decay(hub: Hub, tmp_path: Path, uid: str) -> None:
    with hub.transaction() as session:
        one = session.scalars(select(CatalogueRow).where(CatalogueRow.sop_instance_uid == uid)).one()
    pack = next(pack for pack in packs_of(hub) if pack.pack_id == one.pack_id)
    file = tmp_path / "objects" / pack.object_key
    data = bytearray(file.read_bytes())
    data[one.offset_bytes + one.size_bytes - 20] ^= 1
    file.write_bytes(data)


def trail(hub: Hub) -> list[AuditEvent]:
    with hub.transaction() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.event_code == "110106")))


def test_folder_is_a_file_set_that_others_read(
    network: Hub, sender: Sender, slices: list[Instance], tmp_path: Path
) -> None:
    note = key_object(network)
    sender.send([note])
    target = tmp_path / "out"
    begun(network).write_folder(target)
    files = {path.relative_to(target).as_posix() for path in files_below(target)}
    assert "DICOM/ST000001/SE000001/IM000003" in files
    by_uid = {}
    for path in target.glob("DICOM/**/IM*"):
        run("dcmftest", path)
        by_uid[pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID] = path
    assert len(by_uid) == 7
    for one in [*slices, note]:
        assert by_uid[one.entry.sop_instance_uid].read_bytes() == one.file
    assert "error" not in run("dcmdump", "+P", "0004,1430", target / "DICOMDIR").lower()
    assert sorted(listed_by_pydicom(target)) == sorted(str(path) for path in by_uid.values())
    records = pydicom.dcmread(target / "DICOMDIR").DirectoryRecordSequence
    kinds = [record.DirectoryRecordType for record in records]
    assert kinds == ["PATIENT", "STUDY", "SERIES", *["IMAGE"] * 3, "SERIES", *["IMAGE"] * 3, "SERIES", "KEY OBJECT DOC"]
    assert records[0].PatientName == "王^芳"
    assert records[-1].ConceptNameCodeSequence[0].CodeValue == "113000"
    assert [item.RelationshipType for item in records[-1].ContentSequence] == ["HAS CONCEPT MOD"]
    assert records[-1].ReferencedTransferSyntaxUIDInFile == ImplicitVRLittleEndian
    run("sh", "-c", f"cd {target} && sha256sum --check --strict SHA256.TXT")
    assert not list(tmp_path.glob(".out*"))


def test_dicomdir_says_what_that_of_dcmtk_says(network: Hub, slices: list[Instance], tmp_path: Path) -> None:
    target = tmp_path / "out"
    begun(network).write_folder(target)
    ours = pydicom.dcmread(target / "DICOMDIR").DirectoryRecordSequence
    (target / "DICOMDIR").unlink()
    run("dcmmkdir", "-W", "-Pgp", "+r", "+id", target, "+D", target / "DICOMDIR", "DICOM")
    theirs = pydicom.dcmread(target / "DICOMDIR").DirectoryRecordSequence

    def lines(records: Sequence) -> list[list[str]]:
        return sorted([str(record.get(name, "")) for name in KEYS] for record in records)

    assert lines(ours) == lines(theirs)


def test_archive_is_the_same_file_set(network: Hub, slices: list[Instance], tmp_path: Path) -> None:
    begun(network).write_zip(tmp_path / "out.zip")
    begun(network).write_folder(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        packed = {name: archive.read(name) for name in archive.namelist()}
    plain = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files_below(tmp_path / "out")}
    assert packed.keys() == plain.keys()
    assert {name: data for name, data in packed.items() if name != "DICOMDIR"} == {
        name: data for name, data in plain.items() if name != "DICOMDIR"
    }
    told = [(event.account_id, event.action, event.outcome, event.detail["step"]) for event in trail(network)]
    assert told == [("one", "R", "success", step) for step in ("begun", "ended")] * 2
    assert trail(network)[0].detail["reason"] == WHY


def test_form_is_the_received_one_or_the_wished_one(network: Hub, sender: Sender) -> None:
    pixels = (np.indices((64, 64)).sum(axis=0) // 3).astype("<u2").tobytes()
    received = make_instance(1, network.clock(), Rows=64, Columns=64, PixelData=pixels)
    small = compressed(received)
    sender.send([small])

    def given(form: Form) -> bytes:
        with zipfile.ZipFile(io.BytesIO(b"".join(begun(network, form=form).zip()))) as archive:
            assert "MISSING.TXT" not in archive.namelist()
            return archive.read("DICOM/ST000001/SE000001/IM000001")

    assert given(Form.STORED) == small.file
    back = given(Form.RECEIVED)
    assert pydicom.dcmread(io.BytesIO(back)).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert hashlib.sha256(back[-len(pixels) :]).digest() == hashlib.sha256(pixels).digest()
    assert pydicom.dcmread(io.BytesIO(given(Form.EXPLICIT))).PixelData == pixels


def test_damaged_and_missing_instances_are_named_and_the_rest_is_given(
    network: Hub, slices: list[Instance], tmp_path: Path
) -> None:
    damaged = slices[1].entry.sop_instance_uid
    decay(network, tmp_path, damaged)
    with network.transaction() as session:
        lost = CatalogueRow.sop_instance_uid == slices[4].entry.sop_instance_uid
        key = session.scalars(
            select(Pack.object_key).join(CatalogueRow, CatalogueRow.pack_id == Pack.pack_id).where(lost)
        )
        network.objects.delete(key.one())
    export = begun(network)
    export.write_folder(tmp_path / "out")
    left_out = {one.entry.sop_instance_uid for one in slices[3:]} | {damaged}
    assert {uid for uid, _ in export.contents.problems} == left_out
    told = (tmp_path / "out" / "MISSING.TXT").read_text()
    assert all(uid in told for uid in left_out)
    assert len(listed_by_pydicom(tmp_path / "out")) == 2
    last = trail(network)[-1]
    assert (last.outcome, last.detail["exported"], last.detail["left_out"]) == ("failure", 2, 4)


def test_nothing_is_left_when_the_store_fails_in_the_middle(
    network: Hub, slices: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = network.objects.open, []

    def fails_later(key: str, *, offset: int = 0, length: int | None = None) -> object:
        calls.append(key)
        if len(calls) % 4 == 0:
            raise StoreUnavailable(key)
        return real(key, offset=offset, length=length)

    monkeypatch.setattr(type(network.objects), "open", staticmethod(fails_later))
    folder = tmp_path / "target"
    folder.mkdir()
    with pytest.raises(StoreUnavailable):
        begun(network).write_zip(folder / "out.zip")
    with pytest.raises(StoreUnavailable):
        begun(network).write_folder(folder / "out")
    assert list(folder.iterdir()) == []
    assert [event.outcome for event in trail(network)] == ["success", "failure"] * 2


def test_destination_is_looked_at_first(
    network: Hub, slices: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DestinationTaken):
        begun(network).write_folder(tmp_path / "out")
    with pytest.raises(NotFound):
        begun(network).write_zip(tmp_path / "nowhere" / "out.zip")
    monkeypatch.setattr(exporting, "DISK_FLOOR_BYTES", 1 << 62)
    with pytest.raises(NoRoom):
        begun(network).write_zip(tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_names_tell_of_the_patient_only_when_asked(
    network: Hub, sender: Sender, slices: list[Instance], tmp_path: Path
) -> None:
    odd = sender.slices(range(1, 2), study=EARLIER, StudyDescription="胸部/CT: <薄层>?", StudyDate="20250101")
    sender.send(odd, study=EARLIER)
    begun(network, whole_patient=True, with_names=True).write_folder(tmp_path / "named")
    names = [path.relative_to(tmp_path / "named").as_posix() for path in files_below(tmp_path / "named")]
    assert names[0] == "P-0001_王芳/001_2025-01-01_胸部_CT_薄层/001_CT/000001.dcm"
    assert len(names) == 8
    assert "DICOMDIR" not in names
    begun(network, whole_patient=True).write_folder(tmp_path / "plain")
    names = [path.relative_to(tmp_path / "plain").as_posix() for path in files_below(tmp_path / "plain")]
    assert not [name for name in names if "P-0001" in name or "王" in name]
    kinds = [
        record.DirectoryRecordType for record in pydicom.dcmread(tmp_path / "plain/DICOMDIR").DirectoryRecordSequence
    ]
    assert (kinds.count("PATIENT"), kinds.count("STUDY"), kinds.count("IMAGE")) == (1, 2, 7)


def test_only_who_oversees_the_site_exports_and_says_why(network: Hub, slices: list[Instance]) -> None:
    for role in (Role.TECHNICIAN, Role.PHYSICIAN):
        with pytest.raises(Forbidden):
            exporting.begin(network, person(network, role), Wish(SITE, STUDY, WHY))
    with pytest.raises(NotFound):
        exporting.begin(network, person(network, site_id=OTHER_SITE), Wish(SITE, STUDY, WHY))
    with pytest.raises(NotFound):
        exporting.begin(network, person(network), Wish(SITE, "1.2.3", WHY))
    with pytest.raises(Invalid):
        exporting.begin(network, person(network), Wish(SITE, STUDY, " x "))
    assert trail(network) == []
