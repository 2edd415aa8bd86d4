"""What the way home keeps of each delivery: why it is not there, in a code with parameters, and how it ended."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE deliveries_2 (
    document_id       TEXT NOT NULL REFERENCES documents (document_id),
    target            TEXT NOT NULL,     -- e.g. "pacs:main"
    -- superseded: the target has a newer version already; cancelled: by a person
    state             TEXT NOT NULL CHECK (state IN ('due', 'delivered', 'superseded', 'cancelled')),
    delivered_at      TEXT,
    delivered_by      TEXT,              -- the person's account id where a person did it
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT,              -- in English
    problem_code      TEXT,              -- storage.contract.delivery.DeliveryFault
    problem_params    TEXT,              -- JSON object
    PRIMARY KEY (document_id, target)
) STRICT;
INSERT INTO deliveries_2 (document_id, target, state, delivered_at, attempts, next_attempt_at, problem)
    SELECT document_id, target, state, delivered_at, attempts, next_attempt_at, problem FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_2 RENAME TO deliveries;
CREATE INDEX deliveries_due ON deliveries (target, next_attempt_at) WHERE state = 'due';
CREATE INDEX documents_by_case ON documents (case_id, kind);

ALTER TABLE receipts ADD COLUMN code TEXT NOT NULL DEFAULT '';
-- JSON object
ALTER TABLE receipts ADD COLUMN params TEXT NOT NULL DEFAULT '{}';
-- JSON list of kinds: everything that the target is given
ALTER TABLE receipts ADD COLUMN takes TEXT NOT NULL DEFAULT '[]';
"""
