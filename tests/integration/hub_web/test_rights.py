"""Who may open what: every route as every role and as nobody; and whose studies each of them finds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import func, select, update

from reading_queue.db.tables import Agreement
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import may_follow_study, visible_sites
from reading_queue.services.hub import Hub
from reading_queue.web.app import build_app
from storage.ledger.tables import AuditEvent
from tests.integration.hub_web.county import (
    ADMINISTRATOR,
    AUTHOR,
    COORDINATOR,
    FIRST_SITE,
    OTHER_TECHNICIAN,
    SECOND_SITE,
    TECHNICIAN,
    VERIFIER,
    County,
)
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

STUDY, OTHER_STUDY = "1.2.3.1", "1.2.3.2"
LOGINS = {
    Role.TECHNICIAN: TECHNICIAN,
    Role.PHYSICIAN: AUTHOR,
    Role.COORDINATOR: COORDINATOR,
    Role.ADMINISTRATOR: ADMINISTRATOR,
}
T, P, C, A = Role.TECHNICIAN, Role.PHYSICIAN, Role.COORDINATOR, Role.ADMINISTRATOR
EVERYBODY, SITES = {T, P, C, A}, {T, C, A}
TASK, API_TASK = "/radiologist/cases/{case_id}/tasks/{reading_task_id}", "/api/v1/reading-tasks/{reading_task_id}"
FHIR = ("Task", "ImagingStudy", "ServiceRequest", "DiagnosticReport", "Patient")
NETWORK_PAGES = (
    "/coordinator/network",
    "/coordinator/network/organisations/{code}",
    "/coordinator/network/agreements/{agreement_id}",
    "/coordinator/network/physicians/{physician_id}",
)
NETWORK_OF_API = (
    "/network/organisations/{code}",
    "/network/agreements/{agreement_id}",
    "/network/physicians/{physician_id}",
)
NETWORK_ACTS = (
    "/coordinator/network/organisations/{code}/agreements",
    "/coordinator/network/agreements/{agreement_id}/end",
    "/coordinator/network/physicians/{physician_id}/duty",
    "/coordinator/network/physicians/{physician_id}/end",
    "/coordinator/network/organisations/{code}/people",
    "/coordinator/network/organisations/{code}/people/{account_id}",
    "/coordinator/network/organisations/{code}/people/{account_id}/end",
    "/api/v1/network/people",
    "/api/v1/network/people/{account_id}/end",
)
PUBLIC = {
    "GET /",
    "GET /login",
    "POST /login",
    "POST /language",
    "GET /static/vendor/{name}",
    "GET /static/{version}/{name}",
    "POST /api/v1/session",
    "GET /api/v1/openapi.json",
    "GET /fhir/metadata",
}
# Written apart from the code: who may use which route at all. What they find behind it is another question.
RIGHTS: dict[str, set[Role]] = {
    "POST /logout": EVERYBODY,
    **{f"{verb} /password": EVERYBODY for verb in ("GET", "POST")},
    "POST /api/v1/session/password": EVERYBODY,
    "PUT /api/v1/network/people/{account_id}": {C, A},
    "POST /api/v1/network/people/{account_id}/password": {A},
    "POST /coordinator/network/organisations/{code}/people/{account_id}/password": {A},
    "GET /events": EVERYBODY,
    "GET /clinic/": SITES,
    "POST /clinic/": SITES,
    "GET /clinic/studies/{site_id}/{study_uid}": EVERYBODY,
    "GET /clinic/cases/{case_id}/report.pdf": EVERYBODY,
    **{
        f"POST /clinic/cases/{{case_id}}/{verb}": SITES
        for verb in ("acknowledge", "answer", "withdraw", "resubmit", "identity", "join", "separate")
    },
    "POST /clinic/cases/{case_id}/receive": {T},
    "POST /api/v1/cases/{case_id}/receive": {T},
    "GET /radiologist/": {P},
    "POST /radiologist/": {P},
    "GET /radiologist/cases/{case_id}": {P},
    "GET /radiologist/cases/{case_id}/evidence": {P},
    **{f"POST {TASK}/{verb}": {P} for verb in ("claim", "decline", "heartbeat", "draft", "images", "orders")},
    **{f"POST {TASK}/{verb}": {P} for verb in ("submit", "sign", "sign-alone", "return", "release")},
    **{f"POST {TASK}/{verb}": {P} for verb in ("hold", "resume", "withdrawal", "return-to-site", "take-over")},
    f"POST {TASK}/nothing-to-amend": {P},
    "POST /radiologist/cases/{case_id}/amend": {P},
    "POST /radiologist/cases/{case_id}/void": {P},
    "POST /clinic/cases/{case_id}/void": {C},
    "POST /api/v1/cases/{case_id}/void": {P, C},
    "POST /api/v1/cases/{case_id}/void/decision": {P, C},
    f"POST {TASK}/evidence/remove": {P},
    f"POST {TASK}/consult": {P},
    "GET /radiologist/why-not": {P},
    "GET /radiologist/mdt": {P},
    "POST /radiologist/mdt/{mdt_id}": {P},
    "POST /radiologist/cases/{case_id}/mdt": {P},
    "POST /radiologist/why-not": {P},
    "POST /api/v1/why-not-me": {P},
    "GET /coordinator/cases/{case_id}/lateness": {C, A},
    "GET /api/v1/cases/{case_id}/lateness": {C, A},
    "GET /radiologist/cases/{case_id}/changes": {P},
    "GET /radiologist/cases/{case_id}/consults": {P},
    "POST /radiologist/cases/{case_id}/consults/{consult_id}": {P},
    "GET /api/v1/consults": {P},
    f"POST {API_TASK}/consult": {P},
    **{f"POST /api/v1/consults/{{consult_id}}/{verb}": {P} for verb in ("accept", "opinion", "decline", "withdraw")},
    "GET /coordinator/": {C, A},
    "POST /coordinator/escalations/{escalation_id}": {C, A},
    "GET /coordinator/cases/{case_id}/candidates": {C, A},
    "POST /coordinator/cases/{case_id}/candidates": {C, A},
    "POST /coordinator/cases/{case_id}/take-back": {C},
    "GET /api/v1/cases/{case_id}/candidates": {C, A},
    "GET /coordinator/cases/{case_id}/decisions": {C, A},
    "GET /api/v1/cases/{case_id}/decisions": {C, A},
    "POST /api/v1/cases/{case_id}/assign": {C, A},
    "GET /api/v1/escalations": {C, A},
    "POST /api/v1/escalations/{escalation_id}/acknowledge": {P, C, A},
    "GET /api/v1/duty-director": {P, C, A},
    "PUT /api/v1/network/organisations/{code}/directors/{login}": {C, A},
    "POST /coordinator/network/organisations/{code}/directors": {C, A},
    "GET /radiologist/escalations": {P},
    "POST /radiologist/escalations/{escalation_id}": {P},
    **{f"POST /radiologist/{verb}": {P} for verb in ("away", "back")},
    **{f"POST /coordinator/physicians/{{physician_id}}/{verb}": {C, A} for verb in ("away", "back")},
    "GET /api/v1/presence": {P},
    **{f"POST /api/v1/presence/{verb}": {P} for verb in ("away", "back")},
    "GET /api/v1/absences": {C, A},
    **{f"POST /api/v1/physicians/{{physician_id}}/{verb}": {C, A} for verb in ("away", "back")},
    **{f"{verb} {path}": {C, A} for verb in ("GET", "POST") for path in NETWORK_PAGES},
    **{f"POST {path}": {C, A} for path in NETWORK_ACTS},
    **{f"{verb} /coordinator/network/import": {A} for verb in ("GET", "POST")},
    "POST /coordinator/network/import/confirm": {A},
    "GET /coordinator/network/export": {A},
    "POST /api/v1/network/import": {A},
    "GET /api/v1/network/document": {A},
    "GET /coordinator/network/organisations/{code}/duty": {C, A},
    "GET /api/v1/network/organisations": {C, A},
    "GET /api/v1/network/organisations/{code}/duty": {C, A},
    "POST /api/v1/network/agreements/{agreement_id}/end": {C, A},
    "PUT /api/v1/network/physicians/{physician_id}/duty": {C, A},
    **{f"{verb} /api/v1{path}": {C, A} for verb in ("GET", "PUT") for path in NETWORK_OF_API},
    "GET /coordinator/links": {C, A},
    "POST /coordinator/links": {C, A},
    "POST /coordinator/links/{link_id}": {C, A},
    "GET /coordinator/orders": {C, A},
    "GET /coordinator/order-messages": {C, A},
    "GET /coordinator/order-messages/{message_id}": {C, A},
    **{f"POST /coordinator/order-messages/{{message_id}}/{verb}": {C, A} for verb in ("retry", "dismiss")},
    "POST /coordinator/orders/{order_id}/match": {C, A},
    **{f"{method} /coordinator/order-messages/{{message_id}}/order": {C, A} for method in ("GET", "POST")},
    "GET /clinic/orders": SITES,
    "GET /clinic/orders/all": SITES,
    "POST /clinic/orders/all": SITES,
    "GET /clinic/orders/new": SITES,
    "POST /clinic/orders/new": SITES,
    "GET /clinic/orders/{order_id}": SITES,
    "GET /clinic/orders/{order_id}/change": SITES,
    "POST /clinic/orders/{order_id}/change": SITES,
    "POST /clinic/orders/{order_id}/notes": SITES,
    "POST /clinic/orders/{order_id}/cancel": SITES,
    "POST /clinic/orders/{order_id}/match": SITES,
    "GET /api/v1/orders": SITES,
    "POST /api/v1/orders": SITES,
    "POST /api/v1/orders/search": SITES,
    "GET /api/v1/orders/unmatched": SITES,
    "GET /api/v1/orders/{order_id}": SITES,
    "PATCH /api/v1/orders/{order_id}": SITES,
    "POST /api/v1/orders/{order_id}/notes": SITES,
    "POST /api/v1/orders/{order_id}/cancel": SITES,
    "POST /api/v1/orders/{order_id}/match": SITES,
    "GET /coordinator/jobs": {A},
    "POST /coordinator/jobs/retry": {A},
    **{f"POST /coordinator/jobs/{{dead_job_id}}/{verb}": {A} for verb in ("retry", "dismiss")},
    "GET /coordinator/quarantine": {C, A},
    "POST /coordinator/quarantine": {C, A},
    "GET /coordinator/stored": {C, A},
    "GET /coordinator/retention": {C, A},
    "POST /coordinator/retention/holds/{hold_id}": {C, A},
    "POST /coordinator/retention/requests/{request_id}": {C, A},
    "GET /coordinator/studies/{site_id}/{study_uid}": {C, A},
    **{
        f"POST /coordinator/studies/{{site_id}}/{{study_uid}}/{verb}": {C, A}
        for verb in ("verify", "hold", "deletion", "export")
    },
    "DELETE /api/v1/session": EVERYBODY,
    "POST /api/v1/session/reauthentication": EVERYBODY,
    "GET /api/v1/me": EVERYBODY,
    "GET /api/v1/offers": {P},
    "POST /api/v1/offers/search": {P},
    "GET /api/v1/held": {P},
    **{
        f"POST {API_TASK}/{verb}": {P}
        for verb in (
            "claim",
            "heartbeat",
            "acknowledge-images",
            "acknowledge-orders",
            "submit",
            "sign",
            "sign-alone",
        )
    },
    **{f"POST {API_TASK}/{verb}": {P} for verb in ("return", "decline")},
    f"POST {API_TASK}/release": {P, C},
    f"PUT {API_TASK}/draft": {P},
    "GET /api/v1/led": {P},
    **{f"POST {API_TASK}/{verb}": {P} for verb in ("take-over", "hold", "resume", "withdrawal", "nothing-to-amend")},
    "POST /api/v1/information-requests/{request_id}": SITES,
    "POST /api/v1/cases/{case_id}/withdraw": SITES,
    "GET /api/v1/cases/{case_id}/preliminary": SITES,
    "POST /api/v1/preliminary-reports/{submission_id}/acknowledge": SITES,
    "GET /api/v1/cases/{case_id}/partners": SITES,
    "GET /api/v1/orders/{order_id}/further-studies": SITES,
    "POST /api/v1/cases/{case_id}/join": SITES,
    "POST /api/v1/cases/{case_id}/separate": SITES,
    **{
        f"POST /api/v1/identity-conflicts/{{conflict_id}}/{verb}": SITES
        for verb in ("confirm", "unlink", "correct-order")
    },
    "POST /api/v1/cases/{case_id}/resubmit": SITES,
    "POST /api/v1/cases/{case_id}/return-to-site": {P, C},
    "POST /api/v1/cases/{case_id}/amend": {P},
    "GET /api/v1/cases/{case_id}": EVERYBODY,
    "GET /api/v1/cases/{case_id}/report.pdf": EVERYBODY,
    "GET /api/v1/studies": SITES,
    "POST /api/v1/studies/search": SITES,
    "GET /api/v1/studies/{study_uid}/custody": EVERYBODY,
    "GET /api/v1/links": {C, A},
    "POST /api/v1/links/{link_id}": {C, A},
    "GET /api/v1/statistics": {C, A},
    "GET /api/v1/queues": {A},
    "GET /api/v1/dead-jobs": {A},
    "POST /api/v1/dead-jobs/retry": {A},
    **{f"POST /api/v1/dead-jobs/{{dead_job_id}}/{verb}": {A} for verb in ("retry", "dismiss")},
    **{f"GET /api/v1/order-messages{one}": {C, A} for one in ("", "/{message_id}")},
    **{f"POST /api/v1/order-messages/{{message_id}}/{verb}": {C, A} for verb in ("orders", "retry", "dismiss")},
    **{f"GET /fhir/{kind}": EVERYBODY for kind in FHIR},
    **{f"POST /fhir/{kind}/_search": EVERYBODY for kind in FHIR},
    **{f"GET /fhir/{kind}/{{id}}": EVERYBODY for kind in FHIR},
    "GET /dicomweb/workitems": EVERYBODY,
    "POST /dicomweb/workitems": {C, A},
    "GET /dicomweb/workitems/{workitem}": EVERYBODY,
    "POST /dicomweb/workitems/{workitem}": {P, C, A},
    "PUT /dicomweb/workitems/{workitem}/state": {P},
    "POST /dicomweb/workitems/{workitem}/cancelrequest": EVERYBODY,
    "POST /dicomweb/workitems/{workitem}/subscribers/{ae_title}": EVERYBODY,
    "DELETE /dicomweb/workitems/{workitem}/subscribers/{ae_title}": EVERYBODY,
    "POST /dicomweb/workitems/{workitem}/subscribers/{ae_title}/suspend": EVERYBODY,
    "GET /dicomweb/subscribers/{ae_title}": EVERYBODY,
}


def routes_of(app: web.Application) -> set[str]:
    """Return every route as `METHOD /pattern`; HEAD goes with GET."""
    found = set()
    for resource in app.router.resources():
        inner = resource._app.router.resources() if isinstance(resource, web.PrefixedSubAppResource) else [resource]
        found |= {f"{route.method} {one.canonical}" for one in inner for route in one}
    return {route for route in found if not route.startswith("HEAD ")}


def filled(pattern: str) -> str:
    """Return an address for a pattern; nothing behind it exists."""
    return re.sub(r"\{(\w+)\}", lambda match: {"site_id": "nowhere", "study_uid": "1.2"}.get(match[1], "none"), pattern)


def send(visitor: Visitor, route: str) -> int:
    method, pattern = route.split(" ")
    headers = {"X-CSRF-Token": visitor.csrf, "Content-Type": "application/json"}
    return visitor.send(method, filled(pattern), headers=headers, body=None if method == "GET" else "{}").status


def test_every_route_is_in_the_table(hub: Hub) -> None:
    assert routes_of(build_app(hub, assets_dir=Path("nowhere"))) == PUBLIC | RIGHTS.keys()


@pytest.mark.parametrize("role", list(Role))
def test_role_may_use_its_routes_and_no_others(browser_of: Callable[[str], Visitor], role: Role) -> None:
    ends_the_session = {"POST /logout", "DELETE /api/v1/session"}
    refused = set()
    visitor = browser_of(LOGINS[role])
    for route in sorted(RIGHTS.keys() - ends_the_session - {"GET /events"}):  # which does not end: test_live
        status = send(visitor, route)
        assert status < 500, route
        if status == 403:
            refused.add(route)
    assert refused == {route for route, roles in RIGHTS.items() if role not in roles}


def test_nobody_may_use_any_route_but_the_public_ones(visitor: Visitor) -> None:
    for route in RIGHTS:
        status = send(visitor, route)
        assert status == (401 if "/api/" in route or "/dicomweb/" in route or "/fhir/" in route else 303), route


@pytest.fixture
def two_studies(county: County) -> tuple[str, str]:
    """Return the cases of one study at each connected site."""
    return county.arrive(STUDY, patient="赵一"), county.arrive(OTHER_STUDY, site=SECOND_SITE, patient="钱二")


def test_technician_sees_the_own_site_alone(two_studies: tuple[str, str], browser_of: Callable[[str], Visitor]) -> None:
    browser = browser_of(TECHNICIAN)
    listed = browser.get("/clinic/").text
    assert "赵一" in listed
    assert "钱二" not in listed
    assert browser.get(f"/clinic/studies/{FIRST_SITE}/{STUDY}").status == 200
    assert browser.get(f"/clinic/studies/{SECOND_SITE}/{OTHER_STUDY}").status == 404


def test_refusal_of_what_one_may_not_see_equals_that_of_what_is_not_there(
    two_studies: tuple[str, str], program_of: Callable[[str], Visitor]
) -> None:
    program = program_of(OTHER_TECHNICIAN)
    hidden = program.call("GET", f"/studies/{STUDY}/custody?site_id={FIRST_SITE}")
    missing = program.call("GET", f"/studies/9.9.9/custody?site_id={FIRST_SITE}")
    assert hidden.status == 404
    assert hidden.json() == missing.json()


def test_coordinator_sees_the_sites_below_and_those_assisted_by_agreement(county: County, hub: Hub) -> None:
    with hub.transaction() as session:
        assert len(visible_sites(session, county.viewer(COORDINATOR), hub.clock())) == 23


def test_coordinator_of_an_assisting_hospital_sees_its_sites_while_the_agreement_is_in_force(
    county: County, hub: Hub, hub_clock: SteerableClock
) -> None:
    theirs = replace(county.viewer(COORDINATOR), organisation_id="linlan-diyi")
    with hub.transaction() as session:
        # The last minute of 2 March at the site is 15:59 UTC.
        last_day = {"valid_until": date(2026, 3, 2)}
        session.execute(update(Agreement).where(Agreement.assisting_organisation_id == "linlan-diyi").values(last_day))
        assert len(visible_sites(session, theirs, hub_clock.now.replace(hour=15, minute=59))) == 23
        assert visible_sites(session, theirs, hub_clock.now.replace(hour=16, minute=0)) == frozenset()


def test_physician_sees_what_is_offered_held_or_signed_by_them_and_no_more(
    two_studies: tuple[str, str], county: County, hub: Hub
) -> None:
    case_id, _ = two_studies

    def who_sees() -> set[str]:
        with hub.transaction() as session:
            return {
                login
                for login in (AUTHOR, VERIFIER, "zheng.an", "gu.ming")
                if may_follow_study(session, county.viewer(login), FIRST_SITE, STUDY, hub.clock())
            }

    assert who_sees() == {AUTHOR, VERIFIER, "zheng.an"}  # offered; gu.ming stands behind, at stage 3
    county.submit(case_id)
    assert who_sees() == {AUTHOR, VERIFIER, "zheng.an"}  # written by the first, offered for review to the others
    county.sign(case_id)
    assert who_sees() == {AUTHOR, VERIFIER}


def test_offer_that_ran_out_gives_no_right(
    two_studies: tuple[str, str], county: County, hub: Hub, hub_clock: SteerableClock
) -> None:
    hub_clock.advance(hub.policy.offer_ttl_s)
    with hub.transaction() as session:
        assert not may_follow_study(session, county.viewer(AUTHOR), FIRST_SITE, STUDY, hub.clock())


def test_every_look_at_a_study_is_audited_once_however_long_the_page_refreshes_itself(
    two_studies: tuple[str, str], browser_of: Callable[[str], Visitor], hub: Hub
) -> None:
    browser = browser_of(TECHNICIAN)
    page = f"/clinic/studies/{FIRST_SITE}/{STUDY}"
    browser.get(page)
    for _ in range(3):
        assert browser.get(page, HX_Request="true").status == 200
    with hub.transaction() as session:
        looks = select(func.count()).where(AuditEvent.event_code == "110110")
        assert session.scalar(looks) == 1
