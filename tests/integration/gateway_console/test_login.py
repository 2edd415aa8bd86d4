"""Named people come in, others do not, with the line down as well."""

from __future__ import annotations

from datetime import timedelta

from gateway.console import accounts
from gateway.journal.accounts import confirm_accounts, take_over_accounts
from tests.integration.gateway_console.conftest import PASSWORD, Clinic, hub_account


def test_right_password_opens_todays_studies(clinic: Clinic):
    someone = clinic.browser()
    page = someone.post("/login", login="tech", password=PASSWORD, next="/line")
    assert (page.status, page.headers["Location"]) == (303, "/line")
    cookie = page.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "高原" in someone.get("/studies").text
    assert "login" in clinic.verbs()


def test_wrong_password_and_unknown_name_look_the_same(clinic: Clinic):
    wrong = clinic.browser().post("/login", login="tech", password="wrong")
    unknown = clinic.browser().post("/login", login="nobody", password="wrong")
    assert wrong.status == unknown.status == 401
    assert wrong.text.replace("tech", "") == unknown.text.replace("nobody", "")
    assert clinic.verbs().count("login_refused") == 2
    assert clinic.desk.settings.hub.url in wrong.text, "where a password that somebody gave is changed first"


def test_account_is_locked_after_failures_in_a_row_and_opens_by_itself(clinic: Clinic):
    for _ in range(3):
        assert clinic.browser().log_in("tech", "wrong").status == 401
    assert clinic.browser().log_in("tech").status == 401
    clinic.clock.advance(clinic.desk.console.login_lock_s + 1)
    assert clinic.browser().log_in("tech").status == 303


def test_lock_does_not_outlast_a_clock_that_was_set_back(clinic: Clinic):
    for _ in range(3):
        clinic.browser().log_in("tech", "wrong")
    clinic.clock.advance(-86400)
    assert clinic.browser().log_in("tech").status == 303


def test_hubs_account_comes_in_and_goes_when_the_hub_disables_it(clinic: Clinic):
    take_over_accounts(clinic.journal, [hub_account("li")], "v1", clinic.clock())
    someone = clinic.logged_in("li")
    take_over_accounts(clinic.journal, [hub_account("li", disabled=True)], "v2", clinic.clock())
    assert someone.get("/studies").status == 303
    assert clinic.browser().log_in("li").status == 401
    take_over_accounts(clinic.journal, [hub_account("li")], "v3", clinic.clock())
    assert clinic.browser().log_in("li").status == 303


def test_account_that_the_hub_no_longer_names_is_disabled(clinic: Clinic):
    take_over_accounts(clinic.journal, [hub_account("li"), hub_account("wang")], "v1", clinic.clock())
    someone = clinic.logged_in("li")
    take_over_accounts(clinic.journal, [hub_account("wang")], "v2", clinic.clock())
    assert someone.get("/studies").status == 303
    assert clinic.browser().log_in("li").status == 401
    assert clinic.browser().log_in("wang").status == 303


def test_another_password_at_the_hub_ends_the_sessions_of_the_old_one(clinic: Clinic):
    take_over_accounts(clinic.journal, [hub_account("li")], "v1", clinic.clock())
    someone = clinic.logged_in("li")
    take_over_accounts(clinic.journal, [hub_account("li", password="quite another")], "v2", clinic.clock())
    assert someone.get("/studies").status == 303
    assert clinic.browser().log_in("li", "quite another").status == 303


def test_local_account_does_not_stand_in_for_a_disabled_one_of_the_hub(clinic: Clinic):
    take_over_accounts(clinic.journal, [hub_account("tech", disabled=True)], "v1", clinic.clock())
    assert clinic.browser().log_in("tech").status == 401


def test_hubs_accounts_are_good_offline_for_so_long_and_then_the_page_says_what_to_do(clinic: Clinic):
    take_over_accounts(clinic.journal, [hub_account("li")], "v1", clinic.clock())
    clinic.clock.advance(29 * 86400)
    someone = clinic.logged_in("li")
    clinic.clock.advance(2 * 86400)
    assert someone.get("/studies").status == 303
    refused = clinic.browser().log_in("li")
    assert refused.status == 401
    assert "account add" in refused.text
    assert clinic.browser().log_in("tech").status == 303, "local accounts do not depend on the hub"
    confirm_accounts(clinic.journal, clinic.clock())
    assert clinic.browser().log_in("li").status == 303


def test_session_ends_after_rest_and_after_its_time(clinic: Clinic):
    resting, busy = clinic.logged_in(), clinic.logged_in()
    for _ in range(4):
        clinic.clock.advance(7 * 3600)
        last = busy.get("/studies").status
    assert resting.get("/studies").status == 303
    assert last == 303, "the whole time of a session is over"


def test_page_that_refreshes_itself_keeps_nobody_logged_in(clinic: Clinic):
    someone = clinic.logged_in()
    clinic.clock.advance(5 * 3600)
    assert someone.get("/studies", **{"HX-Request": "true"}).status == 200
    clinic.clock.advance(5 * 3600)
    assert someone.get("/studies", **{"HX-Request": "true"}).status == 401


def test_logout_ends_the_session(clinic: Clinic):
    someone = clinic.logged_in()
    cookies = dict(someone.cookies)
    assert someone.post("/logout").status == 303
    someone.cookies = cookies
    assert someone.get("/studies").status == 303


def test_only_the_digest_of_a_token_is_in_the_journal(clinic: Clinic):
    someone = clinic.logged_in()
    (token,) = [value for name, value in someone.cookies.items() if name.startswith("counterpart")]
    stored = clinic.journal.read("SELECT token_sha256 FROM sessions")
    assert token not in {row["token_sha256"] for row in stored}


def test_local_account_can_be_disabled_and_get_another_password(clinic: Clinic):
    someone = clinic.logged_in()
    accounts.change_local_password(clinic.journal, "tech", "another password", clinic.clock())
    assert someone.get("/studies").status == 303
    assert clinic.browser().log_in("tech", "another password").status == 303
    accounts.disable_local_account(clinic.journal, "tech", clinic.clock() + timedelta(seconds=1))
    assert clinic.browser().log_in("tech", "another password").status == 401
