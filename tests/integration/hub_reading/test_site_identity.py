"""Doubts whose a case is, told at the clinic's own gateway and settled there, over the real API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.hub import HubClient
from gateway.hub.exchange import OLD_HUB_RETRY_S
from gateway.hub.identity_doubts import IdentitySync
from gateway.identity_settling import settle_identity
from gateway.journal.custody import custody_of
from gateway.journal.database import Journal
from gateway.journal.identity_doubts import SettlementRow, doubts_of, due_settlements, settlements_of
from gateway.operations import Asker, NotPossible
from reading_queue.db.tables import Account, ClinicOrder
from reading_queue.domain.identity import Mismatch, Settlement
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.patients import identity_settling
from reading_queue.services.patients.identity_settling import PersonOfOrder
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid, new_id
from storage.contract.identity_doubts import (
    CorrectedPerson,
    IdentityDoubt,
    IdentitySettlement,
    IdentitySettlements,
    SettlementKind,
)
from storage.contract.lanes import Lane
from storage.ledger.tables import AuditEvent
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.test_identity_doubts import add_account, audited
from tests.integration.hub_reading.test_identity_doubts import doubts as at_desk
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import COUNTY, SITE, World
from tests.support.clock import SteerableClock
from tests.support.gateway_client import enrolled_client

pytestmark = pytest.mark.postgres

STUDY = Uid("1.2.3")
CONFIRM, UNLINK, CORRECT = SettlementKind.CONFIRM, SettlementKind.UNLINK, SettlementKind.CORRECT
OTHER = {"patient_name": "李四", "sex": "F"}
FITS = CorrectedPerson(patient_name="张伟", birth_date=date(1960, 5, 1), sex="M")


@dataclass
class Console:
    """The clinic's gateway, as far as it speaks of doubts: its journal, its client, the step of its loop."""

    hub: Hub
    path: Path
    client: HubClient
    clock: SteerableClock

    @property
    def journal(self) -> Journal:
        """Opened anew each time: what is asked of it has survived a restart."""
        return Journal(self.path)

    def sync(self) -> None:
        assert IdentitySync(self.journal, self.client, retry_delay_max_s=1).step() < OLD_HUB_RETRY_S

    def doubt(self) -> IdentityDoubt:
        (doubt,) = doubts_of(self.journal, STUDY)
        return doubt

    def settle(
        self, kind: SettlementKind, *, person: CorrectedPerson | None = None, reason: str = "已电话核对"
    ) -> IdentitySettlement:
        doubt, asker = self.doubt(), Asker("li", self.clock())
        return settle_identity(
            self.journal,
            asker,
            STUDY,
            conflict_id=doubt.conflict_id,
            facts_sha256=doubt.facts_sha256,
            kind=kind,
            person=person,
            reason=reason,
        )

    def last(self) -> SettlementRow:
        return settlements_of(self.journal, STUDY)[0]


@pytest.fixture
def console(world: World, hub: Hub, hub_clock: SteerableClock, tmp_path: Path) -> Iterator[Console]:
    person(world, "li", Role.TECHNICIAN, SITE)
    with HubServer(hub) as server, enrolled_client(hub, server.url, SITE) as client:
        yield Console(hub, tmp_path / "journal.sqlite", client, hub_clock)


@pytest.fixture
def chen(world: World, hub: Hub) -> Viewer:
    """A coordinator of the county."""
    return add_account(hub, "chen", Role.COORDINATOR, COUNTY)


def test_a_doubt_is_told_at_the_console_and_who_confirms_it_there_lets_the_case_go(
    world: World, hub: Hub, wang: Viewer, chen: Viewer, console: Console
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    console.sync()
    told = console.doubt()
    assert (told.mismatches, told.holds) == ((Mismatch.NAME, Mismatch.SEX), True)
    assert told.in_order is not None
    assert (told.in_order.name.split("=")[-1], told.in_order.sex, told.in_images.sex) == ("李四", "F", "M")
    act = console.settle(CONFIRM)
    assert [one.act_id for one in due_settlements(console.journal, 9)] == [act.act_id]
    with pytest.raises(NotPossible):
        console.settle(UNLINK)
    console.sync()
    world.run_jobs()
    assert console.last().state == "done"
    assert doubts_of(console.journal, STUDY) == [], "nothing is in doubt any more"
    assert world.offered_to(case_id, wang) == ["wang"]
    (settled,) = at_desk(hub, chen)
    assert (settled.settlement, settled.ended_by, settled.reason) == (Settlement.CONFIRMED, "Li", "已电话核对")
    assert {"identity_settled", "settled_at_console"} <= set(audited(hub))
    (line,) = custody_of(console.journal, STUDY)
    assert (line.hop, line.detail["actor"], line.detail["verb"]) == (Hop.CLINIC_ACTED, "li", "identity_confirm")


def test_the_audit_trail_names_who_settled_it_at_the_console(world: World, hub: Hub, console: Console):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    console.sync()
    act = console.settle(CONFIRM)
    console.sync()
    with hub.transaction() as session:
        events = session.scalars(
            select(AuditEvent).where(AuditEvent.detail["event"].as_string() == "settled_at_console")
        ).all()
        assert [(one.account_id, one.object_id, one.detail["act_id"]) for one in events] == [
            ("li", case_id, act.act_id)
        ]


def test_images_of_another_patient_are_read_without_the_order(world: World, hub: Hub, wang: Viewer, console: Console):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    console.sync()
    console.settle(UNLINK)
    console.sync()
    world.run_jobs()
    assert console.last().state == "done"
    assert world.offered_to(case_id, wang) == ["wang"]


def test_an_order_that_is_corrected_at_the_console_is_a_version_that_every_gateway_gets(
    world: World, hub: Hub, wang: Viewer, console: Console
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    console.sync()
    act = console.settle(CORRECT, person=FITS)
    for _ in range(2):
        told = console.client.report_settlements(IdentitySettlements(settlements=(act,)))
        assert (told.done, told.refused) == ((act.act_id,), ())
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    assert order_in(hub) == (2, "张伟", "M")


def order_in(hub: Hub) -> tuple[int, str, str]:
    with hub.transaction() as session:
        content = session.scalars(select(ClinicOrder)).one().content
        return content["version"], content["patient_name"], content["sex"]


def test_a_correction_that_does_not_suffice_is_done_once_however_often_it_is_told(
    world: World, hub: Hub, console: Console
):
    hand_in(hub, order(**OTHER))
    world.arrive()
    console.sync()
    act = console.settle(CORRECT, person=CorrectedPerson(patient_name="王五", birth_date=date(1960, 5, 1), sex="M"))
    for _ in range(2):
        told = console.client.report_settlements(IdentitySettlements(settlements=(act,)))
        assert told.done == (act.act_id,)
    assert order_in(hub) == (2, "王五", "M")
    console.sync()
    assert console.doubt().mismatches == (Mismatch.NAME,), "the images contradict it still"
    assert console.last().state == "done"


def test_what_the_desk_settled_otherwise_meanwhile_is_told_at_the_console(
    world: World, hub: Hub, chen: Viewer, console: Console
):
    hand_in(hub, order(**OTHER))
    world.arrive()
    console.sync()
    console.settle(CONFIRM)
    (doubt,) = at_desk(hub, chen)
    identity_settling.unlink_order(hub, chen, doubt.conflict_id, "另一项检查的申请单")
    console.sync()
    assert (console.last().state, console.last().code) == ("refused", "wrong_state")
    assert console.last().problem != ""


@pytest.mark.parametrize("kind", [CONFIRM, UNLINK, CORRECT])
def test_what_was_decided_about_other_facts_is_not_done(
    world: World, hub: Hub, chen: Viewer, console: Console, kind: SettlementKind
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    console.sync()
    console.settle(kind, person=FITS if kind is CORRECT else None)
    (doubt,) = at_desk(hub, chen)
    meanwhile = PersonOfOrder(patient_name="赵六", birth_date=date(1971, 1, 1), sex="F")
    identity_settling.correct_order(hub, chen, doubt.conflict_id, meanwhile, "门诊更正")
    console.sync()
    assert (console.last().state, console.last().code) == ("refused", "identity_changed")
    assert world.case(case_id).state == CaseState.READY
    assert order_in(hub) == (2, "赵六", "F")
    assert len(doubts_of(console.journal, STUDY)) == 1


def settlement(doubt: IdentityDoubt, **more: object) -> IdentitySettlement:
    values = {
        "act_id": new_id(),
        "conflict_id": doubt.conflict_id,
        "study_uid": STUDY,
        "facts_sha256": doubt.facts_sha256,
        "kind": CONFIRM,
        "reason": "核对",
        "account_id": "li",
        "at": SteerableClock()(),
    }
    return IdentitySettlement.model_validate(values | more)


def test_nobody_settles_through_a_gateway_but_its_own_people_what_is_their_own(
    world: World, hub: Hub, wang: Viewer, console: Console
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    person(world, "elsewhere", Role.TECHNICIAN, COUNTY)
    console.sync()
    doubt = console.doubt()
    foreign = (
        settlement(doubt, account_id="elsewhere"),
        settlement(doubt, account_id="forged"),
        settlement(doubt, account_id="wang"),
        settlement(doubt, conflict_id="forged"),
        settlement(doubt, study_uid="1.9.9"),
    )
    told = console.client.report_settlements(IdentitySettlements(settlements=foreign))
    assert told.done == ()
    not_here = "not_of_this_site"
    assert [one.code for one in told.refused] == [not_here, not_here, not_here, "not_found", "not_found"]
    assert all(one.reason for one in told.refused)
    assert world.case(case_id).state == CaseState.READY


def test_who_has_lost_the_account_meanwhile_settles_nothing(world: World, hub: Hub, console: Console):
    hand_in(hub, order(**OTHER))
    world.arrive()
    console.sync()
    console.settle(CONFIRM)
    with hub.transaction() as session:
        session.get_one(Account, "li").disabled_at = hub.clock()
    console.sync()
    assert (console.last().state, console.last().code) == ("refused", "not_of_this_site")


def test_an_emergency_is_told_as_one_that_goes_on(world: World, hub: Hub, console: Console):
    hand_in(hub, order(**OTHER))
    world.arrive(lane=Lane.STAT)
    console.sync()
    assert not console.doubt().holds


def test_a_correction_that_contradicts_itself_comes_back_in_words(world: World, hub: Hub, console: Console):
    hand_in(hub, order(**OTHER))
    world.arrive()
    console.sync()
    wrong = CorrectedPerson(patient_name="", birth_date=date(1960, 5, 1), sex="M")
    console.settle(CORRECT, person=wrong)  # the order is not in this journal: the hub judges it
    console.sync()
    assert (console.last().state, console.last().code) == ("refused", "invalid")
    assert "name" in console.last().problem


def test_a_hub_that_knows_nothing_of_it_is_left_alone(console: Console, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.hub.client.DOUBTS_PATH", "/gateway/v1/no-such-path")
    assert IdentitySync(console.journal, console.client, retry_delay_max_s=1).step() == OLD_HUB_RETRY_S
