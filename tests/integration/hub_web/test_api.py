"""The JSON API as the demonstration's physicians use it: from the offer to the signed report."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Case
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Study
from tests.integration.hub_web.county import (
    AUTHOR,
    COORDINATOR,
    FIRST_SITE,
    PASSWORD,
    TECHNICIAN,
    TEXT,
    VERIFIER,
    County,
)
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

STUDY = "1.2.3.1"
WRITTEN = TEXT.model_dump()


@pytest.fixture
def case_id(county: County) -> str:
    return county.arrive(STUDY)


def test_two_physicians_bring_a_study_from_offer_to_signed_report(
    program_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    author, verifier = program_of(AUTHOR), program_of(VERIFIER)
    (offer,) = author.call("GET", "/offers").json()["offers"]
    assert (offer["case_id"], offer["study_uids"], offer["phase"]) == (case_id, [STUDY], "interpretation")
    assert offer["why"]["stage"] == 1
    task = f"/reading-tasks/{offer['reading_task_id']}"
    assert author.call("POST", f"{task}/claim").json()["task"]["state"] == "in_progress"
    assert author.call("GET", "/held").json()["held"][0]["reading_task_id"] == offer["reading_task_id"]
    assert author.call("PUT", f"{task}/draft", WRITTEN).json()["draft"]["version"] == 1
    assert author.call("POST", f"{task}/heartbeat").status == 200
    assert author.call("POST", f"{task}/submit", WRITTEN | author.seen(case_id)).status == 200
    county.run_jobs()
    (review,) = verifier.call("GET", "/offers").json()["offers"]
    review_task = f"/reading-tasks/{review['reading_task_id']}"
    verifier.call("POST", f"{review_task}/claim")
    report_id = verifier.call("POST", f"{review_task}/sign", verifier.seen(case_id)).json()["report_id"]
    case = verifier.call("GET", f"/cases/{case_id}").json()["case"]
    assert case["report"]["report_id"] == report_id
    assert case["report"]["content"]["findings"] == TEXT.findings


def test_images_that_came_since_a_program_was_shown_the_case_are_neither_acknowledged_nor_signed(
    program_of: Callable[[str], Visitor], county: County, case_id: str, hub: Hub
) -> None:
    author, task = program_of(AUTHOR), f"/reading-tasks/{county.task(case_id)}"
    author.call("POST", f"{task}/claim")
    shown = author.seen(case_id)
    with hub.transaction() as session:
        session.execute(update(Case).values(images_version=Case.images_version + 1, images_unacknowledged=True))
        session.execute(update(Study).values(instance_count=Study.instance_count + 2))
    for deed, said in (("acknowledge-images", {}), ("submit", WRITTEN)):
        refused = author.call("POST", f"{task}/{deed}", said | shown)
        told = refused.json()
        assert (refused.status, told["code"], told["arrived_count"]) == (409, "images_changed", 2)
    for deed in ("acknowledge-images", "submit", "sign", "sign-alone", "nothing-to-amend"):
        unsaid = author.call("POST", f"{task}/{deed}", {})
        assert (unsaid.status, "images_version" in unsaid.json()["detail"]) == (422, True), "of which images?"
    now = author.seen(case_id)
    assert author.call("POST", f"{task}/acknowledge-images", now).status == 204
    assert author.call("POST", f"{task}/submit", WRITTEN | now).status == 200


def test_loser_of_a_claim_gets_409_with_a_code(
    program_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    task = f"/reading-tasks/{county.task(case_id)}/claim"
    assert program_of(AUTHOR).call("POST", task).status == 200
    refused = program_of(VERIFIER).call("POST", task)
    assert (refused.status, refused.json()["code"]) == (409, "already_claimed")
    assert refused.headers["Content-Type"].startswith("application/problem+json")


def test_signature_needs_a_recent_password(
    program_of: Callable[[str], Visitor], county: County, case_id: str, hub: Hub, hub_clock: SteerableClock
) -> None:
    author, task = program_of(AUTHOR), f"/reading-tasks/{county.task(case_id)}"
    author.call("POST", f"{task}/claim")
    written = WRITTEN | author.seen(case_id)
    hub_clock.advance(hub.policy.reauthentication_s - 60)
    author.call("POST", f"{task}/heartbeat")
    hub_clock.advance(120)
    assert author.call("POST", f"{task}/submit", written).json()["code"] == "reauthentication_needed"
    assert author.call("POST", "/session/reauthentication", {"password": "wrong"}).status == 401
    assert author.call("POST", "/session/reauthentication", {"password": PASSWORD}).status == 200
    assert author.call("POST", f"{task}/submit", written).status == 200


def test_text_with_faults_is_refused_with_each_of_them(
    program_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    author, task = program_of(AUTHOR), f"/reading-tasks/{county.task(case_id)}"
    author.call("POST", f"{task}/claim")
    refused = author.call("POST", f"{task}/submit", {"findings": "____"} | author.seen(case_id))
    assert refused.status == 422
    assert len(refused.json()["problems"]) == 2


def test_warning_must_be_confirmed(program_of: Callable[[str], Visitor], county: County, case_id: str) -> None:
    author, task = program_of(AUTHOR), f"/reading-tasks/{county.task(case_id)}"
    author.call("POST", f"{task}/claim")
    text = {"findings": "右肺结节。", "impression": "左肺结节。"} | author.seen(case_id)
    refused = author.call("POST", f"{task}/submit", text)
    assert (refused.json()["code"], len(refused.json()["warnings"])) == ("confirmation_needed", 1)
    assert author.call("POST", f"{task}/submit", {**text, "confirm": True}).status == 200


def test_coordinator_may_take_a_task_away(program_of: Callable[[str], Visitor], county: County, case_id: str) -> None:
    author, task = program_of(AUTHOR), f"/reading-tasks/{county.task(case_id)}"
    author.call("POST", f"{task}/claim")
    assert program_of(COORDINATOR).call("POST", f"{task}/release", {"reason": "110513"}).status == 204
    assert author.call("POST", f"{task}/heartbeat").json()["code"] == "not_holder"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param({"login": TECHNICIAN}, "password", id="missing"),
        pytest.param({"login": TECHNICIAN, "password": "x", "admin": True}, "admin", id="unknown-key"),
        pytest.param(["a"], "body", id="no-object"),
    ],
)
def test_body_that_is_wrong_is_refused_by_field_and_never_quoted(visitor: Visitor, body: object, named: str) -> None:
    answer = visitor.call("POST", "/session", body)
    assert answer.status == 422
    assert named in answer.json()["detail"]
    assert TECHNICIAN not in answer.text


def test_broken_json_is_refused(visitor: Visitor) -> None:
    assert visitor.send("POST", "/api/v1/session", body="{").status == 422


def test_technician_pages_through_studies(program_of: Callable[[str], Visitor], county: County) -> None:
    for number in range(5):
        county.arrive(f"1.2.3.{number}", ago_s=100 - number)
    program = program_of(TECHNICIAN)
    seen, before = [], ""
    while before is not None:
        page = program.call("GET", f"/studies?limit=2&before={before}").json()
        seen += [study["study_uid"] for study in page["studies"]]
        before = page["next_before"]
    assert seen == [f"1.2.3.{number}" for number in (4, 3, 2, 1, 0)]
    assert program.call("GET", "/studies?limit=none").status == 422


def test_study_is_listed_before_the_catalogue_knows_its_patient(
    program_of: Callable[[str], Visitor], county: County
) -> None:
    county.declare(STUDY)
    (study,) = program_of(TECHNICIAN).call("GET", "/studies").json()["studies"]
    assert (study["state"], study["patient_name"]) == ("receiving", "")


def test_custody_names_every_hop_with_its_time(program_of: Callable[[str], Visitor], case_id: str) -> None:
    lines = program_of(COORDINATOR).call("GET", f"/studies/{STUDY}/custody?site_id={FIRST_SITE}").json()["custody"]
    assert [line["hop"] for line in lines] == ["received", "completed", "uploaded", "catalogued", "offered"]
    assert all(line["at"] for line in lines)


def test_statistics_count_what_arrived_and_who_is_connected(program_of: Callable[[str], Visitor], case_id: str) -> None:
    figures = program_of(COORDINATOR).call("GET", "/statistics").json()
    assert figures["today"][0]["site_id"] == FIRST_SITE
    assert sum(figures["today"][0]["by_hour"]) == 1
    connections = [site["connection"] for site in figures["coverage"]["sites"]]
    assert (connections.count("connected"), connections.count("never_seen")) == (2, 21)


def test_description_names_every_operation(visitor: Visitor) -> None:
    described = visitor.call("GET", "/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    operations = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert ("post", "/reading-tasks/{reading_task_id}/sign") in operations
    assert ("post", "/session") in operations
    schemas = described["components"]["schemas"]
    referred = set(str(described).split("#/components/schemas/")[1:])
    assert {reference.split("'")[0] for reference in referred} <= schemas.keys()
