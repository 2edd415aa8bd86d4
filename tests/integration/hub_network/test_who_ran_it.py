"""What commands do to the network bears the name of who ran them, in the history and in the audit trail."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from reading_queue.services.access import accounts
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_views
from reading_queue.services.network.network import load_network
from storage.ledger.tables import AuditEvent, DeadJob, Enrolment
from tests.integration.hub_network.conftest import Command
from tests.integration.hub_web.county import ADMINISTRATOR, CHEAP, County, read_document

pytestmark = pytest.mark.postgres


def test_import_is_in_history_and_audit_trail_under_the_name_of_who_ran_it(
    hub: Hub, command: Command, tmp_path: Path
) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    document["organisations"][0]["name_en"] = "Renmin Hospital"
    document["agreements"][0]["time_limits_min"] = {"stat": 30}
    file = tmp_path / "county.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    done = command("network", "import", str(file), "--as", " 王主任 ")
    assert done.returncode == 0, done.stderr
    viewer = County(hub).viewer(ADMINISTRATOR)
    changed = document["organisations"][0]["id"]
    seen = network_views.view_organisation(hub, viewer, changed)
    agreed = f"{document['agreements'][0]['id']}:{document['agreements'][0]['requesting'][0]}"
    for newest in (seen.history[0], network_views.view_agreement(hub, viewer, agreed).history[0]):
        assert (newest.number, newest.by, newest.by_command) == (2, "王主任", True)
    with hub.transaction() as session:
        named = select(AuditEvent).where(AuditEvent.detail["command_as"].astext == "王主任")
        audited = {(one.object_kind, one.account_id) for one in session.scalars(named)}
    assert audited == {("organisation", None), ("agreement", None), ("network", None)}


def test_who_gives_no_name_is_named_by_the_system_and_an_empty_name_is_refused(
    hub: Hub, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "county.yaml"
    file.write_text(yaml.safe_dump(read_document(), allow_unicode=True), encoding="utf-8")
    refused = command("network", "import", str(file), "--as", " ")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("--as: a name is needed")
    assert command("network", "load", str(file)).returncode == 0
    line = network_views.view_organisation(hub, County(hub).viewer(ADMINISTRATOR), "qinghe-renmin").history[0]
    assert line.by, "the user of the system"
    assert line.by_command


def test_accounts_and_enrolment_codes_bear_the_name_too(hub: Hub, command: Command) -> None:
    load_network(hub, read_document(), hasher=CHEAP)
    person = ("--name", "新协调员", "--role", "coordinator", "--organisation", "qinghe-renmin")
    made = command("account", "create", "second", *person, "--as", "王主任", typed="a-password\n")
    assert made.returncode == 0, made.stderr
    for words in (("enrol", "qinghe-t01"), ("enrol-reader", "qinghe-renmin")):
        assert command("site", *words, "--as", "王主任").returncode == 0
    with hub.transaction() as session:
        assert session.scalars(select(Enrolment.issued_by)).all() == ["王主任", "王主任"]
        named = select(AuditEvent.object_kind).where(AuditEvent.detail["command_as"].astext == "王主任")
        assert sorted(session.scalars(named)) == ["enrolment_code", "enrolment_code", "person"]


def test_the_last_administrator_who_lost_their_password_gets_another_by_a_command(hub: Hub, command: Command) -> None:
    load_network(hub, read_document(), hasher=CHEAP)
    reset = command("account", "reset-password", ADMINISTRATOR, "--as", "王主任")
    assert reset.returncode == 0, reset.stderr
    login = accounts.login(hub, ADMINISTRATOR, reset.stdout.strip(), "browser")
    live = accounts.find_session(hub, login.token)
    assert live is not None
    assert live.password_temporary, "another is chosen before anything else"
    with hub.transaction() as session:
        audited = select(AuditEvent.detail).where(AuditEvent.object_kind == "account", AuditEvent.account_id.is_(None))
        assert session.scalars(audited).all() == [{"password": "reset", "command_as": "王主任"}]
    nobody = command("account", "reset-password", "nobody")
    assert (nobody.returncode, nobody.stdout, nobody.stderr.strip()) == (1, "", "there is no such person")


def test_a_job_that_is_launched_again_bears_the_name_too(hub: Hub, command: Command) -> None:
    with hub.transaction() as session:
        dead = DeadJob(
            job="cases.route",
            subject_id="t",
            arguments={"reading_task_id": "t"},
            reason="Broken",
            failed_at=hub.clock(),
        )
        session.add(dead)
        session.flush()
        number = dead.dead_job_id
    assert command("jobs", "retry", str(number), "--as", "王主任").returncode == 0
    with hub.transaction() as session:
        audited = select(AuditEvent.object_kind, AuditEvent.object_id)
        named = audited.where(AuditEvent.detail["command_as"].astext == "王主任")
        assert session.execute(named).all() == [("dead_job", str(number))]
