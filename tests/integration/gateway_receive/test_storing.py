"""What a modality sends is in the spool and in the journal before it hears Success."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pynetdicom import AE

from gateway.journal.custody import custody_of
from gateway.journal.instances import find_instance, instances_of
from gateway.spool import SpoolState
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.instances import (
    CT,
    EXPLICIT_LITTLE,
    STUDY,
    dataset_bytes,
    instance_uid,
    write_part10,
    write_slice,
)
from tests.integration.gateway_receive.modality import answers, dataset_sha256, dcmtk, send
from tests.integration.gateway_receive.receiving import ReceivingGateway, tmp_is_empty
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
SENT_AS_THEY_ARE = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm",
    "examples_ybr_color.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtdose_rle.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
]


def test_acknowledged_instance_is_durable_journalled_and_verbatim(gateway: ReceivingGateway, tmp_path: Path) -> None:
    path = write_slice(tmp_path / "sent")
    assert send(gateway.port, path) == [0x0000]
    row = find_instance(gateway.journal, Uid(instance_uid(1)))
    assert row is not None
    assert (row.study_uid, row.series_uid, row.sop_class_uid) == (STUDY, f"{STUDY}.1", CT)
    assert (row.transfer_syntax_uid, row.calling_ae_title, row.state) == (EXPLICIT_LITTLE, "CT1", SpoolState.INCOMING)
    assert row.received_sha256 == dataset_sha256(path)
    stored = gateway.spool.path_of(row.sop_instance_uid, row.study_uid, None, SpoolState.INCOMING)
    assert dataset_sha256(stored) == row.received_sha256
    assert stored.stat().st_size == row.size_bytes
    assert dcmread(stored).file_meta.SourceApplicationEntityTitle == "CT1"
    eventually(lambda: tmp_is_empty(gateway))


def test_end_of_the_association_tells_what_was_received(gateway: ReceivingGateway, tmp_path: Path) -> None:
    send(gateway.port, *(write_slice(tmp_path / "sent", number) for number in (1, 2, 3)))

    def received() -> None:
        assert [event.hop for event in custody_of(gateway.journal, Uid(STUDY))] == [Hop.RECEIVED]

    eventually(received)
    detail = custody_of(gateway.journal, Uid(STUDY))[0].detail
    assert (detail["instances"], detail["calling_ae_title"], detail["cut_off"]) == (3, "CT1", False)


@pytest.mark.parametrize("name", SENT_AS_THEY_ARE)
def test_bundled_instance_arrives_byte_identical(gateway: ReceivingGateway, name: str) -> None:
    path = BUNDLED / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (answer,) = answers(gateway.port, path)
        uid = Uid(dcmread(path).SOPInstanceUID)
    assert answer.Status == 0x0000, answer.get("ErrorComment")
    row = find_instance(gateway.journal, uid)
    assert row is not None
    assert row.received_sha256 == dataset_sha256(path)


def test_name_in_gb18030_stays_as_it_was_sent(gateway: ReceivingGateway, tmp_path: Path) -> None:
    name = "张^䶮".encode("gb18030")
    path = write_slice(tmp_path / "sent", charset="GB18030", patient_name=name)
    assert send(gateway.port, path) == [0x0000]
    with gateway.spool.open_instance(Uid(instance_uid(1)), Uid(STUDY), None, SpoolState.INCOMING) as file:
        assert name in file.read()


def test_identical_resend_is_success_and_changes_nothing(gateway: ReceivingGateway, tmp_path: Path) -> None:
    path = write_slice(tmp_path / "sent")
    assert send(gateway.port, path, path) == [0x0000, 0x0000]
    before = find_instance(gateway.journal, Uid(instance_uid(1)))
    assert send(gateway.port, path) == [0x0000]
    assert find_instance(gateway.journal, Uid(instance_uid(1))) == before
    assert list((gateway.spool.root / "quarantine").iterdir()) == []


def test_private_storage_class_is_taken(gateway: ReceivingGateway, tmp_path: Path) -> None:
    private = "1.3.12.2.1107.5.9.1"
    path = write_part10(
        tmp_path / "private.dcm",
        dataset_bytes(sop_class_uid=private),
        sop_instance_uid=instance_uid(1),
        sop_class_uid=private,
    )
    assert send(gateway.port, path) == [0x0000]


def test_concurrent_associations_of_one_study_lose_nothing(gateway: ReceivingGateway, tmp_path: Path) -> None:
    shares = [[write_slice(tmp_path / "sent", n) for n in range(start, 40, 4)] for start in range(4)]
    both = [*shares, shares[0]]  # the last association races the first for the same instances
    with ThreadPoolExecutor(len(both)) as pool:
        statuses = list(pool.map(lambda share: send(gateway.port, *share), both))
    assert {status for share in statuses for status in share} == {0x0000}
    assert len(instances_of(gateway.journal, Uid(STUDY))) == 40


def test_lossy_syntax_is_chosen_only_when_nothing_else_is_offered(gateway: ReceivingGateway) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(CT, ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", EXPLICIT_LITTLE])
    opened = ae.associate("127.0.0.1", gateway.port)
    assert opened.accepted_contexts[0].transfer_syntax == ["1.2.840.10008.1.2.4.70"]
    opened.release()


def test_dcmtk_echoes_and_stores(gateway: ReceivingGateway, tmp_path: Path) -> None:
    write_slice(tmp_path / "sent", 1)
    write_slice(tmp_path / "sent", 2)
    peer = ("-aet", "CT1", "-aec", "GATEWAY", "127.0.0.1", str(gateway.port))
    echo = dcmtk("echoscu", *peer)
    assert echo.returncode == 0, echo.stderr
    stored = dcmtk("storescu", "+sd", *peer, str(tmp_path / "sent"))
    assert stored.returncode == 0, stored.stderr
    assert len(instances_of(gateway.journal, Uid(STUDY))) == 2
