"""Whole networks drawn at random, as documents: every field, odd names, rosters of every kind, nothing wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

NAMES = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp", "Co"), exclude_characters="\ufeff"),
    min_size=1,
    max_size=20,
).map(lambda words: f"{words}院".strip())
ITEMS = st.sampled_from(["chest", "头颅", "head & neck", "=1+1", "-", "a,b", 'say "ah"', "0012", "yes"]).filter(
    lambda item: "=" not in item
)
FORMULAS = st.sampled_from(
    ["=HYPERLINK(1)", "'=already", "+86 139", "-7", "@here", "''-x", "1e5", "2026-01-01", "null"]
)
MODALITIES = st.lists(st.sampled_from(["CT", "MR", "US", "DX"]), unique=True, max_size=3).map(sorted)
DAYS = st.dates(date(2026, 1, 1), date(2027, 12, 31))
CLOCK = st.integers(0, 47).map(lambda half: f"{half // 2:02}:{half % 2 * 30:02}")
SHIFTS = st.lists(st.builds("{}-{}".format, CLOCK, CLOCK), min_size=1, max_size=2, unique=True)
LATE = date(2099, 12, 31)


def _period(start: datetime, hours: int) -> dict[str, str]:
    return {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=hours)).isoformat()}


PERIODS = st.lists(
    st.builds(
        _period,
        st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- bounds
        st.integers(1, 100),
    ),
    max_size=3,
)
ROSTERS = st.fixed_dictionaries(
    {},
    optional={
        "weekly": st.dictionaries(st.sampled_from(["mon", "tue", "sat", "sun"]), SHIFTS, max_size=3),
        "days_off": st.lists(DAYS.map(str), max_size=3),
        "extra": st.dictionaries(DAYS.map(str), SHIFTS, max_size=2),
    },
)
DUTY = st.one_of(st.just("always"), PERIODS, ROSTERS)


@st.composite
def networks(draw: st.DrawFn, prefix: str = "n") -> dict[str, Any]:
    """Draw a document; its codes and logins begin with the prefix."""
    codes = [f"{prefix}-{number}" for number in range(draw(st.integers(2, 5)))]
    document: dict[str, Any] = {
        "organisations": [_organisation(draw, codes, number) for number in range(len(codes))],
        "agreements": _agreements(draw, prefix, codes),
        "physicians": [
            _person(draw, f"{prefix}.doctor{number}", codes) | _terms(draw, codes, f"{int(prefix[1:] or 0):04}{number}")
            for number in range(draw(st.integers(0, 3)))
        ],
        "technicians": [_person(draw, f"{prefix}.tech", codes[:1])] if draw(st.booleans()) else [],
        "coordinators": [_person(draw, f"{prefix}.lead", codes)] if draw(st.booleans()) else [],
        "administrators": [],
    }
    doctors = [one["login"] for one in document["physicians"] if one.get("disabled") is False]
    document["duty_directors"] = [
        {"organisation": draw(st.sampled_from(codes)), "login": login, "duty": draw(DUTY)} for login in doctors
    ]
    return document


def _organisation(draw: st.DrawFn, codes: list[str], number: int) -> dict[str, Any]:
    own: dict[str, Any] = {"id": codes[number], "kind": draw(st.sampled_from(["township", "county", "provincial"]))}
    own["name"] = draw(st.one_of(NAMES, FORMULAS))
    if draw(st.booleans()):
        own["name_en"] = draw(NAMES)
    if number == 0 or draw(st.booleans()):
        own["site"] = codes[number]
    if number and draw(st.booleans()):
        own["parent"] = codes[draw(st.integers(0, number - 1))]
    if draw(st.booleans()):
        own["time_zone"] = draw(st.sampled_from(["Asia/Urumqi", "Asia/Shanghai", "Europe/Paris"]))
    return own


def _agreements(draw: st.DrawFn, prefix: str, codes: list[str]) -> list[dict[str, Any]]:
    """Draw agreements of different stages, so that no two of them overlap."""
    agreements = []
    for stage in range(1, draw(st.integers(0, 4)) + 1):
        begins, days = draw(DAYS), draw(st.integers(0, 500))
        own: dict[str, Any] = {"id": f"{prefix}-a{stage}", "stage": stage, "assisting": draw(st.sampled_from(codes))}
        own["requesting"] = draw(st.lists(st.sampled_from(codes), min_size=1, unique=True))
        own |= {"valid_from": begins.isoformat(), "valid_until": (begins + timedelta(days=days)).isoformat()}
        own["modalities"] = draw(MODALITIES)
        own["body_regions"] = draw(st.lists(ITEMS, max_size=2))
        own["time_limits_min"] = draw(st.dictionaries(st.sampled_from(["stat", "routine"]), st.integers(1, 99)))
        own["cases_per_day_max"] = draw(st.dictionaries(st.sampled_from(["all", "CT"]), st.integers(1, 99)))
        if draw(st.booleans()):
            own["single_physician"] = draw(st.booleans())
        own["services"] = draw(
            st.sampled_from([["interpretation"], ["verification", "interpretation"], ["consultation"]])
        )
        agreements.append(own)
    return agreements


def _person(draw: st.DrawFn, login: str, codes: list[str]) -> dict[str, Any]:
    own = {"login": login, "name": draw(st.one_of(NAMES, FORMULAS)), "organisation": draw(st.sampled_from(codes))}
    if draw(st.booleans()):
        own["language"] = draw(st.sampled_from(["zh", "en"]))
    if draw(st.booleans()):
        own["disabled"] = draw(st.booleans())
    return own


def _terms(draw: st.DrawFn, codes: list[str], own_number: str) -> dict[str, Any]:
    own: dict[str, Any] = {
        "organisation": codes[0],
        "also_at": draw(st.lists(st.sampled_from(codes[1:]), unique=True)),
        "title": draw(st.sampled_from(["resident", "attending", "chief"])),
        "licence_number": draw(st.one_of(NAMES, FORMULAS, st.just("0012"))) + own_number,
        "licence_valid_until": LATE.isoformat(),
        "modalities": draw(MODALITIES),
        "specialties": draw(st.lists(ITEMS, max_size=3)),
        "wip_max": draw(st.integers(1, 50)),
        "weekly_rvu_max": draw(st.one_of(st.none(), st.integers(1, 900))),
    }
    if draw(st.booleans()):
        own["duty"] = draw(DUTY)
    return own
