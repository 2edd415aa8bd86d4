"""What may be said of a workitem before it is claimed, while it is read, and when it has ended (PS3.4 CC.2.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.dicomweb.county import County
from tests.integration.workitems.client import DicomJson, Worklist, code, new_transaction, sequence, value

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

WorklistOf = Callable[[str], Worklist]
UID, PERFORMERS, PERFORMER_CODE = "00080018", "00404034", "00404009"
NOT_CLAIMED = "The target URI did not reference a claimed Workitem."
INCONSISTENT = "The submitted request is inconsistent with the current state of the Workitem."
UNSUPPORTED = "Requested optional Attributes are not supported."


def one(vr: str, value: Any) -> DicomJson:
    return {"vr": vr, "Value": [value]}


def performer(physician_id: str, scheme: str = "99COUNTERPART") -> DicomJson:
    return {PERFORMER_CODE: sequence(code(physician_id, scheme, "x"))}


def offered_to(workitem: DicomJson) -> set[str]:
    return {value(item, PERFORMER_CODE, "00080100") for item in workitem[PERFORMERS].get("Value", [])}


PRIORITY = {"00741200": one("CS", "HIGH")}
PROGRESS = {"00741002": sequence({"00741004": one("DS", 5)})}


def test_coordinator_gives_a_scheduled_workitem_to_one_physician(study: list[bytes], worklist_of: WorklistOf) -> None:
    coordinator, reader, second = worklist_of("coordinator"), worklist_of("reader"), worklist_of("second")
    (workitem,) = coordinator.found()
    uid, both = value(workitem, UID), offered_to(workitem)
    assert len(both) == 2
    (chosen,) = both - {value(reader.found()[0], PERFORMERS, PERFORMER_CODE, "00080100")}
    names = {value(item, PERFORMER_CODE, "00080100"): value(item, "00404037") for item in workitem[PERFORMERS]["Value"]}
    theirs, others = (second, reader) if names[chosen]["Alphabetic"] == "second" else (reader, second)
    comment = {"00400400": one("LT", "看过前一次检查")}
    given = coordinator.update(
        uid, "", {PERFORMERS: sequence(performer(chosen))} | comment | {"00741204": one("LO", "x")}
    )
    assert (given.status, UNSUPPORTED in given.warning) == (200, True), given.body
    assert offered_to(coordinator.retrieve(uid)) == {chosen}
    assert (len(theirs.found()), others.found()) == (1, [])
    assert others.change(uid, "IN PROGRESS", new_transaction()).status == 403
    assert theirs.change(uid, "IN PROGRESS", new_transaction()).status == 200


def test_what_is_said_of_a_scheduled_workitem_and_may_not_be_is_refused_in_the_standards_words(
    study: list[bytes], worklist_of: WorklistOf
) -> None:
    reader, coordinator = worklist_of("reader"), worklist_of("coordinator")
    (workitem,) = reader.found()
    uid = value(workitem, UID)
    known = value(workitem, PERFORMERS, PERFORMER_CODE, "00080100")
    for who, transaction_uid, dataset, status, ups_status, words in (
        (reader, "", PROGRESS, 409, "C310", NOT_CLAIMED),
        (reader, "", {"00741216": sequence({"00404050": one("DT", "2026")})}, 409, "C310", NOT_CLAIMED),
        (reader, new_transaction(), PROGRESS, 409, "C310", NOT_CLAIMED),
        (coordinator, "", PRIORITY, 409, "0124", INCONSISTENT),
        (coordinator, "", {}, 409, "0124", INCONSISTENT),
        (coordinator, "", {"00404005": one("DT", "20260302080000")}, 409, "0124", INCONSISTENT),
        (coordinator, "", {"00100010": one("PN", {"Alphabetic": "Other"})}, 400, "0106", "Patient's Name (0010,0010)"),
        (coordinator, "", {"0040A370": sequence()}, 400, "0106", "Referenced Request Sequence (0040,A370)"),
        (coordinator, "", {"00741000": one("CS", "COMPLETED")}, 400, "0106", "/state"),
        (coordinator, "", {PERFORMERS: sequence()}, 400, "0106", "one physician"),
        (coordinator, "", {PERFORMERS: sequence(performer(known), performer(known))}, 400, "0106", "one physician"),
        (coordinator, "", {PERFORMERS: sequence(performer(known, "99OTHER"))}, 400, "0106", "99COUNTERPART"),
        (coordinator, "", {PERFORMERS: sequence(performer("nobody"))}, 403, "", "agreement"),
        (reader, "", {PERFORMERS: sequence(performer(known))}, 403, "", ""),
        (worklist_of("technician"), "", {PERFORMERS: sequence(performer(known))}, 403, "", ""),
        (worklist_of("stranger"), "", PROGRESS, 404, "", ""),
    ):
        refused = who.update(uid, transaction_uid, dataset)
        assert (refused.status, refused.ups_status()) == (status, ups_status), (dataset, refused.body)
        assert words in refused.warning + refused.json()["detail"], (dataset, refused.body, refused.warning)
    assert len(offered_to(coordinator.retrieve(uid))) == 2


def test_update_of_what_is_read_needs_its_transaction_uid_and_of_what_has_ended_is_a_bad_request(
    county: County, study: list[bytes], worklist_of: WorklistOf
) -> None:
    reader, coordinator, token = worklist_of("reader"), worklist_of("coordinator"), new_transaction()
    uid = value(reader.found()[0], UID)
    assert reader.change(uid, "IN PROGRESS", token).status == 200
    for who, transaction_uid, status, ups_status in (
        (reader, "", 400, "C301"),
        (reader, new_transaction(), 400, "C301"),
        (coordinator, "", 400, "C301"),
    ):
        refused = who.update(uid, transaction_uid, PROGRESS)
        assert (refused.status, refused.ups_status()) == (status, ups_status)
    assert coordinator.update(uid, token, PROGRESS).status == 403  # whoever has heard the UID does not hold it by that
    more = reader.update(uid, token, PROGRESS | PRIORITY)
    assert (more.status, UNSUPPORTED in more.warning) == (200, True)
    assert reader.update(uid, token, PROGRESS).warning == ""
    assert value(reader.retrieve(uid), "00741200") == "MEDIUM"
    named = reader.update(uid, token, PROGRESS | {"00100020": one("LO", "other")})
    assert (named.status, named.ups_status()) == (400, "0106")
    assert reader.change(uid, "CANCELED", token).status == 200
    for transaction_uid in (token, "", new_transaction()):
        ended = reader.update(uid, transaction_uid, PROGRESS)
        assert (ended.status, ended.ups_status(), INCONSISTENT in ended.warning) == (400, "C300", True)
