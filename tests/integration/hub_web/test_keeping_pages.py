"""The coordinator's pages of what is kept, over HTTP: quarantine, stored bytes, retention, a study and its download."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Case
from reading_queue.domain.roles import Role
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.attention import StuckKind, stuck
from reading_queue.services.cases.casework import PATIENT_RECORD
from reading_queue.services.holdings import erasing, scrubbing
from reading_queue.services.hub import Hub
from storage.catalogue.keeping_tables import Deletion, DeletionRequest, Hold
from storage.ledger.tables import AuditEvent, CustodyEvent, OutboxMessage
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE, gateway, network, server
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import STUDY, Instance
from tests.integration.hub_keeping.keeping import Sender, packs_of, sweep
from tests.integration.hub_web.county import CHEAP
from tests.integration.hub_web.serving import Visitor, serving_hub
from tests.support.clock import SteerableClock

__all__ = ["gateway", "network", "server"]

pytestmark = pytest.mark.postgres

PASSWORD = "a long password"
PEOPLE = {"one": Role.COORDINATOR, "two": Role.ADMINISTRATOR, "doctor": Role.PHYSICIAN, "tech": Role.TECHNICIAN}
PAGE = f"/coordinator/studies/{SITE}/{STUDY}"
YEAR_S = timedelta(days=365.25).total_seconds()
WHY = "a court asks for it"

Browsers = Callable[[str], Visitor]


@pytest.fixture
def slices(gateway: GatewayStandIn, network: Hub) -> list[Instance]:
    sender = Sender(gateway, network)
    made = sender.slices(range(1, 5))
    sender.send(made[:2], made[2:])
    sweep(network)
    return made


@pytest.fixture
def browser_of(network: Hub) -> Iterator[Browsers]:
    for login, role in PEOPLE.items():
        new = accounts.NewAccount(login, f"name of {login}", PASSWORD, role, f"{SITE}-01", "en")
        accounts.create_account(network, new, hasher=CHEAP)
    stranger = accounts.NewAccount("stranger", "stranger", PASSWORD, Role.COORDINATOR, f"{OTHER_SITE}-01", "en")
    accounts.create_account(network, stranger, hasher=CHEAP)
    with serving_hub(network) as url:

        def of(login: str) -> Visitor:
            visitor = Visitor(url)
            assert visitor.log_in(login, PASSWORD).status == 303
            return visitor

        yield of


@pytest.fixture
def old(slices: list[Instance], network: Hub, hub_clock: SteerableClock) -> Hub:
    """A hub whose one study has been read, thirty years ago."""
    with network.transaction() as session:
        session.execute(update(Case).values(state="acknowledged"))
    hub_clock.advance(30.1 * YEAR_S)
    return network


def audited(hub: Hub, code: str) -> list[AuditEvent]:
    with hub.transaction() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.event_code == code)))


def set_aside(hub: Hub, number: int, place: str = "gateway:g") -> None:
    now = hub.clock()
    with hub.transaction() as session:
        session.add(
            CustodyEvent(
                event_key=f"test:{number}",
                hop="quarantined",
                site_id=SITE,
                study_uid=STUDY,
                sop_instance_uid=f"1.2.3.{number}",
                place=place,
                at=now,
                received_at=now,
                detail={"code": "dataset_truncated", "reason": "the file ends early"},
            )
        )


def quarantined(hub: Hub) -> list[str]:
    viewer = Viewer("c", "c", "c", Role.COORDINATOR, f"{SITE}-01", SITE, None, "en", hub.clock())
    return [one.code for one in stuck(hub, viewer) if one.kind is StuckKind.QUARANTINED]


def test_others_have_no_right_to_see_or_do_any_of_it(
    slices: list[Instance], network: Hub, browser_of: Browsers
) -> None:
    for login in ("doctor", "tech"):
        browser = browser_of(login)
        for path in ("/coordinator/quarantine", "/coordinator/stored", "/coordinator/retention", PAGE):
            assert browser.get(path).status == 403
        for act in ("verify", "hold", "deletion", "export"):
            assert browser.post(f"{PAGE}/{act}", reason=WHY, form="received").status == 403
    stranger = browser_of("stranger")
    assert stranger.get(PAGE).status == 404
    for act in ("verify", "hold", "deletion", "export"):
        assert stranger.post(f"{PAGE}/{act}", reason=WHY, form="received").status == 404
    assert browser_of("one").post(f"{PAGE}/hold", reason=WHY, csrf_token="").status == 403
    with network.transaction() as session:
        assert session.scalars(select(Hold)).all() == []
    assert audited(network, "110106") == []


def test_what_is_set_aside_is_acknowledged_until_more_comes(
    slices: list[Instance], network: Hub, browser_of: Browsers, hub_clock: SteerableClock
) -> None:
    browser = browser_of("one")
    assert "Nothing is set aside" in browser.get("/coordinator/quarantine").text
    set_aside(network, 1)
    page = browser.get("/coordinator/quarantine").text
    assert "The file ends in the middle" in page
    assert "Not seen yet" in page
    assert "gateway&#39;s quarantine" in page
    what = {"site_id": SITE, "study_uid": STUDY, "code": "dataset_truncated"}
    refused = browser.post("/coordinator/quarantine", **what, note="x")
    assert (refused.status, 'value="x"' in refused.text) == (422, True)
    assert browser.post("/coordinator/quarantine", **{**what, "code": "other"}, note=WHY).status == 404
    assert quarantined(network) == ["dataset_truncated"]
    hub_clock.advance(10)
    assert browser.post("/coordinator/quarantine", **what, note="the site sends it again").status == 303
    page = browser.get("/coordinator/quarantine").text
    assert "Not seen yet" not in page
    assert "Acknowledged by name of one" in page
    assert "the site sends it again" in page
    assert quarantined(network) == []
    hub_clock.advance(10)
    set_aside(network, 2)
    assert "Not seen yet" in browser.get("/coordinator/quarantine").text
    assert quarantined(network) == ["dataset_truncated"]
    assert [event.detail for event in audited(network, "110100")] == [{"acknowledged": "dataset_truncated"}]


def test_damage_is_shown_and_a_study_is_verified_when_asked(
    slices: list[Instance], network: Hub, browser_of: Browsers
) -> None:
    browser = browser_of("one")
    assert "No damage is known" in browser.get("/coordinator/stored").text
    pack = packs_of(network)[0]
    data = network.objects.read(pack.object_key)
    network.objects.delete(pack.object_key)
    for _ in range(2):  # what is under way is not asked for twice
        assert browser.post(f"{PAGE}/verify").headers["Location"] == f"{PAGE}?done=verifying"
    with network.transaction() as session:
        jobs = session.scalars(select(OutboxMessage).where(OutboxMessage.job == scrubbing.SCRUB_JOB)).all()
    assert sorted(job.subject_id for job in jobs) == sorted(one.pack_id for one in packs_of(network))
    for job in jobs:
        scrubbing.scrub(network, job.subject_id)
    page = browser.get("/coordinator/stored").text
    assert "The stored bytes are gone" in page
    assert "Images that cannot be given: 2." in page
    assert "Damaged packs: 1; images that cannot be given: 2." in browser.get(PAGE).text
    network.objects.put(pack.object_key, data, len(data))
    scrubbing.scrub(network, pack.pack_id)
    page = browser.get("/coordinator/stored").text
    assert "No damage is known" in page
    assert "was missing, is back" in page
    assert {event.detail["verify"] for event in audited(network, "110100")} == {"2", "0"}


def test_study_that_must_be_kept_says_until_when(slices: list[Instance], network: Hub, browser_of: Browsers) -> None:
    browser = browser_of("one")
    assert "being read" in browser.get(PAGE).text
    with network.transaction() as session:
        session.execute(update(Case).values(state="acknowledged"))
    page = browser.get(PAGE).text
    assert "cannot be deleted before 2056-03-02" in page
    assert "Ask for deletion" not in page
    refused = browser.post(f"{PAGE}/deletion", reason=WHY)
    assert (refused.status, "must be kept" in refused.text) == (409, True)
    rules = browser.get("/coordinator/retention").text
    assert rules.count("15 years") == 4
    assert rules.count("30 years") == 4


def test_look_at_a_study_is_audited(slices: list[Instance], network: Hub, browser_of: Browsers) -> None:
    assert browser_of("stranger").get(PAGE).status == 404
    assert audited(network, PATIENT_RECORD) == []
    assert "王芳" in browser_of("one").get(PAGE).text
    [look] = audited(network, PATIENT_RECORD)
    assert (look.action, look.object_id, look.site_id) == ("R", STUDY, SITE)


def test_hold_is_placed_shown_and_released(old: Hub, browser_of: Browsers) -> None:
    browser = browser_of("one")
    assert browser.post(f"{PAGE}/hold", reason=" ").status == 422
    assert browser.post(f"{PAGE}/hold", reason=WHY).status == 303
    assert WHY in browser.get("/coordinator/retention").text
    assert "held and cannot be deleted" in browser.get(PAGE).text
    assert browser.post(f"{PAGE}/deletion", reason=WHY).status == 409
    with old.transaction() as session:
        hold_id = session.scalars(select(Hold.hold_id)).one()
    assert browser.post(f"/coordinator/retention/holds/{hold_id}").status == 303
    assert "No study is held" in browser.get("/coordinator/retention").text


def test_deletion_needs_a_second_person(old: Hub, browser_of: Browsers) -> None:
    one, two = browser_of("one"), browser_of("two")
    assert STUDY in one.get("/coordinator/retention").text
    assert one.post(f"{PAGE}/deletion", reason="its time is over").status == 303
    with old.transaction() as session:
        request_id = session.scalars(select(DeletionRequest.request_id)).one()
    address = f"/coordinator/retention/requests/{request_id}"
    own = one.get("/coordinator/retention").text
    assert "You asked for it" in own
    assert "Approve and delete" not in own
    refused = one.post(address, act="approve")
    assert (refused.status, "Another person must decide" in refused.text) == (409, True)
    assert browser_of("doctor").post(address, act="approve").status == 403
    assert two.post(address, act="burn").status == 422
    assert "Approve and delete for good" in two.get("/coordinator/retention").text
    assert two.post(address, act="approve").status == 303
    erasing.erase(old, request_id)
    page = two.get("/coordinator/retention").text
    assert "asked name of one · approved name of two" in page
    assert one.get(PAGE).status == 404
    with old.transaction() as session:
        assert session.scalars(select(Deletion.study_uid)).all() == [STUDY]
    assert [event.detail["step"] for event in audited(old, "110105")] == ["requested", "approved"]


def test_old_password_is_asked_for_again(old: Hub, browser_of: Browsers, hub_clock: SteerableClock) -> None:
    browser = browser_of("one")
    assert 'name="password"' not in browser.get(PAGE).text
    hub_clock.advance(old.policy.reauthentication_s + 10)
    assert 'name="password"' in browser.get(PAGE).text
    assert browser.post(f"{PAGE}/deletion", reason=WHY).status == 403
    assert browser.post(f"{PAGE}/deletion", reason=WHY, password="wrong").status == 401
    assert browser.post(f"{PAGE}/deletion", reason=WHY, password=PASSWORD).status == 303


def test_study_is_downloaded_as_an_archive(slices: list[Instance], network: Hub, browser_of: Browsers) -> None:
    browser = browser_of("one")
    assert browser.post(f"{PAGE}/export", reason="", form="received").status == 422
    assert browser.post(f"{PAGE}/export", reason=WHY, form="other").status == 422
    answer = browser.post(f"{PAGE}/export", reason=WHY, form="received")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="studies-')
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        files = [archive.read(name) for name in archive.namelist() if name.startswith("DICOM/")]
    assert sorted(files) == sorted(one.file for one in slices)
    told = [(event.outcome, event.detail["step"]) for event in audited(network, "110106")]
    assert told == [("success", "begun"), ("success", "ended")]
    assert audited(network, "110106")[0].detail["reason"] == WHY
