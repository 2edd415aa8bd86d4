"""The JSON API's handlers: parse, one service call, answer."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from reading_queue.domain.links import LinkState
from reading_queue.errors import Invalid, NotFound
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import attention, clinic, statistics
from reading_queue.services.holdings import study_list
from reading_queue.services.holdings.study_list import StudyFilter
from reading_queue.services.patients import link_desk
from reading_queue.services.reading import reading
from reading_queue.web.api import models, signing_models
from reading_queue.web.keys import HUB, TOKEN, in_thread
from reading_queue.web.parsing import page_place, study_of, wanted_offers, wanted_studies, word_of

BodyT = TypeVar("BodyT", bound=BaseModel)


async def open_session(request: web.Request) -> web.StreamResponse:
    """Log in and answer a bearer token."""
    given = await body_of(request, models.Credentials)
    opened = await in_thread(request, accounts.login, request.config_dict[HUB], given.login, given.password, "api")
    return answer(models.Token(token=opened.token, expires_at=opened.expires_at), status=201)


async def close_session(request: web.Request, _viewer: Viewer) -> web.StreamResponse:
    """Log out."""
    await in_thread(request, accounts.logout, request.config_dict[HUB], request[TOKEN])
    return nothing()


async def reauthenticate(request: web.Request, _viewer: Viewer) -> web.StreamResponse:
    """Check the password again."""
    given = await body_of(request, models.Password)
    at = await in_thread(request, accounts.reauthenticate, request.config_dict[HUB], request[TOKEN], given.password)
    return answer(models.Reauthenticated(authenticated_at=at))


async def change_password(request: web.Request, _viewer: Viewer) -> web.StreamResponse:
    """Choose another password; a temporary one must be changed before anything else."""
    given, hub = await body_of(request, models.PasswordChange), request.config_dict[HUB]
    await in_thread(request, accounts.change_password, hub, request[TOKEN], given.password, given.new)
    return nothing()


async def me(_request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say who asks."""
    return answer(models.Me.of(viewer))


async def offers(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the open offers."""
    limit = _limit(request, default=request.config_dict[HUB].policy.page_size_max)
    return await _offers(request, viewer, wanted_offers(request.query), request.query.get("after"), limit)


async def search_offers(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the open offers that are found by the text."""
    given = await body_of(request, models.OfferSearch)
    wanted = reading.WorklistFilter(
        lane=given.lane,
        modality=given.modality,
        site_id=given.site_id,
        phase=given.phase,
        late=given.late,
        text=given.text,
    )
    return await _offers(request, viewer, wanted, given.after, given.limit)


async def held(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List what the caller holds."""
    found = await in_thread(request, reading.held_by, request.config_dict[HUB], viewer)
    return answer(models.Held(held=tuple(models.HeldWork.of(one) for one in found)))


async def claim(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take a reading task."""
    task = await in_thread(request, reading.claim, request.config_dict[HUB], viewer, task_id(request))
    return answer(models.Task(task=task))


async def heartbeat(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Extend the lease."""
    until = await in_thread(request, reading.heartbeat, request.config_dict[HUB], viewer, task_id(request))
    return answer(models.Lease(lease_expires_at=until))


async def acknowledge_images(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Record that late images were looked at."""
    given = await body_of(request, signing_models.ImagesSeen)
    hub = request.config_dict[HUB]
    await in_thread(request, reading.acknowledge_images, hub, viewer, task_id(request), given.images_version)
    return nothing()


async def acknowledge_orders(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Record that what changed in the orders was looked at."""
    given = await body_of(request, signing_models.OrdersSeen)
    hub, versions = request.config_dict[HUB], [(one.order_id, one.order_version) for one in given.orders]
    await in_thread(request, reading.acknowledge_orders, hub, viewer, task_id(request), versions)
    return nothing()


async def save_draft(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the draft."""
    given = await body_of(request, models.DraftText)
    hub, text = request.config_dict[HUB], given.report_text()
    draft = await in_thread(request, reading.save_draft, hub, viewer, task_id(request), text, given.version)
    return answer(models.Draft(draft=draft))


async def submit(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Sign as author."""
    given = await body_of(request, signing_models.SubmittedText)
    hub, text, seen = request.config_dict[HUB], given.report_text(), given.images_version
    said = {"confirm": given.confirm, "confirm_identity": given.confirm_identity}
    made = await in_thread(request, reading.submit, hub, viewer, task_id(request), text, images=seen, **said)
    return answer(models.Submitted(submission_id=made))


async def sign(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Sign as verifier."""
    given = await body_of(request, signing_models.FinalText)
    hub, text, seen = request.config_dict[HUB], given.report_text(), given.images_version
    said = {"confirm": given.confirm, "confirm_identity": given.confirm_identity}
    made = await in_thread(request, reading.sign, hub, viewer, task_id(request), text, images=seen, **said)
    return answer(models.Signed(report_id=made))


async def sign_alone(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Sign as the only physician of the report, where the agreement allows it."""
    given = await body_of(request, signing_models.SoleText)
    hub, text, seen = request.config_dict[HUB], given.report_text(), given.images_version
    said = {"declared": given.declared, "confirm": given.confirm}
    made = await in_thread(request, reading.sign_alone, hub, viewer, task_id(request), text, images=seen, **said)
    return answer(models.Signed(report_id=made))


async def return_to_author(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give the text back to its author."""
    given = await body_of(request, models.ReasonWords)
    hub = request.config_dict[HUB]
    await in_thread(request, reading.return_to_author, hub, viewer, task_id(request), given.reason)
    return nothing()


async def release(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give a claim back; a coordinator may take one away."""
    given = await body_of(request, models.ReasonCode)
    await in_thread(request, reading.release, request.config_dict[HUB], viewer, task_id(request), given.reason)
    return nothing()


async def decline(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer no to an offer."""
    given = await body_of(request, models.ReasonCode)
    await in_thread(request, reading.decline, request.config_dict[HUB], viewer, task_id(request), given.reason)
    return nothing()


async def case(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show a case."""
    view = await in_thread(request, reading.case_view, request.config_dict[HUB], viewer, request.match_info["case_id"])
    return answer(models.CaseAnswer(case=view))


async def report_pdf(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the printable report."""
    hub = request.config_dict[HUB]
    pdf = await in_thread(request, clinic.report_pdf, hub, viewer, request.match_info["case_id"])
    if pdf is None:
        raise NotFound("the report of this case is not ready yet")
    return web.Response(body=pdf, content_type="application/pdf")


async def studies(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the studies in view."""
    wanted, before = wanted_studies(request.query), request.query.get("before")
    return await _list(request, viewer, wanted, before, _limit(request))


async def search_studies(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the studies in view that are found by the text."""
    given = await body_of(request, models.StudySearch)
    wanted = StudyFilter(progress=given.progress, lane=given.lane, late=given.late, day=given.day, text=given.text)
    return await _list(request, viewer, wanted, given.before, given.limit)


async def custody(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer a study's ledger."""
    site_id = request.query.get("site_id")
    lines = await in_thread(request, clinic.custody_of, request.config_dict[HUB], viewer, study_of(request), site_id)
    return answer(models.Custody(custody=lines))


async def show_statistics(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the coordinator's figures."""
    hub = request.config_dict[HUB]
    return answer(
        models.Statistics(
            today=await in_thread(request, statistics.per_site_and_hour, hub, viewer),
            coverage=await in_thread(request, statistics.coverage, hub, viewer),
            stuck=await in_thread(request, attention.stuck, hub, viewer),
            queues=await in_thread(request, statistics.queue_health, hub, viewer),
        )
    )


async def links(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List links between patient records of two sites, a page of those in one state."""
    state = word_of(LinkState, request.query.get("state", LinkState.SUGGESTED))
    after = page_place(request.query.get("after", ""))
    page = await in_thread(request, link_desk.list_links, request.config_dict[HUB], viewer, state, after)
    following = page.next_after.text() if page.next_after is not None else None
    return answer(models.Links(state=page.state, links=page.links, counts=page.counts, next_after=following))


async def decide_link(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Accept or refuse a link, or undo what was decided."""
    given, link_id, hub = (
        await body_of(request, models.LinkDecision),
        request.match_info["link_id"],
        request.config_dict[HUB],
    )
    decided = await in_thread(
        request, link_desk.decide, hub, viewer, link_id, given.act, given.reason, version=given.version
    )
    return answer(models.Decided(state=decided))


def answer(body: BaseModel, *, status: int = 200) -> web.Response:
    """Answer a model as JSON."""
    return web.Response(text=body.model_dump_json(), status=status, content_type="application/json")


async def _list(
    request: web.Request, viewer: Viewer, wanted: StudyFilter, before: str | None, limit: int
) -> web.Response:
    hub = request.config_dict[HUB]
    limit = min(limit, hub.policy.page_size_max)
    listed = await in_thread(request, study_list.studies_of, hub, viewer, limit=limit, before=before, wanted=wanted)
    return answer(models.Studies(studies=listed.studies, next_before=listed.next_before))


async def _offers(
    request: web.Request, viewer: Viewer, wanted: reading.WorklistFilter, after: str | None, limit: int
) -> web.Response:
    hub = request.config_dict[HUB]
    limit = min(limit, hub.policy.page_size_max)
    listed = await in_thread(request, reading.worklist_of, hub, viewer, limit=limit, wanted=wanted, after=after)
    offered = tuple(models.OfferedWork.of(offer) for offer in listed.offers)
    return answer(models.Offers(offers=offered, found=listed.found, next_after=listed.next_after))


def nothing() -> web.Response:
    """Answer that it is done."""
    return web.Response(status=204)


def task_id(request: web.Request) -> str:
    """Return the reading task of the path."""
    return request.match_info["reading_task_id"]


async def body_of(request: web.Request, model: type[BodyT]) -> BodyT:
    """Return the request's body. Raises Invalid, naming the fields and the rules they break, never their content."""
    try:
        return model.model_validate_json(await request.read() or b"{}")
    except ValidationError as exc:
        mistakes = exc.errors(include_url=False, include_input=False, include_context=False)
        words = (f"{'.'.join(map(str, mistake['loc'])) or 'body'}: {mistake['msg']}" for mistake in mistakes)
        raise Invalid("; ".join(words)) from None


def _limit(request: web.Request, default: int = models.PAGE_SIZE) -> int:
    text = request.query.get("limit", str(default))
    if not text.isdecimal() or len(text) > 6 or int(text) < 1:
        raise Invalid("limit must be a whole number from 1")
    return int(text)
