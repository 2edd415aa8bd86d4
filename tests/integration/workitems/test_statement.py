"""The conformance statement of UPS-RS names what the service answers, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from reading_queue.domain.workitems.content import PRIORITIES, WORKITEM_CODES
from reading_queue.domain.workitems.reports import EventType
from reading_queue.services.worklists.workitem_search import WORKITEM_KEYS
from reading_queue.web.workitems import build_workitems, routes

STATEMENT = (Path(routes.__file__).parent / "CONFORMANCE.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return STATEMENT.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_address_is_named() -> None:
    named = set(re.findall(r"`/workitems([^`]*)`", section("Resources")))
    assert named == {str(resource.canonical) for resource in build_workitems().router.resources()}


def test_every_key_is_named() -> None:
    listed = section("Searching").split("sequence: ")[1].split(".\n")[0]
    assert listed.split(", ") == [key.keyword for key in WORKITEM_KEYS]


def test_codes_and_priorities_are_named() -> None:
    words = section("Attributes")
    assert all(f"{code} {meaning}" in words for code, meaning in WORKITEM_CODES.values())
    assert set(PRIORITIES.values()) == set(re.findall(r"(HIGH|MEDIUM|LOW):", words))


def test_every_event_is_named() -> None:
    named = re.findall(r"^\| (?:UPS|SCP) ([^|]+) \| (\d) \|", section("Subscriptions"), re.MULTILINE)
    events = {(one.name.removeprefix("SCP_").replace("_", " ").title(), str(one.value)) for one in EventType}
    assert set(named) == events
