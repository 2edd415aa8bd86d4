"""What the JSON API takes and gives. Additions are harmless to clients; nothing here is renamed within /api/v1."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from reading_queue.domain.information import Wanted
from reading_queue.domain.links import LinkAct, LinkState
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Phase
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival.custody import CustodyLine
from reading_queue.services.cases import attention, statistics
from reading_queue.services.holdings.study_list import SEARCH_CHARACTERS_MAX, Progress, StudyLine
from reading_queue.services.patients import link_desk
from reading_queue.services.reading import reading
from reading_queue.services.routing.assigning import CandidatesView
from reading_queue.services.routing.escalating import EscalationView
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind

PAGE_SIZE = 50
TEXT_MAX = 100_000  # the wording rules say how long a report may be; this only bounds what is read


class Body(BaseModel):
    """A request's body; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(frozen=True)


class Credentials(Body):
    """An account's name and password."""

    login: str = Field(max_length=64)
    password: str = Field(max_length=256)


class Password(Body):
    """The password again, before a signature."""

    password: str = Field(max_length=256)


class Text(Body):
    """The three parts of a report."""

    findings: str = Field(default="", max_length=TEXT_MAX)
    impression: str = Field(default="", max_length=TEXT_MAX)
    recommendation: str = Field(default="", max_length=TEXT_MAX)

    def report_text(self) -> reading.ReportText:
        """Return it as the services take it."""
        return reading.ReportText(
            findings=self.findings, impression=self.impression, recommendation=self.recommendation
        )


class DraftText(Text):
    """A draft; `version` is that of the draft one has seen, null when there was none."""

    version: int | None = None


class ReasonCode(Body):
    """A code value of DICOM CID 9303."""

    reason: str = Field(max_length=16)


class ReasonWords(Body):
    """A reason in words, for the author."""

    reason: str = Field(max_length=500)


class Words(Body):
    """What a person says: an answer, a reason."""

    words: str = Field(max_length=2000)


class SiteQuestion(Body):
    """What the reader asks the site for."""

    wants: tuple[Wanted, ...]
    question: str = Field(max_length=2000)


class WithdrawalAnswer(Body):
    """Whether the reader lets the case go; a refusal needs its reason."""

    accept: bool
    reason: str = Field(default="", max_length=2000)


class VoidingDecision(Body):
    """Whether a signed report is void; that it counts needs its reason."""

    is_void: bool
    reason: str = Field(default="", max_length=2000)


class SiteReturn(ReasonCode):
    """Why a case goes back to its site, and what it shall do."""

    words: str = Field(max_length=2000)


class Amendment(Body):
    """How and why a signed report is written again."""

    kind: AmendmentKind
    reason: str = Field(max_length=2000)


class LinkDecision(Body):
    """What is done with a link and why; `version` is that of the link one has looked at."""

    act: LinkAct
    reason: str = Field(max_length=500)
    version: int = Field(ge=1)


class StudySearch(Body):
    """Which studies are wanted; `text` is the beginning of a part of a name, or begins or ends a number."""

    text: str = Field(default="", max_length=SEARCH_CHARACTERS_MAX)
    progress: Progress | None = None
    lane: Lane | None = None
    late: bool = False
    day: date | None = None
    before: str | None = Field(default=None, max_length=64)
    limit: int = Field(default=PAGE_SIZE, ge=1)


class OfferSearch(Body):
    """Which offers are wanted; `text` is the beginning of a part of a name, or begins or ends a number."""

    text: str = Field(default="", max_length=SEARCH_CHARACTERS_MAX)
    lane: Lane | None = None
    modality: str = Field(default="", max_length=16)
    site_id: str = Field(default="", max_length=64)
    phase: Phase | None = None
    late: bool = False
    after: str | None = Field(default=None, max_length=64)
    limit: int = Field(default=PAGE_SIZE, ge=1)


class PasswordChange(Body):
    """The present password and the one to come."""

    password: str
    new: str


class Token(Answer):
    """Send it as `Authorization: Bearer …`."""

    token: str
    expires_at: datetime


class Reauthenticated(Answer):
    """When the password was last given."""

    authenticated_at: datetime


class Me(Answer):
    """Who is logged in."""

    account_id: str
    login: str
    display_name: str
    role: Role
    organisation_id: str
    site_id: str | None
    physician_id: str | None
    language: str

    @classmethod
    def of(cls, viewer: Viewer) -> Me:
        """Return the viewer as clients see them."""
        return cls.model_validate(viewer, from_attributes=True)


class Work(Answer):
    """What offers and held reading tasks have in common."""

    reading_task_id: str
    case_id: str
    phase: str
    modality: str
    lane: str
    site_id: str
    study_uids: tuple[str, ...]
    due_at: datetime | None
    late: bool
    case: reading.CaseSummary


class OfferedWork(Work):
    """An open offer, with why it was made."""

    offer_id: str
    offered_at: datetime
    expires_at: datetime
    why: dict[str, Any]

    @classmethod
    def of(cls, offer: reading.OfferView) -> OfferedWork:
        """Return the offer as clients see it."""
        return cls(
            **_common(offer.case),
            reading_task_id=offer.reading_task_id,
            phase=offer.phase,
            offer_id=offer.offer_id,
            offered_at=offer.offered_at,
            expires_at=offer.expires_at,
            why=offer.why,
        )


class LedWork(Work):
    """A reading task in the hands of a colleague whom the caller leads."""

    holder_name: str
    claimed_at: datetime | None

    @classmethod
    def of(cls, one: reading.LedView) -> LedWork:
        """Return it as clients see it."""
        return cls(
            **_common(one.case),
            reading_task_id=one.task.reading_task_id,
            phase=one.task.phase,
            holder_name=one.holder_name,
            claimed_at=one.task.claimed_at,
        )


class Led(Answer):
    """What colleagues hold."""

    led: tuple[LedWork, ...]


class Asked(Answer):
    """The question to the site."""

    request_id: str


class Withdrawal(Answer):
    """Whether the case is withdrawn; if not, its reader was asked."""

    withdrawn: bool


class Candidates(Answer):
    """Who may read a case's open task, and what was decided."""

    routing: CandidatesView


class Assignment(Body):
    """Who is to read a case, and why."""

    physician_id: str = Field(max_length=64)
    reason: str = Field(max_length=2000)


class Escalations(Answer):
    """What is open, the oldest unacknowledged first."""

    escalations: tuple[EscalationView, ...]


class DutyDirectorAnswer(Answer):
    """Whose duty director the caller is now, and what they were told of: open, or over since a few days."""

    director_of: tuple[str, ...]  # names
    escalations: tuple[EscalationView, ...]


class HeldWork(Work):
    """A reading task in the caller's hands."""

    claimed_at: datetime | None
    lease_expires_at: datetime | None

    @classmethod
    def of(cls, held: reading.HeldView) -> HeldWork:
        """Return the held task as clients see it."""
        return cls(
            **_common(held.case),
            reading_task_id=held.task.reading_task_id,
            phase=held.task.phase,
            claimed_at=held.task.claimed_at,
            lease_expires_at=held.task.lease_expires_at,
        )


class Offers(Answer):
    """Open offers to the caller, most urgent first; `next_after` asks for the page after, None at the end."""

    offers: tuple[OfferedWork, ...]
    found: int  # how many there are, on all pages
    next_after: str | None


class Held(Answer):
    """Reading tasks in the caller's hands, most urgent first."""

    held: tuple[HeldWork, ...]


class Task(Answer):
    """A reading task after a change."""

    task: reading.ReadingTaskView


class Lease(Answer):
    """Until when the claim holds without a further sign of life."""

    lease_expires_at: datetime


class Draft(Answer):
    """The draft as saved."""

    draft: reading.DraftView


class Submitted(Answer):
    """What the author signed."""

    submission_id: str


class Signed(Answer):
    """The signed report."""

    report_id: str


class CaseAnswer(Answer):
    """A case with all that the caller may see of it."""

    case: reading.CaseView


class Studies(Answer):
    """Studies in view, newest first; `next_before` asks for the page after."""

    studies: tuple[StudyLine, ...]
    next_before: str | None


class Custody(Answer):
    """A study's ledger, by site and time."""

    custody: tuple[CustodyLine, ...]


class Links(Answer):
    """A page of links between patient records of two sites, and how many there are of each state.

    `next_after` is the `after` of the next page, null after the last.
    """

    state: LinkState
    links: tuple[link_desk.LinkView, ...]
    counts: dict[LinkState, int]
    next_after: str | None


class Decided(Answer):
    """What the two records are to each other now."""

    state: LinkState


class Statistics(Answer):
    """What the coordinator's desk shows."""

    today: tuple[statistics.SiteToday, ...]
    coverage: statistics.Coverage
    stuck: tuple[attention.Stuck, ...]
    queues: statistics.QueueHealth


def _common(case: reading.CaseSummary) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "modality": case.modality,
        "lane": case.lane,
        "site_id": case.site_id,
        "study_uids": case.study_uids,
        "due_at": case.due_at,
        "late": case.late,
        "case": case,
    }
