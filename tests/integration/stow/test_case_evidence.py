"""Key images and measurements become part of the case of the physician who holds it, and of nothing else."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from reading_queue.db.tables import CaseEvidence, Report
from reading_queue.domain.report import ReportContent
from reading_queue.errors import NotFound, NotHolder
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.network.network import load_network
from reading_queue.services.reading import reading
from reading_queue.services.reading.case_evidence import EvidenceView, list_evidence, remove_evidence
from reading_queue.services.reading.claims import ReadingTaskView
from reading_queue.services.reading.evidence import references_of
from reading_queue.services.reports import reports
from reading_queue.services.reports.report_documents import report_document
from storage.catalogue.tables import Deposit, Instance
from storage.contract.wire import DocumentKind
from storage.dicom.json_model import instance_json
from tests.integration.dicomweb.county import CHEAP_HASHES, NETWORK, OTHER_SITE, SITE, County, header_of
from tests.integration.stow.made import claim_offered, images, key_images, measurements, study_of, uid_of
from tests.integration.stow.serving import Storing, StowReply
from tests.support.clock import SteerableClock
from tests.support.reports import find_fonts

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

NOT_ALLOWED, DOES_NOT_BELONG = 0x0124, 0xA900
TEXT = reading.ReportText(findings="双肺纹理清晰。", impression="未见明显异常。", recommendation="")

ViewerOf = Callable[[str], Viewer]


@pytest.fixture
def read(county: County) -> list[bytes]:
    """The images of the study that is read."""
    files = images(1, 2)
    county.arrive(SITE, files)
    return files


@pytest.fixture
def task(county: County, read: list[bytes], viewer_of: ViewerOf) -> ReadingTaskView:
    """The reading task of that study, held by the reader."""
    return claim_offered(county.hub, viewer_of("reader"))


@pytest.fixture
def reader(as_person: Callable[[str], Storing]) -> Storing:
    return as_person("reader")


def shown(county: County, case_id: str) -> tuple[EvidenceView, ...]:
    with county.hub.transaction() as session:
        return list_evidence(session, case_id)


def held(county: County) -> tuple[int, int, int]:
    """Return how many instances, deposits and rows of evidence there are."""
    with county.hub.transaction() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table)) for table in (Instance, Deposit, CaseEvidence)
        ]
    instances, deposits, evidence = (count or 0 for count in counts)
    return instances, deposits, evidence


def refused(reply: StowReply, document: bytes, reason: int = NOT_ALLOWED) -> str:
    """Return the words by which the document was refused; nothing of it may be kept."""
    assert (reply.status, reply.kept(), reply.failed()) == (409, [], [(uid_of(document), reason)])
    return reply.words()


def test_key_image_is_shown_at_its_place_in_the_study(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView
) -> None:
    document = key_images(read[1:])
    assert reader.store([document]).status == 200
    ((one,), header) = shown(county, task.case_id), header_of(read[1])
    (found,) = one.findings
    assert (one.sop_instance_uid, one.is_key_images, one.report_id) == (uid_of(document), True, None)
    assert found.image is not None
    assert found.image.sop_instance_uid == uid_of(read[1])
    assert (found.study_uid, found.series_number) == (study_of(read[1]), int(header.SeriesNumber))


def test_measurements_keep_their_value_as_a_decimal_and_their_unit(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView
) -> None:
    assert reader.store([measurements(read, "23.40517", "8.1")]).status == 200
    (one,) = shown(county, task.case_id)
    said = [(found.finding.concept, found.finding.value, found.finding.unit) for found in one.findings]
    assert said == [("Length", "23.40517", "mm"), ("Length", "8.1", "mm")]
    assert {found.image.sop_instance_uid for found in one.findings if found.image} == {uid_of(read[0])}


def test_the_same_document_again_is_kept_once(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView
) -> None:
    document = key_images(read)
    assert [reader.store([document]).status for _ in range(2)] == [200, 200]
    assert len(shown(county, task.case_id)) == 1


@pytest.mark.parametrize("whose", ["another case's", "another site's", "nobody's"])
def test_document_about_images_of_no_study_of_the_case_is_refused(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView, whose: str
) -> None:
    elsewhere = images(20)
    if whose != "nobody's":
        county.arrive(SITE if whose == "another case's" else OTHER_SITE, elsewhere)
    before = held(county)
    document = key_images(elsewhere, StudyInstanceUID=study_of(read[0]), PatientID=str(header_of(read[0]).PatientID))
    words = refused(reader.store([document]), document)
    assert "not of the case that you read" in words
    assert held(county) == before


def test_unknown_instance_of_the_study_is_refused(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView
) -> None:
    before, unknown = held(county), images(1, 5)[4]
    document = key_images([read[0], unknown])
    assert uid_of(unknown) in refused(reader.store([document]), document)
    assert held(county) == before


def test_document_under_another_patient_is_refused(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView
) -> None:
    before, document = held(county), key_images(read, PatientID="SOMEBODY-ELSE")
    assert "another patient" in refused(reader.store([document]), document, DOES_NOT_BELONG)
    assert held(county) == before


def test_physician_without_the_claim_adds_nothing(county: County, reader: Storing, read: list[bytes]) -> None:
    before, document = held(county), key_images(read)
    assert "you do not hold the case now" in refused(reader.store([document]), document)
    assert held(county) == before


def test_physician_whose_lease_ran_out_adds_nothing(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView, hub_clock: SteerableClock
) -> None:
    hub_clock.advance(county.hub.policy.lease_s + 1)
    before, document = held(county), key_images(read)
    assert "you do not hold the case now" in refused(reader.store([document]), document)
    assert held(county) == before


def test_removed_document_leaves_the_report_and_stays_in_the_study(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView, viewer_of: ViewerOf
) -> None:
    document = key_images(read)
    reader.store([document])
    with pytest.raises(NotHolder):
        remove_evidence(county.hub, viewer_of("stranger"), task.reading_task_id, uid_of(document))
    with pytest.raises(NotFound):
        remove_evidence(county.hub, viewer_of("reader"), task.reading_task_id, uid_of(read[0]))
    for _ in range(2):
        remove_evidence(county.hub, viewer_of("reader"), task.reading_task_id, uid_of(document))
    assert shown(county, task.case_id) == ()
    with county.hub.transaction() as session:
        assert session.scalar(select(Instance).where(Instance.sop_instance_uid == uid_of(document))) is not None


def test_evidence_is_tied_to_the_version_it_was_signed_with_and_nothing_is_added_after(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView, viewer_of: ViewerOf
) -> None:
    hub = county.hub
    add_verifier(county)
    kept, removed = key_images(read), key_images(read[:1])
    assert reader.store([kept, removed]).status == 200
    remove_evidence(hub, viewer_of("reader"), task.reading_task_id, uid_of(removed))
    reading.submit(hub, viewer_of("reader"), task.reading_task_id, TEXT)
    refused(reader.store([late := key_images(read)]), late)
    county.run_jobs()
    verification = claim_offered(hub, viewer_of("verifier"))
    reading.sign(hub, viewer_of("verifier"), verification.reading_task_id, TEXT)
    with hub.transaction() as session:
        report_id = session.scalars(select(Report.report_id)).one()
        signed = {row.sop_instance_uid: row.report_id for row in session.scalars(select(CaseEvidence))}
    assert signed == {uid_of(kept): report_id, uid_of(removed): None}
    assert [one.report_id for one in shown(county, task.case_id)] == [report_id]
    reports.render(hub, report_id, find_fonts())
    document = report_document(hub, task.case_id, DocumentKind.SR)
    named = references_of(instance_json(io.BytesIO(hub.objects.read(document.object_key))))
    assert named.sop_instance_uids == {uid_of(kept), *map(uid_of, read)}
    with pytest.raises(NotHolder):
        remove_evidence(hub, viewer_of("verifier"), verification.reading_task_id, uid_of(kept))


def test_report_is_signed_with_key_images_and_measurements_and_an_older_gateway_reads_one_without(
    county: County, reader: Storing, read: list[bytes], task: ReadingTaskView, viewer_of: ViewerOf
) -> None:
    add_verifier(county)
    assert reader.store([key_images(read[1:]), measurements(read, "23.40517")]).status == 200
    reading.submit(county.hub, viewer_of("reader"), task.reading_task_id, TEXT)
    county.run_jobs()
    verification = claim_offered(county.hub, viewer_of("verifier"))
    report_id = reading.sign(county.hub, viewer_of("verifier"), verification.reading_task_id, TEXT)
    with county.hub.transaction() as session:
        signed = ReportContent.from_json(session.get_one(Report, report_id).content)
    assert signed.format == "counterpart-report/3"
    ((marked,), (measured,)) = (signed.key_images, signed.measurements)
    assert (marked.sop_instance_uid, marked.sop_class_uid) == (uid_of(read[1]), header_of(read[1]).SOPClassUID)
    assert (measured.sop_instance_uid, measured.value, measured.unit) == (uid_of(read[0]), "23.40517", "mm")
    without = signed.model_copy(update={"format": "counterpart-report/2", "evidence": ()}).canonical()
    assert b'"evidence"' in signed.canonical()
    assert b'"evidence"' not in without


def add_verifier(county: County) -> None:
    """Let a second physician join the reader's hospital."""
    network = copy.deepcopy(NETWORK)
    people = network["physicians"]
    people.append({**people[0], "login": "verifier", "name": "verifier", "licence_number": "TEST-verifier"})
    load_network(county.hub, network, hasher=CHEAP_HASHES)
