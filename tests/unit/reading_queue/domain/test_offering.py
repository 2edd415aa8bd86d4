"""How long an offer stands, by the rights on which it rests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from reading_queue.domain.offering import agreements_by_stage, last_day_of_right, stands_until, whose_limits_count
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import AgreementFacts, CaseFacts, Phase, PhysicianFacts
from storage.contract.lanes import Lane

SHANGHAI = ZoneInfo("Asia/Shanghai")
CASE = CaseFacts("case", Phase.INTERPRETATION, Lane.ROUTINE, "CT", "CHEST", ("clinic", "county"), date(2026, 3, 10))
WHO = PhysicianFacts(
    physician_id="wang",
    organisation_id="city",
    title=Title.ATTENDING,
    licence_valid_until=date(2026, 4, 1),
    modalities=frozenset(),
    duty=(),
    work_in_progress=0,
    work_in_progress_max=1,
    workload_points=0,
)
AGREED = AgreementFacts(
    agreement_id="a",
    requesting_organisation_id="county",
    assisting_organisation_id="city",
    modalities=frozenset(),
    body_regions=frozenset(),
    services=frozenset({"interpretation"}),
    stage=1,
    valid_from=date(2026, 1, 1),
    valid_until=date(2026, 3, 12),
)
NEXT = replace(AGREED, agreement_id="b", valid_from=date(2026, 3, 13), valid_until=date(2026, 3, 20))


@pytest.mark.parametrize(
    ("agreements", "last_day"),
    [
        ([AGREED], (3, 12)),
        ([AGREED, NEXT], (3, 20)),  # it goes on under the next
        ([AGREED, replace(NEXT, valid_from=date(2026, 3, 14))], (3, 12)),
        ([AGREED, replace(NEXT, modalities=frozenset({"MR"}))], (3, 12)),
        ([replace(AGREED, cases_per_day_max={"all": 1}, cases_today={"CT": 1})], (3, 12)),
        ([replace(AGREED, valid_until=date.max)], (4, 1)),  # that of the licence
        ([NEXT], (3, 9)),
    ],
)
def test_a_right_lasts_as_long_as_agreements_follow_one_another_and_the_licence(
    agreements: list[AgreementFacts], last_day: tuple[int, int]
):
    assert last_day_of_right(CASE, WHO, agreements) == date(2026, *last_day)


@pytest.mark.parametrize(
    ("wanted", "until"),
    [
        (datetime(2026, 3, 12, 15, 59, tzinfo=UTC), datetime(2026, 3, 12, 15, 59, tzinfo=UTC)),
        (datetime(2026, 3, 12, 16, 5, tzinfo=UTC), datetime(2026, 3, 12, 16, 0, tzinfo=UTC)),  # midnight in Shanghai
    ],
)
def test_an_offer_ends_with_the_last_day_at_its_site(wanted: datetime, until: datetime):
    assert stands_until(wanted, date(2026, 3, 12), SHANGHAI) == until


@pytest.mark.parametrize(
    ("offered", "counting"), [("a", "a"), ("b", "ab"), ("c", "abc"), ("ac", "abc"), ("x", "x"), ("", "")]
)
def test_the_limits_of_the_stages_before_count_whether_anybody_is_asked_there_or_not(offered: str, counting: str):
    agreements = [
        replace(AGREED, agreement_id=one, assisting_organisation_id=one, stage=stage)
        for stage, one in enumerate("abc", start=1)
    ]
    other = replace(AGREED, agreement_id="m", assisting_organisation_id="m", stage=1, modalities=frozenset({"MR"}))
    stages = agreements_by_stage(CASE, [*agreements, other])
    assert whose_limits_count(stages, set(offered)) == set(counting)
