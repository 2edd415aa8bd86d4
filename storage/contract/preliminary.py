"""Preliminary reports of emergencies on their way to the site's gateway: what their authors have signed, before the
second physician does.

An addition to the gateway API: an older hub answers 404 to a newer gateway, an older gateway never asks. The texts are
about patients; they travel like orders, signed, and enter no log. What people at the clinic say about one goes back as
a site act (storage.contract.course).

| request | body | answer |
|---|---|---|
| GET /gateway/v1/preliminary-reports?known=VERSION&wait_s=S | | PreliminariesAnswer |
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import AwareDatetime, Field

from storage.contract.lanes import Lane
from storage.contract.manifest import UidField, WireModel
from storage.contract.signed_report import Signatory

PRELIMINARIES_PER_ANSWER_MAX: Final = 200


class PreliminaryReport(WireModel):
    """One standing preliminary report. `is_final_signed`: the report that takes its place is on its way."""

    submission_id: str = Field(min_length=1, max_length=64)
    case_id: str = Field(min_length=1, max_length=64)
    study_uids: tuple[UidField, ...] = Field(min_length=1)
    lane: Lane
    author: Signatory
    findings: str
    impression: str
    recommendation: str
    submitted_at: AwareDatetime
    is_final_signed: bool = False


class PreliminariesAnswer(WireModel):
    """Every preliminary report of the site that stands now, the newest first; what is not named stands no more.

    `version` is a digest of all of them. `reports` is None when it is the one that the gateway knows.
    """

    format: Literal["counterpart-preliminary-reports/1"] = "counterpart-preliminary-reports/1"
    version: str = Field(max_length=64)
    reports: tuple[PreliminaryReport, ...] | None = Field(default=None, max_length=PRELIMINARIES_PER_ANSWER_MAX)


def version_of(reports: Sequence[PreliminaryReport]) -> str:
    """Return the digest of these reports."""
    return hashlib.sha256("\n".join(one.model_dump_json() for one in reports).encode()).hexdigest()
