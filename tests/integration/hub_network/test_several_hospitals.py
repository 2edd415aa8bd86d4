"""A physician of several hospitals: for whom they read is what the report says. And duty that recurs goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.tables import Account, Physician, Report
from reading_queue.domain.report import ReportContent
from reading_queue.services.hub import Hub
from reading_queue.services.network.duty import EXTENDED_AT_ONCE, KNOWN_AHEAD_DAYS, extend_duty
from reading_queue.services.network.network import load_network
from tests.integration.hub_web.county import CHEAP, County, read_document
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def test_report_names_the_hospital_under_whose_agreement_each_signatory_read(hub: Hub) -> None:
    hub = replace(hub, policy=replace(hub.policy, offer_width=20))
    county = County(hub).build()
    document = read_document()
    guest = next(one for one in document["physicians"] if one["login"] == "wu.ke")
    guest["also_at"] = ["qinghe-renmin"]  # linlan-diyi itself has an agreement of a later stage
    document["physicians"] = [guest, *(one for one in document["physicians"] if one["login"] == "lin.shu")]
    load_network(hub, document, whole=True, hasher=CHEAP)
    case_id = county.arrive("1.2.3.4")
    county.submit(case_id, "wu.ke")
    county.sign(case_id, "lin.shu")
    with hub.transaction() as session:
        report = ReportContent.from_json(session.scalars(select(Report.content)).one())
    assert (report.author.organisation_id, report.author.organisation_name) == ("qinghe-renmin", "清河县人民医院")
    assert report.verifier.organisation_id == "qinghe-renmin"


def test_duty_that_recurs_is_written_on_for_ever(hub: Hub, hub_clock: SteerableClock) -> None:
    document = read_document()
    by_hand = {"starts_at": "2026-10-01T08:00+08:00", "ends_at": "2026-10-01T20:00+08:00"}
    duties = (
        ["always"],
        {"weekly": {"sun": ["20:00-08:00"]}},
        [by_hand],
        {"extra": {"2026-05-01": ["08:00-12:00"]}},
        [],
    )
    document["physicians"] = [
        {**one, "duty": duty if duty != ["always"] else "always"}
        for one, duty in zip(document["physicians"], duties, strict=False)
    ]
    load_network(hub, document, hasher=CHEAP)
    assert extend_duty(hub) == 0
    hub_clock.advance(timedelta(days=200).total_seconds())
    assert len(duties) < EXTENDED_AT_ONCE
    first = document["physicians"][0]["login"]
    of_the_first = (
        select(Physician).join(Account, Account.account_id == Physician.account_id).where(Account.login == first)
    )
    with hub.transaction() as other:
        assert other.scalars(of_the_first.with_for_update(of=Physician)).one()
        assert extend_duty(hub) == 1, "another scheduler has the other one in hand"
    assert extend_duty(hub) == 1
    assert extend_duty(hub) == 0
    ends = (
        select(Account.login, func.max(DutyPeriod.ends_at))
        .join(Physician, Physician.account_id == Account.account_id)
        .join(DutyPeriod, DutyPeriod.physician_id == Physician.physician_id)
        .group_by(Account.login)
    )
    far = hub_clock.now + timedelta(days=KNOWN_AHEAD_DAYS)
    with hub.transaction() as session:
        known_ahead = {login for login, until in session.execute(ends) if until > far}
        nights = session.scalar(
            select(func.count()).select_from(DutyPeriod).where(DutyPeriod.starts_at > hub_clock.now)
        )
    assert known_ahead == {one["login"] for one in document["physicians"][:2]}
    assert nights >= 52
