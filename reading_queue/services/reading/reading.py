"""The reading desk's use cases under one name: look, claim, write, sign, give back.

Pages and API call these; the modules they come from say what each promises.
"""

from __future__ import annotations

from reading_queue.domain.report import ReportText
from reading_queue.services.cases.case_summaries import summarise
from reading_queue.services.cases.case_views import CaseSummary, CaseView, HeldView, LedView, OfferView
from reading_queue.services.cases.holds import ask_site, resume
from reading_queue.services.cases.site_returns import return_to_site
from reading_queue.services.cases.withdrawals import answer_withdrawal
from reading_queue.services.reading.claims import (
    ReadingTaskView,
    acknowledge_images,
    acknowledge_orders,
    claim,
    decline,
    heartbeat,
    release,
)
from reading_queue.services.reading.desk_views import case_view, held_by, led_by
from reading_queue.services.reading.drafts import DraftView, save_draft
from reading_queue.services.reading.takeovers import take_over
from reading_queue.services.reading.worklist import Worklist, WorklistFilter, offers_of, worklist_of
from reading_queue.services.reports.addenda import nothing_to_amend, open_addendum
from reading_queue.services.reports.signing import return_to_author, sign, submit
from reading_queue.services.reports.single_signing import sign_alone

__all__ = [
    "CaseSummary",
    "CaseView",
    "DraftView",
    "HeldView",
    "LedView",
    "OfferView",
    "ReadingTaskView",
    "ReportText",
    "Worklist",
    "WorklistFilter",
    "acknowledge_images",
    "acknowledge_orders",
    "answer_withdrawal",
    "ask_site",
    "case_view",
    "claim",
    "decline",
    "heartbeat",
    "held_by",
    "led_by",
    "nothing_to_amend",
    "offers_of",
    "open_addendum",
    "release",
    "resume",
    "return_to_author",
    "return_to_site",
    "save_draft",
    "sign",
    "sign_alone",
    "submit",
    "summarise",
    "take_over",
    "worklist_of",
]
