"""Who is a candidate, in which order, and why the others are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.roles import Title
from reading_queue.domain.routing import (
    REASONS,
    WHOLE_POOL,
    AgreementFacts,
    Candidate,
    CaseFacts,
    Phase,
    PhysicianFacts,
    Ranking,
    Reason,
    choose,
    describe_nobody,
    rank,
    still_to_ask,
    workload_points,
)
from storage.contract.lanes import Lane

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
TODAY = date(2026, 3, 2)
CASE = CaseFacts(
    case_id="case",
    phase=Phase.INTERPRETATION,
    lane=Lane.ROUTINE,
    modality="CT",
    body_region="CHEST",
    organisation_ids=("clinic", "county"),
    local_date=TODAY,
)
VERIFICATION = replace(CASE, phase=Phase.VERIFICATION, author_id="author")
AGREEMENT = AgreementFacts(
    agreement_id="agreement",
    requesting_organisation_id="clinic",
    assisting_organisation_id="city",
    modalities=frozenset({"CT"}),
    body_regions=frozenset(),
    services=frozenset({"interpretation", "verification"}),
    stage=1,
    valid_from=TODAY,
    valid_until=TODAY,
)
PHYSICIAN = PhysicianFacts(
    physician_id="p",
    organisation_id="city",
    title=Title.ATTENDING,
    licence_valid_until=TODAY,
    modalities=frozenset(),
    duty=((NOW - timedelta(hours=1), NOW + timedelta(hours=1)),),
    work_in_progress=0,
    work_in_progress_max=2,
    workload_points=0,
)


def order(ranking: Ranking) -> list[str]:
    return [candidate.physician_id for candidate in ranking.candidates]


def test_a_physician_with_everything_is_a_candidate_under_the_agreement():
    ranking = rank(CASE, [PHYSICIAN], [AGREEMENT], NOW)
    assert ranking.candidates[0].agreement_id == "agreement"
    assert ranking.excluded == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"licence_valid_until": TODAY - timedelta(days=1)}, Reason.LICENCE_EXPIRED),
        ({"modalities": frozenset({"US"})}, Reason.OTHER_MODALITY),
        ({"duty": ()}, Reason.OFF_DUTY),
        ({"duty": ((NOW - timedelta(hours=8), NOW),)}, Reason.OFF_DUTY),
        ({"work_in_progress": 2}, Reason.WORK_IN_PROGRESS_FULL),
        ({"declined": True}, Reason.DECLINED),
        ({"organisation_id": "elsewhere"}, Reason.NO_AGREEMENT),
    ],
)
def test_a_physician_who_lacks_one_thing_is_excluded_for_it(change, reason):
    ranking = rank(CASE, [replace(PHYSICIAN, **change)], [AGREEMENT], NOW)
    assert ranking.candidates == []
    assert ranking.excluded == {"p": [reason]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"valid_until": TODAY - timedelta(days=1), "valid_from": date(2020, 1, 1)}, Reason.AGREEMENT_NOT_IN_FORCE),
        ({"valid_from": TODAY + timedelta(days=1), "valid_until": date(2030, 1, 1)}, Reason.AGREEMENT_NOT_IN_FORCE),
        ({"services": frozenset({"verification"})}, Reason.AGREEMENT_OTHER_SERVICE),
        ({"modalities": frozenset({"MR"})}, Reason.AGREEMENT_OTHER_MODALITY),
        ({"body_regions": frozenset({"HEAD"})}, Reason.AGREEMENT_OTHER_REGION),
        ({"requesting_organisation_id": "other-clinic"}, Reason.NO_AGREEMENT),
    ],
)
def test_an_agreement_that_does_not_cover_the_case_is_named(change, reason):
    ranking = rank(CASE, [PHYSICIAN], [replace(AGREEMENT, **change)], NOW)
    assert ranking.excluded == {"p": [reason]}


def test_no_agreement_means_nobody_even_in_the_requesting_organisation_itself():
    own = replace(PHYSICIAN, organisation_id="clinic")
    assert rank(CASE, [own], [], NOW).candidates == []


def test_an_agreement_of_the_county_covers_its_clinics_but_not_the_reverse():
    of_county = replace(AGREEMENT, requesting_organisation_id="county")
    assert order(rank(CASE, [PHYSICIAN], [of_county], NOW)) == ["p"]
    county_case = replace(CASE, organisation_ids=("county",))
    assert rank(county_case, [PHYSICIAN], [AGREEMENT], NOW).candidates == []


def test_of_several_agreements_the_lowest_stage_counts():
    later = replace(AGREEMENT, agreement_id="later", stage=3)
    broad = replace(AGREEMENT, agreement_id="broad", stage=1, requesting_organisation_id="county")
    assert rank(CASE, [PHYSICIAN], [later, broad], NOW).candidates[0].agreement_id == "broad"
    assert rank(CASE, [PHYSICIAN], [broad, AGREEMENT], NOW).candidates[0].agreement_id == "agreement"


def test_the_author_and_residents_do_not_verify():
    author = replace(PHYSICIAN, physician_id="author")
    resident = replace(PHYSICIAN, physician_id="resident", title=Title.RESIDENT)
    ranking = rank(VERIFICATION, [author, resident, PHYSICIAN], [AGREEMENT], NOW)
    assert order(ranking) == ["p"]
    assert ranking.excluded == {"author": [Reason.IS_AUTHOR], "resident": [Reason.TITLE_TOO_LOW]}
    assert order(rank(CASE, [resident], [AGREEMENT], NOW)) == ["resident"]


def test_stat_goes_to_the_least_loaded_now_and_routine_to_the_least_cumulative_workload():
    fresh = replace(PHYSICIAN, physician_id="fresh", work_in_progress=1, workload_points=10)
    idle = replace(PHYSICIAN, physician_id="idle", work_in_progress=0, workload_points=900)
    assert order(rank(CASE, [idle, fresh], [AGREEMENT], NOW)) == ["fresh", "idle"]
    assert order(rank(replace(CASE, lane=Lane.STAT), [fresh, idle], [AGREEMENT], NOW)) == ["idle", "fresh"]


def test_the_patients_own_physician_comes_first_unless_it_is_urgent_and_they_are_busy():
    own = replace(PHYSICIAN, physician_id="own", read_this_patient=True, work_in_progress=1, workload_points=900)
    other = replace(PHYSICIAN, physician_id="other")
    assert order(rank(CASE, [other, own], [AGREEMENT], NOW)) == ["own", "other"]
    stat = replace(CASE, lane=Lane.STAT)
    assert order(rank(stat, [own, other], [AGREEMENT], NOW)) == ["other", "own"]
    assert order(rank(stat, [replace(own, work_in_progress=0), other], [AGREEMENT], NOW)) == ["own", "other"]


def test_stages_come_before_load_and_who_let_it_pass_comes_last():
    second = replace(AGREEMENT, agreement_id="second", assisting_organisation_id="province", stage=2)
    near = replace(PHYSICIAN, physician_id="near", workload_points=900)
    far = replace(PHYSICIAN, physician_id="far", organisation_id="province")
    passed = replace(PHYSICIAN, physician_id="passed", let_pass=True)
    assert order(rank(CASE, [far, passed, near], [AGREEMENT, second], NOW)) == ["near", "far", "passed"]


def test_routine_asks_one_stage_at_a_time_and_stat_all():
    second = replace(AGREEMENT, agreement_id="second", assisting_organisation_id="province", stage=2)
    near = replace(PHYSICIAN, physician_id="near")
    far = replace(PHYSICIAN, physician_id="far", organisation_id="province")
    ranking = rank(CASE, [far, near], [AGREEMENT, second], NOW)
    assert [one.physician_id for one in choose(ranking, Lane.ROUTINE, 3)] == ["near"]
    assert [one.physician_id for one in choose(ranking, Lane.STAT, 3)] == ["near", "far"]
    assert [one.physician_id for one in choose(ranking, Lane.STAT, 1)] == ["near"]
    assert choose(Ranking(), Lane.ROUTINE, 3) == []


def test_the_reasons_are_counted():
    off = [replace(PHYSICIAN, physician_id=name, duty=()) for name in "ab"]
    full = replace(PHYSICIAN, physician_id="c", work_in_progress=2)
    assert rank(CASE, [*off, full], [AGREEMENT], NOW).counts() == {"off_duty": 2, "work_in_progress_full": 1}


def test_every_reason_has_words():
    assert [set(words) for words in REASONS.values()] == [set(Reason)] * 2


def test_nobody_is_explained_in_both_languages_the_most_frequent_reason_first():
    counts = {"licence_expired": 1, "off_duty": 3}
    assert describe_nobody(counts) == "无人可派：不在班 3 人；执业证书已过期 1 人"
    assert describe_nobody(counts, "en") == "Nobody can be asked: 3 off duty; 1 with an expired licence"
    assert describe_nobody({}, "en") == "Nobody can be asked: no agreement covers this site"


physicians = st.lists(
    st.builds(
        PhysicianFacts,
        physician_id=st.text("abcdef", min_size=1, max_size=3),
        organisation_id=st.sampled_from(["city", "elsewhere"]),
        title=st.sampled_from(Title),
        licence_valid_until=st.dates(TODAY - timedelta(days=2), TODAY + timedelta(days=2)),
        modalities=st.frozensets(st.sampled_from(["CT", "MR"])),
        duty=st.sampled_from([PHYSICIAN.duty, ()]),
        work_in_progress=st.integers(0, 3),
        work_in_progress_max=st.integers(1, 3),
        workload_points=st.integers(0, 5),
        read_this_patient=st.booleans(),
        declined=st.booleans(),
        let_pass=st.booleans(),
    ),
    unique_by=lambda physician: physician.physician_id,
)


@given(physicians, st.sampled_from(Lane), st.sampled_from([CASE, VERIFICATION]), st.randoms(use_true_random=False))
def test_everybody_is_candidate_or_excluded_and_the_order_does_not_depend_on_the_input(people, lane, case, random):
    case = replace(case, lane=lane)
    ranking = rank(case, people, [AGREEMENT], NOW)
    ids = {person.physician_id for person in people}
    assert {*order(ranking), *ranking.excluded} == ids
    assert len(order(ranking)) + len(ranking.excluded) == len(ids)
    assert all(ranking.excluded.values()), "nobody is excluded without a reason"
    shuffled = list(people)
    random.shuffle(shuffled)
    assert order(rank(case, shuffled, [AGREEMENT], NOW)) == order(ranking)


def of_stages(*stages: int) -> Ranking:
    facts = [replace(PHYSICIAN, physician_id=f"p{n}", organisation_id=f"h{stage}") for n, stage in enumerate(stages)]
    agreements = [
        replace(AGREEMENT, agreement_id=f"a{stage}", assisting_organisation_id=f"h{stage}", stage=stage)
        for stage in set(stages)
    ]
    return rank(CASE, facts, agreements, NOW)


@pytest.mark.parametrize(
    ("widened", "stages"), [(0, [1, 1]), (1, [1, 1, 2]), (2, [1, 1, 2, 3, 3]), (3, [1, 1, 2, 3, 3])]
)
def test_the_circle_widens_stage_by_stage_and_those_who_were_asked_stay_in_it(widened: int, stages: list[int]):
    chosen = choose(of_stages(1, 1, 1, 2, 3, 3), Lane.ROUTINE, 2, widened)
    assert [one.stage for one in chosen] == stages


@pytest.mark.parametrize(
    ("lane", "stages", "asked"),
    [
        (Lane.ROUTINE, (1, 1, 1, 1, 1), [2, 4, 5]),  # one hospital reads for the clinic
        (Lane.ROUTINE, (1, 1, 1, 1, 2), [2, 3, 5]),
        (Lane.STAT, (1, 1, 1, 1, 1), [2, 4, 5]),
        (Lane.STAT, (1, 1, 1, 2, 2), [2, 4, 5]),
    ],
)
def test_the_circle_widens_in_every_lane_and_where_no_further_stage_is_left(lane, stages, asked):
    ranking = of_stages(*stages)
    assert [len(choose(ranking, lane, 2, widened)) for widened in range(3)] == asked


def test_a_stage_that_does_not_exist_is_not_waited_for():
    assert [one.stage for one in choose(of_stages(2, 4), Lane.ROUTINE, 3, 1)] == [2, 4]


@pytest.mark.parametrize(
    ("best", "asked", "known", "fresh"),
    [
        ("ab", "", "", "ab"),
        ("ab", "ab", "", ""),
        ("da", "ab", "d", "d"),  # it was found out after they were asked
        ("ba", "ab", "b", ""),
        ("dc", "ac", "cd", ""),
        ("da", "a", "d", "d"),
    ],
)
def test_the_patients_own_reader_is_asked_beside_others_who_are_asked_already(
    best: str, asked: str, known: str, fresh: str
):
    chosen = [replace(one, read_this_patient=one.physician_id in known) for one in of_candidates(best)]
    assert "".join(one.physician_id for one in still_to_ask(chosen, set(asked), 2)) == fresh


def of_candidates(names: str) -> list[Candidate]:
    return [Candidate(name, "agreement", 1, False, 0, 0, False) for name in names]


def test_the_whole_pool_is_asked_however_many_stages_it_has():
    chosen = choose(of_stages(1, 1, 2, 2, 3, 3, 4, 4, 5), Lane.ROUTINE, 2, WHOLE_POOL)
    asked = {one.physician_id for one in chosen if one.stage <= 2}
    assert [one.stage for one in still_to_ask(chosen, asked, 2 * (1 + WHOLE_POOL))] == [3, 3, 4, 4, 5]


agreements_of_two_hospitals = st.lists(
    st.builds(
        AgreementFacts,
        agreement_id=st.text("xyz", min_size=1, max_size=3),
        requesting_organisation_id=st.sampled_from(["clinic", "county", "other-clinic"]),
        assisting_organisation_id=st.sampled_from(["city", "elsewhere"]),
        modalities=st.frozensets(st.sampled_from(["CT", "MR"])),
        body_regions=st.frozensets(st.sampled_from(["CHEST", "HEAD"])),
        services=st.frozensets(st.sampled_from(["interpretation", "verification"])),
        stage=st.integers(1, 4),
        valid_from=st.dates(TODAY - timedelta(days=2), TODAY + timedelta(days=1)),
        valid_until=st.dates(TODAY - timedelta(days=1), TODAY + timedelta(days=2)),
    ),
    unique_by=lambda agreement: agreement.agreement_id,
)


@given(physicians, agreements_of_two_hospitals, st.sampled_from([CASE, VERIFICATION]))
def test_every_candidate_may_read_the_case_by_an_agreement_in_force_and_by_their_own_licence(people, agreements, case):
    known = {one.physician_id: one for one in people}
    written = {one.agreement_id: one for one in agreements}
    for candidate in rank(case, people, agreements, NOW).candidates:
        who, agreement = known[candidate.physician_id], written[candidate.agreement_id]
        assert agreement.assisting_organisation_id == who.organisation_id
        assert agreement.requesting_organisation_id in case.organisation_ids
        assert agreement.valid_from <= TODAY <= agreement.valid_until
        assert case.phase.service in agreement.services
        assert "CT" in (agreement.modalities or {"CT"})
        assert "CHEST" in (agreement.body_regions or {"CHEST"})
        assert who.licence_valid_until >= TODAY
        assert "CT" in (who.modalities or {"CT"})
        assert who.duty
        assert not who.declined
        assert who.work_in_progress < who.work_in_progress_max
        assert case.phase is Phase.INTERPRETATION or who.title is not Title.RESIDENT


@given(physicians, agreements_of_two_hospitals, st.randoms(use_true_random=False))
def test_neither_the_order_of_agreements_nor_that_of_physicians_decides(people, agreements, random):
    ranking = rank(CASE, people, agreements, NOW)
    other_people, other_agreements = list(people), list(agreements)
    random.shuffle(other_people)
    random.shuffle(other_agreements)
    again = rank(CASE, other_people, other_agreements, NOW)
    assert again.candidates == ranking.candidates
    assert again.excluded == ranking.excluded


@given(physicians, agreements_of_two_hospitals, st.sampled_from(Lane), st.integers(1, 4), st.integers(0, 3))
def test_the_wider_circle_holds_all_of_the_narrower_one(people, agreements, lane, width, widened):
    ranking = rank(replace(CASE, lane=lane), people, agreements, NOW)
    narrow, wide = (choose(ranking, lane, width, times) for times in (widened, widened + 1))
    assert {one.physician_id for one in narrow} <= {one.physician_id for one in wide}
    assert bool(narrow) == bool(ranking.candidates), "somebody is asked whenever anybody can be"


@given(st.integers(2, 6), st.integers(1, 60), st.lists(st.integers(0, 500), min_size=6, max_size=6))
def test_routine_work_levels_out_so_that_nobody_ends_a_case_ahead_of_who_had_least(readers, cases, before):
    points = {f"p{number}": before[number] for number in range(readers)}
    for _ in range(cases):
        people = [replace(PHYSICIAN, physician_id=one, workload_points=done) for one, done in points.items()]
        first = rank(CASE, people, [AGREEMENT], NOW).candidates[0]
        assert points[first.physician_id] == min(points.values())
        points[first.physician_id] += 100
    given_work = [done for number, done in enumerate(points.values()) if done > before[number]]
    assert max(given_work) - min(points.values()) <= 100


def test_physician_of_several_hospitals_reads_under_the_agreement_of_each():
    elsewhere = replace(PHYSICIAN, organisation_id="own", also_at=("city", "province"))
    second = replace(AGREEMENT, agreement_id="second", assisting_organisation_id="province", stage=2)
    assert rank(CASE, [elsewhere], [second], NOW).candidates[0].agreement_id == "second"
    assert rank(CASE, [elsewhere], [second, AGREEMENT], NOW).candidates[0].agreement_id == "agreement"
    assert rank(CASE, [replace(elsewhere, also_at=())], [second, AGREEMENT], NOW).excluded == {
        "p": [Reason.NO_AGREEMENT]
    }


def test_who_is_away_is_not_asked_whatever_the_lane():
    away = replace(PHYSICIAN, away=True)
    for lane in Lane:
        assert rank(replace(CASE, lane=lane), [away], [AGREEMENT], NOW).excluded == {"p": [Reason.AWAY]}


@pytest.mark.parametrize(("points", "limit", "full"), [(99, 100, False), (100, 100, True), (900, None, False)])
def test_a_week_of_enough_work_excludes_from_all_but_stat(points: int, limit: int | None, full: bool):
    who = replace(PHYSICIAN, workload_points=points, weekly_points_max=limit)
    assert rank(CASE, [who], [AGREEMENT], NOW).excluded == ({"p": [Reason.WEEKLY_WORKLOAD_FULL]} if full else {})
    assert order(rank(replace(CASE, lane=Lane.STAT), [who], [AGREEMENT], NOW)) == ["p"]


@pytest.mark.parametrize(
    ("limits", "today", "full"),
    [
        ({}, {"CT": 500}, False),
        ({"all": 3}, {"CT": 1, "DX": 1}, False),
        ({"all": 3}, {"CT": 1, "DX": 2}, True),
        ({"CT": 2}, {"CT": 2}, True),
        ({"CT": 2}, {"CT": 1, "DX": 50}, False),
        ({"MR": 1}, {"MR": 9}, False),
        ({"all": 9, "CT": 0}, {}, True),
    ],
)
def test_an_agreement_takes_so_many_cases_a_day_together_and_by_modality(limits, today, full):
    limited = replace(AGREEMENT, cases_per_day_max=limits, cases_today=today)
    assert rank(CASE, [PHYSICIAN], [limited], NOW).excluded == ({"p": [Reason.AGREEMENT_DAY_FULL]} if full else {})
    assert order(rank(replace(CASE, lane=Lane.STAT), [PHYSICIAN], [limited], NOW)) == ["p"]
    assert order(rank(CASE, [PHYSICIAN], [replace(limited, has_this_case=True)], NOW)) == ["p"], "it has its place"


def test_a_full_agreement_leaves_the_case_to_the_next_stage():
    full = replace(AGREEMENT, cases_per_day_max={"all": 1}, cases_today={"DX": 1})
    province = replace(AGREEMENT, agreement_id="second", assisting_organisation_id="province", stage=2)
    far = replace(PHYSICIAN, physician_id="far", organisation_id="province")
    ranking = rank(CASE, [PHYSICIAN, far], [full, province], NOW)
    assert order(ranking) == ["far"]
    assert ranking.excluded == {"p": [Reason.AGREEMENT_DAY_FULL]}


counts_by_modality = st.dictionaries(st.sampled_from(["CT", "DX", "all"]), st.integers(0, 3))


@given(physicians, counts_by_modality, counts_by_modality, st.lists(st.booleans(), max_size=20), st.sampled_from(Lane))
def test_limits_only_take_away_and_never_from_stat(people, limits, today, away, lane):
    case = replace(CASE, lane=lane)
    today = {modality: number for modality, number in today.items() if modality != "all"}
    limited = replace(AGREEMENT, cases_per_day_max=limits, cases_today=today)
    bound = [replace(who, weekly_points_max=3) for who in people]
    free = set(order(rank(case, people, [AGREEMENT], NOW)))
    kept = set(order(rank(case, bound, [limited], NOW)))
    assert kept <= free
    if lane is Lane.STAT:
        assert kept == free
    elif kept:
        assert sum(today.values()) < limits.get("all", 10**6)
        assert today.get("CT", 0) < limits.get("CT", 10**6)
    gone = [replace(who, away=is_away) for who, is_away in zip(bound, away, strict=False)]
    assert set(order(rank(case, gone, [limited], NOW))) == kept & {who.physician_id for who in gone if not who.away}


def test_a_modality_that_has_no_weight_of_its_own_counts_as_the_others_do():
    assert [workload_points({"CT": 100, "other": 20}, one) for one in ("CT", "DX")] == [100, 20]


def test_who_has_the_specialty_comes_before_who_has_done_less_but_after_the_patients_own_reader():
    child = replace(CASE, specialties=("paediatric", "chest"))
    people = [
        replace(PHYSICIAN, physician_id="fresh"),
        replace(PHYSICIAN, physician_id="chest", specialties=frozenset({"chest"}), workload_points=300),
        replace(PHYSICIAN, physician_id="paediatric", specialties=frozenset({"paediatric"}), workload_points=900),
        replace(PHYSICIAN, physician_id="own", read_this_patient=True, workload_points=900),
    ]
    ranking = rank(child, people, [AGREEMENT], NOW)
    assert order(ranking) == ["own", "paediatric", "chest", "fresh"]
    assert [one.why().get("specialty") for one in ranking.candidates] == [None, "paediatric", "chest", None]


def test_a_stat_case_goes_to_the_least_loaded_whatever_their_specialty():
    stat = replace(CASE, lane=Lane.STAT, specialties=("chest",))
    busy = replace(PHYSICIAN, physician_id="chest", specialties=frozenset({"chest"}), work_in_progress=1)
    assert order(rank(stat, [busy, PHYSICIAN], [AGREEMENT], NOW)) == ["p", "chest"]
