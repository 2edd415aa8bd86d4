"""When a report is at home: one target has everything that it takes."""

from __future__ import annotations

import pytest

from reading_queue.services.reports.returns import is_home

PACS = frozenset({"sr", "pdf"})
MESSAGE = frozenset({"report_json"})
UNSAID: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("delivered", "home"),
    [
        ([], False),
        ([("pacs:a", "sr", PACS)], False),
        ([("pacs:a", "sr", PACS), ("pacs:a", "pdf", PACS)], True),
        ([("pacs:a", "sr", PACS), ("pacs:b", "pdf", PACS)], False),
        ([("hl7:his", "report_json", MESSAGE)], True),
        ([("print:console", "report_json", MESSAGE)], True),
        ([("folder:x", "pdf", frozenset({"pdf"}))], True),
        ([("pacs:a", "sr", PACS), ("hl7:his", "report_json", MESSAGE)], True),
        ([("pacs:a", "sr", UNSAID)], False),
        ([("pacs:a", "sr", UNSAID), ("pacs:b", "pdf", UNSAID)], True),
        ([("pacs:a", "sr", UNSAID), ("pacs:a", "pdf", PACS)], True),  # a gateway that was renewed in between
        ([("pacs:a", "sr", PACS), ("pacs:a", "sr", frozenset({"sr"}))], True),  # a target that was set to take less
    ],
)
def test_home_is_where_one_target_has_all_that_it_takes(
    delivered: list[tuple[str, str, frozenset[str]]], *, home: bool
) -> None:
    assert is_home(delivered) is home
