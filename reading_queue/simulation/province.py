"""A synthetic province as a network document: for measurements, and to see what a large network looks like. Pure.

Every name is invented. Counties of equal size: township centres around a county hospital that reads first; behind it a
municipal hospital of its city, and the provincial hospital last.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

COUNTIES_PER_CITY: Final = 10
STUDIES_PER_SITE: Final = 40  # a day: sites of a large province, not small township centres
COUNTY_PHYSICIANS: Final = 13
MUNICIPAL_PER_COUNTY, PROVINCIAL_PER_COUNTY, FEWEST = 1.5, 0.5, 2  # what stands behind grows with what it stands behind
TITLES: Final = ("attending", "resident", "attending", "associate_chief", "resident", "attending", "chief")
VALID: Final = {"valid_from": "2020-01-01", "valid_until": "2099-12-31"}
LIMITS_MIN: Final = {"stat": 60, "urgent": 120, "routine": 1440, "background": 4320}
# Begin and length in hours. Of seven physicians one has the night, one the evening; each has two days off a week.
DAY, LATE, NIGHT = (8, 9), (13, 9), (21, 11)


def province(begin: datetime, days: int, counties: int = 100, sites: int = 15) -> dict[str, Any]:
    """Return a network document of so many counties with so many sites each, rostered for `days` days from `begin`."""
    cities = -(-counties // COUNTIES_PER_CITY)
    hospitals = [("province", max(FEWEST, round(PROVINCIAL_PER_COUNTY * counties)))]
    municipal = max(FEWEST, round(MUNICIPAL_PER_COUNTY * counties / cities))
    hospitals += [(f"city-{number:02}", municipal) for number in range(cities)]
    hospitals += [(f"county-{number:03}", COUNTY_PHYSICIANS) for number in range(counties)]
    return {
        "simulation": {"studies_per_site_per_day": {"township": STUDIES_PER_SITE}},
        "organisations": list(_organisations(counties, cities, sites)),
        "agreements": list(_agreements(counties, cities)),
        "physicians": [person for hospital, size in hospitals for person in _physicians(hospital, size, begin, days)],
    }


def _organisations(counties: int, cities: int, sites: int) -> Iterator[dict[str, Any]]:
    yield {"id": "province", "kind": "provincial", "name": "省立医院"}
    for city in range(cities):
        yield {"id": f"city-{city:02}", "kind": "municipal", "name": f"第{city + 1}市医院"}
    for county in range(counties):
        own = f"county-{county:03}"
        yield {"id": own, "kind": "county", "name": f"第{county + 1}县医院"}
        for site in range(sites):
            code = f"{own}-t{site:02}"
            name = f"第{county + 1}县第{site + 1}卫生院"
            yield {"id": code, "kind": "township", "parent": own, "site": code, "name": name}


def _agreements(counties: int, cities: int) -> Iterator[dict[str, Any]]:
    whole = [f"county-{county:03}" for county in range(counties)]
    for county in whole:
        yield (
            {"id": f"{county}-own", "requesting": [county], "assisting": county, "stage": 1}
            | VALID
            | {"time_limits_min": LIMITS_MIN}
        )
    for city in range(cities):
        own = whole[city * COUNTIES_PER_CITY : (city + 1) * COUNTIES_PER_CITY]
        yield {"id": f"city-{city:02}-second", "requesting": own, "assisting": f"city-{city:02}", "stage": 2} | VALID
    yield {"id": "province-third", "requesting": whole, "assisting": "province", "stage": 3} | VALID


def _physicians(hospital: str, size: int, begin: datetime, days: int) -> Iterator[dict[str, Any]]:
    for number in range(size):
        yield {
            "login": f"{hospital}.p{number:02}",
            "name": f"医师{number + 1}",
            "organisation": hospital,
            "title": TITLES[number % len(TITLES)],
            "licence_number": f"SIM-{hospital}-{number:02}",
            "licence_valid_until": "2099-12-31",
            "duty": [_period(begin, day, number) for day in range(-1, days) if _works(day, number)],
        }


def _works(day: int, number: int) -> bool:
    return (day + number) % 7 not in (5, 6)


def _period(begin: datetime, day: int, number: int) -> dict[str, datetime]:
    turn = (day + 2 * number) % 7
    hour, length = NIGHT if turn == 0 else LATE if turn in (1, 4) else DAY
    start = begin + timedelta(days=day, hours=hour)
    return {"starts_at": start, "ends_at": start + timedelta(hours=length)}
