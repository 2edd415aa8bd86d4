"""Unsafe requests of browsers pass only when they come from a page of ours with its token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.hub_web.county import TECHNICIAN
from tests.integration.hub_web.serving import Visitor

FORM = {"language": "en", "next": "/clinic/"}


def test_form_with_the_pages_token_passes(browser_of: Callable[[str], Visitor]) -> None:
    assert browser_of(TECHNICIAN).post("/language", **FORM).status == 303


@pytest.mark.parametrize("token", [pytest.param("", id="missing"), pytest.param("x" * 43, id="wrong")])
def test_form_without_the_pages_token_is_refused(browser_of: Callable[[str], Visitor], token: str) -> None:
    answer = browser_of(TECHNICIAN).post("/language", csrf_token=token, **FORM)
    assert answer.status == 403
    assert "forgery_refused" in answer.text


def test_token_of_another_session_is_refused(browser_of: Callable[[str], Visitor]) -> None:
    browser, other = browser_of(TECHNICIAN), browser_of(TECHNICIAN)
    assert browser.post("/language", csrf_token=other.csrf, **FORM).status == 403


def test_token_may_ride_in_a_header(browser_of: Callable[[str], Visitor]) -> None:
    browser = browser_of(TECHNICIAN)
    headers = {"X-CSRF-Token": browser.csrf}
    assert browser.post("/language", headers, csrf_token="", **FORM).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="foreign-origin"),
        pytest.param({"Origin": "null"}, id="opaque-origin"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="neighbouring-host"),
    ],
)
def test_request_from_elsewhere_is_refused_even_with_the_token(
    browser_of: Callable[[str], Visitor], headers: dict[str, str]
) -> None:
    assert browser_of(TECHNICIAN).post("/language", headers, **FORM).status == 403


def test_login_from_elsewhere_is_refused(visitor: Visitor) -> None:
    answer = visitor.post("/login", {"Origin": "https://evil.example"}, login=TECHNICIAN, password="qinghe-demo")
    assert answer.status == 403
    assert not answer.set_cookies


@pytest.mark.parametrize("origin", ["http://hub.example", "own"])
def test_origin_of_the_public_address_or_of_this_host_passes(browser_of: Callable[[str], Visitor], origin: str) -> None:
    browser = browser_of(TECHNICIAN)
    headers = {"Origin": browser.url if origin == "own" else origin, "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/language", headers, **FORM).status == 303


def test_json_api_with_a_cookie_needs_the_token_and_with_a_bearer_token_none(
    browser_of: Callable[[str], Visitor], program_of: Callable[[str], Visitor]
) -> None:
    assert browser_of(TECHNICIAN).call("DELETE", "/session").json()["code"] == "forgery_refused"
    assert program_of(TECHNICIAN).call("DELETE", "/session").status == 204


@pytest.mark.parametrize("charset", ["utf-8", "nonsense"])
def test_form_that_is_no_text_is_refused_with_words(browser_of: Callable[[str], Visitor], charset: str) -> None:
    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    refused = browser_of(TECHNICIAN).send("POST", "/language", body=b"language=\xff", headers=headers)
    assert refused.status == 422
