"""What the receiving side keeps of instances and of the studies they belong to."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
ALTER TABLE instances ADD COLUMN instance_number INTEGER;
-- NULL: stored in the syntax that it came in
ALTER TABLE instances ADD COLUMN received_transfer_syntax_uid TEXT;
ALTER TABLE instances ADD COLUMN values_sha256 TEXT;
ALTER TABLE instances ADD COLUMN compression TEXT NOT NULL DEFAULT 'due'
    CHECK (compression IN ('due', 'as_is', 'compressed'));
-- why it stays as it is, in words
ALTER TABLE instances ADD COLUMN compression_note TEXT;
-- JSON: the file that is about to take this one's place
ALTER TABLE instances ADD COLUMN replacement TEXT;
UPDATE instances SET compression = 'as_is' WHERE state <> 'incoming';
CREATE INDEX instances_to_compress ON instances (study_uid) WHERE state = 'incoming' AND compression = 'due';

CREATE TABLE studies (                -- what the headers say, for lists and queries; the objects keep their own bytes
    study_uid           TEXT PRIMARY KEY,
    patient_number      TEXT NOT NULL,
    patient_name        TEXT NOT NULL,   -- PN, its component groups between =
    birth_date          TEXT,            -- ISO 8601
    sex                 TEXT NOT NULL,
    accession_number    TEXT NOT NULL,
    study_number        TEXT NOT NULL,
    description         TEXT NOT NULL,
    study_date          TEXT,            -- ISO 8601
    study_time          TEXT NOT NULL,   -- TM as sent
    referring_physician TEXT NOT NULL,
    character_set       TEXT NOT NULL,
    character_set_repair TEXT,
    first_received_at   TEXT NOT NULL
) STRICT;
CREATE INDEX studies_by_accession ON studies (accession_number);
CREATE INDEX studies_by_day ON studies (first_received_at);

CREATE TABLE series (
    series_uid          TEXT PRIMARY KEY,
    study_uid           TEXT NOT NULL REFERENCES studies (study_uid) ON DELETE CASCADE,
    modality            TEXT NOT NULL,
    number              INTEGER,
    description         TEXT NOT NULL,
    body_part           TEXT NOT NULL
) STRICT;
CREATE INDEX series_by_study ON series (study_uid);
"""
