"""How times, spans and addresses look on a screen."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from reading_queue.domain.specialties import OF_REGION
from reading_queue.web.coordinator.network_forms import say
from reading_queue.web.language import WORDS
from reading_queue.web.radiologist.views import images_url
from reading_queue.web.rendering import clock, moment
from storage.screens.requests import local_address

AT = datetime(2026, 3, 1, 16, 5, 9, 876_000, tzinfo=UTC)


def test_times_are_those_of_the_site() -> None:
    assert (moment(AT), moment(AT, "Asia/Urumqi"), moment(None)) == ("03-02 00:05", "03-01 22:05", "—")
    assert clock(AT) == "03-02 00:05:09.8"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "—"),
        (0.04, "0.0 秒"),
        (9.96, "10.0 秒"),
        (59, "59 秒"),
        (61, "1 分 1 秒"),
        (3661, "1 小时 1 分"),
        (90000, "1 天 1 小时"),
        (-75, "-1 分 15 秒"),
    ],
)
def test_span_is_in_words(seconds: float | None, words: str) -> None:
    assert WORDS.span(seconds) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("time_limits_min", {"stat": 30, "routine": 2970, "background": 4320}, "30 分|2 天 1 小时 30 分|3 天"),
        ("specialties", ["neuro", "unknown"], "神经|unknown"),
        ("cases_per_day_max", {"all": 60}, "60"),
    ],
)
def test_facts_of_the_network_are_in_words(name: str, value: Any, words: str) -> None:
    said = say(name, value)
    assert all(one in said for one in words.split("|")), said


@pytest.mark.parametrize(
    ("born", "words"),
    [
        pytest.param(date(2000, 3, 2), "25 岁", id="day-before-the-birthday"),
        pytest.param(date(2000, 3, 1), "26 岁", id="birthday"),
        pytest.param(None, "", id="unknown"),
        pytest.param(date(1800, 1, 1), "", id="implausible"),
        pytest.param(date(2030, 1, 1), "", id="not-born"),
    ],
)
def test_age_is_in_completed_years(born: date | None, words: str) -> None:
    assert WORDS.age_at(born, AT) == words


@pytest.mark.parametrize("elsewhere", ["//evil", "https://evil", "/\\evil", "", "clinic", "/a\nb", "/\t/evil"])
def test_address_elsewhere_is_never_followed(elsewhere: str) -> None:
    assert local_address(elsewhere, "/") == "/"


def test_viewer_opens_all_studies_of_a_case_in_the_readers_language() -> None:
    assert images_url(("1.2", "1.3")) == "/viewer/viewer?StudyInstanceUIDs=1.2,1.3&lng=zh"
    assert images_url(()) == ""


def test_body_regions_are_told_in_words_and_one_that_nobody_knows_as_it_is_written() -> None:
    assert say("body_regions", ("CHEST", "FOREARM")) == "胸部、FOREARM"
    for language in ("zh", "en"):
        assert {f"region.{code}" for code in OF_REGION} <= WORDS.catalogue(language).keys()
