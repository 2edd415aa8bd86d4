"""Orders as this gateway knows them, and the scanners' own words on the examinations."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE orders (
    order_id          TEXT PRIMARY KEY,
    version           INTEGER NOT NULL,
    accession_number  TEXT NOT NULL UNIQUE,
    study_uid         TEXT NOT NULL,
    state             TEXT NOT NULL,
    scheduled_at      TEXT NOT NULL,
    content           TEXT NOT NULL,      -- storage.contract.orders.Order as JSON: names the patient, never logged
    reported_version  INTEGER NOT NULL DEFAULT 0,
    problem           TEXT                -- why the hub does not take it, in words
) STRICT;
CREATE INDEX orders_by_study ON orders (study_uid);
CREATE INDEX orders_by_day ON orders (scheduled_at);
CREATE INDEX orders_unreported ON orders (order_id) WHERE reported_version < version;

CREATE TABLE order_numbers (          -- one row: what comes next, and how far the hub's own orders were fetched
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    sequence          INTEGER NOT NULL,
    fetched_through   INTEGER NOT NULL
) STRICT;
INSERT INTO order_numbers VALUES (1, 0, 0);

CREATE TABLE performed_steps (        -- MPPS: what scanners say of the examinations that they do
    step_uid          TEXT PRIMARY KEY,   -- SOP Instance UID of the Modality Performed Procedure Step
    calling_ae_title  TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
    study_uid         TEXT NOT NULL,      -- empty where the scanner does not say
    accession_number  TEXT NOT NULL,      -- empty where the scanner does not say
    started_at        TEXT,               -- NULL where its clock cannot be right
    ended_at          TEXT,
    expected          INTEGER,            -- how many instances it says it made
    reason            TEXT NOT NULL DEFAULT '',  -- why it was discontinued, as the scanner says
    received_at       TEXT NOT NULL
) STRICT;
CREATE INDEX performed_steps_by_study ON performed_steps (study_uid);

CREATE TABLE performed_step_orders (  -- one examination may do several orders at once
    step_uid          TEXT NOT NULL REFERENCES performed_steps (step_uid) ON DELETE CASCADE,
    order_id          TEXT NOT NULL REFERENCES orders (order_id) ON DELETE CASCADE,
    PRIMARY KEY (step_uid, order_id)
) STRICT;
CREATE INDEX performed_step_orders_by_order ON performed_step_orders (order_id);
"""
