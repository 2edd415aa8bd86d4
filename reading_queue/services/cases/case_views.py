"""What the desks show of a case, as values: a summary for lists, offers, held work, and all that belongs to one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from reading_queue.domain.report import ReportContent, ReportText
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import CaseEvent, CaseState
from reading_queue.services.cases.information_requests import InformationRequestView
from reading_queue.services.corrections.voiding import VoidingView
from reading_queue.services.orders.order_versions import OrderNewsView, OrderNoteView
from reading_queue.services.patients.identity_views import DoubtView
from reading_queue.services.reading.case_evidence import EvidenceView
from reading_queue.services.reading.claims import ReadingTaskView
from reading_queue.services.reading.consult_rows import ConsultView
from reading_queue.services.reading.consults import ConsultableHospital
from reading_queue.services.reading.drafts import DraftView
from reading_queue.services.reading.notices import PartialStudy
from reading_queue.services.reading.priors import PriorsView
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel, Pregnancy, VisitKind
from storage.contract.signed_report import AmendmentKind


@dataclass(frozen=True, slots=True)
class PatientView:
    """A patient as the site knows them; `age_years` by the site's date today, None without a birth date.

    `name` is the raw PN, `patient_display_name` the same for people, in the viewer's language.
    """

    patient_number: str
    name: str
    patient_display_name: str
    sex: str
    birth_date: date | None
    age_years: int | None


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study of a case."""

    study_uid: str
    accession_number: str
    description: str
    body_part: str
    modalities: tuple[str, ...]
    study_date: date | None
    series_count: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class CaseSummary:
    """The facts of a case that every list shows."""

    case_id: str
    state: CaseState
    lane: Lane
    modality: str
    body_region: str
    site_id: str
    site_name: str
    patient: PatientView | None  # None until the catalogue holds a study of the case
    studies: tuple[StudyView, ...]
    exam_started_at: datetime | None
    due_at: datetime | None
    late: bool  # not signed, and the time limit has passed
    images_unacknowledged: bool
    images_version: str  # names the images that are shown here, for who acknowledges them or signs
    notices: tuple[str, ...] = ()  # why: names of texts
    green_channel: GreenChannel | None = None

    @property
    def study_uids(self) -> tuple[str, ...]:
        """The UIDs of the case's studies."""
        return tuple(study.study_uid for study in self.studies)

    @property
    def description(self) -> str:
        """The descriptions of the studies, in one line."""
        return " / ".join(study.description for study in self.studies if study.description)


@dataclass(frozen=True, slots=True)
class OfferView:
    """An open offer to the viewer."""

    offer_id: str
    reading_task_id: str
    phase: Phase
    offered_at: datetime
    expires_at: datetime
    why: dict[str, Any]
    case: CaseSummary

    @property
    def case_id(self) -> str:
        """The case the offer is about."""
        return self.case.case_id


@dataclass(frozen=True, slots=True)
class HeldView:
    """A reading task the viewer holds."""

    task: ReadingTaskView
    case: CaseSummary


@dataclass(frozen=True, slots=True)
class LedView:
    """A reading task that a colleague of the viewer holds."""

    task: ReadingTaskView
    case: CaseSummary
    holder_name: str


@dataclass(frozen=True, slots=True)
class SubmissionView:
    """What an author signed, and whether it was returned to them."""

    submission_id: str
    author_id: str
    author_name: str
    text: ReportText
    submitted_at: datetime
    returned_at: datetime | None
    return_reason: str | None


@dataclass(frozen=True, slots=True)
class ReportView:
    """The signed report."""

    report_id: str
    report_version: int
    content: ReportContent
    content_sha256: str


@dataclass(frozen=True, slots=True)
class ReturnedView:
    """Why a case was sent back to its site: a code of CID 9303, and words."""

    code: str
    words: str


@dataclass(frozen=True, slots=True)
class AddendumView:
    """How and why a signed report is being written again."""

    kind: AmendmentKind
    reason: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class OrderView:
    """What the clinic asked, for the reader. `differs`: facts that the images do not agree on."""

    order_id: str
    order_version: int
    accession_number: str
    procedure_name: str
    history: str
    question: str
    allergies: str
    pregnancy: Pregnancy
    visit_kind: VisitKind
    green_channel: GreenChannel | None
    requesting_physician: str
    requesting_department: str
    contact_phone: str
    differs: tuple[str, ...]
    notes: tuple[OrderNoteView, ...] = ()  # what the site said after the signature


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Which case."""

    case_id: str


@dataclass(frozen=True, slots=True)
class ConsultsOfCase:
    """What was asked up the line about a case: the part of a CaseView that changes while somebody waits."""

    summary: CaseKey
    task: ReadingTaskView | None
    held_by_viewer: bool
    consults: tuple[ConsultView, ...]  # newest first
    hospitals_to_ask: tuple[ConsultableHospital, ...]  # for the holder


@dataclass(frozen=True, slots=True)
class CaseView:
    """Everything the reading desk shows of a case.

    `draft` and `submissions` are for physicians only; `events` is what the viewer may do now.
    """

    summary: CaseSummary
    task: ReadingTaskView | None  # the open reading task, whoever holds it
    holder_name: str | None
    held_by_viewer: bool
    offer: OfferView | None  # to the viewer
    events: frozenset[CaseEvent]
    draft: DraftView | None
    submissions: tuple[SubmissionView, ...]  # newest first
    report: ReportView | None
    unroutable_reason: str | None
    priors: PriorsView
    partial: tuple[PartialStudy, ...] = ()  # of which more images may exist
    requests: tuple[InformationRequestView, ...] = ()  # what the site was asked, newest first
    withdrawal_reason: str = ""  # why the site wants the case back, while it waits for the reader's answer
    returned: ReturnedView | None = None
    addendum: AddendumView | None = None  # why the report is being written again
    voiding: VoidingView | None = None  # the newest word on whether the report counts
    leads: bool = False  # a colleague of the viewer holds the task, and the viewer may take it over
    orders: tuple[OrderView, ...] = ()  # newest first
    order_news: tuple[OrderNewsView, ...] = ()  # what changed in them while they were read, not yet confirmed
    doubts: tuple[DoubtView, ...] = ()  # whether order and images are of one person; open ones first
    consults: tuple[ConsultView, ...] = ()  # opinions asked up the line, newest first
    hospitals_to_ask: tuple[ConsultableHospital, ...] = ()  # for the holder
    evidence: tuple[EvidenceView, ...] = ()  # for physicians only, oldest first

    @property
    def is_doubted(self) -> bool:
        """Whether a signature has to say that the patient's identity was checked."""
        return any(doubt.ended_at is None for doubt in self.doubts)

    @property
    def submission(self) -> SubmissionView | None:
        """The submission that stands, if any."""
        return next((one for one in self.submissions if one.returned_at is None), None)
