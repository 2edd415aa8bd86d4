"""What was launched is found by what it is about, and leaves the outbox when it is old."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, text

from reading_queue.services.cases.casework import launch_route
from reading_queue.services.hub import Hub, launch
from reading_queue.services.motion import sweeps
from storage.ledger.tables import OutboxMessage
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def launched(hub: Hub, *names: str, due_in_s: float = 0) -> None:
    now = hub.clock()
    with hub.transaction() as session:
        for name in names:
            launch(session, now, "probe.note", due_at=now + timedelta(seconds=due_in_s), name=name)


def publish_all(hub: Hub) -> None:
    with hub.transaction() as session:
        for message in session.scalars(select(OutboxMessage)):
            message.published_at = hub.clock()


def subjects(hub: Hub) -> list[str]:
    with hub.transaction() as session:
        return list(session.scalars(select(OutboxMessage.subject_id).order_by(OutboxMessage.subject_id)))


def test_a_launch_knows_what_it_is_about(hub: Hub) -> None:
    with hub.transaction() as session:
        launch(session, hub.clock(), "probe.note", name="a", attempt=2)
        session.flush()
        message = session.scalars(select(OutboxMessage)).one()
    assert (message.subject_id, message.arguments) == ("a", {"name": "a", "attempt": 2})


def test_a_routing_that_is_being_published_stands_for_no_other_and_one_that_waits_is_not_published_before(
    hub: Hub,
) -> None:
    now = hub.clock()
    unheld = select(OutboxMessage.message_id).with_for_update(skip_locked=True)
    with hub.transaction() as session:
        assert launch_route(session, now, "task")
    with hub.transaction() as relay, hub.transaction() as session:
        relay.scalars(unheld).one()
        assert launch_route(session, now, "task"), "the published one may have been routed by what was before"
    with hub.transaction() as session, hub.transaction() as relay:
        assert not launch_route(session, now, "task")
        assert len(relay.scalars(unheld).all()) == 1, "its routing sees what is changed here"


def test_old_published_launches_are_pruned_and_younger_and_waiting_ones_stay(
    hub: Hub, hub_clock: SteerableClock
) -> None:
    launched(hub, "old")
    publish_all(hub)
    hub_clock.advance(1)
    launched(hub, "young")
    publish_all(hub)
    with hub.transaction() as session:
        session.execute(text("UPDATE outbox SET published_at = published_at - interval '1 s' WHERE subject_id = 'old'"))
    launched(hub, "waiting", due_in_s=10 * hub.policy.outbox_keep_s)
    hub_clock.advance(hub.policy.outbox_keep_s)
    assert sweeps.prune_outbox(hub) == 1
    assert subjects(hub) == ["waiting", "young"]


def test_one_sweep_prunes_a_bounded_batch_and_the_next_goes_on(
    hub: Hub, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "BATCH", 2)
    launched(hub, "a", "b", "c")
    publish_all(hub)
    hub_clock.advance(hub.policy.outbox_keep_s + 1)
    assert [sweeps.prune_outbox(hub) for _ in range(3)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        pytest.param(
            "SELECT 1 FROM outbox WHERE job = 'cases.route' AND subject_id = '7'",
            "ix_outbox_subject",
            id="is it on its way",
        ),
        pytest.param(
            "SELECT message_id FROM outbox WHERE published_at < now() - interval '1 day' LIMIT 200",
            "ix_outbox_published",
            id="which may go",
        ),
    ],
)
def test_a_long_outbox_is_searched_by_index(database: Engine, query: str, index: str) -> None:
    fill = (
        "INSERT INTO outbox (job, subject_id, arguments, created_at, due_at, published_at)"
        " SELECT 'cases.route', n::text, '{}', now(), now(), now() FROM generate_series(1, 5000) AS n"
    )
    with database.begin() as connection:
        connection.execute(text(fill))
        connection.execute(text("ANALYZE outbox"))
        plan = "\n".join(connection.scalars(text(f"EXPLAIN {query}")))
        assert connection.scalar(select(func.count()).select_from(OutboxMessage)) == 5000
    assert index in plan
