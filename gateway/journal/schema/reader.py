"""Reports that workstations sent by HL7, at a gateway in reader mode: durable before they are acknowledged."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE reader_reports (
    report_key        TEXT PRIMARY KEY,  -- digest of the whole message: what is sent again is the same report
    received_at       TEXT NOT NULL,
    bodies            TEXT NOT NULL,     -- JSON list of ReaderReport (storage.contract.wire), one for each physician
    state             TEXT NOT NULL CHECK (state IN ('due', 'taken', 'refused')),
    next_attempt_at   TEXT NOT NULL,
    attempts          INTEGER NOT NULL DEFAULT 0,
    problem           TEXT
) STRICT;
CREATE INDEX reader_reports_due ON reader_reports (next_attempt_at) WHERE state = 'due';
"""
