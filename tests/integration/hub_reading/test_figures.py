"""What a monitoring system is told of the network: the right numbers, from short lists, about no patient."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from sqlalchemy import text

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.motion import queue_probes
from reading_queue.services.motion.figures import RECENTLY, figures
from reading_queue.services.reading import claims
from reading_queue.web.request_counts import RequestCounts
from reading_queue.worker.crews import SharedHeartbeat
from reading_queue.worker.failures import lay_down
from reading_queue.worker.jobs import PROBES
from reading_queue.worker.presence import crew_figures
from reading_queue.worker.queues import Crew
from storage.contract.lanes import Lane
from storage.ledger.tables import Gateway
from storage.screens.figures_listener import registry_of
from tests.integration.hub_reading.world import SITE, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

DOCUMENT = Path(__file__).parents[3] / "deploy" / "metrics.md"
LABELS = {
    "lane": {str(lane) for lane in Lane},
    "queue": set(PROBES),
    "site": {SITE},
    "le": {"0.5", "1", "2", "5", "15", "60", "300", "+Inf"},
}


def text_of(hub: Hub) -> str:
    return generate_latest(registry_of(lambda: figures(hub))).decode()


def told(hub: Hub) -> dict[str, float]:
    """Return what a scraper reads, by figure and labels as written."""
    lines = [line for line in text_of(hub).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def reading_task_of(world: World) -> str:
    return world.routed[-1]


def test_a_case_is_counted_on_its_way(hub: Hub, hub_clock: SteerableClock, world: World, wang: Viewer) -> None:
    world.declare("1.2.3", lane=Lane.STAT)
    world.catalogue("1.2.3")
    hub_clock.advance(3)
    before = told(hub)
    assert before['counterpart_cases_unoffered{lane="stat"}'] == 1
    assert before['counterpart_cases_unoffered_oldest_seconds{lane="stat"}'] == pytest.approx(3)
    assert before["counterpart_outbox_oldest_seconds"] == pytest.approx(3)
    assert before["counterpart_outbox_due"] >= 1
    world.run_jobs()
    hub_clock.advance(60)
    offered = told(hub)
    assert offered['counterpart_cases_unoffered{lane="stat"}'] == 0
    assert offered['counterpart_cases_unclaimed_oldest_seconds{lane="stat"}'] == pytest.approx(60)
    assert offered['counterpart_offers_last_5m{lane="stat"}'] == 1
    assert offered["counterpart_outbox_due"] == 0
    spread = {le: offered[f'counterpart_commit_to_offer_last_5m{{le="{le}"}}'] for le in ("2", "5", "+Inf")}
    assert spread == {"2": 0, "5": 1, "+Inf": 1}
    claims.claim(hub, wang, reading_task_of(world))
    assert told(hub)['counterpart_claims_last_5m{lane="stat"}'] == 1
    assert told(hub)['counterpart_cases_unclaimed{lane="stat"}'] == 0
    hub_clock.advance(RECENTLY.total_seconds() + 24 * 3600)
    late = told(hub)
    assert late['counterpart_cases_breached{lane="stat"}'] == 1
    assert late['counterpart_offers_last_5m{lane="stat"}'] == 0
    assert late['counterpart_commit_to_offer_last_5m{le="+Inf"}'] == 0


def test_what_only_grows_is_counted_by_the_database(hub: Hub, world: World, wang: Viewer) -> None:
    before = grown(hub)
    world.arrive(lane=Lane.STAT)
    lay_down(hub, "cases.route", {"reading_task_id": "task-1"}, "LookupError")
    after = grown(hub)
    assert {name: after[name] - before[name] for name in before} == {
        "counterpart_cases_declared_total": 1,
        "counterpart_offers_total": 1,
        "counterpart_reports_signed_total": 0,
        "counterpart_jobs_dead_total": 1,
    }


def grown(hub: Hub) -> dict[str, float]:
    with hub.transaction() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))  # of this connection, which all here have in turn
    return {name: value for name, value in told(hub).items() if name.endswith("_total")}


def test_queues_dead_jobs_packs_and_gateways_are_counted(hub: Hub, hub_clock: SteerableClock, world: World) -> None:
    world.commit_pack("1.2.9")
    lay_down(hub, "cases.route", {"reading_task_id": "task-1"}, "LookupError")
    queue_probes.ask(hub, PROBES)
    queue_probes.answer(hub, "routing")
    queue_probes.hear_worker(hub, "here/1", {"routing"})
    with hub.transaction() as session:
        session.get_one(Gateway, "gateway-1").last_seen_at = hub.clock()
    hub_clock.advance(20)
    seen = told(hub)
    assert seen["counterpart_dead_jobs"] == 1
    assert seen["counterpart_packs_unverified_oldest_seconds"] == pytest.approx(20)
    assert seen['counterpart_queue_workers{queue="routing"}'] == 1
    assert seen['counterpart_queue_workers{queue="large"}'] == 0
    assert seen['counterpart_queue_probe_waiting_seconds{queue="routing"}'] == 0
    assert seen['counterpart_queue_probe_waiting_seconds{queue="large"}'] == pytest.approx(20)
    assert seen["counterpart_scheduler_silent_seconds"] == pytest.approx(20)
    assert seen[f'counterpart_gateway_silent_seconds{{site="{SITE}"}}'] == pytest.approx(20)


def test_labels_come_from_short_lists_and_nothing_tells_of_a_patient(hub: Hub, world: World, wang: Viewer) -> None:
    world.arrive("1.2.840.99", lane=Lane.URGENT)
    queue_probes.ask(hub, PROBES)
    text = text_of(hub)
    for label, value in re.findall(r'(\w+)="([^"]*)"', text):
        assert value in LABELS[label], (label, value)
    for secret in ("张伟", "P1", "1.2.840.99", "wang", "1960"):
        assert secret not in text


def test_every_figure_of_the_hub_is_explained_and_no_other(hub: Hub, world: World) -> None:
    queue_probes.ask(hub, PROBES)
    crews = {Crew("routing", ("routing",), 1): SharedHeartbeat()}
    here = [*figures(hub), *RequestCounts().registry.collect(), *crew_figures(crews)]
    made = {f"{one.name}_total" if one.type == "counter" else one.name for one in here}
    explained = set(re.findall(r"^\| `(counterpart_\w+)`", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    gateways = {name for name in explained if name.startswith("counterpart_gateway_")}
    assert made == (explained - gateways) | {"counterpart_gateway_silent_seconds"}
