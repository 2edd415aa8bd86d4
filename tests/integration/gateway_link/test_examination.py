"""An order's whole road to the hub: entered at the gateway, on the worklist, examined by MPPS, its images, its case."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pynetdicom import AE
from sqlalchemy import select

from gateway.bootstrap import open_journal
from gateway.clock import utc_now
from gateway.journal.actions import record_action
from gateway.orders import enter_order
from gateway.settings import GatewaySettings
from reading_queue.db.tables import ClinicOrder
from reading_queue.services.cases.casework import find_case_of
from reading_queue.services.orders.orders import orders_of_case
from storage.catalogue.tables import Transfer
from storage.contract.identifiers import new_uid
from storage.contract.orders import OrderOrigin
from tests.integration.gateway_link.test_order_commands import worklist
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, SITE, RealHub, dicom_port, enrolled, real
from tests.integration.gateway_services.test_performed_steps import MPPS, begun, ended
from tests.integration.hub_intake.studies import make_instance
from tests.support.waiting import eventually

__all__ = ["dicom_port", "enrolled", "real"]
pytestmark = pytest.mark.postgres

TYPED = {"patient_number": "P-0001", "patient_name": "王芳", "modality": "CT", "procedure_name": "胸部CT平扫"}


def report(port: int, step: str, accession_number: str, study: str, instances: list[str]) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", port, ae_title="COUNTERPART")
    assert association.is_established
    created, _ = association.send_n_create(begun(accession_number, study_uid=study, patient="P-0001"), MPPS, step)
    done, _ = association.send_n_set(ended("COMPLETED", *instances), MPPS, step)
    association.release()
    assert (created.Status, done.Status) == (0, 0)


def test_order_examination_and_images_meet_at_the_hub(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int, tmp_path: Path
) -> None:
    journal = open_journal(enrolled)
    order = enter_order(journal, TYPED, entered_by="t", origin=OrderOrigin.CONSOLE, now=utc_now())
    assert worklist(dicom_port, tmp_path / "worklist") == [order.accession_number]
    made = [
        make_instance(number, utc_now(), study=order.study_uid, AccessionNumber=order.accession_number)
        for number in (1, 2, 3)
    ]
    report(
        dicom_port,
        new_uid(),
        order.accession_number,
        order.study_uid,
        [one.entry.sop_instance_uid for one in made],
    )
    files = []
    for number, one in enumerate(made):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(one.file)
    words = ["storescu", "-aet", "CT1", "-aec", "COUNTERPART", "127.0.0.1", str(dicom_port), *map(str, files)]
    subprocess.run(words, check=True, capture_output=True)

    def met() -> None:
        real.verify()
        with journal.transaction() as connection:
            record_action(connection, utc_now(), "test", "look", "")  # every loop looks now
        with real.hub.transaction() as session:
            manifest = session.scalars(select(Transfer.manifest).where(Transfer.study_uid == order.study_uid)).first()
            assert manifest is not None
            assert (manifest["expected_instances"], manifest["complete_because"]) == (3, "expected_count")
            case_id = find_case_of(session, SITE, order.study_uid)
            assert case_id is not None
            rows = orders_of_case(session, case_id)
            assert len(rows) == 1
            row = rows[0]
            assert (row.order_id, row.state) == (order.order_id, "done")
            assert row.content["expected_instances"] == 3
            assert row.differs == []
            assert session.scalars(select(ClinicOrder.accession_number)).all() == [order.accession_number]

    eventually(met, PATIENCE_S, every_s=0.3)
