"""A coordinator has a study read that came as a prior; what makes no sense is refused with words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.dicomweb.county import SITE, County
from tests.integration.stow.made import images, study_of
from tests.integration.workitems.client import WORKITEMS, Worklist, code, new_transaction, sequence, value

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STATE, PRIORITY, TRANSACTION, INPUT, WORKITEM_CODE = "00741000", "00741200", "00081195", "00404021", "00404018"


def asked(study_uid: str, **other: Any) -> list[dict[str, Any]]:
    of_study = {"0020000D": {"vr": "UI", "Value": [study_uid]}}
    return [{PRIORITY: {"vr": "CS", "Value": ["HIGH"]}, INPUT: sequence(of_study)} | other]


def test_prior_is_read_once_a_coordinator_asks_for_it(county: County, worklist_of: Callable[[str], Worklist]) -> None:
    study_uid = county.arrive(SITE, images(1), "prior")
    coordinator, reader, uid = worklist_of("coordinator"), worklist_of("reader"), new_transaction()
    assert reader.found() == []
    created = coordinator.send("POST", f"{WORKITEMS}?{uid}", asked(study_uid))
    assert created.status == 201, created.body
    assert created.headers["Content-Location"].endswith(f"{WORKITEMS}/{uid}")
    assert "created with modifications" in created.warning
    county.run_jobs()
    (workitem,) = reader.found(ProcedureStepState="SCHEDULED", ScheduledProcedureStepPriority="HIGH")
    assert (value(workitem, "00080018"), value(workitem, INPUT, "0020000D")) == (uid, study_uid)
    assert reader.change(uid, "IN PROGRESS", new_transaction()).status == 200
    again = coordinator.send("POST", f"{WORKITEMS}?{uid}", asked(study_uid))
    assert (again.status, again.ups_status()) == (409, "0111")
    second = coordinator.send("POST", WORKITEMS, asked(study_uid))
    assert (second.status, second.json()["code"]) == (409, "wrong_state")


def test_what_a_new_workitem_cannot_have_is_refused_with_words(
    county: County, worklist_of: Callable[[str], Worklist]
) -> None:
    files = images(1)
    county.arrive(SITE, files, "prior")
    coordinator, study_uid = worklist_of("coordinator"), study_of(files[0])
    for wrong, words in (
        ({STATE: {"vr": "CS", "Value": ["IN PROGRESS"]}}, "SCHEDULED"),
        ({TRANSACTION: {"vr": "UI", "Value": ["2.25.1"]}}, "empty"),
        ({PRIORITY: {"vr": "CS", "Value": ["NOW"]}}, "HIGH, MEDIUM or LOW"),
        ({INPUT: sequence()}, "exactly one study"),
        ({WORKITEM_CODE: sequence(code("110007", "DCM", "Report Verification"))}, "110005"),
        ({"00100020": {"vr": "LO", "Value": ["another"]}}, "Patient ID"),
    ):
        refused = coordinator.send("POST", WORKITEMS, asked(study_uid, **wrong))
        assert refused.status == 400, wrong
        assert words in refused.json()["detail"]
    assert coordinator.send("POST", WORKITEMS, asked("2.25.7")).status == 404
    assert coordinator.send("POST", WORKITEMS, asked("1\0")).status == 400
    assert coordinator.send("POST", f"{WORKITEMS}?nonsense", asked(study_uid)).status == 400
    assert worklist_of("reader").send("POST", WORKITEMS, asked(study_uid)).status == 403
    assert coordinator.found() == []
