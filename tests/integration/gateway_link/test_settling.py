"""A doubt whose a study is, from the hub's catalogue to a whole gateway, and its settlement back to the hub."""

from __future__ import annotations

import pytest

from gateway.bootstrap import open_journal
from gateway.clock import utc_now
from gateway.identity_settling import settle_identity
from gateway.journal.identity_doubts import doubts_of, settlements_of
from gateway.journal.orders import find_order
from gateway.operations import Asker
from gateway.orders import enter_order
from gateway.settings import GatewaySettings
from reading_queue.services.access.visibility import Viewer
from storage.contract.identity_doubts import CorrectedPerson, SettlementKind
from storage.contract.orders import OrderOrigin
from tests.integration.gateway_link.test_orders_of_the_hub import look_now, technician
from tests.integration.gateway_link.test_process import send_study
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, RealHub, dicom_port, enrolled, real
from tests.support.waiting import eventually

__all__ = ["dicom_port", "enrolled", "real", "technician"]
pytestmark = pytest.mark.postgres

OTHER = {"patient_number": "P1", "patient_name": "Li^Si", "modality": "CT", "procedure_name": "胸部CT平扫"}


def test_an_order_corrected_at_the_console_comes_back_as_the_hubs_next_version_with_the_line_down_meanwhile(
    real: RealHub, technician: Viewer, enrolled: GatewaySettings, dicom_port: int
) -> None:
    journal = open_journal(enrolled)
    study = send_study(dicom_port)
    typed = OTHER | {"study_uid": study}
    order = enter_order(journal, typed, entered_by="t", origin=OrderOrigin.CONSOLE, now=utc_now())

    def is_doubted() -> None:
        real.verify()
        look_now(journal)
        assert [(one.mismatches, one.order_id) for one in doubts_of(journal, study)] == [(("name",), order.order_id)]

    eventually(is_doubted, PATIENCE_S, every_s=0.3)
    (doubt,) = doubts_of(journal, study)
    real.stop()
    settle_identity(
        journal,
        Asker(technician.account_id, utc_now()),
        study,
        conflict_id=doubt.conflict_id,
        facts_sha256=doubt.facts_sha256,
        kind=SettlementKind.CORRECT,
        person=CorrectedPerson(patient_name="Zhang^San"),
        reason="登记写错",
    )
    real.start()

    def is_settled() -> None:
        look_now(journal)
        assert [row.state for row in settlements_of(journal, study)] == ["done"]
        assert doubts_of(journal, study) == []
        row = find_order(journal, order.order_id)
        assert row is not None
        assert (row.order.version, row.order.patient_name) == (2, "Zhang^San")

    eventually(is_settled, PATIENCE_S, every_s=0.3)
