"""Version 1: receiving, transfers, custody and returns, as the first gateways had them. Never changed again."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE identity (               -- one row after enrolment
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    gateway_id        TEXT NOT NULL,
    site_id           TEXT NOT NULL,
    site_name         TEXT NOT NULL,
    audience          TEXT NOT NULL,
    hub_key_id        TEXT NOT NULL,
    hub_public_key    TEXT NOT NULL,
    enrolled_at       TEXT NOT NULL
) STRICT;

CREATE TABLE associations (           -- every association that was accepted
    association_id    TEXT PRIMARY KEY,
    calling_ae_title  TEXT NOT NULL,
    peer_address      TEXT NOT NULL,
    opened_at         TEXT NOT NULL,
    closed_at         TEXT
) STRICT;

CREATE TABLE refusals (               -- what was refused, in words, for the technician
    refusal_id        INTEGER PRIMARY KEY,
    at                TEXT NOT NULL,
    calling_ae_title  TEXT NOT NULL,
    peer_address      TEXT NOT NULL,
    status            INTEGER,        -- DICOM status, NULL for a refused association
    reason            TEXT NOT NULL,
    remedy            TEXT NOT NULL
) STRICT;

CREATE TABLE instances (
    sop_instance_uid    TEXT PRIMARY KEY,
    study_uid           TEXT NOT NULL,
    series_uid          TEXT NOT NULL,
    sop_class_uid       TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    received_sha256     TEXT NOT NULL,
    stored_sha256       TEXT NOT NULL,
    pixel_sha256        TEXT,
    size_bytes          INTEGER NOT NULL,
    received_at         TEXT NOT NULL,
    calling_ae_title    TEXT NOT NULL,
    association_id      TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('incoming', 'ready', 'sent', 'kept')),
    revision            INTEGER       -- the transfer that carries it, NULL while incoming
) STRICT;
CREATE INDEX instances_by_study ON instances (study_uid, state);
CREATE INDEX instances_by_association ON instances (association_id);
CREATE INDEX instances_arriving ON instances (study_uid) WHERE state = 'incoming';

CREATE TABLE quarantine (
    quarantine_id     TEXT PRIMARY KEY,  -- name of the file in spool/quarantine
    sop_instance_uid  TEXT,              -- NULL when it was not legal
    study_uid         TEXT,
    at                TEXT NOT NULL,
    reason            TEXT NOT NULL
) STRICT;

CREATE TABLE transfers (
    study_uid         TEXT NOT NULL,
    revision          INTEGER NOT NULL,
    lane              TEXT NOT NULL,
    manifest          TEXT NOT NULL,     -- storage.contract.manifest.Manifest as JSON
    state             TEXT NOT NULL CHECK (state IN ('ready', 'declared', 'uploaded', 'confirmed')),
    transfer_id       TEXT,              -- the hub's, from DECLARED on
    completed_at      TEXT NOT NULL,
    confirmed_at      TEXT,
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT,              -- the last failure in words
    PRIMARY KEY (study_uid, revision)
) STRICT;
CREATE INDEX transfers_due ON transfers (next_attempt_at) WHERE state <> 'confirmed';

CREATE TABLE packs (
    study_uid         TEXT NOT NULL,
    revision          INTEGER NOT NULL,
    pack_sha256       TEXT NOT NULL,
    size_bytes        INTEGER NOT NULL,
    sop_instance_uids TEXT NOT NULL,     -- JSON list, in the pack's order
    state             TEXT NOT NULL CHECK (state IN ('planned', 'uploaded', 'committed', 'verified')),
    grant_id          TEXT,
    upload            TEXT,              -- storage.contract.wire.Upload as JSON
    grant_expires_at  TEXT,
    PRIMARY KEY (study_uid, revision, pack_sha256),
    FOREIGN KEY (study_uid, revision) REFERENCES transfers (study_uid, revision) ON DELETE CASCADE
) STRICT;

CREATE TABLE custody (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    hop               TEXT NOT NULL,
    study_uid         TEXT NOT NULL,
    sop_instance_uid  TEXT,
    at                TEXT NOT NULL,
    detail            TEXT NOT NULL,     -- JSON object: ids and counts, never patient data
    reported          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX custody_unreported ON custody (seq) WHERE reported = 0;

CREATE TABLE documents (
    document_id       TEXT PRIMARY KEY,
    cursor            INTEGER NOT NULL UNIQUE,
    descriptor        TEXT NOT NULL,     -- storage.contract.wire.SignedDescriptor as JSON, verified
    kind              TEXT NOT NULL,
    case_id           TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('announced', 'fetched')),
    fetched_at        TEXT,
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT
) STRICT;

CREATE TABLE deliveries (
    document_id       TEXT NOT NULL REFERENCES documents (document_id),
    target            TEXT NOT NULL,     -- e.g. "pacs:main"
    state             TEXT NOT NULL CHECK (state IN ('due', 'delivered')),
    delivered_at      TEXT,
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   TEXT NOT NULL,
    problem           TEXT,
    PRIMARY KEY (document_id, target)
) STRICT;

CREATE TABLE receipts (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id       TEXT NOT NULL,
    step              TEXT NOT NULL,
    target            TEXT NOT NULL,
    at                TEXT NOT NULL,
    reason            TEXT NOT NULL,
    reported          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX receipts_unreported ON receipts (seq) WHERE reported = 0;
"""
