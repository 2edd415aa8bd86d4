"""The radiologist's pages: the desk with offers and held work, and one case with its editor."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Wanted
from reading_queue.domain.routing import Phase
from reading_queue.errors import ConfirmationNeeded, HubError, ReauthenticationNeeded, TextNotAcceptable
from reading_queue.services.access.accounts import LoginRefused
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings.study_list import SEARCH_CHARACTERS_MAX
from reading_queue.services.hub import Hub
from reading_queue.services.network.presence import find_absence
from reading_queue.services.reading import page_marks, reading
from reading_queue.services.reading.case_evidence import ShownFinding
from reading_queue.services.reading.consults import consults_of
from reading_queue.services.reading.desk_views import cases_asked_about
from reading_queue.services.routing.escalating import find_directed, list_told
from reading_queue.services.routing.explaining import why_not_me
from reading_queue.services.routing.green_channels import list_green_cases
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, wanted_offers
from reading_queue.web.parsing import field as field_of
from reading_queue.web.problems import words_of
from reading_queue.web.radiologist.evidence_words import evidence_words
from reading_queue.web.rendering import page
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from storage.screens.requests import is_refresh, redirect
from storage.screens.words import current_language

ROWS: Final = 50
DESK: Final = "/radiologist/"
SHORT_ABSENCE: Final = timedelta(hours=1)  # what the form proposes
DONE: Final = frozenset(
    {"submitted", "signed", "returned", "released", "declined", "let_go", "sent_back", "stands", "no_opinion"}
)
# What a physician may say when they give work back or do not take it (a choice from CID 9303).
REASONS: Final = (
    DiscontinuationReason.ASSIGNMENT_REJECTED,
    DiscontinuationReason.NEEDS_SPECIALIST,
    DiscontinuationReason.OBJECT_SET_INCOMPLETE,
    DiscontinuationReason.INSUFFICIENT_QUALITY,
    DiscontinuationReason.UNSPECIFIED,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a physician tried and what stood against it; the page shows their own text again."""

    text: reading.ReportText | None = None
    version: str = ""
    refused: HubError | None = None

    @property
    def status(self) -> int:
        """The status of the page that shows the refusal."""
        return self.refused.status if self.refused is not None else 200


@dataclass(frozen=True, slots=True)
class Editor:
    """What the editor is filled with and what it asks for."""

    text: reading.ReportText
    version: str  # of the draft it started from; empty when there was none
    needs_password: bool
    problems: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    refusal: str = ""  # code of any other refusal
    refusal_words: str = ""


async def desk(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the offers, most urgent first, and what is held."""
    return await _desk(request, viewer, wanted_offers(request.query), field_of(request.query, "after"))


async def search(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the offers that hold the words of the form: a name belongs in no address. Without words, the plain desk."""
    form: Form = await request.post()
    wanted = wanted_offers(form, with_text=True)
    if not wanted.text:
        return redirect(desk_address(wanted))
    return await _desk(request, viewer, wanted, field_of(form, "after"))


def desk_address(wanted: reading.WorklistFilter, after: str | None = None) -> str:
    """Return the address of the desk with this filter; the words of a search are not part of it."""
    values = {
        "lane": wanted.lane,
        "modality": wanted.modality,
        "site_id": wanted.site_id,
        "phase": wanted.phase,
        "late": "1" if wanted.late else "",
        "after": after,
    }
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{DESK}?{query}" if query else DESK


async def refused_desk(request: web.Request, viewer: Viewer, refused: HubError) -> web.StreamResponse:
    """Answer the whole desk, with what was refused on it."""
    return await _desk(request, viewer, reading.WorklistFilter(), "", refused)


async def _desk(
    request: web.Request, viewer: Viewer, wanted: reading.WorklistFilter, after: str, refused: HubError | None = None
) -> web.StreamResponse:
    hub = request.config_dict[HUB]
    done = request.query.get("done")
    values = await in_thread(request, _read_desk, hub, viewer, wanted, after)
    return page(
        request,
        "radiologist/_desk.html" if is_refresh(request) else "radiologist/desk.html",
        status=refused.status if refused is not None else 200,
        refused=words_of(refused) if refused is not None else "",
        soon=hub.clock() + SHORT_ABSENCE,
        wanted=wanted,
        is_filtered=wanted != reading.WorklistFilter(),
        after=after,
        here=desk_address(wanted, after),
        first=desk_address(wanted),
        next=desk_address(wanted, values["listed"].next_after),
        lanes=tuple(Lane),
        phases=tuple(Phase),
        text_max=SEARCH_CHARACTERS_MAX,
        done=done if done in DONE else None,
        reasons=REASONS,
        now=hub.clock(),
        **values,
    )


def _read_desk(hub: Hub, viewer: Viewer, wanted: reading.WorklistFilter, after: str) -> dict[str, Any]:
    """Read what the desk shows, in one turn of a thread: the page is asked for every few seconds."""
    listed = reading.worklist_of(hub, viewer, limit=ROWS, wanted=wanted, after=after or None)
    asked = consults_of(hub, viewer)
    return {
        "listed": listed,
        "offers": listed.offers,
        "absence": find_absence(hub, viewer),
        "green": list_green_cases(hub, viewer),
        "told": [one for one in list_told(hub, viewer) if one.ended_at is None],
        "directed": find_directed(hub, viewer),
        "held": reading.held_by(hub, viewer),
        "consults": asked,
        "consult_cases": cases_asked_about(hub, viewer, {one.case_id for one in asked}),
        "led": reading.led_by(hub, viewer),
    }


async def why_not(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show why a case is not with the viewer; its number comes by a form and enters no address."""
    number = field_of(await request.post(), "number") if request.method == "POST" else ""
    found = await in_thread(request, why_not_me, request.config_dict[HUB], viewer, number)
    return page(request, "radiologist/why_not.html", found=found, number=number)


async def case(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one case: images beside the editor for its holder, its report or state for others."""
    return await case_page(request, viewer, Attempt())


async def case_page(request: web.Request, viewer: Viewer, attempt: Attempt) -> web.Response:
    """Answer the page of the case in the path, with what was tried."""
    hub = request.config_dict[HUB]
    view = await in_thread(request, reading.case_view, hub, viewer, request.match_info["case_id"])
    recent_s = (hub.clock() - viewer.authenticated_at).total_seconds()
    return page(
        request,
        "radiologist/case.html",
        status=attempt.status,
        view=view,
        now=hub.clock(),
        editor=_editor(view, attempt, needs_password=recent_s > hub.policy.reauthentication_s),
        images_url=images_url(view.summary.study_uids),
        evidence_words=evidence_words,
        image_url=image_url,
        beside_url=lambda study_uid: images_url((*view.summary.study_uids, study_uid)),
        reasons=REASONS,
        wants=tuple(Wanted),
        amendment_kinds=tuple(AmendmentKind),
        heartbeat_s=hub.policy.lease_s // 3,
        changes=(),
        **_addresses(view.summary.case_id, page_marks.marks_of(view)),
    )


async def changes_part(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the part of a case's open page that says what has changed since the page was drawn."""
    case_id = request.match_info["case_id"]
    shown = {name: field_of(request.query, name) for name in page_marks.CHANGES if name in request.query}
    changes = await in_thread(request, page_marks.changes_since, request.config_dict[HUB], viewer, case_id, shown)
    return page(request, "radiologist/changes_part.html", changes=changes, **_addresses(case_id, shown))


def _addresses(case_id: str, shown: page_marks.Marks) -> dict[str, Any]:
    case_url = f"{DESK}cases/{quote(case_id, safe='')}"
    return {"case_url": case_url, "changes_url": f"{case_url}/changes?{urlencode(shown)}"}


def images_url(study_uids: tuple[str, ...]) -> str:
    """Return the address of the viewer on these studies, empty while there are none."""
    if not study_uids:
        return ""
    language = "zh" if current_language() == "zh" else "en-US"
    return "/viewer/viewer?" + urlencode({"StudyInstanceUIDs": ",".join(study_uids), "lng": language}, safe=",")


def image_url(shown: ShownFinding) -> str:
    """Return the address of the viewer at the image of a key image or measurement."""
    at = {"initialSeriesInstanceUID": shown.series_uid}
    if shown.image is not None:
        at["initialSopInstanceUID"] = shown.image.sop_instance_uid
    return f"{images_url((shown.study_uid,))}&{urlencode(at)}"


def _editor(view: reading.CaseView, attempt: Attempt, *, needs_password: bool) -> Editor:
    refused = attempt.refused
    needs_password = needs_password or isinstance(refused, ReauthenticationNeeded | LoginRefused)
    if attempt.text is not None:
        text, version = attempt.text, attempt.version
    else:
        text, version = _start(view)
    match refused:
        case TextNotAcceptable():
            return Editor(text, version, needs_password, problems=refused.problems)
        case ConfirmationNeeded():
            return Editor(text, version, needs_password, warnings=refused.warnings)
        case None:
            return Editor(text, version, needs_password)
        case _:
            return Editor(text, version, needs_password, refusal=refused.code, refusal_words=words_of(refused))


def _start(view: reading.CaseView) -> tuple[reading.ReportText, str]:
    """Return the text an editor opens with: the draft, else what the author submitted."""
    if view.draft is not None:
        return view.draft.text, str(view.draft.version)
    if view.submissions:
        return view.submissions[0].text, ""
    return reading.ReportText(), ""
