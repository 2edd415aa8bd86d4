"""Logging in and out: cookies, locks, expiry, languages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from sqlalchemy import select

from reading_queue.services.access import accounts
from reading_queue.services.hub import Hub
from storage.ledger.tables import AuditEvent
from tests.integration.hub_web.county import COORDINATOR, PASSWORD, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor, serving_hub
from tests.support.clock import SteerableClock


def test_login_sends_everybody_to_their_own_desk(browser_of: Callable[[str], Visitor]) -> None:
    desks = {
        TECHNICIAN: "/clinic/",
        "zhou.wei": "/radiologist/",
        COORDINATOR: "/coordinator/",
        "admin": "/coordinator/",
    }
    assert {login: browser_of(login).get("/").headers["Location"] for login in desks} == desks


def test_session_cookie_is_for_this_host_and_no_script(visitor: Visitor) -> None:
    (cookie,) = visitor.post("/login", login=TECHNICIAN, password=PASSWORD).set_cookies
    assert cookie.startswith("counterpart=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie


def test_session_cookie_is_secure_when_the_hub_is_reached_over_tls(hub: Hub, county: County) -> None:
    over_tls = dataclasses.replace(hub, public_url="https://hub.example")
    with serving_hub(over_tls) as url:
        answer = Visitor(url).post("/login", login=TECHNICIAN, password=PASSWORD)
    (cookie,) = answer.set_cookies
    assert cookie.startswith("__Host-counterpart=")
    assert "Secure" in cookie
    assert "Strict-Transport-Security" in answer.headers


@pytest.mark.parametrize(
    ("login", "password"),
    [pytest.param(TECHNICIAN, "wrong", id="wrong-password"), pytest.param("nobody", PASSWORD, id="unknown-login")],
)
def test_refused_login_does_not_say_which_part_is_wrong(visitor: Visitor, login: str, password: str) -> None:
    answer = visitor.post("/login", login=login, password=password)
    assert answer.status == 401
    assert "账号或密码不正确" in answer.text
    assert not answer.set_cookies


def test_account_is_locked_after_repeated_failures_even_for_the_right_password(
    visitor: Visitor, hub: Hub, hub_clock: SteerableClock
) -> None:
    for _ in range(hub.policy.failed_logins_max):
        assert visitor.post("/login", login=TECHNICIAN, password="wrong").status == 401
    assert visitor.post("/login", login=TECHNICIAN, password=PASSWORD).status == 401
    hub_clock.advance(hub.policy.login_lock_s + 1)
    assert visitor.post("/login", login=TECHNICIAN, password=PASSWORD).status == 303


def test_every_attempt_is_in_the_audit_trail(visitor: Visitor, hub: Hub) -> None:
    visitor.post("/login", login="nobody", password="wrong")
    visitor.post("/login", login=TECHNICIAN, password="wrong")
    visitor.post("/login", login=TECHNICIAN, password=PASSWORD)
    with hub.transaction() as session:
        events = session.scalars(
            select(AuditEvent).where(AuditEvent.event_code == "110114").order_by(AuditEvent.audit_id)
        ).all()
    assert [event.outcome for event in events] == ["failure", "failure", "success"]
    assert [event.detail.get("reason") for event in events] == ["unknown_login", "wrong_password", None]


def test_logout_ends_the_session_at_the_hub(browser_of: Callable[[str], Visitor], url: str) -> None:
    browser = browser_of(TECHNICIAN)
    stolen = dict(browser.cookies)
    assert browser.post("/logout").headers["Location"] == "/login"
    assert Visitor(url, cookies=stolen).get("/clinic/").status == 303


def test_idle_session_ends_and_a_refreshing_page_does_not_keep_it(
    browser_of: Callable[[str], Visitor], hub: Hub, hub_clock: SteerableClock
) -> None:
    browser = browser_of(TECHNICIAN)
    hub_clock.advance(hub.policy.session_idle_s - 60)
    assert browser.get("/clinic/", HX_Request="true").status == 200
    hub_clock.advance(120)
    answer = browser.get("/clinic/", HX_Request="true")
    assert (answer.status, answer.headers["HX-Redirect"]) == (401, "/login")


def test_session_ends_at_last_however_busy(
    browser_of: Callable[[str], Visitor], hub: Hub, hub_clock: SteerableClock
) -> None:
    browser = browser_of(TECHNICIAN)
    for _ in range(int(hub.policy.session_max_s // 3600)):
        assert browser.get("/clinic/").status == 200
        hub_clock.advance(3600)
    assert browser.get("/clinic/").status == 303


def test_password_is_stored_as_argon2_and_tokens_as_digests(hub: Hub, county: County) -> None:
    opened = accounts.login(hub, TECHNICIAN, PASSWORD, "browser")
    with hub.transaction() as session:
        from reading_queue.db.tables import Account, Session

        assert session.scalars(select(Account.password_hash)).first().startswith("$argon2id$")
        assert session.scalars(select(Session.token_sha256)).one() != opened.token


def test_login_returns_only_to_addresses_of_ours(visitor: Visitor) -> None:
    there = {
        target: Visitor(visitor.url)
        .post("/login", login=TECHNICIAN, password=PASSWORD, next=target)
        .headers["Location"]
        for target in ("/clinic/", "//evil.example", "https://evil.example", "/\\evil.example")
    }
    assert there == {
        "/clinic/": "/clinic/",
        "//evil.example": "/",
        "https://evil.example": "/",
        "/\\evil.example": "/",
    }


def test_language_is_chinese_first_and_follows_the_account(browser_of: Callable[[str], Visitor], url: str) -> None:
    assert 'lang="zh-CN"' in Visitor(url).get("/login").text
    browser = browser_of(TECHNICIAN)
    assert "检查列表" in browser.get("/clinic/").text
    assert browser.post("/language", language="en", next="/clinic/").headers["Location"] == "/clinic/"
    assert "Log out" in browser.get("/clinic/").text
    assert "Log out" in browser_of(TECHNICIAN).get("/clinic/").text


def test_language_can_be_chosen_before_login(visitor: Visitor) -> None:
    visitor.post("/language", language="en", next="/login")
    assert "Password" in visitor.get("/login").text


def test_cookie_token_is_no_bearer_token_and_the_reverse(
    browser_of: Callable[[str], Visitor], program_of: Callable[[str], Visitor], url: str
) -> None:
    of_browser = browser_of(TECHNICIAN).cookies["counterpart"]
    of_program = program_of(TECHNICIAN).bearer
    assert Visitor(url, bearer=of_browser).call("GET", "/me").status == 401
    assert Visitor(url, cookies={"counterpart": of_program}).get("/clinic/").status == 303
