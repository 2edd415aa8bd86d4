"""Every operation of the JSON API in one table: its address, who may use it, what it takes and gives.

The routes and the OpenAPI description are both made from it.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import EVERYBODY, Handler
from reading_queue.web.api import (
    consults,
    course,
    explaining,
    handlers,
    identity,
    jobs,
    models,
    network,
    network_models,
    order_messages,
    order_models,
    orders,
    presence,
    signing_models,
    site_models,
)
from reading_queue.web.api.openapi import describe
from reading_queue.web.api.operations import Operation
from reading_queue.web.order_lists import PLACES

PDF: Final = "application/pdf"
COORDINATORS: Final = (Role.COORDINATOR, Role.ADMINISTRATOR)
WITH_SITES: Final = (Role.TECHNICIAN, *COORDINATORS)
PHYSICIAN: Final = (Role.PHYSICIAN,)
ADMINISTRATOR: Final = (Role.ADMINISTRATOR,)


STUDY_QUERY: Final = ("before", "limit", "progress", "lane", "late", "day")
OFFER_QUERY: Final = ("after", "limit", "lane", "modality", "site_id", "phase", "late")
DIRECTORS: Final = (Role.PHYSICIAN, Role.COORDINATOR, Role.ADMINISTRATOR)
READS_OR_LEADS: Final = (Role.PHYSICIAN, Role.COORDINATOR)
CONSULT: Final = "/consults/{consult_id}"
CASE: Final = "/cases/{case_id}"
DEAD_JOB: Final = "/dead-jobs/{dead_job_id}"
DEAD_JOB_QUERY: Final = ("job", "error", "older_than_h")
DOUBT: Final = "/identity-conflicts/{conflict_id}"
TASK: Final = "/reading-tasks/{reading_task_id}"
NETWORK: Final = "/network/organisations"
ONE: Final = f"{NETWORK}/{{code}}"
AGREEMENT: Final = "/network/agreements/{agreement_id}"
PERSON: Final = "/network/physicians/{physician_id}"
ORDER: Final = "/orders/{order_id}"
MESSAGE: Final = "/order-messages/{message_id}"
ORDER_QUERY: Final = ("site_id", "state", "lane", "before", "limit")

OPERATIONS: Final = (
    Operation("DELETE", "/session", handlers.close_session, EVERYBODY),
    Operation(
        "POST",
        "/session/reauthentication",
        handlers.reauthenticate,
        EVERYBODY,
        models.Password,
        models.Reauthenticated,
    ),
    Operation("POST", "/session/password", handlers.change_password, EVERYBODY, models.PasswordChange),
    Operation("GET", "/me", handlers.me, EVERYBODY, None, models.Me),
    Operation("GET", "/offers", handlers.offers, PHYSICIAN, None, models.Offers, OFFER_QUERY),
    Operation("POST", "/offers/search", handlers.search_offers, PHYSICIAN, models.OfferSearch, models.Offers),
    Operation("GET", "/held", handlers.held, PHYSICIAN, None, models.Held),
    Operation("POST", f"{TASK}/claim", handlers.claim, PHYSICIAN, None, models.Task),
    Operation("POST", f"{TASK}/heartbeat", handlers.heartbeat, PHYSICIAN, None, models.Lease),
    Operation("POST", f"{TASK}/acknowledge-images", handlers.acknowledge_images, PHYSICIAN, signing_models.ImagesSeen),
    Operation("POST", f"{TASK}/acknowledge-orders", handlers.acknowledge_orders, PHYSICIAN, signing_models.OrdersSeen),
    Operation("PUT", f"{TASK}/draft", handlers.save_draft, PHYSICIAN, models.DraftText, models.Draft),
    Operation("POST", f"{TASK}/submit", handlers.submit, PHYSICIAN, signing_models.SubmittedText, models.Submitted),
    Operation("POST", f"{TASK}/sign", handlers.sign, PHYSICIAN, signing_models.FinalText, models.Signed),
    Operation("POST", f"{TASK}/sign-alone", handlers.sign_alone, PHYSICIAN, signing_models.SoleText, models.Signed),
    Operation("POST", f"{TASK}/return", handlers.return_to_author, PHYSICIAN, models.ReasonWords),
    Operation("POST", f"{TASK}/release", handlers.release, (Role.PHYSICIAN, Role.COORDINATOR), models.ReasonCode),
    Operation("POST", f"{TASK}/decline", handlers.decline, PHYSICIAN, models.ReasonCode),
    Operation("GET", "/led", course.led, PHYSICIAN, None, models.Led),
    Operation("POST", f"{TASK}/take-over", course.take_over, PHYSICIAN, models.ReasonWords, models.Task),
    Operation("POST", f"{TASK}/hold", course.ask_site, PHYSICIAN, models.SiteQuestion, models.Asked),
    Operation("POST", f"{TASK}/resume", course.resume, PHYSICIAN),
    Operation("POST", f"{TASK}/withdrawal", course.answer_withdrawal, PHYSICIAN, models.WithdrawalAnswer),
    Operation("POST", f"{TASK}/nothing-to-amend", course.nothing_to_amend, PHYSICIAN, signing_models.Stands),
    Operation("POST", "/information-requests/{request_id}", course.answer_site_request, WITH_SITES, models.Words),
    Operation("POST", f"{CASE}/withdraw", course.withdraw, WITH_SITES, models.Words, models.Withdrawal),
    Operation("POST", f"{CASE}/resubmit", course.resubmit, WITH_SITES, models.Words),
    Operation("POST", f"{CASE}/return-to-site", course.return_to_site, READS_OR_LEADS, models.SiteReturn),
    Operation("POST", f"{CASE}/void", course.void, READS_OR_LEADS, models.Words),
    Operation("POST", f"{CASE}/void/decision", course.decide_voiding, READS_OR_LEADS, models.VoidingDecision),
    Operation("POST", f"{CASE}/amend", course.amend, PHYSICIAN, models.Amendment, models.Task),
    Operation("GET", f"{CASE}/preliminary", course.preliminary, WITH_SITES, None, site_models.Preliminary),
    Operation(
        "POST",
        "/preliminary-reports/{submission_id}/acknowledge",
        course.acknowledge_preliminary,
        WITH_SITES,
        site_models.Told,
        site_models.PreliminarySeen,
    ),
    Operation("POST", f"{CASE}/receive", course.receive, (Role.TECHNICIAN,), site_models.Received),
    Operation("GET", f"{CASE}/partners", course.partners, WITH_SITES, None, site_models.Partners),
    Operation("POST", f"{CASE}/join", course.join, WITH_SITES, site_models.Joining),
    Operation("POST", f"{CASE}/separate", course.separate, WITH_SITES, site_models.Separation, site_models.Separated),
    Operation("POST", f"{DOUBT}/confirm", identity.confirm, WITH_SITES, models.ReasonWords),
    Operation("POST", f"{DOUBT}/unlink", identity.unlink, WITH_SITES, models.ReasonWords),
    Operation("POST", f"{DOUBT}/correct-order", identity.correct, WITH_SITES, site_models.OrderCorrection),
    Operation("GET", "/consults", consults.list_consults, PHYSICIAN, None, consults.Consults),
    Operation(
        "POST", f"{TASK}/consult", consults.ask_consult, PHYSICIAN, consults.ConsultQuestion, consults.ConsultAsked
    ),
    Operation("POST", f"{CONSULT}/accept", consults.accept_consult, PHYSICIAN),
    Operation("POST", f"{CONSULT}/opinion", consults.give_opinion, PHYSICIAN, models.Words),
    Operation("POST", f"{CONSULT}/decline", consults.decline_consult, PHYSICIAN, models.ReasonWords),
    Operation("POST", f"{CONSULT}/withdraw", consults.withdraw_consult, PHYSICIAN),
    Operation("GET", "/cases/{case_id}", handlers.case, EVERYBODY, None, models.CaseAnswer),
    Operation("GET", "/cases/{case_id}/report.pdf", handlers.report_pdf, EVERYBODY, None, PDF),
    Operation("GET", "/studies", handlers.studies, WITH_SITES, None, models.Studies, STUDY_QUERY),
    Operation("POST", "/studies/search", handlers.search_studies, WITH_SITES, models.StudySearch, models.Studies),
    Operation("GET", "/studies/{study_uid}/custody", handlers.custody, EVERYBODY, None, models.Custody, ("site_id",)),
    Operation("GET", "/orders", orders.orders, WITH_SITES, None, order_models.OrdersAnswer, ORDER_QUERY),
    Operation(
        "POST",
        "/orders/search",
        orders.search_orders,
        WITH_SITES,
        order_models.OrderSearchWords,
        order_models.OrdersAnswer,
    ),
    Operation("POST", "/orders", orders.enter_order, WITH_SITES, order_models.NewOrder, order_models.OrderAnswer),
    Operation("GET", "/orders/unmatched", orders.unmatched, WITH_SITES, None, order_models.UnmatchedAnswer, PLACES),
    Operation("GET", ORDER, orders.order, WITH_SITES, None, order_models.OrderAnswer),
    Operation("PATCH", ORDER, orders.change_order, WITH_SITES, order_models.ChangedOrder, order_models.OrderAnswer),
    Operation(
        "POST",
        f"{ORDER}/notes",
        orders.note_order,
        WITH_SITES,
        order_models.OrderNoteWords,
        order_models.OrderAnswer,
    ),
    Operation(
        "POST",
        f"{ORDER}/cancel",
        orders.cancel_order,
        WITH_SITES,
        order_models.OrderCancellation,
        order_models.OrderAnswer,
    ),
    Operation("GET", f"{ORDER}/further-studies", orders.further_studies, WITH_SITES, None, order_models.FurtherStudies),
    Operation("POST", f"{ORDER}/match", orders.decide_match, WITH_SITES, order_models.MatchDecision),
    Operation(
        "GET",
        "/order-messages",
        order_messages.list_messages,
        COORDINATORS,
        None,
        order_messages.Messages,
        ("all", "before", "limit"),
    ),
    Operation("GET", MESSAGE, order_messages.show_message, COORDINATORS, None, order_messages.MessageShown),
    Operation(
        "POST",
        f"{MESSAGE}/orders",
        order_messages.enter_order_of_message,
        COORDINATORS,
        order_models.CorrectedOrder,
        order_models.OrderAnswer,
    ),
    Operation("POST", f"{MESSAGE}/retry", order_messages.retry, COORDINATORS, None, order_messages.Tried),
    Operation("POST", f"{MESSAGE}/dismiss", order_messages.dismiss, COORDINATORS, models.ReasonWords),
    Operation("GET", f"{CASE}/lateness", explaining.lateness, COORDINATORS, None, explaining.LatenessAnswer),
    Operation("POST", "/why-not-me", explaining.why_not_me, PHYSICIAN, explaining.Number, explaining.WhyNotAnswer),
    Operation("GET", f"{CASE}/candidates", course.candidates, COORDINATORS, None, models.Candidates),
    Operation(
        "GET", f"{CASE}/decisions", explaining.decided, COORDINATORS, None, explaining.DecisionsAnswer, ("decision",)
    ),
    Operation("POST", f"{CASE}/assign", course.assign, COORDINATORS, models.Assignment),
    Operation("GET", "/escalations", course.escalations, COORDINATORS, None, models.Escalations),
    Operation("POST", "/escalations/{escalation_id}/acknowledge", course.acknowledge, DIRECTORS),
    Operation("GET", "/duty-director", course.duty_director, DIRECTORS, None, models.DutyDirectorAnswer),
    Operation("GET", NETWORK, network.organisations, COORDINATORS, None, network_models.Organisations),
    Operation("GET", ONE, network.organisation, COORDINATORS, None, network_models.OrganisationAnswer),
    Operation("PUT", ONE, network.put_organisation, COORDINATORS, network_models.Facts),
    Operation("GET", f"{ONE}/duty", network.duty, COORDINATORS, None, network_models.DutyAnswer, ("from",)),
    Operation("PUT", f"{ONE}/directors/{{login}}", network.put_director, COORDINATORS, network_models.DirectorDuty),
    Operation("GET", AGREEMENT, network.agreement, COORDINATORS, None, network_models.AgreementAnswer),
    Operation(
        "PUT", AGREEMENT, network.put_agreement, COORDINATORS, network_models.Terms, network_models.SavedAgreement
    ),
    Operation("POST", f"{AGREEMENT}/end", network.end_agreement, COORDINATORS, network_models.AgreementEnd),
    Operation("GET", PERSON, network.physician, COORDINATORS, None, network_models.PhysicianAnswer),
    Operation("PUT", PERSON, network.put_physician, COORDINATORS, network_models.Facts),
    Operation("PUT", f"{PERSON}/duty", network.put_duty, COORDINATORS, network_models.WrittenDuty),
    Operation(
        "POST",
        "/network/people",
        network.add_person,
        COORDINATORS,
        network_models.NewPerson,
        network_models.PersonAdded,
    ),
    Operation("PUT", "/network/people/{account_id}", network.put_person, COORDINATORS, network_models.Facts),
    Operation(
        "POST",
        "/network/people/{account_id}/password",
        network.reset_password,
        ADMINISTRATOR,
        None,
        network_models.TemporaryPassword,
    ),
    Operation("POST", "/network/people/{account_id}/end", network.end_person, COORDINATORS, network_models.PersonEnd),
    Operation(
        "POST",
        "/network/import",
        network.import_network,
        ADMINISTRATOR,
        network_models.NetworkFiles,
        network_models.NetworkPlan,
    ),
    Operation(
        "GET", "/network/document", network.network_document, ADMINISTRATOR, None, network_models.NetworkDocumentAnswer
    ),
    Operation("GET", "/presence", presence.own_absence, PHYSICIAN, None, network_models.OwnAbsence),
    Operation("POST", "/presence/away", presence.leave, PHYSICIAN, network_models.Away),
    Operation("POST", "/presence/back", presence.return_to_work, PHYSICIAN),
    Operation("GET", "/absences", presence.absences, COORDINATORS, None, network_models.Absences),
    Operation("POST", "/physicians/{physician_id}/away", presence.send_away, COORDINATORS, network_models.Away),
    Operation("POST", "/physicians/{physician_id}/back", presence.call_back, COORDINATORS),
    Operation("GET", "/links", handlers.links, COORDINATORS, None, models.Links, ("state", "after")),
    Operation("POST", "/links/{link_id}", handlers.decide_link, COORDINATORS, models.LinkDecision, models.Decided),
    Operation("GET", "/queues", jobs.show_queues, ADMINISTRATOR, None, jobs.Queues),
    Operation("GET", "/dead-jobs", jobs.list_dead_jobs, ADMINISTRATOR, None, jobs.DeadJobs, DEAD_JOB_QUERY),
    Operation("POST", "/dead-jobs/retry", jobs.retry_dead_jobs, ADMINISTRATOR, jobs.DeadJobChoice, jobs.Retried),
    Operation("POST", f"{DEAD_JOB}/retry", jobs.retry_dead_job, ADMINISTRATOR),
    Operation("POST", f"{DEAD_JOB}/dismiss", jobs.dismiss_dead_job, ADMINISTRATOR, models.ReasonWords),
    Operation("GET", "/statistics", handlers.show_statistics, COORDINATORS, None, models.Statistics),
)


async def openapi(_request: web.Request) -> web.StreamResponse:
    """Answer the description of this API."""
    return web.json_response(describe(OPERATIONS))


def _public(method: str, path: str, handler: Handler, name: str) -> web.RouteDef:
    return web.route(method, path, handler, name=name)


ROUTES: Final = (
    _public("POST", "/session", handlers.open_session, "api.open_session"),
    _public("GET", "/openapi.json", openapi, "api.openapi"),
    *(operation.route() for operation in OPERATIONS),
)
