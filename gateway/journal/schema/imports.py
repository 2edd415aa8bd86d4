"""Imports of folders, disks and ZIP files: what was asked for, how far it is, what was left out."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE imports (
    import_id         TEXT PRIMARY KEY,
    source            TEXT NOT NULL,      -- a path on this machine
    lane              TEXT,               -- chosen by the person, NULL for the usual rules
    started_by        TEXT NOT NULL,      -- an account's id, or "command-line"
    remove_source     INTEGER NOT NULL,   -- an upload of ours: gone when the import has ended
    state             TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'cancelled', 'failed')),
    created_at        TEXT NOT NULL,
    finished_at       TEXT,
    association_id    TEXT,               -- under which its instances are journalled
    files             INTEGER NOT NULL DEFAULT 0,   -- in the source; 0 until it was listed
    files_done        INTEGER NOT NULL DEFAULT 0,   -- in the order of the list: where to go on
    stored            INTEGER NOT NULL DEFAULT 0,
    held              INTEGER NOT NULL DEFAULT 0,   -- the gateway had the same bytes already
    left_out          INTEGER NOT NULL DEFAULT 0,
    problem           TEXT
) STRICT;
CREATE INDEX imports_open ON imports (created_at) WHERE state IN ('waiting', 'running');

CREATE TABLE import_findings (        -- why files were left out: a count and one example for each reason
    import_id         TEXT NOT NULL REFERENCES imports (import_id) ON DELETE CASCADE,
    reason            TEXT NOT NULL,
    files             INTEGER NOT NULL,
    example           TEXT NOT NULL,      -- a name inside the source: it may name a patient and never enters a log
    PRIMARY KEY (import_id, reason)
) STRICT;
"""
