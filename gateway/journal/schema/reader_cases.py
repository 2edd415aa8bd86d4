"""Claimed cases at a gateway in reader mode: packs that are copied here, and how far each PACS has them.

The hub is the truth for what is held: everything here can be made again from it.
"""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE reader_cases (
    reading_task_id   TEXT PRIMARY KEY,
    case_id           TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('held', 'withdrawing', 'withdrawn')),
    changed_at        TEXT NOT NULL
) STRICT;
CREATE TABLE reader_packs (
    reading_task_id   TEXT NOT NULL REFERENCES reader_cases (reading_task_id),
    pack_id           TEXT NOT NULL,
    study_uid         TEXT NOT NULL,
    prior             INTEGER NOT NULL,
    pack_sha256       TEXT NOT NULL,
    size_bytes        INTEGER NOT NULL,
    state             TEXT NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'here')),
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT,
    PRIMARY KEY (reading_task_id, pack_id)
) STRICT;
CREATE TABLE reader_instances (
    reading_task_id   TEXT NOT NULL,
    pack_id           TEXT NOT NULL,
    sop_instance_uid  TEXT NOT NULL,
    sop_class_uid     TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    stored_sha256     TEXT NOT NULL,
    PRIMARY KEY (reading_task_id, pack_id, sop_instance_uid),
    FOREIGN KEY (reading_task_id, pack_id) REFERENCES reader_packs (reading_task_id, pack_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX reader_instances_by_uid ON reader_instances (sop_instance_uid);
CREATE TABLE reader_deliveries (
    reading_task_id   TEXT NOT NULL,
    pack_id           TEXT NOT NULL,
    target            TEXT NOT NULL,
    state             TEXT NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'delivered')),
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT,
    PRIMARY KEY (reading_task_id, pack_id, target),
    FOREIGN KEY (reading_task_id, pack_id) REFERENCES reader_packs (reading_task_id, pack_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE reader_receipts (
    reading_task_id   TEXT NOT NULL,
    target            TEXT NOT NULL,
    step              TEXT NOT NULL CHECK (step IN ('delivered', 'failed', 'withdrawn')),
    code              TEXT NOT NULL,
    at                TEXT NOT NULL,
    reported          INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (reading_task_id, target, step, code)
) STRICT, WITHOUT ROWID;
"""
