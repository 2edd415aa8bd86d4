"""Objects in quarantine that a person has asked to be tried again."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE quarantine_releases (
    quarantine_id     TEXT PRIMARY KEY,
    asked_at          TEXT NOT NULL,
    asked_by          TEXT NOT NULL,      -- an account's id, or "command-line"
    tried_at          TEXT,               -- NULL: still to be tried
    problem           TEXT                -- why it was refused again, or has to wait
) STRICT;
"""
