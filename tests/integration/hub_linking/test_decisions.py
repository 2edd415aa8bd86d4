"""What persons decide about links: it holds, it can be undone, and whoever may not decide knows of nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from reading_queue.db.schema import upgrade
from reading_queue.db.tables import Organisation
from reading_queue.domain.links import LinkAct, LinkState
from reading_queue.domain.roles import Role
from reading_queue.errors import Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings import erasing
from reading_queue.services.holdings.rebuilding import rebuild
from reading_queue.services.hub import Hub
from reading_queue.services.patients import link_desk, linking
from reading_queue.services.patients.link_desk import DECISIONS_MAX, LinkChanged, TooManyDecisions, decide, list_links
from storage.catalogue.keeping_tables import DeletionRequest
from storage.catalogue.link_records import LINKS, parse_link
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.snapshot import differences
from storage.ledger.tables import AuditEvent
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_keeping.keeping import lines_of, sweep
from tests.integration.hub_linking.patients import (
    Clinic,
    links_of,
    person,
    record_of,
    resident_id,
    run_links,
    states_of,
)
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

NUMBER = resident_id()
WHY = "both clinics were asked"
COUNTY = "qinghe-county"


@pytest.fixture
def county(network: Hub) -> str:
    """An organisation above both sites."""
    with network.transaction() as session:
        session.add(Organisation(organisation_id=COUNTY, kind="county", name=COUNTY))
        session.flush()
        session.execute(sa.update(Organisation).where(Organisation.kind == "township").values(parent_id=COUNTY))
    return COUNTY


@pytest.fixture
def li(network: Hub, county: str) -> Viewer:
    """The coordinator of both sites."""
    return person(network, county)


@pytest.fixture
def other(network: Hub, empty_database: sa.Engine) -> Iterator[Hub]:
    """The same hub on an empty database."""
    upgrade(empty_database)
    return replace(network, engine=empty_database)


@pytest.fixture
def suggested(qinghe: Clinic, baishan: Clinic, network: Hub) -> str:
    """A suggestion: the patient has a national ID at one site only. Return the link's id."""
    qinghe.study()
    baishan.study(PatientID=NUMBER)
    (link,) = links_of(network)
    assert link.state == "suggested"
    return link.link_id


def link_now(hub: Hub) -> PatientLink:
    (link,) = links_of(hub)
    return link


def look_again(hub: Hub) -> None:
    for site, number in ((SITE, "P-0001"), (OTHER_SITE, NUMBER)):
        linking.link(hub, record_of(hub, site, number).patient_id)


def let_all_agree(qinghe: Clinic) -> None:
    qinghe.order(identity_kind="resident", identity_number=NUMBER)


def test_page_shows_both_sides_and_the_look_is_in_the_audit_trail(network: Hub, li: Viewer, suggested: str) -> None:
    page = list_links(network, li)
    (one,) = page.links
    assert (page.counts[LinkState.SUGGESTED], page.next_after) == (1, None)
    assert [(side.site_id, side.patient_number, side.name, side.sex, str(side.birth_date)) for side in one.sides] == [
        (OTHER_SITE, NUMBER, "王^芳", "F", "1980-02-29"),
        (SITE, "P-0001", "王^芳", "F", "1980-02-29"),
    ]
    assert [(side.study_count, str(side.last_study_date)) for side in one.sides] == [(1, "2026-03-02")] * 2
    assert (one.traits["national_id"], one.traits["name"], one.acts) == (
        "unknown",
        "agrees",
        (LinkAct.ACCEPT, LinkAct.REFUSE),
    )
    with network.transaction() as session:
        (look,) = session.scalars(select(AuditEvent).where(AuditEvent.account_id == "li"))
    assert (look.action, look.object_kind, look.detail) == ("R", "patient_link", {"listed": [suggested]})


def test_pages_end_where_links_end(
    network: Hub, li: Viewer, qinghe: Clinic, baishan: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_desk, "LISTED_MAX", 2)
    for number in range(3):
        for clinic in (qinghe, baishan):
            clinic.study(PatientID=f"P-{number}", PatientBirthDate=f"1980010{number + 1}")
    first = list_links(network, li, LinkState.SUGGESTED)
    decide(network, li, first.links[0].link_id, LinkAct.REFUSE, WHY)  # what goes meanwhile shifts nothing
    last = list_links(network, li, LinkState.SUGGESTED, first.next_after)
    assert [len(page.links) for page in (first, last)] == [2, 1]
    assert last.next_after is None
    assert len({one.link_id for page in (first, last) for one in page.links}) == 3


def test_accepted_link_holds_whatever_the_facts_say_later(
    network: Hub, li: Viewer, suggested: str, baishan: Clinic
) -> None:
    decide(network, li, suggested, LinkAct.ACCEPT, WHY)
    baishan.study(PatientID=NUMBER, PatientName="李^娜")
    link = link_now(network)
    assert (link.state, link.is_by_person, link.comparison["traits"]["name"]) == ("linked", True, "differs")


def test_refused_link_is_never_suggested_or_made_again(
    network: Hub, li: Viewer, suggested: str, qinghe: Clinic
) -> None:
    decide(network, li, suggested, LinkAct.REFUSE, WHY)
    let_all_agree(qinghe)
    look_again(network)
    assert states_of(network) == ["refused"]


@pytest.mark.parametrize("act", [LinkAct.ACCEPT, LinkAct.REFUSE])
def test_what_was_undone_waits_for_a_person_although_all_agrees(
    network: Hub, li: Viewer, suggested: str, qinghe: Clinic, act: LinkAct
) -> None:
    decide(network, li, suggested, act, WHY)
    decide(network, li, suggested, LinkAct.UNDO, "it was another woman")
    let_all_agree(qinghe)
    look_again(network)
    assert (link_now(network).state, link_now(network).comparison["doubts"]) == ("suggested", [])


def test_link_that_facts_made_is_taken_apart_for_good(network: Hub, li: Viewer, suggested: str, qinghe: Clinic) -> None:
    let_all_agree(qinghe)
    assert states_of(network) == ["linked"]
    decide(network, li, suggested, LinkAct.REFUSE, WHY)
    look_again(network)
    assert states_of(network) == ["refused"]


def test_every_decision_has_who_when_and_why(
    network: Hub, li: Viewer, suggested: str, hub_clock: SteerableClock
) -> None:
    acts = (LinkAct.ACCEPT, LinkAct.UNDO, LinkAct.REFUSE)
    for act in acts:
        hub_clock.advance(60)
        decide(network, li, suggested, act, f"why {act}")
    (shown,) = list_links(network, li, LinkState.REFUSED).links
    assert [(one.act, one.by, one.reason) for one in shown.decisions] == [
        (act, "li", f"why {act}") for act in reversed(acts)
    ]
    assert len({one.at for one in shown.decisions}) == 3
    with network.transaction() as session:
        trail = session.scalars(select(AuditEvent).where(AuditEvent.action == "U", AuditEvent.account_id == "li"))
        said = [(row.object_id, row.detail["act"], row.detail["reason"], row.detail["became"]) for row in trail]
    became = ("linked", "suggested", "refused")
    assert said == [(suggested, act, f"why {act}", after) for act, after in zip(acts, became, strict=True)]


def test_who_does_not_oversee_both_sites_knows_of_no_link(
    network: Hub, suggested: str, qinghe: Clinic, baishan: Clinic, county: str
) -> None:
    for viewer in (qinghe.coordinator(), baishan.coordinator(), person(network, "nowhere")):
        page = list_links(network, viewer)
        assert (page.links, set(page.counts.values())) == ((), {0})
        with pytest.raises(NotFound):
            decide(network, viewer, suggested, LinkAct.ACCEPT, WHY)
    for role in (Role.TECHNICIAN, Role.PHYSICIAN):
        with pytest.raises(Forbidden):
            list_links(network, person(network, county, role))
        with pytest.raises(Forbidden):
            decide(network, person(network, county, role), suggested, LinkAct.ACCEPT, WHY)
    assert states_of(network) == ["suggested"]


def test_decision_on_what_has_changed_meanwhile_is_refused(network: Hub, li: Viewer, suggested: str) -> None:
    seen = link_now(network).version
    decide(network, li, suggested, LinkAct.ACCEPT, WHY, version=seen)
    for act, version in ((LinkAct.REFUSE, seen), (LinkAct.ACCEPT, None)):
        with pytest.raises(LinkChanged):
            decide(network, li, suggested, act, WHY, version=version)
    assert states_of(network) == ["linked"]


def test_two_persons_at_once_decide_once(network: Hub, li: Viewer, suggested: str) -> None:
    seen, together, refused = link_now(network).version, threading.Barrier(2), []

    def work(act: LinkAct) -> None:
        together.wait(60)
        try:
            decide(network, li, suggested, act, WHY, version=seen)
        except LinkChanged:
            refused.append(act)

    threads = [threading.Thread(target=work, args=(act,)) for act in (LinkAct.ACCEPT, LinkAct.REFUSE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert len(link_now(network).decisions) == 1


def test_decision_while_the_facts_are_looked_at_holds(network: Hub, li: Viewer, suggested: str, qinghe: Clinic) -> None:
    """The facts would link; a person refuses at the same moment: whoever comes first, the person's word stands."""
    qinghe.order(identity_kind="resident", identity_number=NUMBER, link=False)
    together = threading.Barrier(2)

    def look() -> None:
        together.wait(60)
        look_again(network)

    thread = threading.Thread(target=look)
    thread.start()
    together.wait(60)
    decide(network, li, suggested, LinkAct.REFUSE, WHY)
    thread.join()
    look_again(network)
    assert states_of(network) == ["refused"]


@pytest.mark.parametrize("reason", ["", " a ", "x" * 201])
def test_reason_must_say_something(network: Hub, li: Viewer, suggested: str, reason: str) -> None:
    with pytest.raises(Invalid):
        decide(network, li, suggested, LinkAct.REFUSE, reason)


def test_link_that_goes_back_and_forth_for_ever_is_no_matter_for_a_button(
    network: Hub, li: Viewer, suggested: str
) -> None:
    for number in range(DECISIONS_MAX):
        decide(network, li, suggested, LinkAct.UNDO if number % 2 else LinkAct.ACCEPT, WHY)
    with pytest.raises(TooManyDecisions):
        decide(network, li, suggested, LinkAct.ACCEPT, WHY)


@pytest.mark.parametrize("acts", [(LinkAct.ACCEPT,), (LinkAct.REFUSE,), (LinkAct.ACCEPT, LinkAct.UNDO)])
def test_decisions_survive_a_rebuild_and_the_facts_are_looked_at_again(
    network: Hub,
    li: Viewer,
    suggested: str,
    qinghe: Clinic,
    baishan: Clinic,
    other: Hub,
    hub_clock: SteerableClock,
    acts: tuple[LinkAct, ...],
) -> None:
    for act in acts:
        decide(network, li, suggested, act, WHY)
    for clinic in (qinghe, baishan):
        clinic.study(PatientID="P-0009", PatientName="李^娜", OtherPatientIDs=resident_id(serial=55))
    sweep(network)
    assert rebuild(other).problems == ()
    assert list(differences(iter(lines_of(network)), iter(lines_of(other)))) == []
    assert any(line.kind == "link" for line in lines_of(other))
    hub_clock.advance(120)
    assert linking.relaunch_linking(other) == 4
    run_links(other)
    assert states_of(other) == states_of(network)
    assert {link.link_id for link in links_of(network)} & {link.link_id for link in links_of(other)} == {suggested}
    (kept,) = [link for link in links_of(other) if link.link_id == suggested]
    assert kept.comparison["traits"]["national_id"] == "unknown"


def test_rebuild_names_what_it_cannot_take_in(network: Hub, li: Viewer, suggested: str, other: Hub) -> None:
    decide(network, li, suggested, LinkAct.ACCEPT, WHY)
    (key,) = network.objects.list_keys(LINKS)
    data = network.objects.read(key)
    strange = {
        f"{LINKS}rubbish.json": b"{}",
        f"{LINKS}{'0' * 32}.json": data,
        f"{LINKS}{'1' * 32}.json": data.replace(suggested.encode(), b"1" * 32).replace(b"P-0001", b"P-0002"),
    }
    for name, content in strange.items():
        network.objects.put(name, content, len(content))
    assert {name for name, _ in rebuild(other).problems} == strange.keys()
    assert states_of(other) == ["linked"]


def test_object_storage_is_told_when_it_answers_again(
    network: Hub, li: Viewer, suggested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*arguments: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(network.objects, "put", unavailable)
        decide(network, li, suggested, LinkAct.ACCEPT, WHY)
    assert list(network.objects.list_keys(LINKS)) == []
    assert (link_desk.record_links(network), link_desk.record_links(network)) == (1, 0)
    (key,) = network.objects.list_keys(LINKS)
    record = parse_link(key, network.objects.read(key))
    assert [(one.act, one.by, one.reason) for one in record.decisions] == [("accept", "li", WHY)]


def test_link_is_gone_with_the_last_study_of_a_record(network: Hub, li: Viewer, suggested: str) -> None:
    decide(network, li, suggested, LinkAct.ACCEPT, WHY)
    with network.transaction() as session:
        study_uid = session.execute(sa.text(f"SELECT study_uid FROM studies WHERE site_id = '{SITE}'")).scalar_one()
        session.add(
            DeletionRequest(
                request_id="r",
                site_id=SITE,
                study_uid=study_uid,
                reason="-",
                state="approved",
                requested_by="a",
                requested_at=network.clock(),
                decided_by="b",
                decided_at=network.clock(),
            )
        )
    erasing.erase(network, "r")
    assert links_of(network) == []
    assert list(network.objects.list_keys(LINKS)) == []
