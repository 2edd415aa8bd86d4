"""Parts of packs that are too large for one upload."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
CREATE TABLE parts (
    study_uid         TEXT NOT NULL,
    revision          INTEGER NOT NULL,
    pack_sha256       TEXT NOT NULL,
    number            INTEGER NOT NULL,  -- from 1
    size_bytes        INTEGER NOT NULL,
    sha256            TEXT NOT NULL,
    state             TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'uploaded')),
    upload            TEXT,              -- storage.contract.wire.Upload as JSON
    grant_expires_at  TEXT,
    PRIMARY KEY (study_uid, revision, pack_sha256, number),
    FOREIGN KEY (study_uid, revision, pack_sha256) REFERENCES packs (study_uid, revision, pack_sha256)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
"""
