"""A coordinator has a study read that came as a prior; what makes no sense is refused with words."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.dicomweb.county import SITE, County
from tests.integration.stow.made import images, study_of
from tests.integration.workitems.client import WORKITEMS, Worklist, code, new_transaction, sequence, value

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STATE, PRIORITY, TRANSACTION, INPUT, WORKITEM_CODE = "00741000", "00741200", "00081195", "00404021", "00404018"
LABEL, START, READINESS = "00741204", "00404005", "00404041"


def one(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def asked(study_uid: str, **other: Any) -> list[dict[str, Any]]:
    """Return what PS3.4 Table CC.2.5-3 wants of a new workitem; an attribute given as None is left out."""
    workitem = {
        "00081195": {"vr": "UI"},
        "00741200": one("CS", "HIGH"),
        "00741202": one("LO", "PRIORS"),
        "00741204": one("LO", "Read a prior"),
        "00404005": one("DT", "20260302080000+0800"),
        "00404018": sequence(code("110005", "DCM", "Interpretation")),
        "00404041": one("CS", "READY"),
        "00404021": sequence({"0020000D": one("UI", study_uid)}),
        "00741000": one("CS", "SCHEDULED"),
        "00741002": {"vr": "SQ"},
        "00741216": {"vr": "SQ"},
    }
    return [{tag: element for tag, element in (workitem | other).items() if element is not None}]


def test_prior_is_read_once_a_coordinator_asks_for_it(county: County, worklist_of: Callable[[str], Worklist]) -> None:
    study_uid = county.arrive(SITE, images(1), "prior")
    coordinator, reader, uid = worklist_of("coordinator"), worklist_of("reader"), new_transaction()
    assert reader.found() == []
    created = coordinator.send("POST", f"{WORKITEMS}?{uid}", asked(study_uid))
    assert created.status == 201, created.body
    assert created.headers["Content-Location"].endswith(f"{WORKITEMS}/{uid}")
    assert created.headers["Location"] == created.headers["Content-Location"]
    assert "created with modifications" in created.warning
    county.run_jobs()
    (workitem,) = reader.found(ProcedureStepState="SCHEDULED", ScheduledProcedureStepPriority="HIGH")
    assert (value(workitem, "00080018"), value(workitem, INPUT, "0020000D")) == (uid, study_uid)
    assert reader.change(uid, "IN PROGRESS", new_transaction()).status == 200
    again = coordinator.send("POST", f"{WORKITEMS}?{uid}", asked(study_uid))
    assert (again.status, again.ups_status()) == (409, "0111")
    second = coordinator.send("POST", WORKITEMS, asked(study_uid))
    assert (second.status, second.json()["code"]) == (409, "wrong_state")


def test_of_two_who_ask_for_one_uid_at_once_one_is_told_that_it_is_taken(
    county: County, worklist_of: Callable[[str], Worklist]
) -> None:
    studies = [county.arrive(SITE, images(number), "prior") for number in (1, 2)]
    coordinator, uid = worklist_of("coordinator"), new_transaction()
    with ThreadPoolExecutor(2) as threads:
        create = [threads.submit(coordinator.send, "POST", f"{WORKITEMS}?{uid}", asked(study)) for study in studies]
    replies = sorted((one.result() for one in create), key=lambda reply: reply.status)
    assert [reply.status for reply in replies] == [201, 409]
    assert replies[1].ups_status() == "0111"
    assert len(coordinator.found()) == 1


def test_what_a_new_workitem_cannot_have_is_refused_with_words_and_the_status_of_n_create(
    county: County, worklist_of: Callable[[str], Worklist]
) -> None:
    files = images(1)
    county.arrive(SITE, files, "prior")
    coordinator, study_uid = worklist_of("coordinator"), study_of(files[0])
    absent, empty, invalid = "0120", "0121", "0106"
    for wrong, status, words in (
        ({STATE: None}, absent, "Procedure Step State (0074,1000)"),
        ({LABEL: None}, absent, "Procedure Step Label (0074,1204)"),
        ({PRIORITY: None, START: None}, absent, "Priority (0074,1200), Scheduled Procedure Step Start DateTime"),
        ({READINESS: {"vr": "CS"}}, empty, "Input Readiness State (0040,4041)"),
        ({READINESS: one("CS", "SOON")}, invalid, "INCOMPLETE, READY, UNAVAILABLE"),
        ({START: one("DT", "tomorrow")}, invalid, "YYYYMMDDHHMMSS"),
        ({START: one("DT", "20261345")}, invalid, "YYYYMMDDHHMMSS"),
        ({STATE: one("CS", "IN PROGRESS")}, "C309", "SCHEDULED"),
        ({TRANSACTION: one("UI", "2.25.1")}, invalid, "Transaction UID (0008,1195)"),
        ({"00741002": sequence({"00741004": {"vr": "DS", "Value": [10]}})}, invalid, "(0074,1002)"),
        ({"00741216": sequence({"00404050": one("DT", "2026")})}, invalid, "(0074,1216)"),
        ({"00080016": one("UI", "1.2.840.10008.5.1.4.34.6.2")}, invalid, "1.2.840.10008.5.1.4.34.6.1"),
        ({PRIORITY: one("CS", "NOW")}, invalid, "HIGH, MEDIUM, LOW"),
        ({INPUT: sequence()}, invalid, "exactly one study"),
        ({WORKITEM_CODE: sequence(code("110007", "DCM", "Report Verification"))}, invalid, "110005"),
        ({WORKITEM_CODE: sequence(code("110005", "99OTHER", "Interpretation"))}, invalid, "110005"),
        ({"00100020": one("LO", "another")}, invalid, "Patient ID"),
    ):
        refused = coordinator.send("POST", WORKITEMS, asked(study_uid, **wrong))
        assert (refused.status, refused.ups_status()) == (400, status), wrong
        assert words in refused.json()["detail"], wrong
        assert refused.warning.startswith("299 ")
    two = coordinator.send("POST", f"{WORKITEMS}?2.25.7", asked(study_uid, **{"00080018": one("UI", "2.25.8")}))
    assert (two.status, two.ups_status()) == (400, invalid)
    assert coordinator.send("POST", WORKITEMS, asked("2.25.7")).status == 404
    assert coordinator.send("POST", WORKITEMS, asked("1\0")).status == 400
    assert coordinator.send("POST", f"{WORKITEMS}?nonsense", asked(study_uid)).status == 400
    assert worklist_of("reader").send("POST", WORKITEMS, asked(study_uid)).status == 403
    assert coordinator.found() == []
