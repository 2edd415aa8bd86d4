from __future__ import annotations

import pytest

from gateway.line.overtaking import ABORTS_MAX, InFlight, Verdict, verdict_on
from storage.contract.lanes import Lane

LINE = 500_000  # 4 Mbit/s
PACK = 2_500_000
SHORT, LONG = 3_000_000, 300_000_000  # urgent work of six seconds and of ten minutes


def routine(sent: int = 0, aborted: int = 0) -> InFlight:
    return InFlight(Lane.ROUTINE, PACK, sent, aborted)


def test_stat_study_makes_a_pack_yield_that_keeps_what_was_sent_of_it() -> None:
    assert verdict_on(routine(PACK // 2), Lane.STAT, SHORT, LINE) is Verdict.YIELD


def test_pack_that_is_nearly_through_finishes() -> None:
    assert verdict_on(routine(PACK - LINE // 4), Lane.STAT, LONG, LINE) is Verdict.FINISH


def test_pack_is_broken_off_when_the_urgent_work_lasts_too_long_for_its_connection() -> None:
    assert verdict_on(routine(PACK // 2), Lane.STAT, LONG, LINE) is Verdict.ABORT


def test_no_pack_is_broken_off_for_ever() -> None:
    assert verdict_on(routine(0, ABORTS_MAX - 1), Lane.STAT, LONG, LINE) is Verdict.ABORT
    assert verdict_on(routine(0, ABORTS_MAX), Lane.STAT, LONG, LINE) is Verdict.YIELD


def test_urgent_study_waits_a_little_longer_than_a_stat_one() -> None:
    nearly = routine(PACK - 4 * LINE)
    assert verdict_on(nearly, Lane.URGENT, SHORT, LINE) is Verdict.FINISH
    assert verdict_on(nearly, Lane.STAT, SHORT, LINE) is Verdict.YIELD


@pytest.mark.parametrize("lane", [Lane.ROUTINE, Lane.BACKGROUND])
def test_what_is_not_more_urgent_overtakes_nothing(lane: Lane) -> None:
    assert verdict_on(routine(), lane, LONG, LINE) is Verdict.FINISH


def test_line_that_was_never_measured_lets_the_pack_yield() -> None:
    assert verdict_on(routine(), Lane.STAT, LONG, None) is Verdict.YIELD
