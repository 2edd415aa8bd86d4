"""Earlier studies that the hub asks for, and those that were chosen at the PACS."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE prior_requests (
    request_id        TEXT PRIMARY KEY,
    content           TEXT NOT NULL,     -- PriorRequest (storage.contract.wire) as JSON: patient data
    state             TEXT NOT NULL CHECK (state IN ('heard', 'due', 'done', 'given_up', 'dropped')),
    heard_at          TEXT NOT NULL,
    outcome           TEXT NOT NULL,     -- the newest PriorOutcome as JSON
    outcome_reported  INTEGER NOT NULL DEFAULT 0,
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT               -- the last failure in words
) STRICT;
CREATE INDEX prior_requests_due ON prior_requests (next_attempt_at) WHERE state = 'due';
CREATE INDEX prior_requests_unreported ON prior_requests (heard_at) WHERE outcome_reported = 0;

CREATE TABLE prior_studies (
    study_uid         TEXT PRIMARY KEY,
    request_id        TEXT NOT NULL,
    lane              TEXT NOT NULL,
    source_ae_title   TEXT NOT NULL,     -- what comes from anybody else is no prior
    fetched_at        TEXT               -- what comes later is no prior
) STRICT;
CREATE INDEX prior_studies_of_request ON prior_studies (request_id);
"""
