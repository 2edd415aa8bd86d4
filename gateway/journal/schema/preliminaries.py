"""Preliminary reports of emergencies as the hub last told them."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
-- content: storage.contract.preliminary.PreliminaryReport as JSON; ended_at: since when the hub names it no more
CREATE TABLE preliminaries (
    submission_id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL,
    content TEXT NOT NULL,
    fetched_at TEXT NOT NULL,
    ended_at TEXT
) STRICT;
CREATE INDEX preliminaries_of_case ON preliminaries (case_id);
CREATE INDEX site_acts_on_request ON site_acts (json_extract(content, '$.request_id'));
"""
