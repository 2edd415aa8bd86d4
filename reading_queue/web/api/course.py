"""What may happen to a case besides being read, as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, joining, separating, site_returns, withdrawals
from reading_queue.services.corrections import voiding
from reading_queue.services.reading import reading
from reading_queue.services.reports import returns, site_preliminaries
from reading_queue.services.routing import assigning, escalating
from reading_queue.web.api import models, signing_models, site_models
from reading_queue.web.api.handlers import answer, body_of, nothing, task_id
from reading_queue.web.keys import HUB, in_thread


async def led(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List what colleagues hold whom the caller leads."""
    found = await in_thread(request, reading.led_by, request.config_dict[HUB], viewer)
    return answer(models.Led(led=tuple(models.LedWork.of(one) for one in found)))


async def take_over(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take a colleague's reading task over."""
    given = await body_of(request, models.ReasonWords)
    task = await in_thread(request, reading.take_over, request.config_dict[HUB], viewer, task_id(request), given.reason)
    return answer(models.Task(task=task))


async def ask_site(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Ask the site for what is missing; the case is on hold until it answers."""
    given = await body_of(request, models.SiteQuestion)
    what = task_id(request), given.wants, given.question
    asked = await in_thread(request, reading.ask_site, request.config_dict[HUB], viewer, *what)
    return answer(models.Asked(request_id=asked), status=201)


async def resume(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Read on without the site's answer."""
    await in_thread(request, reading.resume, request.config_dict[HUB], viewer, task_id(request))
    return nothing()


async def answer_site_request(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer what the reader asks."""
    given, request_id = await body_of(request, models.Words), request.match_info["request_id"]
    await in_thread(request, holds.answer_site_request, request.config_dict[HUB], viewer, request_id, given.words)
    return nothing()


async def withdraw(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take a case back, or ask its reader for it."""
    given, case_id = await body_of(request, models.Words), request.match_info["case_id"]
    done = await in_thread(request, withdrawals.withdraw, request.config_dict[HUB], viewer, case_id, given.words)
    return answer(models.Withdrawal(withdrawn=done))


async def answer_withdrawal(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let a case go that its site wants back, or go on reading."""
    given, hub = await body_of(request, models.WithdrawalAnswer), request.config_dict[HUB]
    await in_thread(
        request,
        reading.answer_withdrawal,
        hub,
        viewer,
        task_id(request),
        accept=given.accept,
        reason=given.reason,
    )
    return nothing()


async def return_to_site(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Send a case back to its site."""
    given, case_id = await body_of(request, models.SiteReturn), request.match_info["case_id"]
    hub = request.config_dict[HUB]
    await in_thread(request, reading.return_to_site, hub, viewer, case_id, given.reason, given.words)
    return nothing()


async def resubmit(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have a case that was sent back read again."""
    given, case_id = await body_of(request, models.Words), request.match_info["case_id"]
    await in_thread(request, site_returns.resubmit, request.config_dict[HUB], viewer, case_id, given.words)
    return nothing()


async def preliminary(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show what the author of an emergency's report has signed, while the second physician has not."""
    hub, case_id = request.config_dict[HUB], request.match_info["case_id"]
    found = await in_thread(request, site_preliminaries.preliminary_of, hub, viewer, case_id)
    return answer(site_models.Preliminary(preliminary=found))


async def acknowledge_preliminary(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that the preliminary report was seen, and who was told."""
    given, hub = await body_of(request, site_models.Told), request.config_dict[HUB]
    what = request.match_info["submission_id"], given.told
    first = await in_thread(request, site_preliminaries.acknowledge, hub, viewer, *what)
    return answer(site_models.PreliminarySeen(is_first=first))


async def receive(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that the clinic has the signed report, though none of its systems has."""
    given, case_id = await body_of(request, site_models.Received), request.match_info["case_id"]
    await in_thread(request, returns.receive_by_hand, request.config_dict[HUB], viewer, case_id, given.report_id)
    return nothing()


async def partners(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the cases of the same patient with which a case may be read together."""
    hub, case_id = request.config_dict[HUB], request.match_info["case_id"]
    return answer(site_models.Partners(partners=await in_thread(request, joining.partners_of, hub, viewer, case_id)))


async def join(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have the studies of another case read with those of this one."""
    given, case_id = await body_of(request, site_models.Joining), request.match_info["case_id"]
    what = case_id, given.other_case_id, given.reason
    await in_thread(request, joining.join_cases, request.config_dict[HUB], viewer, *what)
    return nothing()


async def separate(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have one study of a case read alone."""
    given, case_id = await body_of(request, site_models.Separation), request.match_info["case_id"]
    what = case_id, given.study_uid, given.reason
    alone = await in_thread(request, separating.separate_study, request.config_dict[HUB], viewer, *what)
    return answer(site_models.Separated(case_id=alone), status=201)


async def amend(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Begin to write a signed report again."""
    given, case_id = await body_of(request, models.Amendment), request.match_info["case_id"]
    hub = request.config_dict[HUB]
    task = await in_thread(request, reading.open_addendum, hub, viewer, case_id, given.kind, given.reason)
    return answer(models.Task(task=task), status=201)


async def void(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that a signed report is about the wrong patient."""
    given, case_id = await body_of(request, models.Words), request.match_info["case_id"]
    await in_thread(request, voiding.ask_to_void, request.config_dict[HUB], viewer, case_id, given.words)
    return nothing()


async def decide_voiding(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Decide, as a second person, whether a signed report counts."""
    given, case_id = await body_of(request, models.VoidingDecision), request.match_info["case_id"]
    hub, use_case = request.config_dict[HUB], voiding.decide_voiding
    await in_thread(request, use_case, hub, viewer, case_id, is_void=given.is_void, reason=given.reason)
    return nothing()


async def nothing_to_amend(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Leave a signed report as it is."""
    given = await body_of(request, signing_models.Stands)
    hub, said = request.config_dict[HUB], {"images": given.images_version}
    await in_thread(request, reading.nothing_to_amend, hub, viewer, task_id(request), given.reason, **said)
    return nothing()


async def candidates(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say who may read a case's open task and why the others may not, and what was decided so far."""
    case_id = request.match_info["case_id"]
    found = await in_thread(request, assigning.list_candidates, request.config_dict[HUB], viewer, case_id)
    return answer(models.Candidates(routing=found))


async def assign(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Offer a case to one physician instead of anybody else."""
    given, case_id = await body_of(request, models.Assignment), request.match_info["case_id"]
    what = (case_id, given.physician_id, given.reason)
    await in_thread(request, assigning.assign, request.config_dict[HUB], viewer, *what)
    return nothing()


async def escalations(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the cases whose clock tells a person."""
    found = await in_thread(request, escalating.list_escalations, request.config_dict[HUB], viewer)
    return answer(models.Escalations(escalations=found))


async def duty_director(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say what the caller was told of as duty director."""
    hub = request.config_dict[HUB]
    told = await in_thread(request, escalating.list_told, hub, viewer)
    directed = await in_thread(request, escalating.find_directed, hub, viewer)
    return answer(models.DutyDirectorAnswer(director_of=directed, escalations=told))


async def acknowledge(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Write that the caller has seen an escalation and acts."""
    escalation_id = request.match_info["escalation_id"]
    await in_thread(request, escalating.acknowledge, request.config_dict[HUB], viewer, escalation_id)
    return nothing()
