"""Another vendor's worklist reads for this network, from search to signature; and is refused as PS3.4 says."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from reading_queue.db.subscription_tables import WorkitemProgress
from reading_queue.db.tables import Case, ReadingTask, Report, Submission
from reading_queue.domain.report import SubmissionContent
from storage.ledger.tables import AuditEvent
from tests.integration.dicomweb.county import County
from tests.integration.stow.made import evidence, study_of, uid_of
from tests.integration.stow.serving import Storing
from tests.integration.workitems.client import (
    Worklist,
    code,
    new_transaction,
    performed,
    sequence,
    value,
)
from tests.support.clock import SteerableClock

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
WorklistOf, StoringOf = Callable[[str], Worklist], Callable[[str], Storing]
STATE, PRIORITY, UID, PATIENT_ID = "00741000", "00741200", "00080018", "00100020"


def structured_report(about: list[bytes], findings: str, impression: str) -> bytes:
    """Return a Basic Text SR (TID 2000) as a workstation writes it."""

    def item(value_type: str, concept: str, **more: object) -> Dataset:
        made, name = Dataset(), Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = concept, "DCM", "a heading"
        made.RelationshipType, made.ValueType, made.ConceptNameCodeSequence = "CONTAINS", value_type, [name]
        for keyword, one in more.items():
            setattr(made, keyword, one)
        return made

    return evidence(
        about,
        BASIC_TEXT_SR,
        ValueType="CONTAINER",
        ContentSequence=[
            item("CONTAINER", "121070", ContentSequence=[item("TEXT", "121071", TextValue=findings)]),
            item("CONTAINER", "121076", ContentSequence=[item("TEXT", "121077", TextValue=impression)]),
        ],
    )


def only(worklist: Worklist, **keys: str) -> str:
    """Return the UID of the one workitem that a search finds."""
    (workitem,) = worklist.found(**keys)
    return str(value(workitem, UID))


def test_other_vendors_worklist_reads_a_study_from_search_to_signature(
    county: County, study: list[bytes], worklist_of: WorklistOf, storing_of: StoringOf
) -> None:
    author, images = worklist_of("reader"), storing_of("reader")
    (workitem,) = author.found(ProcedureStepState="SCHEDULED")
    uid, study_uid = value(workitem, UID), value(workitem, "00404021", "0020000D")
    assert study_uid == study_of(study[0])
    assert value(workitem, "00404018", "00080100") == "110005"
    assert (value(workitem, STATE), value(workitem, PRIORITY), value(workitem, "00404041")) == (
        "SCHEDULED",
        "MEDIUM",
        "READY",
    )
    token = new_transaction()
    assert author.change(uid, "IN PROGRESS", token).status == 200
    claimed = author.retrieve(uid)
    assert value(claimed, STATE) == "IN PROGRESS"
    assert "00081195" not in claimed  # whoever knows the Transaction UID owns the workitem
    address = value(claimed, "00404021", "0040E025", "00081190")
    assert len(images.get(address.removeprefix(county.hub.public_url)).parts()) == len(study)
    report = structured_report(study, "双肺纹理清晰。", "未见明显异常。")
    assert images.store([report]).kept() == [uid_of(report)]
    said = performed("110005", study_uid, (BASIC_TEXT_SR, uid_of(report)))
    said["00741002"] = sequence({"00741004": {"vr": "DS", "Value": [90]}, "00741006": {"vr": "ST", "Value": ["写完"]}})
    assert author.update(uid, token, said).status == 200
    assert value(author.retrieve(uid), "00741002", "00741006") == "写完"
    assert author.change(uid, "COMPLETED", token).status == 200

    assert value(author.retrieve(uid), STATE) == "COMPLETED"
    county.run_jobs()
    with county.hub.transaction() as session:
        content = SubmissionContent.from_json(session.scalars(select(Submission.content)).one())
        assert (content.findings, content.impression) == ("双肺纹理清晰。", "未见明显异常。")
        assert session.scalars(select(Report.report_id)).all() == []  # one physician's signature is no report

    verifier, second_token = worklist_of("second"), new_transaction()
    assert author.found(ProcedureStepState="SCHEDULED") == []  # the author does not verify
    verification = only(verifier, **{"ScheduledWorkitemCodeSequence.CodeValue": "110007"})
    assert verifier.change(verification, "IN PROGRESS", second_token).status == 200
    assert verifier.update(verification, second_token, performed("110007", study_uid)).status == 200
    assert verifier.change(verification, "COMPLETED", second_token).status == 200
    again = verifier.change(verification, "COMPLETED", second_token)
    assert (again.status, "already in the requested state of COMPLETED" in again.warning) == (200, True)
    with county.hub.transaction() as session:
        assert len(session.scalars(select(Report.report_id)).all()) == 1
        codes = set(session.scalars(select(AuditEvent.event_code).where(AuditEvent.detail.is_not(None))))
    assert {"110111", "110112"} <= codes


def test_old_password_signs_nothing(
    county: County, study: list[bytes], worklist_of: WorklistOf, storing_of: StoringOf, hub_clock: SteerableClock
) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    assert author.change(uid, "IN PROGRESS", token).status == 200
    report = structured_report(study, "双肺纹理清晰。", "未见明显异常。")
    storing_of("reader").store([report])
    said = performed("110005", study_of(study[0]), (BASIC_TEXT_SR, uid_of(report)))
    for _ in range(2):  # each word of the performer keeps the claim alive
        hub_clock.now += timedelta(seconds=county.hub.policy.lease_s - 60)
        assert author.update(uid, token, said).status == 200
    refused = author.change(uid, "COMPLETED", token)
    assert (refused.status, refused.json()["code"]) == (403, "reauthentication_needed")
    assert value(author.retrieve(uid), STATE) == "IN PROGRESS"


def test_completing_without_what_the_final_state_needs_names_what_is_missing(
    study: list[bytes], worklist_of: WorklistOf
) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    author.change(uid, "IN PROGRESS", token)
    refused = author.change(uid, "COMPLETED", token)
    assert (refused.status, refused.ups_status()) == (409, "C304")
    for needed in (
        "Performed Station Name Code Sequence (0040,4028)",
        "Performed Procedure Step End DateTime (0040,4051)",
    ):
        assert needed in refused.json()["detail"]
    assert author.update(uid, token, performed("110005", study_of(study[0]))).status == 200
    refused = author.change(uid, "COMPLETED", token)
    assert "Output Information Sequence (0040,4033)" in refused.json()["detail"]
    foreign = performed("110005", study_of(study[0]), (BASIC_TEXT_SR, "2.25.99"))
    assert author.update(uid, token, foreign).status == 200
    assert author.change(uid, "COMPLETED", token).ups_status() == "C304"


def test_one_of_two_worklists_gets_a_workitem_and_the_other_is_told(
    county: County, study: list[bytes], worklist_of: WorklistOf
) -> None:
    both = [(worklist_of(login), new_transaction()) for login in ("reader", "second")]
    uid = only(both[0][0])
    with ThreadPoolExecutor(2) as threads:
        replies = list(threads.map(lambda one: one[0].change(uid, "IN PROGRESS", one[1]), both))
    statuses = sorted(reply.status for reply in replies)
    assert statuses == [200, 409]
    winner, loser = sorted(both, key=lambda one: replies[both.index(one)].status)
    assert replies[both.index(loser)].ups_status() == "C301"
    assert value(loser[0].retrieve(uid), PATIENT_ID) is None
    with county.hub.transaction() as session:
        recorded = session.scalars(select(ReadingTask.transaction_uid).where(ReadingTask.workitem_uid == uid)).one()
    assert recorded == winner[1]
    assert winner[0].change(uid, "IN PROGRESS", winner[1]).ups_status() == "C302"
    assert winner[0].change(uid, "IN PROGRESS", new_transaction()).ups_status() == "C301"


def test_wrong_transaction_uid_changes_nothing(county: County, study: list[bytes], worklist_of: WorklistOf) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    assert author.change(uid, "COMPLETED", token).ups_status() == "C310"
    author.change(uid, "IN PROGRESS", token)
    for reply in (
        author.change(uid, "COMPLETED", new_transaction()),
        author.change(uid, "CANCELED", new_transaction()),
        author.update(uid, new_transaction(), performed("110005", study_of(study[0]))),
    ):
        assert (reply.status, reply.ups_status()) == (400, "C301")
        assert "The Transaction UID is incorrect." in reply.warning
    missing = author.change(uid, "CANCELED", None)
    assert (missing.status, "The Transaction UID is missing." in missing.warning) == (400, True)
    back = author.change(uid, "SCHEDULED", token)
    assert (back.status, back.ups_status()) == (409, "C303")
    assert value(author.retrieve(uid), STATE) == "IN PROGRESS"
    with county.hub.transaction() as session:
        assert session.scalars(select(WorkitemProgress)).all() == []


def test_cancelled_claim_is_replaced_by_a_new_workitem_that_names_the_old_one(
    county: County, study: list[bytes], worklist_of: WorklistOf
) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    author.change(uid, "IN PROGRESS", token)
    reason = {"00741002": sequence({"0074100E": sequence(code("110532", "DCM", "needs a specialist"))})}
    assert author.change(uid, "CANCELED", token, **reason).status == 200
    county.run_jobs()
    replacement = worklist_of("second").retrieve(only(worklist_of("second"), ProcedureStepState="SCHEDULED"))
    assert value(replacement, "00741224", "00081155") == uid
    old = author.retrieve(uid)
    assert value(old, STATE) == "CANCELED"
    assert value(old, "00741002", "0074100E", "00080100") == "110532"
    again = author.change(uid, "CANCELED", token)
    assert (again.status, "already in the requested state of CANCELED" in again.warning) == (200, True)
    assert author.change(uid, "COMPLETED", token).ups_status() == "C300"


def test_former_holder_is_told_that_it_ended_and_no_longer_about_whom_it_was(
    county: County, study: list[bytes], worklist_of: WorklistOf
) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    patient = value(author.retrieve(uid), PATIENT_ID)
    author.change(uid, "IN PROGRESS", token)
    author.change(uid, "CANCELED", token)
    old = author.retrieve(uid)
    assert value(old, STATE) == "CANCELED"
    assert value(old, PATIENT_ID) is None
    assert value(old, "00404021") is None
    assert author.found(PatientID=patient) == []


def test_request_to_cancel_is_a_decline_by_whom_it_was_offered_to(study: list[bytes], worklist_of: WorklistOf) -> None:
    author, second = worklist_of("reader"), worklist_of("second")
    uid = only(author)
    assert author.request_cancel(uid, {"0074100E": sequence(code("110532", "DCM", "x"))}).status == 202
    assert author.found() == []
    assert only(second) == uid


def test_request_to_cancel_is_advice_while_somebody_reads_who_follows_it_by_cancelling(
    county: County, study: list[bytes], worklist_of: WorklistOf
) -> None:
    author, token, technician = worklist_of("reader"), new_transaction(), worklist_of("technician")
    uid = only(author)
    author.change(uid, "IN PROGRESS", token)
    assert technician.request_cancel(uid).status == 202
    assert value(author.retrieve(uid), STATE) == "IN PROGRESS"
    with county.hub.transaction() as session:
        assert session.scalars(select(Case.withdrawal_asked_at)).one() is not None
    author.change(uid, "CANCELED", token)
    county.run_jobs()
    with county.hub.transaction() as session:
        assert session.scalars(select(Case.state)).one() == "cancelled"
    assert technician.found(ProcedureStepState="SCHEDULED") == []


def test_request_to_cancel_withdraws_what_nobody_reads(study: list[bytes], worklist_of: WorklistOf) -> None:
    technician = worklist_of("technician")
    uid = only(technician)
    assert technician.request_cancel(uid).status == 202
    assert value(technician.retrieve(uid), STATE) == "CANCELED"
    again = technician.request_cancel(uid)
    assert (again.status, "CANCELED" in again.warning) == (202, True)


def test_completed_workitem_is_not_cancelled(
    study: list[bytes], worklist_of: WorklistOf, storing_of: StoringOf
) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    author.change(uid, "IN PROGRESS", token)
    report = structured_report(study, "双肺纹理清晰。", "未见明显异常。")
    storing_of("reader").store([report])
    author.update(uid, token, performed("110005", study_of(study[0]), (BASIC_TEXT_SR, uid_of(report))))
    assert author.change(uid, "COMPLETED", token).status == 200
    refused = worklist_of("technician").request_cancel(uid)
    assert (refused.status, refused.ups_status()) == (409, "C311")
    assert author.change(uid, "CANCELED", token).ups_status() == "C300"


def test_who_may_not_see_a_case_finds_no_workitem_of_it(study: list[bytes], worklist_of: WorklistOf) -> None:
    uid = only(worklist_of("reader"))
    for login in ("stranger", "neighbour"):
        outsider = worklist_of(login)
        assert outsider.found() == []
        assert outsider.send("GET", f"/dicomweb/workitems/{uid}").status == 404
    assert worklist_of("stranger").change(uid, "IN PROGRESS", new_transaction()).status == 404
    assert worklist_of("technician").change(uid, "IN PROGRESS", new_transaction()).status == 403
    assert worklist_of("").ask().status == 401
    for login in ("technician", "coordinator"):
        assert only(worklist_of(login)) == uid


def test_workitems_are_found_by_each_key_and_not_by_another_value(study: list[bytes], worklist_of: WorklistOf) -> None:
    author = worklist_of("reader")
    (workitem,) = author.found()
    uid, patient, study_uid = value(workitem, UID), value(workitem, PATIENT_ID), study_of(study[0])
    name = value(workitem, "00100010")["Alphabetic"]
    start = value(workitem, "00404005")
    performer = value(workitem, "00404034", "00404009", "00080100")
    hits_and_misses = {
        "SOPInstanceUID": (uid, "2.25.1"),
        "00741000": ("SCHEDULED", "CANCELED"),
        "ScheduledProcedureStepPriority": ("MEDIUM", "HIGH"),
        "InputReadinessState": ("READY", "INCOMPLETE"),
        "00404018.00080100": ("110005", "110007"),
        "ScheduledProcedureStepStartDateTime": (f"{start[:8]}-{start[:8]}", f"-{int(start[:4]) - 1}0101"),
        "ExpectedCompletionDateTime": (f"{start[:8]}-", f"-{start[:8]}"),
        "ScheduledHumanPerformersSequence.HumanPerformerCodeSequence.CodeValue": (performer, "nobody"),
        "PatientName": (f"{name[:4]}*", "Nobody"),
        "PatientID": (patient, "nobody"),
        "StudyInstanceUID": (study_uid, "2.25.1"),
        "0040A370.0020000D": (study_uid, "2.25.1"),
        "InputInformationSequence.StudyInstanceUID": (study_uid, "2.25.1"),
        "ModalitiesInStudy": ("CT", "MR"),
        "ProcedureStepLabel": ("Interp*", "Report Verification"),
        "WorklistLabel": ("COUNTERPAR?", "counterpart"),
        "ScheduledStationNameCodeSequence.CodeValue": ("*", "WS1"),
        "AdmissionID": ("*", "1"),
    }
    for key, (hit, miss) in hits_and_misses.items():
        assert len(author.found(**{key: hit})) == 1, key
        assert author.found(**{key: miss}) == [], key
    assert len(author.found(PatientName=name.lower()[:5], fuzzymatching="true", includefield="all", limit="5")) == 1
    assert author.found(offset="1") == []
    none = author.ask(limit="0")
    assert (none.status, "additional results" in none.warning) == (204, True)


# Return keys of type 1 and 2 of PS3.4 Table CC.2.5-3, and 1C that a workitem has that nobody has claimed.
TOLD_TAGS = """
    00080005 00080016 00080018 00081080 00081084 00100010 00100020 00100021 00100030 00100040
    00101002 0020000D 00380010 00380014 00404005 00404018 00404021 00404025 00404026 00404027
    00404034 00404041 0040A370 00741000 00741002 00741200 00741202 00741204 00741210
"""
ALWAYS_TOLD = re.findall(r"[0-9A-F]{8}", TOLD_TAGS)


def test_search_tells_what_is_always_told_and_what_it_was_asked_for(
    study: list[bytes], worklist_of: WorklistOf
) -> None:
    author, token = worklist_of("reader"), new_transaction()
    (workitem,) = author.found()
    assert sorted(workitem) == ALWAYS_TOLD
    assert "Value" not in workitem["00081084"], "of type 2, and nothing is known"
    uid = value(workitem, UID)
    assert author.change(uid, "IN PROGRESS", token).status == 200
    assert author.update(uid, token, performed("110005", study_of(study[0]))).status == 200
    (workitem,) = author.found()
    assert sorted(workitem) == sorted([*ALWAYS_TOLD, "00741216"])
    assert set(workitem["00741216"]["Value"][0]) == {"00404035", "00404051"}, "of type 1C, and there are some"
    (whole,) = author.found(includefield="all")
    assert whole.keys() == author.retrieve(uid).keys() | set(ALWAYS_TOLD)
    for field, more in (
        ("ExpectedCompletionDateTime", {"00404011"}),
        ("00081030,ModalitiesInStudy", {"00081030", "00080061"}),
        ("00404011,00404010", {"00404010", "00404011"}),
    ):
        (workitem,) = author.found(includefield=field)
        assert workitem.keys() - {*ALWAYS_TOLD, "00741216"} == more, field
    (workitem,) = author.found(ModalitiesInStudy="CT")
    assert value(workitem, "00080061") == "CT", "what was searched by is told"
    deep = "UnifiedProcedureStepPerformedProcedureSequence.PerformedWorkitemCodeSequence.00080100"
    (workitem,) = author.found(includefield=deep)
    assert workitem["00741216"]["Value"][0]["00404019"] == sequence({"00080100": {"vr": "SH", "Value": ["110005"]}})
    absent = author.ask(includefield="all,DoseRateUnit,00404011")
    assert (absent.status, "Absent" in absent.warning) == (400, False)
    absent = author.ask(includefield="BodyPartExamined,00404011")
    assert (absent.status, "Absent: 00180015." in absent.warning) == (200, True)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"Nonsense": "1"}, "not searched by"),
        ({"ProcedureStepState": "READY"}, "SCHEDULED"),
        ({"ScheduledProcedureStepStartDateTime": "yesterday"}, "YYYYMMDDHHMMSS"),
        ({"ScheduledProcedureStepStartDateTime": "20261345"}, "that there is"),
        ({"limit": "-1"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "1000001"}, "at most 1000000"),
        ({"fuzzymatching": "perhaps"}, "fuzzymatching"),
        ({"includefield": "Patient Name"}, "includefield"),
        ({"includefield": "PatientsName"}, "includefield"),
        ({"includefield": "PatientName,ReferencedRequestSequence.Nonsense"}, "ReferencedRequestSequence.Nonsense"),
        ({"includefield": "00091001"}, "includefield"),
        ({"SOPInstanceUID": "../x"}, "SOPInstanceUID"),
    ],
)
def test_query_that_makes_no_sense_is_refused_with_words(
    worklist_of: WorklistOf, query: dict[str, str], words: str
) -> None:
    refused = worklist_of("reader").ask(**query)
    assert refused.status == 400
    assert words in refused.json()["detail"]


def test_bad_bodies_are_refused_with_words(study: list[bytes], worklist_of: WorklistOf) -> None:
    author, token = worklist_of("reader"), new_transaction()
    uid = only(author)
    path = f"/dicomweb/workitems/{uid}/state"
    assert author.send("PUT", path, [1, 2]).status == 400
    unheard = author.change(uid, "DONE", token)
    assert (unheard.status, unheard.ups_status(), "no such state" in unheard.warning) == (400, "0115", True)
    assert author.send("PUT", path, [{}]).ups_status() == "0115"
    assert author.change(uid, "IN PROGRESS", "not a uid").status == 400
    author.change(uid, "IN PROGRESS", token)
    too_much = {"00741002": sequence({"00741004": {"vr": "DS", "Value": [101]}})}
    assert "0 to 100" in author.update(uid, token, too_much).json()["detail"]
    unknown = {"00741002": sequence({"0074100E": sequence(code("1", "DCM", "x"))})}
    assert "CID 9303" in author.update(uid, token, unknown).json()["detail"]
    ended = author.update(uid, token, {STATE: {"vr": "CS", "Value": ["COMPLETED"]}})
    assert (ended.status, ended.ups_status()) == (400, "0106")
    assert "/state" in ended.json()["detail"]
    nested = [{"00741004": []}, {"00741004": {"vr": "DS", "Value": 5}}, {"00741006": {"vr": "ST", "Value": ["\ud800"]}}]
    performed = [{"00404050": 5}, {"0040A160": {"vr": "UT", "Value": ["\0"]}}, {"name\0": {"vr": "LO"}}]
    performed.append({"00189074": {"vr": "FD", "Value": [float("nan")]}})
    performed.append({"0040a730": {"vr": "SQ"}})  # PS3.18 F.2.2: in capitals
    deep: dict[str, object] = {}
    for _ in range(250):  # fewer than what the parser of JSON refuses
        deep = {"0040A730": {"vr": "SQ", "Value": [deep]}}
    performed.append(deep)
    for broken in [
        *({"00741002": sequence(one)} for one in nested),
        *({"00741216": sequence(one)} for one in performed),
    ]:
        assert author.update(uid, token, broken).status == 400, broken
    infinite = b'{"00741216":{"vr":"SQ","Value":[{"00189074":{"vr":"FD","Value":[1e400]}}]}}'
    kind, updated = {"Content-Type": "application/dicom+json"}, f"/dicomweb/workitems/{uid}?{token}"
    assert author.send_bytes("POST", updated, infinite, **kind).status == 400
    assert worklist_of("technician").request_cancel(uid, {"00741238": {"vr": "LT", "Value": ["\0"]}}).status == 400
