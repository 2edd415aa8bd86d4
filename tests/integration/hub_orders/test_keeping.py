"""Messages do not pile up at the hub: what is settled goes after a time, what waits for somebody never does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, text

from reading_queue.db.message_tables import OrderMessage
from reading_queue.db.tables import ClinicOrder
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages import intake, keeping
from reading_queue.worker.scheduler import SWEEPS
from storage.ledger.tables import AuditEvent
from tests.integration.gateway_orders.sending import EXAMPLE, changed, message
from tests.integration.hub_orders.conftest import SITE
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

REFUSED = changed("|CT|", "|FSCT|", *EXAMPLE)


def send(hub: Hub, *segments: str, control_id: str) -> bytes:
    (sender,) = hub.order_senders.values()
    return intake.take_message(hub, sender, message(*segments, control_id=control_id), "192.0.2.7")


def control_ids(hub: Hub) -> list[str]:
    with hub.transaction() as session:
        return list(session.scalars(select(OrderMessage.control_id).order_by(OrderMessage.message_id)))


def settle(hub: Hub, control_id: str) -> None:
    with hub.transaction() as session:
        row = session.scalars(select(OrderMessage).filter_by(control_id=control_id)).one()
        row.settled_at = hub.clock()


def sweep(hub: Hub) -> object:
    return SWEEPS["prune_order_messages"](hub)


def test_settled_messages_go_after_their_time_and_what_waits_for_somebody_stays(
    hub: Hub, hub_clock: SteerableClock
) -> None:
    days = timedelta(days=hub.policy.order_messages_keep_days).total_seconds()
    send(hub, *EXAMPLE, control_id="TAKEN")
    send(hub, *REFUSED, control_id="WAITS")
    send(hub, *REFUSED, control_id="SETTLED")
    hub_clock.advance(days - 60)
    settle(hub, "SETTLED")
    assert sweep(hub) == 0
    hub_clock.advance(61)
    assert sweep(hub) == 1
    assert control_ids(hub) == ["WAITS", "SETTLED"]  # its time begins when a person has settled it
    hub_clock.advance(10 * days)
    assert sweep(hub) == 1
    assert control_ids(hub) == ["WAITS"]
    with hub.transaction() as session:
        gone = session.scalars(select(AuditEvent).where(AuditEvent.action == "D").order_by(AuditEvent.audit_id))
        assert [(one.site_id, one.detail["act"], one.detail["count"]) for one in gone] == [(SITE, "forgotten", 1)] * 2
        assert session.scalars(select(ClinicOrder.accession_number)).all() == ["ACC1"]


def test_message_that_comes_again_after_it_is_gone_makes_no_second_order(hub: Hub, hub_clock: SteerableClock) -> None:
    send(hub, *EXAMPLE, control_id="C1")
    hub_clock.advance(timedelta(days=hub.policy.order_messages_keep_days + 1).total_seconds())
    assert sweep(hub) == 1
    assert b"MSA|AA|C1" in send(hub, *EXAMPLE, control_id="C1")
    with hub.transaction() as session:
        assert [one.order_version for one in session.scalars(select(ClinicOrder))] == [1]


def test_what_a_person_settled_before_it_was_decided_on_is_not_decided_on_later(hub: Hub) -> None:
    (sender,) = hub.order_senders.values()
    intake._keep(hub, sender, message(*EXAMPLE, control_id="C1"), "192.0.2.7")
    settle(hub, "C1")
    assert intake.decide_waiting(hub) == 0
    with hub.transaction() as session:
        assert session.scalars(select(ClinicOrder)).all() == []


def test_one_sweep_takes_a_bounded_batch(hub: Hub, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BATCH", 2)
    for number in range(3):
        send(hub, *REFUSED, control_id=f"C{number}")
        settle(hub, f"C{number}")
    hub_clock.advance(timedelta(days=hub.policy.order_messages_keep_days + 1).total_seconds())
    assert [sweep(hub) for _ in range(3)] == [2, 1, 0]


def test_old_messages_are_found_by_index(database: Engine) -> None:
    fill = (
        "INSERT INTO order_messages (site_id, sender_name, address, sender, control_id, kind, digest, content,"
        " received_at, state, decided_at) SELECT 's', 'h', '', '', n::text, '', '', '', now(), 'taken', now()"
        " FROM generate_series(1, 5000) AS n"
    )
    query = (
        "SELECT message_id FROM order_messages WHERE (settled_at IS NOT NULL OR (state = 'taken' AND faults = '[]'))"
        " AND coalesce(settled_at, decided_at) < now() - interval '1 day'"
        " ORDER BY coalesce(settled_at, decided_at) LIMIT 200"
    )
    with database.begin() as connection:
        connection.execute(text(fill))
        connection.execute(text("ANALYZE order_messages"))
        assert "ix_order_messages_done" in "\n".join(connection.scalars(text(f"EXPLAIN {query}")))
