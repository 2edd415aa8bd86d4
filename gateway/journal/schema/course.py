"""What the hub says of cases that wait for the clinic, and what people here have done about them."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = """
-- storage.contract.course.CaseCourse as JSON; all of it is replaced by each answer of the hub
CREATE TABLE case_courses (
    study_uid TEXT PRIMARY KEY,
    content TEXT NOT NULL
) STRICT;
-- due, done, refused; content: storage.contract.course.SiteAct as JSON
CREATE TABLE site_acts (
    act_id TEXT PRIMARY KEY,
    study_uid TEXT NOT NULL,
    content TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'due',
    code TEXT NOT NULL DEFAULT '',
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX site_acts_of_study ON site_acts (study_uid);
CREATE INDEX site_acts_open ON site_acts (state) WHERE state <> 'done';
"""
