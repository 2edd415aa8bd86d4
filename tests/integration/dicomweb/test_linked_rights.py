"""Whose images a link shows: the other site's, to whom the case is offered or who holds it, as long as that is so."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from reading_queue.db.tables import CaseStudy, ReadingTask
from reading_queue.domain.links import LinkAct
from reading_queue.domain.report import ReportText
from reading_queue.services.access.accounts import find_viewer
from reading_queue.services.access.visibility import Viewer, may_add_to, may_see, select_seen
from reading_queue.services.patients import link_desk
from reading_queue.services.reading import reading
from reading_queue.services.reading.desk_views import case_view
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.tables import Patient, Study
from storage.contract.manifest import Purpose
from storage.contract.national_id import check_character
from storage.ledger.tables import AuditEvent
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County, bundled, with_header, with_own_uids
from tests.integration.dicomweb.server import ImageClient

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

AsPerson = Callable[[str], ImageClient]
TEXT = ReportText(findings="双肺纹理清晰。", impression="未见明显异常。", recommendation="")
WHY = "both clinics were asked"
DAYS = (f"196001{day:02}" for day in itertools.count(1))


def resident_id(birth_date: str) -> str:
    body = f"430105{birth_date}112"
    return body + check_character(body)


@dataclass
class Traveller:
    """A woman with one national ID, who is known under another patient number at each site."""

    county: County
    birth_date: str = field(default_factory=lambda: next(DAYS))
    images = itertools.count(900)

    @property
    def national_id(self) -> str:
        return resident_id(self.birth_date)

    def arrive(self, site: str, purpose: Purpose = "prior", **header: str) -> str:
        file = with_own_uids(bundled("CT_small.dcm"), next(self.images))
        said = {
            "SpecificCharacterSet": "ISO_IR 192",
            "PatientName": "Zhou^Jie=周^洁",
            "PatientID": f"{site}-{self.birth_date}",
            "OtherPatientIDs": self.national_id,
            "PatientBirthDate": self.birth_date,
            "PatientSex": "F",
        }
        return self.county.arrive(site, [with_header(file, **(said | header))], purpose=purpose)

    def link(self) -> PatientLink:
        ends = Patient.patient_number.endswith(f"-{self.birth_date}")
        with self.county.hub.transaction() as session:
            mine = select(Patient.patient_id).where(ends)
            return session.scalars(select(PatientLink).where(PatientLink.patient_a.in_(mine))).one()

    def decide(self, act: LinkAct) -> None:
        link_desk.decide(self.county.hub, viewer(self.county, "coordinator"), self.link().link_id, act, WHY)


def viewer(county: County, login: str) -> Viewer:
    found = find_viewer(county.hub, county.token(login))
    assert found is not None
    return found


def seen(person: ImageClient, *studies: str) -> set[str]:
    """Return which of these the person opens, finds and searches: all three must agree."""
    opened = {uid for uid in studies if person.get(f"/dicomweb/studies/{uid}/metadata").status == 200}
    found = {one["0020000D"]["Value"][0] for one in person.get("/dicomweb/studies?limit=1000").json()}
    asked = {uid for uid in studies if person.get(f"/dicomweb/studies?StudyInstanceUID={uid}").json()}
    assert opened == found & set(studies) == asked
    return opened


def case_of(county: County, study_uid: str) -> str:
    with county.hub.transaction() as session:
        return session.scalars(select(CaseStudy.case_id).where(CaseStudy.study_uid == study_uid)).one()


def task_of(county: County, study_uid: str) -> str:
    with county.hub.transaction() as session:
        is_open = ReadingTask.state.in_(("scheduled", "in_progress"))
        of_case = ReadingTask.case_id == case_of(county, study_uid)
        return session.scalars(select(ReadingTask.reading_task_id).where(of_case, is_open)).one()


def listed(county: County, login: str, study_uid: str) -> dict[str, str]:
    """Return the priors that the reading desk lists beside a case, with the site of those from elsewhere."""
    priors = case_view(county.hub, viewer(county, login), case_of(county, study_uid)).priors.studies
    return {one.study_uid: one.site_name for one in priors}


def test_reader_with_the_case_sees_the_other_sites_prior_and_nobody_else_does(
    county: County, as_person: AsPerson
) -> None:
    traveller = Traveller(county)
    elsewhere, read = traveller.arrive(OTHER_SITE), traveller.arrive(SITE, "read")
    assert traveller.link().state == "linked"
    assert seen(as_person("reader"), elsewhere, read) == {elsewhere, read}
    assert seen(as_person("stranger"), elsewhere, read) == set()
    assert seen(as_person("technician"), elsewhere, read) == {read}
    assert listed(county, "reader", read) == {elsewhere: "白滩镇中心卫生院"}
    assert listed(county, "technician", read) == {}
    with county.hub.transaction() as session:
        looks = session.scalars(select(AuditEvent.site_id).where(AuditEvent.object_id == elsewhere)).all()
    assert set(looks) == {OTHER_SITE}


def test_link_counts_from_either_side(county: County, as_person: AsPerson) -> None:
    traveller = Traveller(county)
    elsewhere, read = traveller.arrive(SITE), traveller.arrive(OTHER_SITE, "read")
    assert seen(as_person("reader"), elsewhere, read) == {elsewhere, read}
    assert list(listed(county, "reader", read)) == [elsewhere]


def test_right_ends_with_the_readers_part(county: County, as_person: AsPerson) -> None:
    traveller = Traveller(county)
    elsewhere, read = traveller.arrive(OTHER_SITE), traveller.arrive(SITE, "read")
    reader, task = viewer(county, "reader"), task_of(county, read)
    reading.claim(county.hub, reader, task)
    assert seen(as_person("reader"), elsewhere, read) == {elsewhere, read}
    reading.submit(county.hub, reader, task, TEXT)
    assert seen(as_person("reader"), elsewhere, read) == {read}
    assert listed(county, "reader", read) == {}


def test_suggestion_shows_nothing_and_a_link_that_is_undone_nothing_any_more(
    county: County, as_person: AsPerson
) -> None:
    traveller = Traveller(county)
    elsewhere, read = traveller.arrive(OTHER_SITE, OtherPatientIDs=""), traveller.arrive(SITE, "read")
    for act, shown in (
        (None, {read}),
        (LinkAct.ACCEPT, {read, elsewhere}),
        (LinkAct.UNDO, {read}),
        (LinkAct.ACCEPT, {read, elsewhere}),
        (LinkAct.REFUSE, {read}),
    ):
        if act is not None:
            traveller.decide(act)
        assert seen(as_person("reader"), elsewhere, read) == shown
        assert listed(county, "reader", read) == ({elsewhere: "白滩镇中心卫生院"} if elsewhere in shown else {})


def test_case_of_one_site_shows_the_other_and_not_what_is_linked_with_that(county: County, as_person: AsPerson) -> None:
    """A link is between two records: whoever is linked with the other one is another question."""
    traveller = Traveller(county)
    elsewhere, read = traveller.arrive(OTHER_SITE), traveller.arrive(SITE, "read")
    hers = traveller.arrive(SITE, OtherPatientIDs="", PatientID=f"sister-{traveller.birth_date}")
    with county.hub.transaction() as session:
        records = {
            uid: session.scalars(select(Study.patient_id).where(Study.study_uid == uid)).one()
            for uid in (elsewhere, hers)
        }
        pair = (PatientLink.patient_a, PatientLink.patient_b)
        link = session.scalars(select(PatientLink).where(*(one.in_(records.values()) for one in pair))).one()
    link_desk.decide(county.hub, viewer(county, "coordinator"), link.link_id, LinkAct.ACCEPT, WHY)
    assert seen(as_person("reader"), elsewhere, read, hers) == {elsewhere, read}


@pytest.mark.parametrize("by_person", [False, True])
def test_study_that_contradicts_its_record_is_not_shown_by_a_link(
    county: County, as_person: AsPerson, by_person: bool
) -> None:
    traveller = Traveller(county)
    elsewhere = traveller.arrive(OTHER_SITE, **({"OtherPatientIDs": ""} if by_person else {}))
    read = traveller.arrive(SITE, "read")
    if by_person:
        traveller.decide(LinkAct.ACCEPT)
    assert seen(as_person("reader"), elsewhere, read) == {elsewhere, read}
    other_woman = traveller.arrive(OTHER_SITE, PatientBirthDate="19610101", OtherPatientIDs="")
    silent = traveller.arrive(OTHER_SITE, PatientBirthDate="", OtherPatientIDs="")
    # A person's word stays for what says the same; what follows from facts ends with the doubt.
    assert seen(as_person("reader"), elsewhere, read, other_woman, silent) == (
        {elsewhere, read} if by_person else {read}
    )


def test_both_ways_to_say_what_a_physician_sees_agree_and_nothing_is_added_elsewhere(county: County) -> None:
    traveller = Traveller(county)
    elsewhere, read = traveller.arrive(OTHER_SITE), traveller.arrive(SITE, "read")
    reader, now = viewer(county, "reader"), county.hub.clock()
    select_of_all = select_seen(reader, now)
    assert select_of_all is not None
    with county.hub.transaction() as session:
        by_condition = select(Study.study_id).where(may_see(reader, Study.site_id, Study.study_uid, now))
        assert set(session.scalars(select_of_all)) == set(session.scalars(by_condition))
        both = Study.study_uid.in_((elsewhere, read))
        added = select(Study.study_uid).where(both, may_add_to(reader, Study.site_id, Study.study_uid, now))
        assert session.scalars(added).all() == [read]
