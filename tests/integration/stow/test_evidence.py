"""Key images and measurements join the study that they speak of, and are nothing that anybody must read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Case
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival import intake
from reading_queue.services.arrival.intake import NotForGateways
from reading_queue.services.cases.attention import StuckKind, stuck
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import Hop
from storage.ledger.tables import AuditEvent, CustodyEvent
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County, header_of
from tests.integration.stow.made import COMPREHENSIVE_SR, claim_offered, evidence, images, study_of, uid_of
from tests.integration.stow.serving import STUDIES, Storing

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

AsPerson = Callable[[str], Storing]
ViewerOf = Callable[[str], Viewer]
NOT_ALLOWED, DOES_NOT_BELONG, OTHER_CONTENTS = 0x0124, 0xA900, 0x0111


@pytest.fixture
def read(county: County) -> list[bytes]:
    """The images of a study that is offered to the reader."""
    files = images(1, 2)
    county.arrive(SITE, files)
    return files


@pytest.fixture
def reader(county: County, as_person: AsPerson, viewer_of: ViewerOf, read: list[bytes]) -> Storing:
    """The physician who holds the case of that study."""
    claim_offered(county.hub, viewer_of("reader"))
    return as_person("reader")


def study_row(county: County, study_uid: str) -> Study:
    with county.hub.transaction() as session:
        return session.scalars(select(Study).where(Study.study_uid == study_uid)).one()


def case_row(county: County) -> Case:
    with county.hub.transaction() as session:
        return session.scalars(select(Case)).one()


def move_case(county: County, state: str) -> None:
    with county.hub.transaction() as session:
        session.execute(update(Case).values(state=state, signed_at=county.hub.clock()))


def hops(county: County) -> list[str]:
    with county.hub.transaction() as session:
        return list(session.scalars(select(CustodyEvent.hop).order_by(CustodyEvent.event_id)))


@pytest.mark.parametrize(
    ("login", "state"),
    [("reader", "reading"), ("technician", "offered"), ("technician", "reading"), ("technician", "final")],
)
def test_evidence_joins_the_study_and_is_nothing_to_be_read(
    county: County, as_person: AsPerson, read: list[bytes], viewer_of: ViewerOf, login: str, state: str
) -> None:
    person, document = as_person(login), evidence(read)
    if login == "reader":
        claim_offered(county.hub, viewer_of(login))
    move_case(county, state)
    before = hops(county)
    reply = person.store([document])
    assert (reply.status, reply.kept(), reply.words()) == (200, [uid_of(document)], "")
    (address,) = (item["00081190"]["Value"][0] for item in reply.answer()["00081199"]["Value"])
    ((_, _, held),) = person.get(address).parts()
    assert held == document
    case = case_row(county)
    assert (case.state, case.images_unacknowledged) == (state, False)
    assert hops(county) == [*before, Hop.EVIDENCE_ADDED]
    study = study_row(county, study_of(document))
    assert (study.revision, study.instance_count, study.modalities) == (2, 3, ["CT", "KO"])
    kinds = [one.kind for one in stuck(county.hub, viewer_of("coordinator"))]
    assert StuckKind.LATE_IMAGES not in kinds


def test_images_that_came_before_are_not_late_for_the_evidence_between(
    county: County, reader: Storing, read: list[bytes]
) -> None:
    reader.store([evidence(read)])
    county.arrive(SITE, read)  # a gateway that forgot that it had sent them
    assert case_row(county).images_unacknowledged is False


def test_images_that_come_after_the_evidence_are_late(county: County, reader: Storing, read: list[bytes]) -> None:
    reader.store([evidence(read)])
    county.arrive(SITE, images(1, 3)[2:])
    assert case_row(county).images_unacknowledged is True


def test_images_of_which_some_came_before_the_evidence_are_late(
    county: County, reader: Storing, read: list[bytes]
) -> None:
    finish = begin_to_arrive(county, images(1, 4)[2:])
    assert reader.store([evidence(read)]).status == 200
    assert study_row(county, study_of(read[0])).revision == 1, "the rest of the images raises it"
    finish()
    assert study_row(county, study_of(read[0])).revision == 2
    assert case_row(county).images_unacknowledged is True


def begin_to_arrive(county: County, files: Sequence[bytes]) -> Callable[[], None]:
    """Bring in the first of these images, and return what brings in the others."""
    gateway = GatewayIdentity(gateway_id=f"gateway-{SITE}", site_id=SITE)
    manifest, by_uid = county._manifest(SITE, list(files), "read")
    transfer_id = intake.declare(county.hub, gateway, manifest).transfer_id
    county._upload(gateway, transfer_id, manifest, manifest.instances[:1], by_uid)
    county.run_jobs()

    def finish() -> None:
        county._upload(gateway, transfer_id, manifest, manifest.instances[1:], by_uid)
        county.run_jobs()

    return finish


def test_evidence_changes_nothing_that_is_known_of_the_patient(
    county: County, reader: Storing, read: list[bytes]
) -> None:
    reader.store([evidence(read, PatientName="Another^Name")])
    with county.hub.transaction() as session:
        (patient,) = session.scalars(select(Patient)).all()
    assert patient.name == str(header_of(read[0]).PatientName)


def test_evidence_that_comes_with_what_it_speaks_of(reader: Storing, read: list[bytes]) -> None:
    measurements = evidence(read, COMPREHENSIVE_SR)
    selection = evidence([*read, measurements])
    assert reader.store([selection, measurements]).status == 200


def test_reader_stores_no_images(county: County, reader: Storing, read: list[bytes]) -> None:
    fresh = images(1, 3)[2]
    reply = reader.store([fresh, document := evidence(read)])
    assert (reply.status, reply.kept(), reply.failed()) == (202, [uid_of(document)], [(uid_of(fresh), NOT_ALLOWED)])
    assert "key images, measurements" in reply.words()


@pytest.mark.parametrize("where", ["another site's", "nobody's"])
def test_study_that_the_reader_may_not_see_does_not_exist(
    county: County, as_person: AsPerson, read: list[bytes], where: str
) -> None:
    about = images(20)
    if where == "another site's":
        county.arrive(OTHER_SITE, about)
    stranger = as_person("stranger")
    document = evidence(about)
    reply = stranger.store([document])
    assert (reply.status, reply.failed()) == (409, [(uid_of(document), NOT_ALLOWED)])
    refused = f"instance {uid_of(document)} cannot be stored"
    assert reply.words() == f'299 - "{refused}: there is no such study, or you may not see it"'
    with county.hub.transaction() as session:
        (audited,) = session.scalars(select(AuditEvent).where(AuditEvent.outcome == "failure")).all()
    assert (audited.object_id, audited.event_code) == (study_of(document), "110107")


def test_technician_never_touches_the_study_of_another_site(county: County, as_person: AsPerson) -> None:
    """The same UID at another site is another study (catalogue identity is site and UID)."""
    (file,) = images(21)
    county.arrive(OTHER_SITE, [file])
    assert as_person("technician").store([evidence([file])]).status == 200
    with county.hub.transaction() as session:
        rows = session.execute(select(Study.site_id, Study.instance_count, Study.revision).order_by(Study.site_id))
        assert [tuple(row) for row in rows] == [(SITE, 1, 1), (OTHER_SITE, 1, 1)]


def test_evidence_speaks_only_of_what_its_author_may_see(county: County, reader: Storing, read: list[bytes]) -> None:
    elsewhere = images(22)
    county.arrive(OTHER_SITE, elsewhere)
    elsewhere_uid = study_of(elsewhere[0])
    about_others = evidence(elsewhere, StudyInstanceUID=study_of(read[0]))
    about_nothing = evidence([*read, images(1, 5)[4]])
    reply = reader.store([about_others, about_nothing])
    expected = [(uid_of(about_others), NOT_ALLOWED), (uid_of(about_nothing), NOT_ALLOWED)]
    assert (reply.status, reply.failed()) == (409, expected)
    assert uid_of(images(1, 5)[4]) in reply.words()
    assert elsewhere_uid in reply.words(), "the author named it; nothing that they did not say is told"


def test_evidence_of_another_patient_does_not_belong(county: County, reader: Storing, read: list[bytes]) -> None:
    document = evidence(read, PatientID="SOMEBODY-ELSE")
    assert reader.store([document]).failed() == [(uid_of(document), DOES_NOT_BELONG)]


def test_evidence_replaces_no_image(county: County, reader: Storing, read: list[bytes]) -> None:
    document = evidence(read, SOPInstanceUID=uid_of(read[0]))
    assert reader.store([document]).failed() == [(uid_of(document), OTHER_CONTENTS)]
    found = reader.get(f"{STUDIES}/{study_of(read[0])}/metadata").json()
    assert {one["00080060"]["Value"][0] for one in found} == {"CT"}


def test_no_gateway_declares_evidence(county: County) -> None:
    manifest, _ = county._manifest(SITE, images(23), "evidence")
    with pytest.raises(NotForGateways):
        intake.declare(county.hub, GatewayIdentity(gateway_id=f"gateway-{SITE}", site_id=SITE), manifest)
