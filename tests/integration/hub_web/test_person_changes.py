"""Somebody's name, language and organisation changed; a lost password reset, and changed before anything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select, update

from reading_queue.db.tables import Account, Agreement, Offer, Organisation, Physician, Session
from reading_queue.domain.roles import Role
from reading_queue.services.access import accounts
from reading_queue.services.access.accounts import LoginRefused, PasswordChangeNeeded
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_people, network_views
from reading_queue.services.network.network import export_network, plan_import
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_editing import (
    FieldsInvalid,
    NotYours,
    StaleVersion,
    save_organisation,
    save_physician,
)
from storage.ledger.tables import AuditEvent
from tests.integration.hub_web.county import (
    ADMINISTRATOR,
    AUTHOR,
    CHEAP,
    COORDINATOR,
    PASSWORD,
    TECHNICIAN,
    VERIFIER,
    County,
    read_document,
)
from tests.integration.hub_web.serving import Visitor

pytestmark = pytest.mark.postgres

HOSPITAL, ELSEWHERE, OWN = "qinghe-renmin", "linlan-diyi", "a password of my own"
LICENCE_OF_VERIFIER = next(one["licence_number"] for one in read_document()["physicians"] if one["login"] == VERIFIER)
ROOM = "/coordinator/network"


def account_of(hub: Hub, login: str) -> Account:
    with hub.transaction() as session:
        return session.scalars(select(Account).where(Account.login == login)).one()


def physician_of(hub: Hub, viewer: Viewer, login: str) -> network_views.PhysicianView:
    with hub.transaction() as session:
        own = select(Physician.physician_id).join(Account, Account.account_id == Physician.account_id)
        physician_id = session.scalars(own.where(Account.login == login)).one()
    return network_views.view_physician(hub, viewer, physician_id)


def test_physician_who_goes_to_another_hospital_is_offered_nothing_more_of_the_first(hub: Hub, county: County) -> None:
    case_id = county.arrive("1.2.3.4")
    administrator = county.viewer(ADMINISTRATOR)
    seen = physician_of(hub, administrator, AUTHOR)
    given = {"name": "周 伟（调）", "language": "en", "organisation": "qinghe-t02"}
    network_people.save_person(hub, administrator, seen.account_id, given, seen.person_version)
    county.run_jobs()
    moved = physician_of(hub, administrator, AUTHOR)
    assert (moved.name, moved.language, moved.organisation_id) == ("周 伟（调）", "en", "qinghe-t02")
    assert administrator.display_name in {line.by for line in moved.history}
    with hub.transaction() as session:
        theirs = select(Offer.state).where(
            Offer.reading_task_id == county.task(case_id), Offer.physician_id == seen.physician_id
        )
        assert session.scalars(theirs).all() == ["withdrawn"]
    with pytest.raises(StaleVersion):
        network_people.save_person(hub, administrator, seen.account_id, given, seen.person_version)
    assert plan_import(hub, export_network(hub), whole=True).changes == ()


@pytest.mark.parametrize(
    ("login", "changes", "refusal", "fields"),
    [
        (AUTHOR, {"organisation": "nowhere"}, FieldsInvalid, ("organisation",)),
        (AUTHOR, {"organisation": ELSEWHERE}, NotYours, None),
        (AUTHOR, {"name": " ", "language": "fr"}, FieldsInvalid, ("language", "name")),
        (AUTHOR, {"role": "administrator"}, FieldsInvalid, ("role",)),
        (TECHNICIAN, {"organisation": HOSPITAL}, FieldsInvalid, ("organisation",)),
        (ADMINISTRATOR, {}, NotYours, None),
    ],
)
def test_what_does_not_make_sense_of_a_person_is_refused_by_its_field(
    hub: Hub, county: County, login: str, changes: dict[str, Any], refusal: type[Exception], fields: Any
) -> None:
    before, row = export_network(hub), account_of(hub, login)
    given = {"name": row.display_name, "language": row.language, "organisation": row.organisation_id, **changes}
    with pytest.raises(refusal) as refused:
        network_people.save_person(hub, county.viewer(COORDINATOR), row.account_id, given, 1)
    assert getattr(refused.value, "fields", None) == fields
    assert export_network(hub) == before


def test_nobody_moves_to_a_hospital_where_they_read_already_neither_by_hand_nor_by_file(
    hub: Hub, county: County
) -> None:
    administrator = county.viewer(ADMINISTRATOR)
    with hub.transaction() as session:
        own = select(Account.account_id).where(Account.login == AUTHOR)
        session.execute(
            update(Physician).where(Physician.account_id == own.scalar_subquery()).values(also_at=[ELSEWHERE])
        )
    seen = physician_of(hub, administrator, AUTHOR)
    assert seen.also_at == (network_views.view_organisation(hub, administrator, ELSEWHERE).name,)
    given = {"name": seen.name, "language": "zh", "organisation": ELSEWHERE}
    with pytest.raises(FieldsInvalid, match="also_at"):
        network_people.save_person(hub, administrator, seen.account_id, given, seen.person_version)
    document = export_network(hub)
    next(one for one in document["physicians"] if one["login"] == AUTHOR)["organisation"] = ELSEWHERE
    with pytest.raises(NetworkInvalid, match=r"also_at: linlan-diyi is their own hospital already"):
        plan_import(hub, document)


def test_reset_password_ends_the_sessions_and_opens_nothing_before_it_is_changed(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], url: str
) -> None:
    working, row = browser_of(AUTHOR), account_of(hub, AUTHOR)
    browser = browser_of(ADMINISTRATOR)
    shown = browser.post(f"{ROOM}/organisations/{HOSPITAL}/people/{row.account_id}/password", None)
    assert shown.status == 200, shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    login, password = re.findall(r"<code>([^<]+)</code>", shown.text)
    assert login == AUTHOR, "whose it is stands beside it"
    assert working.get("/radiologist/").headers["Location"].startswith("/login")
    with pytest.raises(LoginRefused):
        accounts.login(hub, AUTHOR, PASSWORD, "browser")
    person = Visitor(url)
    assert person.log_in(AUTHOR, password).status == 303
    for path in ("/radiologist/", "/clinic/", ROOM):
        assert person.get(path).headers["Location"] == "/password"
    assert person.post("/radiologist/away", None).headers["Location"] == "/password"
    person.get("/password")
    for wrong in (
        {"password": password, "new_password": password, "password_again": password},
        {"password": password, "new_password": "short", "password_again": "short"},
        {"password": password, "new_password": OWN, "password_again": "another one"},
        {"password": "no such", "new_password": OWN, "password_again": OWN},
    ):
        assert person.post("/password", None, **wrong).status == 422
    changed = person.post("/password", None, password=password, new_password=OWN, password_again=OWN)
    assert (changed.status, changed.headers["Location"]) == (303, "/radiologist/")
    assert person.get("/radiologist/").status == 200
    accounts.login(hub, AUTHOR, OWN, "browser")
    with hub.transaction() as session:
        acts = select(AuditEvent.account_id, AuditEvent.detail["password"].astext).where(
            AuditEvent.object_id == row.account_id, AuditEvent.detail.has_key("password")
        )
        administrator = county.viewer(ADMINISTRATOR).account_id
        assert set(session.execute(acts).all()) == {(administrator, "reset"), (row.account_id, "changed")}
    own = browser.post(f"{ROOM}/organisations/{HOSPITAL}/people/{administrator}/password", None)
    assert own.status == 409


def test_programs_edit_people_and_reset_and_change_passwords(
    hub: Hub, county: County, program_of: Callable[[str], Visitor], url: str
) -> None:
    program, row = program_of(ADMINISTRATOR), account_of(hub, TECHNICIAN)
    version = 1
    facts = {"name": "改名", "language": "en", "organisation": row.organisation_id}
    path = f"/network/people/{row.account_id}"
    assert program.call("PUT", path, {"facts": facts, "version": version}).status == 204
    assert program.call("PUT", path, {"facts": facts, "version": version}).json()["code"] == "stale_version"
    assert account_of(hub, TECHNICIAN).display_name == "改名"
    password = program.call("POST", f"{path}/password").json()["password"]
    assert program_of(COORDINATOR).call("POST", f"{path}/password").status == 403
    technician = Visitor(url)
    technician.take_token(TECHNICIAN, password)
    refused = technician.call("GET", "/studies")
    assert (refused.status, refused.json()["code"]) == (403, "password_change_needed")
    assert technician.call("POST", "/session/password", {"password": password, "new": OWN}).status == 204
    assert technician.call("GET", "/studies").status == 200


def test_password_that_was_made_for_somebody_new_is_theirs_to_change_first(hub: Hub, county: County) -> None:
    new = {"name": "新人", "organisation": HOSPITAL}
    added = network_people.add_person(hub, county.viewer(ADMINISTRATOR), Role.COORDINATOR, "xin", new, hasher=CHEAP)
    token = accounts.login(hub, "xin", added.password, "api").token
    with pytest.raises(PasswordChangeNeeded):
        accounts.find_viewer(hub, token)
    other = accounts.login(hub, "xin", added.password, "api").token
    accounts.change_password(hub, token, added.password, OWN, hasher=CHEAP)
    assert accounts.find_viewer(hub, token) is not None
    assert accounts.find_viewer(hub, other) is None
    with hub.transaction() as session:
        assert len(session.scalars(select(Session).where(Session.account_id == added.account_id)).all()) == 1


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"licence_valid_until": "2020-01-01"}, ("licence_valid_until",)),
        ({"also_at": [HOSPITAL]}, ("also_at",)),
        ({"also_at": ["nowhere"]}, ("also_at",)),
        ({"licence_number": LICENCE_OF_VERIFIER}, ("licence_number",)),
    ],
)
def test_terms_that_a_file_could_not_give_are_refused_at_the_desk_too(
    hub: Hub, county: County, changes: dict[str, Any], fields: tuple[str, ...]
) -> None:
    coordinator, before = county.viewer(COORDINATOR), export_network(hub)
    seen = physician_of(hub, coordinator, AUTHOR)
    with pytest.raises(FieldsInvalid) as refused:
        save_physician(hub, coordinator, seen.physician_id, {**seen.facts, **changes}, seen.version)
    assert refused.value.fields == fields
    assert export_network(hub) == before


def test_a_change_looks_at_what_it_touches_and_not_at_the_whole_network(hub: Hub, county: County) -> None:
    administrator, loaded = county.viewer(ADMINISTRATOR), list[object]()
    seen = physician_of(hub, administrator, AUTHOR)

    def note(row: object, _: object) -> None:
        loaded.append(row)

    tables = (Account, Physician, Organisation, Agreement)
    for table in tables:
        event.listen(table, "load", note)
    try:
        save_physician(hub, administrator, seen.physician_id, {**seen.facts, "wip_max": 3}, seen.version)
        given = {"name": "周伟", "language": "en", "organisation": HOSPITAL}
        network_people.save_person(hub, administrator, seen.account_id, given, seen.person_version)
    finally:
        for table in tables:
            event.remove(table, "load", note)
    assert {row.login for row in loaded if isinstance(row, Account)} == {AUTHOR, ADMINISTRATOR}
    assert not any(isinstance(row, Agreement) for row in loaded)
    assert len(loaded) < 20


def test_nothing_is_put_so_deep_that_routing_would_not_look_above_it(hub: Hub, county: County) -> None:
    administrator, above = county.viewer(ADMINISTRATOR), None
    for number in range(8):
        facts = {"kind": "county", "name": f"第{number}级", "parent": above}
        save_organisation(hub, administrator, f"level-{number}", facts, 0)
        above = f"level-{number}"
    before = export_network(hub)
    with pytest.raises(FieldsInvalid, match="parent"):
        save_organisation(hub, administrator, "level-8", {"kind": "county", "name": "更低", "parent": above}, 0)
    top = {"kind": "county", "name": "第0级", "parent": "linlan-diyi"}
    with pytest.raises(FieldsInvalid, match="parent"):
        save_organisation(hub, administrator, "level-0", top, 1)
    with pytest.raises(
        NetworkInvalid, match=r"organisations\[0\].parent: level-7 would have more than 7 levels above it"
    ):
        plan_import(hub, {"organisations": [{"id": "level-0", **top}]})
    assert export_network(hub) == before
