"""Doubts whose a case is, as the hub last told them, and how people here have settled them."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
-- storage.contract.identity_doubts.IdentityDoubt as JSON; all of it is replaced by each answer of the hub
CREATE TABLE identity_doubts (
    conflict_id TEXT PRIMARY KEY,
    study_uid TEXT NOT NULL,
    content TEXT NOT NULL
) STRICT;
CREATE INDEX identity_doubts_of_study ON identity_doubts (study_uid);
-- due, done, refused; content: storage.contract.identity_doubts.IdentitySettlement as JSON
CREATE TABLE identity_settlements (
    act_id TEXT PRIMARY KEY,
    conflict_id TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    content TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'due',
    code TEXT NOT NULL DEFAULT '',
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX identity_settlements_of_study ON identity_settlements (study_uid);
CREATE INDEX identity_settlements_open ON identity_settlements (state) WHERE state <> 'done';
"""
