"""Gaps of a roster are told by hospital, hours and weekdays: alike ones in one line, in both languages."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from reading_queue.domain.network_gaps import tell_gaps

SHANGHAI = ZoneInfo("Asia/Shanghai")


def at(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=SHANGHAI)


def test_nights_without_anybody_are_one_line_with_their_days() -> None:
    evening = at("2026-03-02T20:00")
    nights = [(evening + timedelta(days=n), evening + timedelta(days=n, hours=12)) for n in range(3)]
    weekend = (at("2026-03-07T17:30"), at("2026-03-09T08:00"))
    (night, rest) = tell_gaps("qinghe-renmin", "清河县人民医院", SHANGHAI, [*nights, weekend])
    assert night.words("en") == (
        "清河县人民医院 (qinghe-renmin): nobody is on duty from 20:00 to 08:00 of the next day (12 h): "
        "Mon 2026-03-02, Tue 2026-03-03, Wed 2026-03-04"
    )
    assert night.words("zh") == (
        "清河县人民医院（qinghe-renmin）无人值班：20:00 至次日 08:00（12 小时），"
        "周一 2026-03-02、周二 2026-03-03、周三 2026-03-04"
    )
    assert rest.words("en").endswith("from 17:30 to 08:00 2 days later (38.5 h): Sat 2026-03-07")
    assert rest.words("zh").endswith("17:30 至 2 天后 08:00（38.5 小时），周六 2026-03-07")
    assert rest.warning


def test_midnight_is_the_end_of_its_day_and_odd_minutes_are_told_as_a_clock() -> None:
    (whole,) = tell_gaps("h", "H", SHANGHAI, [(at("2026-03-02T00:00"), at("2026-03-03T00:00"))])
    assert "from 00:00 to 24:00 (24 h): Mon 2026-03-02" in whole.words("en")
    (odd,) = tell_gaps("h", "H", SHANGHAI, [(at("2026-03-02T09:07"), at("2026-03-02T10:20"))])
    assert "(1:13 h)" in odd.words("en")
