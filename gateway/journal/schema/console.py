"""Who may use the console, and what the hub has told of this site's studies."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE accounts (               -- named people; the hub's are a copy that works with the line down
    account_id        TEXT PRIMARY KEY,
    origin            TEXT NOT NULL CHECK (origin IN ('hub', 'local')),
    login             TEXT NOT NULL,
    display_name      TEXT NOT NULL,
    role              TEXT NOT NULL,
    language          TEXT NOT NULL,
    password_hash     TEXT NOT NULL,   -- argon2
    disabled_at       TEXT,
    failed_logins     INTEGER NOT NULL DEFAULT 0,
    locked_until      TEXT,
    UNIQUE (origin, login)
) STRICT;

CREATE TABLE sessions (               -- a logged-in browser; the token itself is never stored
    token_sha256      TEXT PRIMARY KEY,
    account_id        TEXT NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    csrf_token        TEXT NOT NULL,
    created_at        TEXT NOT NULL,
    last_seen_at      TEXT NOT NULL,
    expires_at        TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_account ON sessions (account_id);

CREATE TABLE hub_contact (            -- one row: what was last heard of the hub beside the line's own row
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    clock_offset_s    REAL,            -- this machine's clock minus the hub's
    accounts_version  TEXT,
    accounts_at       TEXT,            -- it confirmed the accounts
    events_through    TEXT             -- its events up to this time of its own clock are here
) STRICT;
INSERT INTO hub_contact (one) VALUES (1);

CREATE TABLE hub_events (             -- the hub's part of the custody ledger of this site's studies
    event_id          INTEGER PRIMARY KEY,
    study_uid         TEXT NOT NULL,
    hop               TEXT NOT NULL,
    at                TEXT NOT NULL,
    actor_name        TEXT NOT NULL,
    detail            TEXT NOT NULL    -- JSON object
) STRICT;
CREATE INDEX hub_events_by_study ON hub_events (study_uid, at);
CREATE INDEX custody_by_study ON custody (study_uid);
CREATE INDEX actions_by_subject ON actions (subject, verb);
"""
