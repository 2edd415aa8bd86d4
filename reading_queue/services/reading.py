"""The reading desk's use cases under one name: look, claim, write, sign, give back.

Pages and API call these; the modules they come from say what each promises.
"""

from __future__ import annotations

from reading_queue.domain.report import ReportText
from reading_queue.services.claims import ReadingTaskView, acknowledge_images, claim, decline, heartbeat, release
from reading_queue.services.desk_views import (
    CaseSummary,
    CaseView,
    HeldView,
    OfferView,
    case_view,
    held_by,
    offers_of,
    summarise,
)
from reading_queue.services.drafts import DraftView, save_draft
from reading_queue.services.signing import return_to_author, sign, submit

__all__ = [
    "CaseSummary",
    "CaseView",
    "DraftView",
    "HeldView",
    "OfferView",
    "ReadingTaskView",
    "ReportText",
    "acknowledge_images",
    "case_view",
    "claim",
    "decline",
    "heartbeat",
    "held_by",
    "offers_of",
    "release",
    "return_to_author",
    "save_draft",
    "sign",
    "submit",
    "summarise",
]
