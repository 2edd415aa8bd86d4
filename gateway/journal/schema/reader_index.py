"""What the headers of claimed cases' copies say, for queries at a gateway in reader mode; it goes with the copies.

The columns are those of the gateway's own studies, series and instances, so that one set of queries serves both. A copy
from before this version is fetched once more, and indexed then.
"""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE reader_studies (
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
CREATE INDEX reader_studies_by_patient ON reader_studies (patient_number);
CREATE TABLE reader_series (
    series_uid          TEXT PRIMARY KEY,
    study_uid           TEXT NOT NULL REFERENCES reader_studies (study_uid) ON DELETE CASCADE,
    modality            TEXT NOT NULL,
    number              INTEGER,
    description         TEXT NOT NULL,
    body_part           TEXT NOT NULL
) STRICT;
CREATE INDEX reader_series_by_study ON reader_series (study_uid);
CREATE TABLE reader_holdings (        -- each instance once, in however many packs it came
    sop_instance_uid    TEXT PRIMARY KEY,
    study_uid           TEXT NOT NULL REFERENCES reader_studies (study_uid) ON DELETE CASCADE,
    series_uid          TEXT NOT NULL,
    sop_class_uid       TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    received_transfer_syntax_uid TEXT,
    instance_number     INTEGER
) STRICT;
CREATE INDEX reader_holdings_by_study ON reader_holdings (study_uid);
CREATE INDEX reader_holdings_by_series ON reader_holdings (series_uid);
DELETE FROM reader_instances;
UPDATE reader_packs SET state = 'due' WHERE state = 'here';
"""
