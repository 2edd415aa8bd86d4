"""Storage commitment: what the hub has confirmed, and who waits to hear of it."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE confirmed_instances (    -- what the hub holds; outlives the gateway's own copy
    sop_instance_uid  TEXT PRIMARY KEY,
    sop_class_uid     TEXT NOT NULL,
    study_uid         TEXT NOT NULL,
    confirmed_at      TEXT NOT NULL
) STRICT;
CREATE INDEX confirmed_instances_by_age ON confirmed_instances (confirmed_at);
INSERT INTO confirmed_instances
    SELECT i.sop_instance_uid, i.sop_class_uid, i.study_uid, t.confirmed_at
    FROM instances i JOIN transfers t USING (study_uid, revision) WHERE t.state = 'confirmed';

CREATE TABLE commitments (            -- one N-ACTION of Storage Commitment, until its N-EVENT-REPORT was taken
    commitment_id     TEXT PRIMARY KEY,
    transaction_uid   TEXT NOT NULL,
    calling_ae_title  TEXT NOT NULL,
    asked_at          TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('waiting', 'due', 'told', 'given_up')),
    decided_at        TEXT,
    told_at           TEXT,
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT,           -- in words
    UNIQUE (calling_ae_title, transaction_uid)
) STRICT;
CREATE INDEX commitments_open ON commitments (state, next_attempt_at) WHERE state IN ('waiting', 'due');

CREATE TABLE commitment_instances (
    commitment_id     TEXT NOT NULL REFERENCES commitments (commitment_id) ON DELETE CASCADE,
    position          INTEGER NOT NULL,
    sop_class_uid     TEXT NOT NULL,
    sop_instance_uid  TEXT NOT NULL,
    failure           INTEGER,        -- Failure Reason (0008,1197); NULL: committed, or not decided yet
    PRIMARY KEY (commitment_id, position)
) STRICT;
CREATE INDEX quarantine_by_instance ON quarantine (sop_instance_uid);
"""
