"""What people ask for: durable, so that a command takes effect in the process that serves and survives a restart."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE study_controls (
    study_uid         TEXT PRIMARY KEY,
    forced            INTEGER NOT NULL DEFAULT 0,  -- treat what has arrived as all of it
    expected          INTEGER,                     -- how many instances somebody announced
    lane              TEXT,                        -- chosen by a person, over every rule
    paused_at         TEXT,
    cancelled_at      TEXT
) STRICT;

CREATE TABLE actions (                -- who asked for what; the newest number tells the serving process to look
    action_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at                TEXT NOT NULL,
    actor             TEXT NOT NULL,      -- an account's id, or "command-line"
    verb              TEXT NOT NULL,
    subject           TEXT NOT NULL,      -- what it is about: ids only
    detail            TEXT NOT NULL       -- JSON object: ids and counts, never patient data
) STRICT;
"""
