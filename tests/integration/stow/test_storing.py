"""What a technician stores is held, proved and read like what a gateway brings; twice is once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from reading_queue.db.tables import Case, CaseStudy, ReadingTask
from reading_queue.services.cases.attention import StuckKind, stuck
from storage.catalogue.tables import Deposit, Instance, Pack, Study, Transfer
from storage.contract.hops import Hop
from storage.ledger.tables import AuditEvent, CustodyEvent
from tests.integration.dicomweb.county import SITE, County, bundled, with_header
from tests.integration.stow.made import big_images, images, study_of, uid_of
from tests.integration.stow.serving import STUDIES, Storing

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length:UserWarning"),
]

AsPerson = Callable[[str], Storing]
OTHER_CONTENTS, DOES_NOT_BELONG, NOT_UNDERSTOOD = 0x0111, 0xA900, 0xC000


def counts(county: County) -> dict[str, int]:
    with county.hub.transaction() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Deposit, Transfer, Pack, Instance, Study, Case, ReadingTask, CustodyEvent)
        }


def hops_of(county: County, study_uid: str) -> list[str]:
    with county.hub.transaction() as session:
        query = select(CustodyEvent.hop).where(CustodyEvent.study_uid == study_uid).order_by(CustodyEvent.event_id)
        return list(session.scalars(query))


def quarantined(county: County) -> list[str]:
    return list(county.hub.objects.list_keys("quarantine/"))


def test_study_that_a_technician_stores_is_held_to_the_byte_and_read(county: County, technician: Storing) -> None:
    files = images(1, 3)
    reply = technician.store(files)
    assert (reply.status, reply.failed()) == (200, [])
    assert sorted(reply.kept()) == sorted(map(uid_of, files))
    for item in reply.answer()["00081199"]["Value"]:
        ((_, _, body),) = technician.get(item["00081190"]["Value"][0]).parts()
        assert body in files
    assert reply.answer()["00081190"]["Value"] == [f"{STUDIES}/{study_of(files[0])}"]
    (found,) = technician.get(f"{STUDIES}?StudyInstanceUID={study_of(files[0])}").json()
    assert found["00201208"]["Value"] == [3]
    with county.hub.transaction() as session:
        case = session.scalars(select(Case).join(CaseStudy, CaseStudy.case_id == Case.case_id)).one()
        assert (case.state, case.site_id) == ("ready", SITE)
        assert session.scalar(select(ReadingTask.phase)) == "interpretation"
    assert hops_of(county, study_of(files[0])) == [Hop.DECLARED, Hop.COMMITTED, Hop.VERIFIED, Hop.CATALOGUED]


def test_who_stored_what_is_in_the_ledger_and_in_the_audit_trail(county: County, technician: Storing) -> None:
    (file,) = images(2)
    technician.store([file])
    with county.hub.transaction() as session:
        deposit = session.scalars(select(Deposit)).one()
        transfer = session.scalars(select(Transfer)).one()
        assert (deposit.state, deposit.site_id, transfer.deposit_id) == ("committed", SITE, deposit.deposit_id)
        assert (transfer.gateway_id, transfer.state) == (None, "verified")
        actor = session.scalar(select(CustodyEvent.actor).where(CustodyEvent.hop == Hop.COMMITTED))
        audited = session.scalars(select(AuditEvent).where(AuditEvent.event_code == "110107")).one()
        assert actor == audited.account_id == deposit.deposited_by
        assert (audited.object_id, audited.site_id, audited.outcome) == (study_of(file), SITE, "success")


def test_the_same_again_is_kept_without_effect(county: County, technician: Storing) -> None:
    files = images(3, 2)
    technician.store(files)
    before = counts(county)
    again = technician.store(files)
    assert (again.status, sorted(again.kept())) == (200, sorted(map(uid_of, files)))
    rewritten = [with_header(file) for file in files]  # another program wrote the file meta group
    assert technician.store(rewritten).status == 200
    assert counts(county) == before
    assert quarantined(county) == []


def test_what_the_hub_gave_is_what_the_hub_holds(county: County, technician: Storing) -> None:
    """Also of an instance that the gateway has made smaller, or that came in another syntax."""
    county.arrive(SITE, images(4))
    reply = technician.get(f"{STUDIES}/{study_of(images(4)[0])}/metadata").json()
    series, uid = reply[0]["0020000E"]["Value"][0], reply[0]["00080018"]["Value"][0]
    ((_, _, body),) = technician.get(f"{STUDIES}/{study_of(images(4)[0])}/series/{series}/instances/{uid}").parts()
    before = counts(county)
    assert technician.store([body]).kept() == [uid]
    assert counts(county) == before


def test_other_contents_under_a_held_uid_lie_in_quarantine_and_change_nothing(
    county: County, technician: Storing, as_person: AsPerson
) -> None:
    (file,) = images(5)
    other = with_header(file, PatientComments="something else")
    technician.store([file])
    before = counts(county)
    reply = technician.store([other])
    assert (reply.status, reply.kept(), reply.failed()) == (409, [], [(uid_of(file), OTHER_CONTENTS)])
    assert "other contents" in reply.words()
    (key,) = quarantined(county)
    assert county.hub.objects.read(key) == other
    assert counts(county) == before | {"custody_events": before["custody_events"] + 1}
    assert technician.store([other]).status == 409
    assert quarantined(county) == [key]
    assert counts(county) == before | {"custody_events": before["custody_events"] + 1}, (
        "the same again says nothing new"
    )
    ((_, _, held),) = technician.get(
        f"{STUDIES}/{study_of(file)}/series/{series_of(technician, file)}/instances/{uid_of(file)}"
    ).parts()
    assert held == file


def series_of(person: Storing, file: bytes) -> str:
    (series,) = person.get(f"{STUDIES}/{study_of(file)}/series").json()
    return str(series["0020000E"]["Value"][0])


def test_coordinator_is_told_of_what_lies_in_quarantine(county: County, technician: Storing, viewer_of) -> None:
    (file,) = images(6)
    technician.store([file])
    technician.store([with_header(file, PatientComments="something else")])
    (waiting,) = [one for one in stuck(county.hub, viewer_of("coordinator")) if one.kind is StuckKind.QUARANTINED]
    assert (waiting.study_uid, waiting.code, waiting.instance_count) == (study_of(file), "conflicting_instance", 1)


def test_each_part_is_answered_for_itself(county: County, technician: Storing) -> None:
    good, cut, stranger = images(7)[0], images(8)[0][:-100], with_header(images(9)[0], SOPInstanceUID="1.2.3")
    reply = technician.store([good, b"no DICOM at all", cut, stranger, b""])
    assert reply.status == 202
    assert sorted(reply.kept()) == sorted([uid_of(good), "1.2.3"])
    assert sorted(reply.failed()) == sorted([("", NOT_UNDERSTOOD), (uid_of(cut), NOT_UNDERSTOOD), ("", NOT_UNDERSTOOD)])
    assert "part 2 is no DICOM instance" in reply.words()
    with county.hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 2


def test_nothing_but_rubbish_is_a_conflict(county: County, technician: Storing) -> None:
    reply = technician.store([b"no DICOM at all", b"%PDF-1.7"])
    assert (reply.status, reply.kept(), reply.failed()) == (409, [], [("", NOT_UNDERSTOOD)] * 2)
    assert sum(counts(county).values()) == 0


def test_one_instance_twice_in_a_request_is_one(county: County, technician: Storing) -> None:
    (file,) = images(10)
    reply = technician.store([file, file, with_header(file, PatientComments="something else")])
    assert (reply.status, reply.failed()) == (202, [(uid_of(file), OTHER_CONTENTS)])
    assert set(reply.kept()) == {uid_of(file)}
    assert counts(county)["instances"] == 1
    assert len(quarantined(county)) == 1


def test_address_of_a_study_takes_only_its_own(county: County, technician: Storing) -> None:
    own, other = images(11)[0], images(12)[0]
    reply = technician.store([own, other], f"{STUDIES}/{study_of(own)}")
    assert (reply.status, reply.kept(), reply.failed()) == (202, [uid_of(own)], [(uid_of(other), DOES_NOT_BELONG)])
    assert counts(county)["studies"] == 1


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/../3", "1..2", "1.2.3\\4", "x" * 65, "1" * 65, ""])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_path_tricks_in_headers_are_no_uids(technician: Storing, county: County, keyword: str, uid: str) -> None:
    file = images(13)[0]
    reply = technician.store([with_header(file, **{keyword: uid})])
    assert (reply.status, reply.kept()) == (409, [])
    assert [reason for _, reason in reply.failed()] == [NOT_UNDERSTOOD]
    assert counts(county)["deposits"] == 0
    assert not list(Path("/etc").glob("*.dcm"))


def test_large_instance_comes_home_in_parts(county: County, technician: Storing) -> None:
    pixels = np.random.default_rng(3).integers(0, 4096, (40, 512, 512), dtype="<u2")
    file = with_header(
        images(14)[0], Rows=512, Columns=512, NumberOfFrames=40, PixelData=pixels.tobytes(), BitsStored=16, HighBit=15
    )
    assert len(file) > 16 * 1024 * 1024
    reply = technician.store([file])
    assert (reply.status, reply.kept()) == (200, [uid_of(file)])
    series = series_of(technician, file)
    ((_, _, held),) = technician.get(f"{STUDIES}/{study_of(file)}/series/{series}/instances/{uid_of(file)}").parts()
    assert held == file
    assert list(county.hub.objects.list_keys("incoming/")) == []


def test_many_instances_are_many_packs_of_one_study_and_one_revision(county: County, technician: Storing) -> None:
    files = big_images(15, 6, 4 * 1024 * 1024)
    reply = technician.store(files)
    assert (reply.status, len(reply.kept())) == (200, 6)
    with county.hub.transaction() as session:
        study = session.scalars(select(Study)).one()
        assert (study.instance_count, study.revision) == (6, 1)
        assert session.scalar(select(func.count()).select_from(Pack)) == 2
    assert hops_of(county, study_of(files[0])).count(Hop.CATALOGUED) == 1


def test_two_studies_in_one_request_are_two_cases(county: County, technician: Storing) -> None:
    reply = technician.store([images(16)[0], images(17)[0]])
    assert (reply.status, len(reply.kept())) == (200, 2)
    assert "00081190" not in reply.answer(), "there is no one address of two studies"
    assert counts(county)["cases"] == 2


def test_odd_pictures_are_stored_too(technician: Storing) -> None:
    for name in ("image_dfl.dcm", "ExplVR_BigEnd.dcm", "examples_palette.dcm", "693_J2KI.dcm", "rtdose_expb.dcm"):
        file = bundled(name)
        reply = technician.store([file])
        assert (name, reply.status, reply.words()) == (name, 200, "")
