"""Query and retrieve of claimed cases at a whole gateway in reader mode, by DCMTK's findscu, movescu and getscu."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.bootstrap import Gateway
from gateway.journal.associations import latest_refusals
from gateway.settings import GatewaySettings
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from tests.integration.gateway_receive.instances import instance_uid, write_slice
from tests.integration.gateway_receive.modality import association, dataset_sha256, dcmtk
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_reading.test_claimed_cases import (
    SLICES,
    claimed,
    directory_store,
    has_receipt,
    hospital,
)
from tests.integration.hub_reading.test_workstation import STUDY, Hospital
from tests.support.storescp import running_storescp
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

__all__ = ["claimed", "directory_store", "hospital"]

SERIES = f"{STUDY}.1"
EVERY_SLICE = {instance_uid(number, STUDY) for number in range(1, SLICES + 1)}
Begin = Callable[..., int]
WANTED_TO_STORE = "wanted to store images, which it may not"
WANTED_THE_WORKLIST = "asked for Modality Worklist, which it may not use"


@pytest.fixture
def begin(hub: Hub, hospital: Hospital, tmp_path: Path) -> Iterator[Begin]:
    """Start the whole gateway beside the hub; return its DICOM port."""
    running: list[Gateway] = []
    with HubServer(hub) as server:

        def start(*, may: tuple[str, ...] = ("query", "retrieve"), port: int = 104, **changes: Any) -> int:
            workstation = {"name": "ws", "ae_title": "WS", "may": may, "host": "127.0.0.1", "port": port}
            values = {
                "mode": "reader",
                "spool_dir": tmp_path / "spool",
                "hub": {"url": server.url, "retry_delay_max_s": 0.3, "connect_timeout_s": 1, "read_timeout_s": 5},
                "dicom": {"ae_title": "GATEWAY", "host": "127.0.0.1", "port": 0, "peers": [workstation]},
                "reader": {"host": "127.0.0.1", "port": 0},
                "console": {"enabled": False},
                **changes,
            }
            running.append(Gateway(GatewaySettings(**values)))
            return running[-1].start()

        yield start
        for gateway in running:
            assert gateway.stop()


def findscu(port: int, directory: Path, level: str, *keys: str, model: str = "-S") -> list[Dataset]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    arguments = [word for key in (f"QueryRetrieveLevel={level}", *keys) for word in ("-k", key)]
    done = dcmtk("findscu", model, "-aet", "WS", "-X", "-od", str(directory), *arguments, "127.0.0.1", str(port))
    assert done.returncode == 0, done.stderr
    return [dcmread(path, force=True) for path in sorted(directory.glob("rsp*.dcm"))]


def images(port: int, directory: Path) -> set[str]:
    keys = (f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}", "SOPInstanceUID")
    return {str(image.SOPInstanceUID) for image in findscu(port, directory, "IMAGE", *keys)}


def has_every_slice(port: int, directory: Path) -> None:
    assert images(port, directory) == EVERY_SLICE


def test_findscu_finds_a_claimed_case_at_every_level_while_it_is_held(
    hub: Hub, hospital: Hospital, wang: Viewer, claimed: tuple[str, str], begin: Begin, tmp_path: Path
) -> None:
    port = begin()
    eventually(lambda: has_every_slice(port, tmp_path / "image"))
    (patient,) = findscu(port, tmp_path / "p", "PATIENT", "PatientName", "PatientID", model="-P")
    assert str(patient.PatientName) == "TEST^RECEIVE"
    (study,) = findscu(port, tmp_path / "s", "STUDY", "StudyInstanceUID", "NumberOfStudyRelatedInstances")
    assert (study.StudyInstanceUID, study.NumberOfStudyRelatedInstances) == (STUDY, SLICES)
    assert study.RetrieveAETitle == "GATEWAY"
    (series,) = findscu(port, tmp_path / "e", "SERIES", f"StudyInstanceUID={STUDY}", "SeriesInstanceUID", "Modality")
    assert (series.SeriesInstanceUID, series.Modality) == (SERIES, "CT")

    reading.release(hub, wang, claimed[1], "110513")
    eventually(lambda: has_receipt(hospital, "withdrawn", "spool"))
    assert findscu(port, tmp_path / "s", "STUDY", "StudyInstanceUID") == []
    for table in ("reader_studies", "reader_series", "reader_holdings"):
        assert hospital.journal.read(f"SELECT * FROM {table}") == []


def test_movescu_and_getscu_fetch_a_claimed_case_as_it_came_from_the_hub(
    claimed: tuple[str, str], begin: Begin, tmp_path: Path
) -> None:
    with running_storescp(tmp_path / "workstation") as workstation:
        port = begin(port=workstation.port)
        eventually(lambda: has_every_slice(port, tmp_path / "image"))
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}")
        done = dcmtk("movescu", "-S", "-aet", "WS", "-aem", "WS", *keys, "127.0.0.1", str(port))
        assert done.returncode == 0, done.stderr
        moved = {path.name.partition(".")[2]: dataset_sha256(path) for path in workstation.files()}
    assert set(moved) == EVERY_SLICE
    for level, more, expected in (
        ("SERIES", ("-k", f"SeriesInstanceUID={SERIES}"), SLICES),
        ("IMAGE", ("-k", f"SeriesInstanceUID={SERIES}", "-k", f"SOPInstanceUID={instance_uid(2, STUDY)}"), 1),
    ):
        fetched = tmp_path / level
        fetched.mkdir()
        keys = ("-k", f"QueryRetrieveLevel={level}", "-k", f"StudyInstanceUID={STUDY}", *more)
        done = dcmtk("getscu", "-S", "-aet", "WS", "-od", str(fetched), "+B", *keys, "127.0.0.1", str(port))
        assert done.returncode == 0, done.stderr
        assert len(list(fetched.iterdir())) == expected
        for path in fetched.iterdir():
            uid = str(dcmread(path).SOPInstanceUID)
            assert dataset_sha256(path) == moved[uid] == dataset_sha256(tmp_path / "slices" / f"{uid}.dcm")


def test_nobody_can_store_at_a_gateway_in_reader_mode(
    claimed: tuple[str, str], begin: Begin, hospital: Hospital, tmp_path: Path
) -> None:
    port = begin(may=("store", "query"))
    with association(port, [write_slice(tmp_path / "sent", 7, "1.2.9")], "WS") as opened:
        assert not opened.is_established or opened.send_c_store(tmp_path / "sent" / "1.2.9.1.7.dcm").Status == 0x0124
    assert hospital.journal.read("SELECT * FROM instances") == []
    assert dcmtk("findscu", "-W", "-aet", "WS", "-k", "PatientName", "127.0.0.1", str(port)).returncode != 0

    def told() -> dict[str, str]:
        told = {refusal.reason: refusal.remedy for refusal in latest_refusals(hospital.journal, 9)}
        assert len(told) == 2
        return told

    for_images, for_worklist = (eventually(told)[f"WS {what}"] for what in (WANTED_TO_STORE, WANTED_THE_WORKLIST))
    assert "takes no images" in for_images, "no setting of a peer lets images in here"
    assert "query and retrieve only" in for_worklist
