"""What a transfer still asks of the hub, the lane that the hub was told, and how the line is."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
-- JSON list: what the hub asked for when the transfer was declared, in the order in which it is packed
ALTER TABLE transfers ADD COLUMN needed TEXT;
-- how many of these are in no pack yet
ALTER TABLE transfers ADD COLUMN unplanned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transfers ADD COLUMN needed_bytes INTEGER NOT NULL DEFAULT 0;
-- as the hub was told it; another one is told when the transfer's lane is no longer the same
ALTER TABLE transfers ADD COLUMN declared_lane TEXT;
-- 1: the next attempt comes at once when the hub is reached again
ALTER TABLE transfers ADD COLUMN waits_for_line INTEGER NOT NULL DEFAULT 0;
CREATE INDEX packs_open ON packs (study_uid, revision) WHERE state IN ('planned', 'uploaded');

CREATE TABLE line (                   -- one row: how the line is and what is asked of it
    one                  INTEGER PRIMARY KEY CHECK (one = 1),
    measured_bytes_per_s REAL,           -- all streams together, while no limit held them back
    measured_at          TEXT,
    streams              INTEGER,        -- how many uploads at once filled it
    limit_bytes_per_s    REAL,           -- what counted when this row was written, NULL: no limit
    reached_at           TEXT,           -- the hub's last usable answer
    unreachable_since    TEXT,           -- NULL while it answers
    unreachable_because  TEXT,
    wished_bytes_per_s   REAL,           -- a person's limit
    paused_at            TEXT            -- a person stopped all uploads
) STRICT;
INSERT INTO line (one) VALUES (1);
"""
