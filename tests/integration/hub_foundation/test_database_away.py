"""While the database is away everybody is told so, and the logs take one line for it instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psycopg
import pytest
import sqlalchemy as sa
import structlog

from gateway.clock import utc_now
from reading_queue.db.connections import is_away
from reading_queue.services.hub import Hub
from reading_queue.web.app import build_app
from reading_queue.web.gateway_api import PREFIX, build_gateway_api
from reading_queue.worker.scheduler import sweep_once
from storage.objects.protocol import ObjectStore
from storage.screens.offload import Offload
from tests.integration.hub_web.serving import ASSETS, Visitor, serving
from tests.support.hub import make_hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    engine = sa.create_engine("postgresql+psycopg://nobody@/nothing", connect_args={"host": str(tmp_path)})
    yield make_hub(engine, cast(ObjectStore, None), tmp_path / "hub.key", utc_now)
    engine.dispose()


def test_pages_programs_and_gateways_are_told_to_try_again(hub: Hub) -> None:
    run = Offload(4)
    app = build_app(hub, assets_dir=ASSETS, mounts=[(PREFIX, build_gateway_api(hub, run))], run=run)
    with structlog.testing.capture_logs() as logs, serving(app) as url:
        browser, program = Visitor(url, cookies={"counterpart": "token"}), Visitor(url, bearer="token")
        page, api, fhir = browser.get("/coordinator/"), program.call("GET", "/cases"), program.send("GET", "/fhir/Task")
        gateway = program.send("POST", f"{PREFIX}/enrolments", body="{}")
    run.close()
    assert [answer.status for answer in (page, api, fhir, gateway)] == [503] * 4
    assert "暂时不可用" in page.text
    assert api.json()["code"] == "unavailable"
    assert {line["event"] for line in logs if line["log_level"] != "info"} <= {"database_away", "wakeups_disconnected"}


def test_sweeps_wait_in_one_line(hub: Hub) -> None:
    with structlog.testing.capture_logs() as logs:
        sweep_once(hub)
    assert [line["event"] for line in logs] == ["sweeps_wait"]


@pytest.mark.parametrize(
    ("failure", "away"),
    [
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.CannotConnectNow(), True),
        (psycopg.errors.DeadlockDetected(), False),
        (psycopg.errors.UniqueViolation(), False),
    ],
)
def test_what_a_statement_was_refused_for_is_no_absence(failure: psycopg.Error, away: bool) -> None:
    assert is_away(sa.exc.DBAPIError.instance("SELECT 1", {}, failure, psycopg.Error)) is away
    assert not is_away(failure)
