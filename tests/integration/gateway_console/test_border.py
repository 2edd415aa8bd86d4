"""What comes from outside and does not belong is refused in words, and changes nothing."""

from __future__ import annotations

import pytest

from gateway.console.middlewares import BODY_BYTES_MAX
from tests.integration.gateway_console.conftest import PASSWORD, Clinic

PAGES = ("/studies", "/orders", "/orders/new", "/reports", "/attention", "/line", "/imports")


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_logging_in(clinic: Clinic, path):
    page = clinic.browser().get(path)
    assert (page.status, page.headers["Location"]) == (303, f"/login?next={path}")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_empty_pages_are_pages(clinic: Clinic, path, language):
    someone = clinic.logged_in()
    someone.post("/language", language=language, next="/")
    page = someone.get(path)
    assert page.status == 200
    assert ('lang="zh-CN"' if language == "zh" else 'lang="en"') in page.text
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"


def test_form_without_the_pages_token_is_refused(clinic: Clinic):
    someone = clinic.logged_in()
    someone.token = "guessed"
    assert someone.post("/logout").status == 403
    assert someone.get("/studies").status == 200


def test_token_of_another_session_is_refused(clinic: Clinic):
    someone, other = clinic.logged_in(), clinic.logged_in()
    someone.token = other.token
    assert someone.post("/logout").status == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_form_of_a_foreign_page_is_refused(clinic: Clinic, headers):
    someone = clinic.logged_in()
    assert someone.post("/logout", headers).status == 403
    assert clinic.browser().post("/login", headers, login="tech", password="x").status == 403


@pytest.mark.parametrize(
    ("referer", "back"),
    [("{url}/orders?day=1", "/orders?day=1"), ("http://evil.example/", ""), ("{url}/gone", ""), ("", "")],
)
def test_page_of_an_error_says_what_to_do_and_leads_back_to_where_one_was(clinic: Clinic, referer: str, back: str):
    someone = clinic.logged_in()
    page = someone.get("/gone", Referer=referer.format(url=clinic.url))
    assert page.status == 404
    assert "请返回列表查找" in page.text
    assert (f'href="{back}"' in page.text) if back else ("返回上一页" not in page.text)


def test_login_leads_nowhere_else(clinic: Clinic):
    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example"):
        page = clinic.browser().post("/login", login="tech", password=PASSWORD, next=elsewhere)
        assert page.headers["Location"] == "/studies"


def test_body_larger_than_any_form_is_refused(clinic: Clinic):
    someone = clinic.logged_in()
    assert someone.post("/studies", text="x" * BODY_BYTES_MAX).status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/..%2f..%2fapp.py",
        "/static/vendor/..%2f..%2fsecret.js",
        "/static/x/%2e%2e%2fapp.py",
        "/static/x/..",
        "/studies/..%2f..%2fetc",
        "/studies/1.2.3",
        "/reports/..%2fx",
        "/reports/nothing",
        "/reports/nothing/print",
        "/reports/nothing/report.pdf",
        "/nothing",
    ],
)
def test_address_that_is_none_is_not_found(clinic: Clinic, path):
    page = clinic.logged_in().get(path)
    assert page.status == 404
    assert "没有这个页面" in page.text


def test_filter_that_is_none_is_refused_in_words(clinic: Clinic):
    page = clinic.logged_in().get("/studies?day=yesterday")
    assert page.status == 422
    assert "不完整或不正确" in page.text


def test_words_of_a_search_are_in_no_address(clinic: Clinic):
    someone = clinic.logged_in()
    page = someone.post("/studies", text="赵䶮")
    assert page.status == 200
    assert "%E8%B5%B5" not in page.text
