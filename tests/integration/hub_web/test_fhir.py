"""Orders, cases and studies as FHIR clients find them; what FHIR R4 says of each is written here a second time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from reading_queue.domain.fhir_content import INCLUDES, ORDER_STATUS, REVINCLUDES, TASK_STATUS
from reading_queue.domain.transitions import CaseState
from reading_queue.services.hub import Hub
from reading_queue.services.worklists.fhir_kinds import KINDS, SEARCHED, FhirQuery
from reading_queue.services.worklists.fhir_views import search_resources
from reading_queue.web.fhir import handlers
from storage.contract.orders import OrderState
from storage.ledger.tables import AuditEvent
from tests.integration.hub_web.county import AUTHOR, COORDINATOR, FIRST_SITE, OTHER_TECHNICIAN, TECHNICIAN, County
from tests.integration.hub_web.serving import Answer, Visitor
from tests.integration.hub_web.test_order_card import hand_in_order
from tests.support.clock import SteerableClock
from tests.support.statements import statements

pytestmark = pytest.mark.postgres

STUDY, OTHER = "1.2.3.1", "1.2.3.2"
ProgramOf = Callable[[str], Visitor]
# http://hl7.org/fhir/R4: required elements and required bindings.
NEEDED = {
    "Task": {"status", "intent"},
    "ImagingStudy": {"status", "subject"},
    "ServiceRequest": {"status", "intent", "subject"},
    "DiagnosticReport": {"status", "code", "issued", "resultsInterpreter"},
    "Patient": set[str](),
}
TASK_STATES = {"draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress"}
TASK_STATES |= {"on-hold", "failed", "completed", "entered-in-error"}
REQUEST_STATES = {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def ask(visitor: Visitor, path: str, **parameters: str) -> Answer:
    return visitor.send("GET", f"/fhir/{path}{'?' if parameters else ''}{urlencode(parameters)}")


def found(visitor: Visitor, kind: str, **parameters: str) -> list[dict[str, Any]]:
    """Return the resources of one page, each looked at as FHIR R4 defines it."""
    answer = ask(visitor, kind, **parameters)
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/fhir+json")
    page = answer.json()
    assert (page["resourceType"], page["type"]) == ("Bundle", "searchset")
    resources = [entry["resource"] for entry in page.get("entry", [])]
    for resource in resources:
        assert resource["resourceType"] == kind
        assert NEEDED[kind] <= resource.keys()
        assert INSTANT.fullmatch(resource["meta"]["lastUpdated"])
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", resource["id"])
        assert no_element_is_empty(resource)
    return resources


def no_element_is_empty(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(no_element_is_empty(one) for one in value.values())
    if isinstance(value, list):
        return bool(value) and all(no_element_is_empty(one) for one in value)
    return value not in (None, "")


def test_order_case_and_study_lead_to_each_other(hub: Hub, county: County, program_of: ProgramOf) -> None:
    case_id = county.arrive(STUDY)
    hand_in_order(hub)
    reader = program_of(AUTHOR)
    (task,) = found(reader, "Task")
    assert (task["id"], task["status"], task["businessStatus"]["coding"][0]["code"]) == (
        case_id,
        "requested",
        "offered",
    )
    study = ask(reader, task["focus"]["reference"]).json()
    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    order = ask(reader, task["basedOn"][0]["reference"]).json()
    assert order["identifier"][0]["value"] == "A1"
    assert order["subject"]["display"] == "李小明"
    assert "identity" not in ask(reader, task["basedOn"][0]["reference"]).text
    county.submit(case_id)
    county.sign(case_id, confirm_identity=True)
    (signed,) = found(reader, "Task")
    assert (signed["status"], signed["businessStatus"]["coding"][0]["code"]) == ("completed", "final")
    (report,) = found(reader, "DiagnosticReport", accession="A1", status="final")
    assert (report["status"], report["conclusion"]) == ("final", "右肺上叶磨玻璃结节，建议随访。")
    assert len(report["resultsInterpreter"]) == 2
    assert report["imagingStudy"] == [task["focus"]]
    assert report["basedOn"] == task["basedOn"]
    assert found(reader, "DiagnosticReport", status="corrected,appended,entered-in-error") == []
    assert ask(reader, f"DiagnosticReport/{report['id']}").json() == report
    with hub.transaction() as session:
        codes = set(session.scalars(select(AuditEvent.event_code).where(AuditEvent.object_kind == "Task")))
    assert codes == {"110112"}


@pytest.mark.parametrize("kind", ["Task", "ImagingStudy", "ServiceRequest"])
def test_each_key_finds_what_it_names_and_nothing_else(
    hub: Hub, county: County, program_of: ProgramOf, kind: str
) -> None:
    county.arrive(STUDY)
    hand_in_order(hub)
    coordinator = program_of(COORDINATOR)
    (resource,) = found(coordinator, kind)
    subject = resource.get("subject") or resource["for"]
    patient, patient_id = subject["identifier"], subject["reference"].removeprefix("Patient/")
    named, number, accession = (
        resource["identifier"][0],
        patient["value"],
        f"urn:counterpart:site:{FIRST_SITE}:accession",
    )
    changed = resource["meta"]["lastUpdated"]
    for name, hit, miss in (
        ("identifier", named["value"], "nothing"),
        ("identifier", f"{named['system']}|{named['value']}", f"urn:x|{named['value']}"),
        ("accession", "A1", "A2"),
        ("accession", f"{accession}|A1", "urn:counterpart:site:another:accession|A1"),
        ("patient", patient_id, "nobody"),
        ("patient", f"Patient/{patient_id}", "nobody"),
        ("patient.identifier", number, "nobody"),
        ("patient.identifier", f"{patient['system']}|{number}", f"urn:counterpart:site:another:patient|{number}"),
        ("status", resource["status"], "entered-in-error"),
        ("_lastUpdated", "ge2000-01-01", "lt2000-01-01T00:00:00Z"),
        ("_lastUpdated", changed, f"ne{changed}"),  # FHIR R4 3.1.1.4.7: a moment is as long as it is precise
        ("_lastUpdated", f"le{changed[:10]}", f"gt{changed[:10]}"),
        ("_lastUpdated", f"ge{changed}", f"gt{changed}"),
        ("_lastUpdated", f"eq{changed[:7]}", f"sa{changed[:4]}"),
        ("_lastUpdated", f"le{changed[:16]}Z", f"lt{changed[:19]}Z"),
    ):
        assert len(found(coordinator, kind, **{name: hit})) == 1, (name, hit)
        assert found(coordinator, kind, **{name: miss}) == [], (name, miss)


def test_pages_lead_through_everything_once(county: County, program_of: ProgramOf, hub_clock: SteerableClock) -> None:
    cases = {county.arrive(f"1.2.3.{number}", ago_s=90 + number) for number in range(5)}
    coordinator, seen, path = program_of(COORDINATOR), [], "Task?_count=2"
    while path:
        page = coordinator.send("GET", f"/fhir/{path}").json()
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        path = following[0].partition("/fhir/")[2] if following else ""
        hub_clock.advance(1)
        county.arrive(f"1.2.4.{len(seen)}")  # what comes meanwhile shifts nothing
    assert len(seen) == 5
    assert set(seen) == cases


def test_search_by_form_finds_the_same_and_keeps_numbers_out_of_the_address(
    hub: Hub, county: County, program_of: ProgramOf
) -> None:
    county.arrive(STUDY)
    hand_in_order(hub)
    reader, form = program_of(AUTHOR), {"Content-Type": "application/x-www-form-urlencoded"}
    (task,) = found(reader, "Task")
    hit = {"patient.identifier": task["for"]["identifier"]["value"], "_format": "json"}
    by_form = reader.send("POST", "/fhir/Task/_search?status=requested", body=urlencode(hit), headers=form)
    assert [entry["resource"] for entry in by_form.json()["entry"]] == [task]
    missed = reader.send("POST", "/fhir/Task/_search", body="accession=A2", headers=form)
    assert (missed.status, missed.json().get("entry")) == (200, None)
    for body, kind, status in (
        ("name=x", form["Content-Type"], 400),
        ("status=\udcff", form["Content-Type"], 400),
        ("{}", "application/fhir+json", 415),
        ("status=" + "x" * 20_000, form["Content-Type"], 413),
    ):
        sent = body.encode("utf-8", "surrogateescape")
        refused = reader.send("POST", "/fhir/Task/_search", body=sent, headers={"Content-Type": kind})
        assert (refused.status, refused.json()["resourceType"]) == (status, "OperationOutcome"), body[:20]


def test_patients_are_read_and_found_by_who_sees_a_study_of_theirs(
    hub: Hub, county: County, program_of: ProgramOf
) -> None:
    county.arrive(STUDY)
    hand_in_order(hub)
    reader = program_of(AUTHOR)
    (task,), (order,), (study,) = found(reader, "Task"), found(reader, "ServiceRequest"), found(reader, "ImagingStudy")
    reference = task["for"]["reference"]
    assert {order["subject"]["reference"], study["subject"]["reference"]} == {reference}
    patient = ask(reader, reference).json()
    assert found(reader, "Patient") == [patient]
    assert patient["identifier"] == [study["subject"]["identifier"]]
    assert (patient["name"][0]["text"], "gender" in patient, "birthDate" in patient) == ("赵䶮", True, True)
    assert "urn:counterpart:national" not in str(patient)
    number = patient["identifier"][0]["value"]
    assert number not in reference
    assert len(found(reader, "Patient", identifier=number)) == 1
    assert found(reader, "Patient", identifier=f"urn:counterpart:site:another:patient|{number}") == []
    assert ask(reader, "Patient", status="active").status == 400
    assert ask(program_of(OTHER_TECHNICIAN), reference).status == 404
    assert found(program_of(OTHER_TECHNICIAN), "Patient") == []
    included = ask(reader, "Task?_include=Task:patient").json()["entry"]
    assert [entry["resource"] for entry in included] == [task, patient]


def test_search_includes_what_refers_to_its_matches_by_every_reference_that_is_followed(
    hub: Hub, county: County, program_of: ProgramOf
) -> None:
    case_id = county.arrive(STUDY)
    hand_in_order(hub)
    county.submit(case_id)
    county.sign(case_id, confirm_identity=True)
    county.arrive(f"{STUDY}.2")
    coordinator, stranger = program_of(COORDINATOR), program_of(OTHER_TECHNICIAN)
    identifiers = {"Patient": "P.3.1", "ImagingStudy": STUDY, "ServiceRequest": "A1"}
    for kind, offered in REVINCLUDES.items():
        for name, (element, source) in offered.items():
            page = ask(coordinator, f"{kind}?identifier={identifiers[kind]}&_revinclude={name}:{kind}").json()
            match, *others = page["entry"]
            assert [match["search"]["mode"], *{one["search"]["mode"] for one in others}] == ["match", "include"], name
            reference, expected = f"{kind}/{match['resource']['id']}", []
            for one in found(coordinator, source):
                held = one[element] if isinstance(one[element], list) else [one[element]]
                expected += [one["id"]] if reference in [to.get("reference") for to in held] else []
            assert sorted(one["resource"]["id"] for one in others) == sorted(expected), name
            assert "entry" not in ask(stranger, f"{kind}?_revinclude={name}").json()
    for query in ("_revinclude=Task:owner", "_revinclude=Task:patient:Task", "_revinclude=*"):
        assert ask(coordinator, f"Patient?{query}").status == 400, query
    assert ask(coordinator, "Task?_revinclude=Task:focus").status == 400


def test_links_of_a_bundle_name_no_patient_and_lead_on_for_whom_they_were_made(
    hub: Hub, county: County, program_of: ProgramOf
) -> None:
    for number in (1, 2, 3):
        hand_in_order(hub, number)
    reader, form = program_of(COORDINATOR), {"Content-Type": "application/x-www-form-urlencoded"}
    asked = urlencode({"patient.identifier": "P.3.1", "_count": "1", "status": "active"})
    by_form = reader.send("POST", "/fhir/ServiceRequest/_search", body=asked, headers=form).json()
    for first in (by_form, ask(reader, f"ServiceRequest?{asked}").json()):
        seen, page = [], first
        while True:
            links = {link["relation"]: link["url"] for link in page["link"]}
            assert not any("P.3.1" in url or "patient.identifier" in url for url in links.values())
            assert all("status=active" in url for url in links.values())
            seen += [entry["resource"]["id"] for entry in page["entry"]]
            if "next" not in links:
                break
            page = reader.send("GET", f"/fhir/{links['next'].partition('/fhir/')[2]}").json()
        assert len(set(seen)) == len(seen) == 3
    again = by_form["link"][0]["url"].partition("/fhir/")[2]
    assert reader.send("GET", f"/fhir/{again}").json()["entry"] == by_form["entry"]
    for visitor, path in (
        (program_of(TECHNICIAN), again),
        (reader, again.replace("ServiceRequest?", "Task?")),
        (reader, again[:-4]),
        (reader, "Task?_sealed=%C3%A9"),
    ):
        refused = visitor.send("GET", f"/fhir/{path}")
        assert (refused.status, refused.json()["issue"][0]["code"]) == (400, "invalid"), path


def test_search_includes_what_its_matches_refer_to_and_counts_them_all(
    hub: Hub, county: County, program_of: ProgramOf
) -> None:
    for number in (1, 2, 3):
        case_id = county.arrive(f"{STUDY}.{number}", patient=f"赵{number}")
        hand_in_order(hub, number)
    county.submit(case_id)
    county.sign(case_id, confirm_identity=True)
    coordinator = program_of(COORDINATOR)
    query = "_include=Task:focus&_include=Task:based-on:ServiceRequest&_count=2&_total=accurate"
    page = ask(coordinator, f"Task?{query}").json()
    by_mode: dict[str, list[dict[str, Any]]] = {"match": [], "include": []}
    for entry in page["entry"]:
        by_mode[entry["search"]["mode"]].append(entry["resource"])
    assert (page["total"], len(by_mode["match"])) == (3, 2)
    wanted = {task["focus"]["reference"] for task in by_mode["match"]}
    wanted |= {one["reference"] for task in by_mode["match"] for one in task["basedOn"]}
    assert {f"{one['resourceType']}/{one['id']}" for one in by_mode["include"]} == wanted
    assert len(wanted) == 4
    (following,) = [link["url"] for link in page["link"] if link["relation"] == "next"]
    last = coordinator.send("GET", f"/fhir/{following.partition('/fhir/')[2]}").json()
    assert (last["total"], len(last["entry"])) == (3, 3)
    report = ask(coordinator, "DiagnosticReport?_include=DiagnosticReport:based-on").json()
    assert [entry["resource"]["resourceType"] for entry in report["entry"]] == ["DiagnosticReport", "ServiceRequest"]
    assert "total" not in report
    assert ask(coordinator, "Task?_total=accurate&status=failed").json()["total"] == 0
    for query in ("_include=Task:owner", "_include=Task:focus:Patient", "_include=*", "_total=all"):
        assert ask(coordinator, f"Task?{query}").status == 400, query


def test_who_holds_a_version_is_not_given_it_again(county: County, program_of: ProgramOf) -> None:
    case_id = county.arrive(STUDY)
    reader = program_of(AUTHOR)
    first = ask(reader, f"Task/{case_id}")
    tag = first.headers["ETag"]
    assert tag == f'W/"{first.json()["meta"]["versionId"]}"'
    changed_at = parsedate_to_datetime(first.headers["Last-Modified"])
    assert changed_at == datetime.fromisoformat(first.json()["meta"]["lastUpdated"]).replace(microsecond=0)
    held = {"If-None-Match": f'"other", {tag}'}
    again = reader.send("GET", f"/fhir/Task/{case_id}", headers=held)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    county.submit(case_id)
    newer = reader.send("GET", f"/fhir/Task/{case_id}", headers=held)
    assert (newer.status, newer.headers["ETag"] != tag) == (200, True)
    nobodys = program_of(OTHER_TECHNICIAN).send("GET", f"/fhir/Task/{case_id}", headers={"If-None-Match": "*"})
    assert nobodys.status == 404


@pytest.mark.parametrize("kind", ["Task", "ImagingStudy", "ServiceRequest", "DiagnosticReport", "Patient"])
def test_a_page_takes_as_many_statements_for_twelve_resources_as_for_one(hub: Hub, county: County, kind: str) -> None:
    def add(number: int) -> None:
        case_id = county.arrive(f"{STUDY}.{number}", patient=f"赵{number}")
        hand_in_order(hub, number)
        county.submit(case_id)
        county.sign(case_id, confirm_identity=True)

    coordinator, query = (
        county.viewer(COORDINATOR),
        FhirQuery(includes=tuple(INCLUDES.get(kind, ())), revincludes=tuple(REVINCLUDES.get(kind, ()))),
    )
    add(1)
    search_resources(hub, coordinator, kind, query)
    with statements(hub) as for_one:
        assert len(search_resources(hub, coordinator, kind, query).found.matches) == 1
    for number in range(2, 13):
        add(number)
    with statements(hub) as for_twelve:
        assert len(search_resources(hub, coordinator, kind, query).found.matches) == 12
    assert len(for_twelve) == len(for_one)


def test_whatever_is_wrong_is_an_operation_outcome(program_of: ProgramOf) -> None:
    coordinator = program_of(COORDINATOR)
    for method, path, status, issue in (
        ("GET", "Practitioner", 404, "not-found"),
        ("GET", "Patient/1", 404, "not-found"),
        ("GET", "Task/nothing", 404, "not-found"),
        ("PUT", "Task/nothing", 405, "not-supported"),
        ("GET", "Task?_count=many", 400, "invalid"),
        ("GET", "Task?accession=urn:x|", 400, "invalid"),
        ("GET", "Task?_format=xml", 406, "not-supported"),
    ):
        refused = coordinator.send(method, f"/fhir/{path}")
        assert refused.status == status, path
        assert refused.headers["Content-Type"].startswith("application/fhir+json"), path
        assert refused.json()["resourceType"] == "OperationOutcome"
        assert refused.json()["issue"][0]["code"] == issue
    for accept, status in (("application/fhir+xml", 406), ("text/html, application/json;q=0.5", 200), ("*/*", 200)):
        assert coordinator.send("GET", "/fhir/Task?_format=json", headers={"Accept": accept}).status == 200
        assert coordinator.send("GET", "/fhir/Task", headers={"Accept": accept}).status == status, accept


def test_what_one_may_not_see_is_not_there(hub: Hub, county: County, program_of: ProgramOf, visitor: Visitor) -> None:
    county.arrive(STUDY)
    hand_in_order(hub)
    outsider, technician = program_of(OTHER_TECHNICIAN), program_of(TECHNICIAN)
    for kind in ("Task", "ImagingStudy", "ServiceRequest"):
        (theirs,) = found(technician, kind)
        assert found(outsider, kind) == []
        refused = ask(outsider, f"{kind}/{theirs['id']}")
        assert (refused.status, refused.json()["resourceType"]) == (404, "OperationOutcome")
        nobody = ask(visitor, kind)
        assert (nobody.status, nobody.json()["issue"][0]["code"]) == (401, "login")


@pytest.mark.parametrize(
    "parameters",
    [
        {"name": "赵"},
        {"_lastUpdated": "yesterday"},
        {"_lastUpdated": "9999"},
        {"_count": "-1"},
        {"_lastUpdated": "ge2026-13-45"},
    ],
)
def test_search_that_makes_no_sense_is_refused_with_words(
    county: County, program_of: ProgramOf, parameters: dict[str, str]
) -> None:
    refused = ask(program_of(COORDINATOR), "Task", **parameters)
    assert refused.status == 400
    assert refused.json()["issue"][0]["diagnostics"]


def test_every_state_has_a_status_of_fhir() -> None:
    assert TASK_STATUS.keys() == set(CaseState)
    assert set(TASK_STATUS.values()) <= TASK_STATES
    assert ORDER_STATUS.keys() == set(OrderState)
    assert set(ORDER_STATUS.values()) <= REQUEST_STATES


def test_capability_statement_and_conformance_name_what_is_answered(visitor: Visitor) -> None:
    statement = ask(visitor, "metadata").json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    resources = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
    assert resources.keys() == set(KINDS)
    assert {(one["versioning"], one["conditionalRead"]) for one in resources.values()} == {("versioned", "not-match")}
    assert {name: one["searchInclude"] for name, one in resources.items() if "searchInclude" in one} == {
        name: list(offered) for name, offered in INCLUDES.items()
    }
    assert {name: one["searchRevInclude"] for name, one in resources.items() if "searchRevInclude" in one} == {
        name: list(offered) for name, offered in REVINCLUDES.items()
    }
    for name, one in resources.items():
        assert {parameter["name"]: parameter["type"] for parameter in one["searchParam"]} == SEARCHED[name]
    words = (Path(handlers.__file__).parent / "CONFORMANCE.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in words for name in (*KINDS, *handlers.parameters_of("Task"), *chain(*INCLUDES.values())))
    assert all(f"| {state} | {status}" in words for state, status in TASK_STATUS.items())
